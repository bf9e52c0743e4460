//! Head, directory and tail of a sparse header.

use bytes::Bytes;

use crate::encoding::{Cursor, crc};
use crate::error::{Error, Result};
use crate::index::pages::page_count;
use crate::index::{IndexVersion, ListLocation, SparseLabel, Toc};
use crate::indexheader::format::{HeaderSource, INDEX_TAIL_LEN, IndexTail};

/// The first eight bytes: the magic and version 1.
pub(super) const HEAD: [u8; 8] = [0x7A, 0x5E, 0xAD, 0xE7, 1, 0, 0, 0];
/// The bytes of the magic.
const MAGIC_LEN: usize = 4;
/// The bytes of the tail.
pub(super) const TAIL_LEN: usize = 6 * 8 + 4 * 4 + INDEX_TAIL_LEN + crc::CRC_LEN;
/// The bytes of an entry of the directory without the name.
const LABEL_LEN: usize = 8 + 8 + 4 + 1 + 4;
/// The bytes of a start.
pub(super) const START_LEN: usize = 4;
/// The bytes of a row with a place of four bytes, and with one of eight.
pub(super) const ROW_LENS: [usize; 2] = [8, 12];

/// Reports whether `bytes` start as a sparse header does, of whatever version.
pub(in crate::indexheader) fn is_sparse(bytes: &[u8]) -> bool {
    bytes.starts_with(&HEAD[..MAGIC_LEN])
}

/// Where the parts of a sparse header lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::indexheader) struct SparseParts {
    pub(in crate::indexheader) source: HeaderSource,
    pub(in crate::indexheader) index_tail: IndexTail,
    /// Where the text ends, which starts behind the head.
    pub(in crate::indexheader) starts: usize,
    pub(in crate::indexheader) directory: usize,
    pub(in crate::indexheader) checksums: usize,
    pub(in crate::indexheader) symbol_count: u32,
    pub(in crate::indexheader) label_count: u32,
    pub(in crate::indexheader) all_series: Option<ListLocation>,
}

impl SparseParts {
    /// Where the text starts.
    pub(in crate::indexheader) const TEXT: usize = HEAD.len();

    /// Decodes and checks head and tail of the sparse header `file`.
    ///
    /// # Errors
    ///
    /// `Corrupt` when it is none of a known version, or damaged there or in between directory and tail.
    pub(in crate::indexheader) fn decode(file: &[u8]) -> Result<Self> {
        if !file.starts_with(&HEAD) {
            let found = file.get(..HEAD.len()).unwrap_or(file);
            let message = format!(
                "not a sparse index-header of a known version: it starts with {found:02x?}"
            );
            return Err(Error::corrupt(message).at(0));
        }
        let tail_start = file.len().checked_sub(TAIL_LEN);
        let tail_start = tail_start
            .filter(|start| *start >= HEAD.len())
            .ok_or_else(|| {
                let message = format!("sparse index-header of {} bytes is cut short", file.len());
                Error::corrupt(message).at(file.len() as u64)
            })?;
        let tail = file.get(tail_start..).unwrap_or_default();
        Self::decode_tail(file, Cursor::at_offset(tail, tail_start as u64))
    }

    fn decode_tail(file: &[u8], mut cursor: Cursor<'_>) -> Result<Self> {
        let tail_start = cursor.offset();
        let [starts, directory, checksums] =
            [le64(&mut cursor)?, le64(&mut cursor)?, le64(&mut cursor)?];
        let index_len = le64(&mut cursor)?;
        let all_series = ListLocation {
            offset: le64(&mut cursor)?,
            end: le64(&mut cursor)?,
        };
        let (symbol_count, label_count) = (le32(&mut cursor)?, le32(&mut cursor)?);
        let (pages, zeros) = (le32(&mut cursor)?, le32(&mut cursor)?);
        let index_tail = cursor.bytes(INDEX_TAIL_LEN, WHAT)?;
        let index_tail: IndexTail = index_tail.try_into().unwrap_or([0; INDEX_TAIL_LEN]);
        let checked = usize::try_from(directory).ok();
        let checked = checked.and_then(|start| file.get(start..file.len() - crc::CRC_LEN));
        let checked = checked.ok_or_else(|| misplaced(tail_start))?;
        crc::verify(WHAT, checked, le32(&mut cursor)?).map_err(|error| error.at(tail_start))?;

        let place = |place: u64| usize::try_from(place).map_err(|_| misplaced(tail_start));
        let parts = Self {
            source: HeaderSource {
                version: IndexVersion::V2,
                toc: Toc::decode(&index_tail[crc::CRC_LEN..], index_len)
                    .map_err(|error| Error::corrupt(error.message()).at(tail_start))?,
                index_len,
            },
            index_tail,
            starts: place(starts)?,
            directory: place(directory)?,
            checksums: place(checksums)?,
            symbol_count,
            label_count,
            all_series: (all_series.end > 0).then_some(all_series),
        };
        let has_pages = page_count(parts.directory) as u64 == u64::from(pages);
        let sums_end = checksums.checked_add(u64::from(pages) * crc::CRC_LEN as u64);
        let is_whole = has_pages && sums_end == Some(tail_start) && zeros == 0;
        let all_is_a_list = parts.all_series.is_none_or(ListLocation::holds_a_list);
        if !is_whole || !all_is_a_list || !parts.in_order() {
            return Err(misplaced(tail_start));
        }
        Ok(parts)
    }

    /// Returns where the rows start, if that can be told.
    fn rows(&self) -> Option<usize> {
        let starts = (self.symbol_count as usize)
            .checked_add(1)?
            .checked_mul(START_LEN)?;
        self.starts.checked_add(starts)
    }

    fn in_order(&self) -> bool {
        let Some(rows) = self.rows() else {
            return false;
        };
        [
            Self::TEXT,
            self.starts,
            rows,
            self.directory,
            self.checksums,
        ]
        .is_sorted()
    }

    /// Appends the tail; what lies between directory and tail is `checked`.
    pub(super) fn append_tail(&self, checked: u32, out: &mut Vec<u8>) {
        let start = out.len();
        let all_series = self
            .all_series
            .map_or((0, 0), |list| (list.offset, list.end));
        for number in [
            self.starts as u64,
            self.directory as u64,
            self.checksums as u64,
            self.source.index_len,
            all_series.0,
            all_series.1,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let pages = u32::try_from(page_count(self.directory)).unwrap_or(u32::MAX);
        for number in [self.symbol_count, self.label_count, pages, 0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.index_tail);
        let checksum = crc::extend(checked, &out[start..]);
        out.extend_from_slice(&checksum.to_le_bytes());
    }

    /// Decodes the directory of the sparse header `file`.
    ///
    /// # Errors
    ///
    /// `Corrupt` when labels are not in ascending order or their rows lie elsewhere than they may.
    pub(in crate::indexheader) fn labels(&self, file: &Bytes) -> Result<Vec<SparseLabel>> {
        let directory = file.get(self.directory..self.checksums).unwrap_or_default();
        let mut cursor = Cursor::at_offset(directory, self.directory as u64);
        let possible = directory.len() / LABEL_LEN;
        let mut labels: Vec<SparseLabel> =
            Vec::with_capacity(possible.min(self.label_count as usize));
        for _ in 0..self.label_count {
            let before = cursor;
            let label = self.label(&mut cursor)?;
            let previous = labels.last().map_or("", |previous| &*previous.name);
            if previous >= &*label.name {
                return Err(before.corrupt("label name is not greater than its predecessor"));
            }
            labels.push(label);
        }
        if !cursor.is_empty() {
            return Err(cursor.corrupt("directory has more than its labels"));
        }
        Ok(labels)
    }

    fn label(&self, cursor: &mut Cursor<'_>) -> Result<SparseLabel> {
        let before = *cursor;
        let (rows, first_list) = (le64(cursor)?, le64(cursor)?);
        let value_count = le32(cursor)?;
        let row_len = usize::from(cursor.u8(WHAT)?);
        let name_len = le32(cursor)? as usize;
        let name = std::str::from_utf8(cursor.bytes(name_len, "label name")?)
            .map_err(|_| before.corrupt("label name is not UTF-8"))?;
        let start = usize::try_from(rows).ok();
        let start = start.filter(|start| self.rows().is_some_and(|rows| rows <= *start));
        let len = (value_count as usize).checked_add(1);
        let len = len.and_then(|rows| rows.checked_mul(row_len));
        let end = start
            .zip(len)
            .and_then(|(start, len)| start.checked_add(len));
        let end = end.filter(|end| *end <= self.directory && ROW_LENS.contains(&row_len));
        let (Some(start), Some(end)) = (start, end) else {
            return Err(before.corrupt(format_args!("rows of label {name:?} are misplaced")));
        };
        Ok(SparseLabel {
            name: name.into(),
            rows: start..end,
            value_count,
            row_len,
            first_list,
        })
    }
}

/// Appends an entry of the directory.
pub(super) fn append_label(label: &SparseLabel, out: &mut Vec<u8>) {
    out.extend_from_slice(&(label.rows.start as u64).to_le_bytes());
    out.extend_from_slice(&label.first_list.to_le_bytes());
    out.extend_from_slice(&label.value_count.to_le_bytes());
    out.push(u8::try_from(label.row_len).unwrap_or(0));
    let name_len = u32::try_from(label.name.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&name_len.to_le_bytes());
    out.extend_from_slice(label.name.as_bytes());
}

const WHAT: &str = "contents of the sparse index-header";

#[cold]
fn misplaced(tail_start: u64) -> Error {
    Error::corrupt("parts of the sparse index-header are out of order").at(tail_start)
}

fn le64(cursor: &mut Cursor<'_>) -> Result<u64> {
    cursor.be64(WHAT).map(u64::swap_bytes)
}

fn le32(cursor: &mut Cursor<'_>) -> Result<u32> {
    cursor.be32(WHAT).map(u32::swap_bytes)
}
