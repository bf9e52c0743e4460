//! Chunks of one series that overlap, spread over replicas that do not.

use crate::chunk::{ChunkPayload, SeriesChunk, num_samples};
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

/// The chunks of a replica so far.
struct Line {
    end: Timestamp,
    /// How far its last samples are apart, in milliseconds; 0 where that is not known.
    interval_ms: i64,
}

/// Returns for each of `chunks`, which are in the order of their start, the number of the replica that it belongs to, as
/// [`split_overlapping`], but where several replicas have ended it goes on with the one whose next sample would be nearest
/// to its first one.
///
/// Two servers cut their chunks at different moments. By the order alone they change places at such a seam: the samples on
/// both sides of it are of two servers, which looks like a scrape that came early or late.
pub(crate) fn split_by_rhythm(chunks: &[SeriesChunk]) -> Vec<usize> {
    let mut lines: Vec<Line> = Vec::new();
    let place = |chunk: &SeriesChunk| {
        let distance = |line: &Line| match line.interval_ms {
            0 => 0,
            interval => (chunk.min_time - line.end).abs_diff(interval),
        };
        let ended = lines.iter().enumerate();
        let ended = ended.filter(|(_, line)| line.end < chunk.min_time);
        let number = ended
            .min_by_key(|(_, line)| distance(line))
            .map(|(number, _)| number);
        let number = number.unwrap_or_else(|| {
            lines.push(Line {
                end: chunk.max_time,
                interval_ms: 0,
            });
            lines.len() - 1
        });
        let line = &mut lines[number];
        line.end = chunk.max_time;
        line.interval_ms = interval_ms(chunk).unwrap_or(line.interval_ms);
        number
    };
    chunks.iter().map(place).collect()
}

/// Returns how far the samples of a chunk of raw ones are apart in the mean, by its header.
fn interval_ms(chunk: &SeriesChunk) -> Option<i64> {
    let ChunkPayload::Raw(raw) = &chunk.payload else {
        return None;
    };
    // What is wrong with a damaged one is said when it is decoded.
    let distances = i64::try_from(num_samples(raw).ok()?).ok()? - 1;
    let span = chunk.max_time - chunk.min_time;
    (distances > 0).then(|| span / distances)
}
