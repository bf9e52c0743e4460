//! The suite passes the model and finds every kind of broken store.

use super::*;
use crate::testkit::{Fault, MemStore};

#[tokio::test]
async fn the_model_passes() {
    run(async |data: Dataset| Arc::new(data.to_mem_store()) as Arc<dyn Store>).await;
}

async fn failures_of(broken: impl Fn(Dataset) -> MemStore) -> Vec<String> {
    failures(async |data: Dataset| Arc::new(broken(data)) as Arc<dyn Store>).await
}

/// Asserts that some failure is about each of `cases`.
fn assert_names(failures: &[String], cases: &[&str]) {
    for case in cases {
        assert!(
            failures.iter().any(|failure| failure.contains(case)),
            "no failure names {case:?} among {failures:#?}"
        );
    }
}

#[tokio::test]
async fn a_store_that_does_not_sort_is_found() {
    let failures = failures_of(|data| data.to_mem_store().with_faults([Fault::Unsorted])).await;
    assert_names(
        &failures,
        &[
            "two series: series of",
            "order after adding",
            "not in label order",
        ],
    );
}

#[tokio::test]
async fn a_store_that_keeps_replica_labels_is_found() {
    let failures = failures_of(|data| data.to_mem_store().without_replica_label_removal()).await;
    assert_names(
        &failures,
        &[
            "series without [\"pod\"]",
            "samples of series that became equal",
            "supports_without_replica_labels",
        ],
    );
}

#[tokio::test]
async fn a_store_that_ignores_shards_is_found() {
    let failures = failures_of(|data| data.to_mem_store().without_sharding()).await;
    assert_names(&failures, &["shard 0 of 3", "supports_sharding"]);
}

#[tokio::test]
async fn a_store_that_forgets_external_labels_is_found() {
    let failures = failures_of(|data| {
        let data = Dataset::new(Labels::empty(), data.series);
        data.to_mem_store()
    })
    .await;
    assert_names(
        &failures,
        &[
            "external labels win",
            "values of region",
            "info: external labels",
            "label names of {}",
        ],
    );
}

#[tokio::test]
async fn a_store_that_loses_series_or_samples_is_found() {
    let lost_series = failures_of(|mut data| {
        data.series.truncate(100);
        data.to_mem_store()
    })
    .await;
    assert_names(&lost_series, &["300 series: count"]);
    let lost_samples = failures_of(|mut data| {
        data.series
            .iter_mut()
            .for_each(|series| series.samples.truncate(90));
        data.to_mem_store()
    })
    .await;
    assert_names(
        &lost_samples,
        &["chunks between", "samples of series that became equal"],
    );
}

#[tokio::test]
async fn a_store_that_fails_or_warns_is_found() {
    let failing = failures_of(|data| data.to_mem_store().with_faults([Fault::FailAfter(1)])).await;
    assert_names(&failing, &["injected failure"]);
    let warning = failures_of(|data| data.to_mem_store().with_warning("careful")).await;
    assert_names(&warning, &["warnings"]);
}
