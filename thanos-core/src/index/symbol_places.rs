//! Where the symbols of one table lie, as far as somebody met them: shared by all who decode series of one index.
//!
//! A table of symbols is walked to find one of them, and its text has to be proven to be UTF-8. Whoever decodes very many
//! series does both once for each symbol and finds the outcome here, in one step and without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

use super::format::SymbolRef;
use super::symbols::{SymbolPlace, Symbols};
use crate::error::Result;

/// Set in all that is known, so that it differs from what is not.
const KNOWN: u64 = 1 << 63;
/// Set when the text has a NUL.
const HAS_NUL: u64 = 1 << 62;
/// Texts from this length on are not noted.
const LEN_MAX: u32 = 1 << 30;

/// A place for what is known of each symbol of a table; eight bytes each.
///
/// References of version 1 are offsets and mostly beyond the number of symbols: those are not noted, and need not be,
/// because they say where the symbol lies.
#[derive(Debug)]
pub struct SymbolPlaces {
    table_id: u64,
    /// [`Found`] by reference: start, length and marks in one word, so that readers see all or nothing.
    words: Box<[AtomicU64]>,
}

/// A text that is known to be UTF-8.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found {
    pub(super) place: SymbolPlace,
    /// Whether the text has a NUL, which the key of a label set escapes.
    pub(super) has_nul: bool,
}

impl Found {
    /// Looks `symbol` up and checks its text.
    pub(super) fn look_up(symbols: &Symbols, symbol: SymbolRef) -> Result<Self> {
        let place = symbols.place(symbol)?;
        let has_nul = symbols.text(place)?.contains('\0');
        Ok(Self { place, has_nul })
    }
}

impl SymbolPlaces {
    /// Returns places for the symbols of `symbols`, none of them known.
    pub fn new(symbols: &Symbols) -> Self {
        let words = std::iter::repeat_with(AtomicU64::default);
        Self {
            table_id: symbols.id(),
            words: words.take(symbols.len()).collect(),
        }
    }

    /// Returns the bytes of memory that [`SymbolPlaces::new`] takes for `symbols`.
    pub fn memory_bytes_of(symbols: &Symbols) -> u64 {
        (symbols.len() * size_of::<AtomicU64>()) as u64
    }

    /// Reports whether these are places in `symbols`.
    pub(super) fn is_of(&self, symbols: &Symbols) -> bool {
        self.table_id == symbols.id()
    }

    /// Reports whether there is a place for `symbol`.
    #[inline]
    pub(super) fn covers(&self, symbol: SymbolRef) -> bool {
        (symbol.0 as usize) < self.words.len()
    }

    /// Returns the text of `symbol`, which is of the same table.
    #[inline]
    pub(super) fn find(&self, symbols: &Symbols, symbol: SymbolRef) -> Result<Found> {
        match self.known(symbol) {
            Some(found) => Ok(found),
            None => self.find_first(symbols, symbol),
        }
    }

    #[cold]
    fn find_first(&self, symbols: &Symbols, symbol: SymbolRef) -> Result<Found> {
        let found = Found::look_up(symbols, symbol)?;
        self.note(symbol, found);
        Ok(found)
    }

    #[inline]
    pub(super) fn known(&self, symbol: SymbolRef) -> Option<Found> {
        // Nothing else is read on the strength of a word, so that no order is needed.
        let word = self.words.get(symbol.0 as usize)?.load(Ordering::Relaxed);
        (word & KNOWN != 0).then(|| Found {
            place: SymbolPlace {
                start: low_u32(word),
                len: low_u32(word >> 32) % LEN_MAX,
            },
            has_nul: word & HAS_NUL != 0,
        })
    }

    fn note(&self, symbol: SymbolRef, found: Found) {
        let Found { place, has_nul } = found;
        if let Some(word) = self.words.get(symbol.0 as usize)
            && place.len < LEN_MAX
        {
            let mark = if has_nul { HAS_NUL } else { 0 };
            let place = u64::from(place.len) << 32 | u64::from(place.start);
            word.store(KNOWN | mark | place, Ordering::Relaxed);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
fn low_u32(word: u64) -> u32 {
    word as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::index::IndexReader;
    use crate::testkit::{K8sSpec, k8s_index};

    proptest! {
        #[test]
        fn what_is_noted_is_known(
            number in 0_u32..2000,
            start in any::<u32>(),
            len in any::<u32>(),
            has_nul in any::<bool>(),
        ) {
            let spec = K8sSpec { series: 10, ..K8sSpec::default() };
            let index = IndexReader::open("index", k8s_index(&spec)).unwrap();
            let places = SymbolPlaces::new(index.symbols());
            prop_assert_eq!(
                SymbolPlaces::memory_bytes_of(index.symbols()),
                places.words.len() as u64 * 8
            );
            let (symbol, place) = (SymbolRef(number), SymbolPlace { start, len });
            prop_assert!(places.known(symbol).is_none());
            places.note(symbol, Found { place, has_nul });
            let known = places.known(symbol);
            prop_assert_eq!(known.is_some(), places.covers(symbol) && len < LEN_MAX);
            if let Some(known) = known {
                prop_assert_eq!((known.place.start, known.place.len), (start, len));
                prop_assert_eq!(known.has_nul, has_nul);
            }
        }
    }
}
