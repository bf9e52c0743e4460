//! Series entries of a remote index: windows of them, fetched by range and decoded together.
//!
//! The index does not say how long an entry is before it is read. It ends at the latest where the next wanted one or
//! the section starts; else a length is assumed, and what turns out longer is fetched again, exactly. Entries that
//! touch are one run, so that an entry that is read with its neighbours costs no buffer of its own.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use thanos_core::budget::Lease;
use thanos_core::index::{
    ChunkMeta, SeriesKeys, SeriesRef, SymbolPlaces, series_entry_len, split_series,
};
use thanos_core::indexheader::IndexHeader;
use thanos_core::labels::{LabelsRef, Matcher};
use thanos_core::query::{SeriesBatch, SeriesBatchBuilder};
use thanos_core::time::TimeRange;
use thanos_core::{Error, Result};
use thanos_storeapi::label_edit::LabelEdit;
use thanos_storeapi::shard::ShardFilter;

use super::block::GatewayBlock;
use super::query::{Item, QueryContext};
use super::ranges::{RangeSource, Trust, look_twice, read_ranges};
use super::refetch::refetch;

/// No entry of a sane index is longer: a million chunks, or labels of megabytes.
const ENTRY_BYTES_MAX: u64 = 64 << 20;
/// How many bytes of entries one window may fetch, so that memory does not grow with the number of series.
pub(super) const WINDOW_BYTES_MAX: u64 = 4 << 20;
/// A run of entries is cut when it is so long: what a cache knows of a part of it would not be used.
const RUN_BYTES_MAX: u64 = 64 << 10;
/// For fewer series, what the decoder remembers of symbols is enough.
const SHARED_SERIES_MIN: usize = 1024;
/// What is known of symbols is shared when there are at most so many symbols for each series.
const SHARED_SYMBOLS_PER_SERIES: usize = 8;
/// So many times as much room must there be as it takes.
const SHARED_ROOM: u64 = 16;

/// Entries that touch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    range: Range<u64>,
    /// How many entries start in it.
    entries: u32,
}

/// Series whose entries are read together.
#[derive(Debug)]
pub(super) struct Window {
    /// Their positions in the list of all series of the block.
    pub(super) series: Range<usize>,
    runs: Vec<Run>,
    /// The bytes of all runs.
    pub(super) bytes: u64,
}

/// Where the entries of an index lie.
#[derive(Debug)]
pub(super) struct Layout {
    header: Arc<IndexHeader>,
    section: Range<u64>,
    bytes_assumed: u64,
}

impl Layout {
    /// Returns the layout of the index of `block`.
    pub(super) fn new(block: &GatewayBlock, header: Arc<IndexHeader>) -> Self {
        let toc = header.source().toc;
        // Writers that leave the label indices out point them at what follows the series.
        let section = toc.series..toc.label_indices.max(toc.series);
        let bytes_assumed = block.entry_bytes_assumed(section.end - section.start);
        Self {
            header,
            section,
            bytes_assumed,
        }
    }

    /// Returns where the entry of `series` starts.
    fn start(&self, series: u32) -> Result<u64> {
        let offset = self
            .header
            .index_version()
            .series_offset(SeriesRef::from(series));
        offset
            .filter(|offset| self.section.contains(offset))
            .ok_or_else(|| {
                Error::corrupt(format!(
                    "postings name series {series}, which lies outside of the series at {:?}",
                    self.section
                ))
            })
    }

    /// Returns the window of at most `series_max` series from position `first` of `series`, which ascend.
    ///
    /// # Errors
    ///
    /// `Corrupt` when a series lies outside of the section.
    pub(super) fn window(&self, series: &[u32], first: usize, series_max: usize) -> Result<Window> {
        let mut window = Window {
            series: first..first,
            runs: Vec::new(),
            bytes: 0,
        };
        let mut next = series
            .get(first)
            .map(|next| self.start(*next))
            .transpose()?;
        while let Some(start) = next
            && window.series.len() < series_max
            && window.bytes < WINDOW_BYTES_MAX
        {
            next = match series.get(window.series.end + 1) {
                Some(next) => Some(self.start(*next)?),
                None => None,
            };
            let end = start + self.bytes_assumed;
            let end = end.min(next.unwrap_or(self.section.end)).max(start + 1);
            window.push(start..end);
        }
        Ok(window)
    }
}

impl Window {
    fn push(&mut self, entry: Range<u64>) {
        self.series.end += 1;
        self.bytes += entry.end - entry.start;
        match self.runs.last_mut() {
            Some(run)
                if run.range.end == entry.start && entry.end - run.range.start <= RUN_BYTES_MAX =>
            {
                run.range.end = entry.end;
                run.entries += 1;
            }
            _ => self.runs.push(Run {
                range: entry,
                entries: 1,
            }),
        }
    }
}

/// Which series of a window are wanted, and what of them.
#[derive(Debug)]
pub(super) struct EntryFilter {
    /// Series without a chunk that shares a time with it are left out.
    pub(super) range: TimeRange,
    /// Whether chunks only tell that a series is there.
    pub(super) skip_chunks: bool,
    /// Matchers that no postings were fetched for.
    pub(super) matchers: Vec<Matcher>,
    /// The shard that is wanted, and what makes the labels of the answer, by which shards are told apart.
    pub(super) shard: Option<(ShardFilter, LabelEdit)>,
}

impl EntryFilter {
    fn wants(&self, shard: &mut Option<ShardFilter>, labels: LabelsRef<'_>) -> bool {
        let matches = |matcher: &Matcher| {
            let value = labels.get(matcher.name());
            matcher.matches(value.as_deref().unwrap_or_default())
        };
        if !self.matchers.iter().all(matches) {
            return false;
        }
        match (shard, &self.shard) {
            (Some(shard), Some((_, edit))) => shard.keeps(edit.apply(labels).as_ref()),
            _ => true,
        }
    }
}

/// What the windows of a block share.
#[derive(Debug)]
pub(super) struct EntryReader {
    pub(super) block: Arc<GatewayBlock>,
    pub(super) layout: Layout,
    /// All series that postings name.
    pub(super) series: Vec<u32>,
    pub(super) filter: EntryFilter,
    pub(super) query: Arc<QueryContext>,
    /// What decoding needs and no window uses at the moment.
    pub(super) scratch: Mutex<Vec<Scratch>>,
    /// Where symbols lie, when there are so many series that it is worth the memory.
    pub(super) places: OnceLock<Option<SharedPlaces>>,
}

/// Where symbols lie, on lease.
#[derive(Debug)]
pub(super) struct SharedPlaces {
    places: Arc<SymbolPlaces>,
    _lease: Lease,
}

/// What is used again from window to window.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    keys: SeriesKeys,
    chunks: Vec<ChunkMeta>,
    batch: SeriesBatchBuilder,
}

/// The wanted series of a window.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    /// The series in order, without their chunks.
    pub(super) batches: VecDeque<SeriesBatch>,
    /// Where the chunks of each series end; they start where those before end. None when chunks are not wanted.
    pub(super) chunk_ends: Vec<usize>,
    /// The chunks of all, one behind the other.
    pub(super) chunks: Vec<ChunkMeta>,
    entry_bytes: u64,
    /// The bytes of entries that were read and whose series are not wanted, because of matchers or the shard.
    refused_bytes: u64,
    /// Of all of this, for as long as any of it is there.
    pub(super) lease: Option<Arc<Lease>>,
}

impl Decoded {
    fn memory_bytes(&self) -> usize {
        let batches = self.batches.iter().map(SeriesBatch::memory_bytes);
        batches.sum::<usize>()
            + self.chunk_ends.capacity() * size_of::<usize>()
            + self.chunks.capacity() * size_of::<ChunkMeta>()
    }
}

/// The bytes of a run, and where they start.
#[derive(Debug)]
struct RunBytes {
    offset: u64,
    bytes: Bytes,
    entries: u32,
}

/// Bytes of single entries by their offset.
type Whole = BTreeMap<u64, Bytes>;

/// Decoded entries, or those that are longer than what was read of them.
enum Outcome {
    Decoded(Decoded),
    Longer(Vec<Range<u64>>),
}

impl EntryReader {
    /// Reads the entries of `window` and returns the series that the filter wants.
    pub(super) async fn read(self: Arc<Self>, window: Window) -> Result<Decoded> {
        let attempt = |trust| self.try_read(&window, trust);
        look_twice(&self.query, Item::Series, attempt).await
    }

    async fn try_read(self: &Arc<Self>, window: &Window, trust: Trust) -> Result<Decoded> {
        let ranges: Vec<Range<u64>> = window.runs.iter().map(|run| run.range.clone()).collect();
        let items: Vec<u32> = window.runs.iter().map(|run| run.entries).collect();
        let source = RangeSource {
            block: &self.block,
            object: self.block.index_object(),
            item: Item::Series,
            part_bytes_max: WINDOW_BYTES_MAX,
            query: &self.query,
            items: &items,
            trust,
        };
        let found = read_ranges(source, &ranges).await?;
        let of_run = |(run, bytes): (&Run, &Bytes)| RunBytes {
            offset: run.range.start,
            bytes: bytes.clone(),
            entries: run.entries,
        };
        let runs = window.runs.iter().zip(&found.bytes).map(of_run);
        let runs: Arc<Vec<RunBytes>> = Arc::new(runs.collect());
        let mut decoded = match self.decode(window, &runs, Whole::new()).await? {
            Outcome::Decoded(decoded) => decoded,
            Outcome::Longer(longer) => self.decode_longer(source, window, &runs, longer).await?,
        };
        let memory_bytes = decoded.memory_bytes() as u64;
        let mut lease = found.lease;
        // Keys can take more than the references that they come from.
        lease.resize(memory_bytes)?;
        decoded.lease = Some(Arc::new(lease));
        let query = &self.query;
        query.touched(
            Item::Series,
            window.series.len() as u64,
            decoded.entry_bytes,
        );
        if !self.filter.matchers.is_empty() {
            query.metrics().lazy_overfetched(decoded.refused_bytes);
        }
        query.add_chunks(decoded.chunks.len() as u64)?;
        Ok(decoded)
    }

    /// Fetches entries that are longer than assumed, all at once, and decodes the window with them.
    async fn decode_longer(
        self: &Arc<Self>,
        source: RangeSource<'_>,
        window: &Window,
        runs: &Arc<Vec<RunBytes>>,
        longer: Vec<Range<u64>>,
    ) -> Result<Decoded> {
        let fetched = refetch(source, &longer).await?;
        let whole = longer.iter().map(|range| range.start).zip(fetched.bytes);
        match self.decode(window, runs, whole.collect()).await? {
            Outcome::Decoded(decoded) => Ok(decoded),
            // What came first or what came now is damaged: whoever looks twice finds out.
            Outcome::Longer(longer) => {
                let start = longer.first().map_or(0, |range| range.start);
                let message = "a series entry says each time that it is longer";
                Err(Error::corrupt(message).at(start).in_file(source.object))
            }
        }
    }

    async fn decode(
        self: &Arc<Self>,
        window: &Window,
        runs: &Arc<Vec<RunBytes>>,
        whole: Whole,
    ) -> Result<Outcome> {
        let (reader, runs, series) = (Arc::clone(self), Arc::clone(runs), window.series.clone());
        let work = move || {
            let scratch = reader.scratch.lock().pop();
            let mut scratch = scratch.unwrap_or_else(|| reader.new_scratch());
            let outcome = reader.decode_now(&mut scratch, series, &runs, &whole);
            // After an error there may be something left in it.
            if outcome.is_ok() {
                reader.scratch.lock().push(scratch);
            }
            outcome
        };
        let outcome = self.block.compute().run(work).await?;
        outcome.map_err(|error| error.in_file(self.block.index_object()))
    }

    fn new_scratch(&self) -> Scratch {
        let shared = self.places.get_or_init(|| self.shared_places()).as_ref();
        let keys = shared.map(|shared| SeriesKeys::sharing(Arc::clone(&shared.places)));
        Scratch {
            keys: keys.unwrap_or_default(),
            ..Scratch::default()
        }
    }

    /// Returns places for all symbols, unless few series are wanted or memory is scarce: without it, decoding is slower.
    fn shared_places(&self) -> Option<SharedPlaces> {
        let symbols = self.layout.header.symbols();
        let series = self.series.len();
        if series < SHARED_SERIES_MIN || symbols.len() / SHARED_SYMBOLS_PER_SERIES > series {
            return None;
        }
        let bytes = SymbolPlaces::memory_bytes_of(symbols);
        let budget = &self.query.budget;
        if bytes > budget.room_bytes() / SHARED_ROOM {
            return None;
        }
        Some(SharedPlaces {
            _lease: budget.lease(bytes).ok()?,
            places: Arc::new(SymbolPlaces::new(symbols)),
        })
    }

    fn decode_now(
        &self,
        scratch: &mut Scratch,
        series: Range<usize>,
        runs: &[RunBytes],
        whole: &Whole,
    ) -> Result<Outcome> {
        let mut references = self.series[series].iter();
        let mut decoded = Decoded::default();
        let mut longer = Vec::new();
        let mut shard = self.filter.shard.as_ref().map(|(shard, _)| shard.clone());
        for run in runs {
            for reference in references.by_ref().take(run.entries as usize) {
                let start = self.layout.start(*reference)?;
                let bytes = match whole.get(&start) {
                    Some(bytes) => bytes,
                    None => {
                        let skipped = usize::try_from(start - run.offset).unwrap_or(usize::MAX);
                        run.bytes.get(skipped..).unwrap_or_default()
                    }
                };
                let len = series_entry_len(bytes, start)?;
                if len > bytes.len() as u64 {
                    longer.push(start..start + sane_entry_len(len, start)?);
                    continue;
                }
                decoded.entry_bytes += len;
                if longer.is_empty() {
                    self.push_entry(scratch, (bytes, start, len), &mut shard, &mut decoded)
                        .map_err(|error| error.at(start))?;
                }
            }
        }
        let last = scratch.batch.finish();
        if !longer.is_empty() {
            return Ok(Outcome::Longer(longer));
        }
        if !last.is_empty() {
            decoded.batches.push_back(last);
        }
        Ok(Outcome::Decoded(decoded))
    }

    /// Decodes the entry of `len` bytes at the front of `bytes`, which lie at `start`.
    fn push_entry(
        &self,
        scratch: &mut Scratch,
        (bytes, start, len): (&[u8], u64, u64),
        shard: &mut Option<ShardFilter>,
        decoded: &mut Decoded,
    ) -> Result<()> {
        let Scratch {
            keys,
            chunks,
            batch,
        } = scratch;
        let symbols = self.layout.header.symbols();
        let entry = split_series(bytes, start)?;
        let Some(labels) = keys.decode(symbols, entry, self.filter.range, chunks)? else {
            return Ok(());
        };
        if !self.filter.wants(shard, labels) {
            decoded.refused_bytes += len;
            return Ok(());
        }
        batch.push(labels, []);
        if !self.filter.skip_chunks {
            decoded.chunks.extend_from_slice(chunks);
            decoded.chunk_ends.push(decoded.chunks.len());
        }
        if batch.is_full() {
            decoded.batches.push_back(batch.finish());
        }
        Ok(())
    }
}

fn sane_entry_len(len: u64, offset: u64) -> Result<u64> {
    if len > ENTRY_BYTES_MAX {
        let message = format!("series entry says that it has {len} bytes");
        return Err(Error::corrupt(message).at(offset));
    }
    Ok(len)
}
