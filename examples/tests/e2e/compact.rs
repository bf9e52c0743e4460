//! `thanos compact` as a process over buckets in directories.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use thanos_bucket::Bucket;
use thanos_bucket::config::BucketConfig;
use thanos_bucket::testkit::{BlockData, BlockSpec, block_id};
use thanos_bucket::tombstones::{Tombstone, TombstoneStore};
use thanos_bucket::transfer::{UploadOptions, mark_block, upload_block};
use thanos_core::block::{BlockId, Meta, NoDownsampleMark};
use thanos_core::chunk::{Samples, encode};
use thanos_core::labels::{Labels, Matcher};
use thanos_core::testkit::TempDir;
use thanos_core::testkit::peer::{Peer, program};
use thanos_core::time::{Clock, SystemClock, TimeRange, Timestamp};
use tokio::runtime::Runtime;

use crate::metrics;
use crate::programs::{Store, directory_bucket, querier, testdata, thanos};

const HOUR: i64 = 3_600_000;
/// When the first samples are, at the beginning of two weeks: a multiple of 14 days.
const START: i64 = 1_209_600_000 * 1400;
const STEP: i64 = 60_000;

/// A bucket in a directory, and a directory for work.
struct Scene {
    directory: TempDir,
    work: TempDir,
    runtime: Runtime,
    bucket: Bucket,
}

impl Scene {
    fn new() -> Self {
        let directory = TempDir::new("e2e-compact");
        let yaml = directory_bucket(directory.path());
        Self {
            bucket: BucketConfig::from_yaml(&yaml).unwrap().open().unwrap(),
            work: TempDir::new("e2e-compact-work"),
            runtime: Runtime::new().unwrap(),
            directory,
        }
    }

    fn yaml(&self) -> String {
        directory_bucket(self.directory.path())
    }

    /// Puts a block into the bucket whose one series has a sample a minute, `from` to `to` minutes after the start.
    fn put(&self, number: u32, from: i64, to: i64, external: &[(&str, &str)]) -> BlockId {
        self.put_resolution(number, from, to, external, 0)
    }

    fn put_resolution(
        &self,
        number: u32,
        from: i64,
        to: i64,
        external: &[(&str, &str)],
        resolution_ms: i64,
    ) -> BlockId {
        let mut samples = Samples::new();
        for minute in from..to {
            samples.push_float(Timestamp::from_millis(START + minute * STEP), minute as f64);
        }
        let mut chunks = encode(&samples);
        if resolution_ms > 0 {
            chunks = thanos_core::downsample::downsample(&chunks, 0, resolution_ms).unwrap();
        }
        let series = Labels::from_pairs([("__name__", "minutes"), ("a", "1")]);
        let data = BlockData::of_series(&[(series, chunks)]).unwrap();
        let label = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let spec = BlockSpec {
            id: block_id(number),
            labels: external.iter().map(label).collect(),
            resolution_ms,
            time: Some((
                Timestamp::from_millis(START + from * STEP),
                Timestamp::from_millis(START + to * STEP),
            )),
            ..BlockSpec::default()
        };
        let upload = data.upload(&self.bucket, &spec);
        self.runtime.block_on(upload).unwrap();
        spec.id
    }

    fn command(&self, more: &[&str]) -> Command {
        self.command_at("127.0.0.1:0", more)
    }

    fn command_at(&self, address: &str, more: &[&str]) -> Command {
        let mut command = thanos(&["compact", "--http-address", address, "--data-dir"]);
        command.arg(self.work.path());
        command.args(["--objstore.config", &self.yaml()]).args(more);
        command
    }

    /// Compacts once; returns what the process said.
    fn compact(&self, more: &[&str]) -> String {
        let (is_ok, log) = outcome(&self.command(more).output().unwrap());
        assert!(is_ok, "{log}");
        log
    }

    /// The blocks that nobody wants to delete, by their times.
    fn blocks(&self) -> Vec<Meta> {
        let ids = std::fs::read_dir(self.directory.path()).unwrap();
        let dirs = ids.map(|entry| entry.unwrap().path());
        let is_kept = |dir: &PathBuf| {
            dir.join("meta.json").exists() && !dir.join("deletion-mark.json").exists()
        };
        let mut blocks: Vec<Meta> = dirs
            .filter(is_kept)
            .map(|dir| Meta::read_dir(&dir).unwrap())
            .collect();
        blocks.sort_by_key(|meta| (meta.min_time, meta.max_time, meta.resolution_ms()));
        blocks
    }

    /// The same as hours since the start and resolutions.
    fn hours(&self) -> Vec<(i64, i64, i64)> {
        let blocks = self.blocks().into_iter();
        let hours = |time: Timestamp| (time.as_millis() - START) / HOUR;
        blocks
            .map(|meta| {
                (
                    hours(meta.min_time),
                    hours(meta.max_time),
                    meta.resolution_ms(),
                )
            })
            .collect()
    }

    fn has(&self, id: BlockId, file: &str) -> bool {
        self.directory
            .path()
            .join(id.to_string())
            .join(file)
            .exists()
    }
}

fn outcome(output: &Output) -> (bool, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// Copies a block directory into a Prometheus data directory.
fn copy_block(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("chunks")).unwrap();
    for file in ["meta.json", "index"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
    for chunks in std::fs::read_dir(from.join("chunks")).unwrap() {
        let chunks = chunks.unwrap();
        std::fs::copy(chunks.path(), to.join("chunks").join(chunks.file_name())).unwrap();
    }
}

/// All samples that a Prometheus over these blocks has, by series, and what it makes of them in ranges.
fn answers(blocks: &[PathBuf]) -> Option<Vec<Value>> {
    let data = TempDir::new("e2e-compact-prometheus");
    for block in blocks {
        copy_block(block, &data.path().join(block.file_name().unwrap()));
    }
    let prometheus = Peer::prometheus(data.path())?;
    let ask = |path: &str, parameters: &[(&str, &str)]| {
        let answer = prometheus.query(path, parameters);
        assert_eq!(answer.status, 200, "{parameters:?}");
        let mut body: Value = serde_json::from_slice(&answer.body).unwrap();
        let series = body["data"]["result"].as_array_mut().unwrap();
        series.sort_by_key(|series| series["metric"].to_string());
        body
    };
    let (all, end) = ("{__name__=~\".+\"}[13h]", "1793534400");
    let range = [("start", "1793491200"), ("end", end), ("step", "300")];
    let in_range = |question: &str| {
        let parameters = [&[("query", question)][..], &range].concat();
        ask("/api/v1/query_range", &parameters)
    };
    Some(vec![
        ask("/api/v1/query", &[("query", all), ("time", end)]),
        in_range("count({__name__=~\".+\"}) by (__name__)"),
        in_range("sum({__name__=~\".+\"}) by (__name__)"),
    ])
}

/// A real Prometheus opens our compacted blocks and answers from them as from their sources; promtool agrees.
#[test]
fn prometheus_serves_compacted_blocks() {
    let scene = Scene::new();
    let sources = testdata("thanos-core").join("compaction/horizontal-in");
    let mut before = Vec::new();
    for entry in std::fs::read_dir(sources).unwrap() {
        let dir = entry.unwrap().path();
        let copy = scene
            .work
            .path()
            .join("sources")
            .join(dir.file_name().unwrap());
        copy_block(&dir, &copy);
        let mut meta = Meta::read_dir(&copy).unwrap();
        let thanos = meta.thanos.get_or_insert_default();
        thanos.version = 1;
        thanos.labels = [("prometheus".to_owned(), "fixture".to_owned())].into();
        meta.write_dir(&copy).unwrap();
        let options = UploadOptions::default();
        let upload = upload_block(&scene.bucket, &copy, &options);
        scene.runtime.block_on(upload).unwrap();
        before.push(dir);
    }
    scene.compact(&["--consistency-delay=0s", "--hash-func=SHA256"]);
    let blocks = scene.blocks();
    let compacted: Vec<&Meta> = blocks
        .iter()
        .filter(|meta| meta.compaction.level == 2)
        .collect();
    assert_eq!(blocks.len(), 3, "{:?}", scene.hours());
    let [whole] = compacted[..] else {
        panic!("{:?}", scene.hours())
    };
    assert_eq!(whole.compaction.sources.len(), 4);
    assert_eq!(whole.compaction.parents.len(), 4);
    assert_eq!(whole.stats.num_samples, 15_880 + 15_890 + 15_890 + 15_891);
    let thanos = whole.thanos.as_ref().unwrap();
    assert_eq!(
        (thanos.source.as_str(), thanos.labels.len()),
        ("compactor", 1)
    );
    assert!(
        thanos
            .files
            .iter()
            .all(|file| file.rel_path == "meta.json" || file.hash.is_some())
    );
    assert!(thanos.index_stats.chunk_max_size > 0 && thanos.index_stats.series_max_size > 0);

    let dir = |meta: &Meta| scene.directory.path().join(meta.ulid.to_string());
    let after: Vec<PathBuf> = blocks.iter().map(dir).collect();
    let Some(expected) = answers(&before) else {
        eprintln!("no Prometheus is installed, nothing was compared");
        return;
    };
    for (number, (ours, theirs)) in answers(&after).unwrap().iter().zip(&expected).enumerate() {
        assert!(
            theirs["data"]["result"]
                .as_array()
                .is_some_and(|found| !found.is_empty())
        );
        assert!(
            ours == theirs,
            "question {number}:\n{ours:.800}\n{theirs:.800}"
        );
    }
    if let Some(promtool) = program("promtool") {
        let data = TempDir::new("e2e-compact-promtool");
        for block in &after {
            copy_block(block, &data.path().join(block.file_name().unwrap()));
        }
        let listed = Command::new(promtool)
            .args(["tsdb", "list"])
            .arg(data.path())
            .output()
            .unwrap();
        let (is_ok, text) = outcome(&listed);
        assert!(
            is_ok
                && blocks
                    .iter()
                    .all(|meta| text.contains(&meta.ulid.to_string())),
            "{text}"
        );
    }
}

/// C-02, C-04, C-17, C-22: an iteration makes the largest blocks and their downsampled copies, and what was marked goes
/// with the next one.
#[test]
fn one_run_does_everything() {
    let scene = Scene::new();
    let day = 24 * 60;
    for number in 0..16 {
        scene.put(
            number,
            i64::from(number) * day,
            i64::from(number + 1) * day,
            &[("a", "b")],
        );
    }
    scene.compact(&[]);
    let weeks = 14 * 24;
    let expected = [
        (0, weeks, 0),
        (0, weeks, 300_000),
        (0, weeks, 3_600_000),
        (weeks, weeks + 24, 0),
        (weeks + 24, weeks + 48, 0),
    ];
    assert_eq!(scene.hours(), expected);
    assert!(scene.has(block_id(0), "deletion-mark.json"));
    assert!(scene.has(block_id(0), "index"));
    scene.compact(&["--delete-delay=0s"]);
    assert_eq!(scene.hours(), expected);
    assert!(
        !scene
            .directory
            .path()
            .join(block_id(0).to_string())
            .exists()
    );
}

/// Chunks reach the compactor and leave it in streams, or as files where a disk is preferred: the blocks are the same.
#[test]
fn chunks_move_in_streams_or_as_files() {
    let made = ["streamed", "files"].map(|how| {
        let scene = Scene::new();
        for number in 0..5 {
            let from = i64::from(number) * 120;
            scene.put(number, from, from + 120, &[("a", "b")]);
        }
        scene.compact(&[&format!("--compact.chunk-transfer={how}")]);
        assert_eq!(scene.hours(), [(0, 8, 0), (8, 10, 0)], "{how}");
        let dir = (scene.directory.path()).join(scene.blocks()[0].ulid.to_string());
        ["index", "chunks/000001"].map(|file| std::fs::read(dir.join(file)).unwrap())
    });
    assert_eq!(made[0], made[1]);
    let log = outcome(
        &(Scene::new().command(&["--compact.chunk-transfer=paper"]))
            .output()
            .unwrap(),
    );
    assert!(!log.0 && log.1.contains("possible values"), "{}", log.1);
}

/// E-02, C-12, C-13: replicas of the same series end in one block, merged as told.
#[test]
fn replicas_are_deduplicated() {
    for (func, samples) in [("", 180), ("penalty", 120)] {
        let scene = Scene::new();
        // The second replica is a third of its time ahead of the first one.
        scene.put(1, 0, 120, &[("ext", "1"), ("replica", "a")]);
        scene.put(2, 60, 180, &[("ext", "1"), ("replica", "b")]);
        scene.put(3, 0, 120, &[("ext", "2"), ("replica", "a")]);
        scene.compact(&[
            "--deduplication.replica-label=replica,rule_replica",
            &format!("--deduplication.func={func}"),
        ]);
        let blocks = scene.blocks();
        assert_eq!(blocks.len(), 2, "{func:?}: {:?}", scene.hours());
        let merged = blocks
            .iter()
            .find(|meta| meta.compaction.level == 2)
            .unwrap();
        assert!(
            merged.stats.num_samples >= samples,
            "{func:?}: {:?}",
            merged.stats
        );
        let labels = &merged.thanos.as_ref().unwrap().labels;
        assert_eq!(
            labels
                .iter()
                .map(|(n, v)| (n.as_str(), v.as_str()))
                .collect::<Vec<_>>(),
            [("ext", "1")]
        );
        // What nothing overlaps keeps its label.
        assert!(
            scene.has(block_id(3), "meta.json") && !scene.has(block_id(3), "deletion-mark.json")
        );
    }
}

/// C-06: where Thanos halts because blocks overlap, they become one, and no sample of either is lost.
#[test]
fn blocks_that_overlap_become_one() {
    let scene = Scene::new();
    scene.put(1, 0, 120, &[("a", "1")]);
    scene.put(2, 60, 180, &[("a", "1")]);
    scene.put(3, 60, 180, &[("a", "2")]);
    scene.compact(&[]);
    let blocks = scene.blocks();
    let samples = |value: &str| {
        let of = |meta: &&Meta| meta.external_labels().get("a").as_deref() == Some(value);
        let found: Vec<&Meta> = blocks.iter().filter(of).collect();
        assert_eq!(found.len(), 1, "{:?}", scene.hours());
        found[0].stats.num_samples
    };
    assert_eq!(samples("1"), 180);
    assert_eq!(samples("2"), 120, "another group is left alone");
}

/// E-03, C-18: a marked block is never downsampled; E-04: downsampled blocks that overlap stop nothing.
#[test]
fn marked_and_overlapping_blocks_are_left_alone() {
    let scene = Scene::new();
    let id = scene.put(1, 0, 11 * 24 * 60, &[("a", "1")]);
    let mark = NoDownsampleMark::new(id, SystemClock.now(), "by hand");
    scene
        .runtime
        .block_on(mark_block(&scene.bucket, &mark))
        .unwrap();
    scene.put_resolution(2, 0, 3 * 60, &[("a", "2")], 300_000);
    scene.put_resolution(3, 60, 4 * 60, &[("a", "2")], 300_000);
    scene.compact(&["--compact.enable-vertical-compaction"]);
    assert_eq!(scene.blocks().len(), 3, "{:?}", scene.hours());
    assert!(scene.has(block_id(2), "no-compact-mark.json"));
    assert!(scene.has(block_id(3), "no-compact-mark.json"));
}

/// C-13, C-21 and other startup errors, in Thanos' words.
#[test]
fn wrong_flags_are_startup_errors() {
    let scene = Scene::new();
    for (flags, expected) in [
        (
            &["--deduplication.func=penalty"][..],
            "penalty based deduplication needs at least one replica label specified",
        ),
        (&["--retention.resolution-raw=39h"], "(40 hours)"),
        (&["--retention.resolution-5m=9d"], "(10 days)"),
        (
            &["--debug.max-compaction-level=5"],
            "level is bigger then default set of 5",
        ),
        (
            &["--compact.concurrency=0"],
            "invalid concurrency level (0)",
        ),
        (
            &["--http.config=tls.yaml"],
            "tls.yaml: server could not be started",
        ),
        (&["--deduplication.func=chain"], "invalid value"),
    ] {
        let (is_ok, log) = outcome(&scene.command(flags).output().unwrap());
        assert!(!is_ok && log.contains(expected), "{flags:?}:\n{log}");
    }
    let flags = ["--retention.resolution-raw=39h", "--downsampling.disable"];
    scene.compact(&flags);
}

/// C-02, C-24, C-28, C-31, C-32: with --wait it goes on, shows its blocks and its progress, and ends when told to.
#[test]
fn waiting_goes_on_until_it_is_told_to_stop() {
    let scene = Scene::new();
    for number in 0..5 {
        scene.put(
            number,
            i64::from(number) * 120,
            i64::from(number + 1) * 120,
            &[("a", "b")],
        );
    }
    let flags = [
        "--wait",
        "--wait-interval=200ms",
        "--compact.cleanup-interval=100ms",
        "--compact.progress-interval=100ms",
        "--block-viewer.global.sync-block-interval=100ms",
        "--bucket-web-label=a",
    ];
    let mut peer = Peer::start(|address| scene.command_at(address, &flags), "/-/ready");
    for (name, labels, expected) in [
        (
            "thanos_compact_group_compactions_total",
            &["resolution=\"0\""][..],
            1.0,
        ),
        ("thanos_compact_garbage_collected_blocks_total", &[], 4.0),
        ("thanos_compact_todo_compactions", &[], 0.0),
        ("thanos_compact_halted", &[], 0.0),
        ("thanos_delete_delay_seconds", &[], 172_800.0),
        ("thanos_consistency_delay_seconds", &[], 1800.0),
    ] {
        metrics::wait_for(&peer, name, labels, expected);
    }
    let shown = |view: &str| -> BTreeSet<String> {
        let answer = peer.get(&format!("/api/v1/blocks?view={view}"));
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["data"]["label"], "a");
        let blocks = body["data"]["blocks"].as_array().unwrap();
        blocks
            .iter()
            .map(|meta| meta["ulid"].as_str().unwrap().to_owned())
            .collect()
    };
    // Sources of a compaction are seen until they are deleted, but not worked on.
    let started = std::time::Instant::now();
    while shown("global").len() != 6 || shown("loaded").len() != 2 {
        assert!(started.elapsed().as_secs() < 60, "{:?}", peer.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    for path in ["/", "/global", "/loaded", "/-/healthy"] {
        assert_eq!(peer.get(path).status, 200, "{path}");
    }
    for name in [
        "thanos_compact_iterations_total",
        "thanos_compact_block_cleanup_loops_total",
    ] {
        assert!(metrics::sum(&peer, name, &[]) >= 1.0, "{name}");
    }
    let status = peer.terminate(std::time::Duration::from_secs(30));
    assert!(status.success(), "{}", peer.log());
}

/// C-10: what is wrong with one block is that block's alone; nothing halts.
#[test]
fn a_damaged_block_stops_nothing_else() {
    let scene = Scene::new();
    for stream in ["1", "2"] {
        let first = if stream == "1" { 0 } else { 10 };
        for number in 0..5 {
            let from = i64::from(number) * 120;
            scene.put(first + number, from, from + 120, &[("a", stream)]);
        }
    }
    let damaged = block_id(1);
    let index = scene
        .directory
        .path()
        .join(damaged.to_string())
        .join("index");
    let mut bytes = std::fs::read(&index).unwrap();
    let middle = bytes.len() / 2;
    bytes.iter_mut().skip(middle).for_each(|byte| *byte ^= 0xff);
    std::fs::write(&index, bytes).unwrap();
    scene.command(&[]).output().unwrap();
    let hours = |stream: &str| {
        let blocks = scene.blocks();
        let of = |meta: &&Meta| meta.thanos.as_ref().unwrap().labels["a"] == stream;
        blocks.iter().filter(of).count()
    };
    assert_eq!(hours("2"), 2, "the healthy stream is compacted");
    assert!(
        scene.has(damaged, "meta.json"),
        "nothing damaged is deleted"
    );
    assert_eq!(hours("1"), 4, "the rest of the stream goes on without it");
}

/// E-01 (d), (e): what is queried does not change when blocks are compacted and raw ones go.
#[test]
fn queries_see_the_same_before_and_after() {
    let scene = Scene::new();
    let day = 24 * 60;
    for number in 0..3 {
        scene.put(
            number,
            i64::from(number) * 2 * day,
            i64::from(number + 1) * 2 * day,
            &[("ext", "1")],
        );
    }
    let store = Store::start(scene.directory.path());
    let querier = querier(&[&store.grpc_address], &[]);
    let ask = |resolution: &str| -> Value {
        let (start, end) = (START / 1000, START / 1000 + 6 * 86_400);
        let parameters = [
            ("query", "max_over_time(minutes[1h])"),
            ("start", &start.to_string()),
            ("end", &end.to_string()),
            ("step", "3600"),
            ("max_source_resolution", resolution),
        ];
        let answer = querier.query("/api/v1/query_range", &parameters);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(
            body["status"] == "success" && body["warnings"].is_null(),
            "{body}"
        );
        body["data"]["result"].clone()
    };
    let before = ask("0s");
    assert_eq!(before[0]["metric"]["ext"], "1");
    scene.compact(&["--delete-delay=0s"]);
    let downsampled = scene
        .blocks()
        .iter()
        .filter(|meta| meta.resolution_ms() == 300_000)
        .count();
    assert!(downsampled > 0, "{:?}", scene.hours());
    metrics::wait_for(
        &store.http,
        "thanos_bucket_store_blocks_loaded",
        &[],
        scene.blocks().len() as f64,
    );
    assert_eq!(ask("0s"), before);

    for meta in scene
        .blocks()
        .iter()
        .filter(|meta| meta.resolution_ms() == 0)
    {
        let id = meta.ulid;
        let copied = scene.blocks().iter().any(|other| {
            other.resolution_ms() > 0
                && other.min_time == meta.min_time
                && other.max_time == meta.max_time
        });
        if copied {
            let delete = thanos_bucket::transfer::delete_block(&scene.bucket, id);
            scene.runtime.block_on(delete).unwrap();
        }
    }
    metrics::wait_for(
        &store.http,
        "thanos_bucket_store_blocks_loaded",
        &[],
        scene.blocks().len() as f64,
    );
    let coarse = ask("1h");
    let (coarse, fine) = (
        coarse[0]["values"].as_array().unwrap(),
        before[0]["values"].as_array().unwrap(),
    );
    assert!(
        coarse.len() + 2 >= fine.len(),
        "{} of {}",
        coarse.len(),
        fine.len()
    );
}

/// What a request to delete hides is gone from the blocks after the next run, which says so, and no run does it again.
#[test]
fn deleted_samples_are_left_out_for_good() {
    let scene = Scene::new();
    let old = scene.put(1, 0, 120, &[("ext", "1")]);
    scene.put(2, 120, 240, &[("ext", "1")]);
    scene.put(3, 0, 120, &[("ext", "2")]);
    let minute = |minute: i64| Timestamp::from_millis(START + minute * STEP);
    let mut request = Tombstone::new("gdpr-7".parse().unwrap(), SystemClock.now());
    request.selectors = vec![vec![Matcher::equal("ext", "1"), Matcher::equal("a", "1")]];
    request.range = TimeRange {
        min: minute(30),
        max: minute(90),
    };
    let store = TombstoneStore::new(scene.bucket.clone());
    scene.runtime.block_on(store.add(&request)).unwrap();
    scene.compact(&[]);
    let blocks = scene.blocks();
    let samples: Vec<u64> = blocks.iter().map(|meta| meta.stats.num_samples).collect();
    assert_eq!(samples.iter().sum::<u64>(), 59 + 120 + 120, "{blocks:?}");
    assert!(scene.has(old, "deletion-mark.json"));
    let rewritten = blocks
        .iter()
        .find(|meta| meta.stats.num_samples == 59)
        .unwrap();
    let mut sources = vec![old, request.source()];
    sources.sort_unstable();
    assert_eq!(rewritten.compaction.sources, sources);
    let rewrites = &rewritten.thanos.as_ref().unwrap().rewrites;
    assert_eq!(rewrites.len(), 1);
    assert_eq!(rewrites[0].sources, [old]);
    assert_eq!(rewrites[0].deletions_applied[0]["request_id"], "gdpr-7");
    scene.compact(&[]);
    assert_eq!(scene.blocks(), blocks, "nothing is done twice");
}
