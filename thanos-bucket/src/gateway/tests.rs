mod bucket_e2e;
mod changing;
mod deleted;
mod pipeline;
mod planning;
mod requests;
mod syncing;

use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use thanos_core::ErrorKind;
use thanos_core::chunk::{ChunkPayload, Samples};
use thanos_core::labels::{Labels, MatchOp, Matcher};
use thanos_core::query::SeriesEvent;
use thanos_core::testkit::{TempDir, copy_dir};
use thanos_core::time::TimeRange;
use thanos_storeapi::store::PartialResponse;

use thanos_storeapi::testkit::{Dataset, conformance, write_block};

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../thanos-core/testdata")
        .join(name)
}

async fn gateway_over(directory: &Path) -> (Bucket, Gateway) {
    let bucket = crate::directory::open(directory).unwrap();
    let gateway = Gateway::new(bucket.clone(), GatewayOptions::default());
    gateway.sync().await.unwrap();
    (bucket, gateway)
}

fn all_series() -> SeriesRequest {
    let matchers = vec![Matcher::new(MatchOp::Regex, "__name__", ".+").unwrap()];
    SeriesRequest {
        matchers,
        ..Default::default()
    }
}

/// The label sets of an answer with the number of chunks and samples of each.
async fn shape_of(stream: SeriesStream) -> Result<Vec<(Labels, usize, usize)>> {
    let events: Vec<SeriesEvent> = stream.try_collect().await?;
    let mut shape = Vec::new();
    for event in events {
        let SeriesEvent::Batch(batch) = event else {
            continue;
        };
        for series in batch.iter() {
            let mut samples = Samples::default();
            for chunk in series.chunks {
                let ChunkPayload::Raw(raw) = &chunk.payload else {
                    continue;
                };
                thanos_core::chunk::decode(raw, &mut samples)?;
            }
            shape.push((
                series.labels.to_labels(),
                series.chunks.len(),
                samples.len(),
            ));
        }
    }
    Ok(shape)
}

/// ST-01: the whole of a real block, read by ranges only.
#[tokio::test]
async fn a_real_block_is_read_whole_in_a_few_requests() {
    let (bucket, gateway) = gateway_over(&fixture("block-1k-2h")).await;
    let before = bucket.requests();
    let shape = shape_of(gateway.series(all_series()).await.unwrap())
        .await
        .unwrap();
    let after = bucket.requests();

    assert_eq!(shape.len(), 1000);
    assert_eq!(
        shape.iter().map(|(_, chunks, _)| chunks).sum::<usize>(),
        3987
    );
    assert_eq!(
        shape.iter().map(|(_, _, samples)| samples).sum::<usize>(),
        478_091
    );
    assert!(
        shape.is_sorted_by(|a, b| a.0 < b.0),
        "in label order, each series once"
    );

    assert_eq!((after.heads, after.lists), (before.heads, before.lists));
    assert!(
        after.gets - before.gets <= 12,
        "{} requests",
        after.gets - before.gets
    );
    // The block has 1,049,912 bytes; its symbols and offset tables are read when it is opened.
    let read = after.bytes_read - before.bytes_read;
    assert!(read <= 1_100_000, "{read} bytes read");
}

/// ST-19: a needle costs little, wherever it lies: two lists that lie apart, its entry and its chunks.
#[tokio::test]
async fn one_series_costs_a_request_for_each_list_its_entry_and_its_chunks() {
    let (bucket, gateway) = gateway_over(&fixture("block-1k-2h")).await;
    let before = bucket.requests();
    let matchers = vec![
        Matcher::equal("__name__", "edge"),
        Matcher::equal("case", "walk"),
    ];
    let request = SeriesRequest {
        matchers,
        ..Default::default()
    };
    let shape = shape_of(gateway.series(request).await.unwrap())
        .await
        .unwrap();
    let after = bucket.requests();
    assert_eq!(shape.len(), 1);
    assert_eq!(after.gets - before.gets, 4);
    assert!(after.bytes_read - before.bytes_read < 8 << 10);
}

#[tokio::test]
async fn only_chunks_in_the_time_range_are_returned() {
    let (_, gateway) = gateway_over(&fixture("block-1k-2h")).await;
    let request = SeriesRequest {
        matchers: vec![Matcher::equal("__name__", "go_goroutines")],
        range: TimeRange::from_millis(1_793_491_200_000, 1_793_491_300_000),
        ..Default::default()
    };
    let shape = shape_of(gateway.series(request).await.unwrap())
        .await
        .unwrap();
    assert_eq!(
        shape
            .iter()
            .map(|(_, chunks, _)| *chunks)
            .collect::<Vec<_>>(),
        [1; 9]
    );
}

#[tokio::test]
async fn label_calls_answer_from_the_header_and_from_series() {
    let (bucket, gateway) = gateway_over(&fixture("block-1k-2h")).await;
    let before = bucket.requests();
    let names = gateway
        .label_names(LabelNamesRequest::default())
        .await
        .unwrap();
    assert!(names.values.contains(&"case".to_owned()) && names.values.is_sorted());
    let label = "handler".to_owned();
    let values = gateway
        .label_values(LabelValuesRequest {
            label: label.clone(),
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(bucket.requests(), before, "no request without matchers");

    let matchers = vec![Matcher::equal("__name__", "http_requests_total")];
    let matched = LabelValuesRequest {
        label,
        matchers,
        ..Default::default()
    };
    assert_eq!(
        gateway.label_values(matched).await.unwrap().values,
        values.values
    );
    let matchers = vec![Matcher::equal("__name__", "edge")];
    let names = gateway
        .label_names(LabelNamesRequest {
            matchers,
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(names.values, ["__name__", "case", "text"]);
}

/// ST-04.
#[tokio::test]
async fn the_index_header_is_kept_in_the_data_directory() {
    let dir = TempDir::new("gateway");
    let bucket = crate::directory::open(fixture("block-1k-2h")).unwrap();
    let options = GatewayOptions {
        data_dir: Some(dir.path().to_owned()),
        // Another file would be opened instead of the damaged one.
        headers: HeaderOptions {
            sparse: SparseHeaders::Off,
            ..HeaderOptions::default()
        },
        ..Default::default()
    };
    let first = Gateway::new(bucket.clone(), options.clone());
    first.sync().await.unwrap();
    let file = dir
        .path()
        .join("01M81JDC7R8JKP7SEW1VN2HAQ9")
        .join(header::HEADER_FILE);
    let written = std::fs::read(&file).unwrap();

    let reads_index = |gets: u64| bucket.requests().gets - gets > 1;
    let gets = bucket.requests().gets;
    Gateway::new(bucket.clone(), options.clone())
        .sync()
        .await
        .unwrap();
    assert!(
        !reads_index(gets),
        "a kept header needs no read of the index"
    );

    let mut damaged = written.clone();
    damaged[100] ^= 0xFF;
    std::fs::write(&file, damaged).unwrap();
    let gets = bucket.requests().gets;
    let again = Gateway::new(bucket.clone(), options);
    again.sync().await.unwrap();
    assert!(!reads_index(gets), "damage in between shows at use");
    assert_eq!(
        shape_of(again.series(all_series()).await.unwrap())
            .await
            .unwrap()
            .len(),
        1000
    );
    assert_eq!(std::fs::read(&file).unwrap(), written);
}

#[tokio::test]
async fn a_block_that_cannot_be_opened_is_reported_and_the_others_are_served() {
    let dir = TempDir::new("gateway-bad");
    let good = "01M81JDC7R8JKP7SEW1VN2HAQ9";
    copy_dir(&fixture("block-1k-2h").join(good), &dir.path().join(good));
    let bad = "01M81JDC7R8JKP7SEW1VN2HAQA";
    copy_dir(&fixture("block-1k-2h").join(good), &dir.path().join(bad));
    let meta = std::fs::read_to_string(dir.path().join(bad).join("meta.json")).unwrap();
    std::fs::write(
        dir.path().join(bad).join("meta.json"),
        meta.replace(good, bad),
    )
    .unwrap();
    std::fs::write(dir.path().join(bad).join("index"), b"no index").unwrap();

    let bucket = crate::directory::open(dir.path()).unwrap();
    // The two name the same sources.
    let options = GatewayOptions {
        filters: Vec::new(),
        ..GatewayOptions::default()
    };
    let gateway = Gateway::new(bucket, options);
    let report = gateway.sync().await.unwrap();
    assert_eq!(report.loaded, 1);
    let (id, error) = report.failed.first_key_value().unwrap();
    assert_eq!(id.to_string(), bad);
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error.to_string().contains(&format!("{bad}/index")),
        "{error}"
    );
}

/// References count chunk files: with one missing, a series would get the samples of another.
#[tokio::test]
async fn a_block_with_a_missing_chunk_file_is_refused_and_named_in_answers() {
    let dir = TempDir::new("gateway-gap");
    let id = "01M81JDC7R8JKP7SEW1VN2HAQ9";
    copy_dir(&fixture("block-1k-2h").join(id), &dir.path().join(id));
    let chunks = dir.path().join(id).join("chunks");
    std::fs::rename(chunks.join("000001"), chunks.join("000002")).unwrap();
    let (_, gateway) = gateway_over(dir.path()).await;

    let refused = gateway.series(all_series()).await.err().unwrap();
    assert!(
        refused.to_string().contains("chunk file 1 is missing"),
        "{refused}"
    );
    let request = SeriesRequest {
        partial_response: PartialResponse::Warn,
        ..all_series()
    };
    let events: Vec<SeriesEvent> = gateway
        .series(request)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert!(
        matches!(&events[..], [SeriesEvent::Missing(missing)] if missing.source.contains(id)),
        "{events:?}"
    );

    let matchers = vec![Matcher::equal("__name__", "edge")];
    let partial_response = PartialResponse::Warn;
    for matchers in [Vec::new(), matchers] {
        let request = LabelNamesRequest {
            matchers,
            partial_response,
            ..Default::default()
        };
        let names = gateway.label_names(request).await.unwrap();
        assert_eq!(names.completeness.missing().len(), 1);
    }
}

/// What a request holds is leased: a budget that is too small fails it by name, and everything is given back.
#[tokio::test]
async fn a_request_over_the_budget_fails_and_names_it() {
    let bucket = crate::directory::open(fixture("block-1k-2h")).unwrap();
    let budget = MemoryBudget::new("store memory", 100_000);
    let options = GatewayOptions {
        budget: budget.clone(),
        ..GatewayOptions::default()
    };
    let gateway = Gateway::new(bucket, options);
    gateway.sync().await.unwrap();
    let error = shape_of(gateway.series(all_series()).await.unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.to_string().contains("store memory"), "{error}");
    assert_eq!(budget.used_bytes(), 0);
}

/// A flipped byte in a chunk file is an error that names the file, never data.
#[tokio::test]
async fn damage_in_the_bucket_is_an_error_with_the_object() {
    let dir = TempDir::new("gateway-damage");
    let id = "01M81JDC7R8JKP7SEW1VN2HAQ9";
    copy_dir(&fixture("block-1k-2h").join(id), &dir.path().join(id));
    let file = dir.path().join(id).join("chunks/000001");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100_000] ^= 0x10;
    std::fs::write(&file, bytes).unwrap();
    let (_, gateway) = gateway_over(dir.path()).await;
    let error = shape_of(gateway.series(all_series()).await.unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error.to_string().contains(&format!("{id}/chunks/000001")),
        "{error}"
    );
}

/// The blocks of a directory, copied into a bucket in memory.
async fn in_memory(directory: &Path) -> Bucket {
    let bucket = Bucket::new(Arc::new(object_store::memory::InMemory::new()));
    let files = crate::directory::open(directory).unwrap();
    for block in files.top_directories().await.unwrap() {
        for (object, size) in files.objects_under(&block).await.unwrap() {
            bucket
                .put(&object, files.read(&object, size).await.unwrap())
                .await
                .unwrap();
        }
    }
    bucket
}

/// A gateway over the blocks that `write` puts into a directory, copied into a bucket in memory.
async fn gateway_of(write: impl FnOnce(&Path)) -> Arc<dyn Store> {
    let dir = TempDir::new("gateway-suite");
    write(dir.path());
    let bucket = in_memory(dir.path()).await;
    let gateway = Gateway::new(bucket, GatewayOptions::default());
    gateway.sync().await.unwrap();
    Arc::new(gateway)
}

/// A-01, ST-16.
#[tokio::test]
async fn a_gateway_over_one_block_passes_the_conformance_suite() {
    conformance::run(async |data: Dataset| {
        gateway_of(|dir| {
            if data.time_bounds().is_some() {
                write_block(dir, &data, 1).unwrap();
            }
        })
        .await
    })
    .await;
}

/// A-01, ST-17: the same block twice, and a part of it a third time.
#[tokio::test]
async fn a_gateway_over_overlapping_blocks_passes_the_conformance_suite() {
    conformance::run(async |data: Dataset| {
        gateway_of(|dir| {
            if data.time_bounds().is_some() {
                write_block(dir, &data, 1).unwrap();
                write_block(dir, &data, 2).unwrap();
                let mut part = data.clone();
                part.series.truncate(2);
                write_block(dir, &part, 3).unwrap();
            }
        })
        .await
    })
    .await;
}
