//! Flags of how a querier reads its stores.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use thanos_bucket::fetch::filter::{SELECTOR_ACTIONS, parse_relabel_config};
use thanos_core::Result;
use thanos_core::budget::MemoryBudget;
use thanos_core::labels::Labels;
use thanos_storeapi::limits::SelectLimits;
use thanos_storeapi::proxy::{ProxyOptions, TsdbSelector};

use crate::flags::{SelectLimitFlags, bytes, content, duration, label};

/// What is read of the stores, and how.
#[derive(Debug, Clone, Args)]
pub(super) struct ProxyFlags {
    /// Query selector labels that will be exposed in info endpoint (repeated): name="value".
    #[arg(id = "selector-label", long = "selector-label", value_name = "NAME=\"VALUE\"", action = ArgAction::Append, value_parser = label)]
    selector_labels: Vec<(String, String)>,
    /// Path to YAML file with relabeling configuration that allows selecting blocks to query based on their external labels.
    /// It follows the Thanos sharding relabel-config syntax.
    #[arg(
        id = "selector.relabel-config-file",
        long = "selector.relabel-config-file",
        value_name = "FILE"
    )]
    relabel_file: Option<PathBuf>,
    /// The same YAML itself, instead of 'selector.relabel-config-file'.
    #[arg(
        id = "selector.relabel-config",
        long = "selector.relabel-config",
        value_name = "CONTENT"
    )]
    relabel: Option<String>,
    /// If a store doesn't send any data in this specified duration then it is ignored and partial data is returned
    /// if it's enabled; 0 disables the timeout.
    #[arg(id = "store.response-timeout", long = "store.response-timeout", value_name = "DURATION", default_value = "0ms", value_parser = duration)]
    response_timeout: Duration,
    #[command(flatten)]
    limits: SelectLimitFlags,
    /// The most memory that batches on their way from the stores may hold at once.
    #[arg(id = "store.memory-limit", long = "store.memory-limit", value_name = "BYTES", default_value = "1GB", value_parser = bytes)]
    memory_limit: u64,
    /// Strategy to use when proxying Series requests to leaf nodes: both read a few batches of each ahead; lazy takes their
    /// number from --query.lazy-retrieval-max-buffered-responses.
    #[arg(
        id = "grpc.proxy-strategy",
        long = "grpc.proxy-strategy",
        value_name = "STRATEGY",
        default_value = "eager",
        value_parser = ["eager", "lazy"],
        hide = true
    )]
    strategy: String,
    /// The lazy retrieval strategy can buffer up to this number of responses. This is to limit the memory usage. This flag
    /// takes effect only when the lazy retrieval strategy is enabled.
    #[arg(
        id = "query.lazy-retrieval-max-buffered-responses",
        long = "query.lazy-retrieval-max-buffered-responses",
        value_name = "N",
        default_value_t = 20,
        hide = true
    )]
    buffered: usize,
}

impl ProxyFlags {
    /// Returns how long a store may take to send something.
    pub(super) fn response_timeout(&self) -> Option<Duration> {
        Some(self.response_timeout).filter(|timeout| !timeout.is_zero())
    }

    /// Returns how much an answer may hold.
    pub(super) fn limits(&self) -> SelectLimits {
        self.limits.limits()
    }

    /// Returns what says which databases are read.
    ///
    /// # Errors
    ///
    /// `Invalid` for rules that are wrong, or do more than choose.
    pub(super) fn selector(&self) -> Result<TsdbSelector> {
        let flag = "selector.relabel-config";
        let Some(yaml) = content(flag, &self.relabel, &self.relabel_file)? else {
            return Ok(TsdbSelector::default());
        };
        let rules = parse_relabel_config(&yaml, &SELECTOR_ACTIONS)
            .map_err(|error| error.context(format!("--{flag}")))?;
        if rules.is_empty() {
            return Ok(TsdbSelector::default());
        }
        let keeps = move |labels: &Labels| rules.process(labels.as_ref()).is_some();
        Ok(TsdbSelector::new(keeps))
    }

    /// Returns how the stores are read, those databases that `selector` keeps.
    pub(super) fn options(&self, selector: TsdbSelector, info_timeout: Duration) -> ProxyOptions {
        let defaults = ProxyOptions::default();
        ProxyOptions {
            selector_labels: Labels::from_pairs(self.selector_labels.iter().cloned()),
            selector,
            response_timeout: self.response_timeout(),
            info_timeout: Some(info_timeout),
            read_ahead_batches: match self.strategy.as_str() {
                "lazy" => self.buffered.max(1),
                _ => defaults.read_ahead_batches,
            },
            budget: MemoryBudget::new("--store.memory-limit", self.memory_limit),
            ..defaults
        }
    }
}
