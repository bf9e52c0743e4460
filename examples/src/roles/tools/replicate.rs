//! `thanos tools bucket replicate`.

use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use clap::{ArgAction, Args};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use thanos_bucket::Bucket;
use thanos_bucket::config::BucketConfig;
use thanos_bucket::layers::BucketMetrics;
use thanos_bucket::tools::{ReplicateOptions, Replicated, replicate_blocks};
use thanos_core::block::BlockId;
use thanos_core::labels::Matcher;
use thanos_core::{Error, Result};
use thanos_promql::parser::{Options, parse_selector};
use tokio::time::Instant;

use super::flags::{Report, WindowFlags, block_id, millis};
use super::output;
use crate::flags::{BucketFlags, HttpFlags, content, duration};
use crate::process::Process;
use crate::requests::RequestLog;
use crate::shutdown::Shutdown;

/// The time between two runs.
const EVERY: Duration = Duration::from_secs(60);
/// The buckets of run durations, in seconds: those that Go takes when none are named.
const RUN_SECONDS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Flags of `thanos tools bucket replicate`.
#[derive(Debug, Clone, Args)]
pub(super) struct ReplicateFlags {
    #[command(flatten)]
    http: HttpFlags,
    #[command(flatten)]
    bucket: BucketFlags,
    /// Path to the YAML file of the bucket to replicate to.
    #[arg(
        id = "objstore-to.config-file",
        long = "objstore-to.config-file",
        value_name = "FILE"
    )]
    to_file: Option<PathBuf>,
    /// The same YAML itself, instead of 'objstore-to.config-file'.
    #[arg(
        id = "objstore-to.config",
        long = "objstore-to.config",
        value_name = "CONTENT"
    )]
    to: Option<String>,
    /// Only blocks with these resolutions will be replicated. Repeated flag.
    #[arg(
        long = "resolution",
        value_name = "DURATION",
        action = ArgAction::Append,
        default_values = ["0s", "5m", "1h"],
        value_parser = duration
    )]
    resolutions: Vec<Duration>,
    /// Only blocks with at least this compaction level will be replicated.
    #[arg(long, value_name = "LEVEL", default_value_t = 1)]
    compaction_min: u32,
    /// Only blocks up to a maximum of this compaction level will be replicated.
    #[arg(long, value_name = "LEVEL", default_value_t = 4)]
    compaction_max: u32,
    /// Only blocks with these compaction levels will be replicated. Repeated flag. Overrides compaction-min and
    /// compaction-max if set.
    #[arg(long = "compaction", value_name = "LEVEL", action = ArgAction::Append)]
    compactions: Vec<u32>,
    /// Blocks whose external labels match this matcher will be replicated. All Prometheus matchers are supported, including
    /// =, !=, =~ and !~.
    #[arg(long, value_name = "MATCHERS", default_value = "", value_parser = |text: &str| matchers(text).map_err(|error| error.to_string()))]
    matcher: Matchers,
    /// Run replication only one time, then exit.
    #[arg(long, action = ArgAction::SetTrue)]
    single_run: bool,
    #[command(flatten)]
    window: WindowFlags,
    /// Block to be replicated to the destination bucket. IDs will be used to match blocks and other matchers will be
    /// ignored. When specified, this command will be run only once after successful replication. Repeated field.
    #[arg(long = "id", value_name = "ID", action = ArgAction::Append, value_parser = block_id)]
    ids: Vec<BlockId>,
    /// Do not replicate blocks that have deletion mark.
    #[arg(long, action = ArgAction::SetTrue)]
    ignore_marked_for_deletion: bool,
    /// Whether to print which blocks a single run has copied, and which were there already.
    #[arg(long, value_name = "FORMAT", default_value = "log")]
    output: Report,
}

/// What one flag holds.
#[derive(Debug, Clone)]
struct Matchers(Vec<Matcher>);

/// Parses matchers as Alertmanager does, but for values without quotes: `a="b", c!~"d"`, with or without braces.
fn matchers(text: &str) -> Result<Matchers> {
    let inside = text.trim();
    let inside = inside
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'))
        .unwrap_or(inside);
    if inside.trim().is_empty() {
        return Ok(Matchers(Vec::new()));
    }
    let invalid = |error: String| Error::invalid(format!("parse block label matchers: {error}"));
    let quoted = quote_values(inside);
    let selector = parse_selector(&format!("{{{quoted}}}"), &Options::default());
    let selector = selector.map_err(|error| invalid(error.to_string()))?;
    selector.compile_matchers().map(Matchers)
}

/// Puts quotes around values that have none, as Alertmanager allows.
fn quote_values(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(['=', '~']) {
        let end = at + if rest[at..].starts_with("=~") { 2 } else { 1 };
        out.push_str(&rest[..end]);
        rest = rest[end..].trim_start();
        let len = match rest.strip_prefix('"') {
            Some(behind) => 1 + closing_quote(behind),
            None => rest.find(',').unwrap_or(rest.len()),
        };
        let (value, behind) = rest.split_at(len);
        match value.starts_with('"') {
            true => out.push_str(value),
            false => out.push_str(&format!("{:?}", value.trim())),
        }
        rest = behind;
    }
    out + rest
}

/// Returns the length up to and with the quote that ends the text.
fn closing_quote(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

type ResultLabel = [(&'static str, &'static str); 1];

#[derive(Debug, Clone)]
struct RunMetrics {
    runs: Family<ResultLabel, Counter>,
    seconds: Family<ResultLabel, Histogram, fn() -> Histogram>,
}

impl RunMetrics {
    fn new() -> Self {
        let metrics = Self {
            runs: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(RUN_SECONDS)),
        };
        for result in ["success", "error"] {
            drop(metrics.runs.get_or_create(&[("result", result)]));
            drop(metrics.seconds.get_or_create(&[("result", result)]));
        }
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "thanos_replicate_replication_runs",
            "The number of replication runs split by success and error",
            self.runs.clone(),
        );
        registry.register(
            "thanos_replicate_replication_run_duration_seconds",
            "The Duration of replication runs split by success and error",
            self.seconds.clone(),
        );
    }

    fn count(&self, is_done: bool, started: Instant) {
        let labels = [("result", if is_done { "success" } else { "error" })];
        self.runs.get_or_create(&labels).inc();
        let seconds = started.elapsed().as_secs_f64();
        self.seconds.get_or_create(&labels).observe(seconds);
    }
}

impl ReplicateFlags {
    fn options(&self) -> Result<ReplicateOptions> {
        if self.compactions.is_empty() && self.compaction_min > self.compaction_max {
            let message = "compaction-min must be less than or equal to compaction-max";
            return Err(Error::invalid(message));
        }
        let levels = match self.compactions.is_empty() {
            true => (self.compaction_min..=self.compaction_max).collect(),
            false => self.compactions.iter().copied().collect(),
        };
        Ok(ReplicateOptions {
            matchers: self.matcher.0.clone(),
            resolutions_ms: self
                .resolutions
                .iter()
                .map(|length| millis(*length))
                .collect(),
            levels,
            ids: self.ids.iter().copied().collect(),
            window: self.window.window()?,
            ignore_marked_for_deletion: self.ignore_marked_for_deletion,
            ..ReplicateOptions::default()
        })
    }

    fn target(&self, metrics: BucketMetrics) -> Result<Bucket> {
        let yaml = content("objstore-to.config", &self.to, &self.to_file)?;
        let yaml = yaml
            .ok_or_else(|| Error::invalid("No supported bucket was configured to replicate to"))?;
        let opened = BucketConfig::from_yaml(&yaml).and_then(|config| config.open_with(metrics));
        opened.map_err(|error| error.context("--objstore-to.config"))
    }
}

pub(super) async fn run(flags: ReplicateFlags) -> Result<()> {
    let options = flags.options()?;
    let (from_metrics, to_metrics) = (BucketMetrics::default(), BucketMetrics::default());
    let from = flags.bucket.open(from_metrics.clone())?;
    let to = flags.target(to_metrics.clone())?;
    let runs = RunMetrics::new();
    let register = |registry: &mut Registry| {
        for (metrics, which) in [(&from_metrics, "from"), (&to_metrics, "to")] {
            let label = ("replicate".into(), which.into());
            metrics.register(registry.sub_registry_with_label(label));
        }
        options.fetch.metrics.register(registry);
        options.metrics.register(registry);
        runs.register(registry);
    };
    let log = RequestLog::default();
    let mut process =
        Process::start_http("replicate", &flags.http, log, Router::new(), register).await?;
    process.ready().await;
    let work = Replication {
        from,
        to,
        options,
        runs,
    };
    if flags.single_run || !flags.ids.is_empty() {
        let shutdown = process.shutdown();
        process.spawn(async move {
            tokio::select! {
                () = shutdown.wait() => Ok(()),
                done = work.once() => tell(&done?, flags.output),
            }
        });
    } else {
        process.spawn(work.repeat(process.shutdown()));
    }
    tracing::info!("starting replication");
    process.run().await
}

fn tell(done: &Replicated, report: Report) -> Result<()> {
    match report {
        Report::Log => Ok(()),
        Report::Json => output::print(&output::json(done)?),
    }
}

struct Replication {
    from: Bucket,
    to: Bucket,
    options: ReplicateOptions,
    runs: RunMetrics,
}

impl Replication {
    async fn once(&self) -> Result<Replicated> {
        tracing::info!("running replication attempt");
        let done = replicate_blocks(&self.from, &self.to, &self.options).await;
        let done = done.map_err(|error| error.context("replication execute"))?;
        let (copied, already) = (done.copied.len(), done.already.len());
        tracing::info!(copied, already, "ran replication successfully");
        Ok(done)
    }

    /// Runs until it is told to stop; whatever goes wrong, it tries again.
    async fn repeat(self, shutdown: Shutdown) -> Result<()> {
        loop {
            let run = async {
                let started = Instant::now();
                let done = self.once().await;
                self.runs.count(done.is_ok(), started);
                if let Err(error) = done {
                    tracing::error!(%error, "running replication failed");
                }
                tokio::time::sleep(EVERY).await;
            };
            tokio::select! {
                () = shutdown.clone().wait() => return Ok(()),
                () = run => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T-16: one string of matchers, all operators, as Alertmanager writes them.
    #[test]
    fn matchers_are_those_of_alertmanager() {
        let shown = |text: &str| match matchers(text) {
            Ok(found) => found
                .0
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(","),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown(""), "");
        assert_eq!(shown(r#"{a="b"}"#), r#"a="b""#);
        assert_eq!(
            shown(r#"a="b", c!="d",e=~"f,=g", h!~"i""#),
            r#"a="b",c!="d",e=~"f,=g",h!~"i""#
        );
        assert_eq!(shown("a=b, c=~d.+"), r#"a="b",c=~"d.+""#);
        assert!(
            shown(r#"a=~"(""#).contains("error"),
            "{}",
            shown(r#"a=~"(""#)
        );
    }
}
