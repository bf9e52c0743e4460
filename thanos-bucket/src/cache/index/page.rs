//! A page of an index: the bytes that are known of [`PAGE_BYTES`] aligned ones.
//!
//! Reads fetch exactly what they need, not whole pages: a cold read costs the same with and without a cache. What was
//! fetched is kept in its pages as runs of bytes, which grow together. So the number of keys is bounded by the bytes of
//! the index, not by its postings lists and series, and entries that lie scattered in a page are there again, too.
//!
//! ```text
//! u8 version 2 | u8 flags: 1 = the object ends with the last run | le16 runs
//! | le32 crc32c of the key, of all before and of all after
//! | runs x (le16 start in page, le16 end among the bytes) | bytes of all runs
//! ```
//!
//! The key is part of the checksum: a cache that has the bytes of another page under it is found out. Runs ascend and do
//! not touch.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use thanos_core::encoding::crc;
use thanos_core::{Error, Result};

/// The bytes of an index that share a key: bookkeeping stays below 2 % of a full page, and reading a page that is in
/// memory costs about as much as finding it.
pub(crate) const PAGE_BYTES: u64 = 16 << 10;
/// The most bytes that a page holds in memory.
pub(crate) const HELD_BYTES_MAX: u64 =
    HEADER_BYTES as u64 + RUNS_MAX as u64 * RUN_BYTES as u64 + PAGE_BYTES;

const VERSION: u8 = 2;
const ENDS_OBJECT: u8 = 1;
const HEADER_BYTES: usize = 8;
const SUM_AT: usize = 4;
/// What the place of a run takes.
const RUN_BYTES: usize = 4;
/// The most runs of a page. Series entries are aligned to 16 bytes, so more of them cannot lie apart in a page.
const RUNS_MAX: usize = 512;
const PAGE_LEN: usize = 16 << 10;

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
    number: u64,
    /// Where each run starts in the page, and where its bytes end in `bytes`; as in the encoding.
    runs: Bytes,
    /// Those of all runs, one behind the other.
    bytes: Bytes,
    /// Whether the object ends where the last run ends.
    ends_object: bool,
}

/// A run of known bytes: where it lies in the page, and where its bytes start among those of all runs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    in_page: Range<usize>,
    at: usize,
}

impl Page {
    /// Returns what `pieces` of an object, each with the offset where it starts, say about page `number`; `None` when
    /// they say nothing. `ends_object` tells that the object ends with the last byte of any piece.
    pub(crate) fn of(number: u64, pieces: &[(u64, Bytes)], ends_object: bool) -> Option<Self> {
        let page_start = number * PAGE_BYTES;
        let page_end = page_start + PAGE_BYTES;
        let mut end = 0;
        let mut clipped: Vec<(usize, Bytes)> = Vec::with_capacity(pieces.len());
        for (start, bytes) in pieces {
            let piece_end = start + bytes.len() as u64;
            end = end.max(piece_end);
            let range = *start.max(&page_start)..piece_end.min(page_end);
            if range.start < range.end {
                let in_page = position(range.start - page_start);
                clipped.push((in_page, slice(bytes, *start, &range)));
            }
        }
        let ends_object = ends_object && end <= page_end;
        match clipped.as_slice() {
            [] => None,
            [(start, bytes)] => Some(Self {
                number,
                runs: encode_runs(std::slice::from_ref(&(*start..*start + bytes.len()))),
                bytes: bytes.clone(),
                ends_object,
            }),
            _ => Some(Self::assemble(
                number,
                &clipped,
                ends_object.then(|| position(end - page_start)),
            )),
        }
    }

    /// Lays `pieces` over each other, the later over the earlier. The object ends at `object_end`, if that is known.
    fn assemble(number: u64, pieces: &[(usize, Bytes)], object_end: Option<usize>) -> Self {
        let mut page = vec![0; PAGE_LEN];
        let mut ranges: Vec<Range<usize>> = Vec::with_capacity(pieces.len());
        for (start, bytes) in pieces {
            let range = *start..*start + bytes.len();
            page[range.clone()].copy_from_slice(bytes);
            ranges.push(range);
        }
        let runs = longest(joined(ranges));
        let mut bytes = BytesMut::with_capacity(runs.iter().map(Range::len).sum());
        for run in &runs {
            bytes.extend_from_slice(&page[run.clone()]);
        }
        Self {
            number,
            runs: encode_runs(&runs),
            bytes: bytes.freeze(),
            // What lies behind the end of an object proves that it does not end there.
            ends_object: object_end.is_some() && object_end == runs.last().map(|run| run.end),
        }
    }

    /// Returns which page it is.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    fn run_count(&self) -> usize {
        self.runs.len() / RUN_BYTES
    }

    /// Returns the run at position `nth`, if there are so many.
    fn run(&self, nth: usize) -> Option<Run> {
        let (start, end) = run_in(&self.runs, nth)?;
        let at = match nth.checked_sub(1) {
            Some(before) => run_in(&self.runs, before)?.1,
            None => 0,
        };
        Some(Run {
            in_page: start..start + (end - at),
            at,
        })
    }

    fn all_runs(&self) -> impl Iterator<Item = Run> {
        (0..self.run_count()).filter_map(|nth| self.run(nth))
    }

    /// Returns the last run that starts at or before `start`.
    fn run_before(&self, start: usize) -> Option<Run> {
        let (mut low, mut high) = (0, self.run_count());
        while low < high {
            let middle = low.midpoint(high);
            if run_in(&self.runs, middle)?.0 <= start {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.run(low.checked_sub(1)?)
    }

    /// Returns how many bytes of memory are held.
    pub(crate) fn held_bytes(&self) -> usize {
        HEADER_BYTES + self.runs.len() + self.bytes.len()
    }

    /// Returns the bytes of `range`, which lies in the page, fewer where the object ends; `None` when some are not known.
    pub(crate) fn get(&self, range: &Range<u64>) -> Option<Bytes> {
        let page_start = self.number * PAGE_BYTES;
        let in_page = |at: u64| at.checked_sub(page_start).map(position);
        let start = in_page(range.start)?;
        let run = self.run_before(start)?;
        let is_last = run.at + run.in_page.len() == self.bytes.len();
        let mut end = in_page(range.end)?;
        if self.ends_object && is_last {
            end = end.min(run.in_page.end);
        }
        if start >= end || end > run.in_page.end {
            return None;
        }
        let at = run.at + (start - run.in_page.start);
        Some(self.bytes.slice(at..at + (end - start)))
    }

    /// Reports whether the object ends in this page.
    pub(crate) fn ends_object(&self) -> bool {
        self.ends_object
    }

    /// Returns what this and `older` know together, with the bytes of this where both know some; `None` when `older`
    /// knows as much.
    pub(crate) fn merged(&self, older: &Self) -> Option<Self> {
        debug_assert_eq!(self.number, older.number, "the same page");
        let mut pieces: Vec<(usize, Bytes)> =
            Vec::with_capacity(self.run_count() + older.run_count());
        for page in [older, self] {
            let piece = |run: Run| {
                let bytes = page.bytes.slice(run.at..run.at + run.in_page.len());
                (run.in_page.start, bytes)
            };
            pieces.extend(page.all_runs().map(piece));
        }
        let end_of = |page: &Self| {
            let last = page.run(page.run_count().checked_sub(1)?)?;
            page.ends_object.then_some(last.in_page.end)
        };
        let object_end = end_of(self).or_else(|| end_of(older));
        let merged = Self::assemble(self.number, &pieces, object_end);
        (merged != *older).then_some(merged)
    }

    /// Returns what is kept under `key`.
    pub(super) fn encode(&self, key: &str) -> Bytes {
        let flags = if self.ends_object { ENDS_OBJECT } else { 0 };
        let count = u16::try_from(self.run_count()).expect("there are at most RUNS_MAX");
        let mut encoded = BytesMut::with_capacity(self.held_bytes());
        encoded.put_u8(VERSION);
        encoded.put_u8(flags);
        encoded.put_u16_le(count);
        let sum = checksum(key, &encoded, &self.runs, &self.bytes);
        encoded.put_u32_le(sum);
        encoded.extend_from_slice(&self.runs);
        encoded.extend_from_slice(&self.bytes);
        encoded.freeze()
    }

    /// Returns page `number` out of what a cache had under `key`.
    pub(super) fn decode(number: u64, key: &str, encoded: &Bytes) -> Result<Self> {
        let corrupt = |message: &str| Error::corrupt(format!("cached page {number}: {message}"));
        let header = encoded
            .first_chunk::<HEADER_BYTES>()
            .ok_or_else(|| corrupt("shorter than its header"))?;
        let [version, flags, count_low, count_high, sum @ ..] = *header;
        if version != VERSION || flags > ENDS_OBJECT {
            return Err(corrupt("unknown version"));
        }
        let count = usize::from(u16::from_le_bytes([count_low, count_high]));
        let runs_end = HEADER_BYTES + count * RUN_BYTES;
        if count > RUNS_MAX || encoded.len() < runs_end {
            return Err(corrupt("more runs than there can be"));
        }
        let runs = encoded.slice(HEADER_BYTES..runs_end);
        let bytes = encoded.slice(runs_end..);
        if checksum(key, &header[..SUM_AT], &runs, &bytes) != u32::from_le_bytes(sum) {
            return Err(corrupt("checksum mismatch"));
        }
        let page = Self {
            number,
            runs,
            bytes,
            ends_object: flags == ENDS_OBJECT,
        };
        if !page.is_sane() {
            return Err(corrupt("runs that cannot be"));
        }
        Ok(page)
    }

    /// Reports whether runs ascend, do not touch, lie in the page and have all bytes.
    fn is_sane(&self) -> bool {
        let (mut page_at, mut bytes_at) = (0, 0);
        for nth in 0..self.run_count() {
            let Some((start, end)) = run_in(&self.runs, nth) else {
                return false;
            };
            let is_apart = nth == 0 || start > page_at;
            if !is_apart || end <= bytes_at {
                return false;
            }
            page_at = start + (end - bytes_at);
            bytes_at = end;
        }
        self.run_count() > 0 && bytes_at == self.bytes.len() && page_at <= PAGE_LEN
    }
}

fn checksum(key: &str, header: &[u8], runs: &[u8], bytes: &[u8]) -> u32 {
    let sum = crc::extend(crc::checksum(key.as_bytes()), header);
    crc::extend(crc::extend(sum, runs), bytes)
}

fn encode_runs(runs: &[Range<usize>]) -> Bytes {
    let mut encoded = BytesMut::with_capacity(runs.len() * RUN_BYTES);
    let put = |encoded: &mut BytesMut, number: usize| {
        encoded.put_u16_le(u16::try_from(number).expect("a page is shorter than 64 KiB"));
    };
    let mut end = 0;
    for run in runs {
        end += run.len();
        put(&mut encoded, run.start);
        put(&mut encoded, end);
    }
    encoded.freeze()
}

/// Returns where run `nth` starts in the page, and where it ends among the bytes.
fn run_in(runs: &[u8], nth: usize) -> Option<(usize, usize)> {
    let [start_low, start_high, end_low, end_high] = *runs.get(nth * RUN_BYTES..)?.first_chunk()?;
    let number = |low, high| usize::from(u16::from_le_bytes([low, high]));
    Some((number(start_low, start_high), number(end_low, end_high)))
}

/// Returns `ranges` sorted, with those made one that touch.
fn joined(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// Returns the longest of `runs`, if they are too many.
fn longest(mut runs: Vec<Range<usize>>) -> Vec<Range<usize>> {
    if runs.len() > RUNS_MAX {
        runs.sort_unstable_by_key(|run| std::cmp::Reverse(run.len()));
        runs.truncate(RUNS_MAX);
        runs.sort_unstable_by_key(|run| run.start);
    }
    runs
}

/// Returns an offset in a page; one that is out of all bounds is as large as can be.
fn position(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// Returns the part `range` of `bytes`, which start at `base`; the caller made sure that it lies in them.
fn slice(bytes: &Bytes, base: u64, range: &Range<u64>) -> Bytes {
    let at = |offset: u64| usize::try_from(offset - base).expect("an offset into bytes in memory");
    bytes.slice(at(range.start)..at(range.end))
}

/// Decodes any bytes as a page, with a checksum that fits: no panic, no more memory than they are, and what is a page is
/// the same one again.
#[cfg(any(test, feature = "testkit"))]
pub(crate) fn fuzz_page(bytes: &[u8]) {
    const KEY: &str = "SP:01M81JDC7R8JKP7SEW1VN2HAQ9:7";
    let _ = Page::decode(7, KEY, &Bytes::copy_from_slice(bytes));
    let (Some(header), Some(rest)) = (bytes.get(..SUM_AT), bytes.get(HEADER_BYTES..)) else {
        return;
    };
    let sum = checksum(KEY, header, rest, &[]).to_le_bytes();
    let encoded: Bytes = [header, &sum, rest].concat().into();
    let Ok(page) = Page::decode(7, KEY, &encoded) else {
        return;
    };
    assert_eq!(page.encode(KEY), encoded);
    for run in page.all_runs() {
        let start = 7 * PAGE_BYTES + run.in_page.start as u64;
        let known = page.get(&(start..start + run.in_page.len() as u64));
        assert_eq!(known.map(|bytes| bytes.len()), Some(run.in_page.len()));
    }
    let _ = page.get(&(7 * PAGE_BYTES..8 * PAGE_BYTES));
    assert_eq!(page.merged(&page), None);
}

#[cfg(test)]
mod tests;
