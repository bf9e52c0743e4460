//! The symbols of an index being written: text by number, number by text.
//!
//! They are given one by one and kept, with a table to find them, or they are a table that lies elsewhere, of which an
//! index may have a part. A part keeps the numbers of the whole table, in whose order its symbols are; only what goes to
//! the file is numbered anew.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::format::SymbolRef;
use super::symbols::Symbols;
use crate::encoding::varint::{put_uvarint, uvarint_len};
use crate::error::{Error, Result};

/// The symbols of an index being written.
#[derive(Debug)]
pub(super) enum SymbolIds {
    Own(OwnSymbols),
    Table(SymbolTable),
}

/// Symbols that lie elsewhere, or some of them.
#[derive(Debug, Clone)]
pub(crate) struct SymbolTable {
    /// All of them, in strictly ascending order.
    pub(crate) symbols: Symbols,
    /// Those that the index has; nothing means all.
    pub(crate) used: Option<Arc<UsedSymbols>>,
}

/// A set of symbols, each with its position among them.
#[derive(Debug)]
pub(crate) struct UsedSymbols {
    bits: Vec<u64>,
    /// How many there are before each word; made by [`UsedSymbols::count`].
    before: Vec<u32>,
    count: u32,
}

impl UsedSymbols {
    /// Returns an empty set of symbols below `len`.
    pub(crate) fn new(len: usize) -> Self {
        Self {
            bits: vec![0; len.div_ceil(64)],
            before: Vec::new(),
            count: 0,
        }
    }

    /// Returns the bytes of a set of symbols below `len`.
    pub(crate) fn bytes_of(len: usize) -> u64 {
        len.div_ceil(64) as u64 * 12
    }

    /// Adds a symbol, which is below the length of the table.
    pub(crate) fn insert(&mut self, symbol: SymbolRef) {
        if let Some(word) = self.bits.get_mut(symbol.0 as usize / 64) {
            *word |= 1 << (symbol.0 % 64);
        }
    }

    /// Ends adding: counts what comes before each symbol.
    #[must_use]
    pub(crate) fn counted(mut self) -> Self {
        self.before.reserve_exact(self.bits.len());
        for word in &self.bits {
            self.before.push(self.count);
            self.count += word.count_ones();
        }
        self
    }

    /// Returns how many symbols of the set come before `symbol`, if that is in the set.
    fn position(&self, symbol: SymbolRef) -> Option<u32> {
        let word = self.bits.get(symbol.0 as usize / 64)?;
        let bit = 1 << (symbol.0 % 64);
        let before = *self.before.get(symbol.0 as usize / 64)?;
        (word & bit != 0).then(|| before + (word & (bit - 1)).count_ones())
    }
}

impl SymbolTable {
    /// Yields the texts of the symbols that are used.
    fn texts(&self) -> impl Iterator<Item = Result<&str>> {
        let is_used = |symbol| match &self.used {
            None => true,
            Some(used) => used.position(symbol).is_some(),
        };
        let used = self.symbols.iter();
        let used =
            used.filter(move |item| item.as_ref().map_or(true, |(symbol, _)| is_used(*symbol)));
        used.map(|item| item.map(|(_, text)| text))
    }
}

impl SymbolIds {
    /// Returns the length of the entries as the section stores them.
    pub(super) fn encoded_len(&self) -> Result<u64> {
        match self {
            Self::Own(own) => Ok(own.encoded.len() as u64),
            Self::Table(SymbolTable {
                symbols,
                used: None,
            }) => Ok(symbols.entries().len() as u64),
            Self::Table(table) => table.texts().try_fold(0, |len, text| {
                let text = text?.len();
                Ok(len + (uvarint_len(text as u64) + text) as u64)
            }),
        }
    }

    /// Calls `write` with the entries as the section stores them, piece by piece.
    pub(super) fn write_encoded(&self, mut write: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match self {
            Self::Own(own) => write(&own.encoded),
            Self::Table(SymbolTable {
                symbols,
                used: None,
            }) => write(symbols.entries()),
            Self::Table(table) => {
                let mut entry = Vec::new();
                for text in table.texts() {
                    let text = text?;
                    entry.clear();
                    put_uvarint(&mut entry, text.len() as u64);
                    entry.extend_from_slice(text.as_bytes());
                    write(&entry)?;
                }
                Ok(())
            }
        }
    }

    /// Returns the number of symbols that the index has.
    pub(super) fn count(&self) -> u32 {
        match self {
            Self::Table(SymbolTable {
                used: Some(used), ..
            }) => used.count,
            _ => self.len(),
        }
    }

    /// Returns the number of symbols of which some are used: all are below it.
    pub(super) fn len(&self) -> u32 {
        match self {
            Self::Own(own) => own.len(),
            // There are fewer symbols than bytes in a section.
            Self::Table(table) => u32::try_from(table.symbols.len()).unwrap_or(u32::MAX),
        }
    }

    /// Returns what the index calls `symbol`, if that is one of those that it has.
    #[inline]
    pub(super) fn number(&self, symbol: SymbolRef) -> Option<SymbolRef> {
        match self {
            Self::Table(SymbolTable {
                used: Some(used), ..
            }) => used.position(symbol).map(SymbolRef),
            _ => (symbol.0 < self.len()).then_some(symbol),
        }
    }

    /// Returns the text of `symbol`; nothing when there is no such symbol.
    pub(super) fn text(&self, symbol: SymbolRef) -> Option<&[u8]> {
        match self {
            Self::Own(own) => own.text(symbol),
            Self::Table(table) => table.symbols.lookup(symbol).ok().map(str::as_bytes),
        }
    }

    /// Returns the number of the symbol with `text`.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the table can not be read.
    pub(super) fn find(&mut self, text: &[u8]) -> Result<Option<SymbolRef>> {
        match self {
            Self::Own(own) => Ok(own.find(text)),
            Self::Table(table) => match std::str::from_utf8(text) {
                Ok(text) => table.symbols.find(text),
                Err(_) => Ok(None),
            },
        }
    }
}

/// Sorted symbols, numbered in their order.
#[derive(Debug, Default)]
pub(super) struct OwnSymbols {
    /// The entries as the section stores them: length and text.
    encoded: Vec<u8>,
    /// Where each text starts and ends in `encoded`.
    places: Vec<(u32, u32)>,
    /// Numbers by the hash of their text; made when first needed.
    by_text: Option<HashTable<u32>>,
    hasher: DefaultHashBuilder,
}

impl OwnSymbols {
    /// Takes `symbols`, which ascend strictly.
    pub(super) fn new<S: AsRef<str>>(symbols: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut ids = Self::default();
        for symbol in symbols {
            ids.push(symbol.as_ref())?;
        }
        Ok(ids)
    }

    fn push(&mut self, symbol: &str) -> Result<()> {
        let previous = self.places.last().map(|place| self.at(*place));
        if previous.is_some_and(|previous| previous >= symbol.as_bytes()) {
            return Err(Error::invalid(format!(
                "symbol {symbol:?} is not greater than its predecessor"
            )));
        }
        put_uvarint(&mut self.encoded, symbol.len() as u64);
        let start = self.encoded.len();
        self.encoded.extend_from_slice(symbol.as_bytes());
        match (u32::try_from(start), u32::try_from(self.encoded.len())) {
            (Ok(start), Ok(end)) => self.places.push((start, end)),
            _ => return Err(Error::limit_exceeded("symbols take more than 4 GiB")),
        }
        Ok(())
    }

    /// Returns the bytes of memory that the symbols take, with the table that finds them.
    pub(super) fn memory_bytes(&self) -> u64 {
        (self.encoded.capacity() + self.places.capacity() * (size_of::<(u32, u32)>() + 8)) as u64
    }

    /// Returns the number of symbols.
    fn len(&self) -> u32 {
        // There are fewer symbols than bytes, whose number fits.
        u32::try_from(self.places.len()).unwrap_or(u32::MAX)
    }

    fn text(&self, symbol: SymbolRef) -> Option<&[u8]> {
        let place = self.places.get(symbol.0 as usize)?;
        Some(self.at(*place))
    }

    fn at(&self, (start, end): (u32, u32)) -> &[u8] {
        self.encoded
            .get(start as usize..end as usize)
            .unwrap_or_default()
    }

    fn find(&mut self, text: &[u8]) -> Option<SymbolRef> {
        if self.by_text.is_none() {
            self.by_text = Some(self.index());
        }
        let hash = self.hasher.hash_one(text);
        let table = self.by_text.as_ref()?;
        let found = table.find(hash, |id| self.text(SymbolRef(*id)) == Some(text));
        found.map(|id| SymbolRef(*id))
    }

    fn index(&self) -> HashTable<u32> {
        let mut table = HashTable::with_capacity(self.places.len());
        let hash = |id: &u32| {
            self.hasher
                .hash_one(self.text(SymbolRef(*id)).unwrap_or_default())
        };
        for id in 0..self.len() {
            table.insert_unique(hash(&id), id, hash);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_found_by_text_and_number() {
        let mut ids = OwnSymbols::new(["", "a", "b\0", "\u{e9}"]).unwrap();
        for (number, text) in ["", "a", "b\0", "\u{e9}"].into_iter().enumerate() {
            let symbol = SymbolRef(u32::try_from(number).unwrap());
            assert_eq!(ids.find(text.as_bytes()), Some(symbol));
            assert_eq!(ids.text(symbol), Some(text.as_bytes()));
        }
        assert_eq!(ids.find(b"b"), None);
        assert_eq!(ids.text(SymbolRef(4)), None);
        assert_eq!(ids.encoded, b"\x00\x01a\x02b\0\x02\xC3\xA9");
    }

    #[test]
    fn unsorted_symbols_are_refused() {
        assert!(OwnSymbols::new(["b", "a"]).is_err());
        assert!(OwnSymbols::new(["a", "a"]).is_err());
    }

    #[test]
    fn a_part_of_a_table_is_numbered_anew() {
        let mut spool = Vec::new();
        let names: Vec<String> = (0..200).map(|number| format!("s{number:03}")).collect();
        for name in &names {
            put_uvarint(&mut spool, name.len() as u64);
            spool.extend_from_slice(name.as_bytes());
        }
        let symbols = Symbols::of_entries(spool.into(), 200).unwrap();
        let mut used = UsedSymbols::new(symbols.len());
        for number in (0..200).step_by(3) {
            used.insert(SymbolRef(number));
        }
        let used = Some(Arc::new(used.counted()));
        let mut ids = SymbolIds::Table(SymbolTable { symbols, used });
        assert_eq!((ids.count(), ids.len()), (67, 200));
        for number in 0..201 {
            let expected = (number % 3 == 0 && number < 200).then_some(SymbolRef(number / 3));
            assert_eq!(ids.number(SymbolRef(number)), expected);
        }
        let mut encoded = Vec::new();
        let write = |bytes: &[u8]| {
            encoded.extend_from_slice(bytes);
            Ok(())
        };
        ids.write_encoded(write).unwrap();
        assert_eq!(ids.encoded_len().unwrap(), encoded.len() as u64);
        assert!(encoded.starts_with(b"\x04s000\x04s003"));
        assert_eq!(ids.text(SymbolRef(3)), Some(&b"s003"[..]));
        assert_eq!(ids.find(b"s003").unwrap(), Some(SymbolRef(3)));
    }
}
