//! Writing an index of version 2 in one pass over the series.
//!
//! The output is only appended to, so that it can be a file, memory or an upload: the lengths that stand before
//! sections are known from the symbols, which are given up front, and from counting. The bytes are those of
//! Prometheus' writer for the same symbols, series and chunk references.

use std::io::Write;

use super::entry::{append_entry, append_framed};
use super::format::{
    ChunkMeta, ChunkRef, INDEX_MAGIC, IndexVersion, POSTINGS_ALIGN, SERIES_ALIGN, SeriesRef,
    SymbolRef, Toc,
};
use super::postings_builder::{LabelPair, PostingsBuilder, SortedPostings};
use super::sink::Sink;
use super::symbol_ids::SymbolIds;
use crate::encoding::varint::{put_uvarint, uvarint_len};
use crate::error::{Error, Result};
use crate::labels::LabelsRef;
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
}

/// A writer of an index of version 2.
///
/// In memory it holds the symbols and about 8 bytes for each label of each series.
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
        let symbols = SymbolIds::new(symbols)?;
        let mut sink = Sink::new(out);
        sink.write(&INDEX_MAGIC.to_be_bytes())?;
        sink.write(&[IndexVersion::V2.number()])?;
        let mut toc = Toc {
            symbols: sink.position(),
            ..Toc::default()
        };
        sink.start_section(4 + symbols.encoded().len() as u64, "symbol table")?;
        sink.write_content(&symbols.len().to_be_bytes())?;
        sink.write_content(symbols.encoded())?;
        sink.end_section()?;
        toc.series = sink.position();
        Ok(Self {
            sink,
            toc,
            postings: PostingsBuilder::new(symbols.len()),
            symbols,
            label_indices,
            series: 0,
            chunks: 0,
            last_labels: Vec::new(),
            last_chunk: ChunkRef::default(),
            labels: Vec::new(),
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
        let found = unchanged.or_else(|| self.symbols.find(text));
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
        append_entry(&mut self.entry, labels, chunks);
        append_framed(&mut self.framed, &self.entry);
        self.sink.write(&self.framed)?;
        self.postings.add(posting, labels);
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
    fn check_labels(&self, labels: &[(SymbolRef, SymbolRef)]) -> Result<()> {
        let show = || self.show(labels);
        // Only the first of the sorted symbols can be the empty text.
        let first = SymbolRef(u32::from(self.symbols.text(SymbolRef(0)) == Some(&[])));
        let usable = first..SymbolRef(self.symbols.len());
        for (name, value) in labels {
            if !usable.contains(name) || !usable.contains(value) {
                let message = "label is unknown to the symbols or empty";
                return Err(Error::invalid(format!("{message} in {}", show())));
            }
        }
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
        let all: Vec<u32> = self.postings.all_series().collect();
        let postings = std::mem::take(&mut self.postings).finish();
        let index_places = match self.label_indices {
            LabelIndices::Omit => Vec::new(),
            LabelIndices::Write => self.write_label_indices(postings.pairs())?,
        };
        self.toc.postings = self.sink.position();
        self.sink.pad(POSTINGS_ALIGN)?;
        let lists_start = self.sink.position();
        self.write_lists(&all, &postings)?;
        self.toc.label_index_table = self.sink.position();
        if self.label_indices == LabelIndices::Write {
            self.write_label_index_table(&index_places)?;
        }
        self.toc.postings_table = self.sink.position();
        self.write_postings_table(lists_start, all.len(), postings.pairs())?;
        let mut toc = Vec::new();
        self.toc.encode(&mut toc);
        self.sink.write(&toc)?;
        let summary = IndexSummary {
            toc: self.toc,
            len: self.sink.position(),
            series: self.series,
            chunks: self.chunks,
        };
        Ok((self.sink.into_inner()?, summary))
    }

    /// Writes one section for each label name, and returns where.
    fn write_label_indices(&mut self, pairs: &[LabelPair]) -> Result<Vec<(SymbolRef, u64)>> {
        let mut places = Vec::new();
        for values in pairs.chunk_by(|a, b| a.name == b.name) {
            let (Some(first), count) = (values.first(), values.len()) else {
                continue;
            };
            self.sink.pad(POSTINGS_ALIGN)?;
            places.push((first.name, self.sink.position()));
            self.sink
                .start_section(8 + 4 * count as u64, "label index")?;
            self.sink.write_content(&1_u32.to_be_bytes())?;
            self.sink.write_content(&count_u32(count)?.to_be_bytes())?;
            for value in values {
                self.sink.write_content(&value.value.0.to_be_bytes())?;
            }
            self.sink.end_section()?;
        }
        Ok(places)
    }

    fn write_label_index_table(&mut self, places: &[(SymbolRef, u64)]) -> Result<()> {
        let mut content = count_u32(places.len())?.to_be_bytes().to_vec();
        for (name, offset) in places {
            content.push(1);
            append_text(&mut content, self.symbols.text(*name).unwrap_or_default());
            put_uvarint(&mut content, *offset);
        }
        self.sink
            .start_section(content.len() as u64, "label index table")?;
        self.sink.write_content(&content)?;
        self.sink.end_section()
    }

    /// Writes the list of all series and those of the label values. Every list is a multiple of 4 bytes long, so
    /// that none needs padding.
    fn write_lists(&mut self, all: &[u32], postings: &SortedPostings) -> Result<()> {
        let mut content = Vec::new();
        write_list(&mut self.sink, all, &mut content)?;
        let sink = &mut self.sink;
        postings.for_each_list(|list| write_list(sink, list, &mut content))
    }

    /// Writes the table; where the lists lie follows from their lengths.
    fn write_postings_table(
        &mut self,
        lists_start: u64,
        all_count: usize,
        pairs: &[LabelPair],
    ) -> Result<()> {
        let symbols = &self.symbols;
        let text = |symbol| symbols.text(symbol).unwrap_or_default();
        let entries = || {
            let first = (&[][..], &[][..], lists_start);
            let mut next = lists_start + list_len(all_count as u64);
            let others = pairs.iter().map(move |pair| {
                let offset = next;
                next += list_len(u64::from(pair.series_count));
                (text(pair.name), text(pair.value), offset)
            });
            std::iter::once(first).chain(others)
        };
        let text_len = |text: &[u8]| uvarint_len(text.len() as u64) + text.len();
        let lens = entries().map(|(name, value, offset)| {
            (1 + text_len(name) + text_len(value) + uvarint_len(offset)) as u64
        });
        self.sink
            .start_section(4 + lens.sum::<u64>(), "postings offset table")?;
        self.sink
            .write_content(&count_u32(pairs.len() + 1)?.to_be_bytes())?;
        let mut entry = Vec::new();
        for (name, value, offset) in entries() {
            entry.clear();
            entry.push(2);
            append_text(&mut entry, name);
            append_text(&mut entry, value);
            put_uvarint(&mut entry, offset);
            self.sink.write_content(&entry)?;
        }
        self.sink.end_section()
    }
}

fn write_list<W: Write>(sink: &mut Sink<W>, list: &[u32], content: &mut Vec<u8>) -> Result<()> {
    content.clear();
    content.extend_from_slice(&count_u32(list.len())?.to_be_bytes());
    content.extend(list.iter().flat_map(|reference| reference.to_be_bytes()));
    sink.start_section(content.len() as u64, "postings list")?;
    sink.write_content(content)?;
    sink.end_section()
}

/// Returns the bytes of a list: length, number of entries, entries, checksum.
fn list_len(entries: u64) -> u64 {
    4 + 4 + 4 * entries + 4
}

fn append_text(out: &mut Vec<u8>, text: &[u8]) {
    put_uvarint(out, text.len() as u64);
    out.extend_from_slice(text);
}

fn count_u32(count: usize) -> Result<u32> {
    u32::try_from(count)
        .map_err(|_| Error::limit_exceeded(format!("{count} entries do not fit a section")))
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
