//! The table as the section of an index.
//!
//! Keeps every label name, and for each the position of every 32nd value, unless told otherwise (4 bytes each); everything
//! else is read from the file's bytes. In version 2 the entries of a label start with the same bytes, which are checked
//! when the table is opened and skipped ever after.

use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};

use bytes::Bytes;

use super::{EntryId, ListLocation, TableEntry, corrupt};
use crate::encoding::{Cursor, varint};
use crate::error::{Error, Result};
use crate::index::format::IndexVersion;

/// The postings offset table over the bytes of its section.
#[derive(Debug, Clone)]
pub(super) struct SectionTable {
    /// The content of the section behind the number of entries.
    entries: Bytes,
    /// The file offset of `entries`.
    entries_offset: u64,
    /// Where in the index the last list ends at the latest.
    lists_end: u64,
    version: IndexVersion,
    /// Sorted by name.
    names: Vec<NameEntry>,
    /// Positions in `entries`, grouped by name: in version 2 of every n-th value, in version 1, where the table
    /// need not be sorted, of every value, sorted.
    samples: Vec<u32>,
}

#[derive(Debug, Clone)]
struct NameEntry {
    name: Box<str>,
    samples: Range<usize>,
    /// Where the last entry of the name ends (version 2).
    end: u32,
    /// The bytes of each of its entries before the value: the number of keys, and the name behind its length (version
    /// 2).
    head_len: u32,
    value_count: u32,
}

/// One entry as stored.
#[derive(Debug, Clone, Copy)]
struct RawEntry<'a> {
    name: &'a [u8],
    value: &'a [u8],
    list_offset: u64,
    /// The bytes before the value and its length.
    head_len: u32,
    /// Where the next entry starts.
    next: u32,
}

/// An entry of a label that is known.
#[derive(Debug, Clone, Copy)]
struct ValueEntry<'a> {
    value: &'a [u8],
    list_offset: u64,
    next: u32,
}

impl SectionTable {
    /// Opens the section; the parameters are those of [`super::PostingsTable::open_sampled`].
    pub(super) fn open(
        file: &Bytes,
        offset: u64,
        lists_end: u64,
        version: IndexVersion,
        sampling: NonZeroUsize,
    ) -> Result<Self> {
        let what = "postings offset table";
        let bytes = usize::try_from(offset).ok().and_then(|at| file.get(at..));
        let bytes = bytes
            .ok_or_else(|| Error::corrupt(format!("{what} lies beyond the file")).at(offset))?;
        let mut cursor = Cursor::at_offset(bytes, offset)
            .be32_section(what)?
            .cursor();
        let count = cursor.be32("number of postings table entries")?;
        let mut table = Self {
            entries: file.slice_ref(cursor.rest()),
            entries_offset: cursor.offset(),
            lists_end,
            version,
            names: Vec::new(),
            samples: Vec::new(),
        };
        match version {
            IndexVersion::V1 => table.load_all(count)?,
            IndexVersion::V2 => table.load_sampled(count, sampling)?,
        }
        Ok(table)
    }

    /// Walks the sorted table once and notes every `sampling`th value.
    fn load_sampled(&mut self, count: u32, sampling: NonZeroUsize) -> Result<()> {
        let entries = self.entries.clone();
        let (mut position, mut left) = (0, count);
        while left > 0 {
            let first = self.entry_in(&entries, position)?;
            let after_last = self
                .names
                .last()
                .is_none_or(|last| last.name.as_bytes() < first.name);
            if !after_last {
                return Err(self.corrupt_at(position, "entry is not greater than its predecessor"));
            }
            self.push_name(first.name, position, first.head_len)?;
            (position, left) = self.load_values(&entries, position, left, sampling)?;
        }
        self.entries.truncate(position as usize);
        Ok(())
    }

    /// Walks the values of the name pushed last, whose first entry starts at `position`, as far as `left` entries go;
    /// returns where it stopped, and how many entries are left then.
    fn load_values(
        &mut self,
        entries: &[u8],
        mut position: u32,
        mut left: u32,
        sampling: NonZeroUsize,
    ) -> Result<(u32, u32)> {
        let head_len = self.names.last().map_or(0, |name| name.head_len);
        let head = entries.get(position as usize..).unwrap_or_default();
        let head = head.get(..head_len as usize).unwrap_or_default();
        let mut previous: Option<&[u8]> = None;
        while left > 0 {
            let rest = entries.get(position as usize..).unwrap_or_default();
            if !rest.starts_with(head) {
                break;
            }
            let entry = self.value_in(entries, position, head_len)?;
            if previous.is_some_and(|previous| previous >= entry.value) {
                return Err(self.corrupt_at(position, "entry is not greater than its predecessor"));
            }
            self.push_value(position, entry.next, sampling.get());
            previous = Some(entry.value);
            position = entry.next;
            left -= 1;
        }
        Ok((position, left))
    }

    /// Notes all entries of an unsorted table in the order of their names and values; of two equal ones the later
    /// counts.
    ///
    /// COMPAT: as Prometheus reads version 1 (`index.newReader`, `postingsV1`).
    fn load_all(&mut self, count: u32) -> Result<()> {
        let entries = self.entries.clone();
        let mut all: Vec<(&[u8], &[u8], u32)> = Vec::new();
        let mut position = 0;
        for _ in 0..count {
            let entry = self.entry_in(&entries, position)?;
            all.push((entry.name, entry.value, position));
            position = entry.next;
        }
        self.entries.truncate(position as usize);
        all.sort_unstable();
        let mut previous_name = None;
        for (i, (name, value, position)) in all.iter().enumerate() {
            let overridden = all
                .get(i + 1)
                .is_some_and(|next| (next.0, next.1) == (name, value));
            if overridden {
                continue;
            }
            if previous_name != Some(name) {
                self.push_name(name, *position, 0)?;
                previous_name = Some(name);
            }
            self.push_value(*position, *position, 1);
        }
        Ok(())
    }

    fn push_name(&mut self, name: &[u8], position: u32, head_len: u32) -> Result<()> {
        let name = std::str::from_utf8(name)
            .map_err(|_| self.corrupt_at(position, "label name is not UTF-8"))?;
        let start = self.samples.len();
        self.names.push(NameEntry {
            name: name.into(),
            samples: start..start,
            end: position,
            head_len,
            value_count: 0,
        });
        Ok(())
    }

    /// Adds a value to the name pushed last.
    fn push_value(&mut self, position: u32, next: u32, sampling: usize) {
        let Some(name) = self.names.last_mut() else {
            return;
        };
        if (name.value_count as usize).is_multiple_of(sampling) {
            self.samples.push(position);
            name.samples.end = self.samples.len();
        }
        name.value_count += 1;
        name.end = next;
    }

    fn entry(&self, position: u32) -> Result<RawEntry<'_>> {
        self.entry_in(&self.entries, position)
    }

    /// Reads the entry at `position` of `entries`, which are `self.entries` (possibly a clone, to part lifetimes).
    fn entry_in<'a>(&self, entries: &'a [u8], position: u32) -> Result<RawEntry<'a>> {
        let rest = entries.get(position as usize..).unwrap_or_default();
        let offset = self.entries_offset + u64::from(position);
        let mut cursor = Cursor::at_offset(rest, offset);
        let keys = cursor.uvarint("number of keys")?;
        if keys != 2 {
            return Err(self.corrupt_at(position, &format!("entry has {keys} keys, expected 2")));
        }
        let name = cursor.uvarint_bytes("label name")?;
        let head_len = rest.len() - cursor.remaining();
        let value = cursor.uvarint_bytes("label value")?;
        let list_offset = cursor.uvarint("postings list offset")?;
        Ok(RawEntry {
            name,
            value,
            list_offset,
            // The section's length fits 32 bits.
            head_len: u32::try_from(head_len).unwrap_or(u32::MAX),
            next: u32::try_from(cursor.offset() - self.entries_offset).unwrap_or(u32::MAX),
        })
    }

    #[inline]
    fn value_at(&self, position: u32, head_len: u32) -> Result<ValueEntry<'_>> {
        self.value_in(&self.entries, position, head_len)
    }

    /// Reads the entry at `position` of `entries` from behind its first `head_len` bytes, which are known.
    #[inline]
    fn value_in<'a>(
        &self,
        entries: &'a [u8],
        position: u32,
        head_len: u32,
    ) -> Result<ValueEntry<'a>> {
        let start = position as usize + head_len as usize;
        if let Some(rest) = entries.get(start..)
            && let Some((len @ ..0x80, rest)) = rest.split_first()
            && let Some((value, rest)) = rest.split_at_checked(usize::from(*len))
            && let Some((list_offset, offset_len)) = varint::read_uvarint_of_word(rest)
        {
            let next = start + 1 + value.len() + offset_len;
            return Ok(ValueEntry {
                value,
                list_offset,
                next: u32::try_from(next).unwrap_or(u32::MAX),
            });
        }
        let entry = self.entry_in(entries, position)?;
        Ok(ValueEntry {
            value: entry.value,
            list_offset: entry.list_offset,
            next: entry.next,
        })
    }

    #[cold]
    fn corrupt_at(&self, position: u32, what: &str) -> Error {
        corrupt(self.entries_offset + u64::from(position), what)
    }

    fn name(&self, name: &str) -> Option<&NameEntry> {
        let found = self
            .names
            .binary_search_by(|entry| (*entry.name).cmp(name))
            .ok()?;
        self.names.get(found)
    }

    /// Returns the label names in order, the empty one too.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|entry| &*entry.name)
    }

    pub(super) fn value_count(&self, name: &str) -> usize {
        self.name(name)
            .map_or(0, |entry| entry.value_count as usize)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let names: usize = self.names.iter().map(|entry| entry.name.len()).sum();
        names
            + self.names.capacity() * size_of::<NameEntry>()
            + self.samples.capacity() * size_of::<u32>()
    }

    pub(super) fn value(&self, id: EntryId) -> Result<&str> {
        self.text(self.entry(id.0)?.value, id.0)
    }

    fn text<'a>(&self, value: &'a [u8], position: u32) -> Result<&'a str> {
        std::str::from_utf8(value)
            .map_err(|_| self.corrupt_at(position, "label value is not UTF-8"))
    }

    pub(super) fn visit_if(
        &self,
        name: &str,
        from: &str,
        is_wanted: impl Fn(&[u8]) -> bool,
        visit: impl FnMut(TableEntry<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let Some(name) = self.name(name) else {
            return Ok(());
        };
        let first = self.first_sample(name, from.as_bytes())?;
        let samples = self
            .samples
            .get(first..name.samples.end)
            .unwrap_or_default();
        match self.version {
            IndexVersion::V1 => self.visit_each(samples, from, is_wanted, visit),
            IndexVersion::V2 => {
                let start = samples.first().copied().unwrap_or(name.end);
                self.visit_run((name, start), from, is_wanted, visit)
            }
        }
    }

    /// Visits the entries at `positions`, which lie anywhere.
    fn visit_each(
        &self,
        positions: &[u32],
        from: &str,
        is_wanted: impl Fn(&[u8]) -> bool,
        mut visit: impl FnMut(TableEntry<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        for position in positions {
            let entry = self.entry(*position)?;
            if entry.value < from.as_bytes() || !is_wanted(entry.value) {
                continue;
            }
            let end = self.list_offset_at(entry.next)?;
            let entry = self.table_entry(*position, entry.value, entry.list_offset..end)?;
            if visit(entry)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Visits the entries of a name from a position on, each read once.
    fn visit_run(
        &self,
        (name, mut position): (&NameEntry, u32),
        from: &str,
        is_wanted: impl Fn(&[u8]) -> bool,
        mut visit: impl FnMut(TableEntry<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let head_len = name.head_len;
        if position >= name.end {
            return Ok(());
        }
        let mut entry = self.value_at(position, head_len)?;
        let mut is_reached = false;
        while entry.next < name.end {
            let following = self.value_at(entry.next, head_len)?;
            // All behind the first that is not less than `from` are not either.
            is_reached = is_reached || entry.value >= from.as_bytes();
            if is_reached && is_wanted(entry.value) {
                let list = entry.list_offset..following.list_offset;
                if visit(self.table_entry(position, entry.value, list)?)?.is_break() {
                    return Ok(());
                }
            }
            (position, entry) = (entry.next, following);
        }
        if (is_reached || entry.value >= from.as_bytes()) && is_wanted(entry.value) {
            let list = entry.list_offset..self.list_offset_at(entry.next)?;
            let last = self.table_entry(position, entry.value, list)?;
            return visit(last).map(drop);
        }
        Ok(())
    }

    /// Returns where the list of the entry at `position` starts, of whatever name; behind the last entry that is where
    /// all lists end.
    fn list_offset_at(&self, position: u32) -> Result<u64> {
        if position as usize >= self.entries.len() {
            return Ok(self.lists_end);
        }
        Ok(self.entry(position)?.list_offset)
    }

    #[inline]
    fn table_entry<'a>(
        &self,
        position: u32,
        value: &'a [u8],
        list: Range<u64>,
    ) -> Result<TableEntry<'a>> {
        let location = ListLocation {
            offset: list.start,
            end: list.end,
        };
        if !location.holds_a_list() {
            return Err(self.corrupt_at(position, "list starts after its end"));
        }
        Ok(TableEntry {
            id: EntryId(position),
            value: self.text(value, position)?,
            location,
        })
    }

    /// Returns the last sample of `name` whose value is not greater than `value`, or its first.
    fn first_sample(&self, name: &NameEntry, value: &[u8]) -> Result<usize> {
        let (mut low, mut high) = (name.samples.start, name.samples.end);
        while low < high {
            let middle = usize::midpoint(low, high);
            let position = self.samples.get(middle).copied().unwrap_or(u32::MAX);
            let sample = match self.version {
                IndexVersion::V1 => self.entry(position)?.value,
                IndexVersion::V2 => self.value_at(position, name.head_len)?.value,
            };
            if sample <= value {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low.saturating_sub(1).max(name.samples.start))
    }
}
