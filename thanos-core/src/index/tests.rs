use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::error::{ErrorKind, Result};
use crate::labels::{Labels, MatchOp, Matcher};
use crate::postings::Postings;
use crate::time::TimeRange;
use bytes::Bytes;

mod corruption;
mod writer;

pub(crate) use crate::testkit::v1_index;

/// Every series of an index with its chunks, as a reader sees them.
pub(crate) type Dump = Vec<(Labels, Vec<ChunkMeta>)>;

pub(crate) fn fixture(path: &str) -> Bytes {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata");
    Bytes::from(std::fs::read(root.join(path)).unwrap())
}

pub(crate) const BLOCK_1K: &str = "block-1k-2h/01M81JDC7R8JKP7SEW1VN2HAQ9/index";

/// Reads everything a lookup can reach: all lists of all values, and every series.
pub(crate) fn dump(index: &IndexReader) -> Result<Dump> {
    let mut scratch = SeriesScratch::default();
    let mut series = Vec::new();
    for reference in &index.all_postings()? {
        index.series(reference.into(), &mut scratch)?;
        series.push((scratch.labels().to_labels(), scratch.chunks().to_vec()));
    }
    Ok(series)
}

/// The series of every label value.
type Lists = BTreeMap<(String, String), Vec<u32>>;

/// Reads the series of every label value from the lists.
fn dump_lists(index: &IndexReader) -> Result<Lists> {
    let mut lists = BTreeMap::new();
    for name in index.label_names() {
        for value in index.label_values(&name)? {
            let list = index.postings(&name, &[&value])?.into_vec();
            lists.insert((name.clone(), value), list);
        }
    }
    Ok(lists)
}

fn open(bytes: Bytes) -> IndexReader {
    IndexReader::open("index", bytes).unwrap()
}

#[test]
fn a_block_of_prometheus_opens_and_its_lists_agree_with_its_series() {
    let index = open(fixture(BLOCK_1K));
    let series = dump(&index).unwrap();
    assert_eq!(series.len(), 1000);
    assert_eq!(
        series.iter().map(|(_, chunks)| chunks.len()).sum::<usize>(),
        3987
    );
    assert!(series.is_sorted_by(|a, b| a.0 < b.0));
    let range = TimeRange::from_millis(1_793_491_200_000, 1_793_498_399_737);
    let mut from_series: BTreeMap<(String, String), Vec<u32>> = BTreeMap::new();
    for (reference, (labels, chunks)) in index.all_postings().unwrap().iter().zip(&series) {
        for chunk in chunks {
            assert!(range.contains(chunk.min_time) && range.contains(chunk.max_time));
        }
        for (name, value) in labels.iter() {
            let key = (name.into_owned(), value.into_owned());
            from_series.entry(key).or_default().push(reference);
        }
    }
    assert_eq!(dump_lists(&index).unwrap(), from_series);
}

#[test]
fn version_1_says_the_same_as_version_2() {
    let v2 = open(fixture(BLOCK_1K));
    let v1 = open(v1_index(&dump(&v2).unwrap()));
    assert_eq!(v1.version(), IndexVersion::V1);
    assert_eq!(dump(&v1).unwrap(), dump(&v2).unwrap());
    assert_eq!(v1.label_names(), v2.label_names());
    for name in v2.label_names() {
        assert_eq!(
            v1.label_values(&name).unwrap(),
            v2.label_values(&name).unwrap()
        );
    }
    let lists = [dump_lists(&v1).unwrap(), dump_lists(&v2).unwrap()];
    let sizes = lists.map(|lists| {
        lists
            .into_iter()
            .map(|(key, list)| (key, list.len()))
            .collect::<Vec<_>>()
    });
    assert_eq!(sizes[0], sizes[1]);
}

#[test]
fn memory_is_a_small_part_of_the_file() {
    let index = open(fixture(BLOCK_1K));
    assert!(
        index.memory_bytes() < index.bytes().len() / 20,
        "{}",
        index.memory_bytes()
    );
}

#[test]
fn chunks_are_cut_to_the_range_asked_for() {
    let index = open(fixture(BLOCK_1K));
    let mut scratch = SeriesScratch::default();
    let first = index.all_postings().unwrap().iter().next().unwrap();
    index.series(first.into(), &mut scratch).unwrap();
    let all = scratch.chunks().to_vec();
    let second = all[1].time_range();
    index
        .series_within(first.into(), second, &mut scratch)
        .unwrap();
    assert_eq!(scratch.chunks(), &all[1..2]);
}

#[test]
fn references_to_nothing_are_corrupt() {
    let index = open(fixture(BLOCK_1K));
    let mut scratch = SeriesScratch::default();
    for reference in [0, 1, u64::from(u32::MAX), u64::MAX, 7] {
        let error = index
            .series(SeriesRef(reference), &mut scratch)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(error.file(), Some("index"));
    }
}

/// All series of the fixture, for matching them one by one.
fn brute_force(index: &IndexReader, matchers: &[Matcher]) -> Vec<u32> {
    let all = index.all_postings().unwrap();
    let series = dump(index).unwrap();
    let matching = all.iter().zip(&series).filter(|(_, (labels, _))| {
        matchers
            .iter()
            .all(|matcher| matcher.matches_labels(labels.as_ref()))
    });
    matching.map(|(reference, _)| reference).collect()
}

/// Cases of `TestPostingsForMatchers` in Prometheus' `tsdb/querier_test.go`, on labels of the fixture.
#[test]
fn matchers_select_what_matching_one_by_one_selects() {
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    let table: &[&[(&str, MatchOp, &str)]] = &[
        &[],
        &[("__name__", Equal, "edge")],
        &[("__name__", Equal, "nothing")],
        &[("nothing", Equal, "x")],
        &[("case", Equal, "")],
        &[("case", NotEqual, "")],
        &[("case", NotEqual, "nan")],
        &[("nothing", NotEqual, "x")],
        &[("nothing", Equal, "")],
        &[("nothing", NotEqual, "")],
        &[("", Equal, "")],
        &[("", Equal, "x")],
        &[("__name__", Equal, "edge"), ("case", NotEqual, "nan")],
        &[("__name__", Equal, "edge"), ("case", Equal, "")],
        &[("case", NotEqual, ""), ("case", NotEqual, "nan")],
        &[("case", NotEqual, ""), ("case", Equal, "")],
        &[("case", Regex, "nan|zero"), ("__name__", Equal, "edge")],
        &[("case", Regex, "n.*")],
        &[("case", Regex, ".*n.*")],
        &[("case", Regex, ".+")],
        &[("case", Regex, ".*")],
        &[("case", Regex, "")],
        &[("case", Regex, "nan|")],
        &[("case", Regex, "nan|"), ("case", NotEqual, "")],
        &[("case", NotRegex, "nan|zero")],
        &[("case", NotRegex, "nan|")],
        &[("case", NotRegex, ".+")],
        &[("case", NotRegex, ".*")],
        &[("case", NotRegex, "")],
        &[("case", NotRegex, "n.*"), ("case", Regex, ".+")],
        &[
            ("__name__", Regex, "go_.*"),
            ("case", NotRegex, ".+"),
            ("quantile", Equal, ""),
        ],
        &[("__name__", NotRegex, "go_.*"), ("le", Regex, "0.*|1")],
        &[
            ("__name__", Regex, "edge|up"),
            ("case", NotRegex, "z.*"),
            ("job", NotEqual, ""),
        ],
    ];
    let v2 = open(fixture(BLOCK_1K));
    let v1 = open(v1_index(&dump(&v2).unwrap()));
    for index in [&v1, &v2] {
        for case in table {
            let matchers: Vec<_> = case
                .iter()
                .map(|(name, op, value)| Matcher::new(*op, name, value).unwrap())
                .collect();
            let found = index.postings_for_matchers(&matchers).unwrap();
            assert_eq!(
                found.into_vec(),
                brute_force(index, &matchers),
                "{matchers:?}"
            );
        }
    }
}

#[test]
fn labels_of_a_selection_are_those_of_its_series() {
    let index = open(fixture(BLOCK_1K));
    let all = index.all_postings().unwrap().into_vec();
    let series = dump(&index).unwrap();
    for picked in [
        vec![],
        vec![0],
        vec![3, 500],
        (0..1000).collect::<Vec<usize>>(),
    ] {
        let postings = Postings::from_sorted(picked.iter().map(|i| all[*i]).collect());
        let labels = picked.iter().flat_map(|i| series[*i].0.iter());
        let labels: Vec<_> = labels
            .map(|(n, v)| (n.into_owned(), v.into_owned()))
            .collect();
        let names: BTreeSet<_> = labels.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(
            index.label_names_for(&postings).unwrap(),
            Vec::from_iter(names)
        );
        for name in ["__name__", "instance", "case", "nothing"] {
            let values: BTreeSet<_> = labels
                .iter()
                .filter(|(n, _)| n == name)
                .map(|(_, v)| v.clone())
                .collect();
            let found = index.label_values_for(name, &postings).unwrap();
            assert_eq!(found, Vec::from_iter(values), "{name}");
        }
    }
}

fn any_matcher(labels: Vec<(String, String)>) -> impl Strategy<Value = Matcher> {
    let op = prop::sample::select(vec![
        MatchOp::Equal,
        MatchOp::NotEqual,
        MatchOp::Regex,
        MatchOp::NotRegex,
    ]);
    let form = 0_usize..6;
    (
        op,
        prop::sample::select(labels.clone()),
        prop::sample::select(labels),
        form,
    )
        .prop_map(|(op, (name, value), (_, other), form)| {
            let is_regex = matches!(op, MatchOp::Regex | MatchOp::NotRegex);
            let quoted = |text: &str| -> String {
                text.chars()
                    .map(|c| if c.is_ascii_alphanumeric() { c } else { '.' })
                    .collect()
            };
            let first = value
                .chars()
                .next()
                .map_or(String::new(), |c| quoted(&c.to_string()));
            let value = match form {
                0 => String::new(),
                _ if !is_regex => value,
                1 => format!("{}|{}", quoted(&value), quoted(&other)),
                2 => format!("{first}.*"),
                3 => format!(".*{first}"),
                4 => format!("{}|", quoted(&value)),
                _ => ".+".to_owned(),
            };
            Matcher::new(op, &name, &value).unwrap()
        })
}

#[test]
fn any_matchers_select_what_matching_one_by_one_selects() {
    let index = open(fixture(BLOCK_1K));
    let pairs: Vec<_> = dump_lists(&index).unwrap().into_keys().collect();
    let series = dump(&index).unwrap();
    let all = index.all_postings().unwrap().into_vec();
    let config = ProptestConfig::with_cases(200);
    let strategy = proptest::collection::vec(any_matcher(pairs), 1..4);
    proptest!(config, |(matchers in strategy)| {
        let found = index.postings_for_matchers(&matchers).unwrap().into_vec();
        let expected: Vec<u32> = all
            .iter()
            .zip(&series)
            .filter(|(_, (labels, _))| matchers.iter().all(|m| m.matches_labels(labels.as_ref())))
            .map(|(reference, _)| *reference)
            .collect();
        prop_assert_eq!(found, expected, "{:?}", matchers);
    });
}
