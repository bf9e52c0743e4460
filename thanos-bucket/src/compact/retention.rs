//! Which blocks are old enough to go, and which of them may not go yet.
//!
//! Each resolution has its own retention. A block is past it when its last sample is. What Thanos would delete then may
//! be the only copy of data that a coarser resolution is still to keep: a stream that ended leaves blocks that are too
//! short to be downsampled. Those stay until they are downsampled, which [`passes`](super::passes) sees to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use thanos_core::block::BlockId;
use thanos_core::time::{SignedDuration, Timestamp};
use thanos_core::{Error, Result};

use super::group::Resolution;
use crate::fetch::BlockEntry;

/// How long raw blocks must be to be downsampled: 40 hours, in milliseconds.
pub const DOWNSAMPLE_RAW_MS: i64 = 40 * 3600 * 1000;
/// How long blocks of five minutes must be to be downsampled: 10 days, in milliseconds.
pub const DOWNSAMPLE_FIVE_MINUTES_MS: i64 = 10 * 24 * 3600 * 1000;

/// How long data of each resolution is kept, in milliseconds; 0 keeps it forever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Raw samples (`--retention.resolution-raw`).
    pub raw_ms: i64,
    /// Windows of five minutes (`--retention.resolution-5m`).
    pub five_minutes_ms: i64,
    /// Windows of an hour (`--retention.resolution-1h`).
    pub hour_ms: i64,
    /// Whether coarser copies are made.
    pub downsampling: Downsampling,
}

/// Whether blocks are downsampled (`--downsampling.disable`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Downsampling {
    /// They are.
    #[default]
    On,
    /// They are not: retention does not wait for copies that nobody makes.
    Off,
}

/// What retention says about blocks.
#[derive(Debug, Clone, Default)]
pub struct Expired {
    /// Blocks that may go.
    pub deletable: Vec<Arc<BlockEntry>>,
    /// Blocks that have to be downsampled first.
    pub only_copies: Vec<Arc<BlockEntry>>,
}

/// Sources of the blocks of each stream and resolution.
pub(super) struct Copies<'a> {
    streams: HashMap<Stream<'a>, BTreeSet<BlockId>>,
}

/// External labels, if any, and a resolution in milliseconds.
type Stream<'a> = (Option<&'a BTreeMap<String, String>>, i64);

impl Retention {
    /// Checks that data is not deleted before it can be downsampled.
    ///
    /// # Errors
    ///
    /// `Invalid`, with Thanos' words, when it would be (row C-21 of the specification).
    pub fn validate(&self) -> Result<()> {
        if self.downsampling == Downsampling::Off {
            return Ok(());
        }
        if self.raw_ms != 0 && self.raw_ms < DOWNSAMPLE_RAW_MS {
            return Err(Error::invalid(
                "raw resolution must be higher than the minimum block size after which 5m resolution downsampling will occur (40 hours)",
            ));
        }
        if self.five_minutes_ms != 0 && self.five_minutes_ms < DOWNSAMPLE_FIVE_MINUTES_MS {
            return Err(Error::invalid(
                "5m resolution retention must be higher than the minimum block size after which 1h resolution downsampling will occur (10 days)",
            ));
        }
        Ok(())
    }

    /// Returns how long data of `resolution` is kept, in milliseconds; 0, or a resolution that Thanos does not know,
    /// means forever.
    pub fn of(&self, resolution: Resolution) -> i64 {
        match resolution {
            Resolution::RAW => self.raw_ms,
            Resolution::FIVE_MINUTES => self.five_minutes_ms,
            Resolution::HOUR => self.hour_ms,
            Resolution(_) => 0,
        }
    }

    /// Returns what the deletion mark of a block of `resolution` says, as in Thanos.
    pub fn details(&self, resolution: Resolution) -> String {
        let retention = SignedDuration::from_millis(self.of(resolution));
        format!("block exceeding retention of {}", retention.go())
    }

    /// Reports whether data of `resolution` that ends at `max_time` is past its retention at `now`.
    pub fn is_over(&self, resolution: Resolution, max_time: Timestamp, now: Timestamp) -> bool {
        let retention = self.of(resolution);
        // COMPAT: Thanos counts from the whole second in which a block ends (Go pkg/compact/retention.go).
        let end = max_time.as_millis().div_euclid(1000).saturating_mul(1000);
        retention != 0 && now.as_millis() > end.saturating_add(retention)
    }

    /// Returns the blocks that are past their retention at `now`, but for those that are marked for deletion already.
    pub fn expired(&self, blocks: &BTreeMap<BlockId, Arc<BlockEntry>>, now: Timestamp) -> Expired {
        let copies = Copies::new(blocks.values());
        let mut expired = Expired::default();
        for entry in blocks.values() {
            let (resolution, max_time) =
                (Resolution(entry.meta.resolution_ms()), entry.meta.max_time);
            if entry.marks.deletion.is_some() || !self.is_over(resolution, max_time, now) {
                continue;
            }
            if self.is_only_copy(entry, &copies, now) {
                expired.only_copies.push(Arc::clone(entry));
            } else {
                expired.deletable.push(Arc::clone(entry));
            }
        }
        expired
    }

    /// Reports whether data of `entry` is still to be kept in a coarser resolution and lies in no block of such.
    fn is_only_copy(&self, entry: &BlockEntry, copies: &Copies<'_>, now: Timestamp) -> bool {
        if self.downsampling == Downsampling::Off {
            return false;
        }
        let mut coarser = coarser_than(Resolution(entry.meta.resolution_ms()))
            .iter()
            .filter(|resolution| !self.is_over(**resolution, entry.meta.max_time, now))
            .peekable();
        coarser.peek().is_some() && !coarser.any(|resolution| copies.cover(entry, *resolution))
    }
}

/// Returns the resolutions that are coarser than `resolution`.
fn coarser_than(resolution: Resolution) -> &'static [Resolution] {
    match resolution {
        Resolution::RAW => &[Resolution::FIVE_MINUTES, Resolution::HOUR],
        Resolution::FIVE_MINUTES => &[Resolution::HOUR],
        Resolution(_) => &[],
    }
}

impl<'a> Copies<'a> {
    /// Returns the copies among `blocks`: those that are to be deleted are none.
    pub(super) fn new(blocks: impl Iterator<Item = &'a Arc<BlockEntry>>) -> Self {
        let mut streams: HashMap<_, BTreeSet<BlockId>> = HashMap::new();
        for entry in blocks.filter(|entry| entry.marks.deletion.is_none()) {
            let key = (labels_of(entry), entry.meta.resolution_ms());
            let sources = streams.entry(key).or_default();
            sources.extend(&entry.meta.compaction.sources);
        }
        Self { streams }
    }

    /// Reports whether blocks of `resolution` hold all that `entry` was made from.
    ///
    /// COMPAT: Thanos looks at sources of all streams; ids are unique, so labels make a difference only for replicas that
    /// share blocks, which they should not.
    pub(super) fn cover(&self, entry: &'a BlockEntry, resolution: Resolution) -> bool {
        let Some(known) = self.streams.get(&(labels_of(entry), resolution.0)) else {
            return false;
        };
        match &entry.meta.compaction.sources[..] {
            [] => known.contains(&entry.meta.ulid),
            sources => sources.iter().all(|source| known.contains(source)),
        }
    }
}

fn labels_of(entry: &BlockEntry) -> Option<&BTreeMap<String, String>> {
    let labels = entry.meta.thanos.as_ref().map(|thanos| &thanos.labels);
    labels.filter(|labels| !labels.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compact::testing::{block, labelled, made_from, view};
    use crate::testkit::block_id;

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;
    const NOW: Timestamp = Timestamp::from_millis(100 * DAY);

    fn ids(entries: &[Arc<BlockEntry>]) -> Vec<BlockId> {
        entries.iter().map(|entry| entry.meta.ulid).collect()
    }

    fn plain(raw_ms: i64, five_minutes_ms: i64, hour_ms: i64) -> Retention {
        Retention {
            raw_ms,
            five_minutes_ms,
            hour_ms,
            downsampling: Downsampling::Off,
        }
    }

    /// C-20: the tables of Thanos' TestApplyRetentionPolicyByResolution.
    #[test]
    fn each_resolution_has_its_retention() {
        let ago = |number, from: i64, to: i64, resolution_ms| {
            let now = NOW.as_millis();
            labelled(block(number, now - from, now - to), &[], resolution_ms)
        };
        let mixed = vec![
            ago(1, 3 * DAY, 2 * DAY, 0),
            ago(2, 2 * DAY, DAY, 300_000),
            ago(3, DAY, 23 * HOUR, HOUR),
            ago(4, 23 * HOUR, 6 * HOUR, 0),
        ];
        let every = vec![
            ago(1, DAY, 0, 0),
            ago(2, 2 * DAY, DAY + 1000, 0),
            ago(3, 7 * DAY, 6 * DAY, 300_000),
            ago(4, 8 * DAY, 7 * DAY + 1000, 300_000),
            ago(5, 14 * DAY, 13 * DAY, HOUR),
            ago(6, 15 * DAY, 14 * DAY + 1000, HOUR),
        ];
        let ancient = vec![block(1, -70 * 365 * DAY, -70 * 365 * DAY + HOUR)];
        let unknown = vec![ago(1, 3 * DAY, 2 * DAY, 1)];
        let cases = [
            (Vec::new(), plain(DAY, 7 * DAY, 14 * DAY), vec![]),
            (mixed.clone(), plain(DAY, 0, 0), vec![1]),
            (mixed, plain(0, 0, 0), vec![]),
            (ancient, plain(0, 0, 0), vec![]),
            (unknown, plain(DAY, DAY, DAY), vec![]),
            (every, plain(DAY, 7 * DAY, 14 * DAY), vec![2, 4, 6]),
        ];
        for (blocks, retention, expected) in cases {
            let expired = retention.expired(&view(blocks), NOW);
            let expected: Vec<_> = expected.into_iter().map(block_id).collect();
            assert_eq!(ids(&expired.deletable), expected);
            assert!(expired.only_copies.is_empty());
        }
    }

    /// C-20: the time of a block ends with the second.
    #[test]
    fn the_last_second_counts() {
        let retention = plain(DAY, 0, 0);
        let end = |ms| Timestamp::from_millis(ms);
        assert!(!retention.is_over(Resolution::RAW, end(1999), end(DAY + 1000)));
        assert!(retention.is_over(Resolution::RAW, end(1999), end(DAY + 1001)));
        assert_eq!(
            retention.details(Resolution::RAW),
            "block exceeding retention of 24h0m0s"
        );
    }

    /// C-20: nothing goes whose coarser copy is still to be kept and is not there.
    #[test]
    fn the_only_copy_stays() {
        let retention = |five_minutes_ms, hour_ms| Retention {
            raw_ms: 2 * DAY,
            five_minutes_ms,
            hour_ms,
            downsampling: Downsampling::On,
        };
        let raw = || made_from(block(1, 0, DAY), &[10, 11]);
        let copy = |number, sources: &[u32], resolution_ms| {
            made_from(labelled(block(number, 0, DAY), &[], resolution_ms), sources)
        };
        let mut doomed = copy(2, &[10, 11], 300_000);
        doomed.marks.deletion = Some(NOW);
        let elsewhere = labelled(copy(2, &[10, 11], 300_000), &[("a", "b")], 300_000);
        let forever = retention(0, 0);
        // What there is beside the raw block, the retention, and whether the raw block stays.
        let cases = [
            (vec![], forever, true),
            (vec![copy(2, &[10, 11], 300_000)], forever, false),
            (vec![copy(2, &[10], 300_000)], forever, true),
            (
                vec![copy(2, &[10], 300_000), copy(3, &[11, 12], 300_000)],
                forever,
                false,
            ),
            (vec![copy(2, &[10, 11], HOUR)], forever, false),
            (vec![doomed], forever, true),
            (vec![elsewhere], forever, true),
            // Nobody wants it any longer.
            (vec![], retention(10 * DAY, 10 * DAY), false),
            // Only an hour's windows are kept, and five minutes do not make them any more.
            (vec![], retention(10 * DAY, 0), true),
            (
                vec![copy(2, &[10, 11], HOUR)],
                retention(10 * DAY, 0),
                false,
            ),
        ];
        for (number, (mut blocks, retention, stays)) in cases.into_iter().enumerate() {
            blocks.push(raw());
            let expired = retention.expired(&view(blocks), NOW);
            let found = ids(&expired.only_copies) == [block_id(1)];
            assert_eq!(found, stays, "case {number}: {expired:?}");
            assert_eq!(ids(&expired.deletable).contains(&block_id(1)), !stays);
        }
    }

    /// C-21.
    #[test]
    fn too_short_a_retention_is_refused() {
        let case = |raw_ms, five_minutes_ms, downsampling| {
            let retention = Retention {
                raw_ms,
                five_minutes_ms,
                hour_ms: 1,
                downsampling,
            };
            retention
                .validate()
                .map_err(|error| error.message().to_owned())
        };
        use Downsampling::{Off, On};
        assert_eq!(case(0, 0, On), Ok(()));
        assert_eq!(case(40 * HOUR, 240 * HOUR, On), Ok(()));
        assert_eq!(case(1, 1, Off), Ok(()));
        let error = case(40 * HOUR - 1, 0, On).unwrap_err();
        assert!(error.ends_with("(40 hours)"), "{error}");
        let error = case(0, 240 * HOUR - 1, On).unwrap_err();
        assert!(error.ends_with("(10 days)"), "{error}");
    }
}
