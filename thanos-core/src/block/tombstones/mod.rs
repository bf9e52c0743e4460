//! Tombstones: which times of which series of a block are deleted.
//!
//! ```text
//! tombstones = magic 0x0130BA30 (4) version 1 (1) { stone } crc32c of the stones (4)
//! stone      = uvarint series-ref  varint first-ms  varint last-ms
//! ```
//!
//! A series is named as its postings name it, and both times are deleted too. The file is small, rewritten whole
//! and optional: without one nothing is deleted. Source: Prometheus `tsdb/docs/format/tombstones.md`.

use std::collections::BTreeMap;
use std::path::Path;

use super::Intervals;
use super::files::{read_capped, write_file_atomic};
use crate::encoding::crc::CRC_LEN;
use crate::encoding::{
    Cursor, crc,
    varint::{put_uvarint, put_varint},
};
use crate::error::{Error, ErrorKind, Result};
use crate::index::SeriesRef;
use crate::time::{TimeRange, Timestamp};

/// The name of the file in its block directory.
pub const TOMBSTONES_FILE: &str = "tombstones";

const MAGIC: u32 = 0x0130_BA30;
const VERSION: u8 = 1;
/// Magic and version.
const HEADER_LEN: usize = 5;
/// About four million deletions; a stone takes up to ten times its bytes in memory.
const TOMBSTONES_BYTES_MAX: u64 = 64 << 20;

/// The deleted times of the series of one block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tombstones {
    series: BTreeMap<SeriesRef, Intervals>,
}

impl Tombstones {
    /// Parses the bytes of a tombstones file.
    ///
    /// # Errors
    ///
    /// `Corrupt` with the offset when they are not one.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut cursor = Cursor::new(bytes);
        let magic = cursor.be32("tombstones magic")?;
        if magic != MAGIC {
            let message = format!("not tombstones: magic is {magic:08x}, expected {MAGIC:08x}");
            return Err(Error::corrupt(message).at(0));
        }
        let version = cursor.u8("tombstones version")?;
        if version != VERSION {
            return Err(Error::corrupt(format!("unknown tombstones version {version}")).at(4));
        }
        let Some(stones_len) = cursor.remaining().checked_sub(CRC_LEN) else {
            return Err(cursor.corrupt("tombstones checksum is cut short"));
        };
        // COMPAT: the checksum leaves the version byte out (Prometheus, tombstones.WriteFile).
        let stones = cursor.bytes(stones_len, "stones")?;
        let stored = cursor.be32("tombstones checksum")?;
        crc::verify("tombstones", stones, stored).map_err(|error| error.at(HEADER_LEN as u64))?;
        Self::parse_stones(Cursor::at_offset(stones, HEADER_LEN as u64))
    }

    fn parse_stones(mut cursor: Cursor<'_>) -> Result<Self> {
        // Gathered first and put in order once: adding stone by stone is quadratic when they come in a bad order.
        let mut gathered = BTreeMap::<SeriesRef, Vec<TimeRange>>::new();
        while !cursor.is_empty() {
            let series = SeriesRef(cursor.uvarint("series of a stone")?);
            let min = Timestamp::from_millis(cursor.varint("first time of a stone")?);
            let max = Timestamp::from_millis(cursor.varint("last time of a stone")?);
            gathered
                .entry(series)
                .or_default()
                .push(TimeRange { min, max });
        }
        let series = gathered
            .into_iter()
            .map(|(series, ranges)| (series, Intervals::from_ranges(ranges)))
            .filter(|(_, intervals)| !intervals.is_empty());
        Ok(Self {
            series: series.collect(),
        })
    }

    /// Returns the bytes of the file, stones sorted by series and time.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_be_bytes().to_vec();
        out.push(VERSION);
        for (series, intervals) in &self.series {
            for range in intervals.ranges() {
                put_uvarint(&mut out, series.0);
                put_varint(&mut out, range.min.as_millis());
                put_varint(&mut out, range.max.as_millis());
            }
        }
        let checksum = crc::checksum(&out[HEADER_LEN..]);
        out.extend_from_slice(&checksum.to_be_bytes());
        out
    }

    /// Reads the tombstones of the block directory `dir`; without a file nothing is deleted.
    ///
    /// # Errors
    ///
    /// As [`Tombstones::parse`], with the name of the file.
    pub fn read_dir(dir: &Path) -> Result<Self> {
        let path = dir.join(TOMBSTONES_FILE);
        match read_capped(&path, TOMBSTONES_BYTES_MAX) {
            Ok(bytes) => {
                Self::parse(&bytes).map_err(|error| error.in_file(path.display().to_string()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the tombstones of the block directory `dir`, atomically.
    ///
    /// # Errors
    ///
    /// What the file system reports.
    pub fn write_dir(&self, dir: &Path) -> Result<()> {
        write_file_atomic(&dir.join(TOMBSTONES_FILE), &self.to_bytes())
    }

    /// Deletes the times of `range` from `series`.
    pub fn add(&mut self, series: SeriesRef, range: TimeRange) {
        if !range.is_empty() {
            self.series.entry(series).or_default().add(range);
        }
    }

    /// Returns what is deleted of `series`, or nothing when nothing is.
    pub fn get(&self, series: SeriesRef) -> Option<&Intervals> {
        self.series.get(&series)
    }

    /// Returns the number of intervals, which meta.json counts as `numTombstones`.
    pub fn total(&self) -> u64 {
        self.iter()
            .map(|(_, intervals)| intervals.ranges().len() as u64)
            .sum()
    }

    /// Reports whether nothing is deleted.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Returns the series with deletions, in the order of their references.
    pub fn iter(&self) -> impl Iterator<Item = (SeriesRef, &Intervals)> {
        self.series
            .iter()
            .map(|(series, intervals)| (*series, intervals))
    }
}

#[cfg(test)]
mod tests;
