use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use bytes::Bytes;

use super::*;
use crate::error::{ErrorKind, Result};
use crate::index::tests::{BLOCK_1K, dump, fixture, v1_index};
use crate::index::{
    IndexReader, IndexVersion, LabelDecoder, RawSeries, SeriesRef, decode_series, split_series,
};
use crate::labels::{LabelsRef, MatchOp, Matcher};
use crate::postings::{decode_postings, split_postings};
use crate::testkit::damage::assert_damage_is_seen;

/// Indexes with the header that Thanos made of each.
pub(super) const GOLDEN: [(&str, &str); 4] = [
    (BLOCK_1K, "block-1k-2h"),
    (
        "thanos-golden/downsample/01M81NXX32QKJ0QNH0E5V8521A/index",
        "01M81NXX32QKJ0QNH0E5V8521A",
    ),
    (
        "thanos-golden/downsample/01M81NXX4XN3TB1RNG6S07B945/index",
        "01M81NXX4XN3TB1RNG6S07B945",
    ),
    (
        "thanos-golden/downsample/01M81NXXCYF2E0R3VCTW4QEBJN/index",
        "01M81NXXCYF2E0R3VCTW4QEBJN",
    ),
];

pub(super) fn golden_header(name: &str) -> Bytes {
    fixture(&format!("thanos-golden/index-header/{name}.index-header"))
}

fn range_of(bytes: &[u8], range: std::ops::Range<u64>) -> &[u8] {
    &bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
}

/// Builds the header as a gateway does: range reads, the sections in parts.
fn build_from_ranges(index: &[u8]) -> Result<Vec<u8>> {
    let index_len = index.len() as u64;
    let toc = HeaderSource::toc_range(index_len)?;
    let head = range_of(index, HeaderSource::head_range());
    let source = HeaderSource::decode(head, range_of(index, toc), index_len)?;
    let mut writer = HeaderWriter::new(Vec::new(), source)?;
    for part in range_of(index, source.symbols()).chunks(1000) {
        writer.write_symbols(part)?;
    }
    for part in range_of(index, source.postings_table()).chunks(1000) {
        writer.write_postings_table(part)?;
    }
    let header = writer.finish()?;
    assert_eq!(header.len() as u64, source.header_len());
    Ok(header)
}

#[test]
fn headers_equal_those_of_thanos() {
    for (index, name) in GOLDEN {
        let (index, golden) = (fixture(index), golden_header(name));
        assert!(build_header(&index).unwrap() == golden, "{name}");
        assert!(build_from_ranges(&index).unwrap() == golden, "{name}");
    }
}

/// Everything a header says, with the references that symbols have in the index.
#[derive(Debug, PartialEq)]
pub(super) struct HeaderDump {
    source: HeaderSource,
    symbols: Vec<(u32, String)>,
    ranges: BTreeMap<(String, String), std::ops::Range<u64>>,
}

pub(super) fn dump_header(bytes: Vec<u8>) -> Result<HeaderDump> {
    let header = IndexHeader::open("index-header", Bytes::from(bytes))?;
    let symbols = header.symbols().iter();
    let symbols = symbols.map(|symbol| symbol.map(|(symbol, text)| (symbol.0, text.to_owned())));
    let symbols = symbols
        .collect::<Result<Vec<_>>>()
        .map_err(|error| error.in_file("index-header"))?;
    let mut ranges = BTreeMap::new();
    let mut names = header.label_names();
    names.push(String::new());
    for name in names {
        for value in header.label_values(&name)? {
            let range = header.postings_range(&name, &value)?.unwrap();
            ranges.insert((name.clone(), value), range);
        }
    }
    Ok(HeaderDump {
        source: header.source(),
        symbols,
        ranges,
    })
}

/// The rule for ranges: behind the length, before the checksum, the end of the last list guessed.
#[test]
fn ranges_hold_the_lists_of_the_index() {
    for (index, name) in GOLDEN {
        let bytes = fixture(index);
        let index = IndexReader::open("index", bytes.clone()).unwrap();
        let header = IndexHeader::open("index-header", golden_header(name)).unwrap();
        assert_eq!(header.label_names(), index.label_names());
        assert_eq!(header.source().toc, index.toc());
        let dump = dump_header(golden_header(name).to_vec()).unwrap();
        let last = dump.ranges.values().map(|range| range.end).max().unwrap();
        assert_eq!(last, index.toc().postings_table - 4);
        for ((name, value), range) in &dump.ranges {
            let expected = index.postings(name, &[value]).unwrap();
            let payload_len = 4 + 4 * expected.len() as u64;
            if range.end == last {
                assert!(range.end - range.start >= payload_len);
            } else {
                assert_eq!(range.end - range.start, payload_len, "{name}={value}");
            }
            // A gateway may also fetch the list whole and check it.
            let location = header.postings_location(name, value).unwrap().unwrap();
            let list = range_of(&bytes, location.offset..location.end);
            let list = split_postings(list, location.offset).unwrap();
            assert_eq!(list.offset, range.start);
            assert_eq!(decode_postings(list).unwrap(), expected);
        }
        assert_eq!(header.postings_range("job", "nothing").unwrap(), None);
        assert_eq!(header.postings_range("nothing", "").unwrap(), None);
        let all = header.postings_range("", "").unwrap().unwrap();
        assert_eq!(
            all.end - all.start,
            4 + 4 * index.all_postings().unwrap().len() as u64
        );
    }
}

#[test]
fn plans_of_header_and_index_agree() {
    for (index, name) in GOLDEN {
        let index = IndexReader::open("index", fixture(index)).unwrap();
        let header = IndexHeader::open("index-header", golden_header(name)).unwrap();
        for (name, op, value) in [
            ("__name__", MatchOp::Equal, "up"),
            ("__name__", MatchOp::Regex, "go_.*|up"),
            ("__name__", MatchOp::NotEqual, "up"),
            ("case", MatchOp::Regex, ".+"),
            ("case", MatchOp::NotRegex, "n.*"),
        ] {
            let matchers = [Matcher::new(op, name, value).unwrap()];
            let expected = crate::index::PostingsPlan::new(index.postings_table(), &matchers);
            assert_eq!(header.plan(&matchers).unwrap(), expected.unwrap());
        }
    }
}

/// The gateway's way to labels: range of the index, symbols of the header.
fn labels_by_header(index: &Bytes, header: &IndexHeader, reference: u32) -> Vec<u8> {
    let series = SeriesRef::from(reference);
    let offset = header.index_version().series_offset(series).unwrap();
    let fetched = &index[usize::try_from(offset).unwrap()..];
    let entry = split_series(fetched, offset).unwrap();
    let (mut raw, mut key) = (RawSeries::default(), Vec::new());
    decode_series(entry, &mut raw).unwrap();
    let mut decoder = LabelDecoder::new();
    decoder
        .append_key(header.symbols(), &raw.labels, &mut key)
        .unwrap();
    key
}

/// References of version 1 are offsets in the index, 9 less than in the header.
#[test]
fn symbols_of_the_header_name_the_labels_of_the_index() {
    let v2 = fixture(BLOCK_1K);
    let series = dump(&IndexReader::open("index", v2.clone()).unwrap()).unwrap();
    let v1 = v1_index(&series);
    for (bytes, version) in [(v1, IndexVersion::V1), (v2, IndexVersion::V2)] {
        let header = Bytes::from(build_header(&bytes).unwrap());
        let header = IndexHeader::open("index-header", header).unwrap();
        assert_eq!(header.index_version(), version);
        let index = IndexReader::open("index", bytes.clone()).unwrap();
        for (reference, (labels, _)) in index.all_postings().unwrap().iter().zip(&series) {
            let key = labels_by_header(&bytes, &header, reference);
            assert_eq!(LabelsRef::from_trusted_key(&key), labels.as_ref());
        }
        assert_eq!(
            header.label_values("job").unwrap(),
            index.label_values("job").unwrap()
        );
    }
}

#[test]
fn ranges_that_are_too_short_or_too_long_are_refused() {
    let index = fixture(BLOCK_1K);
    let toc = HeaderSource::toc_range(index.len() as u64).unwrap();
    let source =
        HeaderSource::decode(&index[..5], range_of(&index, toc), index.len() as u64).unwrap();
    let symbols = range_of(&index, source.symbols());
    let table = range_of(&index, source.postings_table());
    let writer = || HeaderWriter::new(Vec::new(), source).unwrap();
    let mut early = writer();
    early.write_symbols(&symbols[1..]).unwrap();
    assert!(early.write_postings_table(table).is_err());
    let mut long = writer();
    assert!(long.write_symbols(&index[..symbols.len() + 1]).is_err());
    let mut short = writer();
    short.write_symbols(symbols).unwrap();
    short.write_postings_table(&table[1..]).unwrap();
    assert_eq!(short.finish().unwrap_err().kind(), ErrorKind::Invalid);
    assert!(HeaderSource::toc_range(10).is_err());
    assert_eq!(
        HeaderSource::toc_range(1 << 40).unwrap_err().kind(),
        ErrorKind::LimitExceeded
    );
}

#[test]
fn damage_to_any_byte_of_a_header_is_seen() {
    let (refused, same) = assert_damage_is_seen(&golden_header("block-1k-2h"), 3, dump_header);
    assert!(refused > 0);
    assert_eq!(same, 0);
}

#[test]
fn damage_to_a_header_of_version_1_is_seen() {
    let mut series = dump(&IndexReader::open("index", fixture(BLOCK_1K)).unwrap()).unwrap();
    series.truncate(6);
    let header = build_header(&v1_index(&series)).unwrap();
    let (refused, same) = assert_damage_is_seen(&header, 1, dump_header);
    assert!(refused > 0);
    assert_eq!(same, 0);
}

/// ST-07, and ST-35 for version 1, which keeps all places.
#[test]
fn answers_do_not_depend_on_the_sampling() {
    let v2 = fixture(BLOCK_1K);
    let series = dump(&IndexReader::open("index", v2.clone()).unwrap()).unwrap();
    for index in [v1_index(&series), v2] {
        let bytes = Bytes::from(build_header(&index).unwrap());
        let everything = |header: &IndexHeader| {
            let mut all = Vec::new();
            for name in header.label_names() {
                for value in header.label_values(&name).unwrap() {
                    let location = header.postings_location(&name, &value).unwrap();
                    all.push((name.clone(), value, location.unwrap()));
                }
                for absent in ["", "!", "\u{10FFFF}"] {
                    assert_eq!(header.postings_location(&name, absent).unwrap(), None);
                }
            }
            all
        };
        let plain = IndexHeader::open("index-header", bytes.clone()).unwrap();
        let expected = everything(&plain);
        for sampling in [1, 2, 3, 31, 32, 33, usize::MAX] {
            let sampling = NonZeroUsize::new(sampling).unwrap();
            let header = IndexHeader::open_sampled("index-header", bytes.clone(), sampling);
            assert_eq!(everything(&header.unwrap()), expected, "{sampling}");
        }
    }
}

/// A look at head and end tells the index, and only damage there.
#[test]
fn a_peek_tells_which_index_a_header_is_of() {
    let golden = golden_header("block-1k-2h");
    let source = IndexHeader::open("index-header", golden.clone())
        .unwrap()
        .source();
    assert_eq!(IndexHeader::peek("index-header", &golden).unwrap(), source);
    for len in 0..golden.len() {
        let error = IndexHeader::peek("index-header", &golden[..len]).unwrap_err();
        assert_eq!(error.file(), Some("index-header"));
    }
    let toc = golden.len() - HEADER_TOC_LEN - crate::index::TOC_LEN;
    for at in 0..golden.len() {
        let mut damaged = golden.to_vec();
        damaged[at] ^= 0xFF;
        let found = IndexHeader::peek("index-header", &damaged);
        match at {
            0..HEADER_HEAD_LEN => assert!(found.is_err(), "{at}"),
            _ if at >= toc => assert!(found.is_err(), "{at}"),
            _ => assert_eq!(found.unwrap(), source, "{at}"),
        }
    }
}
