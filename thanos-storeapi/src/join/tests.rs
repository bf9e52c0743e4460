use futures::TryStreamExt;
use futures::executor::block_on;
use proptest::prelude::*;
use thanos_core::chunk::{Chunk, Encoding};
use thanos_core::error::Error;
use thanos_core::query::Missing;
use thanos_core::time::Timestamp;

use super::*;

/// A part of a series: the label value and its chunks as (time, data).
type TestPart = (u8, Vec<(u8, u8)>);

fn chunk(time: u8, data: u8) -> SeriesChunk {
    let at = Timestamp::from_millis(i64::from(time));
    let chunk = Chunk {
        encoding: Encoding::XOR,
        data: vec![data].into(),
    };
    SeriesChunk::raw(at, at, chunk)
}

fn batch(parts: &[TestPart]) -> SeriesBatch {
    let mut batch = SeriesBatchBuilder::new();
    for (label, chunks) in parts {
        let labels = Labels::from_pairs([("a", format!("{label:03}"))]);
        let chunks = chunks.iter().map(|(time, data)| chunk(*time, *data));
        batch.push(labels.as_ref(), chunks);
    }
    batch.finish()
}

fn join(batches: &[Vec<TestPart>], limit: u64) -> Vec<TestPart> {
    let events: Vec<_> = batches
        .iter()
        .map(|parts| Ok(SeriesEvent::Batch(batch(parts))))
        .collect();
    let joined = join_series(stream::iter(events).boxed(), limit);
    let events: Vec<_> = block_on(joined.try_collect()).unwrap();
    let mut found = Vec::new();
    for event in events {
        let SeriesEvent::Batch(batch) = event else {
            panic!("{event:?}")
        };
        assert!(!batch.is_empty(), "an empty batch came out");
        for series in batch.iter() {
            let label = series.labels.get("a").unwrap().parse().unwrap();
            let chunks = series.chunks.iter().map(|chunk| {
                let time = u8::try_from(chunk.min_time.as_millis()).unwrap();
                let thanos_core::chunk::ChunkPayload::Raw(raw) = &chunk.payload else {
                    panic!("{chunk:?}")
                };
                (time, raw.data[0])
            });
            found.push((label, chunks.collect()));
        }
    }
    found
}

/// The same on plain lists.
fn model(batches: &[Vec<TestPart>], limit: usize) -> Vec<TestPart> {
    let mut series: std::collections::BTreeMap<u8, Vec<(u8, u8)>> = Default::default();
    for (label, chunks) in batches.iter().flatten() {
        series.entry(*label).or_default().extend(chunks);
    }
    for chunks in series.values_mut() {
        // By time and then by content, whichever part came first.
        chunks.sort_unstable();
        chunks.dedup();
    }
    series
        .into_iter()
        .take(if limit == 0 { usize::MAX } else { limit })
        .collect()
}

/// Sorted parts, cut into batches at random places. Chunks of one part are sorted and distinct, as every store sends
/// them.
fn batches() -> impl Strategy<Value = Vec<Vec<TestPart>>> {
    let chunks = proptest::collection::btree_map(0..6u8, 0..3u8, 0..4)
        .prop_map(|chunks| chunks.into_iter().collect::<Vec<_>>());
    let parts = proptest::collection::vec((0..8u8, chunks), 0..24).prop_map(|mut parts| {
        parts.sort_by_key(|part| part.0);
        parts
    });
    (parts, proptest::collection::vec(0..5usize, 24)).prop_map(|(parts, sizes)| {
        let mut parts = parts.into_iter().peekable();
        let mut batches = Vec::new();
        for size in sizes.into_iter().chain(std::iter::repeat(3)) {
            batches.push(parts.by_ref().take(size).collect());
            if parts.peek().is_none() {
                return batches;
            }
        }
        unreachable!("the sizes are endless")
    })
}

proptest! {
    #[test]
    fn parts_become_whole_series(batches in batches(), limit in 0..10u8) {
        let found = join(&batches, u64::from(limit));
        prop_assert_eq!(found, model(&batches, usize::from(limit)));
    }
}

#[test]
fn a_series_over_many_batches_is_one() {
    let parts: Vec<_> = (0..200).map(|time| vec![(7, vec![(time, 0)])]).collect();
    let found = join(&parts, 0);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1.len(), 200);
}

/// ST-17, Q-14: the same chunk from two stores comes once; another chunk of the same times stays.
#[test]
fn identical_chunks_come_once() {
    let batches = [vec![
        (1, vec![(5, 1), (6, 1)]),
        (1, vec![(5, 2)]),
        (1, vec![(5, 1)]),
    ]];
    assert_eq!(join(&batches, 0), [(1, vec![(5, 1), (5, 2), (6, 1)])]);
}

#[test]
fn at_the_limit_nothing_more_is_read() {
    let read = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&read);
    let input = stream::iter(0..100u8).map(move |label| {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(SeriesEvent::Batch(batch(&[(label, vec![])])))
    });
    let events: Vec<_> = block_on(join_series(input.boxed(), 3).try_collect()).unwrap();
    assert_eq!(events.len(), 3);
    let read = read.load(std::sync::atomic::Ordering::Relaxed);
    assert!(read <= 4, "read {read} batches for 3 series");
}

#[test]
fn notices_pass_and_an_error_ends_the_stream() {
    let missing = SeriesEvent::Missing(Missing {
        source: "a".into(),
        reason: "b".into(),
    });
    let input = stream::iter([
        Ok(SeriesEvent::Batch(batch(&[(1, vec![])]))),
        Ok(missing),
        Err(Error::unavailable("gone")),
        Ok(SeriesEvent::Batch(batch(&[(2, vec![])]))),
    ]);
    let events: Vec<_> = block_on(join_series(input.boxed(), 0).collect());
    assert!(
        matches!(events[0], Ok(SeriesEvent::Missing(_))),
        "{events:?}"
    );
    assert!(events[1].is_err(), "{events:?}");
    assert_eq!(events.len(), 2);
}
