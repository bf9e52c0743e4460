//! The postings offset table of an index or of an index-header: where the list of a label value lies.
//!
//! Keeps every label name, and for each the position of every 32nd value, unless told otherwise (4 bytes each); everything else is read
//! from the file's bytes. It does not read lists: [`super::IndexReader`] and the gateway of a bucket do.

use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};

use bytes::Bytes;

use super::format::{IndexVersion, SAMPLING};
use crate::encoding::{Cursor, crc};
use crate::error::{Error, Result};

/// The bytes of a list's length prefix.
const LIST_LEN_BYTES: u64 = 4;
/// The bytes of an empty list: length, number of entries, checksum.
const LIST_BYTES_MIN: u64 = 12;

/// The postings offset table over the bytes of its section.
#[derive(Debug, Clone)]
pub struct PostingsTable {
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
    value_count: u32,
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

/// An entry of a table, kept where its value would be too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntryId(u32);

/// One entry as stored.
#[derive(Debug, Clone, Copy)]
struct RawEntry<'a> {
    name: &'a [u8],
    value: &'a [u8],
    list_offset: u64,
    /// Where the next entry starts.
    next: u32,
}

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
        let mut position = 0;
        let mut previous: Option<RawEntry<'_>> = None;
        for _ in 0..count {
            let entry = self.entry_in(&entries, position)?;
            let same_name = previous.is_some_and(|previous| previous.name == entry.name);
            let ordered = previous.is_none_or(|previous| {
                previous.name < entry.name || (same_name && previous.value < entry.value)
            });
            if !ordered {
                return Err(self.corrupt_at(position, "entry is not greater than its predecessor"));
            }
            if !same_name {
                self.push_name(entry.name, position)?;
            }
            self.push_value(position, entry.next, sampling.get());
            previous = Some(entry);
            position = entry.next;
        }
        self.entries.truncate(position as usize);
        Ok(())
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
                self.push_name(name, *position)?;
                previous_name = Some(name);
            }
            self.push_value(*position, *position, 1);
        }
        Ok(())
    }

    fn push_name(&mut self, name: &[u8], position: u32) -> Result<()> {
        let name = std::str::from_utf8(name)
            .map_err(|_| self.corrupt_at(position, "label name is not UTF-8"))?;
        let start = self.samples.len();
        self.names.push(NameEntry {
            name: name.into(),
            samples: start..start,
            end: position,
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
        let value = cursor.uvarint_bytes("label value")?;
        let list_offset = cursor.uvarint("postings list offset")?;
        Ok(RawEntry {
            name,
            value,
            list_offset,
            // The section's length fits 32 bits.
            next: u32::try_from(cursor.offset() - self.entries_offset).unwrap_or(u32::MAX),
        })
    }

    #[cold]
    fn corrupt_at(&self, position: u32, what: &str) -> Error {
        let offset = self.entries_offset + u64::from(position);
        Error::corrupt(format!("postings offset table: {what}")).at(offset)
    }

    fn name(&self, name: &str) -> Option<&NameEntry> {
        let found = self
            .names
            .binary_search_by(|entry| (*entry.name).cmp(name))
            .ok()?;
        self.names.get(found)
    }

    /// Returns the label names in order.
    pub fn label_names(&self) -> impl Iterator<Item = &str> {
        // The empty name holds the list of all series.
        let names = self.names.iter().map(|entry| &*entry.name);
        names.filter(|name| !name.is_empty())
    }

    /// Returns the number of values of the label `name`.
    pub fn value_count(&self, name: &str) -> usize {
        self.name(name)
            .map_or(0, |entry| entry.value_count as usize)
    }

    /// Returns the bytes of memory that names and samples take.
    pub fn memory_bytes(&self) -> usize {
        let names: usize = self.names.iter().map(|entry| entry.name.len()).sum();
        names
            + self.names.capacity() * size_of::<NameEntry>()
            + self.samples.capacity() * size_of::<u32>()
    }

    /// Returns the label value of an entry that this table has handed out.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the value is not UTF-8, or the entry is of another table.
    pub fn value(&self, id: EntryId) -> Result<&str> {
        let value = self.entry(id.0)?.value;
        std::str::from_utf8(value).map_err(|_| self.corrupt_at(id.0, "label value is not UTF-8"))
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
        mut visit: impl FnMut(TableEntry<'_>) -> Result<ControlFlow<()>>,
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
            IndexVersion::V1 => {
                for position in samples {
                    let entry = self.entry(*position)?;
                    let following = self.following(&entry)?;
                    if self
                        .offer(*position, &entry, following.as_ref(), from, &mut visit)?
                        .is_break()
                    {
                        break;
                    }
                }
                Ok(())
            }
            IndexVersion::V2 => {
                let start = samples.first().copied().unwrap_or(name.end);
                self.visit_run(start, name.end, from, visit)
            }
        }
    }

    /// Visits the entries from `position` to `end`, each read once.
    fn visit_run(
        &self,
        mut position: u32,
        end: u32,
        from: &str,
        mut visit: impl FnMut(TableEntry<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        if position >= end {
            return Ok(());
        }
        let mut entry = self.entry(position)?;
        loop {
            let following = self.following(&entry)?;
            let flow = self.offer(position, &entry, following.as_ref(), from, &mut visit)?;
            position = entry.next;
            match following {
                Some(following) if flow.is_continue() && position < end => entry = following,
                _ => return Ok(()),
            }
        }
    }

    /// Returns the entry behind `entry` in the table, of the same name or another.
    fn following(&self, entry: &RawEntry<'_>) -> Result<Option<RawEntry<'_>>> {
        if entry.next as usize >= self.entries.len() {
            return Ok(None);
        }
        self.entry(entry.next).map(Some)
    }

    /// Calls `visit` with `entry` unless its value is less than `from`.
    fn offer(
        &self,
        position: u32,
        entry: &RawEntry<'_>,
        following: Option<&RawEntry<'_>>,
        from: &str,
        visit: &mut impl FnMut(TableEntry<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        if entry.value < from.as_bytes() {
            return Ok(ControlFlow::Continue(()));
        }
        let value = std::str::from_utf8(entry.value)
            .map_err(|_| self.corrupt_at(position, "label value is not UTF-8"))?;
        let location = ListLocation {
            offset: entry.list_offset,
            end: following.map_or(self.lists_end, |following| following.list_offset),
        };
        if location.end.saturating_sub(LIST_BYTES_MIN) < location.offset {
            return Err(self.corrupt_at(position, "list starts after its end"));
        }
        let id = EntryId(position);
        visit(TableEntry {
            id,
            value,
            location,
        })
    }

    /// Returns the last sample of `name` whose value is not greater than `value`, or its first.
    fn first_sample(&self, name: &NameEntry, value: &[u8]) -> Result<usize> {
        let (mut low, mut high) = (name.samples.start, name.samples.end);
        while low < high {
            let middle = usize::midpoint(low, high);
            let position = self.samples.get(middle).copied().unwrap_or(u32::MAX);
            if self.entry(position)?.value <= value {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low.saturating_sub(1).max(name.samples.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::varint::put_uvarint;

    /// Builds a table whose lists follow each other 100 bytes apart, the last ending at `lists_end`.
    fn table(
        entries: &[(&str, &str)],
        lists_end: u64,
        version: IndexVersion,
    ) -> Result<PostingsTable> {
        let mut content = u32::try_from(entries.len()).unwrap().to_be_bytes().to_vec();
        for (i, (name, value)) in entries.iter().enumerate() {
            content.push(2);
            for text in [name, value] {
                put_uvarint(&mut content, text.len() as u64);
                content.extend_from_slice(text.as_bytes());
            }
            put_uvarint(&mut content, 1000 + 100 * i as u64);
        }
        let mut file = vec![0; 7];
        file.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
        file.extend_from_slice(&content);
        file.extend_from_slice(&crc::checksum(&content).to_be_bytes());
        PostingsTable::open(&Bytes::from(file), 7, lists_end, version)
    }

    fn owned(count: usize) -> Vec<(String, String)> {
        let mut entries = vec![(String::new(), String::new())];
        for name in ["a", "instance", "z"] {
            entries.extend((0..count).map(|i| (name.to_owned(), format!("v{i:04}"))));
        }
        entries
    }

    #[test]
    fn every_value_is_found_whatever_the_sampling() {
        for count in [1, 2, 31, 32, 33, 64, 65, 100] {
            let entries = owned(count);
            let refs: Vec<_> = entries
                .iter()
                .map(|(n, v)| (n.as_str(), v.as_str()))
                .collect();
            let lists_end = 1000 + 100 * refs.len() as u64;
            let mut shuffled = refs.clone();
            shuffled.reverse();
            for (order, version) in [(&refs, IndexVersion::V2), (&shuffled, IndexVersion::V1)] {
                let table = table(order, lists_end, version).unwrap();
                let names: Vec<_> = table.label_names().collect();
                assert_eq!(names, ["a", "instance", "z"]);
                for (i, (name, value)) in order.iter().enumerate() {
                    let offset = 1000 + 100 * i as u64;
                    let expected = ListLocation {
                        offset,
                        end: offset + 100,
                    };
                    assert_eq!(table.find(name, value).unwrap(), Some(expected));
                }
                for (name, value) in [
                    ("a", ""),
                    ("a", "v"),
                    ("a", "w"),
                    ("b", "v0000"),
                    ("z", "v00000"),
                ] {
                    assert_eq!(table.find(name, value).unwrap(), None);
                }
                assert_eq!(table.value_count("instance"), count);
                let mut seen = Vec::new();
                table
                    .visit_from("instance", "v0030", |entry| {
                        seen.push(entry.value.to_owned());
                        Ok(ControlFlow::Continue(()))
                    })
                    .unwrap();
                let expected: Vec<_> = (30..count).map(|i| format!("v{i:04}")).collect();
                assert_eq!(seen, expected);
            }
        }
    }

    #[test]
    fn a_sorted_table_keeps_few_positions() {
        let entries = owned(1000);
        let refs: Vec<_> = entries
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        let table = table(&refs, 1_000_000, IndexVersion::V2).unwrap();
        assert_eq!(table.samples.len(), 1 + 3 * 1000_usize.div_ceil(SAMPLING));
    }

    #[test]
    fn an_unsorted_table_is_corrupt_in_version_2_only() {
        for entries in [
            &[("a", "2"), ("a", "1")][..],
            &[("b", "1"), ("a", "1")],
            &[("a", "1"), ("a", "1")],
            &[("a", "1"), ("b", "1"), ("a", "2")],
        ] {
            assert!(table(entries, 9999, IndexVersion::V2).is_err());
            assert!(table(entries, 9999, IndexVersion::V1).is_ok());
        }
    }

    #[test]
    fn the_later_of_two_equal_entries_counts_in_version_1() {
        let table = table(
            &[("a", "1"), ("b", "1"), ("a", "1")],
            1300,
            IndexVersion::V1,
        )
        .unwrap();
        let location = table.find("a", "1").unwrap().unwrap();
        assert_eq!((location.offset, location.end), (1200, 1300));
        assert_eq!(location.payload(), 1204..1296);
        assert_eq!(location.entries_estimate(), 22);
        assert_eq!(table.value_count("a"), 1);
    }

    #[test]
    fn lists_that_run_backwards_are_corrupt() {
        let table = table(&[("a", "1"), ("a", "2")], 1105, IndexVersion::V2).unwrap();
        assert!(table.find("a", "1").unwrap().is_some());
        assert!(table.find("a", "2").is_err());
    }
}
