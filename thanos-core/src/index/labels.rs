//! Turns symbol references into label keys, with a cache of the symbols it met.

use std::sync::Arc;

use super::format::SymbolRef;
use super::symbol_places::{Found, SymbolPlaces};
use super::symbols::{SymbolPlace, Symbols};
use crate::error::{Error, Result};
use crate::labels::append_escaped;

/// The number of symbols whose place is remembered; a power of two.
const CACHE_SLOTS: usize = 1024;

/// A decoder of label sets, to be reused for many series.
///
/// The cache is direct-mapped and belongs to the decoder, so that readers share no lock. It holds symbols of one
/// table and starts anew when another table is used. Only symbols that are proven to be UTF-8 enter it. Decoders that
/// read very many series of one index share [`SymbolPlaces`] instead.
#[derive(Debug, Clone, Default)]
pub struct LabelDecoder {
    table_id: u64,
    /// Empty before the first use.
    slots: Box<[Slot]>,
    /// Places in the table that is used.
    shared: Option<Arc<SymbolPlaces>>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// The reference plus one; 0 is an empty slot.
    key: u64,
    found: Found,
}

const EMPTY: Slot = Slot {
    key: 0,
    found: Found {
        place: SymbolPlace { start: 0, len: 0 },
        has_nul: false,
    },
};

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
        self.use_table(symbols);
        let mut previous: Option<&[u8]> = None;
        for (name, value) in labels {
            let name = self.find(symbols, *name)?;
            let value = self.find(symbols, *value)?;
            let name_bytes = symbols.bytes_at(name.place);
            if previous.is_some_and(|previous| previous >= name_bytes) {
                return Err(out_of_order(name_bytes));
            }
            previous = Some(name_bytes);
            if value.place.len > 0 {
                append(symbols, name, key);
                append(symbols, value, key);
            }
        }
        Ok(())
    }

    /// Finds symbols by what others met who share `places`, and notes there what it meets.
    pub(super) fn share(&mut self, places: Arc<SymbolPlaces>) {
        self.shared = Some(places);
    }

    /// Forgets what is known of other tables than `symbols`; to be called before [`Self::find`].
    #[inline]
    pub(super) fn use_table(&mut self, symbols: &Symbols) {
        if self.table_id != symbols.id() {
            self.slots.fill(EMPTY);
            self.shared.take_if(|shared| !shared.is_of(symbols));
            self.table_id = symbols.id();
        }
    }

    /// Returns the text of `symbol` when somebody has met it who shares places with this decoder.
    #[inline]
    pub(super) fn known(&self, symbol: SymbolRef) -> Option<Found> {
        self.shared.as_ref()?.known(symbol)
    }

    /// Returns the text of `symbol`, checked.
    #[inline]
    pub(super) fn find(&mut self, symbols: &Symbols, symbol: SymbolRef) -> Result<Found> {
        match &self.shared {
            Some(shared) if shared.covers(symbol) => shared.find(symbols, symbol),
            _ => self.find_cached(symbols, symbol),
        }
    }

    #[inline]
    fn find_cached(&mut self, symbols: &Symbols, symbol: SymbolRef) -> Result<Found> {
        if self.slots.is_empty() {
            self.slots = vec![EMPTY; CACHE_SLOTS].into_boxed_slice();
        }
        let key = u64::from(symbol.0) + 1;
        let slot = &mut self.slots[symbol.0 as usize % CACHE_SLOTS];
        if slot.key != key {
            let found = Found::look_up(symbols, symbol)?;
            *slot = Slot { key, found };
        }
        Ok(slot.found)
    }
}

#[inline]
fn append(symbols: &Symbols, text: Found, key: &mut Vec<u8>) {
    let bytes = symbols.bytes_at(text.place);
    if text.has_nul {
        append_escaped(key, bytes);
    } else {
        key.extend_from_slice(bytes);
        key.push(0);
    }
}

/// Returns the error for a label set in which `name` is not greater than the name before.
#[cold]
pub(super) fn out_of_order(name: &[u8]) -> Error {
    let name = String::from_utf8_lossy(name);
    Error::corrupt(format!(
        "label names are not in strictly ascending order at {name:?}"
    ))
}
