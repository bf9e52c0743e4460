//! The symbol table of an index or of an index-header: text by reference, reference by text.
//!
//! Over the section of an index it keeps the position of every 32nd symbol; the others are found by walking from there.
//! A sparse header stores all positions, so that there nothing is kept and nothing is walked. The text is read from the
//! file's bytes and nothing is copied. [`LabelDecoder`](super::LabelDecoder) caches positions for its user.

mod finder;

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicU64};

use bytes::Bytes;

pub(crate) use self::finder::SymbolFinder;
use super::format::{IndexVersion, SAMPLING, SymbolRef};
use super::pages::Pages;
use crate::encoding::Cursor;
use crate::error::{Error, Result};

/// The next [`Symbols::id`]; a caller that mixes up tables must never be given labels of another one.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The symbol table over the bytes of its section, or of a sparse header.
#[derive(Debug, Clone)]
pub struct Symbols {
    /// What holds the text: the content of the section behind the number of symbols, or nothing but text.
    table: Bytes,
    /// The file offset of `table`.
    table_offset: u64,
    version: IndexVersion,
    count: u32,
    /// Tells tables apart; clones share it.
    id: u64,
    layout: Layout,
}

/// How the positions in the table are known.
#[derive(Debug, Clone)]
enum Layout {
    /// Each symbol lies behind its length.
    Section {
        /// The position of every [`SAMPLING`]th symbol.
        samples: Vec<u32>,
        /// What a reference of version 1 to the first byte of the table would be.
        first_v1_ref: u64,
    },
    /// The symbols follow each other; where each starts is stored elsewhere.
    Sparse(SparseSymbols),
}

/// The symbols of a sparse header.
#[derive(Debug, Clone)]
pub(crate) struct SparseSymbols {
    pub(crate) pages: Arc<Pages>,
    /// Where the text of all symbols lies.
    pub(crate) text: Range<usize>,
    /// Where the starts of the texts lie, in `text`: one more than there are symbols, in 32 bits each.
    pub(crate) starts: usize,
    pub(crate) count: u32,
}

impl SparseSymbols {
    /// Returns where the text of a symbol that there is lies in the table.
    #[inline]
    fn place(&self, position: usize) -> Result<SymbolPlace> {
        let at = self.starts + position * size_of::<u32>();
        let bounds = self.pages.get(at..at + 2 * size_of::<u32>())?;
        let (start, end) = bounds.split_at(size_of::<u32>());
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_le_bytes);
        let (start, end) = (number(start), number(end));
        let in_file = |position: u32| self.text.start.saturating_add(position as usize);
        let file_range = in_file(start)..in_file(end);
        if start > end || file_range.end > self.text.end {
            let message = format!("symbol {position} lies at {start}..{end} of its table");
            return Err(Error::corrupt(message).at(at as u64));
        }
        self.pages.get(file_range)?;
        Ok(SymbolPlace {
            start,
            len: end - start,
        })
    }
}

/// Where the text of a symbol lies in the table.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SymbolPlace {
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Symbols {
    /// Opens the section that starts at `offset` of `file`; `index_offset` is where it started in the index itself,
    /// which is another file when `file` is an index-header.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the section is damaged or its symbols are not in strictly ascending order.
    pub fn open(
        file: &Bytes,
        offset: u64,
        index_offset: u64,
        version: IndexVersion,
    ) -> Result<Self> {
        let bytes = usize::try_from(offset).ok().and_then(|at| file.get(at..));
        let bytes =
            bytes.ok_or_else(|| Error::corrupt("symbol table lies beyond the file").at(offset))?;
        let section = Cursor::at_offset(bytes, offset).be32_section("symbol table")?;
        let mut cursor = section.cursor();
        let count = cursor.be32("number of symbols")?;
        let mut symbols = Self {
            table: file.slice_ref(cursor.rest()),
            table_offset: cursor.offset(),
            version,
            count,
            id: NEXT_ID.fetch_add(1, atomic::Ordering::Relaxed),
            layout: Layout::Section {
                samples: Vec::new(),
                first_v1_ref: index_offset + (cursor.offset() - offset),
            },
        };
        let sampled = symbols.sample(cursor)?;
        if let Layout::Section { samples, .. } = &mut symbols.layout {
            *samples = sampled;
        }
        Ok(symbols)
    }

    /// Returns the table of `count` symbols in strictly ascending order, of which `entries` are the content of a section
    /// of version 2 behind the number of symbols.
    ///
    /// # Errors
    ///
    /// `Corrupt` when there are not so many symbols, or they are out of order.
    pub(crate) fn of_entries(entries: Bytes, count: u32) -> Result<Self> {
        let mut symbols = Self {
            table: entries.clone(),
            table_offset: 0,
            version: IndexVersion::V2,
            count,
            id: NEXT_ID.fetch_add(1, atomic::Ordering::Relaxed),
            layout: Layout::Section {
                samples: Vec::new(),
                first_v1_ref: 0,
            },
        };
        let sampled = symbols.sample(Cursor::new(&entries))?;
        if let Layout::Section { samples, .. } = &mut symbols.layout {
            *samples = sampled;
        }
        Ok(symbols)
    }

    /// Returns the content of the section behind the number of symbols.
    pub(super) fn entries(&self) -> &[u8] {
        &self.table
    }

    /// Returns the symbols of the sparse header `file`. Nothing is read yet.
    pub(crate) fn sparse(file: &Bytes, symbols: SparseSymbols) -> Self {
        Self {
            table: file.slice(symbols.text.clone()),
            table_offset: symbols.text.start as u64,
            version: IndexVersion::V2,
            count: symbols.count,
            id: NEXT_ID.fetch_add(1, atomic::Ordering::Relaxed),
            layout: Layout::Sparse(symbols),
        }
    }

    /// Returns the sampled positions, of which a sparse header has none.
    fn samples(&self) -> &[u32] {
        match &self.layout {
            Layout::Section { samples, .. } => samples,
            Layout::Sparse(_) => &[],
        }
    }

    /// Walks the table once: counts, checks the order, and notes every [`SAMPLING`]th position.
    fn sample(&self, mut cursor: Cursor<'_>) -> Result<Vec<u32>> {
        // A symbol takes at least a byte, so that the samples are bounded by the section.
        let possible = cursor.remaining().min(self.count as usize);
        let mut samples = Vec::with_capacity(possible / SAMPLING + 1);
        let mut previous: Option<&[u8]> = None;
        for i in 0..self.count {
            let position = cursor.offset() - self.table_offset;
            if (i as usize).is_multiple_of(SAMPLING) {
                samples.push(position_u32(position));
            }
            let before = cursor;
            let symbol = cursor.uvarint_bytes("symbol")?;
            let ordered = previous.is_none_or(|previous| previous < symbol);
            if !ordered && self.version == IndexVersion::V2 {
                return Err(before.corrupt(format_args!(
                    "symbol {i} is not greater than its predecessor"
                )));
            }
            previous = Some(symbol);
        }
        Ok(samples)
    }

    /// Returns the number of symbols.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Reports whether there is no symbol.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns a number that no other table of this process has.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Returns the bytes of memory that the samples take.
    pub fn memory_bytes(&self) -> usize {
        match &self.layout {
            Layout::Section { samples, .. } => samples.capacity() * size_of::<u32>(),
            Layout::Sparse(_) => 0,
        }
    }

    /// Returns the text of `symbol`.
    ///
    /// # Errors
    ///
    /// `Corrupt` when there is no such symbol or its text is not UTF-8.
    pub fn lookup(&self, symbol: SymbolRef) -> Result<&str> {
        self.text(self.place(symbol)?)
    }

    /// Returns the reference to the symbol with `text`, if there is one.
    ///
    /// In version 1, where references are offsets and the order is not assured, this walks the table.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the table cannot be walked.
    pub fn find(&self, text: &str) -> Result<Option<SymbolRef>> {
        match &self.layout {
            Layout::Section { .. } => self.find_in_section(text.as_bytes()),
            Layout::Sparse(sparse) => self.find_by_place(sparse, text.as_bytes()),
        }
    }

    fn find_by_place(&self, sparse: &SparseSymbols, wanted: &[u8]) -> Result<Option<SymbolRef>> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = u32::midpoint(low, high);
            let place = sparse.place(middle as usize)?;
            match self.bytes_at(place).cmp(wanted) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(Some(SymbolRef(middle))),
                Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    fn find_in_section(&self, wanted: &[u8]) -> Result<Option<SymbolRef>> {
        let first = match self.version {
            IndexVersion::V1 => 0,
            IndexVersion::V2 => {
                let after = self.partition(wanted)?;
                after.saturating_sub(1)
            }
        };
        let mut cursor = self.cursor_at_sample(first);
        let mut position = first * SAMPLING;
        while position < self.len() {
            let reference = self.reference(position, cursor);
            let symbol = cursor.uvarint_bytes("symbol")?;
            match (symbol.cmp(wanted), self.version) {
                (Ordering::Equal, _) => return Ok(Some(reference)),
                (Ordering::Greater, IndexVersion::V2) => return Ok(None),
                (Ordering::Less, _) | (Ordering::Greater, IndexVersion::V1) => position += 1,
            }
        }
        Ok(None)
    }

    /// Returns the number of samples whose symbol is not greater than `wanted`.
    fn partition(&self, wanted: &[u8]) -> Result<usize> {
        let (mut low, mut high) = (0, self.samples().len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let symbol = self.cursor_at_sample(middle).uvarint_bytes("symbol")?;
            if symbol <= wanted {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn reference(&self, position: usize, cursor: Cursor<'_>) -> SymbolRef {
        let number = match (&self.layout, self.version) {
            (Layout::Section { first_v1_ref, .. }, IndexVersion::V1) => {
                first_v1_ref + (cursor.offset() - self.table_offset)
            }
            (Layout::Sparse(_), _) | (_, IndexVersion::V2) => position as u64,
        };
        SymbolRef(position_u32(number))
    }

    fn cursor_at_sample(&self, sample: usize) -> Cursor<'_> {
        let position = self.samples().get(sample).copied().unwrap_or(0);
        self.cursor_at(position as usize)
    }

    fn cursor_at(&self, position: usize) -> Cursor<'_> {
        let rest = self.table.get(position..).unwrap_or_default();
        Cursor::at_offset(rest, self.table_offset + position as u64)
    }

    /// Returns the symbols in the order of the table, each with its reference.
    pub fn iter(&self) -> SymbolIter<'_> {
        SymbolIter {
            symbols: self,
            cursor: self.cursor_at(0),
            position: 0,
        }
    }

    /// Finds where the text of `symbol` lies.
    #[inline]
    pub(super) fn place(&self, symbol: SymbolRef) -> Result<SymbolPlace> {
        match &self.layout {
            Layout::Sparse(sparse) if symbol.0 < self.count => sparse.place(symbol.0 as usize),
            Layout::Sparse(_) => Err(self.unknown(symbol)),
            Layout::Section { first_v1_ref, .. } => self.place_in_section(symbol, *first_v1_ref),
        }
    }

    #[cold]
    fn unknown(&self, symbol: SymbolRef) -> Error {
        Error::corrupt(format!("reference to unknown symbol {}", symbol.0)).at(self.table_offset)
    }

    fn place_in_section(&self, symbol: SymbolRef, first_v1_ref: u64) -> Result<SymbolPlace> {
        let mut cursor = match self.version {
            IndexVersion::V1 => {
                let position = u64::from(symbol.0).checked_sub(first_v1_ref);
                let position = position.and_then(|position| usize::try_from(position).ok());
                let inside = position.filter(|position| *position < self.table.len());
                self.cursor_at(inside.ok_or_else(|| self.unknown(symbol))?)
            }
            IndexVersion::V2 if symbol.0 >= self.count => return Err(self.unknown(symbol)),
            IndexVersion::V2 => self.walk(symbol.0 as usize)?,
        };
        let text = cursor.uvarint_bytes("symbol")?;
        let end = cursor.offset() - self.table_offset;
        Ok(SymbolPlace {
            start: position_u32(end - text.len() as u64),
            len: position_u32(text.len() as u64),
        })
    }

    /// Returns the cursor before the symbol at `position`, which there is.
    fn walk(&self, position: usize) -> Result<Cursor<'_>> {
        let sample = self.samples().get(position / SAMPLING);
        let mut at = sample.map_or(0, |sample| *sample as usize);
        for _ in 0..position % SAMPLING {
            match self.table.get(at) {
                // Nearly all symbols have a length of one byte; this loop is where lookups spend their time.
                Some(len) if *len < 0x80 => at += 1 + usize::from(*len),
                _ => {
                    let mut cursor = self.cursor_at(at);
                    cursor.uvarint_bytes("symbol")?;
                    at = self.table.len() - cursor.remaining();
                }
            }
        }
        Ok(self.cursor_at(at))
    }

    /// Returns the bytes at `place`.
    #[inline]
    pub(super) fn bytes_at(&self, place: SymbolPlace) -> &[u8] {
        let start = place.start as usize;
        let end = start + place.len as usize;
        self.table.get(start..end).unwrap_or_default()
    }

    /// Returns the text at `place`, checked.
    pub(super) fn text(&self, place: SymbolPlace) -> Result<&str> {
        std::str::from_utf8(self.bytes_at(place)).map_err(|_| {
            Error::corrupt("symbol is not UTF-8").at(self.table_offset + u64::from(place.start))
        })
    }
}

/// A section is at most 4 GiB long, so that places in it fit.
fn position_u32(position: u64) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

/// The symbols of a table in order.
#[derive(Debug, Clone)]
pub struct SymbolIter<'a> {
    symbols: &'a Symbols,
    cursor: Cursor<'a>,
    position: usize,
}

impl<'a> Iterator for SymbolIter<'a> {
    type Item = Result<(SymbolRef, &'a str)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.position >= self.symbols.len() {
            return None;
        }
        if let Layout::Sparse(_) = self.symbols.layout {
            let symbol = SymbolRef(position_u32(self.position as u64));
            self.position += 1;
            return Some(self.symbols.lookup(symbol).map(|text| (symbol, text)));
        }
        let reference = self.symbols.reference(self.position, self.cursor);
        self.position += 1;
        let text = self.cursor.uvarint_str("symbol");
        if text.is_err() {
            self.position = self.symbols.len();
        }
        Some(text.map(|text| (reference, text)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::encoding::crc;
    use crate::encoding::varint::put_uvarint;

    pub(super) fn section(offset: usize, symbols: &[&[u8]]) -> Bytes {
        let mut content = u32::try_from(symbols.len()).unwrap().to_be_bytes().to_vec();
        for symbol in symbols {
            put_uvarint(&mut content, symbol.len() as u64);
            content.extend_from_slice(symbol);
        }
        let mut file = vec![0; offset];
        file.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
        file.extend_from_slice(&content);
        file.extend_from_slice(&crc::checksum(&content).to_be_bytes());
        Bytes::from(file)
    }

    #[test]
    fn every_symbol_is_found_both_ways() {
        let names: Vec<String> = (0..100).map(|i| format!("s{i:03}")).collect();
        let list: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
        for version in [IndexVersion::V1, IndexVersion::V2] {
            for (offset, index_offset) in [(5, 5), (14, 5)] {
                let file = section(offset, &list);
                let symbols = Symbols::open(&file, offset as u64, index_offset, version).unwrap();
                assert_eq!((symbols.len(), symbols.samples().len()), (100, 4));
                for (i, name) in names.iter().enumerate() {
                    let reference = symbols.find(name).unwrap().unwrap();
                    assert_eq!(symbols.lookup(reference).unwrap(), name);
                    let expected = match version {
                        IndexVersion::V1 => index_offset + 8 + 5 * i as u64,
                        IndexVersion::V2 => i as u64,
                    };
                    assert_eq!(u64::from(reference.0), expected);
                }
                for absent in ["", "s", "s0005", "t"] {
                    assert_eq!(symbols.find(absent).unwrap(), None);
                }
                let all: Vec<_> = symbols.iter().map(|item| item.unwrap().1).collect();
                assert_eq!(all, names);
                assert!(symbols.lookup(SymbolRef(100_000)).is_err());
            }
        }
    }

    #[test]
    fn unsorted_symbols_and_text_that_is_not_utf8_are_corrupt() {
        let file = section(5, &[b"b", b"a"]);
        let error = Symbols::open(&file, 5, 5, IndexVersion::V2).unwrap_err();
        assert_eq!(error.offset(), Some(5 + 8 + 2));
        assert!(Symbols::open(&file, 5, 5, IndexVersion::V1).is_ok());
        let file = section(5, &[b"a", b"\xFF"]);
        let symbols = Symbols::open(&file, 5, 5, IndexVersion::V2).unwrap();
        assert!(symbols.lookup(SymbolRef(0)).is_ok());
        assert!(symbols.lookup(SymbolRef(1)).is_err());
    }

    #[test]
    fn a_count_beyond_the_section_is_corrupt() {
        let mut content = u32::MAX.to_be_bytes().to_vec();
        content.extend_from_slice(&[1, b'a']);
        let mut file = u32::try_from(content.len()).unwrap().to_be_bytes().to_vec();
        file.extend_from_slice(&content);
        file.extend_from_slice(&crc::checksum(&content).to_be_bytes());
        assert!(Symbols::open(&Bytes::from(file), 0, 0, IndexVersion::V2).is_err());
    }
}
