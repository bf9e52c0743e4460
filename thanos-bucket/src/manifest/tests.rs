mod publishing;

use std::sync::Arc;

use object_store::memory::InMemory;
use thanos_core::block::{BlockId, Meta, UploadTime};
use thanos_core::testkit::TestRandom;
use thanos_core::time::{Clock, FixedClock};
use thanos_core::{Error, ErrorKind};

use super::*;
use crate::Bucket;
use crate::compute::Compute;
use crate::fetch::filter::StoreFilters;
use crate::fetch::{
    BlockEntry, BlockObjects, BlockState, Discovery, FetchOptions, Fetcher, Marks, MetaDetail,
    Stamp, Stamps, ViewOrigin,
};
use crate::testkit::block_id;

fn memory() -> Bucket {
    Bucket::new(Arc::new(InMemory::new()))
}

fn random_ids(random: &mut TestRandom, most: u64) -> Vec<BlockId> {
    let count = random.below(most);
    (0..count)
        .map(|_| block_id(u32::try_from(random.below(50)).unwrap()))
        .collect()
}

fn random_time(random: &mut TestRandom) -> Option<Timestamp> {
    let ms = i64::try_from(random.below(1 << 41)).unwrap();
    (random.below(3) == 0).then(|| Timestamp::from_millis(ms / 1000 * 1000))
}

fn random_entry(random: &mut TestRandom, number: u32) -> BlockEntry {
    let min_ms = i64::try_from(random.below(1 << 42)).unwrap() - (1 << 41);
    let mut meta = Meta {
        ulid: block_id(number),
        version: 1,
        min_time: Timestamp::from_millis(min_ms),
        max_time: Timestamp::from_millis(min_ms + i64::try_from(random.below(1 << 30)).unwrap()),
        ..Meta::default()
    };
    meta.stats.num_samples = random.next_u64();
    meta.stats.num_series = random.below(1 << 20);
    meta.compaction.level = u32::try_from(random.below(9)).unwrap();
    meta.compaction.sources = random_ids(random, 6);
    meta.compaction.deletable = random.below(9) == 0;
    meta.compaction.failed = random.below(9) == 0;
    if random.below(8) > 0 {
        let thanos = meta.thanos.get_or_insert_default();
        thanos.version = u32::try_from(random.below(2)).unwrap();
        for _ in 0..random.below(4) {
            let label = format!("l{}", random.below(5));
            thanos
                .labels
                .insert(label, format!("\u{e9}{}", random.below(9)));
        }
        thanos.downsample.resolution_ms =
            [0, 300_000, 3_600_000][usize::try_from(random.below(3)).unwrap()];
        thanos.source =
            ["", "sidecar", "compactor"][usize::try_from(random.below(3)).unwrap()].into();
        thanos.index_stats.series_max_size = random.below(1 << 20);
        if let Some(time) = random_time(random) {
            thanos.upload_time = UploadTime::at(time);
        }
        if random.below(5) == 0 {
            thanos.extensions = Some(serde_json::json!({"parquet_migrated": random.below(2) == 0}));
        }
    }
    let objects = BlockObjects {
        index_bytes: random.next_u64() >> 20,
        segment_bytes: (0..random.below(4))
            .map(|_| random.below(1 << 29))
            .collect(),
        sparse_header_bytes: (random.below(2) == 0).then(|| random.below(1 << 20)),
    };
    BlockEntry {
        meta,
        objects: (random.below(6) > 0).then_some(objects),
        marks: Marks {
            deletion: random_time(random),
            no_compact: random_time(random),
            no_downsample: random_time(random),
        },
        stamps: Stamps {
            meta: Stamp::from_raw(random.next_u64()),
            deletion: Stamp::from_raw(random.below(2)),
            ..Stamps::default()
        },
    }
}

fn random_view(seed: u64, blocks: u32) -> BucketView {
    let mut random = TestRandom::new(seed);
    let mut view = BucketView::default();
    for number in 0..blocks {
        match random.below(10) {
            0 => {
                let error = Error::corrupt("half a file");
                view.partial.insert(block_id(number), Arc::new(error));
            }
            1 => {
                let error = Error::not_found("the block has no meta.json");
                view.partial.insert(block_id(number), Arc::new(error));
            }
            _ => {
                let entry = random_entry(&mut random, number);
                view.blocks.insert(entry.meta.ulid, Arc::new(entry));
            }
        }
    }
    view
}

/// What tests compare of a view.
type Shape = (Vec<BlockEntry>, Vec<(BlockId, ErrorKind, String)>);

fn shape(view: &BucketView) -> Shape {
    let partial = view.partial.iter();
    (
        view.blocks
            .values()
            .map(|entry| BlockEntry::clone(entry))
            .collect(),
        partial
            .map(|(id, error)| (*id, error.kind(), error.message().to_owned()))
            .collect(),
    )
}

/// The body is a function of the format alone; how zstd packs it may change.
#[test]
fn the_format_has_golden_bytes() {
    let made = Timestamp::from_millis(1_700_000_000_123);
    let bytes = format::encode(&BucketView::default(), made).unwrap();
    assert_eq!(&bytes[..12], b"thanosmf\0\0\0\x01");
    assert_eq!(bytes[12..20], 1_700_000_000_123_u64.to_be_bytes());
    assert_eq!(bytes[20..28], 4_u64.to_be_bytes(), "four counts of 0");
    assert_eq!(bytes[28..36], (bytes.len() as u64 - 44).to_be_bytes());
    assert_eq!(
        zstd::bulk::decompress(&bytes[36..bytes.len() - 8], 100).unwrap(),
        [0, 0, 0, 0]
    );

    let mut view = BucketView::default();
    let mut entry = BlockEntry::new(
        Meta {
            ulid: block_id(2),
            version: 1,
            ..Meta::default()
        },
        Some(BlockObjects {
            index_bytes: 300,
            segment_bytes: vec![7],
            sparse_header_bytes: None,
        }),
    );
    entry.meta.max_time = Timestamp::from_millis(5);
    entry.meta.compaction.sources = vec![block_id(2), block_id(1)];
    entry.marks.deletion = Some(Timestamp::from_millis(1));
    entry.stamps.meta = Stamp::from_raw(9);
    view.blocks.insert(block_id(2), Arc::new(entry));
    let bytes = format::encode(&view, made).unwrap();
    let body = zstd::bulk::decompress(&bytes[36..bytes.len() - 8], 1000).unwrap();
    let mut expected = vec![0, 2];
    expected.extend(block_id(1).to_bytes());
    expected.extend(block_id(2).to_bytes());
    // One block: id 1, flags, times, six statistics, level, two sources, objects, marker, stamps; no partial block.
    expected.extend([
        1, 1, 0x14, 0, 5, 0, 0, 0, 0, 0, 0, 0, 2, 2, 1, 0xac, 2, 1, 7, 2,
    ]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 9]);
    expected.extend([0; 24]);
    expected.push(0);
    assert_eq!(body, expected);
}

#[test]
fn what_is_written_is_read() {
    for seed in 0..60 {
        let view = random_view(seed, 20);
        let made = Timestamp::from_millis(i64::try_from(seed).unwrap() - 30);
        let manifest = Manifest::decode(&format::encode(&view, made).unwrap()).unwrap();
        assert_eq!(manifest.made, made);
        assert_eq!(shape(&manifest.view), shape(&view), "seed {seed}");
        assert_eq!(
            manifest.encode().unwrap(),
            format::encode(&view, made).unwrap()
        );
    }
}

#[test]
fn every_flipped_byte_and_every_cut_is_seen() {
    let bytes = format::encode(&random_view(7, 5), Timestamp::from_millis(1)).unwrap();
    let refuse = |what: String, copy: &[u8]| {
        let error = Manifest::decode(copy).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
        assert_eq!(error.file(), Some(MANIFEST_OBJECT));
        assert!(error.offset().is_some(), "{what}: {error}");
    };
    for at in 0..bytes.len() {
        for mask in [0x01, 0x10, 0x80, 0xff] {
            let mut copy = bytes.clone();
            copy[at] ^= mask;
            refuse(format!("byte {at} xor {mask:02x}"), &copy);
        }
        refuse(format!("cut at {at}"), &bytes[..at]);
    }
}

/// Bytes with a right checksum, the body being whatever it is.
fn sealed(body: &[u8], declared: u64) -> Vec<u8> {
    let packed = zstd::bulk::compress(body, 1).unwrap();
    let mut out = b"thanosmf\0\0\0\x01".to_vec();
    out.extend([0; 8]);
    out.extend(declared.to_be_bytes());
    out.extend((packed.len() as u64).to_be_bytes());
    out.extend(&packed);
    let checksum = xxhash_rust::xxh64::xxh64(&out, 0);
    out.extend(checksum.to_be_bytes());
    out
}

#[test]
fn declared_sizes_are_not_believed() {
    let zeroes = vec![0; 1 << 20];
    for declared in [0, 100, (1 << 20) - 1, (1 << 20) + 1, 1 << 29, u64::MAX] {
        let error = Manifest::decode(&sealed(&zeroes, declared)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{declared}: {error}");
    }
    // Counts of things that the rest cannot hold.
    for body in [
        &[0xff, 0xff, 0xff, 0x7f][..],
        &[0, 0xff, 0xff, 3],
        &[0, 0, 0x7f],
        &[0, 0, 0, 9],
    ] {
        let error = Manifest::decode(&sealed(body, body.len() as u64)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{body:?}: {error}");
    }
    let mut newer = sealed(&[0; 4], 4);
    newer[11] = 2;
    let end = newer.len() - 8;
    let checksum = xxhash_rust::xxh64::xxh64(&newer[..end], 0);
    newer[end..].copy_from_slice(&checksum.to_be_bytes());
    assert_eq!(
        Manifest::decode(&newer).unwrap_err().kind(),
        ErrorKind::Invalid
    );
}

/// The body of a fuzz target: whatever the bytes are, they are a manifest that can be written again, or an error.
fn fuzz_body(body: &[u8]) {
    for bytes in [body.to_vec(), sealed(body, body.len() as u64)] {
        if let Ok(manifest) = Manifest::decode(&bytes) {
            let again = Manifest::decode(&manifest.encode().unwrap()).unwrap();
            assert_eq!(shape(&again.view), shape(&manifest.view));
        }
    }
}

#[test]
fn damaged_bodies_behind_a_right_checksum_do_no_harm() {
    for seed in 0..300 {
        let mut random = TestRandom::new(seed);
        let bytes = format::encode(&random_view(seed, 3), Timestamp::from_millis(0)).unwrap();
        let mut body = zstd::bulk::decompress(&bytes[36..bytes.len() - 8], 1 << 20).unwrap();
        for _ in 0..=random.below(3) {
            let at = usize::try_from(random.below(body.len() as u64)).unwrap();
            body[at] ^= u8::try_from(1 + random.below(255)).unwrap();
        }
        fuzz_body(&body);
    }
}

async fn put_block(bucket: &Bucket, id: BlockId) {
    bucket
        .put(&format!("{id}/index"), "data".into())
        .await
        .unwrap();
    let meta = format!(
        r#"{{"ulid":"{id}","minTime":0,"maxTime":10,"version":1,"thanos":{{"labels":{{"a":"1"}}}}}}"#
    );
    bucket
        .put(&format!("{id}/meta.json"), meta.into())
        .await
        .unwrap();
}

async fn publish(bucket: &Bucket, view: BucketView, made: Timestamp) -> Result<Published> {
    publisher(bucket).publish(Arc::new(view), made).await
}

fn publisher(bucket: &Bucket) -> ManifestPublisher {
    ManifestPublisher::new(bucket.clone(), ManifestOptions::default(), Compute::new(1))
}

fn reader(bucket: &Bucket, now_ms: i64) -> ManifestReader {
    let clock: Arc<dyn Clock> = Arc::new(FixedClock(Timestamp::from_millis(now_ms)));
    ManifestReader::new(
        bucket.clone(),
        ManifestOptions::default(),
        clock,
        Compute::new(1),
    )
}

/// Goal 7: with a manifest a sync is one conditional read, whatever the number of blocks, and finds the same.
#[tokio::test]
async fn a_sync_with_a_manifest_is_one_request() {
    let bucket = memory();
    for number in 0..30 {
        put_block(&bucket, block_id(number)).await;
    }
    let mark = thanos_core::block::DeletionMark::new(block_id(3), Timestamp::from_millis(0), "");
    let mark = thanos_core::block::Marker::to_json(&mark);
    bucket
        .put(&format!("{}/deletion-mark.json", block_id(3)), mark.into())
        .await
        .unwrap();
    let publisher = Fetcher::new(bucket.clone(), FetchOptions::default());
    let now_ms = 1_700_000_000_000;
    let made = Timestamp::from_millis(now_ms);
    let view = publisher.fetch().await.unwrap();
    assert_eq!(
        publish(&bucket, view, made).await.unwrap(),
        Published::Written
    );

    let filters = || StoreFilters::default().build();
    let discovery = Discovery::new(bucket.clone(), FetchOptions::default(), filters())
        .with_manifest(reader(&bucket, now_ms + 1000));
    for _ in 0..2 {
        let before = bucket.requests();
        let found = discovery.sync().await.unwrap();
        let after = bucket.requests();
        assert_eq!(
            (after.gets - before.gets, after.lists - before.lists),
            (1, 0)
        );
        assert_eq!(found.origin, ViewOrigin::Manifest);
        assert_eq!(found.selection.states.get(BlockState::MarkedForDeletion), 1);
        let listed = Discovery::new(bucket.clone(), FetchOptions::default(), filters());
        let listed = listed.sync().await.unwrap();
        assert_eq!(found.selection.blocks, listed.selection.blocks);
    }
}

/// Missing, old, from the future, damaged, of another version: the bucket is looked through, and known blocks are not
/// read again.
#[tokio::test]
async fn a_manifest_that_is_not_good_enough_is_ignored() {
    let bucket = memory();
    put_block(&bucket, block_id(1)).await;
    let view = Fetcher::new(bucket.clone(), FetchOptions::default())
        .fetch()
        .await
        .unwrap();
    let made_ms = 1_700_000_000_000;
    assert!(matches!(
        reader(&bucket, made_ms).read().await,
        ManifestOutcome::Absent
    ));
    publish(&bucket, view, Timestamp::from_millis(made_ms))
        .await
        .unwrap();
    let age_ms = ManifestOptions::default().age_ms_max;
    for (now_ms, is_fresh) in [
        (made_ms + age_ms, true),
        (made_ms + age_ms + 1, false),
        (made_ms - age_ms - 1, false),
    ] {
        let outcome = reader(&bucket, now_ms).read().await;
        assert_eq!(
            matches!(outcome, ManifestOutcome::Fresh(_)),
            is_fresh,
            "{now_ms}"
        );
    }
    let old = Discovery::new(bucket.clone(), FetchOptions::default(), Vec::new())
        .with_manifest(reader(&bucket, made_ms + age_ms + 1));
    let before = bucket.requests().gets;
    let found = old.sync().await.unwrap();
    assert_eq!(
        (found.origin, found.selection.blocks.len()),
        (ViewOrigin::Listing, 1)
    );
    assert_eq!(
        bucket.requests().gets - before,
        1,
        "the manifest; the block is known from it"
    );

    bucket.put(MANIFEST_OBJECT, "rubbish".into()).await.unwrap();
    assert!(matches!(
        reader(&bucket, made_ms).read().await,
        ManifestOutcome::Ignored
    ));
}

/// The name is none that Thanos takes for a block, or for a part of one.
#[test]
fn the_name_is_not_that_of_a_block() {
    let (directory, object) = MANIFEST_OBJECT.split_once('/').unwrap();
    assert!(directory.parse::<BlockId>().is_err() && directory.len() != 26);
    assert!(object.parse::<BlockId>().is_err() && object != "meta.json" && object != "meta.pb");
}

#[test]
fn whole_metas_are_cut_to_what_reading_needs() {
    let mut entry = random_entry(&mut TestRandom::new(1), 1);
    entry.meta.compaction.hints = vec!["x".into()];
    let mut view = BucketView::default();
    let mut expected = entry.clone();
    view.blocks.insert(block_id(1), Arc::new(entry));
    MetaDetail::Reading.trim(&mut expected.meta);
    let bytes = format::encode(&view, Timestamp::from_millis(0)).unwrap();
    assert_eq!(shape(&Manifest::decode(&bytes).unwrap().view).0, [expected]);
}
