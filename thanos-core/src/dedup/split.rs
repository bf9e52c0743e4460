//! Chunks of one series that overlap, spread over replicas that do not.

use crate::time::{TimeRange, Timestamp};

/// Returns for each of `ranges`, which are in the order of their start, the number of the replica that it belongs to:
/// the first whose chunks all end before it.
///
/// The StoreAPI does not say which replica a chunk is of: the labels that told are removed on the way.
///
/// # Example
///
/// ```
/// use thanos_core::dedup::split_overlapping;
/// use thanos_core::time::TimeRange;
///
/// let chunks = [(0, 10), (1, 11), (11, 20), (12, 21)];
/// let chunks = chunks.map(|(min, max)| TimeRange::from_millis(min, max));
/// assert_eq!(split_overlapping(chunks), [0, 1, 0, 1]);
/// ```
pub fn split_overlapping(ranges: impl IntoIterator<Item = TimeRange>) -> Vec<usize> {
    let mut ends: Vec<Timestamp> = Vec::new();
    let place = |range: TimeRange| {
        let free = ends.iter().position(|end| *end < range.min);
        match free {
            Some(number) => {
                ends[number] = range.max;
                number
            }
            None => {
                ends.push(range.max);
                ends.len() - 1
            }
        }
    };
    ranges.into_iter().map(place).collect()
}
