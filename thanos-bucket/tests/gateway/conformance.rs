//! The contract of a `Store`, kept by the gateway over every kind of storage.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use object_store::memory::InMemory;
use thanos_bucket::Bucket;
use thanos_bucket::config::BucketConfig;
use thanos_bucket::gateway::{Gateway, GatewayOptions};
use thanos_bucket::testkit::servers::ObjectServer;
use thanos_core::testkit::TempDir;
use thanos_storeapi::store::Store;
use thanos_storeapi::testkit::{Dataset, conformance, write_block};

/// Writes `data` as overlapping blocks: whole, whole again, and a part of it.
fn write_blocks(dir: &Path, data: &Dataset) {
    if data.time_bounds().is_none() {
        return;
    }
    write_block(dir, data, 1).unwrap();
    write_block(dir, data, 2).unwrap();
    let mut part = data.clone();
    part.series.truncate(2);
    write_block(dir, &part, 3).unwrap();
}

async fn upload(dir: &Path, bucket: &Bucket) {
    let files = thanos_bucket::directory::open(dir).unwrap();
    for block in files.top_directories().await.unwrap() {
        for (object, size) in files.objects_under(&block).await.unwrap() {
            let data = files.read(&object, size).await.unwrap();
            bucket.put(&object, data).await.unwrap();
        }
    }
}

async fn served(bucket: Bucket) -> Arc<dyn Store> {
    let gateway = Gateway::new(bucket, GatewayOptions::default());
    let report = gateway.sync().await.unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    Arc::new(gateway)
}

/// A-01, ST-16, ST-17.
#[tokio::test]
async fn the_suite_passes_over_memory() {
    conformance::run(async |data: Dataset| {
        let dir = TempDir::new("conformance-memory");
        write_blocks(dir.path(), &data);
        let bucket = Bucket::new(Arc::new(InMemory::new()));
        upload(dir.path(), &bucket).await;
        served(bucket).await
    })
    .await;
}

/// over files.
#[tokio::test]
async fn the_suite_passes_over_a_directory() {
    let dirs = TempDir::new("conformance-files");
    let made = AtomicUsize::new(0);
    conformance::run(async |data: Dataset| {
        let number = made.fetch_add(1, Ordering::Relaxed);
        let dir = dirs.path().join(number.to_string());
        std::fs::create_dir(&dir).unwrap();
        write_blocks(&dir, &data);
        served(thanos_bucket::directory::open(&dir).unwrap()).await
    })
    .await;
}

/// Runs the suite on buckets of `server`, each data set under its own prefix.
async fn run_on(server: &ObjectServer) {
    let made = AtomicUsize::new(0);
    conformance::run(async |data: Dataset| {
        let number = made.fetch_add(1, Ordering::Relaxed);
        let dir = TempDir::new("conformance-server");
        write_blocks(dir.path(), &data);
        let yaml = server.config("conformance", &format!("set/{number}"));
        let bucket = BucketConfig::from_yaml(&yaml).unwrap().open().unwrap();
        upload(dir.path(), &bucket).await;
        served(bucket).await
    })
    .await;
}

/// over the S3 protocol.
#[tokio::test]
async fn the_suite_passes_over_an_s3_server() {
    run_on(&ObjectServer::s3()).await;
}

/// over the S3 protocol as another server speaks it.
#[tokio::test]
async fn the_suite_passes_over_moto() {
    if let Some(server) = ObjectServer::moto() {
        run_on(&server).await;
    }
}

/// over the protocol of Azure Blob Storage.
#[tokio::test]
async fn the_suite_passes_over_azurite() {
    if let Some(server) = ObjectServer::azurite() {
        run_on(&server).await;
    }
}
