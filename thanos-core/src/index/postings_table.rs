//! The postings offset table of an index or of an index-header: where the list of a label value lies.
//!
//! It comes in two layouts: the section of an index, which is walked once when it is opened, and the rows of a sparse
//! header, of which opening reads nothing but the label names. It does not read lists: [`super::IndexReader`] and the
//! gateway of a bucket do.

mod section;
mod sparse;

use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};

use bytes::Bytes;

use self::section::SectionTable;
pub(crate) use self::sparse::{SparseLabel, SparseTable};
use super::format::{IndexVersion, SAMPLING};
use crate::encoding::crc;
use crate::error::{Error, Result};

/// The bytes of a list's length prefix.
const LIST_LEN_BYTES: u64 = 4;
/// The bytes of an empty list: length, number of entries, checksum.
const LIST_BYTES_MIN: u64 = 12;

/// The postings offset table over the bytes of a file.
#[derive(Debug, Clone)]
pub struct PostingsTable {
    layout: Layout,
}

#[derive(Debug, Clone)]
enum Layout {
    Section(SectionTable),
    Sparse(SparseTable),
}

/// Where a postings list lies in the index file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListLocation {
    /// The offset of the list's length prefix.
    pub offset: u64,
    /// Where the next list starts, so that the checksum ends here or before; for the last list of the index this
    /// may be too far.
    pub end: u64,
}

impl ListLocation {
    /// Returns the range without length prefix and checksum, as Thanos' index-header gives it.
    ///
    /// For the last list of the index the range may be too long: the list itself says how many entries it has.
    pub fn payload(self) -> Range<u64> {
        self.offset + LIST_LEN_BYTES..self.end.saturating_sub(crc::CRC_LEN as u64)
    }

    /// Returns the number of series in the list; for the last list of the index it may be too large.
    pub fn entries_estimate(self) -> u64 {
        let payload = self.payload();
        payload.end.saturating_sub(payload.start).saturating_sub(4) / 4
    }

    /// Reports whether there is room for a list.
    pub(crate) fn holds_a_list(self) -> bool {
        self.end.saturating_sub(LIST_BYTES_MIN) >= self.offset
    }
}

/// A label value in the table.
#[derive(Debug, Clone, Copy)]
pub struct TableEntry<'a> {
    /// The entry, for [`PostingsTable::value`].
    pub id: EntryId,
    /// The value.
    pub value: &'a str,
    /// Where its list lies.
    pub location: ListLocation,
}

/// An entry of a table, kept where its value would be too large: it tells the value, not the label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntryId(u32);

impl PostingsTable {
    /// Opens the section that starts at `offset` of `file`; `lists_end` is where it started in the index itself,
    /// which is another file when `file` is an index-header.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the section is damaged, or its entries are not in strictly ascending order in version 2.
    pub fn open(file: &Bytes, offset: u64, lists_end: u64, version: IndexVersion) -> Result<Self> {
        let sampling = NonZeroUsize::new(SAMPLING).unwrap_or(NonZeroUsize::MIN);
        Self::open_sampled(file, offset, lists_end, version, sampling)
    }

    /// Opens the section as [`PostingsTable::open`] does and keeps the position of every `sampling`th value, which
    /// trades memory for time; answers do not depend on it. Version 1 keeps all whatever it says.
    ///
    /// # Errors
    ///
    /// As for [`PostingsTable::open`].
    pub fn open_sampled(
        file: &Bytes,
        offset: u64,
        lists_end: u64,
        version: IndexVersion,
        sampling: NonZeroUsize,
    ) -> Result<Self> {
        let table = SectionTable::open(file, offset, lists_end, version, sampling)?;
        Ok(Self {
            layout: Layout::Section(table),
        })
    }

    /// Returns the table of a sparse header.
    pub(crate) fn sparse(table: SparseTable) -> Self {
        Self {
            layout: Layout::Sparse(table),
        }
    }

    /// Returns the label names in order.
    pub fn label_names(&self) -> impl Iterator<Item = &str> {
        let (section, sparse) = match &self.layout {
            Layout::Section(table) => (Some(table.names()), None),
            Layout::Sparse(table) => (None, Some(table.names())),
        };
        let names = section.into_iter().flatten();
        // The empty name holds the list of all series.
        names
            .chain(sparse.into_iter().flatten())
            .filter(|name| !name.is_empty())
    }

    /// Returns the number of values of the label `name`.
    pub fn value_count(&self, name: &str) -> usize {
        match &self.layout {
            Layout::Section(table) => table.value_count(name),
            Layout::Sparse(table) => table.value_count(name),
        }
    }

    /// Returns the bytes of memory that the table keeps beside the file.
    pub fn memory_bytes(&self) -> usize {
        match &self.layout {
            Layout::Section(table) => table.memory_bytes(),
            Layout::Sparse(table) => table.memory_bytes(),
        }
    }

    /// Returns the label value of an entry that this table has handed out.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the value is not UTF-8, or the entry is of another table.
    pub fn value(&self, id: EntryId) -> Result<&str> {
        match &self.layout {
            Layout::Section(table) => table.value(id),
            Layout::Sparse(table) => table.value(id),
        }
    }

    /// Finds the list of all series.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the table is damaged.
    pub fn find_all_series(&self) -> Result<Option<ListLocation>> {
        self.find("", "")
    }

    /// Finds the list of the series with label `name` at `value`.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the table is damaged.
    pub fn find(&self, name: &str, value: &str) -> Result<Option<ListLocation>> {
        let mut found = None;
        self.visit_from(name, value, |entry| {
            found = (entry.value == value).then_some(entry.location);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// Calls `visit` with every value of the label `name` in order, until it breaks.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the table is damaged, or what `visit` returns.
    pub fn visit(
        &self,
        name: &str,
        visit: impl FnMut(TableEntry<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        self.visit_from(name, "", visit)
    }

    /// Calls `visit` with every value of the label `name` that is not less than `from`, in order, until it breaks.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the table is damaged, or what `visit` returns.
    pub fn visit_from(
        &self,
        name: &str,
        from: &str,
        visit: impl FnMut(TableEntry<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        self.visit_if(name, from, |_| true, visit)
    }

    /// Calls `visit` as [`PostingsTable::visit_from`] does, with the values whose bytes satisfy `is_wanted`. The others
    /// cost next to nothing; whether they are UTF-8 is not looked at.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the table is damaged, or what `visit` returns.
    pub fn visit_if(
        &self,
        name: &str,
        from: &str,
        is_wanted: impl Fn(&[u8]) -> bool,
        visit: impl FnMut(TableEntry<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        match &self.layout {
            Layout::Section(table) => table.visit_if(name, from, is_wanted, visit),
            Layout::Sparse(table) => table.visit_if(name, from, is_wanted, visit),
        }
    }
}

#[cold]
fn corrupt(offset: u64, what: &str) -> Error {
    Error::corrupt(format!("postings offset table: {what}")).at(offset)
}

#[cfg(test)]
mod tests;
