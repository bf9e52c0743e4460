//! The series of several blocks in label order, each with its chunks in every block.

use bytes::Bytes;

use super::symbols::NewNames;
use crate::block::{Block, GoHeap, INDEX_FILE};
use crate::chunk::SeriesChunk;
use crate::error::{Error, Result};
use crate::index::{RawSeries, SeriesRef, SymbolRef, Symbols};

/// Name and value of each label as symbols of all blocks: these compare as the texts do.
pub(super) type LabelNames = Vec<(SymbolRef, SymbolRef)>;

/// Walks the series of several blocks. The parts of a series come in the order in which Prometheus' merge comes to
/// them: where samples are equal in time, it decides which one is kept.
#[derive(Debug)]
pub(super) struct Sources {
    sources: Vec<Source>,
    /// The sources that wait, by the labels at which they stand.
    waiting: GoHeap<LabelNames>,
    /// The sources whose series was handed out last.
    current: Vec<usize>,
    labels: LabelNames,
}

/// A series with its chunks in each block that has it.
#[derive(Debug)]
pub(super) struct MergedSeries<'a> {
    pub(super) labels: &'a [(SymbolRef, SymbolRef)],
    pub(super) chunks: Vec<Vec<SeriesChunk>>,
}

impl Sources {
    /// Starts at the first series of every block; `names` says for each of them what its symbols are called in
    /// `symbols`.
    pub(super) fn new(blocks: &[Block], names: Vec<NewNames>, symbols: &Symbols) -> Result<Self> {
        let mut sources = Vec::with_capacity(blocks.len());
        for (block, names) in blocks.iter().zip(names) {
            sources.push(Source::new(block, names, symbols)?);
        }
        Ok(Self {
            current: (0..sources.len()).collect(),
            sources,
            waiting: GoHeap::default(),
            labels: Vec::new(),
        })
    }

    /// Calls `visit` with the labels of every series of every block. To be called before [`Sources::next`].
    pub(super) fn for_each_labels(
        &mut self,
        mut visit: impl FnMut(&[(SymbolRef, SymbolRef)]) -> Result<()>,
    ) -> Result<()> {
        for source in &mut self.sources {
            while let Some(labels) = source.advance()? {
                visit(&labels)?;
                source.unused = labels;
            }
            source.rewind();
        }
        Ok(())
    }

    /// Returns the next series.
    ///
    /// # Errors
    ///
    /// `Corrupt` with file and place when a source is damaged.
    pub(super) fn next(&mut self) -> Result<Option<MergedSeries<'_>>> {
        for source in self.current.drain(..) {
            if let Some(labels) = self.sources[source].advance()? {
                self.waiting.push(labels, source);
            }
        }
        let Some((labels, first)) = self.waiting.pop() else {
            return Ok(None);
        };
        let mut chunks = vec![self.sources[first].chunks()?];
        self.current.push(first);
        while self.waiting.first() == Some(&labels)
            && let Some((same, source)) = self.waiting.pop()
        {
            chunks.push(self.sources[source].chunks()?);
            self.sources[source].unused = same;
            self.current.push(source);
        }
        self.sources[first].unused = std::mem::replace(&mut self.labels, labels);
        Ok(Some(MergedSeries {
            labels: &self.labels,
            chunks,
        }))
    }
}

/// A block on its way through its series.
#[derive(Debug)]
struct Source {
    block: Block,
    names: NewNames,
    /// All series: references of 4 bytes, big-endian.
    all: Bytes,
    next: usize,
    /// Whether the first symbol of all blocks is the empty text, which as a value says the same as no label.
    has_empty: bool,
    series: SeriesRef,
    raw: RawSeries,
    /// The labels of the series before.
    last: LabelNames,
    /// Memory for labels.
    unused: LabelNames,
}

impl Source {
    fn new(block: &Block, names: NewNames, symbols: &Symbols) -> Result<Self> {
        Ok(Self {
            all: block.index().all_series_encoded()?,
            block: block.clone(),
            names,
            next: 0,
            has_empty: symbols
                .iter()
                .next()
                .transpose()?
                .is_some_and(|(_, text)| text.is_empty()),
            series: SeriesRef(0),
            raw: RawSeries::default(),
            last: Vec::new(),
            unused: Vec::new(),
        })
    }

    fn rewind(&mut self) {
        self.next = 0;
        self.last.clear();
    }

    /// Moves to the next series of which not all is deleted, and returns its labels.
    fn advance(&mut self) -> Result<Option<LabelNames>> {
        loop {
            let Some(series) = self.next_reference()? else {
                return Ok(None);
            };
            self.series = series;
            self.block.index().raw_series(series, &mut self.raw)?;
            let labels = self.labels().map_err(|error| self.located(error))?;
            if self.block.is_left(series, &self.raw.chunks) {
                return Ok(Some(labels));
            }
            self.unused = labels;
        }
    }

    fn next_reference(&mut self) -> Result<Option<SeriesRef>> {
        let (all, _) = self.all.as_chunks::<4>();
        let Some(reference) = all.get(self.next) else {
            return Ok(None);
        };
        let reference = SeriesRef::from(u32::from_be_bytes(*reference));
        if self.next > 0 && reference <= self.series {
            return Err(self.located(Error::corrupt("list of all series is out of order")));
        }
        self.next += 1;
        Ok(Some(reference))
    }

    /// Returns the labels of the series that was read, which come after those of the series before.
    fn labels(&mut self) -> Result<LabelNames> {
        let mut labels = std::mem::take(&mut self.unused);
        labels.clear();
        for (name, value) in &self.raw.labels {
            let found = self.names.of(*name).zip(self.names.of(*value));
            let Some((name, value)) = found else {
                return Err(Error::corrupt("label is none of the symbols"));
            };
            if labels.last().is_some_and(|(last, _)| *last >= name) {
                return Err(Error::corrupt(
                    "label names are not in strictly ascending order",
                ));
            }
            if !(self.has_empty && value.0 == 0) {
                labels.push((name, value));
            }
        }
        // `series` of the first one is compared with nothing.
        if self.next > 1 && labels <= self.last {
            return Err(Error::corrupt("series is out of order"));
        }
        self.last.clone_from(&labels);
        Ok(labels)
    }

    /// Returns the chunks of the series without what is deleted of them.
    fn chunks(&mut self) -> Result<Vec<SeriesChunk>> {
        let mut chunks = Vec::with_capacity(self.raw.chunks.len());
        let deleted = self.block.tombstones().get(self.series);
        let read = self
            .block
            .chunks_left(&self.raw.chunks, deleted, &mut chunks);
        read.map_err(|error| error.context(format_args!("{:?}", self.series)))?;
        Ok(chunks)
    }

    #[cold]
    fn located(&self, error: Error) -> Error {
        let file = self.block.dir().join(INDEX_FILE);
        let error = error.context(format_args!("{:?}", self.series));
        error.in_file(file.display().to_string())
    }
}
