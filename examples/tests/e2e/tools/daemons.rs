//! `replicate`, `downsample` and `web`: tools with probes and metrics.

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;
use thanos_core::block::{Block, BlockId, BlockWriter, BlockWriterOptions, ThanosMeta};
use thanos_core::chunk::{self, Aggregate, Samples, encode};
use thanos_core::labels::Labels;
use thanos_core::query::Select;
use thanos_core::testkit::peer::Peer;
use thanos_core::testkit::shapes::HistogramSpec;
use thanos_core::time::Timestamp;

use super::{
    HOUR_MS, START_MS, Spec, blocks_in, bucket_tool, dir, failed, id, logged, meta_of, printed,
    write_block,
};
use crate::metrics;
use crate::programs::{directory_bucket, thanos};

/// Starts a tool that stays.
fn start(tool: &str, dir: &std::path::Path, more: &[&str]) -> Peer {
    let yaml = directory_bucket(dir);
    Peer::start(
        |address| {
            let mut command = thanos(&["tools", "bucket", tool, "--http-address", address]);
            command.args(["--objstore.config", &yaml]).args(more);
            command
        },
        "/-/ready",
    )
}

/// T-15, T-16, T-17, T-19, A-12.
#[test]
fn replicate_copies_chosen_blocks_once() {
    let (from, to) = (dir("from"), dir("to"));
    for (number, hours, level, external) in [
        (1, (2, 2), 1, &[("cluster", "x")][..]),
        (2, (0, 2), 2, &[("cluster", "y")]),
        (3, (4, 2), 5, &[("cluster", "x")]),
        (4, (6, 2), 1, &[]),
    ] {
        let spec = Spec {
            number,
            hours,
            level,
            external,
            ..Spec::default()
        };
        write_block(from.path(), &spec);
    }
    let mark = [
        "--id",
        &id(1).to_string(),
        "--marker=no-compact-mark.json",
        "--details=x",
    ];
    printed(&bucket_tool("mark", from.path(), &mark));
    let target = directory_bucket(to.path());
    let replicate = |more: &[&str]| -> Output {
        let common = [
            "--http-address=127.0.0.1:0",
            "--single-run",
            "--objstore-to.config",
            &target,
        ];
        bucket_tool("replicate", from.path(), &[&common[..], more].concat())
    };
    printed(&replicate(&["--matcher", "cluster=~\"x|z\""]));
    assert_eq!(blocks_in(to.path()), [id(1)]);
    assert!(
        !to.path()
            .join(format!("{}/no-compact-mark.json", id(1)))
            .exists()
    );
    for file in ["meta.json", "index", "chunks/000001"] {
        let read =
            |dir: &std::path::Path| std::fs::read(dir.join(id(1).to_string()).join(file)).unwrap();
        assert!(read(from.path()) == read(to.path()), "{file}");
    }
    let second = replicate(&[]);
    printed(&second);
    assert_eq!(blocks_in(to.path()), [id(1), id(2)]);
    assert!(
        logged(&second).contains("copied=1 already=1"),
        "{}",
        logged(&second)
    );
    let told = printed(&replicate(&["--compaction=5", "--output=json"]));
    let copied = format!("\"copied\": [\n\t\t\"{}\"\n\t]", id(3));
    assert!(told.contains(&copied), "{told}");
    assert_eq!(blocks_in(to.path()), [id(1), id(2), id(3)]);
    let refused = replicate(&["--compaction-min=3", "--compaction-max=2"]);
    assert!(
        failed(&refused).contains("compaction-min must be less than or equal to compaction-max")
    );
}

/// T-16, T-17, T-18: it runs until it is stopped, and counts.
#[test]
fn replicate_goes_on_and_counts() {
    let (from, to) = (dir("from"), dir("to"));
    for number in 1..=2 {
        let hours = (i64::from(number) * 2, 2);
        write_block(
            from.path(),
            &Spec {
                number,
                hours,
                ..Spec::default()
            },
        );
    }
    let mark = [
        "--id",
        &id(2).to_string(),
        "--marker=deletion-mark.json",
        "--details=x",
    ];
    printed(&bucket_tool("mark", from.path(), &mark));
    let target = directory_bucket(to.path());
    let mut peer = start(
        "replicate",
        from.path(),
        &[
            "--ignore-marked-for-deletion",
            "--objstore-to.config",
            &target,
        ],
    );
    metrics::wait_for(
        &peer,
        "thanos_replicate_replication_runs_total",
        &["result=\"success\""],
        1.0,
    );
    assert_eq!(
        metrics::sum(&peer, "thanos_replicate_blocks_replicated_total", &[]),
        1.0
    );
    assert_eq!(
        metrics::sum(&peer, "thanos_replicate_objects_replicated_total", &[]),
        2.0
    );
    assert_eq!(
        metrics::sum(
            &peer,
            "thanos_replicate_blocks_already_replicated_total",
            &[]
        ),
        0.0
    );
    for which in ["replicate=\"from\"", "replicate=\"to\""] {
        assert!(
            metrics::sum(&peer, "thanos_objstore_bucket_operations_total", &[which]) > 0.0,
            "{which}"
        );
    }
    assert_eq!(blocks_in(to.path()), [id(1)]);
    assert!(peer.terminate(Duration::from_secs(20)).success());
}

/// Writes a block of 41 hours with a series of histograms, one of float histograms, one of floats, and one that changes
/// from floats to histograms; each has a sample every half hour.
fn write_mixed(dir: &std::path::Path) -> BlockId {
    let spec = HistogramSpec {
        samples: 82,
        ..HistogramSpec::default()
    };
    let [mut integers, mut decimals, mut floats, mut both] = [(); 4].map(|()| Samples::new());
    for (number, (_, histogram)) in (0_i64..).zip(spec.samples()) {
        let time = Timestamp::from_millis(START_MS + number * HOUR_MS / 2);
        integers.push_histogram(time, &histogram);
        decimals.push_float_histogram(time, &histogram.to_float());
        floats.push_float(time, number as f64);
        match number < 40 {
            true => both.push_float(time, number as f64),
            false => both.push_histogram(time, &histogram),
        }
    }
    let options = BlockWriterOptions {
        time: Some((
            Timestamp::from_millis(START_MS),
            Timestamp::from_millis(START_MS + 41 * HOUR_MS),
        )),
        thanos: Some(ThanosMeta {
            version: 1,
            labels: [("cluster".to_owned(), "x".to_owned())].into(),
            source: "sidecar".to_owned(),
            ..ThanosMeta::default()
        }),
        ..BlockWriterOptions::new(id(1))
    };
    let names = ["both", "decimals", "floats", "integers"];
    let symbols = ["__name__"].into_iter().chain(names);
    let mut writer = BlockWriter::create(dir, options, symbols).unwrap();
    for (name, samples) in names.into_iter().zip([both, decimals, floats, integers]) {
        let labels = Labels::from_pairs([("__name__", name)]);
        let added = writer.add_series(labels.as_ref(), &encode(&samples));
        added.unwrap();
    }
    writer.finish().unwrap();
    id(1)
}

/// E-05: a block with samples of all kinds is downsampled, and no series of it is lost.
#[test]
fn downsample_takes_samples_of_all_kinds() {
    let (bucket, data) = (dir("downsample-mixed"), dir("downsample-mixed-data"));
    let raw = write_mixed(bucket.path());
    let data_dir = data.path().to_str().unwrap();
    let mut peer = start("downsample", bucket.path(), &["--data-dir", data_dir]);
    let started = Instant::now();
    let new = loop {
        if let Some(new) = blocks_in(bucket.path()).into_iter().find(|id| *id != raw) {
            break new;
        }
        let is_late = started.elapsed() > Duration::from_secs(30);
        assert!(!is_late, "{}", peer.log());
        std::thread::sleep(Duration::from_millis(50));
    };
    let block = Block::open(&bucket.path().join(new.to_string())).unwrap();
    assert_eq!(block.meta().resolution_ms(), 300_000);
    let mut counts = Vec::new();
    for batch in block.select(&Select::default()).unwrap() {
        for series in batch.unwrap().iter() {
            let windows = series.chunks.iter().flat_map(|chunk| {
                let count = chunk.get(Aggregate::Count).unwrap();
                chunk::samples(count).unwrap().values().to_vec()
            });
            counts.push((series.labels.to_string(), windows.sum::<f64>()));
        }
    }
    let expected = ["both", "decimals", "floats", "integers"];
    let expected = expected.map(|name| (format!("{{__name__=\"{name}\"}}"), 82.0));
    assert_eq!(counts, expected);
    assert!(peer.terminate(Duration::from_secs(20)).success());
}

/// T-20.
#[test]
fn downsample_makes_coarser_blocks() {
    let (bucket, data) = (dir("downsample"), dir("downsample-data"));
    let long = write_block(
        bucket.path(),
        &Spec {
            hours: (0, 41),
            ..Spec::default()
        },
    );
    write_block(
        bucket.path(),
        &Spec {
            number: 2,
            hours: (42, 2),
            ..Spec::default()
        },
    );
    let data_dir = data.path().to_str().unwrap();
    let mut peer = start(
        "downsample",
        bucket.path(),
        &["--data-dir", data_dir, "--wait-interval=1s"],
    );
    let started = Instant::now();
    let new = loop {
        let mut blocks = blocks_in(bucket.path());
        blocks.retain(|found| *found != id(1) && *found != id(2));
        if let [new] = blocks[..] {
            break new;
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{}",
            peer.log()
        );
        std::thread::sleep(Duration::from_millis(50));
    };
    let meta = meta_of(bucket.path(), new);
    assert_eq!(meta.resolution_ms(), 300_000);
    assert_eq!(meta.compaction.sources, [long]);
    metrics::wait_for(
        &peer,
        "thanos_compact_downsample_total",
        &["resolution=\"0\""],
        1.0,
    );
    assert!(peer.terminate(Duration::from_secs(20)).success());
}

/// T-06, T-07, T-08.
#[test]
fn web_shows_a_bucket_and_marks_blocks() {
    let bucket = dir("web");
    let one = write_block(bucket.path(), &Spec::default());
    let peer = start(
        "web",
        bucket.path(),
        &["--label=cluster", "--web.external-prefix=/thanos"],
    );
    let started = Instant::now();
    let found = loop {
        let answer = peer.get("/thanos/api/v1/blocks");
        assert_eq!(answer.status, 200);
        let found: Value = serde_json::from_slice(&answer.body).unwrap();
        if found["data"]["blocks"]
            .as_array()
            .is_some_and(|blocks| !blocks.is_empty())
        {
            break found;
        }
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{}",
            peer.log()
        );
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(found["data"]["label"], "cluster");
    assert_eq!(found["data"]["blocks"][0]["ulid"], one.to_string());
    assert_eq!(found["data"]["err"], Value::Null);
    assert!(
        found["data"]["refreshedAt"]
            .as_str()
            .is_some_and(|time| time.starts_with("20"))
    );
    for path in ["/", "/thanos"] {
        assert_eq!(peer.get(path).status, 302, "{path}");
    }
    assert_eq!(peer.get("/thanos/").status, 200);
    assert_eq!(peer.get("/thanosx").status, 404);
    let mark = format!("/thanos/api/v1/blocks/mark?id={one}&action=DELETION&detail=x");
    assert_eq!(peer.post(&mark, b"").status, 204);
    assert!(
        bucket
            .path()
            .join(format!("{one}/deletion-mark.json"))
            .exists()
    );
    let refusing = start("web", bucket.path(), &["--disable-admin-operations"]);
    let mark = format!("/api/v1/blocks/mark?id={one}&action=DELETION&detail=x");
    assert_eq!(refusing.post(&mark, b"").status, 400);
}
