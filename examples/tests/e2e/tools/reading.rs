//! Tools that only read: `ls` and `inspect`; and `mark`.

use serde_json::Value;

use super::{HOUR_MS, Spec, bucket_tool, dir, failed, id, logged, printed, write_block};

/// T-01, T-02, T-03.
#[test]
fn ls_prints_blocks_in_every_format() {
    let bucket = dir("ls");
    for number in 1..=3 {
        let spec = Spec {
            number,
            hours: (i64::from(number) * 2, 2),
            ..Spec::default()
        };
        write_block(bucket.path(), &spec);
    }
    let ls = |more: &[&str]| printed(&bucket_tool("ls", bucket.path(), more));
    let lines = |numbers: &[u32]| {
        numbers
            .iter()
            .map(|n| format!("{}\n", id(*n)))
            .collect::<String>()
    };
    // A block that is still being uploaded is none.
    std::fs::create_dir_all(bucket.path().join(id(9).to_string())).unwrap();
    std::fs::write(bucket.path().join(id(9).to_string()).join("index"), "x").unwrap();
    assert_eq!(ls(&[]), lines(&[1, 2, 3]));

    let wide = ls(&["-o", "wide"]);
    assert_eq!(
        wide.lines().next().unwrap(),
        format!(
            "{} -- 2026-10-31T14:00:00Z - 2026-10-31T16:00:00Z Diff: 2h0m0s, Compaction: 1, Downsample: 0, Source: sidecar",
            id(1)
        )
    );
    let json = ls(&["--output=json"]);
    assert!(json.starts_with("{\n\t\"ulid\": "), "{json}");
    let metas: Vec<Value> = serde_json::Deserializer::from_str(&json)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(metas.len(), 3);
    assert_eq!(metas[2]["thanos"]["labels"]["cluster"], "x");
    let template = ls(&["-o", "{{.ULID}} {{.Thanos.Labels}} {{.Stats.NumSeries}}"]);
    assert!(
        template.starts_with(&format!("{} map[cluster:x] 2\n", id(1))),
        "{template}"
    );
    let refused = failed(&bucket_tool("ls", bucket.path(), &["-o", "{{.ULID"]));
    assert!(refused.contains("invalid template"), "{refused}");

    let marked = bucket_tool(
        "mark",
        bucket.path(),
        &[
            "--id",
            &id(2).to_string(),
            "--marker=deletion-mark.json",
            "--details=by hand",
        ],
    );
    printed(&marked);
    assert_eq!(ls(&["--exclude-delete"]), lines(&[1, 3]));
    assert_eq!(ls(&["--min-time=2026-10-31T18:30:00Z"]), lines(&[3]));
    assert_eq!(ls(&["--max-time=2026-10-31T15:00:00Z"]), lines(&[1]));
    let rules = format!(
        "[{{action: drop, source_labels: [__block_id], regex: {}}}]",
        id(1)
    );
    assert_eq!(ls(&["--selector.relabel-config", &rules]), lines(&[2, 3]));
    let hasty = bucket_tool("ls", bucket.path(), &["--timeout=30s"]);
    assert!(logged(&hasty).contains("Timeout less than 1m could lead to frequent failures"));
    let without = crate::programs::thanos(&["tools", "bucket", "ls"])
        .output()
        .unwrap();
    assert!(failed(&without).contains("objstore.config"));
}

/// T-04, T-05.
#[test]
fn inspect_prints_a_table_in_order() {
    let bucket = dir("inspect");
    for (number, hours, cluster) in [(1, (50, 2), "x"), (2, (0, 50), "y")] {
        let spec = Spec {
            number,
            hours,
            external: &[("cluster", cluster), ("a", "1")],
            ..Spec::default()
        };
        write_block(bucket.path(), &spec);
    }
    let inspect = |more: &[&str]| printed(&bucket_tool("inspect", bucket.path(), more));
    let table = inspect(&[]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4);
    let header: Vec<&str> = lines[0].split('|').map(str::trim).collect();
    assert_eq!(
        header[1..14],
        [
            "ULID",
            "FROM",
            "UNTIL",
            "RANGE",
            "UNTIL-DOWN",
            "#SERIES",
            "#SAMPLES",
            "#CHUNKS",
            "COMP-LEVEL",
            "COMP-FAILED",
            "LABELS",
            "RESOLUTION",
            "SOURCE",
        ]
    );
    let row: Vec<&str> = lines[2].split('|').map(str::trim).collect();
    let id_2 = id(2).to_string();
    assert_eq!(
        row[1..14],
        [
            &*id_2,
            "2026-10-31T12:00:00Z",
            "2026-11-02T14:00:00Z",
            "50h0m0s",
            "-10h0m0s",
            "2",
            "120",
            "2",
            "1",
            "false",
            "a=1,cluster=y",
            "0s",
            "sidecar",
        ]
    );
    let csv = inspect(&["--output=csv", "--sort-by=RANGE", "-l", "a=\"1\""]);
    let rows: Vec<&str> = csv.lines().collect();
    assert!(
        rows[0].starts_with("ULID,FROM,") && rows[1].starts_with(&id(1).to_string()),
        "{csv}"
    );
    assert!(rows[2].contains(",\"a=1,cluster=y\","), "{csv}");
    assert_eq!(
        inspect(&["--output=tsv", "-l", "cluster=\"x\""])
            .lines()
            .count(),
        2
    );
    let json: Value = serde_json::from_str(&inspect(&["--output=json"])).unwrap();
    assert_eq!(json[0]["ulid"], id_2);
    assert_eq!(json[0]["untilDownsamplingMs"], -10 * HOUR_MS);
    let unknown = bucket_tool("inspect", bucket.path(), &["--sort-by=NOPE"]);
    assert!(!unknown.status.success() && logged(&unknown).contains("NOPE"));
}

/// T-22.
#[test]
fn marks_are_put_once_and_removed() {
    let bucket = dir("mark");
    let id = write_block(bucket.path(), &Spec::default()).to_string();
    let mark =
        |more: &[&str]| bucket_tool("mark", bucket.path(), &[&["--id", &*id], more].concat());
    for (file, more) in [
        ("deletion-mark.json", ""),
        ("no-compact-mark.json", "\"reason\":\"manual\""),
        ("no-downsample-mark.json", "\"reason\":\"manual\""),
    ] {
        let path = bucket.path().join(&id).join(file);
        let told = |outcome: &str| format!("{{\n\t\"{id}\": \"{outcome}\"\n}}\n");
        let put = mark(&["--marker", file, "--details=first", "--output=json"]);
        assert_eq!(printed(&put), told("changed"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("\"details\":\"first\"") && text.contains(more),
            "{text}"
        );
        let again = mark(&["--marker", file, "--details=second", "--output=json"]);
        assert_eq!(printed(&again), told("unchanged"));
        assert!(logged(&again).contains("level=warn"), "{}", logged(&again));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        printed(&mark(&["--marker", file, "--remove"]));
        assert!(!path.exists());
    }
    assert!(
        failed(&mark(&["--marker=deletion-mark.json"]))
            .contains("required flag --details not provided")
    );
    let unknown = mark(&["--marker=nope.json", "--details=x"]);
    assert!(!unknown.status.success() && logged(&unknown).contains("nope.json"));
}
