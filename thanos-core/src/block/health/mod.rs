//! Whether an index keeps its promises: order of series, labels and chunks, and chunks within the block's time.
//!
//! Reads every entry of the index and no chunk, so that an index alone is enough. It counts what is wrong; what follows
//! from that - stop, repair, leave alone - is for the caller, who asks with one of the `check` methods.
//!
//! Source of counts and texts: Thanos `pkg/block/index.go`, `GatherIndexHealthStats` and `HealthStats`.

mod series;

use std::path::Path;

use self::series::{ChunkFaults, LabelsInOrder};
use super::{Block, INDEX_FILE, Meta};
use crate::error::{Error, Result};
use crate::index::{ChunkMeta, IndexReader, RawSeries, SeriesRef};
use crate::labels::{LabelsRef, METRIC_NAME};
use crate::mmap::open_bytes;
use crate::time::Timestamp;

/// What an index is like: its disorder, and how long and large its parts are.
///
/// # Example
///
/// ```
/// use thanos_core::block::{Block, HealthStats};
/// # let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/block-1k-2h/01M81JDC7R8JKP7SEW1VN2HAQ9");
///
/// let health = HealthStats::of_block(&Block::open(dir.as_ref())?)?;
/// health.check_any()?;
/// assert_eq!((health.total_series, health.total_chunks), (1000, 3987));
/// assert!(health.series_bytes.max() > Some(0));
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthStats {
    /// All series.
    pub total_series: u64,
    /// Series with chunks out of order.
    pub out_of_order_series: u64,
    /// Chunks that begin before the one before them ends, without being a duplicate of it.
    pub out_of_order_chunks: u64,
    /// Chunks with the times of the one before them; whether their data is equal too nobody has looked.
    pub duplicated_chunks: u64,
    /// Chunks that leave the block's time: the two next are among them.
    pub outside_chunks: u64,
    /// Chunks that lie outside as a whole and so are never read.
    pub complete_outside_chunks: u64,
    /// Chunks that begin when the block ends, as <https://github.com/prometheus/tsdb/issues/347> left them: the next
    /// block has them too.
    pub issue_347_outside_chunks: u64,
    /// Label names that come before their predecessor, as Prometheus 2.8 and older wrote them, or repeat it.
    pub out_of_order_labels: u64,
    /// The first series of each kind of disorder, for messages.
    pub examples: Examples,
    /// The time that the chunks of a series cover, in milliseconds.
    pub series_life_ms: Spread,
    /// The same of series with more than one sample.
    pub series_life_ms_without_single_samples: Spread,
    /// The chunks of a series.
    pub series_chunks: Spread,
    /// All chunks.
    pub total_chunks: u64,
    /// The time that a chunk covers, in milliseconds.
    pub chunk_duration_ms: Spread,
    /// The bytes of a chunk, estimated from the distance of two in a segment.
    pub chunk_bytes: Spread,
    /// The bytes of a series entry, estimated from the distance of two.
    pub series_bytes: Spread,
    /// Series that cover no time.
    pub single_sample_series: u64,
    /// Chunks that cover no time.
    pub single_sample_chunks: u64,
    /// Label names.
    pub label_names: u64,
    /// Metric names.
    pub metric_names: u64,
}

/// Series that show what is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examples {
    /// A series with chunks out of order.
    pub out_of_order_chunks: Option<String>,
    /// A series with labels out of order.
    pub out_of_order_labels: Option<String>,
    /// A series with a chunk outside the block's time.
    pub outside_chunks: Option<String>,
}

/// The least, the greatest and the mean of some numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spread {
    range: Option<(i64, i64)>,
    sum: i64,
    count: i64,
}

impl Spread {
    fn add(&mut self, value: i64) {
        let (min, max) = self.range.unwrap_or((value, value));
        self.range = Some((min.min(value), max.max(value)));
        self.sum = self.sum.saturating_add(value);
        self.count += 1;
    }

    /// Returns the least number.
    pub fn min(&self) -> Option<i64> {
        self.range.map(|(min, _)| min)
    }

    /// Returns the greatest number.
    pub fn max(&self) -> Option<i64> {
        self.range.map(|(_, max)| max)
    }

    /// Returns the mean, rounded towards zero.
    pub fn mean(&self) -> Option<i64> {
        self.sum.checked_div(self.count)
    }
}

impl HealthStats {
    /// Returns the health of the index of `block`.
    ///
    /// # Errors
    ///
    /// As [`HealthStats::of_index`].
    pub fn of_block(block: &Block) -> Result<Self> {
        let meta = block.meta();
        Self::of_index(block.index(), meta.min_time, meta.max_time)
    }

    /// Returns the health of the index in the directory `dir` of the block that `meta` describes; the rest of the
    /// block need not be there.
    ///
    /// # Errors
    ///
    /// `NotFound` without an index, otherwise as [`HealthStats::of_index`].
    pub fn of_index_in(dir: &Path, meta: &Meta) -> Result<Self> {
        let path = dir.join(INDEX_FILE);
        let index = IndexReader::open(&path.display().to_string(), open_bytes(&path)?)?;
        Self::of_index(&index, meta.min_time, meta.max_time)
    }

    /// Returns the health of `index`, whose block says of itself that it begins at `min_time` and ends before
    /// `max_time`.
    ///
    /// COMPAT: a chunk may end at `max_time` itself, though it is the first time after the block.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the index is damaged, has a series without labels or chunks, or series out of order.
    pub fn of_index(index: &IndexReader, min_time: Timestamp, max_time: Timestamp) -> Result<Self> {
        let mut walk = Walk {
            stats: Self {
                label_names: index.label_names().len() as u64,
                metric_names: index.postings_table().value_count(METRIC_NAME) as u64,
                ..Self::default()
            },
            min_time,
            max_time,
            series_align: index.version().series_offset(SeriesRef(1)).unwrap_or(1),
            labels: LabelsInOrder::default(),
            raw: RawSeries::default(),
        };
        let mut previous = None;
        for series in &index.all_postings()? {
            walk.add_series(index, series, previous)?;
            previous = Some(series);
        }
        Ok(walk.stats)
    }

    /// Checks that no chunk leaves the block's time but those of issue 347.
    ///
    /// # Errors
    ///
    /// `Corrupt` otherwise: only somebody who knows the block can say what to do.
    pub fn check_critical(&self) -> Result<()> {
        fail(self.critical())
    }

    /// Checks that there are no chunks of issue 347, which a repair removes without a loss.
    ///
    /// # Errors
    ///
    /// `Corrupt` otherwise.
    pub fn check_issue_347(&self) -> Result<()> {
        fail(self.issue_347())
    }

    /// Checks that the labels of all series are in order.
    ///
    /// # Errors
    ///
    /// `Corrupt` otherwise.
    pub fn check_label_order(&self) -> Result<()> {
        fail(self.label_order())
    }

    /// Checks that the chunks of all series are in order.
    ///
    /// # Errors
    ///
    /// `Corrupt` otherwise.
    pub fn check_chunk_order(&self) -> Result<()> {
        fail(self.chunk_order())
    }

    /// Checks all of it.
    ///
    /// # Errors
    ///
    /// `Corrupt` with all that is wrong, separated by commas.
    pub fn check_any(&self) -> Result<()> {
        fail(joined([
            self.critical(),
            self.issue_347(),
            self.label_order(),
            self.chunk_order(),
        ]))
    }

    fn critical(&self) -> Option<String> {
        let known = self.complete_outside_chunks + self.issue_347_outside_chunks;
        let partly = self.outside_chunks.saturating_sub(known);
        let partly = found(partly, "chunks non-completely outside the block time range");
        let complete = found(
            self.complete_outside_chunks,
            "chunks completely outside the block time range",
        );
        joined([partly, complete])
    }

    fn issue_347(&self) -> Option<String> {
        found(
            self.issue_347_outside_chunks,
            "chunks outside the block time range introduced by https://github.com/prometheus/tsdb/issues/347",
        )
    }

    fn label_order(&self) -> Option<String> {
        let count = self.out_of_order_labels;
        (count > 0).then(|| format!("index contains {count} postings with out of order labels"))
    }

    fn chunk_order(&self) -> Option<String> {
        let (series, chunks) = (self.out_of_order_series, self.out_of_order_chunks);
        let ratio = |part: u64, whole: u64| part as f64 / whole as f64;
        (chunks > 0).then(|| {
            format!(
                "{series}/{} series have an average of {:.3} out-of-order chunks: {:.3} of these are exact \
                 duplicates (in terms of data and time range)",
                self.total_series,
                ratio(chunks, series),
                ratio(self.duplicated_chunks, chunks)
            )
        })
    }
}

/// Checks that the index of `block` keeps all promises.
///
/// # Errors
///
/// `Corrupt` with what is wrong.
pub fn verify_index(block: &Block) -> Result<()> {
    let file = block.dir().join(INDEX_FILE).display().to_string();
    let checked = HealthStats::of_block(block).and_then(|health| health.check_any());
    checked.map_err(|error| error.in_file(file))
}

fn found(count: u64, what: &str) -> Option<String> {
    (count > 0).then(|| format!("found {count} {what}"))
}

fn joined(faults: impl IntoIterator<Item = Option<String>>) -> Option<String> {
    let faults: Vec<String> = faults.into_iter().flatten().collect();
    (!faults.is_empty()).then(|| faults.join(", "))
}

fn fail(faults: Option<String>) -> Result<()> {
    faults.map_or(Ok(()), |faults| Err(Error::corrupt(faults)))
}

/// The counting of one index.
struct Walk {
    stats: HealthStats,
    min_time: Timestamp,
    max_time: Timestamp,
    /// The bytes between two neighbours among references.
    series_align: u64,
    labels: LabelsInOrder,
    raw: RawSeries,
}

impl Walk {
    fn add_series(&mut self, index: &IndexReader, series: u32, before: Option<u32>) -> Result<()> {
        let reference = SeriesRef::from(series);
        if let Some(before) = before {
            let bytes = u64::from(series.saturating_sub(before)) * self.series_align;
            self.stats.series_bytes.add(to_i64(bytes));
        }
        self.stats.total_series += 1;
        index.raw_series(reference, &mut self.raw)?;
        self.add_labels(index, reference)?;
        self.add_chunks(reference)
    }

    fn add_labels(&mut self, index: &IndexReader, series: SeriesRef) -> Result<()> {
        let disorder = self.labels.read(index.symbols(), &self.raw.labels)?;
        let labels = self.labels.current();
        if labels.is_empty() {
            let message = format!("empty label set detected for series {}", series.0);
            return Err(Error::corrupt(message));
        }
        if let Some(previous) = self.labels.previous()
            && previous >= labels
        {
            let message = format!("series {labels} out of order; previous {previous}");
            return Err(Error::corrupt(message));
        }
        if disorder > 0 {
            self.stats.out_of_order_labels += disorder;
            show(&mut self.stats.examples.out_of_order_labels, labels);
        }
        Ok(())
    }

    fn add_chunks(&mut self, series: SeriesRef) -> Result<()> {
        let (stats, chunks) = (&mut self.stats, &self.raw.chunks[..]);
        if chunks.is_empty() {
            let message = format!("empty chunks for series {}", series.0);
            return Err(Error::corrupt(message));
        }
        let mut life_ms = 0_i64;
        for chunk in chunks {
            let duration_ms = chunk.max_time - chunk.min_time;
            life_ms = life_ms.saturating_add(duration_ms);
            stats.chunk_duration_ms.add(duration_ms);
            stats.single_sample_chunks += u64::from(duration_ms == 0);
        }
        stats.total_chunks += chunks.len() as u64;
        stats.series_chunks.add(to_i64(chunks.len() as u64));
        stats.series_life_ms.add(life_ms);
        if life_ms == 0 {
            stats.single_sample_series += 1;
        } else {
            stats.series_life_ms_without_single_samples.add(life_ms);
        }
        add_chunk_bytes(&mut stats.chunk_bytes, chunks);
        let faults = ChunkFaults::of(chunks, self.min_time, self.max_time);
        stats.add_faults(&faults, self.labels.current());
        Ok(())
    }
}

impl HealthStats {
    fn add_faults(&mut self, faults: &ChunkFaults, labels: LabelsRef<'_>) {
        self.duplicated_chunks += faults.duplicated;
        self.outside_chunks += faults.outside;
        self.complete_outside_chunks += faults.complete_outside;
        self.issue_347_outside_chunks += faults.issue_347;
        if faults.outside > 0 {
            show(&mut self.examples.outside_chunks, labels);
        }
        if faults.out_of_order > 0 {
            self.out_of_order_series += 1;
            self.out_of_order_chunks += faults.out_of_order;
            show(&mut self.examples.out_of_order_chunks, labels);
        }
    }
}

/// Adds the distances of the chunks that follow each other in a segment.
///
/// COMPAT: the last two chunks of a series are left out, as in Thanos, because the largest estimate goes into
/// meta.json as the most that a reader fetches.
fn add_chunk_bytes(bytes: &mut Spread, chunks: &[ChunkMeta]) {
    let followed = chunks.len().saturating_sub(2);
    for pair in chunks.windows(2).take(followed) {
        let [this, next] = [pair[0].reference, pair[1].reference];
        if this.segment() == next.segment() {
            bytes.add(i64::from(next.offset()) - i64::from(this.offset()));
        }
    }
}

fn show(example: &mut Option<String>, labels: LabelsRef<'_>) {
    example.get_or_insert_with(|| labels.to_string());
}

fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
