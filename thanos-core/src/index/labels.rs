//! Turns symbol references into label keys, with a cache of the symbols it met.

use super::format::SymbolRef;
use super::symbols::{SymbolPlace, Symbols};
use crate::error::{Error, Result};
use crate::labels::append_escaped;

/// The number of symbols whose place is remembered; a power of two.
const CACHE_SLOTS: usize = 1024;

/// A decoder of label sets, to be reused for many series.
///
/// The cache is direct-mapped and belongs to the decoder, so that readers share no lock. It holds symbols of one
/// table and starts anew when another table is used. Only symbols that are proven to be UTF-8 enter it.
#[derive(Debug, Clone)]
pub struct LabelDecoder {
    table_id: u64,
    slots: Box<[Slot]>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// The reference plus one; 0 is an empty slot.
    key: u64,
    place: SymbolPlace,
}

const EMPTY: Slot = Slot {
    key: 0,
    place: SymbolPlace { start: 0, len: 0 },
};

impl Default for LabelDecoder {
    fn default() -> Self {
        Self {
            table_id: 0,
            slots: vec![EMPTY; CACHE_SLOTS].into_boxed_slice(),
        }
    }
}

impl LabelDecoder {
    /// Returns a decoder with an empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the key of the label set that `labels` names to `key`.
    ///
    /// A label with an empty value is left out: it says the same as no label.
    ///
    /// # Errors
    ///
    /// `Corrupt` when a symbol is unknown or not UTF-8, or names are not in strictly ascending order; `key` then
    /// holds part of the set.
    pub fn append_key(
        &mut self,
        symbols: &Symbols,
        labels: &[(SymbolRef, SymbolRef)],
        key: &mut Vec<u8>,
    ) -> Result<()> {
        if self.table_id != symbols.id() {
            self.slots.fill(EMPTY);
            self.table_id = symbols.id();
        }
        let mut previous: Option<&[u8]> = None;
        for (name, value) in labels {
            let name = self.bytes(symbols, *name)?;
            let value = self.bytes(symbols, *value)?;
            if previous.is_some_and(|previous| previous >= name) {
                return Err(out_of_order(name));
            }
            previous = Some(name);
            if !value.is_empty() {
                append_escaped(key, name);
                append_escaped(key, value);
            }
        }
        Ok(())
    }

    /// Returns the text of `symbol` as bytes known to be UTF-8.
    #[inline]
    fn bytes<'s>(&mut self, symbols: &'s Symbols, symbol: SymbolRef) -> Result<&'s [u8]> {
        let key = u64::from(symbol.0) + 1;
        let slot = &mut self.slots[symbol.0 as usize % CACHE_SLOTS];
        if slot.key != key {
            let place = symbols.place(symbol)?;
            symbols.text(place)?;
            *slot = Slot { key, place };
        }
        Ok(symbols.bytes_at(slot.place))
    }
}

#[cold]
fn out_of_order(name: &[u8]) -> Error {
    let name = String::from_utf8_lossy(name);
    Error::corrupt(format!(
        "label names are not in strictly ascending order at {name:?}"
    ))
}
