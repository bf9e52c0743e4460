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
    /// Whether the text has a NUL, which the key of a label set escapes.
    has_nul: bool,
}

const EMPTY: Slot = Slot {
    key: 0,
    place: SymbolPlace { start: 0, len: 0 },
    has_nul: false,
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
        self.append_pairs(symbols, labels, key, |_| ())
    }

    /// Appends like [`LabelDecoder::append_key`] and tells `ended` the length of `key` behind each label.
    pub(super) fn append_pairs(
        &mut self,
        symbols: &Symbols,
        labels: &[(SymbolRef, SymbolRef)],
        key: &mut Vec<u8>,
        mut ended: impl FnMut(usize),
    ) -> Result<()> {
        if self.table_id != symbols.id() {
            self.slots.fill(EMPTY);
            self.table_id = symbols.id();
        }
        let mut previous: Option<&[u8]> = None;
        for (name, value) in labels {
            let name = self.text(symbols, *name)?;
            let value = self.text(symbols, *value)?;
            if previous.is_some_and(|previous| previous >= name.bytes) {
                return Err(out_of_order(name.bytes));
            }
            previous = Some(name.bytes);
            if !value.bytes.is_empty() {
                name.append_to(key);
                value.append_to(key);
            }
            ended(key.len());
        }
        Ok(())
    }

    #[inline]
    fn text<'s>(&mut self, symbols: &'s Symbols, symbol: SymbolRef) -> Result<Text<'s>> {
        let key = u64::from(symbol.0) + 1;
        let slot = &mut self.slots[symbol.0 as usize % CACHE_SLOTS];
        if slot.key != key {
            let place = symbols.place(symbol)?;
            let has_nul = symbols.text(place)?.contains('\0');
            *slot = Slot {
                key,
                place,
                has_nul,
            };
        }
        Ok(Text {
            bytes: symbols.bytes_at(slot.place),
            has_nul: slot.has_nul,
        })
    }
}

/// The text of a symbol, known to be UTF-8.
#[derive(Clone, Copy)]
struct Text<'s> {
    bytes: &'s [u8],
    has_nul: bool,
}

impl Text<'_> {
    #[inline]
    fn append_to(self, key: &mut Vec<u8>) {
        if self.has_nul {
            append_escaped(key, self.bytes);
        } else {
            key.extend_from_slice(self.bytes);
            key.push(0);
        }
    }
}

#[cold]
fn out_of_order(name: &[u8]) -> Error {
    let name = String::from_utf8_lossy(name);
    Error::corrupt(format!(
        "label names are not in strictly ascending order at {name:?}"
    ))
}
