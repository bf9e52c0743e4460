//! Finds many texts in a symbol table, in their order.

use std::cmp::Ordering;

use super::{Layout, Symbols};
use crate::encoding::Cursor;
use crate::error::Result;
use crate::index::format::{IndexVersion, SAMPLING, SymbolRef};

/// The values of a label with many are often neighbours in the table: so many symbols are looked at first.
const STEPS_BEFORE_SAMPLES: usize = 4;

/// How a walk through symbols ended.
#[derive(Debug)]
enum Walked {
    /// At the text, or where it would be.
    Ended(Option<SymbolRef>),
    /// Before that.
    OutOfSteps,
}

/// Finds ascending texts, each from where the one before was found.
///
/// Texts that lie close together are found by walking, those far apart by looking at samples in steps that double.
#[derive(Debug)]
pub(crate) struct SymbolFinder<'s> {
    symbols: &'s Symbols,
    /// Before the symbol at `position`.
    cursor: Cursor<'s>,
    position: usize,
}

impl<'s> SymbolFinder<'s> {
    /// Starts before the first symbol of `symbols`.
    pub(crate) fn new(symbols: &'s Symbols) -> Self {
        Self {
            symbols,
            cursor: symbols.cursor_at(0),
            position: 0,
        }
    }

    /// Returns the reference to `text`, which is not less than the text before, if there is such a symbol.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the table cannot be walked.
    pub(crate) fn find(&mut self, text: &str) -> Result<Option<SymbolRef>> {
        let is_walked = matches!(self.symbols.layout, Layout::Section { .. });
        if !is_walked || self.symbols.version == IndexVersion::V1 {
            return self.symbols.find(text);
        }
        let walked = self.walk(text, STEPS_BEFORE_SAMPLES)?;
        if let Walked::Ended(found) = walked {
            return Ok(found);
        }
        self.skip_samples(text.as_bytes())?;
        match self.walk(text, usize::MAX)? {
            Walked::Ended(found) => Ok(found),
            Walked::OutOfSteps => Ok(None),
        }
    }

    /// Goes on to the first symbol that is not less than `text`, at most `steps` symbols ahead.
    fn walk(&mut self, text: &str, steps: usize) -> Result<Walked> {
        for _ in 0..steps {
            if self.position >= self.symbols.len() {
                return Ok(Walked::Ended(None));
            }
            let mut after = self.cursor;
            match after.uvarint_bytes("symbol")?.cmp(text.as_bytes()) {
                Ordering::Less => {}
                Ordering::Equal => {
                    let found = self.symbols.reference(self.position, self.cursor);
                    return Ok(Walked::Ended(Some(found)));
                }
                Ordering::Greater => return Ok(Walked::Ended(None)),
            }
            self.cursor = after;
            self.position += 1;
        }
        Ok(Walked::OutOfSteps)
    }

    /// Moves to the last sample whose symbol is not greater than `wanted`, if that is ahead.
    fn skip_samples(&mut self, wanted: &[u8]) -> Result<()> {
        let count = self.symbols.samples().len();
        let current = self.position / SAMPLING;
        // `low` is not ahead of the wanted one; from `high` on all are.
        let (mut low, mut step) = (current, 1);
        let mut high = loop {
            let next = low + step;
            if next >= count {
                break count;
            }
            if !self.is_at_most(next, wanted)? {
                break next;
            }
            low = next;
            step *= 2;
        };
        while low + 1 < high {
            let middle = usize::midpoint(low, high);
            if self.is_at_most(middle, wanted)? {
                low = middle;
            } else {
                high = middle;
            }
        }
        if low > current {
            self.cursor = self.symbols.cursor_at_sample(low);
            self.position = low * SAMPLING;
        }
        Ok(())
    }

    fn is_at_most(&self, sample: usize, wanted: &[u8]) -> Result<bool> {
        let symbol = self
            .symbols
            .cursor_at_sample(sample)
            .uvarint_bytes("symbol")?;
        Ok(symbol <= wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::section;
    use super::*;

    #[test]
    fn ascending_texts_are_found_near_and_far() {
        let names: Vec<String> = (0..1000).map(|i| format!("s{i:04}")).collect();
        let list: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
        for version in [IndexVersion::V1, IndexVersion::V2] {
            let symbols = Symbols::open(&section(5, &list), 5, 5, version).unwrap();
            for step in [1, 2, 31, 32, 33, 100, 999] {
                let mut finder = SymbolFinder::new(&symbols);
                for name in names.iter().step_by(step) {
                    let expected = symbols.find(name).unwrap();
                    assert!(expected.is_some());
                    assert_eq!(finder.find(name).unwrap(), expected);
                    // The same again, and one that is not there.
                    assert_eq!(finder.find(name).unwrap(), expected);
                    assert_eq!(finder.find(&format!("{name}+")).unwrap(), None);
                }
                assert_eq!(finder.find("t").unwrap(), None);
            }
        }
    }
}
