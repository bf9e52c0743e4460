//! The symbols of an index being written: text by number, number by text.

use hashbrown::{DefaultHashBuilder, HashTable};

use std::hash::BuildHasher;

use super::format::SymbolRef;
use crate::encoding::varint::put_uvarint;
use crate::error::{Error, Result};

/// Sorted symbols, numbered in their order.
#[derive(Debug, Default)]
pub(super) struct SymbolIds {
    /// The entries as the section stores them: length and text.
    encoded: Vec<u8>,
    /// Where each text starts and ends in `encoded`.
    places: Vec<(u32, u32)>,
    /// Numbers by the hash of their text; made when first needed.
    by_text: Option<HashTable<u32>>,
    hasher: DefaultHashBuilder,
}

impl SymbolIds {
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

    /// Returns the entries as the section stores them.
    pub(super) fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Returns the number of symbols.
    pub(super) fn len(&self) -> u32 {
        // There are fewer symbols than bytes, whose number fits.
        u32::try_from(self.places.len()).unwrap_or(u32::MAX)
    }

    /// Returns the text of `symbol`; nothing when there is no such symbol.
    pub(super) fn text(&self, symbol: SymbolRef) -> Option<&[u8]> {
        let place = self.places.get(symbol.0 as usize)?;
        Some(self.at(*place))
    }

    fn at(&self, (start, end): (u32, u32)) -> &[u8] {
        self.encoded
            .get(start as usize..end as usize)
            .unwrap_or_default()
    }

    /// Returns the number of the symbol with `text`.
    pub(super) fn find(&mut self, text: &[u8]) -> Option<SymbolRef> {
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
        let mut ids = SymbolIds::new(["", "a", "b\0", "\u{e9}"]).unwrap();
        for (number, text) in ["", "a", "b\0", "\u{e9}"].into_iter().enumerate() {
            let symbol = SymbolRef(u32::try_from(number).unwrap());
            assert_eq!(ids.find(text.as_bytes()), Some(symbol));
            assert_eq!(ids.text(symbol), Some(text.as_bytes()));
        }
        assert_eq!(ids.find(b"b"), None);
        assert_eq!(ids.text(SymbolRef(4)), None);
        assert_eq!(ids.encoded(), b"\x00\x01a\x02b\0\x02\xC3\xA9");
    }

    #[test]
    fn unsorted_symbols_are_refused() {
        assert!(SymbolIds::new(["b", "a"]).is_err());
        assert!(SymbolIds::new(["a", "a"]).is_err());
    }
}
