//! Strings as numbers: interning while reading, and merging the sorted tables of several blocks.
//!
//! The symbols of a block are sorted, so that numbers compare as the strings do. A writer that merges blocks
//! knows all symbols up front: it merges their tables and translates each block's numbers through a map.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::error::{Error, Result};

/// Strings without duplicates, numbered from 0, in one buffer.
#[derive(Clone, Default)]
pub struct Symbols {
    text: String,
    /// Where each string ends; it starts where its predecessor ends.
    ends: Vec<u32>,
}

impl Symbols {
    /// Returns the number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Reports whether there is no string.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the string with number `id`.
    pub fn get(&self, id: u32) -> Option<&str> {
        let id = id as usize;
        let end = *self.ends.get(id)? as usize;
        let start = id
            .checked_sub(1)
            .map_or(0, |before| self.ends[before] as usize);
        Some(&self.text[start..end])
    }

    /// Returns the strings in the order of their numbers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.ends.len()).map(|id| {
            let start = id
                .checked_sub(1)
                .map_or(0, |before| self.ends[before] as usize);
            &self.text[start..self.ends[id] as usize]
        })
    }

    /// Returns the number of `text` in a sorted table.
    pub fn find_sorted(&self, text: &str) -> Option<u32> {
        let (mut low, mut high) = (0, self.next_id());
        while low < high {
            let middle = low.midpoint(high);
            match self.get(middle)?.cmp(text) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Returns the bytes that the table holds.
    pub fn memory_bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * size_of::<u32>()
    }

    /// Appends a string that is not there yet and returns its number.
    fn push(&mut self, text: &str) -> Result<u32> {
        let end = self.text.len().saturating_add(text.len());
        let end = u32::try_from(end)
            .map_err(|_| Error::limit_exceeded("symbols of more than 4 GiB together"))?;
        let id = self.next_id();
        self.text.push_str(text);
        self.ends.push(end);
        Ok(id)
    }

    fn next_id(&self) -> u32 {
        // Distinct strings: all but one have a byte, so there are about as many of them as bytes at most.
        u32::try_from(self.ends.len()).expect("fewer strings than bytes of text")
    }
}

impl fmt::Debug for Symbols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Symbols({} strings, {} bytes)",
            self.len(),
            self.text.len()
        )
    }
}

/// Gives each string a number when it is first seen.
///
/// # Example
///
/// ```
/// use thanos_core::labels::SymbolInterner;
///
/// let mut interner = SymbolInterner::new();
/// let (job, api) = (interner.intern("job")?, interner.intern("api")?);
/// assert_eq!(interner.intern("job")?, job);
/// let (sorted, new_ids) = interner.into_sorted();
/// assert_eq!(sorted.iter().collect::<Vec<_>>(), ["api", "job"]);
/// assert_eq!((new_ids[job as usize], new_ids[api as usize]), (1, 0));
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct SymbolInterner {
    symbols: Symbols,
    ids: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl SymbolInterner {
    /// Returns an interner without strings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of `text`, which it gets now if it is new.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` when the strings together would pass 4 GiB.
    pub fn intern(&mut self, text: &str) -> Result<u32> {
        let hash = self.hasher.hash_one(text);
        let is_same = |id: &u32| self.symbols.get(*id) == Some(text);
        if let Some(id) = self.ids.find(hash, is_same) {
            return Ok(*id);
        }
        let id = self.symbols.push(text)?;
        let (symbols, hasher) = (&self.symbols, &self.hasher);
        let rehash = |id: &u32| hasher.hash_one(symbols.get(*id).unwrap_or_default());
        self.ids.insert_unique(hash, id, rehash);
        Ok(id)
    }

    /// Returns the number of `text` if it has one.
    pub fn find(&self, text: &str) -> Option<u32> {
        let is_same = |id: &u32| self.symbols.get(*id) == Some(text);
        self.ids.find(self.hasher.hash_one(text), is_same).copied()
    }

    /// Returns the strings in the order in which they came.
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// Returns the table in sorted order and, for each old number, the new one.
    pub fn into_sorted(self) -> (Symbols, Vec<u32>) {
        let mut order: Vec<u32> = (0..self.symbols.next_id()).collect();
        order.sort_unstable_by_key(|id| self.symbols.get(*id));
        let mut sorted = Symbols {
            text: String::with_capacity(self.symbols.text.len()),
            ends: Vec::with_capacity(order.len()),
        };
        let mut new_ids = vec![0; order.len()];
        for old_id in order {
            let text = self.symbols.get(old_id).unwrap_or_default();
            new_ids[old_id as usize] = sorted.push(text).expect("no longer than before");
        }
        (sorted, new_ids)
    }
}

/// Merges sorted tables and returns the sorted union with a map from old to new numbers for each table.
///
/// Reads each table once, in order.
///
/// # Errors
///
/// `Corrupt` when a table is not strictly ascending, with its place among `tables`; `LimitExceeded` when the
/// strings together would pass 4 GiB; the error of a table that can not be read.
pub fn merge_sorted_symbols<'a, I>(
    tables: impl IntoIterator<Item = I>,
) -> Result<(Symbols, Vec<Vec<u32>>)>
where
    I: IntoIterator<Item = Result<&'a str>>,
{
    let mut sources: Vec<_> = tables.into_iter().map(Source::new).collect();
    let mut heads = BinaryHeap::with_capacity(sources.len());
    for (place, source) in sources.iter_mut().enumerate() {
        heads.extend(source.next(place)?);
    }
    let mut merged = Symbols::default();
    let mut last: Option<(&str, u32)> = None;
    while let Some(Reverse((text, place))) = heads.pop() {
        let id = match last {
            Some((same, id)) if same == text => id,
            _ => merged.push(text)?,
        };
        last = Some((text, id));
        sources[place].new_ids.push(id);
        heads.extend(sources[place].next(place)?);
    }
    let maps = sources.into_iter().map(|source| source.new_ids);
    Ok((merged, maps.collect()))
}

/// A table that is being merged.
struct Source<'a, I> {
    rest: I,
    last: Option<&'a str>,
    new_ids: Vec<u32>,
}

impl<'a, I: Iterator<Item = Result<&'a str>>> Source<'a, I> {
    fn new(table: impl IntoIterator<IntoIter = I>) -> Self {
        Self {
            rest: table.into_iter(),
            last: None,
            new_ids: Vec::new(),
        }
    }

    /// Returns the next string as a head of the merge; `place` is the table's own.
    fn next(&mut self, place: usize) -> Result<Option<Reverse<(&'a str, usize)>>> {
        let Some(text) = self.rest.next().transpose()? else {
            return Ok(None);
        };
        if self.last.is_some_and(|last| last >= text) {
            return Err(Error::corrupt(format!(
                "symbol {text:?} is not in order or comes twice in table {place}"
            )));
        }
        self.last = Some(text);
        Ok(Some(Reverse((text, place))))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn sorted(texts: &BTreeSet<String>) -> Symbols {
        let mut interner = SymbolInterner::new();
        for text in texts.iter().rev() {
            interner.intern(text).unwrap();
        }
        interner.into_sorted().0
    }

    #[test]
    fn an_unsorted_table_is_corrupt() {
        for table in [vec!["b", "a"], vec!["a", "a"]] {
            let tables = [vec!["x"], table];
            let tables = tables
                .iter()
                .map(|table| table.iter().map(|text| Ok(*text)));
            let error = merge_sorted_symbols(tables).unwrap_err();
            assert!(error.to_string().contains("in table 1"), "{error}");
        }
    }

    #[test]
    fn an_unreadable_table_ends_the_merge() {
        let tables = [vec![Ok("a"), Err(Error::unavailable("gone"))]];
        let error = merge_sorted_symbols(tables).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Unavailable);
    }

    #[test]
    fn numbers_out_of_range_have_no_string() {
        let symbols = sorted(&["a".to_owned()].into());
        assert_eq!(
            (symbols.get(0), symbols.get(1), symbols.get(u32::MAX)),
            (Some("a"), None, None)
        );
        assert_eq!(Symbols::default().find_sorted("a"), None);
    }

    proptest! {
        #[test]
        fn interned_strings_come_back(texts in prop::collection::vec("[ab\u{e9}]{0,3}", 0..60)) {
            let mut interner = SymbolInterner::new();
            let ids: Vec<u32> = texts.iter().map(|text| interner.intern(text).unwrap()).collect();
            for (text, id) in texts.iter().zip(&ids) {
                prop_assert_eq!(interner.symbols().get(*id), Some(text.as_str()));
                prop_assert_eq!(interner.find(text), Some(*id));
            }
            let unique: BTreeSet<&String> = texts.iter().collect();
            let (sorted, new_ids) = interner.into_sorted();
            prop_assert!(sorted.iter().eq(unique.into_iter().map(String::as_str)));
            for (text, id) in texts.iter().zip(&ids) {
                prop_assert_eq!(sorted.find_sorted(text), Some(new_ids[*id as usize]));
            }
        }

        #[test]
        fn merging_is_the_sorted_union(
            tables in prop::collection::vec(prop::collection::btree_set("[ab\u{e9}]{0,3}", 0..20), 0..5)
        ) {
            let symbols: Vec<Symbols> = tables.iter().map(sorted).collect();
            let (merged, maps) = merge_sorted_symbols(symbols.iter().map(|s| s.iter().map(Ok))).unwrap();
            let union: BTreeSet<&String> = tables.iter().flatten().collect();
            prop_assert!(merged.iter().eq(union.into_iter().map(String::as_str)));
            for (table, map) in symbols.iter().zip(&maps) {
                prop_assert_eq!(table.len(), map.len());
                for (text, id) in table.iter().zip(map) {
                    prop_assert_eq!(merged.get(*id), Some(text));
                }
            }
        }
    }
}
