use std::collections::BTreeMap;
use std::task::Waker;

use bytes::Bytes;
use futures::executor::block_on;
use proptest::prelude::*;

use super::*;
use crate::chunk::{Chunk, Encoding, SeriesChunk};
use crate::error::{Error, ErrorKind};
use crate::labels::Labels;
use crate::query::{Missing, SeriesBatchBuilder};
use crate::time::Timestamp;

/// A series: the values of two labels, and chunks as (start, end, content).
type Series = ((u8, u8), Vec<(i64, i64, u8)>);

fn labels((a, b): (u8, u8)) -> Labels {
    Labels::from_pairs([
        (
            "a_label_with_a_long_name_so_that_strides_match",
            "x".repeat(a.into()),
        ),
        ("b", b.to_string()),
    ])
}

fn chunk((start, end, content): (i64, i64, u8)) -> SeriesChunk {
    let chunk = Chunk {
        encoding: Encoding(1 + content % 2),
        data: Bytes::from(vec![content / 2; 3]),
    };
    SeriesChunk::raw(
        Timestamp::from_millis(start),
        Timestamp::from_millis(end),
        chunk,
    )
}

fn batch(series: &[Series]) -> SeriesBatch {
    let mut builder = SeriesBatchBuilder::new();
    for (names, chunks) in series {
        builder.push(
            labels(*names).as_ref(),
            chunks.iter().map(|parts| chunk(*parts)),
        );
    }
    builder.finish()
}

/// Sorts everything, joins equal label sets, and drops equal chunks.
fn naive(sources: &[Vec<Series>]) -> Vec<(Labels, Vec<SeriesChunk>)> {
    let mut joined: BTreeMap<Labels, Vec<SeriesChunk>> = BTreeMap::new();
    for (names, chunks) in sources.iter().flatten() {
        let all = joined.entry(labels(*names)).or_default();
        for parts in chunks {
            let new = chunk(*parts);
            if !all.contains(&new) {
                all.push(new);
            }
        }
    }
    joined
        .into_iter()
        .map(|(labels, mut chunks)| {
            chunks.sort_by(SeriesChunk::cmp_by_time);
            (labels, chunks)
        })
        .collect()
}

fn flatten(batches: &[SeriesBatch]) -> Vec<(Labels, Vec<SeriesChunk>)> {
    let series = batches.iter().flat_map(SeriesBatch::iter);
    series
        .map(|series| (series.labels.to_labels(), series.chunks.to_vec()))
        .collect()
}

fn sorted(mut source: Vec<Series>) -> Vec<Series> {
    for (_, chunks) in &mut source {
        chunks.sort_unstable();
    }
    source.sort_by_key(|(names, _)| labels(*names));
    source
}

fn source(name: usize, events: Vec<Result<SeriesEvent>>) -> MergeSource {
    MergeSource {
        name: format!("source-{name}"),
        stream: stream::iter(events).boxed(),
    }
}

fn batches_of(source: &[Series], size: usize) -> Vec<Result<SeriesEvent>> {
    source
        .chunks(size.max(1))
        .map(|part| Ok(SeriesEvent::Batch(batch(part))))
        .collect()
}

/// Runs a merge to its end: (batches, other events or the error, in order).
fn run(sources: Vec<MergeSource>) -> (Vec<SeriesBatch>, Vec<String>) {
    let events: Vec<Result<SeriesEvent>> = block_on(merge(sources).collect());
    let mut batches = Vec::new();
    let mut others = Vec::new();
    for event in events {
        match event {
            Ok(SeriesEvent::Batch(batch)) => batches.push(batch),
            Ok(SeriesEvent::Warning(text)) => others.push(text),
            Ok(SeriesEvent::Missing(missing)) => others.push(missing.reason),
            Ok(SeriesEvent::Hints(bytes)) => others.push(format!("{} bytes", bytes.len())),
            Err(error) => others.push(error.to_string()),
        }
    }
    (batches, others)
}

fn series() -> impl Strategy<Value = Series> {
    let chunk =
        (0i64..3, 0i64..3, 0u8..4).prop_map(|(start, len, content)| (start, start + len, content));
    ((0u8..6, 0u8..12), prop::collection::vec(chunk, 0..4))
}

proptest! {
    #[test]
    fn merging_equals_sorting_and_grouping(
        sources in prop::collection::vec((prop::collection::vec(series(), 0..30), 1usize..8), 0..9)
    ) {
        let sources: Vec<_> = sources.into_iter().map(|(source, size)| (sorted(source), size)).collect();
        let all: Vec<Vec<Series>> = sources.iter().map(|(source, _)| source.clone()).collect();
        let expected = naive(&all);
        let streams = sources.iter().enumerate().map(|(i, (s, size))| source(i, batches_of(s, *size)));
        // An empty source keeps a single one from being passed through as it is.
        let (batches, others) = run(streams.chain([source(99, vec![])]).collect());
        prop_assert_eq!(flatten(&batches), expected);
        prop_assert!(others.is_empty(), "{:?}", others);
    }

    #[test]
    fn one_series_out_of_order_is_found(
        first in prop::collection::vec(series(), 2..20), second in prop::collection::vec(series(), 0..20),
        at in any::<prop::sample::Index>(), size in 1usize..5
    ) {
        let mut first = sorted(first);
        let at = 1 + at.index(first.len() - 1);
        prop_assume!(first[at - 1].0 != first[at].0);
        first.swap(at - 1, at);
        let sources = vec![source(0, batches_of(&sorted(second), 3)), source(1, batches_of(&first, size))];
        let (_, others) = run(sources);
        prop_assert_eq!(others.len(), 1);
        prop_assert!(others[0].starts_with("series of source-1 are not sorted: {"), "{}", others[0]);
    }
}

#[test]
fn batches_are_handed_on_when_full() {
    let many: Vec<Series> = (0..250).map(|i| ((0, i), vec![])).collect();
    let many = sorted(many);
    let (batches, _) = run(vec![
        source(0, batches_of(&many, 100)),
        source(1, batches_of(&many, 7)),
    ]);
    let lens: Vec<usize> = batches.iter().map(SeriesBatch::len).collect();
    assert_eq!(lens, [128, 122]);
}

#[test]
fn notices_pass_before_the_series_are_merged() {
    let missing = Missing {
        source: "store".into(),
        reason: "gone".into(),
    };
    let mut first = batches_of(&[((0, 1), vec![])], 1);
    first.push(Ok(SeriesEvent::Missing(missing)));
    let second = vec![
        Ok(SeriesEvent::Warning("slow".into())),
        Ok(SeriesEvent::Hints(Bytes::from_static(b"any"))),
        Ok(SeriesEvent::Batch(batch(&[((0, 0), vec![])]))),
    ];
    let events: Vec<_> = block_on(merge(vec![source(0, first), source(1, second)]).collect());
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| match event.as_ref().unwrap() {
            SeriesEvent::Batch(_) => "batch",
            SeriesEvent::Warning(_) => "warning",
            SeriesEvent::Missing(_) => "missing",
            SeriesEvent::Hints(_) => "hints",
        })
        .collect();
    assert_eq!(kinds, ["warning", "hints", "missing", "batch"]);
}

#[test]
fn an_error_of_a_source_ends_the_stream() {
    let failing = vec![
        Err(Error::unavailable("gone")),
        Ok(SeriesEvent::Warning("late".into())),
    ];
    let mut merged = merge(vec![
        source(0, batches_of(&[((0, 1), vec![])], 1)),
        source(1, failing),
    ]);
    let error = block_on(merged.next()).unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(block_on(merged.next()).is_none());
}

#[test]
fn no_sources_and_empty_sources_give_nothing() {
    assert!(run(vec![]).0.is_empty());
    let empty_batch = || vec![Ok(SeriesEvent::Batch(batch(&[])))];
    let (batches, _) = run(vec![
        source(0, empty_batch()),
        source(1, empty_batch()),
        source(2, vec![]),
    ]);
    assert!(batches.is_empty());
}

#[test]
fn the_empty_label_set_is_a_series() {
    let mut builder = SeriesBatchBuilder::new();
    builder.push(Labels::empty().as_ref(), []);
    let empty = Ok(SeriesEvent::Batch(builder.finish()));
    let (batches, _) = run(vec![
        source(0, vec![empty]),
        source(1, batches_of(&[((1, 1), vec![])], 1)),
    ]);
    assert_eq!(flatten(&batches).len(), 2);
}

#[test]
fn at_most_one_batch_is_read_ahead() {
    // The second source never answers: the first may be asked for two batches, one to merge and one ahead.
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = asked.clone();
    let endless = stream::repeat_with(move || {
        let number = counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(SeriesEvent::Batch(batch(&[(
            (0, u8::try_from(number).unwrap()),
            vec![],
        )])))
    });
    let mut merged = merge(vec![
        MergeSource {
            name: "fast".into(),
            stream: endless.boxed(),
        },
        MergeSource {
            name: "silent".into(),
            stream: stream::pending().boxed(),
        },
    ]);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..5 {
        assert!(merged.poll_next_unpin(&mut context).is_pending());
    }
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 2);
}
