//! Dropping metric names, and what to do when series become equal by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use thanos_core::budget::Lease;
use thanos_core::labels::{LabelsRef, METRIC_NAME};

use super::collect::{HeldTiles, MergingCollector};
use super::context::Context;
use super::grid::Grid;
use super::labels::{LabelIndex, is_type_or_unit, keep, without_metadata};
use super::operator::{BoxOperator, Operator};
use super::tile::{SeriesId, Tile};
use crate::error::{Error, Result};

/// Drops the name of `id` with its type and unit, at once or marked for the end of the query.
pub(crate) fn drop_name(cx: &Context, id: &mut SeriesId) {
    if !cx.delayed_name_removal {
        id.labels = without_metadata(&id.labels);
    }
    id.drop_name = true;
}

/// Drops the name of `id` and, unless that is left to the end of the query, keeps its type and unit.
///
/// COMPAT: `simpleHistogramFunc` in Prometheus' `promql/functions.go` drops less than the other functions.
pub(crate) fn drop_name_only(cx: &Context, id: &mut SeriesId) {
    if !cx.delayed_name_removal {
        id.labels = keep(id.labels.as_ref(), |name| name != METRIC_NAME.as_bytes());
    }
    id.drop_name = true;
}

/// Finds out whether any series of a selector has a type or a unit, which are dropped with the name.
///
/// Series of one name that have neither stay different without it, and that is known from the first series as a
/// rule: streams are sorted by labels, and few labels sort before `__unit__`.
#[derive(Debug, Default)]
pub(crate) struct MetadataWatch(AtomicU8);

const UNDECIDED: u8 = 0;
const ABSENT: u8 = 1;
const PRESENT: u8 = 2;

impl MetadataWatch {
    /// Looks at the next series.
    pub(crate) fn see(&self, labels: LabelsRef<'_>) {
        if self.0.load(Ordering::Relaxed) != UNDECIDED {
            return;
        }
        let mut names = labels
            .raw_iter()
            .map(|label| label.name)
            .filter(|name| *name != METRIC_NAME.as_bytes());
        let decision = match names.next() {
            Some(first) if first > &b"__unit__"[..] => ABSENT,
            Some(first) if is_type_or_unit(first) || names.any(is_type_or_unit) => PRESENT,
            _ => UNDECIDED,
        };
        self.0.store(decision, Ordering::Relaxed);
    }

    /// Notes that there are no more series.
    pub(crate) fn end(&self) {
        let undecided = UNDECIDED;
        // When it fails it has been decided.
        let _ = self
            .0
            .compare_exchange(undecided, ABSENT, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Reports whether it is known that no series has a type or unit, not even one that is still to come.
    fn is_absent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == ABSENT
    }
}

/// Joins series that have become equal: they are one series where they do not overlap, an error where they do.
///
/// Where equal series are an error anyway tiles stream and only labels are held, otherwise all series are held.
/// Neither is needed once a watch knows that series of one name stay different without it.
#[derive(Debug)]
pub(crate) struct MergeEqual {
    cx: Arc<Context>,
    input: BoxOperator,
    overlap: Overlap,
    watch: Option<Arc<MetadataWatch>>,
    seen: LabelIndex,
    lease: Option<Lease>,
    merged: Option<HeldTiles>,
}

/// When equal series are an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overlap {
    /// When they have a value at the same step: instant functions and operators.
    AtStep,
    /// Always: functions over ranges.
    Anywhere,
}

impl MergeEqual {
    /// Returns the operator; a `watch` promises that all series had the same name.
    pub(crate) fn new(
        cx: Arc<Context>,
        input: BoxOperator,
        overlap: Overlap,
        watch: Option<Arc<MetadataWatch>>,
    ) -> Self {
        Self {
            cx,
            input,
            overlap,
            watch,
            seen: LabelIndex::default(),
            lease: None,
            merged: None,
        }
    }

    fn all_differ(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.is_absent())
    }

    /// Fails when a series of `tile` was there before.
    fn check(&mut self, tile: &Tile) -> Result<()> {
        if self.all_differ() {
            return Ok(());
        }
        for (id, _) in tile.rows() {
            let (_, is_new) = self.seen.insert(&id.labels);
            if !is_new {
                return Err(Error::same_labelset());
            }
            let bytes = (id.labels.key().len() + SEEN_BYTES) as u64;
            match &mut self.lease {
                Some(lease) => lease.grow(bytes)?,
                none => *none = Some(self.cx.lease(bytes)?),
            }
        }
        Ok(())
    }

    async fn merge(&mut self, first: Tile) -> Result<HeldTiles> {
        let mut all = MergingCollector::new(Arc::clone(&self.cx), self.input.grid(), self.overlap);
        all.add(&first)?;
        while let Some(tile) = self.input.next().await? {
            all.add(&tile)?;
        }
        Ok(all.finish())
    }
}

/// What a remembered label set takes besides its key.
const SEEN_BYTES: usize = 64;

#[async_trait]
impl Operator for MergeEqual {
    fn grid(&self) -> Grid {
        self.input.grid()
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        if let Some(merged) = &mut self.merged {
            return Ok(merged.next());
        }
        let Some(tile) = self.input.next().await? else {
            return Ok(None);
        };
        match self.overlap {
            Overlap::Anywhere => self.check(&tile)?,
            Overlap::AtStep if self.all_differ() => {}
            Overlap::AtStep => {
                let merged = self.merge(tile).await?;
                return Ok(self.merged.insert(merged).next());
            }
        }
        Ok(Some(tile))
    }
}

#[cfg(test)]
mod tests {
    use thanos_core::labels::Labels;

    use super::*;

    #[test]
    fn a_type_is_ruled_out_by_the_order_of_series() {
        let none: &[(&str, &str)] = &[];
        for (sets, expected) in [
            (vec![&[("__name__", "x"), ("a", "1")][..]], ABSENT),
            (
                vec![&[("__name__", "x"), ("__type__", "gauge"), ("a", "1")]],
                PRESENT,
            ),
            (vec![&[("A", "1"), ("__name__", "x")]], UNDECIDED),
            (
                vec![&[("A", "1"), ("__name__", "x"), ("__unit__", "s")]],
                PRESENT,
            ),
            (
                vec![
                    &[("A", "1"), ("__name__", "x")],
                    &[("__name__", "x"), ("a", "1")],
                ],
                ABSENT,
            ),
            (vec![&[("__name__", "x")]], UNDECIDED),
            (vec![none], UNDECIDED),
        ] {
            let watch = MetadataWatch::default();
            for set in &sets {
                watch.see(Labels::from_pairs(set.iter().copied()).as_ref());
            }
            assert_eq!(watch.0.load(Ordering::Relaxed), expected, "{sets:?}");
            watch.end();
            assert_eq!(watch.is_absent(), expected != PRESENT);
        }
    }
}
