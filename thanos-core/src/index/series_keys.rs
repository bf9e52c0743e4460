//! Turns series entries into label keys and chunks, each entry with the help of the one before.
//!
//! The series of an index are sorted, so neighbours share their first labels: those are neither decoded nor looked up
//! again. Of the rest they share most, in stretches between the labels in which they differ: such a stretch is found by
//! comparing bytes, and copied as a whole from the key before. An entry without a chunk in the wanted time costs its checksum and its chunk list only.

use std::sync::Arc;

use super::format::{ChunkMeta, SymbolRef};
use super::key_buffer::KeyBuffer;
use super::labels::{LabelDecoder, out_of_order};
use super::series::decode_chunks;
use super::symbol_places::SymbolPlaces;
use super::symbols::Symbols;
use crate::encoding::{Cursor, Section, varint};
use crate::error::Result;
use crate::labels::LabelsRef;
use crate::time::TimeRange;

/// A decoder of the series of one index, to be reused for many of them, best in their order.
///
/// # Example
///
/// ```
/// use thanos_core::index::{SeriesKeys, Symbols, split_series};
/// use thanos_core::time::TimeRange;
///
/// # fn show(symbols: &Symbols, entry: &[u8]) -> thanos_core::Result<()> {
/// let mut decoder = SeriesKeys::new();
/// let mut chunks = Vec::new();
/// let entry = split_series(entry, 160)?;
/// if let Some(labels) = decoder.decode(symbols, entry, TimeRange::ALL, &mut chunks)? {
///     println!("{labels} has {} chunks", chunks.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct SeriesKeys {
    labels: LabelDecoder,
    /// The table of the series before; `None` when there is none, or it was damaged.
    table_id: Option<u64>,
    /// The references of the labels of the series before, as its entry has them.
    encoded: Vec<u8>,
    /// Its key.
    key: KeyBuffer,
    /// Its labels.
    ends: Vec<LabelEnd>,
    /// The labels of the series before that are not among the first ones that the new one shares with it.
    ends_before: Vec<LabelEnd>,
    /// The end of its key, which is theirs.
    key_before: Vec<u8>,
    /// How many labels are shared, and how long their key is.
    kept: usize,
    key_kept: usize,
    /// The names of two neighbouring labels that are known to be in order, by the position of the first.
    in_order: Vec<(SymbolRef, SymbolRef)>,
}

/// A label, and where it ends in the encoded references and in the key.
#[derive(Debug, Clone, Copy)]
struct LabelEnd {
    encoded: usize,
    key: usize,
    name: SymbolRef,
}

impl SeriesKeys {
    /// Returns a decoder that has seen no series.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a decoder that finds symbols by what others met who share `places`.
    pub fn sharing(places: Arc<SymbolPlaces>) -> Self {
        let mut keys = Self::default();
        keys.labels.share(places);
        keys
    }

    /// Returns the labels of the series in `entry` and puts its chunks that share a time with `range` into `chunks`,
    /// which is cleared first; `None` without such a chunk.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the entry does not have the format, or names unknown symbols or labels out of order.
    pub fn decode(
        &mut self,
        symbols: &Symbols,
        entry: Section<'_>,
        range: TimeRange,
        chunks: &mut Vec<ChunkMeta>,
    ) -> Result<Option<LabelsRef<'_>>> {
        let mut cursor = entry.cursor();
        let count = cursor.uvarint_count(2, "number of labels")?;
        let Some(len) = varint::skip_uvarints(cursor.rest(), 2 * count) else {
            return Err(cursor.corrupt("labels are cut short"));
        };
        let start = cursor.offset();
        let encoded = cursor.bytes(len, "labels")?;
        decode_chunks(cursor, range, chunks)?;
        if chunks.is_empty() {
            return Ok(None);
        }
        let decoded = self.decode_labels(symbols, encoded, start);
        if decoded.is_err() {
            self.table_id = None;
        }
        decoded?;
        Ok(Some(LabelsRef::from_trusted_key(self.key.key())))
    }

    /// Makes `self` describe the series whose labels are `encoded`, at `offset` of the index.
    fn decode_labels(&mut self, symbols: &Symbols, encoded: &[u8], offset: u64) -> Result<()> {
        self.use_table(symbols);
        let last = self.keep_common(encoded);
        let start = last.map_or(0, |label| label.encoded);
        let mut at = start;
        while at < encoded.len() {
            // The first label after those that are shared is another one, and so is the one after a stretch.
            let rest = encoded.get(at..).unwrap_or_default();
            let mut cursor = Cursor::at_offset(rest, offset + at as u64);
            self.push_label(symbols, &mut cursor, encoded.len())?;
            at = encoded.len() - cursor.remaining();
            at += self.copy_stretch(symbols, encoded, at)?;
        }
        self.encoded.truncate(start);
        self.encoded
            .extend_from_slice(encoded.get(start..).unwrap_or_default());
        Ok(())
    }

    /// Decodes the label at the cursor, which ends at `end` of the encoded labels.
    fn push_label(&mut self, symbols: &Symbols, cursor: &mut Cursor<'_>, end: usize) -> Result<()> {
        let name = SymbolRef(cursor.uvarint32("label name reference")?);
        let value = SymbolRef(cursor.uvarint32("label value reference")?);
        let name_text = self.labels.find(symbols, name)?;
        let value_text = self.labels.find(symbols, value)?;
        if let Some(before) = self.ends.last().map(|label| label.name) {
            self.check_order(symbols, before, name)?;
        }
        // A label with an empty value says the same as no label.
        if value_text.place.len > 0 {
            self.key.push(symbols, name_text);
            self.key.push(symbols, value_text);
        }
        self.ends.push(LabelEnd {
            encoded: end - cursor.remaining(),
            key: self.key.len(),
            name,
        });
        Ok(())
    }

    /// Appends the labels at `at` that the series before has at the same positions, and returns the bytes of their
    /// references. A label before them has been decoded.
    fn copy_stretch(&mut self, symbols: &Symbols, encoded: &[u8], at: usize) -> Result<usize> {
        let position = self.ends.len() - self.kept;
        let twin = position.checked_sub(1);
        let Some(&from) = twin.and_then(|twin| self.ends_before.get(twin)) else {
            return Ok(0);
        };
        let old = self.encoded.get(from.encoded..).unwrap_or_default();
        let same = common_prefix(old, encoded.get(at..).unwrap_or_default());
        let rest = self.ends_before.get(position..).unwrap_or_default();
        let count = (rest.iter())
            .take_while(|end| end.encoded - from.encoded <= same)
            .count();
        let (Some(&first), Some(&to)) = (rest.first(), rest[..count].last()) else {
            return Ok(0);
        };
        let before = self.ends.last().map_or(first.name, |label| label.name);
        // After the same name as before it has been checked.
        if before != from.name {
            self.check_order(symbols, before, first.name)?;
        }
        let key_at = self.key.len();
        let base = self.key_kept;
        let piece = self.key_before.get(from.key - base..to.key - base);
        self.key.extend(piece.unwrap_or_default());
        let rest = &self.ends_before[position..position + count];
        self.ends.extend(rest.iter().map(|end| LabelEnd {
            encoded: end.encoded - from.encoded + at,
            key: end.key - from.key + key_at,
            name: end.name,
        }));
        Ok(to.encoded - from.encoded)
    }

    /// Forgets the series before when it is of another table.
    fn use_table(&mut self, symbols: &Symbols) {
        if self.table_id != Some(symbols.id()) {
            self.table_id = Some(symbols.id());
            self.encoded.clear();
            self.ends.clear();
            self.in_order.clear();
            self.labels.use_table(symbols);
        }
    }

    /// Keeps the labels of the series before that `encoded` starts with, and returns the last of them.
    fn keep_common(&mut self, encoded: &[u8]) -> Option<LabelEnd> {
        let same = common_prefix(&self.encoded, encoded);
        let kept = self.ends.iter().take_while(|end| end.encoded <= same);
        self.kept = kept.count();
        self.ends_before.clear();
        self.ends_before.extend(self.ends.drain(self.kept..));
        let last = self.ends.last().copied();
        self.key_kept = last.map_or(0, |label| label.key);
        self.key_before.clear();
        let key = self.key.key().get(self.key_kept..);
        self.key_before.extend_from_slice(key.unwrap_or_default());
        self.key.truncate(self.key_kept);
        last
    }

    /// Checks that the next label, `name`, may follow the last one, whose name is `before`. Neighbouring series mostly have the same
    /// names: then it has been checked.
    #[inline]
    fn check_order(&mut self, symbols: &Symbols, before: SymbolRef, name: SymbolRef) -> Result<()> {
        let known = self.in_order.get_mut(self.ends.len() - 1);
        if known.as_deref() == Some(&(before, name)) {
            return Ok(());
        }
        let before_text = self.labels.find(symbols, before)?;
        let name_text = self.labels.find(symbols, name)?;
        let name_bytes = symbols.bytes_at(name_text.place);
        if symbols.bytes_at(before_text.place) >= name_bytes {
            return Err(out_of_order(name_bytes));
        }
        match known {
            Some(known) => *known = (before, name),
            // Every position before it has been passed.
            None => self.in_order.push((before, name)),
        }
        Ok(())
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
    use std::sync::LazyLock;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::IndexReader;
    use super::super::series::{RawSeries, decode_series_within, split_series};
    use super::super::tests::{dump, v1_index};
    use super::*;
    use crate::encoding::varint::put_uvarint;
    use crate::testkit::{K8sSpec, k8s_index};

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

    /// Checks that `decoder` says of `entry` what the plain decoder says.
    fn check(
        decoder: &mut SeriesKeys,
        index: &IndexReader,
        entry: Section<'_>,
        range: TimeRange,
    ) -> std::result::Result<(), TestCaseError> {
        let mut chunks = Vec::new();
        let found = decoder.decode(index.symbols(), entry, range, &mut chunks);
        let found = found.map(|labels| labels.map(LabelsRef::to_labels));
        match (plainly(index, entry, range), found) {
            (Ok((key, expected)), Ok(found)) => {
                prop_assert_eq!(found.is_some(), !expected.is_empty());
                prop_assert_eq!(
                    found.map_or(Vec::new(), |labels| labels.key().to_vec()),
                    key
                );
                prop_assert_eq!(chunks, expected);
            }
            (Err(_), Err(_)) => {}
            // Labels of a series without chunks are not looked at.
            (Err(_), Ok(found)) => prop_assert_eq!(found, None),
            (Ok(_), Err(error)) => prop_assert!(false, "{error}"),
        }
        Ok(())
    }

    const SERIES: usize = 400;

    /// The same series in both versions of the format.
    static INDEXES: LazyLock<[(Bytes, IndexReader); 2]> = LazyLock::new(|| {
        let spec = K8sSpec {
            series: SERIES,
            ..K8sSpec::default()
        };
        let second = k8s_index(&spec);
        let first = v1_index(&dump(&IndexReader::open("index", second.clone()).unwrap()).unwrap());
        [first, second].map(|bytes| {
            let index = IndexReader::open("index", bytes.clone()).unwrap();
            (bytes, index)
        })
    });

    /// Returns the entries of all series, in their order.
    fn entries<'a>(bytes: &'a Bytes, index: &IndexReader) -> Vec<Section<'a>> {
        let all = index.postings_for_matchers(&[]).unwrap();
        let entry = |reference: u32| {
            let start = index.version().series_offset(reference.into()).unwrap();
            split_series(&bytes[usize::try_from(start).unwrap()..], start).unwrap()
        };
        all.into_vec().into_iter().map(entry).collect()
    }

    proptest! {
        /// Whatever was decoded before, of which index, and whether it was damaged: the answer is that of the plain
        /// decoder. So it is when others share what is known of symbols.
        #[test]
        fn neighbours_do_not_change_the_answer(
            picks in proptest::collection::vec(
                (0..SERIES, 0_usize..300, any::<u8>(), 0_usize..3, 0_usize..2), 1..60),
            ascend in any::<bool>(),
        ) {
            let indexes = &*INDEXES;
            let entries = [0, 1].map(|at: usize| entries(&indexes[at].0, &indexes[at].1));
            let places = indexes.each_ref().map(|(_, index)| Arc::new(SymbolPlaces::new(index.symbols())));
            let mut decoders = [
                SeriesKeys::new(),
                SeriesKeys::sharing(Arc::clone(&places[0])),
                SeriesKeys::sharing(Arc::clone(&places[1])),
                SeriesKeys::sharing(Arc::clone(&places[1])),
            ];
            let mut picks = picks;
            if ascend {
                picks.sort_unstable();
            }
            for (series, flip, mask, decoder, version) in picks {
                let entry = entries[version][series];
                let mut content = entry.content.to_vec();
                if let Some(byte) = content.get_mut(flip) {
                    *byte ^= mask;
                }
                let damaged = Section { content: &content, ..entry };
                let index = &indexes[version].1;
                // The last one keeps to one table; the others may be used for any.
                check(&mut decoders[decoder], index, damaged, TimeRange::ALL)?;
                if version == 1 {
                    check(&mut decoders[3], index, damaged, TimeRange::ALL)?;
                }
            }
        }

        /// Labels in any number and order, names that repeat, symbols that there are not, references that are longer
        /// than they need be.
        #[test]
        fn any_references_are_labels_or_an_error(
            all in proptest::collection::vec(
                proptest::collection::vec((0_u8..80, 0_u8..80, any::<bool>()), 0..5), 1..30),
        ) {
            for (_, index) in &*INDEXES {
                let references: Vec<u32> =
                    index.symbols().iter().map(|symbol| symbol.unwrap().0.0).collect();
                let reference = |pick: u8| references.get(usize::from(pick)).copied().unwrap_or(u32::MAX);
                let mut decoders = [
                    SeriesKeys::new(),
                    SeriesKeys::sharing(Arc::new(SymbolPlaces::new(index.symbols()))),
                ];
                for labels in &all {
                    let mut content = vec![u8::try_from(labels.len()).unwrap()];
                    for (name, value, is_long) in labels {
                        put_uvarint(&mut content, u64::from(reference(*name)));
                        put_uvarint(&mut content, u64::from(reference(*value)));
                        if *is_long && let Some(last) = content.last_mut() {
                            *last |= 0x80;
                            content.push(0);
                        }
                    }
                    // One chunk.
                    content.extend_from_slice(&[1, 2, 2, 8]);
                    let entry = Section { content: &content, offset: 160 };
                    for decoder in &mut decoders {
                        check(decoder, index, entry, TimeRange::ALL)?;
                    }
                }
            }
        }
    }

    #[test]
    fn a_series_outside_the_range_has_no_labels() {
        let [_, (bytes, index)] = &*INDEXES;
        let entry = entries(bytes, index)[0];
        let (mut keys, mut chunks) = (SeriesKeys::new(), Vec::new());
        let nowhere = TimeRange::from_millis(1, 2);
        let found = keys.decode(index.symbols(), entry, nowhere, &mut chunks);
        assert_eq!((found.unwrap(), chunks.len()), (None, 0));
    }
}
