use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use thanos_core::ErrorKind;
use thanos_core::block::{
    Block, BlockId, DeletionMark, Meta, NoCompactMark, UploadTime, no_compact_reason,
};
use thanos_core::labels::Labels;
use thanos_core::testkit::{K8sSpec, TempDir};
use thanos_core::time::{FixedClock, Timestamp};

use super::*;
use crate::Bucket;
use crate::testkit::{
    BlockData, BlockSpec, FaultPlan, FaultyStore, LatencyModel, LatencyStore, RequestKind,
    StoreFault, block_id,
};

const NOW: Timestamp = Timestamp::from_millis(1_795_352_409_054);

fn data() -> BlockData {
    let spec = K8sSpec::default();
    let series: Vec<_> = (0..20)
        .map(|number| {
            let labels = Labels::from_pairs([("__name__", "up"), ("i", &format!("{number:02}"))]);
            (labels, spec.chunks(number))
        })
        .collect();
    BlockData::in_segments(&series, 2000).unwrap()
}

/// Returns the directory of a local block with these external labels.
async fn local_block(parent: &Path, labels: &[(&str, &str)]) -> PathBuf {
    let bucket = crate::directory::open(parent).unwrap();
    let spec = BlockSpec {
        id: block_id(7),
        labels: labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..BlockSpec::default()
    };
    data().upload(&bucket, &spec).await.unwrap();
    parent.join(block_id(7).to_string())
}

fn options(hash: HashFunc) -> UploadOptions {
    UploadOptions {
        concurrency: 3,
        hash,
        clock: Arc::new(FixedClock(NOW)),
        ..UploadOptions::default()
    }
}

fn memory() -> Bucket {
    Bucket::new(Arc::new(InMemory::new()))
}

/// Returns a bucket in memory and what tells the requests that it gets.
fn traced() -> (Arc<LatencyStore>, Bucket) {
    let model = LatencyModel::of_requests(Duration::ZERO);
    let store = Arc::new(LatencyStore::new(Arc::new(InMemory::new()), model));
    (store.clone(), Bucket::new(store))
}

async fn names(bucket: &Bucket, id: BlockId) -> Vec<String> {
    let found = bucket.objects_under(&id.to_string()).await.unwrap();
    let relative = |name: String| name.split_once('/').unwrap().1.to_owned();
    found.into_iter().map(|(name, _)| relative(name)).collect()
}

/// C-08, 2.1: only chunk files, index and meta.json go, meta.json last, and it says what the files are.
#[tokio::test]
async fn an_uploaded_block_is_the_block_and_its_meta_json_comes_last() {
    let local = TempDir::new("upload");
    let dir = local_block(local.path(), &[("tenant", "a")]).await;
    std::fs::write(dir.join("tombstones"), b"x").unwrap();
    std::fs::write(dir.join("change.log"), b"x").unwrap();
    let (trace, bucket) = traced();
    let meta = upload_block(&bucket, &dir, &options(HashFunc::Sha256))
        .await
        .unwrap();

    let found = names(&bucket, meta.ulid).await;
    let segments = found.len() - 2;
    assert!(segments > 2 && found.ends_with(&["index".to_owned(), "meta.json".to_owned()]));
    let thanos = meta.thanos.clone().unwrap();
    assert_eq!(thanos.upload_time, UploadTime::at(NOW));
    assert_eq!(thanos.segment_files.len(), segments);
    let listed: Vec<_> = thanos.files.iter().map(|file| &file.rel_path).collect();
    assert_eq!(listed, found.iter().collect::<Vec<_>>());
    for file in &thanos.files {
        let is_meta = file.rel_path == "meta.json";
        assert_eq!(file.size_bytes == 0, is_meta);
        assert_eq!(file.hash.is_none(), is_meta);
    }
    let puts: Vec<_> = trace
        .trace()
        .of_kind(RequestKind::Put)
        .map(|request| request.object.clone())
        .collect();
    assert!(puts[puts.len() - 2].ends_with("/index"), "{puts:?}");
    assert!(puts[puts.len() - 1].ends_with("/meta.json"), "{puts:?}");

    let object = format!("{}/meta.json", meta.ulid);
    let text = bucket.read(&object, 1 << 20).await.unwrap();
    assert_eq!(Meta::parse(&text).unwrap(), meta);
    let back = local.path().join("back");
    let got = download_block(&bucket, meta.ulid, &back, &DownloadOptions::default()).await;
    assert_eq!(got.unwrap(), meta);
    assert_eq!(Block::open(&back).unwrap().meta().stats, meta.stats);
    for path in found {
        let same = std::fs::read(back.join(&path)).unwrap();
        assert!(path == "meta.json" || same == std::fs::read(dir.join(&path)).unwrap());
    }
}

#[tokio::test]
async fn what_is_no_thanos_block_is_refused() {
    let local = TempDir::new("refused");
    let dir = local_block(local.path(), &[]).await;
    let bucket = memory();
    let refused = |dir: PathBuf, bucket: Bucket| async move {
        let error = upload_block(&bucket, &dir, &options(HashFunc::None)).await;
        error.unwrap_err()
    };
    let error = refused(dir.clone(), bucket.clone()).await;
    assert_eq!(
        (error.kind(), error.message()),
        (
            ErrorKind::Invalid,
            "empty external labels are not allowed for Thanos block."
        )
    );
    let other = local.path().join("other");
    std::fs::create_dir(&other).unwrap();
    assert!(
        refused(other.clone(), bucket.clone())
            .await
            .to_string()
            .contains("not a block dir")
    );
    let missing = local.path().join("missing");
    assert!(
        refused(missing, bucket.clone())
            .await
            .to_string()
            .contains("not a directory")
    );
    let renamed = local.path().join(block_id(9).to_string());
    std::fs::rename(&dir, &renamed).unwrap();
    assert!(
        refused(renamed.clone(), bucket.clone())
            .await
            .to_string()
            .contains("is of block")
    );
    std::fs::rename(&renamed, &dir).unwrap();
    let allowed = UploadOptions {
        without_labels_allowed: true,
        ..options(HashFunc::None)
    };
    upload_block(&bucket, &dir, &allowed).await.unwrap();
}

#[tokio::test]
async fn a_block_is_published_once() {
    let local = TempDir::new("once");
    let dir = local_block(local.path(), &[("tenant", "a")]).await;
    let bucket = memory();
    let staged = stage_block(&bucket, &dir, &options(HashFunc::None))
        .await
        .unwrap();
    let first = publish_block(&bucket, &staged).await.unwrap();
    let later = UploadOptions {
        clock: Arc::new(FixedClock(NOW + 1000)),
        ..options(HashFunc::None)
    };
    // The same block again is no news, and its meta.json stays.
    let before = bucket.requests();
    assert_eq!(upload_block(&bucket, &dir, &later).await.unwrap(), first);
    assert_eq!(bucket.requests().puts, before.puts);
    // Another block of the same name is refused, also when it appears in between.
    let mut other = staged.clone();
    other.stats.num_samples += 1;
    let error = publish_block(&bucket, &other).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(publish_block(&bucket, &staged).await.unwrap(), first);
}

#[tokio::test]
async fn large_files_go_and_come_in_parts() {
    let local = TempDir::new("parts");
    let dir = local_block(local.path(), &[("tenant", "a")]).await;
    // An index of 12 MiB is no index, and a transfer does not mind.
    let index: Vec<u8> = (0..(12 << 20) + 5_u32)
        .map(|at| at.to_le_bytes()[1])
        .collect();
    std::fs::write(dir.join("index"), &index).unwrap();
    let options = UploadOptions {
        part_bytes: 1,
        ..options(HashFunc::None)
    };
    let directory = TempDir::new("parts-bucket");
    for bucket in [memory(), crate::directory::open(directory.path()).unwrap()] {
        let meta = upload_block(&bucket, &dir, &options).await.unwrap();
        let back = TempDir::new("parts-back");
        let options = DownloadOptions::default();
        let got = download_block(&bucket, meta.ulid, back.path(), &options).await;
        got.unwrap();
        assert_eq!(std::fs::read(back.path().join("index")).unwrap(), index);
    }
}

/// C-29: what is there with the right checksum is not read again, and what is damaged is.
#[tokio::test]
async fn equal_files_are_not_downloaded_again() {
    let local = TempDir::new("again");
    let dir = local_block(local.path(), &[("tenant", "a")]).await;
    let bucket = memory();
    let meta = upload_block(&bucket, &dir, &options(HashFunc::Sha256)).await;
    let id = meta.unwrap().ulid;
    let back = local.path().join("back");
    let gets = |bucket: &Bucket| bucket.requests().gets;
    let download = || async {
        let before = gets(&bucket);
        let options = DownloadOptions::default();
        download_block(&bucket, id, &back, &options).await.unwrap();
        gets(&bucket) - before
    };
    let files = names(&bucket, id).await.len() as u64;
    assert_eq!(download().await, files);
    assert_eq!(download().await, 1, "meta.json");
    let index = std::fs::read(back.join("index")).unwrap();
    let mut damaged = index.clone();
    damaged[100] ^= 1;
    std::fs::write(back.join("index"), damaged).unwrap();
    std::fs::write(back.join("chunks/000077"), b"left").unwrap();
    std::fs::write(back.join("tombstones"), b"left").unwrap();
    assert_eq!(download().await, 2, "meta.json and index");
    assert_eq!(std::fs::read(back.join("index")).unwrap(), index);
    assert!(!back.join("chunks/000077").exists() && !back.join("tombstones").exists());
}

#[tokio::test]
async fn a_block_that_is_not_whole_is_no_download() {
    let local = TempDir::new("holes");
    let dir = local_block(local.path(), &[("tenant", "a")]).await;
    let bucket = memory();
    let meta = upload_block(&bucket, &dir, &options(HashFunc::None)).await;
    let id = meta.unwrap().ulid;
    let back = local.path().join("back");
    let fails = || async {
        let options = DownloadOptions::default();
        let error = download_block(&bucket, id, &back, &options).await;
        assert!(!back.join("meta.json").exists());
        error.unwrap_err()
    };
    let object = format!("{id}/chunks/000002");
    let segment = bucket.read(&object, 1 << 20).await.unwrap();
    let cut = segment.slice(..segment.len() - 1);
    bucket.put(&object, cut).await.unwrap();
    let error = fails().await;
    assert_eq!(
        (error.kind(), error.file()),
        (ErrorKind::Corrupt, Some(&object[..]))
    );
    bucket.delete(&object).await.unwrap();
    let error = fails().await;
    assert_eq!(
        (error.kind(), error.file()),
        (ErrorKind::Corrupt, Some(&object[..]))
    );
    bucket.put(&object, segment).await.unwrap();
    bucket.delete(&format!("{id}/meta.json")).await.unwrap();
    assert_eq!(fails().await.kind(), ErrorKind::NotFound);
}

/// Whatever fails, nothing half is visible: no meta.json, and nothing is left when the store is well enough to clean up.
#[tokio::test(start_paused = true)]
async fn a_failed_upload_leaves_nothing_visible() {
    let local = TempDir::new("failing");
    let dir = local_block(local.path(), &[("tenant", "a")]).await;
    let (mut failed, mut done) = (0, 0);
    for seed in 0..60 {
        let store = Arc::new(FaultyStore::new(Arc::new(InMemory::new())));
        let bucket = Bucket::new(store.clone());
        store.start(FaultPlan {
            seed,
            per_mille: vec![(StoreFault::Unavailable, 40)],
            spike_max: Duration::ZERO,
            spared: Vec::new(),
        });
        let uploaded = upload_block(&bucket, &dir, &options(HashFunc::None)).await;
        store.stop();
        let found = names(&bucket, block_id(7)).await;
        let visible = found.contains(&"meta.json".to_owned());
        assert_eq!(visible, uploaded.is_ok(), "seed {seed}");
        if uploaded.is_ok() {
            done += 1;
            let back = TempDir::new("failing-back");
            let options = DownloadOptions::default();
            let got = download_block(&bucket, block_id(7), back.path(), &options).await;
            got.unwrap();
        } else {
            failed += 1;
        }
    }
    assert!(failed > 5 && done > 5, "{failed} failed, {done} done");
}

/// 2.1: the deletion mark outlives everything else of the block, and meta.json goes first.
#[tokio::test]
async fn a_deletion_starts_with_meta_json_and_ends_with_the_mark() {
    let local = TempDir::new("delete");
    let dir = local_block(local.path(), &[("tenant", "a")]).await;
    let (trace, bucket) = traced();
    let meta = upload_block(&bucket, &dir, &options(HashFunc::None)).await;
    let id = meta.unwrap().ulid;
    mark_block(&bucket, &DeletionMark::new(id, NOW, "test"))
        .await
        .unwrap();
    bucket
        .put(&format!("{id}/else/thing"), "x".into())
        .await
        .unwrap();
    delete_block(&bucket, id).await.unwrap();
    assert_eq!(names(&bucket, id).await, [""; 0]);
    let deleted: Vec<_> = trace
        .trace()
        .of_kind(RequestKind::Delete)
        .map(|request| request.object.clone())
        .collect();
    let place = |end: &str| deleted.iter().position(|name| name.ends_with(end));
    assert_eq!(place("/meta.json"), Some(0));
    let mark = place("/deletion-mark.json").unwrap();
    assert!(place("/index").unwrap() < mark && place("/else/thing").unwrap() < mark);
    delete_block(&bucket, id).await.unwrap();
}

#[tokio::test]
async fn a_deleted_block_leaves_no_directory() {
    let directory = TempDir::new("empty-directories");
    let bucket = crate::directory::open(directory.path()).unwrap();
    local_block(directory.path(), &[("tenant", "a")]).await;
    delete_block(&bucket, block_id(7)).await.unwrap();
    assert_eq!(bucket.top_directories().await.unwrap(), [""; 0]);
}

/// 2.3: a mark that exists stays as it is.
#[tokio::test]
async fn the_first_mark_stays_until_it_is_removed() {
    let bucket = memory();
    let id = block_id(1);
    let mark = |details: &str| DeletionMark::new(id, NOW, details);
    assert!(mark_block(&bucket, &mark("one")).await.unwrap());
    assert!(!mark_block(&bucket, &mark("two")).await.unwrap());
    let object = format!("{id}/deletion-mark.json");
    let text = bucket.read(&object, 1000).await.unwrap();
    assert!(String::from_utf8_lossy(&text).contains("one"));
    let other = NoCompactMark::new(id, NOW, no_compact_reason::MANUAL, "");
    assert!(mark_block(&bucket, &other).await.unwrap());
    assert!(remove_mark::<DeletionMark>(&bucket, id).await.unwrap());
    assert!(!remove_mark::<DeletionMark>(&bucket, id).await.unwrap());
    assert_eq!(names(&bucket, id).await, ["no-compact-mark.json"]);
}
