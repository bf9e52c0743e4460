//! `thanos tools bucket delete-series`, which Thanos does not have.

use clap::{ArgAction, Args};
use serde_json::{Value, json};
use thanos_bucket::layers::BucketMetrics;
use thanos_bucket::tombstones::{RequestId, Tombstone, TombstoneStore};
use thanos_core::labels::Matcher;
use thanos_core::time::{Clock, SystemClock, TimeBound, TimeWindow};
use thanos_core::{Error, Result};
use thanos_promql::parser::{Options, parse_selector};

use super::output::{json as to_json, print};
use crate::flags::BucketFlags;

/// Flags of `thanos tools bucket delete-series`.
#[derive(Debug, Clone, Args)]
pub(super) struct DeleteSeriesFlags {
    #[command(flatten)]
    bucket: BucketFlags,
    /// Selector of series to delete, external labels included (repeated flag).
    #[arg(long = "match", value_name = "SELECTOR", action = ArgAction::Append)]
    selectors: Vec<String>,
    /// The first deleted time: an RFC 3339 time, or a duration from now such as -1d.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "0000-01-01T00:00:00Z",
        allow_hyphen_values = true
    )]
    min_time: TimeBound,
    /// The last deleted time, like --min-time.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "9999-12-31T23:59:59Z",
        allow_hyphen_values = true
    )]
    max_time: TimeBound,
    /// What the request is called; there is no second one of the same name.
    #[arg(long, value_name = "ID", value_parser = request_id)]
    request_id: Option<RequestId>,
    /// Who asks for it, for the record.
    #[arg(long, value_name = "TEXT", default_value = "")]
    author: String,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Take the request of --request-id back: samples that are not deleted yet are seen again.
    #[arg(long, action = ArgAction::SetTrue, conflicts_with_all = ["selectors", "list"])]
    lift: bool,
    /// List the requests that are not done.
    #[arg(long, action = ArgAction::SetTrue, conflicts_with_all = ["selectors", "request_id"])]
    list: bool,
}

fn request_id(text: &str) -> std::result::Result<RequestId, String> {
    text.parse().map_err(|error: Error| error.to_string())
}

pub(super) async fn run(flags: DeleteSeriesFlags) -> Result<()> {
    let bucket = flags.bucket.open(BucketMetrics::default())?;
    let store = TombstoneStore::new(bucket);
    if flags.list {
        let active = store.list().await?;
        let all: Vec<Value> = active.iter().map(|one| shown(one)).collect();
        return print(&to_json(&all)?);
    }
    let Some(id) = flags.request_id.clone() else {
        return Err(Error::invalid("required flag --request-id not provided"));
    };
    if flags.lift {
        return match store.lift(&id).await? {
            true => print(&format!("request {id} is taken back\n")),
            false => Err(Error::not_found(format!("there is no active request {id}"))),
        };
    }
    let tombstone = flags.tombstone(id)?;
    let id = &tombstone.request_id;
    match store.add(&tombstone).await? {
        true => print(&format!(
            "request {id} is written: series are hidden from the next sync of each store on\n"
        )),
        false => print(&format!("request {id} is there already\n")),
    }
}

impl DeleteSeriesFlags {
    fn tombstone(&self, id: RequestId) -> Result<Tombstone> {
        let now = SystemClock.now();
        let selector = |text: &String| -> Result<Vec<Matcher>> {
            let invalid =
                |error: &dyn std::fmt::Display| Error::invalid(format!("--match {text}: {error}"));
            let parsed = parse_selector(text, &Options::default());
            let parsed = parsed.map_err(|error| invalid(&error))?;
            parsed.compile_matchers().map_err(|error| invalid(&error))
        };
        let selectors = self.selectors.iter().map(selector);
        Ok(Tombstone {
            selectors: selectors.collect::<Result<_>>()?,
            range: TimeWindow {
                min: self.min_time,
                max: self.max_time,
            }
            .at(now),
            author: self.author.clone(),
            reason: self.reason.clone(),
            ..Tombstone::new(id, now)
        })
    }
}

/// Returns a request for people and programs to read.
fn shown(tombstone: &Tombstone) -> Value {
    let matcher = |matcher: &Matcher| {
        let (name, op) = (matcher.name(), matcher.op().as_str());
        format!("{name}{op}{:?}", matcher.value())
    };
    let selectors = tombstone.selectors.iter();
    let selectors = selectors.map(|selector| {
        let matchers: Vec<String> = selector.iter().map(matcher).collect();
        format!("{{{}}}", matchers.join(","))
    });
    json!({
        "request_id": tombstone.request_id.as_str(),
        "selectors": selectors.collect::<Vec<_>>(),
        "min_time": tombstone.range.min.as_millis(),
        "max_time": tombstone.range.max.as_millis(),
        "created": tombstone.created.to_string(),
        "author": tombstone.author,
        "reason": tombstone.reason,
    })
}
