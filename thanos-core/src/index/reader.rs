//! Reading a whole index that lies in memory or is mapped.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::format::{
    ChunkMeta, INDEX_HEADER_LEN, IndexVersion, SeriesRef, SymbolRef, TOC_LEN, Toc,
    decode_index_header,
};
use super::labels::LabelDecoder;
use super::plan::{ListGroup, PlannedList, PostingsPlan};
use super::postings_table::{ListLocation, PostingsTable};
use super::series::{RawSeries, decode_labels, decode_series, decode_series_within, split_series};
use super::symbols::Symbols;
use crate::budget::MemoryBudget;
use crate::encoding::Section;
use crate::error::{Error, Result};
use crate::labels::{LabelsRef, Matcher};
use crate::postings::{
    Postings, StoredGroup, StoredList, combine, decode_postings, split_postings,
};
use crate::time::TimeRange;

/// A reader of an index of version 1 or 2.
///
/// Opening checks the sections that every lookup stands on (contents, symbols, postings table); lists and series
/// are checked when they are read. In memory it keeps the label names and a position for every 32nd symbol and
/// value. Series references ascend in label order.
///
/// # Example
///
/// ```
/// use thanos_core::index::{IndexReader, SeriesScratch};
/// use thanos_core::labels::Matcher;
/// # use thanos_core::Result;
/// # fn show(bytes: bytes::Bytes) -> Result<()> {
/// let index = IndexReader::open("01M81JDC7R8JKP7SEW1VN2HAQ9/index", bytes)?;
/// let mut series = SeriesScratch::default();
/// for reference in &index.postings_for_matchers(&[Matcher::equal("__name__", "up")])? {
///     index.series(reference.into(), &mut series)?;
///     println!("{} has {} chunks", series.labels(), series.chunks().len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct IndexReader {
    file: String,
    bytes: Bytes,
    version: IndexVersion,
    toc: Toc,
    symbols: Symbols,
    postings: PostingsTable,
}

/// The series read last, and the memory to read the next one.
#[derive(Debug, Clone, Default)]
pub struct SeriesScratch {
    raw: RawSeries,
    decoder: LabelDecoder,
    key: Vec<u8>,
}

impl SeriesScratch {
    /// Returns the labels of the series.
    pub fn labels(&self) -> LabelsRef<'_> {
        LabelsRef::from_trusted_key(&self.key)
    }

    /// Returns its chunks.
    pub fn chunks(&self) -> &[ChunkMeta] {
        &self.raw.chunks
    }

    /// Returns name and value of each label as the symbols of the index.
    pub fn symbols(&self) -> &[(SymbolRef, SymbolRef)] {
        &self.raw.labels
    }

    /// Decodes the content of a series entry: labels by `symbols`, and the chunks that share a time with `range`.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the entry does not have the format or names unknown symbols.
    pub fn decode(
        &mut self,
        symbols: &Symbols,
        entry: Section<'_>,
        range: TimeRange,
    ) -> Result<()> {
        self.key.clear();
        decode_series_within(entry, range, &mut self.raw)?;
        self.decoder
            .append_key(symbols, &self.raw.labels, &mut self.key)
            .map_err(|error| error.at(entry.offset))
    }
}

impl IndexReader {
    /// Opens the index in `bytes`; `file` names it in errors.
    ///
    /// # Errors
    ///
    /// `Corrupt` when it is no index of a known version, or a section needed for lookups is damaged.
    pub fn open(file: &str, bytes: Bytes) -> Result<Self> {
        Self::open_unnamed(file, bytes).map_err(|error| error.in_file(file))
    }

    fn open_unnamed(file: &str, bytes: Bytes) -> Result<Self> {
        let version = decode_index_header(bytes.get(..INDEX_HEADER_LEN).unwrap_or(&bytes))?;
        let toc_bytes = bytes.len().checked_sub(TOC_LEN);
        let toc_bytes = toc_bytes.and_then(|start| bytes.get(start..));
        let toc = Toc::decode(toc_bytes.unwrap_or_default(), bytes.len() as u64)?;
        let symbols = Symbols::open(&bytes, toc.symbols, toc.symbols, version)?;
        let (table, lists_end) = (toc.postings_table, toc.postings_table);
        let postings = PostingsTable::open(&bytes, table, lists_end, version)?;
        Ok(Self {
            file: file.to_owned(),
            bytes,
            version,
            toc,
            symbols,
            postings,
        })
    }

    /// Returns the version of the format.
    pub fn version(&self) -> IndexVersion {
        self.version
    }

    /// Returns where the sections lie.
    pub fn toc(&self) -> Toc {
        self.toc
    }

    /// Returns the bytes of the file.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the symbol table.
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// Returns the table of the postings lists.
    pub fn postings_table(&self) -> &PostingsTable {
        &self.postings
    }

    /// Returns the bytes of memory that the reader keeps beside the file.
    pub fn memory_bytes(&self) -> usize {
        self.symbols.memory_bytes() + self.postings.memory_bytes()
    }

    /// Returns the names of all labels, sorted.
    pub fn label_names(&self) -> Vec<String> {
        self.postings.label_names().map(str::to_owned).collect()
    }

    /// Returns the values of the label `name`, sorted.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the table is damaged.
    pub fn label_values(&self, name: &str) -> Result<Vec<String>> {
        let mut values = Vec::with_capacity(self.postings.value_count(name));
        self.named(self.postings.visit(name, |entry| {
            values.push(entry.value.to_owned());
            Ok(ControlFlow::Continue(()))
        }))?;
        Ok(values)
    }

    /// Returns all series.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the table or the list is damaged.
    pub fn all_postings(&self) -> Result<Postings> {
        self.postings("", &[""])
    }

    /// Returns the series whose label `name` has any of `values`.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the table or a list is damaged.
    pub fn postings(&self, name: &str, values: &[&str]) -> Result<Postings> {
        let mut lists = Vec::new();
        for value in values {
            if let Some(location) = self.named(self.postings.find(name, value))? {
                lists.push(self.list(location)?);
            }
        }
        Ok(Postings::union(lists))
    }

    /// Returns the series that satisfy all of `matchers`; no matchers are satisfied by every series.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the table or a list is damaged.
    pub fn postings_for_matchers(&self, matchers: &[Matcher]) -> Result<Postings> {
        let plan = self.named(PostingsPlan::new(&self.postings, matchers))?;
        let PostingsPlan::Lists { keep, drop } = plan else {
            return Ok(Postings::empty());
        };
        let (keep, drop) = (self.groups(&keep)?, self.groups(&drop)?);
        let combined = self.named(combine(&keep, &drop, &MemoryBudget::unlimited()))?;
        Ok(Postings::from_list(combined.series))
    }

    fn groups(&self, groups: &[ListGroup]) -> Result<Vec<StoredGroup<'_>>> {
        let list = |list: &PlannedList| {
            let offset = list.location.offset;
            let bytes = self.named(self.bytes_at(offset, "postings list"))?;
            Ok(StoredList { bytes, offset })
        };
        let group = |group: &ListGroup| group.lists.iter().map(list).collect();
        groups.iter().map(group).collect()
    }

    /// Reads a list and checks it.
    fn list(&self, location: ListLocation) -> Result<Postings> {
        let bytes = self.bytes_at(location.offset, "postings list");
        let list = bytes.and_then(|bytes| split_postings(bytes, location.offset));
        self.named(list.and_then(decode_postings))
    }

    /// Reads labels and chunks of a series.
    ///
    /// # Errors
    ///
    /// `Corrupt` when there is no such series or its entry is damaged.
    pub fn series(&self, series: SeriesRef, scratch: &mut SeriesScratch) -> Result<()> {
        self.series_within(series, TimeRange::ALL, scratch)
    }

    /// Reads labels of a series and its chunks that share a time with `range`.
    ///
    /// # Errors
    ///
    /// `Corrupt` when there is no such series or its entry is damaged.
    pub fn series_within(
        &self,
        series: SeriesRef,
        range: TimeRange,
        scratch: &mut SeriesScratch,
    ) -> Result<()> {
        let entry = self.series_entry(series);
        self.named(entry.and_then(|entry| scratch.decode(&self.symbols, entry, range)))
    }

    /// Reads a series as its entry has it: labels as symbols, which may be in any order, and all chunks.
    ///
    /// # Errors
    ///
    /// `Corrupt` when there is no such series or its entry is damaged.
    pub fn raw_series(&self, series: SeriesRef, raw: &mut RawSeries) -> Result<()> {
        let entry = self.series_entry(series);
        self.named(entry.and_then(|entry| decode_series(entry, raw)))
    }

    /// Returns the list of all series as the index has it: references of 4 bytes, big-endian, after a check of the
    /// checksum. That they ascend is not checked.
    pub(crate) fn all_series_encoded(&self) -> Result<Bytes> {
        let Some(location) = self.named(self.postings.find("", ""))? else {
            return Ok(Bytes::new());
        };
        let bytes = self.bytes_at(location.offset, "postings list");
        let list = bytes.and_then(|bytes| split_postings(bytes, location.offset));
        let entries = list.and_then(|list| {
            let mut cursor = list.cursor();
            let count = cursor.be32("number of postings")?;
            match cursor.remaining() as u64 == 4 * u64::from(count) {
                true => Ok(self.bytes.slice_ref(cursor.rest())),
                false => {
                    Err(cursor.corrupt("number of postings disagrees with the length of the list"))
                }
            }
        });
        self.named(entries)
    }

    fn series_entry(&self, series: SeriesRef) -> Result<Section<'_>> {
        let unknown = || Error::corrupt(format!("reference to unknown {series:?}"));
        let offset = self.version.series_offset(series).ok_or_else(unknown)?;
        if !(self.toc.series..self.toc.postings).contains(&offset) {
            return Err(unknown().at(offset));
        }
        split_series(self.bytes_at(offset, "series entry")?, offset)
    }

    /// Returns the names of the labels that any of `postings` has, sorted.
    ///
    /// # Errors
    ///
    /// `Corrupt` when a series is damaged.
    pub fn label_names_for(&self, postings: &Postings) -> Result<Vec<String>> {
        let symbols = self.symbols_of(postings, |name, _| Some(name))?;
        self.texts(symbols)
    }

    /// Returns the values that the label `name` has in any of `postings`, sorted.
    ///
    /// # Errors
    ///
    /// `Corrupt` when a list or a series is damaged.
    pub fn label_values_for(&self, name: &str, postings: &Postings) -> Result<Vec<String>> {
        if self.postings.value_count(name) > postings.len() {
            // Fewer series than values: ask the series.
            let Some(wanted) = self.named(self.symbols.find(name))? else {
                return Ok(Vec::new());
            };
            let value_of_name = |name, value| (name == wanted).then_some(value);
            let symbols = self.symbols_of(postings, value_of_name)?;
            return self.texts(symbols);
        }
        let mut values = Vec::new();
        self.named(self.postings.visit(name, |entry| {
            let list = self.list(entry.location)?;
            if !entry.value.is_empty() && !list.is_disjoint(postings) {
                values.push(entry.value.to_owned());
            }
            Ok(ControlFlow::Continue(()))
        }))?;
        Ok(values)
    }

    /// Collects a symbol of each label of `postings`.
    fn symbols_of(
        &self,
        postings: &Postings,
        pick: impl Fn(SymbolRef, SymbolRef) -> Option<SymbolRef>,
    ) -> Result<BTreeSet<SymbolRef>> {
        let mut found = BTreeSet::new();
        let mut labels = Vec::new();
        for series in postings {
            let entry = self.series_entry(series.into());
            self.named(entry.and_then(|entry| decode_labels(entry, &mut labels)))?;
            found.extend(
                labels
                    .iter()
                    .filter_map(|(name, value)| pick(*name, *value)),
            );
        }
        Ok(found)
    }

    fn texts(&self, symbols: BTreeSet<SymbolRef>) -> Result<Vec<String>> {
        let texts = symbols
            .into_iter()
            .map(|symbol| self.symbols.lookup(symbol).map(str::to_owned));
        let mut texts = self.named(texts.collect::<Result<Vec<_>>>())?;
        texts.retain(|text| !text.is_empty());
        // The symbols of version 1 are not in order.
        texts.sort_unstable();
        Ok(texts)
    }

    fn bytes_at(&self, offset: u64, what: &str) -> Result<&[u8]> {
        let start = usize::try_from(offset).ok();
        start
            .and_then(|start| self.bytes.get(start..))
            .ok_or_else(|| Error::corrupt(format!("{what} lies beyond the file")).at(offset))
    }

    fn named<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| error.in_file(self.file.as_str()))
    }
}
