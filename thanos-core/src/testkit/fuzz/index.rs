//! Index, index-header, series entries and postings lists.
//!
//! An index has two entry points: the bytes as a file, and the bytes as the contents of sections whose checksums
//! are made right, because no fuzzer guesses a checksum.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::encoding::{Cursor, Section, crc};
use crate::error::Result;
use crate::index::{
    INDEX_MAGIC, IndexReader, RawSeries, SeriesScratch, Toc, decode_series, split_series,
};
use crate::indexheader::{IndexHeader, build_header, build_sparse_header, reseal};
use crate::labels::{MatchOp, Matcher};
use crate::postings::{decode_postings, split_postings};

/// Reads `data` as an index.
pub fn index(data: &[u8]) {
    let _ = read_index(Bytes::copy_from_slice(data));
}

/// Reads `data` as the contents of the sections of an index.
pub fn index_sections(data: &[u8]) {
    if let Ok(index) = join_index(data) {
        let index = Bytes::from(index);
        let _ = read_index(index.clone());
        if let Ok(header) = build_header(&index) {
            let header = Bytes::from(header);
            let _ = read_header(header.clone());
            let sparse = IndexHeader::open("index-header", header);
            if let Ok(sparse) = sparse.and_then(|header| build_sparse_header(&header)) {
                let _ = read_header(Bytes::from(sparse));
            }
        }
    }
}

/// Reads `data` as an index-header.
pub fn index_header(data: &[u8]) {
    let _ = read_header(Bytes::copy_from_slice(data));
}

/// Reads `data` as a sparse index-header, as it is and with right checksums.
pub fn sparse_index_header(data: &[u8]) {
    let mut data = data.to_vec();
    let _ = read_header(Bytes::from(data.clone()));
    reseal(&mut data);
    let _ = read_header(Bytes::from(data));
}

/// Decodes `data` as a series entry, with and without its frame.
pub fn series_entry(data: &[u8]) {
    let mut series = RawSeries::default();
    let _ = decode_series(
        Section {
            content: data,
            offset: 0,
        },
        &mut series,
    );
    let _ = split_series(data, 0).and_then(|entry| decode_series(entry, &mut series));
}

/// Decodes `data` as a postings list, with and without its frame.
pub fn postings_list(data: &[u8]) {
    let _ = decode_postings(Section {
        content: data,
        offset: 0,
    });
    let _ = split_postings(data, 0).and_then(decode_postings);
}

fn matchers() -> Result<Vec<Matcher>> {
    Ok(vec![
        Matcher::new(MatchOp::Regex, "a", "b.+|c")?,
        Matcher::new(MatchOp::NotEqual, "b", "c")?,
    ])
}

fn read_index(bytes: Bytes) -> Result<()> {
    let index = IndexReader::open("index", bytes)?;
    let mut scratch = SeriesScratch::default();
    for name in index.label_names() {
        for value in index.label_values(&name)? {
            let _ = index.postings(&name, &[&value]);
        }
    }
    let _ = index.postings_for_matchers(&matchers()?);
    for symbol in index.symbols().iter() {
        index.symbols().lookup(symbol?.0)?;
    }
    for reference in &index.all_postings()? {
        let _ = index.series(reference.into(), &mut scratch);
    }
    Ok(())
}

fn read_header(bytes: Bytes) -> Result<()> {
    let header = IndexHeader::open("index-header", bytes)?;
    for symbol in header.symbols().iter() {
        let _ = symbol.and_then(|(symbol, text)| {
            let _ = header.symbols().find(text);
            header.symbols().lookup(symbol)
        });
    }
    let _ = header.postings_location("a", "b");
    header.plan(&matchers()?)?;
    for name in header.label_names() {
        header.postings_table().visit(&name, |entry| {
            assert!(!entry.location.payload().is_empty(), "a list has a number");
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(())
}

/// Makes an index of `data`: a byte for the version, then four parts, each behind its length in 16 bits.
fn join_index(data: &[u8]) -> Result<Vec<u8>> {
    let mut cursor = Cursor::new(data);
    let version = 1 + cursor.u8("version")? % 2;
    let mut part = || {
        let len = cursor.be16("length")?;
        cursor.bytes(usize::from(len).min(cursor.remaining()), "part")
    };
    let (symbols, series, lists, table) = (part()?, part()?, part()?, part()?);
    let mut out = INDEX_MAGIC.to_be_bytes().to_vec();
    out.push(version);
    let mut toc = Toc {
        symbols: out.len() as u64,
        ..Toc::default()
    };
    append_section(&mut out, symbols);
    toc.series = out.len() as u64;
    append_entries(&mut out, series);
    toc.label_indices = out.len() as u64;
    toc.postings = out.len() as u64;
    append_section(&mut out, lists);
    toc.label_index_table = out.len() as u64;
    toc.postings_table = out.len() as u64;
    append_section(&mut out, table);
    toc.encode(&mut out);
    Ok(out)
}

/// Cuts `series` into entries of 32 bytes, each framed and aligned.
fn append_entries(out: &mut Vec<u8>, series: &[u8]) {
    for entry in series.chunks(32) {
        out.resize(out.len().next_multiple_of(16), 0);
        out.push(u8::try_from(entry.len()).unwrap_or(32));
        out.extend_from_slice(entry);
        out.extend_from_slice(&crc::checksum(entry).to_be_bytes());
    }
}

fn append_section(out: &mut Vec<u8>, content: &[u8]) {
    let len = u32::try_from(content.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(content);
    out.extend_from_slice(&crc::checksum(content).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The entry points on random bytes: a short run of what the fuzzer does for hours.
    fn all(data: &[u8]) {
        index(data);
        index_sections(data);
        index_header(data);
        sparse_index_header(data);
        series_entry(data);
        postings_list(data);
    }

    /// A join that is a good index, to be damaged: symbols a, b; series {a="b"}; the list of all; its table.
    fn good_sections() -> Vec<u8> {
        let symbols = [0, 0, 0, 2, 1, b'a', 1, b'b'];
        let series = [1, 0, 1, 1, 2, 2, 8];
        // The symbols end at 21, the series at 32 is number 2, and the lists start behind it at 44.
        let lists = [0, 0, 0, 1, 0, 0, 0, 2];
        let table = [0, 0, 0, 1, 2, 0, 0, 44];
        let mut data = vec![1];
        for part in [&symbols[..], &series, &lists, &table] {
            let len = u16::try_from(part.len()).unwrap();
            data.extend_from_slice(&len.to_be_bytes());
            data.extend_from_slice(part);
        }
        data
    }

    #[test]
    fn sections_with_right_checksums_make_an_index() {
        let index = Bytes::from(join_index(&good_sections()).unwrap());
        let index = IndexReader::open("index", index).unwrap();
        let mut scratch = SeriesScratch::default();
        let all = index.all_postings().unwrap();
        assert_eq!(all.iter().collect::<Vec<_>>(), [2]);
        index.series(2_u32.into(), &mut scratch).unwrap();
        assert_eq!(scratch.labels().to_string(), r#"{a="b"}"#);
    }

    fn good_sparse() -> Vec<u8> {
        let index = Bytes::from(join_index(&good_sections()).unwrap());
        let header = Bytes::from(build_header(&index).unwrap());
        let header = IndexHeader::open("index-header", header).unwrap();
        build_sparse_header(&header).unwrap()
    }

    #[test]
    fn a_resealed_header_is_as_good() {
        let good = good_sparse();
        let mut resealed = good.clone();
        reseal(&mut resealed);
        assert!(resealed == good);
        read_header(Bytes::from(good)).unwrap();
    }

    proptest! {
        #[test]
        fn damaged_sparse_headers_do_no_harm(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut data = good_sparse();
            for (at, value) in changes {
                let at = at.index(data.len());
                data[at] = value;
            }
            sparse_index_header(&data);
        }

        #[test]
        fn random_bytes_do_no_harm(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            all(&data);
        }

        #[test]
        fn damaged_sections_do_no_harm(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut data = good_sections();
            for (at, value) in changes {
                let at = at.index(data.len());
                data[at] = value;
            }
            all(&data);
        }
    }
}
