//! Sets of deleted time: sorted, disjoint, closed intervals.

use crate::time::{TimeRange, Timestamp};

/// Times in whole milliseconds as disjoint ranges in ascending order; ranges that touch are one.
///
/// # Example
///
/// ```
/// use thanos_core::block::Intervals;
/// use thanos_core::time::TimeRange;
///
/// let mut deleted = Intervals::default();
/// deleted.add(TimeRange::from_millis(10, 19));
/// deleted.add(TimeRange::from_millis(30, 39));
/// deleted.add(TimeRange::from_millis(20, 25));
/// assert_eq!(deleted.ranges(), [TimeRange::from_millis(10, 25), TimeRange::from_millis(30, 39)]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intervals {
    ranges: Vec<TimeRange>,
}

impl Intervals {
    /// Returns the set of all times in `ranges`, which may overlap and come in any order.
    pub fn from_ranges(mut ranges: Vec<TimeRange>) -> Self {
        ranges.retain(|range| !range.is_empty());
        ranges.sort_unstable_by_key(|range| range.min);
        ranges.dedup_by(|next, last| {
            let joined = touches(*last, *next);
            if joined {
                last.max = last.max.max(next.max);
            }
            joined
        });
        Self { ranges }
    }

    /// Adds the times of `range`.
    pub fn add(&mut self, range: TimeRange) {
        if range.is_empty() {
            return;
        }
        // All ranges that overlap or touch the new one lie between the two places.
        let from = self.ranges.partition_point(|old| old.max + 1 < range.min);
        let to = self.ranges.partition_point(|old| old.min <= range.max + 1);
        let joined = self.ranges[from..to]
            .iter()
            .fold(range, |all, old| TimeRange {
                min: all.min.min(old.min),
                max: all.max.max(old.max),
            });
        self.ranges.splice(from..to, [joined]);
    }

    /// Returns the set with every range made as long as the windows of `window_ms` milliseconds that it has a part of:
    /// what is deleted of data of that resolution. Without windows it is the same set.
    pub fn widened(&self, window_ms: i64) -> Self {
        if window_ms <= 1 {
            return self.clone();
        }
        let start = |time: i64| {
            time.checked_sub(time.rem_euclid(window_ms))
                .unwrap_or(i64::MIN)
        };
        let wider = self.ranges.iter().map(|range| {
            let [min, last] = [range.min, range.max].map(|time| start(time.as_millis()));
            TimeRange::from_millis(min, last.saturating_add(window_ms - 1))
        });
        Self::from_ranges(wider.collect())
    }

    /// Returns the ranges in order.
    pub fn ranges(&self) -> &[TimeRange] {
        &self.ranges
    }

    /// Reports whether there is no time in the set.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Reports whether `time` is in the set.
    pub fn contains(&self, time: Timestamp) -> bool {
        self.overlapping(TimeRange {
            min: time,
            max: time,
        })
        .next()
        .is_some()
    }

    /// Reports whether every time of `range` is in the set.
    pub fn covers(&self, range: TimeRange) -> bool {
        self.overlapping(range)
            .any(|own| own.min <= range.min && range.max <= own.max)
    }

    /// Returns the ranges that share a time with `range`, in order.
    pub fn overlapping(&self, range: TimeRange) -> impl Iterator<Item = TimeRange> + '_ {
        let from = self.ranges.partition_point(|own| own.max < range.min);
        self.ranges[from..]
            .iter()
            .copied()
            .take_while(move |own| own.min <= range.max)
    }
}

/// Whether `next`, which does not start before `last`, overlaps it or follows it without a gap.
fn touches(last: TimeRange, next: TimeRange) -> bool {
    next.min <= last.max + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ENDS: [i64; 4] = [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX];

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        for min in ENDS {
            for max in ENDS {
                let mut set = Intervals::default();
                set.add(TimeRange::from_millis(0, 0));
                set.add(TimeRange::from_millis(min, max));
                assert_eq!(set.contains(Timestamp::from_millis(max)), min <= max);
                let all = set.ranges().to_vec();
                assert_eq!(Intervals::from_ranges(all), set);
            }
        }
    }

    #[test]
    fn a_wider_set_has_whole_windows() {
        let set = Intervals::from_ranges(vec![
            TimeRange::from_millis(-1, 0),
            TimeRange::from_millis(120, 149),
            TimeRange::from_millis(150, 150),
            TimeRange::from_millis(301, i64::MAX),
        ]);
        let wider = [
            TimeRange::from_millis(-50, 49),
            TimeRange::from_millis(100, 199),
            TimeRange::from_millis(300, i64::MAX),
        ];
        assert_eq!(set.widened(50).ranges(), wider);
        assert_eq!(set.widened(0), set);
        let all = Intervals::from_ranges(vec![TimeRange::from_millis(i64::MIN, i64::MAX)]);
        assert_eq!(all.widened(300_000), all);
    }

    proptest! {
        #[test]
        fn a_set_holds_exactly_the_times_that_were_added(
            ranges in prop::collection::vec((0_i64..40, -2_i64..8), 0..12),
            probe in (0_i64..45, 0_i64..6),
        ) {
            let ranges: Vec<TimeRange> = ranges
                .into_iter()
                .map(|(min, len)| TimeRange::from_millis(min, min + len))
                .collect();
            let mut set = Intervals::default();
            ranges.iter().for_each(|range| set.add(*range));
            prop_assert_eq!(&Intervals::from_ranges(ranges.clone()), &set);
            let holds = |ms| ranges.iter().any(|range| range.contains(Timestamp::from_millis(ms)));
            for ms in -1..50 {
                prop_assert_eq!(set.contains(Timestamp::from_millis(ms)), holds(ms), "{}", ms);
            }
            let probe = TimeRange::from_millis(probe.0, probe.0 + probe.1);
            let covered = (probe.min.as_millis()..=probe.max.as_millis()).all(holds);
            prop_assert_eq!(set.covers(probe), covered);
            let gaps = set.ranges().windows(2).all(|pair| pair[0].max + 1 < pair[1].min);
            prop_assert!(gaps, "{:?}", set);
        }
    }
}
