//! A page of an index: the bytes that are known of [`PAGE_BYTES`] aligned ones.
//!
//! Reads fetch exactly what they need, not whole pages: a cold read costs the same with and without a cache. What was
//! fetched is kept in its pages, each with one run of bytes; a later read that continues or overlaps the run makes it
//! longer, one that lies apart replaces it if it is longer. So the number of keys is bounded by the bytes of the index,
//! not by its postings lists and series, and what is asked for again is there again.
//!
//! ```text
//! u8 version 1 | u8 flags: 1 = the object ends here | le16 start in page | le32 crc32c of the bytes before and after | bytes
//! ```

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use thanos_core::encoding::crc;
use thanos_core::{Error, Result};

/// The bytes of an index that share a key: bookkeeping stays below 2 % of a full page, and reading a page that is in
/// memory costs about as much as finding it.
pub(crate) const PAGE_BYTES: u64 = 16 << 10;

const VERSION: u8 = 1;
const ENDS_OBJECT: u8 = 1;
const HEADER_BYTES: usize = 8;

/// Returns the numbers of the pages in which `range` lies.
pub(crate) fn pages_of(range: &Range<u64>) -> Range<u64> {
    if range.is_empty() {
        return 0..0;
    }
    range.start / PAGE_BYTES..(range.end - 1) / PAGE_BYTES + 1
}

/// Known bytes of one page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// Where the bytes start in the object.
    start: u64,
    bytes: Bytes,
    /// Whether the object ends where the bytes end.
    ends_object: bool,
}

impl Page {
    /// Returns what bytes at `start` of an object say about page `number`; `None` when they say nothing.
    pub(crate) fn of(number: u64, start: u64, bytes: &Bytes, ends_object: bool) -> Option<Self> {
        let end = start + bytes.len() as u64;
        let (page_start, page_end) = (number * PAGE_BYTES, (number + 1) * PAGE_BYTES);
        let (from, to) = (start.max(page_start), end.min(page_end));
        if from >= to {
            return None;
        }
        Some(Self {
            start: from,
            bytes: slice(bytes, start, &(from..to)),
            ends_object: ends_object && end <= page_end,
        })
    }

    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Returns how many bytes are known.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the bytes of `range`, which lies in the page, fewer where the object ends; `None` when some are not known.
    pub(crate) fn get(&self, range: &Range<u64>) -> Option<Bytes> {
        let end = if self.ends_object {
            range.end.min(self.end())
        } else {
            range.end
        };
        if range.start < self.start || range.start >= end || end > self.end() {
            return None;
        }
        Some(slice(&self.bytes, self.start, &(range.start..end)))
    }

    /// Reports whether the object ends in this page.
    pub(crate) fn ends_object(&self) -> bool {
        self.ends_object
    }

    /// Returns what this and `older` know together, as far as it is one run; `None` when `older` is as good.
    pub(crate) fn merged(&self, older: &Self) -> Option<Self> {
        let (first, second) = if self.start <= older.start {
            (self, older)
        } else {
            (older, self)
        };
        if second.start > first.end() {
            return (self.len() > older.len()).then(|| self.clone());
        }
        let ends_object = self.ends_object || older.ends_object;
        if older.start <= self.start && self.end() <= older.end() {
            return (ends_object != older.ends_object).then(|| Self {
                ends_object,
                ..older.clone()
            });
        }
        let mut bytes = BytesMut::with_capacity(first.len() + second.len());
        bytes.extend_from_slice(&first.bytes);
        let known = usize::try_from(first.end() - second.start).unwrap_or(usize::MAX);
        bytes.extend_from_slice(second.bytes.get(known..).unwrap_or_default());
        Some(Self {
            start: first.start,
            bytes: bytes.freeze(),
            ends_object,
        })
    }

    pub(super) fn encode(&self) -> Bytes {
        let start = u16::try_from(self.start % PAGE_BYTES).expect("a page is shorter than 64 KiB");
        let flags = if self.ends_object { ENDS_OBJECT } else { 0 };
        let mut encoded = BytesMut::with_capacity(HEADER_BYTES + self.bytes.len());
        encoded.put_u8(VERSION);
        encoded.put_u8(flags);
        encoded.put_u16_le(start);
        let sum = crc::extend(crc::checksum(&encoded), &self.bytes);
        encoded.put_u32_le(sum);
        encoded.extend_from_slice(&self.bytes);
        encoded.freeze()
    }

    /// Returns page `number` out of what a cache had.
    pub(super) fn decode(number: u64, encoded: &Bytes) -> Result<Self> {
        let corrupt = |message: &str| Error::corrupt(format!("cached page {number}: {message}"));
        let header = encoded
            .first_chunk::<HEADER_BYTES>()
            .ok_or_else(|| corrupt("shorter than its header"))?;
        let [version, flags, start_low, start_high, sum @ ..] = *header;
        if version != VERSION {
            return Err(corrupt("unknown version"));
        }
        let bytes = encoded.slice(HEADER_BYTES..);
        let expected = crc::extend(crc::checksum(&header[..4]), &bytes);
        if expected != u32::from_le_bytes(sum) {
            return Err(corrupt("checksum mismatch"));
        }
        let start = u64::from(u16::from_le_bytes([start_low, start_high]));
        if start + bytes.len() as u64 > PAGE_BYTES {
            return Err(corrupt("longer than a page"));
        }
        Ok(Self {
            start: number * PAGE_BYTES + start,
            bytes,
            ends_object: flags & ENDS_OBJECT != 0,
        })
    }
}

/// Returns the part `range` of `bytes`, which start at `base`; the caller made sure that it lies in them.
fn slice(bytes: &Bytes, base: u64, range: &Range<u64>) -> Bytes {
    let at = |offset: u64| usize::try_from(offset - base).expect("an offset into bytes in memory");
    bytes.slice(at(range.start)..at(range.end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the bytes `range` of an object in which the byte at `i` is `i % 251`.
    fn object(range: Range<u64>) -> Bytes {
        range.map(|i| u8::try_from(i % 251).unwrap()).collect()
    }

    fn page(number: u64, range: Range<u64>) -> Page {
        Page::of(number, range.start, &object(range), false).unwrap()
    }

    #[test]
    fn a_page_takes_its_part_of_a_read() {
        let read = 100..3 * PAGE_BYTES + 5;
        assert_eq!(page(0, read.clone()).start, 100);
        assert_eq!(page(1, read.clone()).len() as u64, PAGE_BYTES);
        assert_eq!(page(3, read.clone()).len(), 5);
        assert_eq!(Page::of(4, read.start, &object(read), false), None);
        assert_eq!(pages_of(&(0..PAGE_BYTES)), 0..1);
        assert_eq!(pages_of(&(PAGE_BYTES - 1..PAGE_BYTES + 1)), 0..2);
        assert_eq!(pages_of(&(7..7)), 0..0);
    }

    #[test]
    fn runs_that_touch_become_one_and_of_others_the_longer_stays() {
        let merged = page(0, 10..20).merged(&page(0, 20..30)).unwrap();
        assert_eq!(merged, page(0, 10..30));
        let merged = page(0, 15..40).merged(&page(0, 10..30)).unwrap();
        assert_eq!(merged, page(0, 10..40));
        assert_eq!(page(0, 12..18).merged(&page(0, 10..30)), None);
        assert_eq!(page(0, 50..60).merged(&page(0, 10..30)), None);
        assert_eq!(
            page(0, 50..90).merged(&page(0, 10..30)),
            Some(page(0, 50..90))
        );
    }

    #[test]
    fn a_read_past_the_end_of_the_object_is_known_to_be_short() {
        let known = Page::of(0, 10, &object(10..30), true).unwrap();
        assert_eq!(known.get(&(20..500)), Some(object(20..30)));
        assert_eq!(known.get(&(5..500)), None);
        assert_eq!(page(0, 10..30).get(&(20..31)), None);
        assert_eq!(page(0, 10..30).get(&(20..30)), Some(object(20..30)));
    }

    proptest! {
        #[test]
        fn pages_survive_and_damage_is_found(
            number in 0_u64..1000, start in 0..PAGE_BYTES, len in 1..PAGE_BYTES, ends: bool,
            at in any::<prop::sample::Index>(), bit in 0_u8..8
        ) {
            let start = number * PAGE_BYTES + start;
            let page = Page::of(number, start, &object(start..start + len), ends).unwrap();
            let encoded = page.encode();
            prop_assert_eq!(Page::decode(number, &encoded).unwrap(), page);
            let mut damaged = encoded.to_vec();
            let at = at.index(damaged.len());
            damaged[at] ^= 1 << bit;
            prop_assert!(Page::decode(number, &damaged.into()).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Page::decode(3, &bytes.into());
        }
    }
}
