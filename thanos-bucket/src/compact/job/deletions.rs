//! Requests to delete series, carried out for good: what they hide of the sources of a compaction goes into no new block.
//!
//! The requests become a `tombstones` file beside each downloaded source, which merging heeds. The new block says in
//! `thanos.rewrites` which requests it was made without.

use std::sync::Arc;

use serde_json::{Value, json};
use thanos_core::block::tombstones::{TOMBSTONES_FILE, Tombstones};
use thanos_core::block::{Block, Intervals, Rewrite};
use thanos_core::index::SeriesScratch;
use thanos_core::labels::{MatchOp, Matcher};
use thanos_core::{Error, Result};

use super::JobRunner;
use crate::compact::deletions::concerning;
use crate::compact::group::Group;
use crate::tombstones::{Tombstone, TombstoneReader, selects};

/// Blocks without what was to be deleted of them, and what a block made of them says about that.
#[derive(Debug)]
pub(super) struct WithoutDeleted {
    pub(super) blocks: Vec<Block>,
    /// What the sources say already, and what was done now.
    pub(super) rewrites: Vec<Rewrite>,
    /// Whether something may be missing that the sources have.
    pub(super) is_any: bool,
}

impl JobRunner {
    /// Returns `blocks`, which are of `group` and lie in work directories, without what active requests delete of them.
    pub(super) async fn without_deleted(
        &self,
        group: &Group,
        blocks: Vec<Block>,
    ) -> Result<WithoutDeleted> {
        let active = TombstoneReader::new(self.bucket.clone()).read().await?;
        let group = group.clone();
        let hide = move || hide(&group, blocks, &active);
        self.options.compute.run(hide).await?
    }
}

fn hide(group: &Group, blocks: Vec<Block>, active: &[Arc<Tombstone>]) -> Result<WithoutDeleted> {
    let mut rewrites: Vec<Rewrite> = Vec::new();
    for block in &blocks {
        let known = block
            .meta()
            .thanos
            .iter()
            .flat_map(|thanos| &thanos.rewrites);
        for rewrite in known {
            if !rewrites.contains(rewrite) {
                rewrites.push(rewrite.clone());
            }
        }
    }
    let mut hidden = Vec::with_capacity(blocks.len());
    let mut applied: Vec<&Arc<Tombstone>> = Vec::new();
    for block in &blocks {
        let concerned: Vec<_> = concerning(active, &group.labels, block.meta()).collect();
        hidden.push(hide_of(block, &concerned)?);
        for tombstone in concerned {
            if !applied
                .iter()
                .any(|known| known.request_id == tombstone.request_id)
            {
                applied.push(tombstone);
            }
        }
    }
    if !applied.is_empty() {
        rewrites.push(Rewrite {
            sources: blocks.iter().map(Block::id).collect(),
            deletions_applied: applied
                .iter()
                .flat_map(|tombstone| request_json(tombstone))
                .collect(),
            relabels_applied: Vec::new(),
        });
    }
    Ok(WithoutDeleted {
        blocks: hidden,
        rewrites,
        is_any: !applied.is_empty(),
    })
}

/// Opens `block` again with what `tombstones` delete of it.
fn hide_of(block: &Block, tombstones: &[&Arc<Tombstone>]) -> Result<Block> {
    let mut found = Tombstones::default();
    for tombstone in tombstones {
        let times = Intervals::from_ranges(vec![tombstone.range]);
        let times = times.widened(block.meta().resolution_ms());
        let external = block.meta().external_labels();
        for selector in tombstone.selectors_within(external.as_ref()) {
            delete(block, &selector, &times, &mut found)?;
        }
    }
    // What an earlier attempt has left may be of a request that was taken back.
    let file = block.dir().join(TOMBSTONES_FILE);
    match found.is_empty() {
        true => match std::fs::remove_file(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(block.clone()),
            Err(error) => return Err(Error::from(error).in_file(file.display().to_string())),
            Ok(()) => {}
        },
        false => found.write_dir(block.dir())?,
    }
    block.with_tombstones_reread()
}

fn delete(
    block: &Block,
    selector: &[Matcher],
    times: &Intervals,
    found: &mut Tombstones,
) -> Result<()> {
    let mut scratch = SeriesScratch::default();
    for series in block.index().postings_for_matchers(selector)?.into_vec() {
        block.index().series(series.into(), &mut scratch)?;
        if selects(selector, scratch.labels()) {
            let ranges = times.ranges().iter();
            ranges.for_each(|range| found.add(series.into(), *range));
        }
    }
    Ok(())
}

/// The request as Thanos' structs look in JSON, one for each selector.
fn request_json(tombstone: &Tombstone) -> Vec<Value> {
    let matcher = |matcher: &Matcher| {
        let op = match matcher.op() {
            MatchOp::Equal => 0,
            MatchOp::NotEqual => 1,
            MatchOp::Regex => 2,
            MatchOp::NotRegex => 3,
        };
        json!({"Type": op, "Name": matcher.name(), "Value": matcher.value()})
    };
    let (min, max) = (tombstone.range.min, tombstone.range.max);
    let request = |selector: &Vec<Matcher>| {
        json!({
            "matchers": selector.iter().map(matcher).collect::<Vec<_>>(),
            "intervals": [{"Mint": min.as_millis(), "Maxt": max.as_millis()}],
            "request_id": tombstone.request_id.as_str(),
        })
    };
    tombstone.selectors.iter().map(request).collect()
}
