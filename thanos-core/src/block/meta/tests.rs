use super::*;
use crate::error::ErrorKind;
use crate::testkit::TempDir;

fn testdata(path: &str) -> Vec<u8> {
    std::fs::read(format!("{}/testdata/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn files_of_thanos_and_prometheus_are_written_back_byte_for_byte() {
    for path in [
        "bucket-meta/block-1k-2h.uploaded.meta.json",
        "bucket-meta/sidecar-shipped.meta.json",
        "bucket-meta/downsampled-5m.meta.json",
        "block-1k-2h/01M81JDC7R8JKP7SEW1VN2HAQ9/meta.json",
        "block-1k-2h-tombstones/meta.json",
        "bucket-meta/prometheus-3.5.3-level-3.meta.json",
    ] {
        let file = testdata(path);
        let meta = Meta::parse(&file).unwrap();
        let written = meta.to_json();
        assert_eq!(
            String::from_utf8_lossy(&written),
            String::from_utf8_lossy(&file),
            "{path}"
        );
        assert!(meta.extra.is_empty(), "{path}: {:?}", meta.extra);
    }
}

#[test]
fn a_meta_of_thanos_is_understood() {
    let meta = Meta::parse(&testdata("bucket-meta/sidecar-shipped.meta.json")).unwrap();
    assert_eq!(meta.stats.num_samples, 76_004);
    assert_eq!(
        meta.external_labels().to_string(),
        r#"{cluster="demo", replica="b"}"#
    );
    assert_eq!(meta.resolution_ms(), 0);
    assert_eq!(
        meta.time_range(),
        TimeRange::from_millis(1_795_348_964_053, 1_795_349_099_999)
    );
    let thanos = meta.thanos.unwrap();
    assert_eq!((thanos.source.as_str(), thanos.files.len()), ("sidecar", 3));
    assert_eq!(
        thanos.upload_time.timestamp().unwrap().as_millis(),
        1_795_353_443_797
    );
}

#[test]
fn a_downsampled_block_says_its_resolution() {
    let meta = Meta::parse(&testdata("bucket-meta/downsampled-5m.meta.json")).unwrap();
    assert_eq!(meta.resolution_ms(), 300_000);
    assert_eq!(meta.compaction.level, 4);
}

const LEAST: &str = r#"{"ulid":"01M81JDC7R8JKP7SEW1VN2HAQ9","minTime":5,"maxTime":5,"version":1}"#;

#[test]
fn what_go_leaves_out_or_writes_as_null_is_empty() {
    let meta = Meta::parse(LEAST.as_bytes()).unwrap();
    assert!(meta.time_range().is_empty() && meta.thanos.is_none());
    let nulls = LEAST.replace(
        "\"version\":1",
        r#""version":1,"compaction":{"level":1,"sources":null,"parents":null},
           "thanos":{"labels":null,"downsample":{"resolution":0},"source":"","files":null}"#,
    );
    let meta = Meta::parse(nulls.as_bytes()).unwrap();
    assert!(meta.external_labels().is_empty());
    let text = String::from_utf8(meta.to_json()).unwrap();
    assert!(text.ends_with(
        "\t\t\"labels\": {},\n\t\t\"downsample\": {\n\t\t\t\"resolution\": 0\n\t\t},\n\t\t\"source\": \"\",\n\
         \t\t\"index_stats\": {},\n\t\t\"upload_time\": \"0001-01-01T00:00:00Z\"\n\t}\n}\n"
    ), "{text}");
}

#[test]
fn unknown_fields_survive() {
    let text = LEAST.replace(
        "\"version\":1",
        r#""version":1,"later":[1,{"a":null}],"stats":{"numThings":3},
           "compaction":{"level":2,"speed":"fast"},"thanos":{"labels":{},"mood":"good"}"#,
    );
    let meta = Meta::parse(text.as_bytes()).unwrap();
    let again = Meta::parse(&meta.to_json()).unwrap();
    assert_eq!(meta, again);
    assert_eq!(again.extra["later"][1]["a"], Value::Null);
    assert_eq!(again.stats.extra["numThings"], 3);
    assert_eq!(again.compaction.extra["speed"], "fast");
    assert_eq!(again.thanos.unwrap().extra["mood"], "good");
}

#[test]
fn other_versions_and_turned_ranges_are_refused() {
    for (from, to, kind) in [
        ("\"version\":1", "\"version\":2", ErrorKind::Invalid),
        ("\"version\":1", "\"version\":0", ErrorKind::Invalid),
        (
            "\"version\":1",
            r#""version":1,"thanos":{"version":2}"#,
            ErrorKind::Invalid,
        ),
        ("\"minTime\":5", "\"minTime\":6", ErrorKind::Corrupt),
        ("01M81J", "01m81j", ErrorKind::Corrupt),
        ("\"minTime\":5", "\"minTime\":1e99", ErrorKind::Corrupt),
    ] {
        let error = Meta::parse(LEAST.replace(from, to).as_bytes()).unwrap_err();
        assert_eq!(error.kind(), kind, "{to}: {error}");
    }
    let old = LEAST.replace("\"version\":1", r#""version":1,"thanos":{"version":1}"#);
    assert!(Meta::parse(old.as_bytes()).is_ok());
}

#[test]
fn a_cut_file_is_corrupt_at_its_end() {
    let file = testdata("bucket-meta/sidecar-shipped.meta.json");
    for len in 0..file.trim_ascii_end().len() {
        let error = Meta::parse(&file[..len]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(
            error.offset().is_some_and(|offset| offset <= len as u64),
            "{error}"
        );
    }
}

#[test]
fn a_flipped_byte_never_panics_and_an_error_names_file_and_offset() {
    let dir = TempDir::new("meta");
    let dir = dir.path();
    let file = testdata("bucket-meta/block-1k-2h.uploaded.meta.json");
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 0x15;
        std::fs::write(dir.join(META_FILE), &damaged).unwrap();
        if let Err(error) = Meta::read_dir(dir) {
            assert!(error.file().unwrap().ends_with("meta.json"), "{error}");
            assert!(error.offset().is_some(), "{error}");
        }
    }
}
