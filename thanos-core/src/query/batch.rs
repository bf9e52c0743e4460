//! Batches of series: one arena of label keys and one table of chunks for 64 to 256 series.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::Reading;
use crate::chunk::{Chunk, Encoding, SeriesChunk};
use crate::labels::{Labels, LabelsRef};

/// The number of series after which producers hand a batch on.
pub const BATCH_SERIES_TARGET: usize = 128;

/// A run of series in label order (when its stream says it is sorted), with their chunks.
///
/// The same label set may occur in neighbouring entries and across a batch border: such entries are parts of
/// one series and the consumer joins them.
#[derive(Debug, Clone, Default)]
pub struct SeriesBatch {
    keys: Bytes,
    series: Vec<Ends>,
    chunks: Vec<SeriesChunk>,
    reading: Reading,
    has_repeats: bool,
}

/// Where a series ends in the arena and the chunk table; it starts where its predecessor ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) key: u32,
    pub(super) chunk: u32,
}

/// One series of a batch.
#[derive(Debug, Clone, Copy)]
pub struct SeriesView<'a> {
    /// The labels.
    pub labels: LabelsRef<'a>,
    /// The chunks, sorted by start time then end time.
    pub chunks: &'a [SeriesChunk],
}

impl SeriesBatch {
    /// Returns the number of series.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Reports whether there is no series.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Returns the number of chunks of all series.
    pub fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// Reports whether there may be neighbours with the same labels: parts of one series. Who made the batch had the
    /// keys at hand; finding out again reads them all.
    pub fn has_repeats(&self) -> bool {
        self.has_repeats
    }

    /// Returns the series at `index`.
    ///
    /// # Panics
    ///
    /// When `index` is not below [`SeriesBatch::len`].
    pub fn get(&self, index: usize) -> SeriesView<'_> {
        let (keys, chunks) = self.bounds(index);
        SeriesView {
            labels: LabelsRef::from_trusted_key(&self.keys[keys]),
            chunks: &self.chunks[chunks],
        }
    }

    /// Returns the labels at `index` as an owned set that shares the arena.
    ///
    /// The set keeps the whole arena alive: copy it with [`LabelsRef::to_labels`] to keep it for long.
    ///
    /// # Panics
    ///
    /// When `index` is not below [`SeriesBatch::len`].
    pub fn labels(&self, index: usize) -> Labels {
        Labels::from_trusted_key(self.keys.slice(self.bounds(index).0))
    }

    /// Takes the chunks at `index` out, which saves a consumer that keeps them from cloning each; the batch then
    /// has chunks without data in their place.
    ///
    /// # Panics
    ///
    /// When `index` is not below [`SeriesBatch::len`].
    pub fn take_chunks(&mut self, index: usize) -> impl ExactSizeIterator<Item = SeriesChunk> {
        let (_, chunks) = self.bounds(index);
        self.chunks[chunks].iter_mut().map(|chunk| {
            let nothing = Chunk {
                encoding: Encoding::XOR,
                data: Bytes::new(),
            };
            let nothing = SeriesChunk::raw(chunk.min_time, chunk.max_time, nothing);
            std::mem::replace(chunk, nothing)
        })
    }

    /// Returns the series at `range` as a batch of their own, which shares the arena.
    ///
    /// # Panics
    ///
    /// When the range ends beyond [`SeriesBatch::len`] or before it starts.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let (from, to) = (self.start(range.start), self.start(range.end));
        let shifted = |ends: &Ends| Ends {
            key: ends.key - from.key,
            chunk: ends.chunk - from.chunk,
        };
        Self {
            keys: self.keys.slice(from.key as usize..to.key as usize),
            series: self.series[range].iter().map(shifted).collect(),
            chunks: self.chunks[from.chunk as usize..to.chunk as usize].to_vec(),
            reading: self.reading,
            has_repeats: self.has_repeats,
        }
    }

    /// Returns how the chunks are to be read as samples.
    pub fn reading(&self) -> Reading {
        self.reading
    }

    /// Returns the same series, to be read as `reading` says.
    #[must_use]
    pub fn with_reading(mut self, reading: Reading) -> Self {
        self.reading = reading;
        self
    }

    /// Returns the series with `chunks`, which are one behind the other, in place of those they have; `counts` says how
    /// many each gets.
    ///
    /// # Panics
    ///
    /// When there is not a count for each series, or their sum is not the number of chunks.
    #[must_use]
    pub fn with_chunks(
        mut self,
        chunks: Vec<SeriesChunk>,
        counts: impl ExactSizeIterator<Item = usize>,
    ) -> Self {
        assert_eq!(counts.len(), self.len(), "a count for each series");
        let mut end = 0;
        for (ends, count) in self.series.iter_mut().zip(counts) {
            end += count;
            ends.chunk = u32::try_from(end).expect("a batch has less than 2^32 chunks");
        }
        assert_eq!(end, chunks.len(), "a series for each chunk");
        self.chunks = chunks;
        self
    }

    /// Returns where the series at `index` starts.
    fn start(&self, index: usize) -> Ends {
        let before = index.checked_sub(1);
        before.map_or(Ends { key: 0, chunk: 0 }, |before| self.series[before])
    }

    fn bounds(&self, index: usize) -> (Range<usize>, Range<usize>) {
        let (from, to) = (self.start(index), self.series[index]);
        (
            from.key as usize..to.key as usize,
            from.chunk as usize..to.chunk as usize,
        )
    }

    /// Returns the series in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = SeriesView<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Returns the arena, where each series ends, and the chunks.
    pub(super) fn into_parts(self) -> (Bytes, Vec<Ends>, Vec<SeriesChunk>) {
        (self.keys, self.series, self.chunks)
    }

    /// Returns the bytes that this batch holds: arena, tables and chunk data.
    pub fn memory_bytes(&self) -> usize {
        self.keys.len()
            + self.series.len() * size_of::<Ends>()
            + self
                .chunks
                .iter()
                .map(|chunk| size_of::<SeriesChunk>() + chunk.data_len())
                .sum::<usize>()
    }
}

/// Collects series into a [`SeriesBatch`].
#[derive(Debug, Default)]
pub struct SeriesBatchBuilder {
    keys: BytesMut,
    series: Vec<Ends>,
    chunks: Vec<SeriesChunk>,
    has_repeats: bool,
    /// The sizes of the last batch: the next one is likely to need as much.
    expected: (usize, usize, usize),
}

impl SeriesBatchBuilder {
    /// Returns an empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a series.
    ///
    /// # Panics
    ///
    /// When the arena would pass 4 GiB; a batch is handed on long before.
    pub fn push(&mut self, labels: LabelsRef<'_>, chunks: impl IntoIterator<Item = SeriesChunk>) {
        let key = labels.key();
        self.has_repeats |= self.last_key() == Some(key);
        self.push_key(key);
        self.chunks.extend(chunks);
        self.end_series();
    }

    /// Returns the key of the last series.
    fn last_key(&self) -> Option<&[u8]> {
        let (last, before) = self.series.split_last()?;
        let start = before.last().map_or(0, |before| before.key as usize);
        self.keys.get(start..last.key as usize)
    }

    /// Begins a series that does not have the labels of the last one; its chunks go into [`Self::chunks_mut`] before
    /// [`Self::end_series`].
    pub(super) fn push_key(&mut self, key: &[u8]) {
        if self.series.is_empty() {
            let (keys, series, chunks) = self.expected;
            self.keys.reserve(keys);
            self.series.reserve(series);
            self.chunks.reserve(chunks);
        }
        self.keys.extend_from_slice(key);
    }

    /// Returns the chunks of all series so far, those of the open one last.
    pub(super) fn chunks_mut(&mut self) -> &mut Vec<SeriesChunk> {
        &mut self.chunks
    }

    /// Ends the open series.
    pub(super) fn end_series(&mut self) {
        let end = |len: usize| u32::try_from(len).expect("a batch stays below 4 GiB");
        self.series.push(Ends {
            key: end(self.keys.len()),
            chunk: end(self.chunks.len()),
        });
    }

    /// Returns the number of series so far.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Reports whether there is no series yet.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Reports whether the batch should be handed on: enough series, or about a megabyte of keys.
    pub fn is_full(&self) -> bool {
        self.series.len() >= BATCH_SERIES_TARGET || self.keys.len() >= 1 << 20
    }

    /// Returns the batch and leaves the builder empty.
    pub fn finish(&mut self) -> SeriesBatch {
        // With some more for keys, which are copied when they outgrow their arena.
        let key_bytes = self.keys.len() + self.keys.len() / 16;
        self.expected = (key_bytes, self.series.len(), self.chunks.len());
        SeriesBatch {
            keys: self.keys.split().freeze(),
            series: std::mem::take(&mut self.series),
            chunks: std::mem::take(&mut self.chunks),
            reading: Reading::default(),
            has_repeats: std::mem::take(&mut self.has_repeats),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn chunk(byte: u8) -> SeriesChunk {
        let chunk = Chunk {
            encoding: Encoding::XOR,
            data: Bytes::copy_from_slice(&[byte]),
        };
        SeriesChunk::raw(Timestamp::from_millis(0), Timestamp::from_millis(1), chunk)
    }

    fn batch_of(series: &[(&str, &[u8])]) -> SeriesBatch {
        let mut builder = SeriesBatchBuilder::new();
        for (name, chunks) in series {
            let labels = Labels::from_pairs([("name", name)]);
            builder.push(labels.as_ref(), chunks.iter().copied().map(chunk));
        }
        builder.finish()
    }

    fn content(batch: &SeriesBatch) -> Vec<(Labels, Vec<SeriesChunk>)> {
        let owned = |series: SeriesView<'_>| (series.labels.to_labels(), series.chunks.to_vec());
        batch.iter().map(owned).collect()
    }

    #[test]
    fn a_slice_has_the_series_of_its_range() {
        let series: [(&str, &[u8]); 4] = [("a", &[1]), ("bcd", &[]), ("e", &[2, 3]), ("f", &[4])];
        let batch = batch_of(&series);
        for from in 0..=series.len() {
            for to in from..=series.len() {
                let expected = batch_of(&series[from..to]);
                let slice = batch.slice(from..to);
                assert_eq!(content(&slice), content(&expected));
                assert_eq!(slice.memory_bytes(), expected.memory_bytes());
            }
        }
    }

    #[test]
    fn series_can_be_given_chunks_later() {
        let bare = batch_of(&[("a", &[9]), ("b", &[]), ("c", &[])]);
        let chunks = [1, 2, 3].map(chunk).to_vec();
        let batch = bare.with_chunks(chunks, [2, 0, 1].into_iter());
        let expected = batch_of(&[("a", &[1, 2]), ("b", &[]), ("c", &[3])]);
        assert_eq!(content(&batch), content(&expected));
    }

    #[test]
    fn a_batch_knows_whether_neighbours_have_the_same_labels() {
        for (names, has_repeats) in [
            (&["a", "b", "bb"][..], false),
            (&["a", "b", "a"], false),
            (&["a", "b", "b", "c"], true),
            (&["a", "a"], true),
            (&[], false),
        ] {
            let mut builder = SeriesBatchBuilder::new();
            for name in names {
                builder.push(Labels::from_pairs([("name", *name)]).as_ref(), []);
            }
            assert_eq!(builder.finish().has_repeats(), has_repeats, "{names:?}");
            builder.push(Labels::from_pairs([("name", "b")]).as_ref(), []);
            assert!(!builder.finish().has_repeats(), "the next one is another");
        }
    }

    #[test]
    fn chunks_that_are_taken_out_leave_the_others_in_place() {
        let mut batch = batch_of(&[("a", &[1, 2]), ("b", &[3])]);
        let taken: Vec<SeriesChunk> = batch.take_chunks(0).collect();
        assert_eq!(taken, [chunk(1), chunk(2)]);
        assert!(
            batch
                .get(0)
                .chunks
                .iter()
                .all(|chunk| chunk.data_len() == 0)
        );
        assert_eq!(batch.get(1).chunks, [chunk(3)]);
    }
}
