//! `thanos tools` from outside: what it prints, how it ends, and what is in the buckets afterwards.

mod daemons;
mod passes;
mod reading;
mod repairing;
mod rules;

use std::path::Path;
use std::process::Output;

use thanos_core::block::{
    Block, BlockId, BlockWriter, BlockWriterOptions, Compaction, Meta, ThanosMeta,
};
use thanos_core::chunk::{Samples, encode};
use thanos_core::labels::Labels;
use thanos_core::query::Select;
use thanos_core::testkit::TempDir;
use thanos_core::time::Timestamp;

use crate::programs::{directory_bucket, thanos};

const HOUR_MS: i64 = 3_600_000;
/// The first time of all blocks here: 2026-10-31T12:00:00Z.
const START_MS: i64 = 1_793_448_000_000;

/// What a block of a test is.
struct Spec<'a> {
    number: u32,
    /// Its first time and its length, in hours after [`START_MS`].
    hours: (i64, i64),
    external: &'a [(&'a str, &'a str)],
    level: u32,
    /// Its series, each with a sample every minute for an hour.
    series: &'a [&'a [(&'a str, &'a str)]],
}

impl Default for Spec<'_> {
    fn default() -> Self {
        Self {
            number: 1,
            hours: (0, 2),
            external: &[("cluster", "x")],
            level: 1,
            series: &[
                &[("__name__", "up"), ("job", "a")],
                &[("__name__", "up"), ("job", "b")],
            ],
        }
    }
}

fn id(number: u32) -> BlockId {
    BlockId::from_parts(
        Timestamp::from_millis(START_MS + i64::from(number)),
        number.into(),
    )
}

/// Writes a block into a directory, which is a bucket too.
fn write_block(dir: &Path, spec: &Spec<'_>) -> BlockId {
    let id = id(spec.number);
    let start = START_MS + spec.hours.0 * HOUR_MS;
    let mut samples = Samples::new();
    for minute in 0..60 {
        samples.push_float(
            Timestamp::from_millis(start + minute * 60_000),
            minute as f64,
        );
    }
    let mut series: Vec<Labels> = spec
        .series
        .iter()
        .map(|pairs| Labels::from_pairs(pairs.iter().copied()))
        .collect();
    series.sort();
    let mut symbols: Vec<String> = series
        .iter()
        .flat_map(|labels| {
            labels
                .iter()
                .flat_map(|(n, v)| [n.into_owned(), v.into_owned()])
                .collect::<Vec<_>>()
        })
        .collect();
    symbols.sort();
    symbols.dedup();
    let external = spec
        .external
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    let thanos = ThanosMeta {
        version: 1,
        labels: external.collect(),
        source: "sidecar".to_owned(),
        ..ThanosMeta::default()
    };
    let options = BlockWriterOptions {
        time: Some((
            Timestamp::from_millis(start),
            Timestamp::from_millis(start + spec.hours.1 * HOUR_MS),
        )),
        compaction: Some(Compaction {
            level: spec.level,
            sources: vec![id],
            ..Compaction::default()
        }),
        thanos: Some(thanos).filter(|_| !spec.external.is_empty()),
        ..BlockWriterOptions::new(id)
    };
    let mut writer = BlockWriter::create(dir, options, symbols).unwrap();
    for labels in &series {
        writer
            .add_series(labels.as_ref(), &encode(&samples))
            .unwrap();
    }
    writer.finish().unwrap();
    id
}

/// Runs a tool over the bucket in `dir`.
fn bucket_tool(tool: &str, dir: &Path, more: &[&str]) -> Output {
    let yaml = directory_bucket(dir);
    let mut command = thanos(&["tools", "bucket", tool, "--objstore.config", &yaml]);
    command.args(more).output().unwrap()
}

/// What the tool printed; it must have succeeded.
#[track_caller]
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", logged(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn logged(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The log of a tool that must have failed.
#[track_caller]
fn failed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", logged(output));
    logged(output)
}

/// The ids of the blocks in a bucket.
fn blocks_in(dir: &Path) -> Vec<BlockId> {
    let mut found: Vec<BlockId> = std::fs::read_dir(dir)
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.unwrap();
            let id = entry.file_name().to_str()?.parse().ok()?;
            entry.path().join("meta.json").exists().then_some(id)
        })
        .collect();
    found.sort();
    found
}

/// All series of a block with the number of their samples.
fn series_of(block: &Block) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for batch in block.select(&Select::default()).unwrap() {
        for series in batch.unwrap().iter() {
            let samples = series.chunks.iter().map(|chunk| {
                let chunk = chunk.get(thanos_core::chunk::Aggregate::Raw).unwrap();
                thanos_core::chunk::num_samples(chunk).unwrap()
            });
            found.push((series.labels.to_string(), samples.sum()));
        }
    }
    found
}

fn meta_of(dir: &Path, id: BlockId) -> Meta {
    Meta::read_dir(&dir.join(id.to_string())).unwrap()
}

/// Checks with the tool of Prometheus, where it is installed, that it reads the blocks in `dir`, and returns its dump.
fn promtool_dump(dir: &Path) -> Option<String> {
    let program = thanos_core::testkit::peer::program("promtool")?;
    // A database without its log is none for some versions.
    std::fs::create_dir_all(dir.join("wal")).unwrap();
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(&program)
            .args(arguments)
            .arg(dir)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["tsdb", "list"]);
    Some(run(&["tsdb", "dump"]))
}

fn dir(name: &str) -> TempDir {
    TempDir::new(&format!("e2e-tools-{name}"))
}
