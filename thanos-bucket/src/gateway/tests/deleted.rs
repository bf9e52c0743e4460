//! What tombstones hide from the answers of a gateway.

use thanos_core::block::{Intervals, without_deleted};
use thanos_core::chunk::{Aggregate, SeriesChunk};
use thanos_core::time::Timestamp;
use thanos_storeapi::store::{LabelNamesRequest, LabelValuesRequest};

use super::*;
use crate::tombstones::{Tombstone, TombstoneStore};

const BLOCKS: &str = "block-1k-2h";
const DOWNSAMPLED: &str = "thanos-golden/downsample";
const NOW: Timestamp = Timestamp::from_millis(1_793_500_000_000);

fn request(name: &str, selector: Vec<Matcher>) -> Tombstone {
    let mut tombstone = Tombstone::new(name.parse().unwrap(), NOW);
    tombstone.selectors.push(selector);
    tombstone
}

async fn series_of(gateway: &Gateway, request: SeriesRequest) -> Vec<(Labels, Vec<SeriesChunk>)> {
    let stream = gateway.series(request).await.unwrap();
    let events: Vec<SeriesEvent> = stream.try_collect().await.unwrap();
    let mut all = Vec::new();
    for event in events {
        if let SeriesEvent::Batch(batch) = event {
            all.extend((batch.iter()).map(|one| (one.labels.to_labels(), one.chunks.to_vec())));
        }
    }
    all
}

/// Asks for all series and all of their aggregates.
fn all_resolutions() -> SeriesRequest {
    let mut aggregates = Aggregate::DOWNSAMPLED.to_vec();
    aggregates.push(Aggregate::Raw);
    SeriesRequest {
        max_resolution_window_ms: i64::MAX,
        aggregates,
        ..all_series()
    }
}

async fn values_of(gateway: &Gateway, label: &str) -> Vec<String> {
    let request = LabelValuesRequest {
        label: label.to_owned(),
        ..Default::default()
    };
    gateway.label_values(request).await.unwrap().values
}

/// Returns a copy of a directory of blocks that may be written to.
fn copy_of(name: &str) -> TempDir {
    let copy = TempDir::new("deleted");
    copy_dir(&fixture(name), copy.path());
    copy
}

/// A-07, pain 20: a deletion is seen at the next sync, by every call, and a lifted one is gone at the next.
#[tokio::test]
async fn deleted_series_are_hidden_at_the_next_sync_and_come_back_when_the_request_is_lifted() {
    let dir = copy_of(BLOCKS);
    let (bucket, gateway) = gateway_over(dir.path()).await;
    let before = series_of(&gateway, all_series()).await;
    let metrics = values_of(&gateway, "__name__").await;
    let store = TombstoneStore::new(bucket.clone());
    let tombstone = request("gone", vec![Matcher::equal("__name__", &metrics[0])]);
    store.add(&tombstone).await.unwrap();
    assert_eq!(series_of(&gateway, all_series()).await, before);

    gateway.sync().await.unwrap();
    let is_left = |labels: &Labels| labels.get("__name__").is_none_or(|name| name != metrics[0]);
    let left: Vec<_> = (before.iter())
        .filter(|(labels, _)| is_left(labels))
        .cloned()
        .collect();
    assert!(left.len() < before.len());
    assert_eq!(series_of(&gateway, all_series()).await, left);
    let without_chunks = SeriesRequest {
        skip_chunks: true,
        ..all_series()
    };
    let listed: Vec<Labels> = (series_of(&gateway, without_chunks).await.into_iter())
        .map(|(labels, _)| labels)
        .collect();
    assert!(listed.iter().eq(left.iter().map(|(labels, _)| labels)));
    assert_eq!(values_of(&gateway, "__name__").await, metrics[1..]);
    let names = gateway.label_names(LabelNamesRequest::default()).await;
    let wanted: std::collections::BTreeSet<String> = (left.iter())
        .flat_map(|(labels, _)| {
            labels
                .iter()
                .map(|(name, _)| name.into_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(names.unwrap().values.iter().eq(&wanted));
    let limited = SeriesRequest {
        limit: 3,
        ..all_series()
    };
    assert_eq!(series_of(&gateway, limited).await, left[..3]);

    store.lift(&tombstone.request_id).await.unwrap();
    gateway.sync().await.unwrap();
    assert_eq!(series_of(&gateway, all_series()).await, before);
}

/// The times of a request are taken out of chunks, of raw samples as of downsampled windows.
#[tokio::test]
async fn only_the_deleted_times_are_hidden() {
    for blocks in [BLOCKS, DOWNSAMPLED] {
        let dir = copy_of(blocks);
        let (bucket, gateway) = gateway_over(dir.path()).await;
        let all = all_resolutions();
        let before = series_of(&gateway, all.clone()).await;
        let block = gateway.blocks()[0].meta.clone();
        let middle = i64::midpoint(block.min_time.as_millis(), block.max_time.as_millis());
        let mut tombstone = request(
            "half",
            vec![Matcher::new(MatchOp::Regex, "__name__", ".+").unwrap()],
        );
        tombstone.range = TimeRange::from_millis(i64::MIN, middle);
        TombstoneStore::new(bucket).add(&tombstone).await.unwrap();
        gateway.sync().await.unwrap();

        let deleted = Intervals::from_ranges(vec![tombstone.range]).widened(block.resolution_ms());
        let mut wanted = before.clone();
        for (_, chunks) in &mut wanted {
            *chunks = without_deleted(std::mem::take(chunks), &deleted).unwrap();
        }
        wanted.retain(|(_, chunks)| !chunks.is_empty());
        assert!(!wanted.is_empty() && wanted != before, "{blocks}");
        assert_eq!(series_of(&gateway, all).await, wanted, "{blocks}");
    }
}

/// A selector may name external labels, and then only those blocks are concerned.
#[tokio::test]
async fn a_request_may_name_blocks_by_their_external_labels() {
    let dir = copy_of(DOWNSAMPLED);
    let (bucket, gateway) = gateway_over(dir.path()).await;
    let external = gateway.blocks()[0].meta.external_labels();
    let (name, value) = external.iter().next().unwrap();
    let store = TombstoneStore::new(bucket);
    let before = series_of(&gateway, all_resolutions()).await;
    let elsewhere = request("elsewhere", vec![Matcher::equal(&name, "elsewhere")]);
    store.add(&elsewhere).await.unwrap();
    gateway.sync().await.unwrap();
    assert_eq!(series_of(&gateway, all_resolutions()).await, before);
    store
        .add(&request("here", vec![Matcher::equal(&name, &value)]))
        .await
        .unwrap();
    gateway.sync().await.unwrap();
    let left = series_of(&gateway, all_resolutions()).await;
    assert!(
        left.iter()
            .all(|(labels, _)| labels.get(&name).is_none_or(|own| own != value))
    );
    assert!(left.len() < before.len());
}

/// To leave a tombstone out that cannot be read would show what was deleted.
#[tokio::test]
async fn a_tombstone_that_cannot_be_read_fails_the_sync_and_the_last_ones_stay() {
    let dir = copy_of(BLOCKS);
    let (bucket, gateway) = gateway_over(dir.path()).await;
    let name = Matcher::new(MatchOp::Regex, "__name__", ".+").unwrap();
    TombstoneStore::new(bucket.clone())
        .add(&request("all", vec![name]))
        .await
        .unwrap();
    gateway.sync().await.unwrap();
    assert_eq!(series_of(&gateway, all_series()).await, []);
    let object = "thanos-tombstones/v1/active/all.json";
    bucket.put(object, "{}".into()).await.unwrap();
    let error = gateway.sync().await.unwrap_err();
    assert_eq!(error.file(), Some(object), "{error}");
    assert_eq!(series_of(&gateway, all_series()).await, []);
}
