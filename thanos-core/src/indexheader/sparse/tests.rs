use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::encoding::crc;
use crate::error::{ErrorKind, Result};
use crate::index::pages::PAGE_LEN;
use crate::index::tests::{BLOCK_1K, dump, fixture, v1_index};
use crate::index::{IndexReader, ListGroup, ListLocation, PostingsPlan, SymbolRef};
use crate::indexheader::tests::{GOLDEN, dump_header};
use crate::indexheader::{HeaderSource, IndexHeader, build_header};
use crate::labels::{Labels, MatchOp, Matcher};
use crate::testkit::damage::assert_damage_is_seen;
use crate::testkit::{K8sSpec, index_of, k8s_index};

fn thanos(index: &Bytes) -> IndexHeader {
    let header = Bytes::from(build_header(index).unwrap());
    IndexHeader::open("index-header", header).unwrap()
}

fn sparse_bytes(index: &Bytes) -> Vec<u8> {
    build_sparse_header(&thanos(index)).unwrap()
}

fn open(bytes: Vec<u8>) -> Result<IndexHeader> {
    IndexHeader::open("sparse", Bytes::from(bytes))
}

fn index_of_pairs(series: &[&[(&str, &str)]]) -> Bytes {
    let labels = series
        .iter()
        .map(|pairs| Labels::from_pairs(pairs.iter().copied()));
    let mut labels: Vec<Labels> = labels.collect();
    labels.sort_unstable();
    index_of(&labels, |_| Vec::new())
}

/// Appends parts as the layout has them, each with what it is.
fn le(numbers: &[u64], width: usize) -> Vec<u8> {
    let bytes = numbers.iter().map(|number| number.to_le_bytes());
    bytes.flat_map(|bytes| bytes[..width].to_vec()).collect()
}

/// The bytes by the table of the module, written down without the writer.
#[test]
fn the_layout_is_frozen() {
    let index = index_of_pairs(&[
        &[("job", "api"), ("pod", "a-1")],
        &[("job", "api"), ("pod", "a-2")],
    ]);
    let header = thanos(&index);
    let list = |name, value| header.postings_location(name, value).unwrap().unwrap();
    let all = list("", "");
    let (api, first, second) = (list("job", "api"), list("pod", "a-1"), list("pod", "a-2"));
    assert_eq!((api.end, first.end), (first.offset, second.offset));

    let mut expected = vec![0x7A, 0x5E, 0xAD, 0xE7, 1, 0, 0, 0];
    // The symbols are a-1, a-2, api, job and pod.
    expected.extend(b"a-1a-2apijobpod");
    expected.extend(le(&[0, 3, 6, 9, 12, 15], 4));
    let starts = 8 + 15;
    let rows = starts + 24;
    assert_eq!(expected.len(), rows);
    let end = u64::from(u32::MAX);
    expected.extend(le(&[2, 0, end, api.end - api.offset], 4));
    let second_at = second.offset - first.offset;
    expected.extend(le(&[0, 0, 1, second_at, end, second.end - first.offset], 4));
    let directory = expected.len();
    let checksum = crc::checksum(&expected);
    for (rows, first_list, values, name) in [
        (rows, api.offset, 1, b"job"),
        (rows + 16, first.offset, 2, b"pod"),
    ] {
        expected.extend(le(&[rows as u64, first_list], 8));
        expected.extend(le(&[values], 4));
        expected.push(8);
        expected.extend(le(&[3], 4));
        expected.extend(name);
    }
    let checksums = expected.len();
    expected.extend(le(&[checksum.into()], 4));
    expected.extend(le(&[starts as u64, directory as u64, checksums as u64], 8));
    expected.extend(le(&[index.len() as u64, all.offset, all.end], 8));
    expected.extend(le(&[5, 2, 1, 0], 4));
    expected.extend(&index[index.len() - 56..]);
    let checksum = crc::checksum(&expected[directory..]);
    expected.extend(le(&[checksum.into()], 4));
    assert_eq!(sparse_bytes(&index), expected);
    assert_eq!(expected.len(), checksums + 4 + 124);
    // Whoever changes the layout changes the version: these bytes are in buckets.
    assert_eq!(format!("{:08x}", crc::checksum(&expected)), FROZEN);
}

const FROZEN: &str = "2b8087a6";

/// The lists of a label by their values.
type NamedLists = (String, Vec<(String, ListLocation)>);

/// What a plan says, without the numbers of entries, which differ between layouts.
fn said(header: &IndexHeader, matchers: &[Matcher]) -> Option<[Vec<NamedLists>; 2]> {
    let PostingsPlan::Lists { keep, drop } = header.plan(matchers).unwrap() else {
        return None;
    };
    let group = |group: ListGroup| {
        let value = |entry| header.postings_table().value(entry).unwrap().to_owned();
        let lists = group.lists.iter();
        let lists = lists
            .map(|list| (value(list.entry), list.location))
            .collect();
        (group.name, lists)
    };
    Some([keep, drop].map(|groups| groups.into_iter().map(group).collect()))
}

/// Compares all answers of both layouts.
fn assert_same(index: &Bytes) {
    let (thanos, sparse) = (thanos(index), open(sparse_bytes(index)).unwrap());
    assert!(sparse.is_sparse() && !thanos.is_sparse());
    assert_eq!(sparse.source(), thanos.source());
    assert_eq!(sparse.index_tail(), thanos.index_tail());
    assert_eq!(sparse.label_names(), thanos.label_names());
    assert_eq!(sparse.symbols().len(), thanos.symbols().len());
    for (a, b) in sparse.symbols().iter().zip(thanos.symbols().iter()) {
        let ((symbol, text), expected) = (a.unwrap(), b.unwrap());
        assert_eq!((symbol, text), expected);
        assert_eq!(sparse.symbols().lookup(symbol).unwrap(), text);
        assert_eq!(sparse.symbols().find(text).unwrap(), Some(symbol));
        for absent in [format!("{text}\0"), format!("{text}~~")] {
            assert_eq!(
                sparse.symbols().find(&absent).unwrap(),
                thanos.symbols().find(&absent).unwrap()
            );
        }
    }
    let unknown = SymbolRef(u32::try_from(thanos.symbols().len()).unwrap());
    assert!(sparse.symbols().lookup(unknown).is_err());
    for name in thanos
        .label_names()
        .iter()
        .map(String::as_str)
        .chain(["", "absent"])
    {
        assert_same_values(&sparse, &thanos, name);
    }
    sparse.verify().unwrap();
    assert!(!sparse.is_damaged());
}

fn entries_from(header: &IndexHeader, name: &str, from: &str) -> Vec<(String, ListLocation)> {
    let mut entries = Vec::new();
    let table = header.postings_table();
    table
        .visit_from(name, from, |entry| {
            assert_eq!(table.value(entry.id).unwrap(), entry.value);
            entries.push((entry.value.to_owned(), entry.location));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    entries
}

fn assert_same_values(sparse: &IndexHeader, thanos: &IndexHeader, name: &str) {
    let values = thanos.label_values(name).unwrap();
    assert_eq!(sparse.label_values(name).unwrap(), values);
    assert_eq!(sparse.postings_table().value_count(name), values.len());
    let step = (values.len() / 40).max(1);
    let some = values.iter().step_by(step).cloned();
    let near = some.flat_map(|value| [format!("{value}!"), format!("{value}\u{10FFFF}"), value]);
    for value in near.chain([String::new(), "\u{10FFFF}".to_owned()]) {
        let found = entries_from(sparse, name, &value);
        assert_eq!(found, entries_from(thanos, name, &value));
        assert_eq!(
            sparse.postings_location(name, &value).unwrap(),
            thanos.postings_location(name, &value).unwrap()
        );
    }
    for (op, value) in [
        (MatchOp::Equal, values.first().map_or("x", String::as_str)),
        (MatchOp::NotEqual, "a"),
        (MatchOp::Regex, ".*1.*"),
        (MatchOp::Regex, "a|b|c"),
        (MatchOp::NotRegex, "a.*"),
        (MatchOp::Equal, ""),
    ] {
        let matchers = [Matcher::new(op, name, value).unwrap()];
        assert_eq!(said(sparse, &matchers), said(thanos, &matchers));
    }
}

#[test]
fn a_sparse_header_answers_as_that_of_thanos() {
    for (index, _) in GOLDEN {
        assert_same(&fixture(index));
    }
    // Several pages, and more values than are read at once.
    assert_same(&k8s_index(&K8sSpec {
        series: 60_000,
        samples: 1,
        ..K8sSpec::default()
    }));
    assert_same(&index_of(&[], |_| Vec::new()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_set_of_labels_comes_back(
        series in proptest::collection::btree_set(
            proptest::collection::btree_map("[a-c\u{e9}]{1,2}", "[a-c1]{1,3}", 0..4),
            0..40,
        ),
    ) {
        let series: BTreeSet<BTreeMap<String, String>> = series;
        let mut labels: Vec<Labels> = series
            .iter()
            .map(|labels| Labels::from_pairs(labels.iter()))
            .collect();
        labels.sort_unstable();
        assert_same(&index_of(&labels, |_| Vec::new()));
    }
}

#[test]
fn damage_to_any_byte_is_seen_or_changes_nothing() {
    let index = index_of_pairs(&[
        &[("job", "api"), ("pod", "a-1")],
        &[("job", "api"), ("pod", "a-2")],
        &[("job", "db"), ("zone", "x")],
    ]);
    let (refused, same) = assert_damage_is_seen(&sparse_bytes(&index), 1, dump_header);
    assert!(refused > 0);
    assert_eq!(same, 0);
    let bytes = sparse_bytes(&fixture(BLOCK_1K));
    let (refused, same) = assert_damage_is_seen(&bytes, 31, dump_header);
    assert!(refused > 0);
    assert_eq!(same, 0);
}

/// A damaged page is an error for who needs it, and nothing to the others.
#[test]
fn damage_is_met_where_it_lies() {
    let index = k8s_index(&K8sSpec {
        series: 60_000,
        samples: 1,
        ..K8sSpec::default()
    });
    let mut bytes = sparse_bytes(&index);
    assert!(bytes.len() > 2 * PAGE_LEN);
    bytes[20] ^= 1;
    let header = open(bytes).unwrap();
    let last = SymbolRef(u32::try_from(header.symbols().len() - 1).unwrap());
    header.symbols().lookup(last).unwrap();
    assert!(!header.is_damaged());
    let error = header.symbols().lookup(SymbolRef(1)).unwrap_err();
    assert_eq!(
        (error.kind(), error.offset()),
        (ErrorKind::Corrupt, Some(0))
    );
    assert!(header.is_damaged());
    assert_eq!(header.verify().unwrap_err().file(), Some("sparse"));
}

#[test]
fn an_index_without_a_sparse_header_is_refused() {
    let series = dump(&IndexReader::open("index", fixture(BLOCK_1K)).unwrap()).unwrap();
    let v1 = thanos(&v1_index(&series));
    let error = build_sparse_header(&v1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("version is 1"), "{error}");
}

#[test]
fn a_sparse_header_made_of_a_sparse_header_is_the_same() {
    let bytes = sparse_bytes(&fixture(BLOCK_1K));
    let again = build_sparse_header(&open(bytes.clone()).unwrap()).unwrap();
    assert!(again == bytes);
}

#[test]
fn a_peek_tells_which_index_it_is_of() {
    let index = fixture(BLOCK_1K);
    let bytes = sparse_bytes(&index);
    let header = open(bytes.clone()).unwrap();
    assert_eq!(
        IndexHeader::peek("sparse", &bytes).unwrap(),
        header.source()
    );
    let range = HeaderSource::tail_range(index.len() as u64).unwrap();
    let start = usize::try_from(range.start).unwrap();
    assert_eq!(header.index_tail(), index[start..]);
    for len in 0..bytes.len() {
        assert!(IndexHeader::peek("sparse", &bytes[..len]).is_err());
    }
}

/// Fewer bytes than Thanos' file, in the file and in memory.
#[test]
fn it_is_smaller_than_that_of_thanos() {
    let index = k8s_index(&K8sSpec {
        series: 60_000,
        samples: 1,
        ..K8sSpec::default()
    });
    let thanos_bytes = build_header(&index).unwrap();
    let bytes = sparse_bytes(&index);
    assert!(
        bytes.len() < thanos_bytes.len(),
        "{} {}",
        bytes.len(),
        thanos_bytes.len()
    );
    let header = open(bytes).unwrap();
    assert!(header.memory_bytes() < 2000, "{}", header.memory_bytes());
}
