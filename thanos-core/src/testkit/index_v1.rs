//! An encoder of index version 1, which nobody writes any more, to test the reader with.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::encoding::crc;
use crate::encoding::varint::put_uvarint;
use crate::index::{ChunkMeta, INDEX_MAGIC, SymbolRef, Toc, append_entry, append_framed};
use crate::labels::Labels;

const SHORT: &str = "a test's index is short";

fn append_section(out: &mut Vec<u8>, content: &[u8]) {
    out.extend_from_slice(&u32::try_from(content.len()).expect(SHORT).to_be_bytes());
    out.extend_from_slice(content);
    out.extend_from_slice(&crc::checksum(content).to_be_bytes());
}

fn append_text(out: &mut Vec<u8>, text: &str) {
    put_uvarint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Writes `series` with offsets as references, and the postings table in descending order.
///
/// # Panics
///
/// When the index would be longer than 4 GiB.
pub fn v1_index(series: &[(Labels, Vec<ChunkMeta>)]) -> Bytes {
    let mut out = INDEX_MAGIC.to_be_bytes().to_vec();
    out.push(1);
    let mut toc = Toc {
        symbols: 5,
        ..Toc::default()
    };
    let mut symbols: BTreeMap<String, SymbolRef> = BTreeMap::new();
    for (name, value) in series.iter().flat_map(|(labels, _)| labels.iter()) {
        symbols.insert(name.into_owned(), SymbolRef(0));
        symbols.insert(value.into_owned(), SymbolRef(0));
    }
    let mut content = u32::try_from(symbols.len())
        .expect(SHORT)
        .to_be_bytes()
        .to_vec();
    for (text, symbol) in &mut symbols {
        *symbol = SymbolRef(u32::try_from(5 + 4 + content.len()).expect(SHORT));
        append_text(&mut content, text);
    }
    append_section(&mut out, &content);

    toc.series = out.len() as u64;
    let mut lists: BTreeMap<(String, String), Vec<u32>> = BTreeMap::new();
    for (labels, chunks) in series {
        let reference = u32::try_from(out.len()).expect(SHORT);
        lists.entry(Default::default()).or_default().push(reference);
        let mut refs = Vec::new();
        for (name, value) in labels.iter() {
            refs.push((symbols[&*name], symbols[&*value]));
            let key = (name.into_owned(), value.into_owned());
            lists.entry(key).or_default().push(reference);
        }
        let mut entry = Vec::new();
        append_entry(&mut entry, &refs, chunks);
        append_framed(&mut out, &entry);
    }
    toc.label_indices = out.len() as u64;
    toc.postings = out.len() as u64;
    let mut table = u32::try_from(lists.len())
        .expect(SHORT)
        .to_be_bytes()
        .to_vec();
    for ((name, value), list) in lists.iter().rev() {
        table.push(2);
        append_text(&mut table, name);
        append_text(&mut table, value);
        put_uvarint(&mut table, out.len() as u64);
        let mut content = u32::try_from(list.len())
            .expect(SHORT)
            .to_be_bytes()
            .to_vec();
        content.extend(list.iter().flat_map(|reference| reference.to_be_bytes()));
        append_section(&mut out, &content);
    }
    toc.label_index_table = out.len() as u64;
    toc.postings_table = out.len() as u64;
    append_section(&mut out, &table);
    toc.encode(&mut out);
    Bytes::from(out)
}
