use futures::executor::block_on;
use futures::{StreamExt, TryStreamExt, stream};
use proptest::prelude::*;
use thanos_core::ErrorKind;
use thanos_core::budget::MemoryBudget;
use thanos_core::labels::{Labels, LabelsBuilder};
use thanos_core::query::{Missing, SeriesBatchBuilder, SeriesEvent, SeriesStream};

use super::*;

/// Sorted series in batches of `size`.
fn sorted(mut series: Vec<Labels>, size: usize) -> SeriesStream {
    series.sort();
    let batches: Vec<_> = series
        .chunks(size)
        .map(|chunk| {
            let mut batch = SeriesBatchBuilder::new();
            chunk
                .iter()
                .for_each(|labels| batch.push(labels.as_ref(), []));
            Ok(SeriesEvent::Batch(batch.finish()))
        })
        .collect();
    Box::pin(stream::iter(batches))
}

fn collect(stream: SeriesStream) -> thanos_core::Result<Vec<Labels>> {
    let events: Vec<SeriesEvent> = block_on(stream.try_collect())?;
    let mut all = Vec::new();
    for event in events {
        if let SeriesEvent::Batch(batch) = event {
            all.extend(batch.iter().map(|series| series.labels.to_labels()));
        }
    }
    Ok(all)
}

/// What Prometheus would do with one label set, and a plain sort.
fn naive(series: &[Labels], external: &Labels, replica: &[String]) -> Vec<Labels> {
    let mut edited: Vec<_> = series
        .iter()
        .map(|labels| {
            let mut builder = LabelsBuilder::from_labels(labels.as_ref());
            external.iter().for_each(|(name, value)| {
                builder.set(&name, &value);
            });
            replica.iter().for_each(|name| {
                builder.remove(name);
            });
            builder.build()
        })
        .collect();
    edited.sort();
    edited
}

fn label_sets(names: &'static [&'static str]) -> impl Strategy<Value = Vec<Labels>> {
    let label = (
        proptest::sample::select(names),
        proptest::sample::select(vec!["1", "2", "\u{0}"]),
    );
    let set = proptest::collection::vec(label, 0..4).prop_map(Labels::from_pairs);
    proptest::collection::vec(set, 0..40)
}

proptest! {
    #[test]
    fn adding_absent_labels_keeps_the_order(
        series in label_sets(&["a", "b", "d", "f"]),
        external in proptest::sample::subsequence(vec!["A", "c", "e", "g"], 0..=4),
        size in 1_usize..5,
    ) {
        let external = Labels::from_pairs(external.iter().map(|name| (name, "x")));
        let edit = LabelEdit::new(&external, &[]);
        prop_assert!(edit.only_adds(["a", "b", "d", "f"]));
        let edited = collect(add_labels(sorted(series.clone(), size), edit)).unwrap();
        prop_assert_eq!(edited, naive(&series, &external, &[]));
    }

    #[test]
    fn replacing_and_removing_labels_sorts_again(
        series in label_sets(&["a", "b", "c", "d"]),
        external in proptest::sample::subsequence(vec!["a", "b", "c", "e"], 0..=4),
        replica in proptest::sample::subsequence(vec!["b", "d", "e"], 0..=3),
        size in 1_usize..5,
    ) {
        let external = Labels::from_pairs(external.iter().map(|name| (name, "x")));
        let replica: Vec<String> = replica.into_iter().map(str::to_owned).collect();
        let edit = LabelEdit::new(&external, &replica);
        let edited = collect(edit_and_sort(sorted(series.clone(), size), edit, MemoryBudget::unlimited())).unwrap();
        let mut expected = naive(&series, &external, &replica);
        expected.dedup();
        prop_assert_eq!(edited, expected);
    }
}

#[test]
fn a_promised_label_that_occurs_is_an_error() {
    let series = vec![Labels::from_pairs([("a", "1"), ("c", "2")])];
    let edit = LabelEdit::new(&Labels::from_pairs([("c", "x")]), &[]);
    assert!(!edit.only_adds(["a", "c"]));
    assert_eq!(
        collect(add_labels(sorted(series, 1), edit))
            .unwrap_err()
            .kind(),
        ErrorKind::Internal
    );
}

#[test]
fn sorting_over_the_budget_fails_and_names_it() {
    let series = (0..100)
        .map(|i| Labels::from_pairs([("a", i.to_string())]))
        .collect();
    let budget = MemoryBudget::new("request memory", 200);
    let error = collect(edit_and_sort(
        sorted(series, 10),
        LabelEdit::default(),
        budget.clone(),
    ))
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.to_string().contains("request memory"), "{error}");
    assert_eq!(budget.used_bytes(), 0);
}

#[test]
fn notices_pass_before_the_sorted_series() {
    let missing = SeriesEvent::Missing(Missing {
        source: "s".into(),
        reason: "r".into(),
    });
    let input =
        sorted(vec![Labels::from_pairs([("a", "1")])], 1).chain(stream::iter([Ok(missing)]));
    let edit = LabelEdit::new(&Labels::from_pairs([("a", "x")]), &[]);
    let events: Vec<_> =
        block_on(edit_and_sort(Box::pin(input), edit, MemoryBudget::unlimited()).try_collect())
            .unwrap();
    assert!(
        matches!(events[..], [SeriesEvent::Missing(_), SeriesEvent::Batch(_)]),
        "{events:?}"
    );
}
