//! The table as the rows of a sparse header.
//!
//! ```text
//! row   = symbol of the value (4)  offset of its list behind the first of the label (4 or 8)      little-endian
//! label = { row, in the order of the values } row with the end of the last list
//! ```
//!
//! Values are symbols, so that no text is stored twice. Symbols ascend with their texts.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::{EntryId, ListLocation, TableEntry, corrupt};
use crate::error::Result;
use crate::index::format::SymbolRef;
use crate::index::pages::Pages;
use crate::index::symbols::Symbols;

/// The rows that are read at once.
const ROWS_AT_ONCE: usize = 256;
/// The bytes of a symbol in a row.
const SYMBOL_LEN: usize = 4;
/// The entry of the list of all series: no symbol has this number, because a table has at most as many.
const ALL_SERIES: EntryId = EntryId(u32::MAX);

/// The rows of a sparse header.
#[derive(Debug, Clone)]
pub(crate) struct SparseTable {
    pub(crate) pages: Arc<Pages>,
    pub(crate) symbols: Symbols,
    /// Sorted by name.
    pub(crate) labels: Vec<SparseLabel>,
    /// The list of all series, if there is one.
    pub(crate) all_series: Option<ListLocation>,
}

/// Where the rows of a label lie.
#[derive(Debug, Clone)]
pub(crate) struct SparseLabel {
    pub(crate) name: Box<str>,
    /// Where its rows lie in the file: one more than there are values.
    pub(crate) rows: Range<usize>,
    pub(crate) value_count: u32,
    /// The bytes of a row.
    pub(crate) row_len: usize,
    /// Where the list of its first value starts.
    pub(crate) first_list: u64,
}

/// A value of a label as stored.
#[derive(Debug, Clone, Copy)]
struct Row {
    symbol: u32,
    /// Behind the first list of the label.
    list: u64,
}

impl Row {
    #[inline]
    fn decode(bytes: &[u8]) -> Self {
        let (symbol, list) = bytes.split_at_checked(SYMBOL_LEN).unwrap_or_default();
        let list = match list.len() {
            4 => list
                .try_into()
                .map_or(0, |list| u64::from(u32::from_le_bytes(list))),
            _ => list.try_into().map_or(0, u64::from_le_bytes),
        };
        Self {
            symbol: symbol.try_into().map_or(u32::MAX, u32::from_le_bytes),
            list,
        }
    }
}

impl SparseTable {
    fn label(&self, name: &str) -> Option<&SparseLabel> {
        let found = self
            .labels
            .binary_search_by(|label| (*label.name).cmp(name))
            .ok()?;
        self.labels.get(found)
    }

    /// Returns the label names in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.labels.iter().map(|label| &*label.name)
    }

    pub(super) fn value_count(&self, name: &str) -> usize {
        match self.label(name) {
            Some(label) => label.value_count as usize,
            None => usize::from(name.is_empty() && self.all_series.is_some()),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let names: usize = self.labels.iter().map(|label| label.name.len()).sum();
        names + self.labels.capacity() * size_of::<SparseLabel>() + self.pages.memory_bytes()
    }

    pub(super) fn value(&self, id: EntryId) -> Result<&str> {
        match id {
            ALL_SERIES => Ok(""),
            EntryId(symbol) => self.symbols.lookup(SymbolRef(symbol)),
        }
    }

    pub(super) fn visit_if(
        &self,
        name: &str,
        from: &str,
        is_wanted: impl Fn(&[u8]) -> bool,
        mut visit: impl FnMut(TableEntry<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let Some(label) = self.label(name) else {
            let is_all = name.is_empty() && from.is_empty() && is_wanted(b"");
            let all_series = self.all_series.filter(|_| is_all);
            let all_series = all_series.map(|location| TableEntry {
                id: ALL_SERIES,
                value: "",
                location,
            });
            return all_series.map_or(Ok(()), |entry| visit(entry).map(drop));
        };
        let mut first = self.first_row(label, from)?;
        let count = label.value_count as usize;
        while first < count {
            let run = ROWS_AT_ONCE.min(count - first);
            let rows = first..first + run;
            if self
                .visit_rows(label, rows, &is_wanted, &mut visit)?
                .is_break()
            {
                break;
            }
            first += run;
        }
        Ok(())
    }

    /// Visits the values of `label` in `rows`.
    fn visit_rows(
        &self,
        label: &SparseLabel,
        rows: Range<usize>,
        is_wanted: &impl Fn(&[u8]) -> bool,
        visit: &mut impl FnMut(TableEntry<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        let start = label.rows.start + rows.start * label.row_len;
        let bytes = self
            .pages
            .get(start..start + (rows.len() + 1) * label.row_len)?;
        let mut rows = bytes.chunks_exact(label.row_len).map(Row::decode);
        let Some(mut row) = rows.next() else {
            return Ok(ControlFlow::Continue(()));
        };
        for next in rows {
            let value = self.symbols.place(SymbolRef(row.symbol))?;
            if !is_wanted(self.symbols.bytes_at(value)) {
                row = next;
                continue;
            }
            let place = |list: u64| label.first_list.saturating_add(list);
            let location = ListLocation {
                offset: place(row.list),
                end: place(next.list),
            };
            if !location.holds_a_list() {
                return Err(corrupt(start as u64, "list starts after its end"));
            }
            let entry = TableEntry {
                id: EntryId(row.symbol),
                value: self.symbols.text(value)?,
                location,
            };
            if visit(entry)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            row = next;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Returns the first row of `label` whose value is not less than `value`.
    fn first_row(&self, label: &SparseLabel, value: &str) -> Result<usize> {
        if value.is_empty() {
            return Ok(0);
        }
        let (mut low, mut high) = (0, label.value_count as usize);
        while low < high {
            let middle = usize::midpoint(low, high);
            let symbol = self.pages.le32(label.rows.start + middle * label.row_len)?;
            let place = self.symbols.place(SymbolRef(symbol))?;
            if self.symbols.bytes_at(place) < value.as_bytes() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}
