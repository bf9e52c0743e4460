//! Blocks that cannot be opened or read: named, or the end of the request; never a silent gap.

use std::fs;

use thanos_core::error::ErrorKind;
use thanos_core::labels::MatchOp;
use thanos_core::query::Missing;

use super::*;
use crate::store::PartialResponse;

/// Two blocks of one stream at 0 to 1 and 10 to 11 seconds, and one of another stream.
fn blocks() -> (TempDir, Vec<std::path::PathBuf>) {
    let dir = TempDir::new("damaged");
    let block = |region: &str, start_ms: i64, number| {
        let samples = (0..200).map(|place| {
            let time = thanos_core::time::Timestamp::from_millis(start_ms + place * 5);
            (time, 1.5)
        });
        let series = DatasetSeries {
            labels: Labels::from_pairs([("a", "1")]),
            samples: samples.collect(),
        };
        let external = Labels::from_pairs([("region", region)]);
        write_block(dir.path(), &Dataset::new(external, vec![series]), number).unwrap()
    };
    let paths = vec![block("eu", 0, 1), block("eu", 10_000, 2), block("us", 0, 3)];
    (dir, paths)
}

fn flip(path: &Path, from_end: usize) {
    let mut bytes = fs::read(path).unwrap();
    let place = bytes.len() - from_end;
    bytes[place] ^= 0x55;
    fs::write(path, bytes).unwrap();
}

fn request(policy: PartialResponse, range: TimeRange, region: &str) -> SeriesRequest {
    SeriesRequest {
        range,
        matchers: vec![
            Matcher::equal("a", "1"),
            Matcher::new(MatchOp::Regex, "region", region).unwrap(),
        ],
        partial_response: policy,
        ..Default::default()
    }
}

fn label_calls(store: &LocalStore, policy: PartialResponse) -> [Result<LabelsResponse>; 2] {
    let names = LabelNamesRequest {
        partial_response: policy,
        ..Default::default()
    };
    let values = LabelValuesRequest {
        partial_response: policy,
        label: "a".into(),
        ..Default::default()
    };
    futures::executor::block_on(async {
        [
            store.label_names(names).await,
            store.label_values(values).await,
        ]
    })
}

/// Damage that shows when the block is opened: the block is refused, and only answers it belongs to are affected.
#[test]
fn refused_blocks_are_named_where_they_belong() {
    let (dir, paths) = blocks();
    flip(&paths[0].join("index"), 3);
    let store = LocalStore::open(dir.path(), LocalStoreOptions::default()).unwrap();
    let warn = PartialResponse::Warn;
    let answer = ask(&store, request(warn, TimeRange::ALL, ".+")).unwrap();
    assert_eq!(answer.series.len(), 2);
    assert_eq!(answer.missing.len(), 1);
    let Missing { source, reason } = &answer.missing[0];
    let id = paths[0].file_name().unwrap().to_str().unwrap();
    assert_eq!(*source, format!("block {id}"));
    assert!(reason.contains("index"), "{reason}");
    let error = ask(
        &store,
        request(PartialResponse::Abort, TimeRange::ALL, ".+"),
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(id), "{error}");
    for response in label_calls(&store, warn) {
        assert_eq!(response.unwrap().completeness.missing(), answer.missing);
    }
    assert!(
        label_calls(&store, PartialResponse::Abort)
            .iter()
            .all(Result::is_err)
    );
    // Another time, another stream: complete.
    for (range, region) in [
        (TimeRange::from_millis(5000, 20_000), ".+"),
        (TimeRange::ALL, "us"),
    ] {
        let answer = ask(&store, request(PartialResponse::Abort, range, region)).unwrap();
        assert_eq!(answer.missing, []);
        assert_eq!(answer.series.len(), 1);
    }
    // A proxy must not skip the store for the time of the refused block.
    let info = futures::executor::block_on(store.info()).unwrap();
    assert!(
        info.time_range()
            .unwrap()
            .contains(thanos_core::time::Timestamp::from_millis(0))
    );
}

#[test]
fn a_block_without_readable_meta_could_hold_anything() {
    let (dir, paths) = blocks();
    fs::write(paths[0].join("meta.json"), b"{").unwrap();
    let store = LocalStore::open(dir.path(), LocalStoreOptions::default()).unwrap();
    let range = TimeRange::from_millis(90_000, 99_000);
    let answer = ask(&store, request(PartialResponse::Warn, range, "us")).unwrap();
    assert_eq!(answer.missing.len(), 1);
    assert!(ask(&store, request(PartialResponse::Abort, range, "us")).is_err());
    let info = futures::executor::block_on(store.info()).unwrap();
    assert_eq!(info.time_range(), Some(TimeRange::ALL));
}

/// Damage that shows when series or chunks are read.
#[test]
fn damage_found_while_reading_is_named_or_fails_the_request() {
    let (dir, paths) = blocks();
    flip(&paths[1].join("chunks/000001"), 10);
    let store = LocalStore::open(dir.path(), LocalStoreOptions::default()).unwrap();
    let answer = ask(&store, request(PartialResponse::Warn, TimeRange::ALL, ".+")).unwrap();
    assert_eq!(answer.series.len(), 2);
    assert_eq!(answer.missing.len(), 1);
    let id = paths[1].file_name().unwrap().to_str().unwrap();
    assert_eq!(answer.missing[0].source, format!("block {id}"));
    assert!(
        answer.missing[0].reason.contains("000001"),
        "{}",
        answer.missing[0].reason
    );
    let error = ask(
        &store,
        request(PartialResponse::Abort, TimeRange::ALL, ".+"),
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("000001"), "{error}");
}
