//! The writer against indexes that Prometheus wrote.

use super::*;

/// Writes `index` again with its own symbols, series and chunk references.
fn write_again(index: &IndexReader, label_indices: LabelIndices) -> (Vec<u8>, IndexSummary) {
    let symbols = index.symbols().iter().map(|symbol| symbol.unwrap().1);
    let mut writer = IndexWriter::new(Vec::new(), symbols, label_indices).unwrap();
    for (number, (labels, chunks)) in dump(index).unwrap().iter().enumerate() {
        let mut scratch = SeriesScratch::default();
        let reference = index.all_postings().unwrap().iter().nth(number).unwrap();
        index.series(reference.into(), &mut scratch).unwrap();
        // Both ways to name labels take turns.
        let written = if number % 2 == 0 {
            writer.add_series(labels.as_ref(), chunks)
        } else {
            writer.add_series_by_symbols(scratch.symbols(), chunks)
        };
        assert_eq!(written.unwrap(), SeriesRef::from(reference));
    }
    writer.finish().unwrap()
}

#[test]
fn an_index_of_prometheus_is_written_again_byte_for_byte() {
    for path in [
        BLOCK_1K,
        "compaction/horizontal-out/01M81M50C1GHABPQN27M3727VX/index",
        "compaction/vertical-out/01M81M8JDW22H3NMWT3BD73N4P/index",
        "live-ha-blocks/replica-a/01M81KAF3TAPGCRQH5B9S6EV94/index",
        "live-native-histograms/01M81M0F7ATE6W4XQ32000GMCM/index",
        "thanos-golden/downsample/01M81NXXCYF2E0R3VCTW4QEBJN/index",
    ] {
        let original = fixture(path);
        let index = open(original.clone());
        let (written, summary) = write_again(&index, LabelIndices::Write);
        assert_eq!(summary.toc, index.toc(), "{path}");
        assert_eq!(summary.len, original.len() as u64, "{path}");
        assert!(written == original, "{path}");
    }
}

/// The golden file is what the writer of Prometheus 3.11 (`tsdb/index`) made of the same series.
#[test]
fn without_label_indices_the_index_is_that_of_a_later_prometheus() {
    let original = "compaction/horizontal-out/01M81M50C1GHABPQN27M3727VX/index";
    let index = open(fixture(original));
    let (written, summary) = write_again(&index, LabelIndices::Omit);
    let toc = summary.toc;
    assert_eq!(toc.label_indices, toc.postings);
    assert_eq!(toc.label_index_table, toc.postings_table);
    assert_eq!((summary.series, summary.chunks), (136, 806));
    assert!(written == fixture("compaction/horizontal-out/index.prometheus-3.11"));
    let again = open(Bytes::from(written));
    assert_eq!(dump(&again).unwrap(), dump(&index).unwrap());
    assert_eq!(dump_lists(&again).unwrap(), dump_lists(&index).unwrap());
}

#[test]
fn an_index_without_series_opens() {
    let none: [&str; 0] = [];
    for label_indices in [LabelIndices::Omit, LabelIndices::Write] {
        let writer = IndexWriter::new(Vec::new(), none, label_indices).unwrap();
        let index = open(Bytes::from(writer.finish().unwrap().0));
        assert!(index.all_postings().unwrap().is_empty());
        assert!(index.label_names().is_empty());
        let matchers = [Matcher::equal("a", "")];
        assert!(index.postings_for_matchers(&matchers).unwrap().is_empty());
    }
}

fn chunk(reference: u64, min_ms: i64, max_ms: i64) -> ChunkMeta {
    ChunkMeta {
        reference: ChunkRef(reference),
        min_time: crate::time::Timestamp::from_millis(min_ms),
        max_time: crate::time::Timestamp::from_millis(max_ms),
    }
}

#[test]
fn what_a_reader_would_refuse_is_not_written() {
    let symbols = ["", "a", "b", "c"];
    let s = SymbolRef;
    let labels = |pairs: &[(u32, u32)]| {
        pairs
            .iter()
            .map(|(n, v)| (s(*n), s(*v)))
            .collect::<Vec<_>>()
    };
    let first = labels(&[(1, 2)]);
    type Case = (&'static str, Vec<(SymbolRef, SymbolRef)>, Vec<ChunkMeta>);
    let cases: [Case; 10] = [
        ("same series", labels(&[(1, 2)]), vec![]),
        ("series before", labels(&[(1, 1)]), vec![]),
        ("names out of order", labels(&[(2, 1), (1, 2)]), vec![]),
        ("name twice", labels(&[(2, 1), (2, 2)]), vec![]),
        ("empty value", labels(&[(2, 0)]), vec![]),
        ("unknown symbol", labels(&[(2, 4)]), vec![]),
        (
            "chunk before that of the last series",
            labels(&[(2, 1)]),
            vec![chunk(7, 0, 1)],
        ),
        (
            "chunks out of order",
            labels(&[(2, 1)]),
            vec![chunk(30, 0, 1), chunk(20, 2, 3)],
        ),
        (
            "chunks that overlap",
            labels(&[(2, 1)]),
            vec![chunk(20, 0, 1), chunk(30, 1, 3)],
        ),
        (
            "chunk that ends first",
            labels(&[(2, 1)]),
            vec![chunk(20, 1, 0)],
        ),
    ];
    for (what, labels, chunks) in cases {
        let mut writer = IndexWriter::new(Vec::new(), symbols, LabelIndices::Omit).unwrap();
        writer
            .add_series_by_symbols(&first, &[chunk(8, 0, 9)])
            .unwrap();
        let error = writer.add_series_by_symbols(&labels, &chunks).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{what}");
    }
    let mut writer = IndexWriter::new(Vec::new(), symbols, LabelIndices::Omit).unwrap();
    let unknown = Labels::from_pairs([("a", "unknown")]);
    assert!(writer.add_series(unknown.as_ref(), &[]).is_err());
}

fn label_sets() -> impl Strategy<Value = BTreeSet<Labels>> {
    let text = || prop::sample::select(vec!["a", "b", "c\u{0}", "\u{e9}", "zz", "10"]);
    let pairs = proptest::collection::vec((text(), text()), 1..4);
    proptest::collection::btree_set(pairs.prop_map(Labels::from_pairs), 0..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_is_written_is_read(sets in label_sets(), omit in any::<bool>()) {
        let texts = sets.iter().flat_map(|labels| labels.iter().flat_map(|(n, v)| [n.into_owned(), v.into_owned()]));
        let symbols: BTreeSet<String> = texts.collect();
        let label_indices = if omit { LabelIndices::Omit } else { LabelIndices::Write };
        let mut writer = IndexWriter::new(Vec::new(), &symbols, label_indices).unwrap();
        let mut series = Dump::new();
        for (number, labels) in (0..).zip(&sets) {
            let chunks = vec![chunk(8 + number, 0, 10), chunk(9 + number, 11, 12)];
            writer.add_series(labels.as_ref(), &chunks).unwrap();
            series.push((labels.clone(), chunks));
        }
        let index = open(Bytes::from(writer.finish().unwrap().0));
        prop_assert_eq!(dump(&index).unwrap(), series);
        for name in index.label_names() {
            for value in index.label_values(&name).unwrap() {
                let found = index.postings(&name, &[&value]).unwrap();
                prop_assert_eq!(found.into_vec(), brute_force(&index, &[Matcher::equal(&name, &value)]));
            }
        }
    }
}
