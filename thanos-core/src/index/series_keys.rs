//! Turns series entries into label keys and chunks, each entry with the help of the one before.
//!
//! The series of an index are sorted, so neighbours share their first labels: those are neither decoded nor looked up
//! again. An entry without a chunk in the wanted time costs its checksum and its chunk list only.

use super::format::{ChunkMeta, SymbolRef};
use super::labels::LabelDecoder;
use super::series::decode_chunks;
use super::symbols::Symbols;
use crate::encoding::{Cursor, Section, varint};
use crate::error::Result;
use crate::time::TimeRange;

/// A decoder of the series of one index, to be reused for many of them, best in their order.
///
/// # Example
///
/// ```
/// use thanos_core::index::{SeriesKeys, Symbols, split_series};
/// use thanos_core::labels::LabelsRef;
/// use thanos_core::time::TimeRange;
///
/// # fn show(symbols: &Symbols, entry: &[u8]) -> thanos_core::Result<()> {
/// let mut decoder = SeriesKeys::new();
/// let (mut key, mut chunks) = (Vec::new(), Vec::new());
/// if decoder.decode(symbols, split_series(entry, 160)?, TimeRange::ALL, &mut key, &mut chunks)? {
///     println!("{} has {} chunks", LabelsRef::from_trusted_key(&key), chunks.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct SeriesKeys {
    labels: LabelDecoder,
    /// The table of the series before.
    table_id: Option<u64>,
    /// The references of the labels of the series before, as its entry has them.
    encoded: Vec<u8>,
    /// Its key.
    key: Vec<u8>,
    /// Where each of its labels ends in `encoded` and in `key`.
    ends: Vec<(usize, usize)>,
    pairs: Vec<(SymbolRef, SymbolRef)>,
}

impl SeriesKeys {
    /// Returns a decoder that has seen no series.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the key of the series in `entry` to `key` and puts its chunks that share a time with `range` into
    /// `chunks`, which is cleared first. Without such a chunk the answer is false and `key` is unchanged.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the entry does not have the format, or names unknown symbols or labels out of order.
    pub fn decode(
        &mut self,
        symbols: &Symbols,
        entry: Section<'_>,
        range: TimeRange,
        key: &mut Vec<u8>,
        chunks: &mut Vec<ChunkMeta>,
    ) -> Result<bool> {
        let mut cursor = entry.cursor();
        let count = cursor.uvarint_count(2, "number of labels")?;
        let Some(len) = varint::skip_uvarints(cursor.rest(), 2 * count) else {
            return Err(cursor.corrupt("labels are cut short"));
        };
        let start = cursor.offset();
        let encoded = cursor.bytes(len, "labels")?;
        decode_chunks(cursor, range, chunks)?;
        if chunks.is_empty() {
            return Ok(false);
        }
        let decoded = self.decode_labels(symbols, encoded, start);
        if decoded.is_err() {
            self.table_id = None;
        }
        decoded?;
        key.extend_from_slice(&self.key);
        Ok(true)
    }

    /// Makes `self` describe the series whose labels are `encoded`, at `offset` of the index.
    fn decode_labels(&mut self, symbols: &Symbols, encoded: &[u8], offset: u64) -> Result<()> {
        if self.table_id != Some(symbols.id()) {
            self.table_id = Some(symbols.id());
            self.encoded.clear();
            self.ends.clear();
        }
        let same = common_prefix(&self.encoded, encoded);
        let kept = self.ends.iter().take_while(|end| end.0 <= same).count();
        // The last shared label is decoded again: the order of names is checked from one to the next.
        self.ends.truncate(kept.saturating_sub(1));
        let (encoded_start, key_start) = self.ends.last().copied().unwrap_or((0, 0));
        self.key.truncate(key_start);
        self.pairs.clear();
        let first = self.ends.len();
        let rest = encoded.get(encoded_start..).unwrap_or_default();
        let mut cursor = Cursor::at_offset(rest, offset + encoded_start as u64);
        while !cursor.is_empty() {
            let name = cursor.uvarint32("label name reference")?;
            let value = cursor.uvarint32("label value reference")?;
            self.pairs.push((SymbolRef(name), SymbolRef(value)));
            self.ends.push((encoded.len() - cursor.remaining(), 0));
        }
        self.encoded.truncate(encoded_start);
        self.encoded.extend_from_slice(rest);
        let mut ends = self.ends[first..].iter_mut();
        let ended = |len| {
            if let Some(end) = ends.next() {
                end.1 = len;
            }
        };
        self.labels
            .append_pairs(symbols, &self.pairs, &mut self.key, ended)
    }
}

/// Returns how many bytes `a` and `b` have in common at their start.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let words = a.chunks_exact(8).zip(b.chunks_exact(8));
    let same = words.take_while(|(a, b)| a == b).count() * 8;
    let (a, b) = (&a[same..], &b[same..]);
    same + a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::super::IndexReader;
    use super::super::series::{RawSeries, decode_series_within, split_series};
    use super::*;
    use crate::testkit::{K8sSpec, k8s_index};
    use proptest::prelude::*;

    /// Returns the key and the chunks of a series as the plain decoder has them.
    fn plainly(
        index: &IndexReader,
        entry: Section<'_>,
        range: TimeRange,
    ) -> Result<(Vec<u8>, Vec<ChunkMeta>)> {
        let (mut raw, mut key) = (RawSeries::default(), Vec::new());
        decode_series_within(entry, range, &mut raw)?;
        if !raw.chunks.is_empty() {
            LabelDecoder::new().append_key(index.symbols(), &raw.labels, &mut key)?;
        }
        Ok((key, raw.chunks))
    }

    proptest! {
        /// Whatever was decoded before, and whether it was damaged: the answer is that of the plain decoder.
        #[test]
        fn neighbours_do_not_change_the_answer(
            picks in proptest::collection::vec((0_usize..400, 0_usize..300, any::<u8>()), 1..60)
        ) {
            let spec = K8sSpec { series: 400, ..K8sSpec::default() };
            let bytes = k8s_index(&spec);
            let index = IndexReader::open("index", bytes.clone()).unwrap();
            let all: Vec<u32> = index.postings_for_matchers(&[]).unwrap().into_vec();
            let mut decoder = SeriesKeys::new();
            for (series, flip, mask) in picks {
                let start = all[series] as usize * 16;
                let section = split_series(&bytes[start..], start as u64).unwrap();
                let mut content = section.content.to_vec();
                if let Some(byte) = content.get_mut(flip) {
                    *byte ^= mask;
                }
                let entry = Section { content: &content, offset: section.offset };
                let (mut key, mut chunks) = (Vec::new(), Vec::new());
                let found = decoder.decode(index.symbols(), entry, TimeRange::ALL, &mut key, &mut chunks);
                match (plainly(&index, entry, TimeRange::ALL), found) {
                    (Ok(expected), Ok(found)) => {
                        prop_assert_eq!(found, !expected.1.is_empty());
                        prop_assert_eq!((key, chunks), expected);
                    }
                    (Err(_), Err(_)) => {}
                    // Labels of a series without chunks are not looked at.
                    (Err(_), Ok(found)) => prop_assert!(!found),
                    (Ok(_), Err(error)) => prop_assert!(false, "{error}"),
                }
            }
        }
    }

    #[test]
    fn a_series_outside_the_range_leaves_the_key_alone() {
        let spec = K8sSpec {
            series: 10,
            ..K8sSpec::default()
        };
        let bytes = k8s_index(&spec);
        let index = IndexReader::open("index", bytes.clone()).unwrap();
        let start = index.postings_for_matchers(&[]).unwrap().into_vec()[0] as usize * 16;
        let entry = split_series(&bytes[start..], start as u64).unwrap();
        let (mut key, mut chunks) = (b"kept".to_vec(), Vec::new());
        let nowhere = TimeRange::from_millis(1, 2);
        let found =
            SeriesKeys::new().decode(index.symbols(), entry, nowhere, &mut key, &mut chunks);
        assert!(!found.unwrap());
        assert_eq!((key.as_slice(), chunks.len()), (b"kept".as_slice(), 0));
    }
}
