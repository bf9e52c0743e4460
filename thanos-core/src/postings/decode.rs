//! Decoding of postings lists as the index stores them: 32-bit big-endian references.

use super::Postings;
use super::search::Reference;
use crate::encoding::{Cursor, Section};
use crate::error::{Error, Result};

/// Splits the list off the front of `bytes`, which lie at `offset` of the index, and checks its checksum.
///
/// What comes after the checksum is ignored: a gateway does not know where the last list of an index ends.
///
/// # Errors
///
/// `Corrupt` when the list is cut short or damaged.
pub fn split_postings(bytes: &[u8], offset: u64) -> Result<Section<'_>> {
    Cursor::at_offset(bytes, offset).be32_section("postings list")
}

/// Decodes the content of a list: the number of entries and the entries.
///
/// # Errors
///
/// `Corrupt` when number and length disagree or the references do not ascend strictly.
pub fn decode_postings(list: Section<'_>) -> Result<Postings> {
    Entries::of(list)?.decode().map(Postings::from_list)
}

/// The entries of a list whose length and checksum are right; that they ascend is checked by whoever reads them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entries<'a> {
    /// Big-endian.
    entries: &'a [[u8; 4]],
    /// Where they lie.
    offset: u64,
}

/// Room for the entries that are decoded at once: few enough for the first cache. Whoever checks many lists clears it
/// once.
pub(super) type Block = [u32; BLOCK_ENTRIES];

const BLOCK_ENTRIES: usize = 256;

/// Entries of a list whose order is right, or a stretch of them, as they are stored.
pub(super) type Checked<'a> = &'a [[u8; 4]];

impl<'a> Entries<'a> {
    /// Checks that a list has as many entries as it says.
    pub(super) fn of(list: Section<'a>) -> Result<Self> {
        let mut cursor = list.cursor();
        let count = cursor.be32("number of postings")?;
        let (entries, rest) = cursor.rest().as_chunks::<4>();
        if !rest.is_empty() || u32::try_from(entries.len()) != Ok(count) {
            return Err(cursor.corrupt(format_args!(
                "postings list of {count} entries has {} bytes",
                cursor.remaining()
            )));
        }
        Ok(Self {
            entries,
            offset: cursor.offset(),
        })
    }

    /// Returns all of them.
    pub(super) fn decode(self) -> Result<Vec<u32>> {
        let mut references = Vec::with_capacity(self.entries.len());
        references.extend(self.entries.iter().map(|entry| entry.get()));
        if !ascends(&references) {
            return Err(self.out_of_order());
        }
        Ok(references)
    }

    /// Returns all of them as they are stored.
    pub(super) fn checked(self, block: &mut Block) -> Result<Checked<'a>> {
        let mut before = None;
        for entries in self.entries.chunks(BLOCK_ENTRIES) {
            for (decoded, entry) in block.iter_mut().zip(entries) {
                *decoded = entry.get();
            }
            let decoded = &block[..entries.len()];
            if !ascends(decoded) || before >= decoded.first().copied() {
                return Err(self.out_of_order());
            }
            before = decoded.last().copied();
        }
        Ok(self.entries)
    }

    #[cold]
    fn out_of_order(self) -> Error {
        Error::corrupt("postings do not ascend strictly").at(self.offset)
    }
}

/// Returns no entries, to be filled by [`Entries::checked`].
pub(super) const fn empty_block() -> Block {
    [0; BLOCK_ENTRIES]
}

/// Returns the first and the last of references that ascend.
pub(super) fn ends<R: Reference>(list: &[R]) -> Option<(u32, u32)> {
    Some((list.first()?.get(), list.last()?.get()))
}

/// Returns those of references that ascend that lie between `first` and `last`.
pub(super) fn within<R: Reference>(list: &[R], (first, last): (u32, u32)) -> &[R] {
    let list = &list[list.partition_point(|one| one.get() < first)..];
    &list[..list.partition_point(|one| one.get() <= last)]
}

/// Reports whether `list` ascends strictly. Has no early exit, so that the compiler can use wide registers.
pub(super) fn ascends(list: &[u32]) -> bool {
    let next = list.get(1..).unwrap_or_default();
    let pairs = list.iter().zip(next);
    pairs.fold(true, |ascends, (a, b)| ascends & (a < b))
}
