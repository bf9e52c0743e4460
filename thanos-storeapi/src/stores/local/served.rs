//! The blocks that a local store serves, by their external labels.

use std::collections::BTreeMap;

use thanos_core::block::{Block, Blocks, Meta, RefusedBlock};
use thanos_core::error::{Error, ErrorKind, Result};
use thanos_core::labels::{Labels, Matcher};
use thanos_core::query::Missing;
use thanos_core::time::TimeRange;

use crate::label_edit::strip_matchers;
use crate::store::{PartialResponse, TsdbInfo};

/// The blocks, and those that could not be opened.
#[derive(Debug)]
pub(super) struct Served {
    groups: Vec<Group>,
    refused: Vec<Refused>,
}

/// Blocks with the same external labels.
#[derive(Debug)]
pub(super) struct Group {
    external_labels: Labels,
    /// By start.
    blocks: Vec<Block>,
}

/// A block that could not be opened, and what can be said about its data all the same.
#[derive(Debug)]
struct Refused {
    missing: Missing,
    kind: ErrorKind,
    tsdb: TsdbInfo,
}

impl Served {
    /// Takes `blocks` apart by their external labels; blocks that name none get `default_labels`.
    pub(super) fn new(blocks: &Blocks, default_labels: &Labels) -> Self {
        let mut groups: BTreeMap<Labels, Vec<Block>> = BTreeMap::new();
        for block in blocks.blocks() {
            let labels = labels_of(block.meta(), default_labels);
            groups.entry(labels).or_default().push(block.clone());
        }
        let group = |(external_labels, blocks)| Group {
            external_labels,
            blocks,
        };
        let refused = blocks.refused().iter();
        Self {
            groups: groups.into_iter().map(group).collect(),
            refused: refused
                .map(|block| Refused::new(block, default_labels))
                .collect(),
        }
    }

    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Returns what the blocks that could not be opened may have held for a request.
    ///
    /// # Errors
    ///
    /// The first of them, when the request wants all data or none.
    pub(super) fn missing(
        &self,
        range: TimeRange,
        matchers: &[Matcher],
        policy: PartialResponse,
    ) -> Result<Vec<Missing>> {
        let concerned = self.refused.iter().filter(|refused| {
            refused.tsdb.range.overlaps(range)
                && strip_matchers(matchers, &refused.tsdb.external_labels).is_some()
        });
        let mut missing = Vec::new();
        for refused in concerned {
            if policy == PartialResponse::Abort {
                let Missing { source, reason } = &refused.missing;
                return Err(Error::new(refused.kind, format!("{source}: {reason}")));
            }
            missing.push(refused.missing.clone());
        }
        Ok(missing)
    }

    /// Returns one entry for each run of blocks without a gap; those that could not be opened count, so that a proxy
    /// asks and learns that they are missing.
    pub(super) fn tsdbs(&self) -> Vec<TsdbInfo> {
        let of_group = |group: &Group| {
            let labels = group.external_labels.clone();
            let infos = group.blocks.iter().map(move |block| TsdbInfo {
                external_labels: labels.clone(),
                range: announced_range(block.meta()),
            });
            infos.collect::<Vec<_>>()
        };
        let mut tsdbs: Vec<_> = self.groups.iter().flat_map(of_group).collect();
        tsdbs.extend(self.refused.iter().map(|refused| refused.tsdb.clone()));
        tsdbs.sort_by(|a, b| {
            let by_start = a.range.min.cmp(&b.range.min);
            a.external_labels.cmp(&b.external_labels).then(by_start)
        });
        tsdbs.dedup_by(|next, last| {
            let joins =
                next.external_labels == last.external_labels && next.range.min <= last.range.max;
            if joins {
                last.range.max = last.range.max.max(next.range.max);
            }
            joins
        });
        tsdbs
    }
}

impl Group {
    pub(super) fn external_labels(&self) -> &Labels {
        &self.external_labels
    }

    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Returns time range and resolution of each block.
    pub(super) fn shapes(&self) -> Vec<(TimeRange, i64)> {
        let shape = |block: &Block| (block.meta().time_range(), block.meta().resolution_ms());
        self.blocks.iter().map(shape).collect()
    }
}

impl Refused {
    /// Reads meta.json again: whatever else is damaged, it mostly still tells times and labels.
    fn new(block: &RefusedBlock, default_labels: &Labels) -> Self {
        let meta = Meta::read_dir(&block.dir).ok();
        let tsdb = meta.map_or_else(TsdbInfo::default, |meta| TsdbInfo {
            external_labels: labels_of(&meta, default_labels),
            range: announced_range(&meta),
        });
        let name = block.dir.file_name().unwrap_or_default();
        Self {
            missing: Missing {
                source: format!("block {}", name.display()),
                reason: block.error.to_string(),
            },
            kind: block.error.kind(),
            tsdb,
        }
    }
}

fn labels_of(meta: &Meta, default_labels: &Labels) -> Labels {
    let own = meta.external_labels();
    if own.is_empty() {
        default_labels.clone()
    } else {
        own
    }
}

/// COMPAT: the end of a block is announced as meta.json says it, although no sample has that time; Thanos does the same
/// (row ST-31 of the specification), and adjacent blocks touch that way.
fn announced_range(meta: &Meta) -> TimeRange {
    TimeRange {
        min: meta.min_time,
        max: meta.max_time,
    }
}
