//! Decoding of postings lists as the index stores them: 32-bit big-endian references.

use super::Postings;
use crate::encoding::{Cursor, Section};
use crate::error::Result;

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
    let mut cursor = list.cursor();
    let count = cursor.be32("number of postings")?;
    let (entries, rest) = cursor.rest().as_chunks::<4>();
    if !rest.is_empty() || u32::try_from(entries.len()) != Ok(count) {
        return Err(cursor.corrupt(format_args!(
            "postings list of {count} entries has {} bytes",
            cursor.remaining()
        )));
    }
    let mut references = Vec::with_capacity(entries.len());
    references.extend(entries.iter().map(|bytes| u32::from_be_bytes(*bytes)));
    if !ascends(&references) {
        return Err(cursor.corrupt("postings do not ascend strictly"));
    }
    Ok(Postings::from_list(references))
}

/// Reports whether `list` ascends strictly. Has no early exit, so that the compiler can use wide registers.
pub(super) fn ascends(list: &[u32]) -> bool {
    let next = list.get(1..).unwrap_or_default();
    let pairs = list.iter().zip(next);
    pairs.fold(true, |ascends, (a, b)| ascends & (a < b))
}
