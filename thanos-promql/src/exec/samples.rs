//! From the chunks of a series to its samples.

use std::sync::Arc;

use thanos_core::chunk::{self, ChunkPayload, Samples, SeriesChunk, StatsDecoder};
use thanos_core::histogram::{STALE_NAN, is_stale_nan};
use thanos_core::query::SeriesReader;

use super::source::ChunkedSeries;
use super::tile::{HISTOGRAM_HERE, HistogramRow, RowMut, histogram_bytes};
use crate::error::{Error, Result};
use crate::functions::window::Columns;

/// The decoded samples of one series at a time, in buffers that are used again.
#[derive(Debug, Default)]
pub(crate) struct SampleBuffer {
    samples: Samples,
    /// Makes one series of replicas, and samples of downsampled windows.
    reader: SeriesReader,
    times: Vec<i64>,
    values: Vec<f64>,
    /// Empty, or one for each time.
    histograms: HistogramRow,
    /// Empty, or one for each time.
    starts: Vec<i64>,
}

/// Whether markers of the end of a series are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StaleMarkers {
    /// An instant selector must see them.
    Keep,
    /// A window must not.
    Drop,
}

/// Which part of native histograms is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// All of them.
    Buckets,
    /// The number of observations and their sum; buckets may be left out.
    Statistics,
}

impl SampleBuffer {
    /// Replaces the content by the samples of `series`.
    ///
    /// Replicas become one as the series says. Other chunks that overlap are merged; of two samples with the same time
    /// the first one counts.
    pub(crate) fn decode(
        &mut self,
        series: &ChunkedSeries,
        markers: StaleMarkers,
        detail: Detail,
    ) -> Result<Columns<'_>> {
        self.times.clear();
        self.values.clear();
        self.histograms.clear();
        self.starts.clear();
        let mut window_ms = 0;
        if series.reading.is_plain(&series.chunks) {
            self.decode_chunks(series, detail)?;
        } else {
            let read = self
                .reader
                .read(&series.chunks, &series.reading, &mut self.samples);
            window_ms = read.map_err(|error| expanding(series, error))?;
            self.append();
        }
        // After merging, so that a marker that counts hides the value of another chunk at its time.
        if markers == StaleMarkers::Drop && self.values.iter().any(|value| is_stale_nan(*value)) {
            self.drop_markers();
        }
        Ok(Columns {
            times: &self.times,
            values: &self.values,
            histograms: &self.histograms,
            starts: &self.starts,
            window_ms,
        })
    }

    /// Returns the bytes that the samples hold.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.times)
            + size_of_val(&*self.values)
            + size_of_val(&*self.starts)
            + histogram_bytes(&self.histograms)
            + self.reader.memory_bytes()
    }

    /// Appends chunk after chunk.
    fn decode_chunks(&mut self, series: &ChunkedSeries, detail: Detail) -> Result<()> {
        // With overlaps it is not known before merging which sample comes before which, so neither are resets.
        let mut statistics =
            (detail == Detail::Statistics && !overlap(&series.chunks)).then(StatsDecoder::new);
        for chunk in &series.chunks {
            self.decode_chunk(series, chunk, statistics.as_mut())?;
            self.append();
        }
        Ok(())
    }

    fn decode_chunk(
        &mut self,
        series: &ChunkedSeries,
        part: &SeriesChunk,
        statistics: Option<&mut StatsDecoder>,
    ) -> Result<()> {
        let ChunkPayload::Raw(raw) = &part.payload else {
            let what = format!(
                "downsampled chunks without raw samples in {}",
                series.labels
            );
            return Err(Error::unimplemented(what));
        };
        self.samples.clear();
        let decoded = match statistics {
            None => chunk::decode(raw, &mut self.samples),
            Some(statistics) => statistics.decode(raw, &mut self.samples),
        };
        decoded.map_err(|error| expanding(series, error))
    }

    /// Appends the chunk that was decoded last.
    fn append(&mut self) {
        let (times, values) = (self.samples.times(), self.samples.values());
        let Some(first) = times.first() else {
            return;
        };
        let from = self.times.len();
        let overlaps = self.times.last().is_some_and(|last| last >= first);
        self.times.extend_from_slice(times);
        self.values.extend_from_slice(values);
        if !self.samples.is_float_only() {
            self.append_histograms(from);
        } else if !self.histograms.is_empty() {
            self.histograms.resize(self.times.len(), None);
        }
        if !(self.samples.starts().is_empty() && self.starts.is_empty()) {
            // Either side can be without start timestamps.
            self.starts.resize(from, 0);
            self.starts.extend_from_slice(self.samples.starts());
            self.starts.resize(self.times.len(), 0);
        }
        if overlaps {
            self.merge_tail(from);
        }
    }

    /// Appends the histograms of the chunk whose samples begin at `from`.
    fn append_histograms(&mut self, from: usize) {
        self.histograms.resize(from, None);
        for index in 0..self.samples.len() {
            let histogram = self.samples.histogram(index).map(|view| view.to_float());
            let value = &mut self.values[from + index];
            // The end of a series is the same whatever it had before.
            *value = match &histogram {
                None => *value,
                Some(histogram) if histogram.is_stale() => STALE_NAN,
                Some(_) => HISTOGRAM_HERE,
            };
            let histogram = histogram.filter(|histogram| !histogram.is_stale());
            self.histograms.push(histogram.map(Arc::new));
        }
    }

    fn drop_markers(&mut self) {
        let values = &self.values;
        retain_by(&mut self.times, |i| !is_stale_nan(values[i]));
        retain_by(&mut self.histograms, |i| !is_stale_nan(values[i]));
        retain_by(&mut self.starts, |i| !is_stale_nan(values[i]));
        self.values.retain(|value| !is_stale_nan(*value));
    }

    /// Merges the sorted samples from `from` on into the sorted ones before.
    ///
    /// Only what overlaps is touched: with the chunks of several replicas every chunk overlaps its predecessor.
    fn merge_tail(&mut self, from: usize) {
        let start = self.times[..from].partition_point(|time| *time < self.times[from]);
        let mut order: Vec<usize> = (start..self.times.len()).collect();
        // The sort is stable, so that the earlier chunk's sample comes first and is the one that is kept.
        order.sort_by_key(|index| self.times[*index]);
        order.dedup_by_key(|index| self.times[*index]);
        reorder(&mut self.times, start, &order);
        reorder(&mut self.values, start, &order);
        reorder(&mut self.histograms, start, &order);
        reorder(&mut self.starts, start, &order);
    }
}

fn expanding(series: &ChunkedSeries, error: thanos_core::Error) -> Error {
    Error::expanding_series(error.context(&series.labels))
}

/// Reports whether chunks follow each other otherwise than in the order of their times.
fn overlap(chunks: &[SeriesChunk]) -> bool {
    let times = |pair: &[SeriesChunk]| (pair[0].time_range(), pair[1].time_range());
    chunks
        .windows(2)
        .map(times)
        .any(|(first, second)| first.max >= second.min)
}

/// Keeps the items of `column` at the indices for which `is_kept` holds.
fn retain_by<T>(column: &mut Vec<T>, is_kept: impl Fn(usize) -> bool) {
    let mut index = 0..;
    column.retain(|_| index.next().is_some_and(&is_kept));
}

/// Replaces the items of `column` from `start` on by those at the indices `order`; an empty column stays so.
fn reorder<T: Clone>(column: &mut Vec<T>, start: usize, order: &[usize]) {
    if column.is_empty() {
        return;
    }
    let items: Vec<T> = order.iter().map(|index| column[*index].clone()).collect();
    column.splice(start.., items);
}

/// Calls `out(step, index)` with the latest sample of at most `lookback_ms` ago for each time in `wanted_ms`.
///
/// The times ascend. A sample exactly `lookback_ms` old is too old; the marker of the end of a series hides it.
pub(crate) fn look_back(
    samples: Columns<'_>,
    wanted_ms: impl Iterator<Item = i64>,
    lookback_ms: i64,
    mut out: impl FnMut(usize, usize),
) -> usize {
    let (mut end, mut found) = (0, 0);
    for (step, wanted) in wanted_ms.enumerate() {
        while samples.times.get(end).is_some_and(|time| *time <= wanted) {
            end += 1;
        }
        let Some(latest) = end.checked_sub(1) else {
            continue;
        };
        let (time, value) = (samples.times[latest], samples.values[latest]);
        if time > wanted.saturating_sub(lookback_ms) && !is_stale_nan(value) {
            found += 1;
            out(step, latest);
        }
    }
    found
}

/// Sets the floats of a fresh `row` as [`look_back`] finds them, a word of validity bits at a time.
pub(crate) fn look_back_floats(
    samples: Columns<'_>,
    mut wanted_ms: impl Iterator<Item = i64>,
    lookback_ms: i64,
    row: &mut RowMut<'_>,
) -> usize {
    let (times, values) = (samples.times, samples.values);
    let (mut end, mut found) = (0, 0);
    for (cells, word) in row.values.chunks_mut(64).zip(row.valid.iter_mut()) {
        let mut bits = 0;
        for (bit, (cell, wanted)) in cells.iter_mut().zip(&mut wanted_ms).enumerate() {
            while times.get(end).is_some_and(|time| *time <= wanted) {
                end += 1;
            }
            let Some(latest) = end.checked_sub(1) else {
                continue;
            };
            let value = values[latest];
            let is_fresh = times[latest] > wanted.saturating_sub(lookback_ms);
            *cell = value;
            bits |= u64::from(is_fresh && !is_stale_nan(value)) << bit;
        }
        *word = bits;
        found += bits.count_ones() as usize;
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use thanos_core::chunk::{SampleRef, XorEncoder};
    use thanos_core::labels::Labels;
    use thanos_core::query::Reading;
    use thanos_core::time::Timestamp;

    use super::*;
    use crate::exec::grid::Grid;
    use crate::exec::tile::{SeriesId, Tile};

    #[test]
    fn the_latest_sample_counts_until_it_is_too_old() {
        let samples = Columns::floats(&[100, 200, 300], &[1.0, 2.0, STALE_NAN]);
        let mut found = Vec::new();
        let wanted = [99, 100, 199, 250, 299, 300, 400];
        look_back(samples, wanted.into_iter(), 50, |step, at| {
            found.push((wanted[step], samples.values[at]));
        });
        assert_eq!(found, [(100, 1.0)]);
        found.clear();
        look_back(samples, wanted.into_iter(), 100, |step, at| {
            found.push((wanted[step], samples.values[at]));
        });
        assert_eq!(found, [(100, 1.0), (199, 1.0), (250, 2.0), (299, 2.0)]);
    }

    proptest! {
        #[test]
        fn both_ways_of_looking_back_find_the_same(
            times in proptest::collection::btree_set(0_i64..2000, 0..90),
            step in 1_i64..40,
            len in 1_usize..200,
            lookback in 1_i64..300,
        ) {
            let times: Vec<i64> = times.into_iter().collect();
            let value = |time: &i64| if time % 11 == 3 { STALE_NAN } else { *time as f64 };
            let values: Vec<f64> = times.iter().map(value).collect();
            let samples = Columns::floats(&times, &values);
            let grid = Grid::range(7, 7 + step * (len as i64 - 1), step).unwrap();
            let mut tile = Tile::new(grid);
            let mut row = tile.push(SeriesId::empty());
            let found = look_back_floats(samples, grid.times_ms(), lookback, &mut row);
            let mut expected = Vec::new();
            look_back(samples, grid.times_ms(), lookback, |step, at| {
                expected.push((step, values[at]));
            });
            prop_assert_eq!(found, expected.len());
            prop_assert_eq!(tile.row(0).iter_floats().collect::<Vec<_>>(), expected);
        }
    }

    fn chunk(samples: &[(i64, f64)]) -> SeriesChunk {
        let mut encoder = XorEncoder::new();
        for (ms, value) in samples {
            encoder.append(Timestamp::from_millis(*ms), *value);
        }
        let [first, last] = [samples[0].0, samples[samples.len() - 1].0];
        SeriesChunk::raw(
            Timestamp::from_millis(first),
            Timestamp::from_millis(last),
            encoder.finish(),
        )
    }

    #[test]
    fn start_timestamps_stay_with_their_samples() {
        let series = |parts: &[&[(i64, i64, f64)]]| {
            let mut chunks = Vec::new();
            for part in parts {
                let mut samples = Samples::new();
                for (start, ms, value) in *part {
                    let [start, time] = [*start, *ms].map(Timestamp::from_millis);
                    samples.push_with_start(start, time, SampleRef::Float(*value));
                }
                chunks.extend(chunk::encode(&samples));
            }
            let labels = Labels::empty();
            let reading = Reading::default();
            ChunkedSeries {
                labels,
                chunks,
                reading,
            }
        };
        let mut buffer = SampleBuffer::default();
        let mixed = series(&[
            &[(0, 10, 1.0), (0, 20, 1.0)],
            &[(5, 15, 2.0), (0, 20, 2.0), (7, 30, STALE_NAN), (7, 40, 2.0)],
            &[(0, 50, 3.0)],
        ]);
        let columns = buffer
            .decode(&mixed, StaleMarkers::Drop, Detail::Buckets)
            .unwrap();
        assert_eq!(columns.times, [10, 15, 20, 40, 50]);
        assert_eq!(columns.starts, [0, 5, 0, 7, 0]);
        let without = series(&[&[(0, 10, 1.0)]]);
        let columns = buffer
            .decode(&without, StaleMarkers::Keep, Detail::Buckets)
            .unwrap();
        assert!(columns.starts.is_empty());
    }

    /// Chunks in the order in which a stream has them; values tell the chunk apart.
    fn chunks() -> impl Strategy<Value = Vec<Vec<(i64, f64)>>> {
        let times = proptest::collection::btree_set(0_i64..60, 1..12);
        proptest::collection::vec(times, 1..6).prop_map(|sets| {
            let mut chunks: Vec<Vec<i64>> = sets
                .into_iter()
                .map(|set| set.into_iter().collect())
                .collect();
            chunks.sort_by_key(|times| (times[0], times[times.len() - 1]));
            (0_u8..)
                .zip(chunks)
                .map(|(number, times)| {
                    let is_stale = |time: i64| (time + i64::from(number)) % 7 == 3;
                    let value = |time| {
                        if is_stale(time) {
                            STALE_NAN
                        } else {
                            f64::from(number)
                        }
                    };
                    times.into_iter().map(|time| (time, value(time))).collect()
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn overlapping_chunks_are_merged_and_the_first_sample_counts(chunks in chunks()) {
            let series = ChunkedSeries {
                labels: Labels::empty(),
                chunks: chunks.iter().map(|samples| chunk(samples)).collect(),
                reading: Reading::default(),
            };
            let mut expected = BTreeMap::new();
            for (time, value) in chunks.iter().flatten() {
                expected.entry(*time).or_insert(*value);
            }
            let mut buffer = SampleBuffer::default();
            let columns = buffer.decode(&series, StaleMarkers::Keep, Detail::Buckets).unwrap();
            let bits = |value: &f64| value.to_bits();
            prop_assert_eq!(columns.times, expected.keys().copied().collect::<Vec<_>>());
            prop_assert_eq!(
                columns.values.iter().map(bits).collect::<Vec<_>>(),
                expected.values().map(bits).collect::<Vec<_>>()
            );
            expected.retain(|_, value| !is_stale_nan(*value));
            let columns = buffer.decode(&series, StaleMarkers::Drop, Detail::Buckets).unwrap();
            prop_assert_eq!(columns.times, expected.keys().copied().collect::<Vec<_>>());
        }
    }
}
