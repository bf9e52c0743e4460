//! `verify`, `rewrite` and `upload-blocks`: tools that write blocks.

use serde_json::Value;
use thanos_core::block::{Block, BlockId, ThanosMeta, verify_index};
use thanos_core::chunk::{SeriesChunk, XorEncoder};
use thanos_core::testkit::{label_pairs, malformed_block};
use thanos_core::time::Timestamp;

use super::{
    HOUR_MS, START_MS, Spec, blocks_in, bucket_tool, dir, failed, id, logged, meta_of, printed,
    promtool_dump, series_of, write_block,
};
use crate::programs::directory_bucket;

fn chunk(times: &[i64]) -> SeriesChunk {
    let mut encoder = XorEncoder::new();
    for ms in times {
        encoder.append(Timestamp::from_millis(START_MS + ms), *ms as f64);
    }
    let [min, max] =
        [times[0], times[times.len() - 1]].map(|ms| Timestamp::from_millis(START_MS + ms));
    SeriesChunk::raw(min, max, encoder.finish())
}

/// A block with chunks out of order, twice and outside of it, and labels out of order.
fn write_malformed(dir: &std::path::Path, number: u32) -> BlockId {
    let thanos = ThanosMeta {
        version: 1,
        labels: [("cluster".to_owned(), "x".to_owned())].into(),
        ..ThanosMeta::default()
    };
    let time = (
        Timestamp::from_millis(START_MS),
        Timestamp::from_millis(START_MS + 1_000),
    );
    let series = [
        (
            label_pairs(&[("a", "1")]),
            vec![
                chunk(&[500, 600]),
                chunk(&[500, 600]),
                chunk(&[0, 400]),
                chunk(&[-20, -10]),
                chunk(&[1_000, 1_100]),
            ],
        ),
        (label_pairs(&[("b", "1"), ("a", "2")]), vec![chunk(&[100])]),
    ];
    malformed_block(dir, id(number), time, Some(thanos), &series);
    id(number)
}

/// T-09, T-10.
#[test]
fn verify_warns_of_overlaps_and_knows_its_issues() {
    let bucket = dir("verify");
    for (number, hours) in [(1, (0, 2)), (2, (1, 2)), (3, (4, 2))] {
        let spec = Spec {
            number,
            hours,
            ..Spec::default()
        };
        write_block(bucket.path(), &spec);
    }
    let verify = |more: &[&str]| bucket_tool("verify", bucket.path(), more);
    let found = verify(&["--output=json"]);
    let json: Value = serde_json::from_str(&printed(&found)).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 1);
    assert_eq!(json[0]["issue"], "overlapped_blocks");
    assert_eq!(
        json[0]["blocks"],
        serde_json::json!([id(1).to_string(), id(2).to_string()])
    );
    let log = logged(&found);
    let group = json[0]["group"].as_str().unwrap();
    assert!(
        log.contains("level=warn") && log.contains(&format!("group={group}")),
        "{log}"
    );
    assert!(failed(&verify(&["-i", "nope"])).contains("no such issue ID nope"));
    let ids = ["-i", "overlapped_blocks", "--id", &id(1).to_string()];
    assert!(failed(&verify(&ids)).contains("id matching is not supported"));
    assert!(
        failed(&verify(&["--repair"]))
            .contains("repair is specified, so backup client is required")
    );
    // Blocks that are marked for deletion are none.
    let mark = [
        "--id",
        &id(2).to_string(),
        "--marker=deletion-mark.json",
        "--details=x",
    ];
    printed(&bucket_tool("mark", bucket.path(), &mark));
    assert!(!logged(&verify(&[])).contains("overlapped blocks"));
}

/// T-11, T-12, T-14.
#[test]
fn verify_repairs_a_malformed_block() {
    for (delay, is_removed) in [("0s", true), ("1h", false)] {
        let (bucket, backup) = (dir("repair"), dir("backup"));
        let old = write_malformed(bucket.path(), 1);
        let only = ["-i", "index_known_issues"];
        let found = bucket_tool("verify", bucket.path(), &only);
        let log = logged(&found);
        for expected in [
            "found 1 chunks completely outside the block time range",
            "issues/347",
            "index contains 1 postings with out of order labels",
            "1/2 series have an average of",
        ] {
            assert!(log.contains(expected), "{expected}: {log}");
        }
        assert_eq!(blocks_in(bucket.path()), [old]);

        let backup_yaml = directory_bucket(backup.path());
        let repair = [
            "-r",
            "--objstore-backup.config",
            &backup_yaml,
            "--delete-delay",
            delay,
        ];
        let repaired = bucket_tool("verify", bucket.path(), &[&only[..], &repair].concat());
        printed(&repaired);
        assert_eq!(blocks_in(backup.path()), [old], "{}", logged(&repaired));
        let mut left = blocks_in(bucket.path());
        assert_eq!(left.contains(&old), !is_removed);
        left.retain(|id| *id != old);
        let [new] = left[..] else {
            panic!("one new block: {left:?}\n{}", logged(&repaired));
        };
        assert_eq!(
            meta_of(bucket.path(), new).thanos.unwrap().source,
            "bucket.repair"
        );
        let block = Block::open(&bucket.path().join(new.to_string())).unwrap();
        verify_index(&block).unwrap();
        let expected = [(r#"{a="1"}"#, 4), (r#"{a="2", b="1"}"#, 1)];
        assert_eq!(
            series_of(&block),
            expected.map(|(labels, samples)| (labels.to_owned(), samples))
        );
        if !is_removed {
            let mark =
                std::fs::read_to_string(bucket.path().join(format!("{old}/deletion-mark.json")))
                    .unwrap();
            assert!(mark.contains("manual verify-repair"), "{mark}");
            continue;
        }
        let alone = dir("repaired");
        let new_dir = bucket.path().join(new.to_string());
        thanos_core::testkit::copy_dir(&new_dir, &alone.path().join(new.to_string()));
        if let Some(dump) = promtool_dump(alone.path()) {
            assert_eq!(dump.lines().count(), 5, "{dump}");
        }
        // What lies in the backup already is not overwritten.
        write_malformed(bucket.path(), 1);
        let refused = bucket_tool("verify", bucket.path(), &[&only[..], &repair].concat());
        assert!(
            logged(&refused).contains("seems to exists in backup bucket"),
            "{}",
            logged(&refused)
        );
    }
}

/// T-13.
#[test]
fn verify_removes_copies_of_a_compaction() {
    let (bucket, backup) = (dir("copies"), dir("backup"));
    let first = write_block(
        bucket.path(),
        &Spec {
            level: 2,
            ..Spec::default()
        },
    );
    // The same block under another name.
    let copy = id(7);
    let (from, to) = (
        bucket.path().join(first.to_string()),
        bucket.path().join(copy.to_string()),
    );
    thanos_core::testkit::copy_dir(&from, &to);
    let mut meta = meta_of(bucket.path(), first);
    meta.ulid = copy;
    meta.write_dir(&to).unwrap();
    let backup_yaml = directory_bucket(backup.path());
    let more = [
        "-i",
        "duplicated_compaction",
        "-r",
        "--objstore-backup.config",
        &backup_yaml,
    ];
    printed(&bucket_tool("verify", bucket.path(), &more));
    assert_eq!(blocks_in(bucket.path()), [first]);
    assert_eq!(blocks_in(backup.path()), [copy]);
}

/// T-23, T-24, T-25, T-26, T-27, T-28, T-29.
#[test]
fn rewrite_deletes_and_relabels_series() {
    let (bucket, work) = (dir("rewrite"), dir("rewrite-work"));
    let old = write_block(
        bucket.path(),
        &Spec {
            series: &[
                &[("__name__", "up"), ("job", "a")],
                &[("__name__", "up"), ("job", "b")],
                &[("__name__", "up"), ("job", "c")],
            ],
            ..Spec::default()
        },
    );
    let from = START_MS + HOUR_MS / 2;
    let deletions = format!(
        "- matchers: '{{job=\"b\"}}'\n- matchers: 'up{{job=\"renamed\"}}'\n  intervals: [{{mint: {from}, maxt: {}}}]\n  \
         request_id: r1\n",
        from + HOUR_MS
    );
    let relabels = "[{source_labels: [job], regex: c, target_label: job, replacement: renamed}]";
    let tmp = work.path().join("tmp");
    let id = old.to_string();
    let rules = [
        "--id",
        &id,
        "--tmp.dir",
        tmp.to_str().unwrap(),
        "--rewrite.to-delete-config",
        &deletions,
        "--rewrite.to-relabel-config",
        relabels,
    ];
    let rewrite =
        |more: &[&str]| bucket_tool("rewrite", bucket.path(), &[&rules[..], more].concat());
    let before = blocks_in(bucket.path());
    let changes = format!(
        "Relabelled {{__name__=\"up\", job=\"c\"}} {{__name__=\"up\", job=\"renamed\"}}\n\
         Deleted {{__name__=\"up\", job=\"b\"}} [{{{START_MS} {}}}]\n\
         Deleted {{__name__=\"up\", job=\"renamed\"}} [{{{from} {}}}]\n",
        START_MS + 59 * 60_000,
        START_MS + 59 * 60_000,
    );
    // A dry run is the default, prints the changes, and changes nothing.
    assert_eq!(printed(&rewrite(&[])), changes);
    assert_eq!(blocks_in(bucket.path()), before);

    let done = rewrite(&[
        "--no-dry-run",
        "--delete-blocks",
        "--hash-func=SHA256",
        "--output=json",
    ]);
    let json: Value = serde_json::from_str(&printed(&done)).unwrap();
    let new: BlockId = json[0]["new"].as_str().unwrap().parse().unwrap();
    assert_eq!(blocks_in(bucket.path()).len(), 2);
    let meta = meta_of(bucket.path(), new);
    assert_eq!((meta.stats.num_series, meta.stats.num_samples), (2, 90));
    assert_eq!(meta.compaction.sources, [new]);
    let thanos = meta.thanos.unwrap();
    assert_eq!(thanos.source, "bucket.rewrite");
    assert_eq!(thanos.rewrites[0].sources, [old]);
    assert_eq!(thanos.rewrites[0].deletions_applied[1]["request_id"], "r1");
    assert_eq!(
        thanos.rewrites[0].relabels_applied[0]["target_label"],
        "job"
    );
    assert!(thanos.files.iter().any(|file| file.hash.is_some()));
    let mark =
        std::fs::read_to_string(bucket.path().join(format!("{old}/deletion-mark.json"))).unwrap();
    assert!(mark.contains("block rewritten"), "{mark}");
    let log = tmp.join(new.to_string()).join("change.log");
    assert_eq!(std::fs::read_to_string(log).unwrap(), changes);
    assert!(!bucket.path().join(format!("{new}/change.log")).exists());
    let block = Block::open(&bucket.path().join(new.to_string())).unwrap();
    let expected = [
        (r#"{__name__="up", job="a"}"#, 60),
        (r#"{__name__="up", job="renamed"}"#, 30),
    ];
    assert_eq!(
        series_of(&block),
        expected.map(|(labels, samples)| (labels.to_owned(), samples))
    );
    let alone = dir("rewritten");
    thanos_core::testkit::copy_dir(
        &bucket.path().join(new.to_string()),
        &alone.path().join(new.to_string()),
    );
    if let Some(dump) = promtool_dump(alone.path()) {
        assert_eq!(dump.lines().count(), 90, "{dump}");
    }

    let without = bucket_tool("rewrite", bucket.path(), &["--id", &id]);
    assert!(failed(&without).contains("rewrite configuration should be provided"));
}

/// T-29: blocks without external labels are for Prometheus only.
#[test]
fn rewrite_takes_blocks_of_prometheus_when_told_to() {
    let (bucket, work) = (dir("prom"), dir("prom-work"));
    let old = write_block(
        bucket.path(),
        &Spec {
            external: &[],
            ..Spec::default()
        },
    )
    .to_string();
    let tmp = work.path().join("tmp");
    let rules = [
        "--id",
        &old,
        "--no-dry-run",
        "--tmp.dir",
        tmp.to_str().unwrap(),
        "--rewrite.to-delete-config",
        "[{matchers: '{job=\"b\"}'}]",
    ];
    let refused = bucket_tool("rewrite", bucket.path(), &rules);
    assert!(failed(&refused).contains("empty external labels are not allowed for Thanos block"));
    printed(&bucket_tool(
        "rewrite",
        bucket.path(),
        &[&rules[..], &["--prom-blocks"]].concat(),
    ));
    assert_eq!(blocks_in(bucket.path()).len(), 2);
}

/// T-31.
#[test]
fn upload_blocks_ships_a_directory_once() {
    let (bucket, data) = (dir("shipped"), dir("data"));
    let plain = write_block(
        data.path(),
        &Spec {
            external: &[],
            ..Spec::default()
        },
    );
    let compacted = write_block(
        data.path(),
        &Spec {
            number: 2,
            hours: (2, 2),
            external: &[],
            level: 2,
            ..Spec::default()
        },
    );
    let path = data.path().to_str().unwrap();
    let upload = |more: &[&str]| {
        bucket_tool(
            "upload-blocks",
            bucket.path(),
            &[&["--path", path], more].concat(),
        )
    };
    assert!(failed(&upload(&[])).contains("no external labels configured"));
    let label = ["--label", "cluster=\"x\""];
    printed(&upload(&label));
    assert_eq!(blocks_in(bucket.path()), [plain]);
    let thanos = meta_of(bucket.path(), plain).thanos.unwrap();
    assert_eq!(
        (
            &*thanos.source,
            thanos.labels.get("cluster").map(String::as_str)
        ),
        ("bucket.upload", Some("x"))
    );
    let shipped = std::fs::read_to_string(data.path().join("thanos.shipper.json")).unwrap();
    assert_eq!(
        shipped,
        format!("{{\n\t\"version\": 1,\n\t\"uploaded\": [\n\t\t\"{plain}\"\n\t]\n}}\n")
    );
    assert!(meta_of(data.path(), plain).thanos.is_none());
    let json: Value = serde_json::from_str(&printed(&upload(
        &[&label[..], &["--output=json"]].concat(),
    )))
    .unwrap();
    assert_eq!(json["already"][0], plain.to_string());
    printed(&upload(
        &[&label[..], &["--shipper.upload-compacted"]].concat(),
    ));
    assert_eq!(blocks_in(bucket.path()), [plain, compacted]);
}
