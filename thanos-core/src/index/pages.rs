//! Checked access to the pages of a file: each is checked when it is first touched, so that opening the file does not
//! read it.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;

use crate::encoding::crc;
use crate::error::{Error, Result};

/// The bytes under one checksum. A look-up touches two or three pages: larger ones would make the first look-ups read
/// and check more than they need, smaller ones would make the list of checksums, which is read at once, longer.
pub(crate) const PAGE_LEN: usize = 16 << 10;
/// The pages that one word of the map has bits for.
const WORD_BITS: usize = u64::BITS as usize;

/// The first bytes of a file, in pages with a checksum each.
#[derive(Debug)]
pub(crate) struct Pages {
    /// The pages and no more.
    bytes: Bytes,
    /// The checksum of each page.
    checksums: Bytes,
    /// A bit for each page, set once it was found to be sound. The bytes never change, so that the bits say nothing
    /// but "do not check again" and need no order among each other.
    sound: Box<[AtomicU64]>,
    is_damaged: AtomicBool,
}

impl Pages {
    /// Returns access to `bytes`; `checksums` are little-endian CRC-32C, one for each page.
    pub(crate) fn new(bytes: Bytes, checksums: Bytes) -> Self {
        let words = page_count(bytes.len()).div_ceil(WORD_BITS);
        Self {
            bytes,
            checksums,
            sound: (0..words).map(|_| AtomicU64::new(0)).collect(),
            is_damaged: AtomicBool::new(false),
        }
    }

    /// Returns the bytes in `range`, from sound pages.
    ///
    /// # Errors
    ///
    /// `Corrupt` when a page is damaged or the range lies beyond the last one.
    #[inline]
    pub(crate) fn get(&self, range: Range<usize>) -> Result<&[u8]> {
        let Some(bytes) = self.bytes.get(range.clone()) else {
            return Err(beyond(&range));
        };
        if !bytes.is_empty() {
            let (first, last) = (range.start / PAGE_LEN, (range.end - 1) / PAGE_LEN);
            for page in first..=last {
                if !self.is_sound(page) {
                    self.check(page)?;
                }
            }
        }
        Ok(bytes)
    }

    /// Reads the 32-bit number at `at`.
    #[inline]
    pub(crate) fn le32(&self, at: usize) -> Result<u32> {
        let bytes = self.get(at..at + 4)?;
        Ok(bytes.try_into().map_or(0, u32::from_le_bytes))
    }

    /// Checks all pages that were not touched yet.
    pub(crate) fn check_all(&self) -> Result<()> {
        let mut unchecked = (0..page_count(self.bytes.len())).filter(|page| !self.is_sound(*page));
        unchecked.try_for_each(|page| self.check(page))
    }

    /// Reports whether a page was found to be damaged.
    pub(crate) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    /// Returns the bytes of memory beside the file.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.sound)
    }

    #[inline]
    fn is_sound(&self, page: usize) -> bool {
        let word = self.sound.get(page / WORD_BITS);
        word.is_some_and(|word| word.load(Ordering::Relaxed) >> (page % WORD_BITS) & 1 == 1)
    }

    #[cold]
    fn check(&self, page: usize) -> Result<()> {
        let start = page * PAGE_LEN;
        let end = self.bytes.len().min(start + PAGE_LEN);
        let bytes = self.bytes.get(start..end).unwrap_or_default();
        let stored = self
            .checksums
            .get(page * crc::CRC_LEN..)
            .unwrap_or_default();
        let stored = stored
            .first_chunk()
            .map_or(0, |stored| u32::from_le_bytes(*stored));
        if let Err(error) = crc::verify("page", bytes, stored) {
            self.is_damaged.store(true, Ordering::Relaxed);
            return Err(error.at(start as u64));
        }
        if let Some(word) = self.sound.get(page / WORD_BITS) {
            word.fetch_or(1 << (page % WORD_BITS), Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Returns the number of pages of `len` bytes.
pub(crate) fn page_count(len: usize) -> usize {
    len.div_ceil(PAGE_LEN)
}

#[cold]
fn beyond(range: &Range<usize>) -> Error {
    Error::corrupt(format!("range {range:?} lies beyond the pages of the file"))
        .at(range.start as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(len: usize, damaged: Option<usize>) -> Pages {
        let mut bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let sums = bytes.chunks(PAGE_LEN).map(crc::checksum);
        let sums: Vec<u8> = sums.flat_map(u32::to_le_bytes).collect();
        if let Some(at) = damaged {
            bytes[at] ^= 4;
        }
        Pages::new(bytes.into(), sums.into())
    }

    #[test]
    fn a_damaged_page_is_refused_and_the_others_are_not() {
        let len = 3 * PAGE_LEN + 5;
        let sound = pages(len, None);
        assert_eq!(
            sound.get(PAGE_LEN - 1..len).unwrap().len(),
            2 * PAGE_LEN + 6
        );
        assert_eq!(sound.le32(0).unwrap(), 0x0302_0100);
        sound.check_all().unwrap();
        assert!(!sound.is_damaged());

        let pages = pages(len, Some(2 * PAGE_LEN));
        for range in [
            0..2 * PAGE_LEN,
            3 * PAGE_LEN..len,
            2 * PAGE_LEN..2 * PAGE_LEN,
        ] {
            pages.get(range).unwrap();
        }
        assert!(!pages.is_damaged());
        for _ in 0..2 {
            let error = pages.get(2 * PAGE_LEN - 1..2 * PAGE_LEN + 1).unwrap_err();
            assert_eq!(error.offset(), Some(2 * PAGE_LEN as u64));
        }
        assert!(pages.is_damaged() && pages.check_all().is_err());
    }

    #[test]
    fn what_lies_beyond_is_refused() {
        let pages = pages(100, None);
        assert!(pages.get(90..101).is_err());
        assert!(pages.le32(97).is_err());
        assert!(
            Pages::new(Bytes::new(), Bytes::new())
                .get(0..0)
                .unwrap()
                .is_empty()
        );
    }
}
