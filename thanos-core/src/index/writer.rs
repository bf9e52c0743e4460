//! Writing an index of version 2 in one pass over the series.
//!
//! The output is only appended to, so that it can be a file, memory or an upload: the lengths that stand before
//! sections are known from the symbols, which are given up front, and from counting. The bytes are those of
//! Prometheus' writer for the same symbols, series and chunk references.

use std::io::Write;

use super::ending::Ending;
use super::entry::{append_entry, append_framed};
use super::format::{
    ChunkMeta, ChunkRef, INDEX_MAGIC, IndexVersion, SERIES_ALIGN, SeriesRef, SymbolRef, Toc,
};
use super::postings_builder::PostingsBuilder;
use super::sink::Sink;
use super::symbol_ids::{OwnSymbols, SymbolIds, SymbolTable};
use crate::budget::{Lease, MemoryBudget};
use crate::error::{Error, Result};
use crate::labels::LabelsRef;
use crate::spool::SpoolPlace;
use crate::time::Timestamp;

/// Whether to write the label indices, which no reader has used since Prometheus 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LabelIndices {
    /// As Prometheus does since 3.7.
    #[default]
    Omit,
    /// As Prometheus up to 3.6 and Thanos with its libraries do.
    Write,
}

/// What a writer has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexSummary {
    /// Where the sections lie.
    pub toc: Toc,
    /// The bytes of the file.
    pub len: u64,
    /// The number of series.
    pub series: u64,
    /// The number of chunks.
    pub chunks: u64,
    /// The most bytes from the start of a series to where the next one could start.
    pub series_len_max: u64,
}

/// A writer of an index of version 2.
///
/// In memory it holds the symbols, about 40 bytes for each label value and 4 for each label of each series.
///
/// # Example
///
/// ```
/// use thanos_core::index::{IndexReader, IndexWriter, LabelIndices};
/// use thanos_core::labels::Labels;
///
/// let mut writer = IndexWriter::new(Vec::new(), ["__name__", "up"], LabelIndices::Omit)?;
/// writer.add_series(Labels::from_pairs([("__name__", "up")]).as_ref(), &[])?;
/// let (bytes, summary) = writer.finish()?;
/// assert_eq!(summary.series, 1);
/// let index = IndexReader::open("index", bytes.into())?;
/// assert_eq!(index.label_values("__name__")?, ["up"]);
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug)]
pub struct IndexWriter<W: Write> {
    sink: Sink<W>,
    toc: Toc,
    symbols: SymbolIds,
    label_indices: LabelIndices,
    postings: PostingsBuilder,
    series: u64,
    chunks: u64,
    last_labels: Vec<(SymbolRef, SymbolRef)>,
    last_chunk: ChunkRef,
    /// The labels of the series at hand.
    labels: Vec<(SymbolRef, SymbolRef)>,
    /// The same as the file numbers them.
    numbered: Vec<(SymbolRef, SymbolRef)>,
    /// The first symbol that is not the empty text.
    first_text: SymbolRef,
    series_len_max: u64,
    _symbols_lease: Lease,
    entry: Vec<u8>,
    framed: Vec<u8>,
}

impl<W: Write> IndexWriter<W> {
    /// Writes the header and `symbols`: all label names and values, in strictly ascending order.
    ///
    /// # Errors
    ///
    /// `Invalid` when the symbols are out of order, or what the output reports.
    pub fn new<S: AsRef<str>>(
        out: W,
        symbols: impl IntoIterator<Item = S>,
        label_indices: LabelIndices,
    ) -> Result<Self> {
        let place = SpoolPlace::in_memory(MemoryBudget::unlimited());
        Self::within(out, symbols, label_indices, place)
    }

    /// Like [`IndexWriter::new`], with what is held leased, or in files.
    pub(crate) fn within<S: AsRef<str>>(
        out: W,
        symbols: impl IntoIterator<Item = S>,
        label_indices: LabelIndices,
        place: SpoolPlace,
    ) -> Result<Self> {
        let own = OwnSymbols::new(symbols)?;
        let lease = place.budget.lease(own.memory_bytes())?;
        Self::over(out, SymbolIds::Own(own), lease, label_indices, place)
    }

    /// Writes the header and the symbols of `table`, to which labels refer.
    pub(crate) fn with_table(
        out: W,
        table: SymbolTable,
        label_indices: LabelIndices,
        place: SpoolPlace,
    ) -> Result<Self> {
        let lease = place.budget.lease(0)?;
        Self::over(out, SymbolIds::Table(table), lease, label_indices, place)
    }

    fn over(
        out: W,
        symbols: SymbolIds,
        lease: Lease,
        label_indices: LabelIndices,
        place: SpoolPlace,
    ) -> Result<Self> {
        let mut sink = Sink::new(out);
        sink.write(&INDEX_MAGIC.to_be_bytes())?;
        sink.write(&[IndexVersion::V2.number()])?;
        let mut toc = Toc {
            symbols: sink.position(),
            ..Toc::default()
        };
        sink.start_section(4 + symbols.encoded_len()?, "symbol table")?;
        sink.write_content(&symbols.count().to_be_bytes())?;
        symbols.write_encoded(|entries| sink.write_content(entries))?;
        sink.end_section()?;
        toc.series = sink.position();
        Ok(Self {
            sink,
            toc,
            postings: PostingsBuilder::new(symbols.len(), place)?,
            // Only the first of the sorted symbols can be the empty text.
            first_text: SymbolRef(u32::from(symbols.text(SymbolRef(0)) == Some(&[]))),
            symbols,
            label_indices,
            series: 0,
            chunks: 0,
            last_labels: Vec::new(),
            last_chunk: ChunkRef::default(),
            labels: Vec::new(),
            numbered: Vec::new(),
            series_len_max: 0,
            _symbols_lease: lease,
            entry: Vec::new(),
            framed: Vec::new(),
        })
    }

    /// Writes a series that comes after all others in label order, and returns what postings call it.
    ///
    /// # Errors
    ///
    /// `Invalid` when a label is no symbol, or series or chunks are out of order; or what the output reports.
    pub fn add_series(&mut self, labels: LabelsRef<'_>, chunks: &[ChunkMeta]) -> Result<SeriesRef> {
        let mut found = std::mem::take(&mut self.labels);
        found.clear();
        for (name, value) in labels.iter_bytes() {
            let hint = self.last_labels.get(found.len()).copied();
            let name = self.find(&name, hint.map(|(name, _)| name))?;
            found.push((name, self.find(&value, hint.map(|(_, value)| value))?));
        }
        let result = self.add_series_by_symbols(&found, chunks);
        self.labels = found;
        result
    }

    /// Finds the symbol with `text`; `hint` is what the last series has in this place, often the same.
    fn find(&mut self, text: &[u8], hint: Option<SymbolRef>) -> Result<SymbolRef> {
        let unchanged = hint.filter(|hint| self.symbols.text(*hint) == Some(text));
        let found = match unchanged {
            Some(hint) => Some(hint),
            None => self.symbols.find(text)?,
        };
        found.ok_or_else(|| {
            let text = String::from_utf8_lossy(text);
            Error::invalid(format!("label text {text:?} is not among the symbols"))
        })
    }

    /// Writes like [`IndexWriter::add_series`] a series whose labels are known as positions in the symbols.
    ///
    /// # Errors
    ///
    /// `Invalid` when a label is no symbol, or series or chunks are out of order; or what the output reports.
    pub fn add_series_by_symbols(
        &mut self,
        labels: &[(SymbolRef, SymbolRef)],
        chunks: &[ChunkMeta],
    ) -> Result<SeriesRef> {
        self.check_labels(labels)?;
        check_chunks(chunks, self.last_chunk)?;
        self.sink.pad(SERIES_ALIGN)?;
        let reference = self.sink.position() / SERIES_ALIGN;
        let posting = u32::try_from(reference)
            .map_err(|_| Error::limit_exceeded("series do not fit 64 GiB"))?;
        self.entry.clear();
        self.framed.clear();
        append_entry(&mut self.entry, &self.numbered, chunks);
        append_framed(&mut self.framed, &self.entry);
        self.sink.write(&self.framed)?;
        self.postings.add(posting, labels)?;
        let len = (self.framed.len() as u64).next_multiple_of(SERIES_ALIGN);
        self.series_len_max = self.series_len_max.max(len);
        self.series += 1;
        self.chunks += chunks.len() as u64;
        self.last_labels.clear();
        self.last_labels.extend_from_slice(labels);
        if let Some(chunk) = chunks.last() {
            self.last_chunk = chunk.reference;
        }
        Ok(SeriesRef(reference))
    }

    /// Symbols are numbered in their order, so that numbers compare as the texts do.
    fn check_labels(&mut self, labels: &[(SymbolRef, SymbolRef)]) -> Result<()> {
        self.numbered.clear();
        for (name, value) in labels {
            let usable = *name >= self.first_text && *value >= self.first_text;
            let numbers = self.symbols.number(*name).zip(self.symbols.number(*value));
            let Some(numbers) = numbers.filter(|_| usable) else {
                let message = "label is unknown to the symbols or empty";
                return Err(Error::invalid(format!(
                    "{message} in {}",
                    self.show(labels)
                )));
            };
            self.numbered.push(numbers);
        }
        let show = || self.show(labels);
        if !labels.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(Error::invalid(format!(
                "label names out of order in {}",
                show()
            )));
        }
        if self.series > 0 && *labels <= *self.last_labels {
            let last = self.show(&self.last_labels);
            return Err(Error::invalid(format!(
                "series {} out of order after {last}",
                show()
            )));
        }
        Ok(())
    }

    fn show(&self, labels: &[(SymbolRef, SymbolRef)]) -> String {
        let text = |symbol| String::from_utf8_lossy(self.symbols.text(symbol).unwrap_or_default());
        let pairs = labels
            .iter()
            .map(|(name, value)| format!("{}={:?}", text(*name), text(*value)));
        format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
    }

    /// Writes what comes after the series, and returns the output, flushed.
    ///
    /// # Errors
    ///
    /// What the output reports, or `LimitExceeded` when a section outgrows the format.
    pub fn finish(mut self) -> Result<(W, IndexSummary)> {
        self.toc.label_indices = self.sink.position();
        let summary = IndexSummary {
            toc: self.toc,
            len: 0,
            series: self.series,
            chunks: self.chunks,
            series_len_max: self.series_len_max,
        };
        let ending = Ending {
            sink: self.sink,
            toc: self.toc,
            symbols: self.symbols,
            label_indices: self.label_indices,
            postings: self.postings.finish()?,
        };
        let (out, toc, len) = ending.write()?;
        Ok((
            out,
            IndexSummary {
                toc,
                len,
                ..summary
            },
        ))
    }
}

/// Checks what Prometheus' `Writer.AddSeries` checks: references do not fall, times rise.
fn check_chunks(chunks: &[ChunkMeta], last: ChunkRef) -> Result<()> {
    let mut reference = last;
    let mut max_time: Option<Timestamp> = None;
    for chunk in chunks {
        if chunk.reference < reference {
            return Err(Error::invalid(format!(
                "{:?} is out of order after {reference:?}",
                chunk.reference
            )));
        }
        if max_time.is_some_and(|max_time| chunk.min_time <= max_time)
            || chunk.max_time < chunk.min_time
        {
            return Err(Error::invalid(format!(
                "{:?} from {} to {} does not lie after its predecessor",
                chunk.reference, chunk.min_time, chunk.max_time
            )));
        }
        reference = chunk.reference;
        max_time = Some(chunk.max_time);
    }
    Ok(())
}
