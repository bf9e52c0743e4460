//! Indexes and blocks that break the rules of their order, as old and faulty writers left them.
//!
//! The writers of this crate refuse all of this; the formats can hold it, and so readers must know what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;

use crate::block::segment::{CHUNKS_DIR, ChunkWriter};
use crate::block::{BlockId, Compaction, INDEX_FILE, Meta, Stats, ThanosMeta};
use crate::chunk::{ChunkPayload, SeriesChunk};
use crate::encoding::crc;
use crate::encoding::varint::put_uvarint;
use crate::index::{ChunkMeta, INDEX_MAGIC, SERIES_ALIGN, SymbolRef, Toc};
use crate::index::{append_entry, append_framed};
use crate::time::Timestamp;

/// The labels of a series, in the order in which they are to stand in the index.
pub type LabelPairs = Vec<(String, String)>;

/// Returns owned [`LabelPairs`].
pub fn label_pairs(pairs: &[(&str, &str)]) -> LabelPairs {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// Returns an index of `series` just as they are given, in any order.
///
/// # Panics
///
/// When there is more than fits 4 GiB.
pub fn malformed_index(series: &[(LabelPairs, Vec<ChunkMeta>)]) -> Bytes {
    let mut out = INDEX_MAGIC.to_be_bytes().to_vec();
    out.push(2);
    let mut toc = Toc {
        symbols: out.len() as u64,
        ..Toc::default()
    };
    let symbols = append_symbols(&mut out, series);
    toc.series = out.len() as u64;
    let mut lists: BTreeMap<(&str, &str), BTreeSet<u32>> = BTreeMap::new();
    for (labels, chunks) in series {
        while !(out.len() as u64).is_multiple_of(SERIES_ALIGN) {
            out.push(0);
        }
        let reference = small(out.len() / 16);
        lists.entry(("", "")).or_default().insert(reference);
        let mut refs = Vec::new();
        for (name, value) in labels {
            refs.push((symbols[&**name], symbols[&**value]));
            lists.entry((name, value)).or_default().insert(reference);
        }
        let mut entry = Vec::new();
        append_entry(&mut entry, &refs, chunks);
        append_framed(&mut out, &entry);
    }
    append_postings(&mut out, &mut toc, &lists);
    toc.encode(&mut out);
    Bytes::from(out)
}

fn append_symbols<'a>(
    out: &mut Vec<u8>,
    series: &'a [(LabelPairs, Vec<ChunkMeta>)],
) -> BTreeMap<&'a str, SymbolRef> {
    let labels = series.iter().flat_map(|(labels, _)| labels);
    let texts: BTreeSet<&str> = labels
        .flat_map(|(name, value)| [&**name, &**value])
        .collect();
    let mut content = small(texts.len()).to_be_bytes().to_vec();
    for text in &texts {
        append_text(&mut content, text);
    }
    append_section(out, &content);
    (0..)
        .map(SymbolRef)
        .zip(texts)
        .map(|(r, t)| (t, r))
        .collect()
}

fn append_postings(
    out: &mut Vec<u8>,
    toc: &mut Toc,
    lists: &BTreeMap<(&str, &str), BTreeSet<u32>>,
) {
    toc.label_indices = out.len() as u64;
    while !out.len().is_multiple_of(4) {
        out.push(0);
    }
    toc.postings = out.len() as u64;
    let mut table = small(lists.len()).to_be_bytes().to_vec();
    for ((name, value), list) in lists {
        table.push(2);
        append_text(&mut table, name);
        append_text(&mut table, value);
        put_uvarint(&mut table, out.len() as u64);
        let mut content = small(list.len()).to_be_bytes().to_vec();
        content.extend(list.iter().flat_map(|reference| reference.to_be_bytes()));
        append_section(out, &content);
    }
    toc.label_index_table = out.len() as u64;
    toc.postings_table = out.len() as u64;
    append_section(out, &table);
}

fn append_section(out: &mut Vec<u8>, content: &[u8]) {
    out.extend_from_slice(&small(content.len()).to_be_bytes());
    out.extend_from_slice(content);
    out.extend_from_slice(&crc::checksum(content).to_be_bytes());
}

fn append_text(out: &mut Vec<u8>, text: &str) {
    put_uvarint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn small(number: usize) -> u32 {
    u32::try_from(number).expect("a test has less than 4 GiB")
}

/// Writes a block of `series` just as they are given into the database directory `parent`, and returns its meta.json.
///
/// It says of itself that it covers `time`, the first time and the first one after it.
///
/// # Panics
///
/// When the file system refuses, or a chunk holds aggregates.
pub fn malformed_block(
    parent: &Path,
    id: BlockId,
    time: (Timestamp, Timestamp),
    thanos: Option<ThanosMeta>,
    series: &[(LabelPairs, Vec<SeriesChunk>)],
) -> Meta {
    let dir = parent.join(id.to_string());
    std::fs::create_dir_all(&dir).expect("the directory can be made");
    let mut segments = ChunkWriter::with_segment_len_max(&dir.join(CHUNKS_DIR), 1 << 29)
        .expect("the segments can be made");
    let mut indexed = Vec::new();
    for (labels, chunks) in series {
        let raw = chunks.iter().map(|chunk| match &chunk.payload {
            ChunkPayload::Raw(raw) => raw.clone(),
            ChunkPayload::Aggregates(_) => panic!("only raw chunks are written here"),
        });
        let raw: Vec<_> = raw.collect();
        let mut references = Vec::new();
        segments
            .write(&raw, &mut references)
            .expect("the segment can be written");
        let metas = chunks.iter().zip(references);
        let metas = metas.map(|(chunk, reference)| ChunkMeta {
            reference,
            min_time: chunk.min_time,
            max_time: chunk.max_time,
        });
        indexed.push((labels.clone(), metas.collect::<Vec<_>>()));
    }
    segments.finish().expect("the segments can be ended");
    std::fs::write(dir.join(INDEX_FILE), malformed_index(&indexed))
        .expect("the index can be written");
    let meta = Meta {
        ulid: id,
        min_time: time.0,
        max_time: time.1,
        stats: Stats {
            num_series: series.len() as u64,
            num_chunks: indexed.iter().map(|(_, chunks)| chunks.len() as u64).sum(),
            ..Stats::default()
        },
        compaction: Compaction {
            level: 1,
            sources: vec![id],
            ..Compaction::default()
        },
        version: 1,
        thanos,
        ..Meta::default()
    };
    meta.write_dir(&dir).expect("meta.json can be written");
    meta
}
