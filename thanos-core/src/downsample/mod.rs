//! Downsampling: the chunks of a series made into chunks of aggregates over windows of 5 minutes or an hour.
//!
//! ```text
//! raw chunks -> samples -> stretches of one kind -> batches that end with a window -> one chunk of aggregates each
//! 5m chunks ------------> stretches of one kind -> batches of whole chunks -------> one chunk of aggregates each
//! ```
//!
//! A window holds the count, sum, minimum and maximum of its samples, and the running total of a counter with its
//! resets taken out. Native histograms have no minimum and maximum. A window's time is its last millisecond, or the last
//! sample of the batch where that comes earlier, so that the windows of two batches never overlap.
//!
//! # How near answers are
//!
//! Over windows of `w` milliseconds, compared with the raw samples; ranges that begin and end with windows:
//!
//! | function | answer over windows |
//! |---|---|
//! | `min_`, `max_`, `sum_`, `count_`, `present_over_time` | the same; sums but for rounding |
//! | `avg_over_time`, and a selector without a function | the average of windows, which count alike: the same where all have as many samples, otherwise between the extremes |
//! | `last_over_time`, `quantile_over_time` | the average of a window, between its extremes |
//! | `stddev_over_time`, `stdvar_over_time` | that of the averages of windows: not more than of the samples, and nothing of what is inside of windows |
//! | `rate`, `increase` | `increase` is off by at most what the counter grows in one `w`, and in two scrapes: PromQL guesses the first window from the others. No reset is lost or counted twice |
//! | `delta` | off by at most how far the samples of the first and of the last window are apart, and by the share `w` of the range |
//! | `rate` and `histogram_quantile` of native histograms | as `rate`, for each bucket; but what a chunk begins with is counted once more where the chunk before it had a reset, as by Thanos, because the format does not say how it ended |
//! | `resets`, `changes`, `deriv`, `irate` | what the windows do: totals have no resets |
//!
//! Ranges that cut windows are off by the windows that they cut, and rates want a range of two windows or more.
//!
//! One series is in memory at a time, decoded; [`downsample_block`] writes a whole block so. Sources: Thanos' block
//! format (`pkg/compact/downsample`), whose chunks of floats these are byte for byte.
//!
//! # Example
//!
//! ```
//! use thanos_core::chunk::{self, Aggregate, Samples};
//! use thanos_core::downsample::{FIVE_MINUTES_MS, RAW_MS, downsample};
//! use thanos_core::time::Timestamp;
//!
//! let mut samples = Samples::new();
//! for minute in 0..10 {
//!     samples.push_float(Timestamp::from_millis(minute * 60_000), minute as f64);
//! }
//! let chunks = downsample(&chunk::encode(&samples), RAW_MS, FIVE_MINUTES_MS)?;
//! let counts = chunk::samples(chunks[0].get(Aggregate::Count).expect("floats are counted"))?;
//! assert_eq!(counts.times(), [299_999, 540_000]);
//! assert_eq!(counts.values(), [5.0, 5.0]);
//! # Ok::<(), thanos_core::Error>(())
//! ```

mod block;
mod counter;
mod floats;
mod histograms;
#[cfg(test)]
mod tests;
mod windows;

use crate::chunk::{
    self, Aggregate, AggregateSet, Chunk, ChunkPayload, Encoding, Samples, SeriesChunk, XorEncoder,
};
use crate::error::{Error, Result};
use crate::histogram::is_stale_nan;
use crate::time::{TimeRange, Timestamp};

pub use block::{DownsampleBlockOptions, downsample_block};
pub use counter::CounterTotal;
pub(crate) use histograms::{Window as HistogramWindow, put_windows as put_histogram_windows};

/// The resolution of samples as they were scraped, in milliseconds.
pub const RAW_MS: i64 = 0;
/// The finer resolution of downsampled blocks, in milliseconds.
pub const FIVE_MINUTES_MS: i64 = 5 * 60 * 1000;
/// The coarser resolution of downsampled blocks, in milliseconds.
pub const ONE_HOUR_MS: i64 = 60 * 60 * 1000;

/// How far apart raw samples are assumed to be; only the number of chunks depends on it.
const RAW_DISTANCE_MS: i64 = 60 * 1000;
/// The windows that a chunk should have on average at most.
const CHUNK_WINDOWS: usize = 140;
/// The windows that a chunk can have: a counter has two samples more, and a chunk counts up to 65,535.
const CHUNK_WINDOWS_MAX: usize = 65_000;

/// Returns the chunks of one series at a lower resolution; `chunks` are in the order of their times.
///
/// Samples that are not a number and markers of the end of a series are left out; a series of nothing else has no
/// chunks. Raw chunks in a downsampled series, which old compactors have left, are downsampled to 5 minutes first.
///
/// # Errors
///
/// [`Invalid`](crate::ErrorKind::Invalid) when `to_ms` is no lower resolution than `from_ms`;
/// [`Corrupt`](crate::ErrorKind::Corrupt) when chunks overlap or can not be decoded.
pub fn downsample(chunks: &[SeriesChunk], from_ms: i64, to_ms: i64) -> Result<Vec<SeriesChunk>> {
    if to_ms <= from_ms {
        return Err(not_lower(from_ms, to_ms));
    }
    check_order(chunks)?;
    let mut out = Vec::new();
    if from_ms == RAW_MS {
        raw(chunks, to_ms, &mut out)?;
    } else {
        aggregated(chunks, from_ms, to_ms, &mut out)?;
    }
    Ok(out)
}

fn not_lower(from_ms: i64, to_ms: i64) -> Error {
    Error::invalid(format!(
        "cannot downsample from a resolution of {from_ms} ms to {to_ms} ms: it is not lower"
    ))
}

fn check_order(chunks: &[SeriesChunk]) -> Result<()> {
    let overlap = chunks
        .windows(2)
        .find(|two| two[1].min_time <= two[0].max_time);
    let Some([before, after]) = overlap else {
        return Ok(());
    };
    Err(Error::corrupt(format!(
        "overlapping chunks in a series: {:?} and {:?}",
        before.time_range(),
        after.time_range()
    )))
}

/// What a batch is of: no two of them fit into one chunk of aggregates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Float,
    Histogram,
}

fn raw(chunks: &[SeriesChunk], to_ms: i64, out: &mut Vec<SeriesChunk>) -> Result<()> {
    let mut samples = Samples::new();
    let mut kind = None;
    for part in chunks {
        let Some(chunk) = part.get(Aggregate::Raw) else {
            return Err(Error::corrupt("a raw series has a downsampled chunk"));
        };
        let own = match chunk.encoding {
            Encoding::XOR | Encoding::XOR2 => Kind::Float,
            _ => Kind::Histogram,
        };
        if let Some(before) = kind.replace(own).filter(|before| *before != own) {
            raw_stretch(before, &samples, to_ms, out)?;
            samples.clear();
        }
        chunk::decode(chunk, &mut samples)?;
    }
    match kind {
        Some(kind) => raw_stretch(kind, &samples, to_ms, out),
        None => Ok(()),
    }
}

fn raw_stretch(
    kind: Kind,
    samples: &Samples,
    to_ms: i64,
    out: &mut Vec<SeriesChunk>,
) -> Result<()> {
    match kind {
        Kind::Float => floats::raw(samples, to_ms, out),
        Kind::Histogram => histograms::raw(samples, to_ms, out),
    }
}

fn aggregated(
    chunks: &[SeriesChunk],
    from_ms: i64,
    to_ms: i64,
    out: &mut Vec<SeriesChunk>,
) -> Result<()> {
    let chunks = without_raw(chunks)?;
    let stretches = chunks.chunk_by(|before, after| kind_of(before) == kind_of(after));
    for stretch in stretches {
        let [first, .., last] = stretch else {
            aggregated_batch(stretch, to_ms, out)?;
            continue;
        };
        let mut windows = 0;
        for chunk in stretch {
            windows += windows_of(chunk)?;
        }
        let range = TimeRange {
            min: first.min_time,
            max: last.max_time,
        };
        let count = chunk_count(range, from_ms, to_ms, windows);
        for batch in stretch.chunks((stretch.len() / count).max(1)) {
            aggregated_batch(batch, to_ms, out)?;
        }
    }
    Ok(())
}

fn aggregated_batch(batch: &[SeriesChunk], to_ms: i64, out: &mut Vec<SeriesChunk>) -> Result<()> {
    let made = match batch.first().map(kind_of) {
        Some(Kind::Float) => floats::aggregated(batch, to_ms)?,
        Some(Kind::Histogram) => return histograms::aggregated(batch, to_ms, out),
        None => None,
    };
    out.extend(made);
    Ok(())
}

/// Returns the chunks of a downsampled series, raw ones made into aggregates over 5 minutes.
fn without_raw(chunks: &[SeriesChunk]) -> Result<Vec<SeriesChunk>> {
    let mut fixed = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        match chunk.payload {
            ChunkPayload::Aggregates(_) => fixed.push(chunk.clone()),
            ChunkPayload::Raw(_) => raw(std::slice::from_ref(chunk), FIVE_MINUTES_MS, &mut fixed)?,
        }
    }
    Ok(fixed)
}

fn kind_of(chunk: &SeriesChunk) -> Kind {
    let sum = chunk.get(Aggregate::Counter);
    let sum = sum.or_else(|| chunk.get(Aggregate::Sum));
    match sum.map(|chunk| chunk.encoding) {
        None | Some(Encoding::XOR | Encoding::XOR2) => Kind::Float,
        Some(_) => Kind::Histogram,
    }
}

fn windows_of(chunk: &SeriesChunk) -> Result<usize> {
    chunk
        .get(Aggregate::Count)
        .map_or(Ok(0), chunk::num_samples)
}

/// Returns how many chunks a stretch of `samples` samples over `range` should be made into.
///
/// As many windows are expected as fit, fewer where samples are further apart than `from_ms`.
fn chunk_count(range: TimeRange, from_ms: i64, to_ms: i64, samples: usize) -> usize {
    let length = range.max.as_millis().saturating_sub(range.min.as_millis());
    let from_ms = if from_ms == RAW_MS {
        RAW_DISTANCE_MS
    } else {
        from_ms
    };
    let expected = estimate(length, from_ms, to_ms, samples);
    expected / (CHUNK_WINDOWS + 1) + 1
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate; the formula is Thanos', in floats"
)]
fn estimate(length_ms: i64, from_ms: i64, to_ms: i64, samples: usize) -> usize {
    let most = (length_ms / to_ms) as f64;
    let fullness = samples as f64 / (length_ms as f64 / from_ms as f64);
    (most * fullness.min(1.0)) as usize + 1
}

/// Returns the samples of `aggregate` in all chunks of a batch. Chunks without it are passed over.
fn column(batch: &[SeriesChunk], aggregate: Aggregate) -> Result<Samples> {
    let mut column = Samples::new();
    for chunk in batch.iter().filter_map(|chunk| chunk.get(aggregate)) {
        chunk::decode(chunk, &mut column)?;
    }
    Ok(column)
}

/// Returns the positions of the samples that count: not before the one before, and no marker of an end.
fn in_order(samples: &Samples) -> impl Iterator<Item = usize> + '_ {
    let mut last = i64::MIN;
    let pairs = samples.times().iter().zip(samples.values()).enumerate();
    pairs.filter_map(move |(at, (time, value))| {
        let counts = *time >= last && !is_stale_nan(*value);
        if counts {
            last = *time;
        }
        counts.then_some(at)
    })
}

/// Returns floats as a chunk.
fn xor_chunk(times: &[i64], values: &[f64]) -> Result<Chunk> {
    if u16::try_from(times.len()).is_err() {
        let len = times.len();
        return Err(Error::corrupt(format!(
            "{len} windows do not fit into a chunk"
        )));
    }
    let mut encoder = XorEncoder::new();
    encoder.extend(times, values);
    Ok(encoder.finish())
}

/// Returns a chunk of the aggregates in `set` over windows from `min` to `max`.
fn aggregates(min: i64, max: i64, set: AggregateSet) -> SeriesChunk {
    SeriesChunk {
        min_time: Timestamp::from_millis(min),
        max_time: Timestamp::from_millis(max),
        payload: ChunkPayload::Aggregates(Box::new(set)),
    }
}
