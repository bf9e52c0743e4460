use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use bytes::Bytes;
use object_store::memory::InMemory;
use thanos_core::ErrorKind;
use thanos_core::testkit::{K8sSpec, TempDir, TestRandom};
use thanos_core::time::{FixedClock, Timestamp};

use super::*;
use crate::testkit::{
    BlockData, BlockSpec, FaultPlan, FaultyStore, LatencyModel, LatencyStore, RequestKind, Sizes,
    StoreFault, block_id,
};
use crate::transfer::HashFunc;

const NOW: Timestamp = Timestamp::from_millis(1_795_352_409_054);
const HOUR_MS: i64 = 3_600_000;

/// A database directory.
struct Database {
    dir: TempDir,
}

impl Database {
    fn new() -> Self {
        Self {
            dir: TempDir::new("ship"),
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn block(&self, number: u32) -> PathBuf {
        self.path().join(block_id(number).to_string())
    }

    /// Writes a block of two hours as Prometheus does; later numbers have later data.
    async fn add(&self, number: u32) -> BlockId {
        self.add_compacted(number, number, &[]).await
    }

    /// Writes a block of the times of the blocks from `number` on, compacted from `sources`.
    async fn add_compacted(&self, id: u32, number: u32, sources: &[u32]) -> BlockId {
        let bucket = crate::directory::open(self.path()).unwrap();
        let start = Timestamp::from_millis(i64::from(number) * 2 * HOUR_MS);
        let hours = 2 * i64::try_from(sources.len().max(1)).unwrap();
        let spec = BlockSpec {
            id: block_id(id),
            time: Some((start, start + hours * HOUR_MS)),
            sources: sources.iter().copied().map(block_id).collect(),
            sizes: Sizes::Unknown,
            ..BlockSpec::default()
        };
        data(number).upload(&bucket, &spec).await.unwrap();
        // Prometheus knows nothing of Thanos.
        let dir = self.block(id);
        let mut meta = Meta::read_dir(&dir).unwrap();
        meta.thanos = None;
        meta.write_dir(&dir).unwrap();
        block_id(id)
    }

    fn shipper(&self, bucket: &Bucket, change: impl FnOnce(&mut ShipperOptions)) -> Shipper {
        let mut options = ShipperOptions {
            upload: UploadOptions {
                clock: Arc::new(FixedClock(NOW)),
                ..UploadOptions::default()
            },
            ..ShipperOptions::default()
        };
        change(&mut options);
        Shipper::new(bucket.clone(), self.path(), options)
    }

    fn record(&self) -> String {
        fs::read_to_string(self.path().join(SHIPPER_FILE)).unwrap()
    }
}

fn data(number: u32) -> BlockData {
    let spec = K8sSpec::default();
    let series: Vec<_> = (0..5)
        .map(|i| {
            let labels = Labels::from_pairs([
                ("__name__", "up"),
                ("i", &format!("{i:02}")),
                ("block", &number.to_string()),
            ]);
            (labels, spec.chunks(i))
        })
        .collect();
    BlockData::in_segments(&series, 2000).unwrap()
}

fn external_labels() -> Labels {
    Labels::from_pairs([("cluster", "eu"), ("replica", "a")])
}

fn memory() -> Bucket {
    Bucket::new(Arc::new(InMemory::new()))
}

/// All objects of a bucket with their contents.
async fn objects(bucket: &Bucket) -> BTreeMap<String, Bytes> {
    let mut all = BTreeMap::new();
    for directory in bucket.top_directories().await.unwrap() {
        let directory = directory.trim_end_matches('/');
        for info in bucket.objects_in(directory).await.unwrap() {
            let name = info.name;
            let content = bucket.read(&name, 1 << 30).await.unwrap();
            all.insert(name, content);
        }
    }
    all
}

async fn meta(bucket: &Bucket, id: BlockId) -> Meta {
    let text = bucket.read(&format!("{id}/{META_FILE}"), 1 << 20).await;
    Meta::parse(&text.unwrap()).unwrap()
}

/// A-04, SC-17, SC-20: blocks come oldest first, once; what needs no upload is left, and the record says what was done.
#[tokio::test]
async fn blocks_are_uploaded_oldest_first_and_once() {
    let database = Database::new();
    let (second, first) = (database.add(2).await, database.add(1).await);
    let compacted = database.add_compacted(9, 3, &[3, 4]).await;
    let empty = database.add(5).await;
    let mut without_samples = Meta::read_dir(&database.block(5)).unwrap();
    without_samples.stats.num_samples = 0;
    without_samples.write_dir(&database.block(5)).unwrap();
    for other in ["wal", "chunks_head", "01INVALID", "thanos"] {
        fs::create_dir_all(database.path().join(other)).unwrap();
    }
    fs::write(database.path().join(block_id(77).to_string()), "a file").unwrap();

    let bucket = memory();
    let shipper = database.shipper(&bucket, |_| {});
    let shipped = shipper.sync(&external_labels()).await.unwrap();
    assert_eq!(shipped.uploaded, [first, second]);
    assert_eq!(shipped.ignored, [compacted, empty]);
    assert_eq!(
        database.record(),
        format!(
            "{{\n\t\"version\": 1,\n\t\"uploaded\": [\n\t\t\"{first}\",\n\t\t\"{second}\"\n\t]\n}}\n"
        )
    );
    let before = objects(&bucket).await;
    assert_eq!(
        before
            .keys()
            .filter(|name| name.ends_with(META_FILE))
            .count(),
        2
    );

    let again = shipper.sync(&external_labels()).await.unwrap();
    assert_eq!(
        (again.uploaded, again.already),
        (vec![], vec![first, second])
    );
    // Without the record the bucket knows.
    fs::write(database.path().join(SHIPPER_FILE), "{").unwrap();
    let again = shipper.sync(&external_labels()).await.unwrap();
    assert_eq!(again.already, [first, second]);
    assert_eq!(objects(&bucket).await, before);
    assert_eq!(shipper.metrics().uploads(), 2);

    // What was uploaded and compacted away in the bucket does not come back; what has gone here leaves the record.
    crate::transfer::delete_block(&bucket, first).await.unwrap();
    let again = shipper.sync(&external_labels()).await.unwrap();
    assert!(again.uploaded.is_empty() && !shipper.all_uploaded().await.unwrap());
    for number in [1, 2, 5, 9] {
        fs::remove_dir_all(database.block(number)).unwrap();
    }
    shipper.sync(&external_labels()).await.unwrap();
    assert_eq!(
        database.record(),
        "{\n\t\"version\": 1,\n\t\"uploaded\": null\n}\n"
    );
    assert!(shipper.all_uploaded().await.unwrap());
}

/// SC-18, SC-19, SC-23: the published `meta.json` says whose block it is and what belongs to it, and was written last; the
/// database's own files are as they were, and no copy remains.
#[tokio::test]
async fn a_published_block_says_whose_it_is() {
    let database = Database::new();
    let id = database.add(1).await;
    let own = fs::read(database.block(1).join(META_FILE)).unwrap();
    let latency = LatencyModel::of_requests(Duration::from_millis(2));
    let store = Arc::new(LatencyStore::new(Arc::new(InMemory::new()), latency));
    let bucket = Bucket::new(store.clone());
    let shipper = database.shipper(&bucket, |options| options.upload.hash = HashFunc::Sha256);
    shipper.sync(&external_labels()).await.unwrap();

    let published = meta(&bucket, id).await;
    let thanos = published.thanos.as_ref().unwrap();
    assert_eq!(published.external_labels(), external_labels());
    assert_eq!((thanos.version, thanos.source.as_str()), (1, "sidecar"));
    assert_eq!(thanos.upload_time, thanos_core::block::UploadTime::at(NOW));
    assert!(thanos.segment_files.len() > 1);
    for file in &thanos.files {
        if file.rel_path != META_FILE {
            let path = database.block(1).join(&file.rel_path);
            assert_eq!(file.size_bytes, fs::metadata(path).unwrap().len());
            assert!(file.hash.is_some(), "{}", file.rel_path);
        }
    }
    let trace = store.trace();
    let written: Vec<_> = trace
        .of_kind(RequestKind::Put)
        .map(|request| request.object.clone())
        .collect();
    let names: Vec<_> = written
        .iter()
        .map(|name| name.strip_prefix(&format!("{id}/")).unwrap())
        .collect();
    let (last, rest) = names.split_last().unwrap();
    let (index, chunks) = rest.split_last().unwrap();
    assert_eq!((*last, *index), (META_FILE, "index"));
    assert!(chunks.iter().all(|name| name.starts_with("chunks/")));

    assert_eq!(fs::read(database.block(1).join(META_FILE)).unwrap(), own);
    let left: Vec<_> = fs::read_dir(database.path().join("thanos/upload"))
        .unwrap()
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A-04, SC-21: compacted blocks are uploaded when that is wanted and they do not overlap with what is there.
#[tokio::test]
async fn compacted_blocks_must_not_overlap_with_the_bucket() {
    let database = Database::new();
    let bucket = memory();
    let first = database.add(1).await;
    let shipper = database.shipper(&bucket, |options| options.upload_compacted = true);
    shipper.sync(&external_labels()).await.unwrap();
    assert_eq!(shipper.metrics().upload_compacted_done.get(), 1);

    // The database has compacted what was uploaded already.
    fs::remove_dir_all(database.block(1)).unwrap();
    let overlapping = database.add_compacted(9, 1, &[1, 2]).await;
    let error = shipper.sync(&external_labels()).await.unwrap_err();
    let text = error.to_string();
    for part in [
        "Found overlap or error during sync, cannot upload compacted block, details",
        &format!("shipping compacted block {overlapping} is blocked; overlap spotted"),
        &first.to_string(),
    ] {
        assert!(text.contains(part), "{text}");
    }
    // Another replica's blocks are no matter.
    let other = Labels::from_pairs([("cluster", "eu"), ("replica", "b")]);
    let shipped = shipper.sync(&other).await.unwrap();
    assert_eq!(shipped.uploaded, [overlapping]);

    let clean = database.add_compacted(10, 5, &[5, 6]).await;
    assert_eq!(shipper.sync(&other).await.unwrap().uploaded, [clean]);
    // Two that overlap with each other.
    database.add_compacted(11, 8, &[8, 9]).await;
    database.add_compacted(12, 9, &[9, 10]).await;
    let error = shipper.sync(&other).await.unwrap_err().to_string();
    assert!(error.contains(&block_id(12).to_string()), "{error}");
    let lax = database.shipper(&bucket, |options| {
        (options.upload_compacted, options.out_of_order_allowed) = (true, true);
    });
    assert_eq!(lax.sync(&other).await.unwrap().uploaded, [block_id(12)]);
}

/// SC-22: one block that cannot be uploaded or read stops all later ones, unless they are to go on.
#[tokio::test]
async fn what_fails_stops_the_rest_unless_it_is_to_go_on() {
    let database = Database::new();
    for number in 1..4 {
        database.add(number).await;
    }
    // The second block cannot be linked: it has a directory among its chunks.
    fs::create_dir(database.block(2).join("chunks/000099")).unwrap();
    let bucket = memory();
    let strict = database.shipper(&bucket, |_| {});
    let error = strict.sync(&external_labels()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let text = error.to_string();
    assert!(
        text.contains("000099") && text.contains(&format!("upload {}", block_id(2))),
        "{text}"
    );
    assert!(
        !bucket
            .exists(&format!("{}/{META_FILE}", block_id(3)))
            .await
            .unwrap()
    );
    assert_eq!(strict.metrics().dir_sync_failures.get(), 1);

    let lax = database.shipper(&bucket, |options| options.out_of_order_allowed = true);
    let shipped = lax.sync(&external_labels()).await.unwrap();
    assert_eq!(
        (shipped.already, shipped.uploaded),
        (vec![block_id(1)], vec![block_id(3)])
    );
    assert_eq!(shipped.failed.len(), 1);
    assert_eq!(lax.metrics().upload_failures.get(), 1);

    fs::write(database.block(1).join(META_FILE), "{").unwrap();
    fs::create_dir(database.block(4)).unwrap();
    database.add(5).await;
    let error = lax.sync(&external_labels()).await.unwrap_err().to_string();
    assert!(error.contains("read metadata for block"), "{error}");
    let skipping = database.shipper(&bucket, |options| {
        (options.out_of_order_allowed, options.skip_corrupted) = (true, true);
    });
    let shipped = skipping.sync(&external_labels()).await.unwrap();
    assert_eq!(shipped.uploaded, [block_id(5)]);
    let corrupted: Vec<_> = shipped
        .corrupted
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(corrupted, [database.block(1), database.block(4)]);
    assert_eq!(skipping.metrics().corrupted_blocks.get(), 2);
}

/// A block without external labels is refused: nobody could tell whose it is.
#[tokio::test]
async fn blocks_without_external_labels_are_refused() {
    let database = Database::new();
    database.add(1).await;
    let bucket = memory();
    let shipper = database.shipper(&bucket, |_| {});
    let error = shipper.sync(&Labels::empty()).await.unwrap_err();
    assert!(
        error.to_string().contains("empty external labels"),
        "{error}"
    );
    assert!(objects(&bucket).await.is_empty());
}

/// A record from elsewhere is read or refused, never half believed.
#[test]
fn records_are_read_or_refused() {
    let id = block_id(1);
    let text = format!("{{\"version\":1,\"uploaded\":[\"{id}\"]}}");
    assert_eq!(
        ShipperRecord::parse(text.as_bytes()).unwrap().uploaded,
        [id]
    );
    for (text, reason) in [
        (
            r#"{"version":2,"uploaded":[]}"#,
            "unexpected meta file version 2",
        ),
        (r#"{"uploaded":[]}"#, "no record of uploads"),
        (r#"{"version":1,"uploaded":["x"]}"#, "no record of uploads"),
        ("", "no record of uploads"),
    ] {
        let error = ShipperRecord::parse(text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(reason), "{text}: {error}");
    }
    let record = ShipperRecord::parse(text.as_bytes()).unwrap();
    let mut written = record.to_json();
    assert_eq!(ShipperRecord::parse(&written).unwrap(), record);
    for at in 0..written.len() {
        written[at] ^= 1;
        // A digit of the id may become another one, and a list of another name is none: both cost a question to the
        // bucket. Everything else is refused.
        if let Ok(other) = ShipperRecord::parse(&written) {
            assert!(other.uploaded.len() <= 1 && other != record, "byte {at}");
        }
        written[at] ^= 1;
    }
}

/// What is visible in a bucket: whole blocks whose `meta.json` never changes once it is there.
#[derive(Default)]
struct Watched {
    published: BTreeMap<String, Bytes>,
}

impl Watched {
    async fn look(&mut self, bucket: &Bucket, what: &str) {
        let all = objects(bucket).await;
        for (name, text) in all.iter().filter(|(name, _)| name.ends_with(META_FILE)) {
            let first = self
                .published
                .entry(name.clone())
                .or_insert_with(|| text.clone());
            assert_eq!(first, text, "{what}: {name} was published twice");
            let meta = Meta::parse(text).unwrap();
            for file in meta.thanos.unwrap().files {
                if file.rel_path != META_FILE {
                    let object = all.get(&format!("{}/{}", meta.ulid, file.rel_path));
                    let len = object.map(|content| content.len() as u64);
                    assert_eq!(
                        len,
                        Some(file.size_bytes),
                        "{what}: {} of {name}",
                        file.rel_path
                    );
                }
            }
        }
        for name in self.published.keys() {
            assert!(all.contains_key(name), "{what}: {name} has gone");
        }
    }
}

/// A4, "survives kill -9 at every step": whatever fails and whenever the process dies, nothing is lost, published twice
/// or visible in parts; the database may delete a block while it is uploaded.
#[test]
fn whoever_dies_at_any_step_loses_nothing_and_publishes_nothing_twice() {
    let is_long = std::env::var_os("THANOS_TEST_LONG").is_some();
    let seeds = if is_long { 10_000 } else { 60 };
    let mut killed = 0;
    for seed in 0..seeds {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        killed += runtime.block_on(schedule(seed));
    }
    assert!(killed > seeds, "only {killed} of the processes were killed");
}

/// Returns how many processes were killed.
async fn schedule(seed: u64) -> u64 {
    let mut random = TestRandom::new(seed);
    let database = Database::new();
    for number in 1..5 {
        database.add(number).await;
    }
    let inner = Arc::new(InMemory::new());
    let well = Bucket::new(inner.clone());
    let (mut watched, mut killed) = (Watched::default(), 0);
    for life in 0..5 {
        let store = Arc::new(FaultyStore::new(inner.clone()));
        let often = u32::try_from(random.below(4)).unwrap();
        store.start(FaultPlan {
            seed: random.next_u64(),
            per_mille: vec![
                (StoreFault::Unavailable, 10 * often),
                (StoreFault::LostAnswer, 30 * often),
                (StoreFault::Throttled, 10 * often),
                (StoreFault::Spike, 500),
            ],
            spike_max: Duration::from_secs(1),
            spared: Vec::new(),
        });
        let shipper = database.shipper(&Bucket::new(store.clone()), |options| {
            options.out_of_order_allowed = random.below(2) == 0;
        });
        // A process that is killed stops in the middle: its future is dropped.
        let lifetime = Duration::from_millis(random.below(8000));
        let labels = external_labels();
        let lived = tokio::time::timeout(lifetime, shipper.sync(&labels)).await;
        killed += u64::from(lived.is_err());
        drop(shipper);
        let what = format!("seed {seed} life {life}");
        watched.look(&well, &what).await;
    }
    // A whole upload is never less than what was there.
    let shipped = database
        .shipper(&well, |_| {})
        .sync(&external_labels())
        .await
        .unwrap();
    watched.look(&well, "at the end").await;
    assert_eq!(watched.published.len(), 4, "seed {seed}");
    assert_eq!(shipped.uploaded.len() + shipped.already.len(), 4);
    for number in 1..5 {
        let id = block_id(number);
        for file in ["index", "chunks/000001"] {
            let there = well.read(&format!("{id}/{file}"), 1 << 30).await.unwrap();
            assert_eq!(there, fs::read(database.block(number).join(file)).unwrap());
        }
    }
    let left: Vec<_> =
        fs::read_dir(database.path().join("thanos/upload")).map_or(Vec::new(), Iterator::collect);
    assert!(left.is_empty(), "seed {seed}: {left:?}");
    killed
}

/// SC-18: the database deletes the block while it is uploaded, and the upload goes on.
#[tokio::test]
async fn a_block_that_goes_during_its_upload_is_uploaded_whole() {
    let database = Database::new();
    let id = database.add(1).await;
    let latency = LatencyModel::of_requests(Duration::from_millis(20));
    let store = LatencyStore::new(Arc::new(InMemory::new()), latency);
    let bucket = Bucket::new(Arc::new(store));
    let shipper = database.shipper(&bucket, |_| {});
    let labels = external_labels();
    let upload = shipper.sync(&labels);
    let copy = database.path().join("thanos/upload").join(id.to_string());
    let deletion = async {
        while !copy.join(META_FILE).exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        fs::remove_dir_all(database.block(1)).unwrap();
    };
    let (shipped, ()) = futures::join!(upload, deletion);
    assert_eq!(shipped.unwrap().uploaded, [id]);
    Watched::default().look(&bucket, "after").await;
    assert!(bucket.exists(&format!("{id}/{META_FILE}")).await.unwrap());
}
