//! What an index has after its series: postings lists, the tables of them, and the table of contents.

use std::io::Write;

use super::format::{POSTINGS_ALIGN, SymbolRef, Toc};
use super::postings_builder::{LabelPair, SortedPostings};
use super::sink::Sink;
use super::symbol_ids::SymbolIds;
use super::writer::LabelIndices;
use crate::encoding::varint::{put_uvarint, uvarint_len};
use crate::error::{Error, Result};

/// The entries of a list that are encoded at a time.
const LIST_PIECE: usize = 16 << 10;

/// An index whose series are written.
#[derive(Debug)]
pub(super) struct Ending<W: Write> {
    pub(super) sink: Sink<W>,
    pub(super) toc: Toc,
    pub(super) symbols: SymbolIds,
    pub(super) label_indices: LabelIndices,
    pub(super) postings: SortedPostings,
}

impl<W: Write> Ending<W> {
    /// Writes the rest, and returns the output, flushed, the places of all sections and the length of the index.
    ///
    /// # Errors
    ///
    /// What the output reports, or `LimitExceeded` when a section outgrows the format or memory its budget.
    pub(super) fn write(mut self) -> Result<(W, Toc, u64)> {
        let index_places = match self.label_indices {
            LabelIndices::Omit => Vec::new(),
            LabelIndices::Write => self.write_label_indices()?,
        };
        self.toc.postings = self.sink.position();
        self.sink.pad(POSTINGS_ALIGN)?;
        let lists_start = self.sink.position();
        self.write_lists()?;
        self.toc.label_index_table = self.sink.position();
        if self.label_indices == LabelIndices::Write {
            self.write_label_index_table(&index_places)?;
        }
        self.toc.postings_table = self.sink.position();
        self.write_postings_table(lists_start)?;
        let mut toc = Vec::new();
        self.toc.encode(&mut toc);
        self.sink.write(&toc)?;
        let len = self.sink.position();
        Ok((self.sink.into_inner()?, self.toc, len))
    }

    /// Writes one section for each label name, and returns where.
    fn write_label_indices(&mut self) -> Result<Vec<(SymbolRef, u64)>> {
        let mut places = Vec::new();
        for values in by_name(self.postings.pairs()) {
            let (Some(first), count) = (values.first(), values.len()) else {
                continue;
            };
            self.sink.pad(POSTINGS_ALIGN)?;
            places.push((first.name, self.sink.position()));
            self.sink
                .start_section(8 + 4 * count as u64, "label index")?;
            self.sink.write_content(&1_u32.to_be_bytes())?;
            self.sink.write_content(&count_u32(count)?.to_be_bytes())?;
            for pair in values {
                let value = self.symbols.number(pair.value).unwrap_or_default();
                self.sink.write_content(&value.0.to_be_bytes())?;
            }
            self.sink.end_section()?;
        }
        Ok(places)
    }

    fn write_label_index_table(&mut self, places: &[(SymbolRef, u64)]) -> Result<()> {
        let mut content = count_u32(places.len())?.to_be_bytes().to_vec();
        for (name, offset) in places {
            content.push(1);
            append_text(&mut content, self.symbols.text(*name).unwrap_or_default());
            put_uvarint(&mut content, *offset);
        }
        self.sink
            .start_section(content.len() as u64, "label index table")?;
        self.sink.write_content(&content)?;
        self.sink.end_section()
    }

    /// Writes the list of all series and those of the label values. Every list is a multiple of 4 bytes long, so
    /// that none needs padding.
    fn write_lists(&mut self) -> Result<()> {
        let Self { sink, postings, .. } = self;
        let mut piece = Vec::new();
        write_list(
            sink,
            postings.series_count(),
            postings.all_series(),
            &mut piece,
        )?;
        postings.for_each_list(|list| {
            let references = list.iter().copied();
            write_list(sink, count_u32(list.len())?, references, &mut piece)
        })
    }

    /// Writes the table; where the lists lie follows from their lengths.
    fn write_postings_table(&mut self, lists_start: u64) -> Result<()> {
        let Self {
            sink,
            symbols,
            postings,
            ..
        } = self;
        let pairs = postings.pairs();
        let text = |symbol| symbols.text(symbol).unwrap_or_default();
        let first_len = list_len(postings.series_count());
        let entries = || {
            let mut next = lists_start + first_len;
            let named = by_name(pairs).flat_map(move |values| {
                let name = values.first().map_or(&[][..], |pair| text(pair.name));
                values.iter().map(move |pair| (name, pair))
            });
            let others = named.map(move |(name, pair)| {
                let offset = next;
                next += list_len(pair.series_count);
                (name, text(pair.value), offset)
            });
            std::iter::once((&[][..], &[][..], lists_start)).chain(others)
        };
        let text_len = |text: &[u8]| uvarint_len(text.len() as u64) + text.len();
        let lens = entries().map(|(name, value, offset)| {
            (1 + text_len(name) + text_len(value) + uvarint_len(offset)) as u64
        });
        sink.start_section(4 + lens.sum::<u64>(), "postings offset table")?;
        sink.write_content(&count_u32(pairs.len() + 1)?.to_be_bytes())?;
        let mut entry = Vec::new();
        for (name, value, offset) in entries() {
            entry.clear();
            entry.push(2);
            append_text(&mut entry, name);
            append_text(&mut entry, value);
            put_uvarint(&mut entry, offset);
            sink.write_content(&entry)?;
        }
        sink.end_section()
    }
}

fn by_name(pairs: &[LabelPair]) -> impl Iterator<Item = &[LabelPair]> {
    pairs.chunk_by(|a, b| a.name == b.name)
}

/// Writes a list of `count` references, encoded piece by piece in `piece`.
fn write_list<W: Write>(
    sink: &mut Sink<W>,
    count: u32,
    references: impl Iterator<Item = u32>,
    piece: &mut Vec<u8>,
) -> Result<()> {
    sink.start_section(4 + 4 * u64::from(count), "postings list")?;
    piece.clear();
    piece.extend_from_slice(&count.to_be_bytes());
    for reference in references {
        piece.extend_from_slice(&reference.to_be_bytes());
        if piece.len() >= 4 * LIST_PIECE {
            sink.write_content(piece)?;
            piece.clear();
        }
    }
    sink.write_content(piece)?;
    sink.end_section()
}

/// Returns the bytes of a list: length, number of entries, entries, checksum.
fn list_len(entries: u32) -> u64 {
    4 + 4 + 4 * u64::from(entries) + 4
}

fn append_text(out: &mut Vec<u8>, text: &[u8]) {
    put_uvarint(out, text.len() as u64);
    out.extend_from_slice(text);
}

fn count_u32(count: usize) -> Result<u32> {
    u32::try_from(count)
        .map_err(|_| Error::limit_exceeded(format!("{count} entries do not fit a section")))
}
