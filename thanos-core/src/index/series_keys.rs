//! Turns series entries into label keys and chunks, each entry with the help of the one before.
//!
//! The series of an index are sorted, so neighbours share most of their labels. Where the references of a label are the
//! bytes that the series before has at that place, nothing is decoded or looked up: the key of a whole stretch of such
//! labels, with the name of the one that ends it, is one copy from the key before. What is left are the values in which
//! neighbours differ. An entry without a chunk in the wanted time costs its checksum and its chunk list only.

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
    /// The series before.
    before: Known,
    /// The series that is being decoded.
    now: Known,
    /// The names of two neighbouring labels that are known to be in order, by the position of the first.
    in_order: Vec<Option<(SymbolRef, SymbolRef)>>,
}

/// A series, and where its labels are in it.
#[derive(Debug, Clone, Default)]
struct Known {
    /// The references of its labels, as its entry has them.
    encoded: Vec<u8>,
    key: KeyBuffer,
    labels: Vec<LabelPlace>,
}

/// Where a label ends; it starts where the one before ends.
#[derive(Debug, Clone, Copy)]
struct LabelPlace {
    /// The ends of the references of its name and of its value.
    encoded_name: usize,
    encoded: usize,
    /// The ends of its name and of its value in the key; both where it starts when its value is empty.
    key_name: usize,
    key: usize,
    name: SymbolRef,
}

/// A place between two labels.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    /// How many labels come before it.
    label: usize,
    encoded: usize,
    key: usize,
}

impl Known {
    /// Returns the place in front of label number `label`.
    #[inline]
    fn mark(&self, label: usize) -> Mark {
        let last = label.checked_sub(1).and_then(|last| self.labels.get(last));
        Mark {
            label,
            encoded: last.map_or(0, |last| last.encoded),
            key: last.map_or(0, |last| last.key),
        }
    }

    fn clear(&mut self) {
        self.encoded.clear();
        self.key.truncate(0);
        self.labels.clear();
    }
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
        self.use_table(symbols);
        let decoded = self.decode_labels(symbols, encoded, start);
        if decoded.is_err() {
            self.table_id = None;
        }
        decoded?;
        Ok(Some(LabelsRef::from_trusted_key(self.now.key.key())))
    }

    /// Makes `now` the series whose labels are `encoded`, at `offset` of the index.
    fn decode_labels(&mut self, symbols: &Symbols, encoded: &[u8], offset: u64) -> Result<()> {
        std::mem::swap(&mut self.before, &mut self.now);
        self.now.clear();
        self.now.encoded.extend_from_slice(encoded);
        let mut at = 0;
        // The label of the series before that lines up with the next one, and whether the last one has the name of the
        // label in front of it.
        let mut twin = Mark::default();
        let mut lines_up = true;
        while at < encoded.len() {
            let rest = encoded.get(at..).unwrap_or_default();
            let old = self.before.encoded.get(twin.encoded..).unwrap_or_default();
            let same = common_prefix(old, rest);
            let old = self.before.labels.get(twin.label..).unwrap_or_default();
            let whole = old
                .iter()
                .take_while(|label| label.encoded - twin.encoded <= same);
            let whole = whole.count();
            // The value may differ in the label behind them, and its name not.
            let half = old.get(whole).copied().filter(|label| {
                label.encoded_name - twin.encoded <= same && label.key_name < label.key
            });
            let first = old.first().map(|label| label.name);
            if whole == 0 && half.is_none() {
                let mut cursor = Cursor::at_offset(rest, offset + at as u64);
                let name = self.push_label(symbols, &mut cursor, encoded.len())?;
                at = encoded.len() - cursor.remaining();
                (twin, lines_up) = self.line_up(twin, name);
                continue;
            }
            if !lines_up && let (Some(last), Some(first)) = (self.now.labels.last(), first) {
                self.check_order(symbols, last.name, first)?;
            }
            lines_up = true;
            at = match half {
                None => {
                    let end = self.before.mark(twin.label + whole);
                    let end_at = at + end.encoded - twin.encoded;
                    self.copy(twin, end, at, end.key);
                    twin = end;
                    end_at
                }
                Some(half) => {
                    let end = self.before.mark(twin.label + whole);
                    let value_at = at + half.encoded_name - twin.encoded;
                    self.copy(twin, end, at, half.key_name);
                    twin = self.before.mark(end.label + 1);
                    self.push_value(symbols, encoded, offset, value_at, half.name)?
                }
            };
        }
        Ok(())
    }

    /// Appends the labels between two places of the series before, and what its key has from there up to `key_end`; the
    /// first of them lies at `at` of the encoded labels.
    #[inline]
    fn copy(&mut self, from: Mark, to: Mark, at: usize, key_end: usize) {
        let key_at = self.now.key.len();
        let (before, now) = (&self.before, &mut self.now);
        now.key.extend(&before.key, from.key..key_end);
        let labels = before.labels.get(from.label..to.label).unwrap_or_default();
        now.labels.extend(labels.iter().map(|label| LabelPlace {
            encoded_name: label.encoded_name - from.encoded + at,
            encoded: label.encoded - from.encoded + at,
            key_name: label.key_name - from.key + key_at,
            key: label.key - from.key + key_at,
            name: label.name,
        }));
    }

    /// Decodes the value at `at` of the encoded labels, whose name the key ends with; returns where it ends.
    #[inline]
    fn push_value(
        &mut self,
        symbols: &Symbols,
        encoded: &[u8],
        offset: u64,
        at: usize,
        name: SymbolRef,
    ) -> Result<usize> {
        let rest = encoded.get(at..).unwrap_or_default();
        let (value, len) = match varint::read_short_uvarint32(rest) {
            Some(found) => found,
            None => {
                let mut cursor = Cursor::at_offset(rest, offset + at as u64);
                let value = cursor.uvarint32("label value reference")?;
                (value, rest.len() - cursor.remaining())
            }
        };
        let text = match self.labels.known(SymbolRef(value)) {
            Some(text) => text,
            None => self.labels.find(symbols, SymbolRef(value))?,
        };
        let now = &mut self.now;
        let mut key_name = now.key.len();
        if text.place.len > 0 {
            now.key.push(symbols, text);
        } else {
            // A label with an empty value says the same as no label.
            key_name = now.labels.last().map_or(0, |label| label.key);
            now.key.truncate(key_name);
        }
        now.labels.push(LabelPlace {
            encoded_name: at,
            encoded: at + len,
            key_name,
            key: now.key.len(),
            name,
        });
        Ok(at + len)
    }

    /// Decodes the label at the cursor, which ends at `end` of the encoded labels; returns its name.
    fn push_label(
        &mut self,
        symbols: &Symbols,
        cursor: &mut Cursor<'_>,
        end: usize,
    ) -> Result<SymbolRef> {
        let name = SymbolRef(cursor.uvarint32("label name reference")?);
        let encoded_name = end - cursor.remaining();
        let value = SymbolRef(cursor.uvarint32("label value reference")?);
        let name_text = self.labels.find(symbols, name)?;
        let value_text = self.labels.find(symbols, value)?;
        if let Some(before) = self.now.labels.last().map(|label| label.name) {
            self.check_order(symbols, before, name)?;
        }
        let key = &mut self.now.key;
        let mut key_name = key.len();
        // A label with an empty value says the same as no label.
        if value_text.place.len > 0 {
            key.push(symbols, name_text);
            key_name = key.len();
            key.push(symbols, value_text);
        }
        self.now.labels.push(LabelPlace {
            encoded_name,
            encoded: end - cursor.remaining(),
            key_name,
            key: key.len(),
            name,
        });
        Ok(name)
    }

    /// Returns the place of the series before that comes after `name`, not in front of `twin`, and whether the label in
    /// front of that place has this name. References ascend with their texts, so that a label more or less does not keep
    /// all later ones from being found; were it otherwise, the labels would only be decoded one by one.
    fn line_up(&self, twin: Mark, name: SymbolRef) -> (Mark, bool) {
        let rest = self.before.labels.get(twin.label..).unwrap_or_default();
        let smaller = rest.iter().take_while(|label| label.name < name).count();
        let lines_up = rest.get(smaller).is_some_and(|label| label.name == name);
        let label = twin.label + smaller + usize::from(lines_up);
        (self.before.mark(label), lines_up)
    }

    /// Forgets the series before when it is of another table.
    #[inline]
    fn use_table(&mut self, symbols: &Symbols) {
        if self.table_id != Some(symbols.id()) {
            self.table_id = Some(symbols.id());
            self.before.clear();
            self.now.clear();
            self.in_order.clear();
            self.labels.use_table(symbols);
        }
    }

    /// Checks that the next label, `name`, may follow the last one, whose name is `before`. Neighbouring series mostly have
    /// the same names: then it has been checked.
    #[inline]
    fn check_order(&mut self, symbols: &Symbols, before: SymbolRef, name: SymbolRef) -> Result<()> {
        let position = self.now.labels.len();
        if self.in_order.get(position) == Some(&Some((before, name))) {
            return Ok(());
        }
        let before_text = self.labels.find(symbols, before)?;
        let name_text = self.labels.find(symbols, name)?;
        let name_bytes = symbols.bytes_at(name_text.place);
        if symbols.bytes_at(before_text.place) >= name_bytes {
            return Err(out_of_order(name_bytes));
        }
        if self.in_order.len() <= position {
            self.in_order.resize(position + 1, None);
        }
        self.in_order[position] = Some((before, name));
        Ok(())
    }
}

/// Returns how many bytes `a` and `b` have in common at their start.
#[inline]
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let mut same = 0;
    let word = |bytes: &[u8], at: usize| {
        let word = bytes.get(at..)?.first_chunk::<8>()?;
        Some(u64::from_le_bytes(*word))
    };
    while let (Some(a), Some(b)) = (word(a, same), word(b, same)) {
        let differing = a ^ b;
        if differing != 0 {
            return same + differing.trailing_zeros() as usize / 8;
        }
        same += 8;
    }
    let (a, b) = (&a[same..], &b[same..]);
    same + a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::LazyLock;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::series::{RawSeries, decode_series_within, split_series};
    use super::super::tests::{dump, v1_index};
    use super::super::{IndexReader, IndexWriter, LabelIndices};
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

        /// Labels that come and go between neighbours, with values that change, are empty, or take more bytes than before.
        #[test]
        fn labels_come_and_go(
            all in proptest::collection::vec(
                proptest::collection::vec((any::<bool>(), 0_usize..4), 10), 1..30),
        ) {
            let texts = (0..300).map(|number| format!("n{number:03}"));
            let texts: BTreeSet<String> = texts.chain([String::new()]).collect();
            let writer = IndexWriter::new(Vec::new(), texts, LabelIndices::Omit).unwrap();
            let index = IndexReader::open("index", writer.finish().unwrap().0.into()).unwrap();
            let references: Vec<u32> =
                index.symbols().iter().map(|symbol| symbol.unwrap().0.0).collect();
            let shared = SymbolPlaces::new(index.symbols());
            let mut decoders = [SeriesKeys::new(), SeriesKeys::sharing(Arc::new(shared))];
            for picks in &all {
                let labels = picks.iter().enumerate().filter(|(_, (is_there, _))| *is_there);
                let labels = labels.map(|(name, (_, value))| {
                    // The first symbol is the empty one; those from number 128 on take two bytes.
                    (references[20 * name + 5], references[[0, 7, 120, 250][*value]])
                });
                let labels: Vec<(u32, u32)> = labels.collect();
                let mut content = vec![u8::try_from(labels.len()).unwrap()];
                for (name, value) in labels {
                    put_uvarint(&mut content, u64::from(name));
                    put_uvarint(&mut content, u64::from(value));
                }
                content.extend_from_slice(&[1, 2, 2, 8]);
                let entry = Section { content: &content, offset: 160 };
                for decoder in &mut decoders {
                    check(decoder, &index, entry, TimeRange::ALL)?;
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
