use std::sync::Arc;

use object_store::memory::InMemory;
use proptest::prelude::*;
use thanos_core::ErrorKind;
use thanos_core::labels::{Labels, MatchOp};

use super::*;
use crate::Bucket;

fn tombstone() -> Tombstone {
    let mut tombstone = Tombstone::new(
        "ticket-4711".parse().unwrap(),
        Timestamp::from_millis(1_793_491_200_999),
    );
    tombstone.selectors = vec![
        vec![
            Matcher::equal("job", "shop"),
            Matcher::new(MatchOp::NotEqual, "cluster", "eu1").unwrap(),
        ],
        vec![Matcher::new(MatchOp::Regex, "customer", "4[0-9]+").unwrap()],
    ];
    tombstone.range = TimeRange::from_millis(1_793_000_000_000, 1_793_100_000_000);
    tombstone.author = "jane".to_owned();
    tombstone.reason = "erasure".to_owned();
    tombstone
}

const GOLDEN: &str = concat!(
    r#"{"request":{"version":1,"request_id":"ticket-4711","selectors":[[{"name":"job","type":"=","value":"shop"},"#,
    r#"{"name":"cluster","type":"!=","value":"eu1"}],[{"name":"customer","type":"=~","value":"4[0-9]+"}]],"#,
    r#""min_time":1793000000000,"max_time":1793100000000,"creation_time":1793491200,"author":"jane","reason":"erasure"},"#,
    r#""checksum":"69b77d7255aae7ac"}"#,
);

#[test]
fn the_object_is_what_this_version_wrote_first() {
    let text = String::from_utf8(tombstone().to_json()).unwrap();
    assert_eq!(text, GOLDEN);
    let read = Tombstone::parse(GOLDEN.as_bytes()).unwrap();
    assert_eq!(read.to_json(), GOLDEN.as_bytes());
    assert_eq!(read.created, Timestamp::from_millis(1_793_491_200_000));
}

#[test]
fn a_flipped_bit_is_an_error() {
    for at in 0..GOLDEN.len() {
        for bit in 0..8 {
            let mut bytes = GOLDEN.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            let error = Tombstone::parse(&bytes).unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Invalid),
                "{at} {bit}: {error}"
            );
        }
    }
    for len in 0..GOLDEN.len() {
        assert!(Tombstone::parse(&GOLDEN.as_bytes()[..len]).is_err());
    }
}

#[test]
fn requests_that_would_delete_everything_or_nothing_are_refused() {
    type Change = fn(&mut Tombstone);
    let cases: [(Change, &str); 5] = [
        (|t| t.selectors.clear(), "selectors"),
        (|t| t.selectors.push(Vec::new()), "non-empty matcher"),
        (
            |t| t.selectors = vec![vec![Matcher::new(MatchOp::Regex, "a", ".*").unwrap()]],
            "non-empty matcher",
        ),
        (
            |t| t.range = TimeRange::from_millis(2, 1),
            "before its start",
        ),
        (|t| t.reason = "x".repeat(5000), "4096 bytes"),
    ];
    for (change, message) in cases {
        let mut bad = tombstone();
        change(&mut bad);
        let error = bad.check().unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
    for bad in ["", ".hidden", "a/b", "..", "a b", &"x".repeat(129)] {
        assert!(bad.parse::<RequestId>().is_err(), "{bad:?}");
    }
}

#[test]
fn selectors_are_split_at_the_external_labels() {
    let within = |pairs: &[(&str, &str)]| {
        let labels = Labels::from_pairs(pairs.iter().copied());
        let left = tombstone().selectors_within(labels.as_ref());
        left.iter()
            .map(|selector| selector.iter().map(|m| m.name().to_owned()).collect())
            .collect::<Vec<Vec<String>>>()
    };
    assert_eq!(within(&[("cluster", "eu1")]), [["customer"]]);
    assert_eq!(
        within(&[("cluster", "us1")]),
        [vec!["job"], vec!["customer"]]
    );
    assert_eq!(
        within(&[("cluster", "us1"), ("job", "shop")]),
        [Vec::new(), vec!["customer"]]
    );
}

#[test]
fn a_label_that_is_not_there_is_never_matched() {
    let selector = vec![
        Matcher::equal("job", "shop"),
        Matcher::new(MatchOp::NotEqual, "cluster", "eu1").unwrap(),
    ];
    let is_selected = |pairs: &[(&str, &str)]| {
        selects(
            &selector,
            Labels::from_pairs(pairs.iter().copied()).as_ref(),
        )
    };
    assert!(is_selected(&[("cluster", "us1"), ("job", "shop")]));
    assert!(!is_selected(&[("cluster", "eu1"), ("job", "shop")]));
    assert!(!is_selected(&[("job", "shop")]));
}

fn memory() -> Bucket {
    Bucket::new(Arc::new(InMemory::new()))
}

#[tokio::test]
async fn a_request_is_written_once_and_lifted_once() {
    let bucket = memory();
    let store = TombstoneStore::new(bucket.clone());
    let reader = TombstoneReader::new(bucket.clone());
    assert_eq!(reader.read().await.unwrap().len(), 0);
    assert!(store.add(&tombstone()).await.unwrap());
    assert!(!store.add(&tombstone()).await.unwrap());
    let mut other = tombstone();
    other.reason.push('!');
    let error = store.add(&other).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);

    let read = reader.read().await.unwrap();
    assert_eq!(read[0].to_json(), tombstone().to_json());
    let before = bucket.requests();
    reader.read().await.unwrap();
    assert_eq!(
        bucket.requests().gets,
        before.gets,
        "an old one is not read again"
    );

    let id = &tombstone().request_id;
    assert!(store.lift(id).await.unwrap());
    assert!(!store.lift(id).await.unwrap());
    assert_eq!(reader.read().await.unwrap().len(), 0);
    // The name is free again, with other contents.
    assert!(store.add(&other).await.unwrap());
    assert_eq!(reader.read().await.unwrap()[0].reason, "erasure!");
}

#[tokio::test]
async fn a_finished_request_leaves_a_record_and_its_name_is_taken() {
    let bucket = memory();
    let store = TombstoneStore::new(bucket.clone());
    store.add(&tombstone()).await.unwrap();
    let record = AppliedRecord {
        tombstone: tombstone(),
        finished: Timestamp::from_millis(1_793_500_000_000),
        blocks: vec!["01M81M50C1GHABPQN27M3727VX".parse().unwrap()],
    };
    store.finish(&record).await.unwrap();
    assert_eq!(store.list().await.unwrap().len(), 0);
    let kept = format!("{TOMBSTONES_DIR}/done/ticket-4711.json");
    let kept = bucket.read(&kept, 1 << 20).await.unwrap();
    let kept = String::from_utf8(kept.to_vec()).unwrap();
    for part in [
        "ticket-4711",
        "jane",
        "01M81M50C1GHABPQN27M3727VX",
        "1793500000",
    ] {
        assert!(kept.contains(part), "{kept}");
    }
    let error = store.add(&tombstone()).await.unwrap_err();
    assert!(error.to_string().contains("carried out"), "{error}");
}

#[tokio::test]
async fn a_damaged_tombstone_is_an_error_with_its_name() {
    let bucket = memory();
    TombstoneStore::new(bucket.clone())
        .add(&tombstone())
        .await
        .unwrap();
    let object = format!("{TOMBSTONES_DIR}/active/other.json");
    bucket
        .put(&object, tombstone().to_json().into())
        .await
        .unwrap();
    let error = TombstoneReader::new(bucket.clone())
        .read()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.file(), Some(&*object));
    bucket.put(&object, "{}".into()).await.unwrap();
    let error = TombstoneReader::new(bucket).read().await.unwrap_err();
    assert_eq!(error.file(), Some(&*object));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        values in prop::collection::vec(("[a-z_]{1,8}", 0..4_usize, "\\PC{1,12}"), 1..6),
        range in (any::<i64>(), 0..1000_i64),
        texts in ("\\PC{0,20}", "\\PC{0,20}"),
    ) {
        let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Equal, MatchOp::NotEqual];
        let mut selector = vec![Matcher::equal("job", "a")];
        for (name, op, value) in &values {
            selector.push(Matcher::new(ops[*op], name, value).unwrap());
        }
        let mut written = tombstone();
        written.selectors = vec![selector];
        written.range = TimeRange::from_millis(range.0, range.0.saturating_add(range.1));
        (written.author, written.reason) = texts;
        let text = written.to_json();
        let read = Tombstone::parse(&text).unwrap();
        prop_assert_eq!(read.range, written.range);
        prop_assert_eq!(&read.author, &written.author);
        prop_assert_eq!(read.to_json(), text);
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Tombstone::parse(&bytes);
    }
}
