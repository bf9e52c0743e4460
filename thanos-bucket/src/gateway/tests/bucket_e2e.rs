//! the facts of Thanos' pkg/store/bucket_e2e_test.go.
//!
//! Three slots of two hours, each with two blocks: `b` series under `ext1=value1`, `c` series under `ext2=value2`. Each
//! series has ten samples in each slot, which makes one chunk.

use thanos_core::testkit::TempDir;
use thanos_core::time::{TimeBound, Timestamp};
use thanos_storeapi::testkit::{Answer, DatasetSeries};

use super::*;

const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_700_006_400_000;
const SLOTS: i64 = 3;
const END_MS: i64 = START_MS + 2 * HOUR_MS * SLOTS;

fn labels(text: &str) -> Labels {
    Labels::from_pairs(text.split(',').filter_map(|pair| pair.split_once('=')))
}

fn block_of(slot: i64, external: &str, second: &str) -> Dataset {
    let times = (0..10).map(|i| START_MS + slot * 2 * HOUR_MS + i * (2 * HOUR_MS / 10));
    let samples: Vec<_> = times
        .map(|time| (Timestamp::from_millis(time), 1.0))
        .collect();
    let series = [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")].map(|(a, value)| DatasetSeries {
        labels: labels(&format!("a={a},{second}={value}")),
        samples: samples.clone(),
    });
    Dataset::new(labels(external), series.to_vec())
}

/// A gateway over the six blocks.
pub(super) async fn gateway(options: GatewayOptions) -> Gateway {
    let dir = TempDir::new("bucket-e2e");
    for slot in 0..SLOTS {
        let number = u32::try_from(slot).unwrap() * 2;
        let first = block_of(slot, "ext1=value1", "b");
        write_block(dir.path(), &first, number + 1).unwrap();
        let second = block_of(slot, "ext2=value2", "c");
        write_block(dir.path(), &second, number + 2).unwrap();
    }
    let gateway = Gateway::new(in_memory(dir.path()).await, options);
    gateway.sync().await.unwrap();
    gateway
}

fn matcher(text: &str) -> Matcher {
    let at = text.find(['=', '!']).unwrap();
    let (name, rest) = text.split_at(at);
    let (op, value) = match &rest.as_bytes()[..2.min(rest.len())] {
        b"=~" => (MatchOp::Regex, &rest[2..]),
        b"!~" => (MatchOp::NotRegex, &rest[2..]),
        b"!=" => (MatchOp::NotEqual, &rest[2..]),
        _ => (MatchOp::Equal, &rest[1..]),
    };
    Matcher::new(op, name, value).unwrap()
}

fn matchers(texts: &[&str]) -> Vec<Matcher> {
    texts.iter().map(|text| matcher(text)).collect()
}

pub(super) fn series_of(texts: &[&str]) -> SeriesRequest {
    SeriesRequest {
        matchers: matchers(texts),
        ..Default::default()
    }
}

async fn answer(gateway: &Gateway, request: SeriesRequest) -> Result<Answer> {
    Answer::collect(gateway.series(request).await?).await
}

/// The series with `a` of these values, each second label among `seconds`, with their external labels.
fn wanted(a_values: &[&str], seconds: &[&str]) -> Vec<Labels> {
    let mut wanted = Vec::new();
    for a in a_values {
        for second in seconds {
            let external = if second.starts_with('b') {
                "ext1=value1"
            } else {
                "ext2=value2"
            };
            wanted.push(labels(&format!("a={a},{second},{external}")));
        }
    }
    wanted
}

const BOTH: &[&str] = &["b=1", "b=2", "c=1", "c=2"];

/// A-02, ST-16, ST-19: the same answers with all ranges joined and with a request for each list, entry and chunk.
#[tokio::test]
async fn series_are_found_by_their_labels_and_external_labels() {
    for gap_bytes_max in [512 << 10, 0] {
        let gateway = gateway(GatewayOptions {
            gap_bytes_max,
            ..Default::default()
        })
        .await;
        for (texts, wanted) in [
            (&["a=~1|2"][..], wanted(&["1", "2"], BOTH)),
            (&["a=~1"], wanted(&["1"], BOTH)),
            (&["a!~2"], wanted(&["1"], BOTH)),
            (&["a!~not_existing"], wanted(&["1", "2"], BOTH)),
            (&["not_existing!~1"], wanted(&["1", "2"], BOTH)),
            (&["b=2"], wanted(&["1", "2"], &["b=2"])),
            (&["a=1", "ext2=value2"], wanted(&["1"], &["c=1", "c=2"])),
            (&["a=1", "ext2=wrong-value"], Vec::new()),
            (&["a!=2"], wanted(&["1"], BOTH)),
            (&["a!=not_existing"], wanted(&["1", "2"], BOTH)),
        ] {
            let found = answer(&gateway, series_of(texts)).await.unwrap();
            assert_eq!(found.labels(), wanted, "{texts:?}");
            for series in &found.series {
                assert_eq!(series.chunks().count(), 3, "{texts:?}");
            }
        }
        let request = SeriesRequest {
            without_replica_labels: vec!["ext1".into(), "ext2".into()],
            ..series_of(&["a=~1|2"])
        };
        let found = answer(&gateway, request).await.unwrap();
        assert_eq!(found.series.len(), 8);
        assert!(
            found
                .labels()
                .iter()
                .all(|labels| labels.iter().count() == 2)
        );
    }
}

/// A-02, ST-10: requests and Info are clamped to the served time.
#[tokio::test]
async fn only_the_served_time_is_seen() {
    let bound = |ms| TimeBound::At(Timestamp::from_millis(ms));
    let gateway = gateway(GatewayOptions {
        time_window: TimeWindow {
            min: bound(0),
            max: bound(START_MS + HOUR_MS),
        },
        limits: RequestLimits {
            // Two series of two blocks.
            samples: 4 * 120,
            ..Default::default()
        },
        ..Default::default()
    })
    .await;
    let range = gateway.info().await.unwrap().time_range().unwrap();
    assert_eq!(range, TimeRange::from_millis(START_MS, START_MS + HOUR_MS));

    let found = answer(&gateway, series_of(&["a=1"])).await.unwrap();
    assert_eq!(found.labels(), wanted(&["1"], BOTH));
    assert!(
        found
            .series
            .iter()
            .all(|series| series.chunks().count() == 1)
    );

    let later = TimeRange::from_millis(START_MS + 2 * HOUR_MS, END_MS);
    let request = SeriesRequest {
        range: later,
        ..series_of(&["a=1"])
    };
    assert!(answer(&gateway, request).await.unwrap().series.is_empty());
    let request = LabelNamesRequest {
        range: later,
        ..Default::default()
    };
    assert!(
        gateway
            .label_names(request)
            .await
            .unwrap()
            .values
            .is_empty()
    );
}

/// ST-10, X-45: a window may move with the clock.
#[tokio::test]
async fn a_window_that_moves_is_asked_at_each_request() {
    use thanos_core::time::FixedClock;

    let slot_later = |hours: i64| GatewayOptions {
        time_window: TimeWindow {
            min: "-1h".parse().unwrap(),
            ..TimeWindow::ALL
        },
        clock: Arc::new(FixedClock(Timestamp::from_millis(END_MS + hours * HOUR_MS))),
        ..Default::default()
    };
    for (hours, chunks) in [(-4, 3), (-2, 2), (0, 1)] {
        let gateway = gateway(slot_later(hours)).await;
        let found = answer(&gateway, series_of(&["a=1"])).await.unwrap();
        assert_eq!(found.series.len(), 4);
        let counts = found.series.iter().map(|series| series.chunks().count());
        assert_eq!(counts.collect::<Vec<_>>(), vec![chunks; 4], "{hours}");
    }
}

/// What an exceeded limit says, and that metrics know.
async fn refused(limits: RequestLimits, request: SeriesRequest) -> Option<String> {
    let options = GatewayOptions {
        limits,
        ..Default::default()
    };
    let metrics = options.metrics.clone();
    let gateway = gateway(options).await;
    let mut texts = Vec::new();
    for partial_response in [PartialResponse::Abort, PartialResponse::Warn] {
        let request = SeriesRequest {
            partial_response,
            ..request.clone()
        };
        texts.push(match answer(&gateway, request).await {
            Ok(found) => {
                assert!(found.missing.is_empty());
                None
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
                Some(error.to_string())
            }
        });
    }
    let dropped = requests::counted(&metrics, "thanos_bucket_store_queries_dropped_total");
    let refusals = texts.iter().flatten().count();
    let wanted = (refusals > 0).then(|| {
        let text = texts[0].as_ref().unwrap();
        let reason = text.split(' ').nth(1).unwrap();
        format!("{{reason=\"{reason}\",tenant=\"default-tenant\"}} {refusals}")
    });
    assert_eq!(dropped, wanted.into_iter().collect::<Vec<_>>());
    assert_eq!(texts[0].is_some(), texts[1].is_some(), "whatever is wanted");
    texts.swap_remove(0)
}

/// A-02, ST-22: a limit refuses the call, with Thanos' words, also where partial answers are welcome.
#[tokio::test]
async fn limits_of_series_and_chunks_refuse_the_call() {
    let request = || series_of(&["a=1"]);
    // Two series of six blocks.
    let samples = |chunks: u64| RequestLimits {
        samples: chunks * 120,
        ..Default::default()
    };
    assert_eq!(refused(samples(12), request()).await, None);
    assert_eq!(
        refused(samples(11), request()).await.unwrap(),
        "exceeded chunks limit: limit 11 violated (got 12), set by --store.limits.request-samples"
    );
    let series = |series| RequestLimits {
        series,
        ..Default::default()
    };
    assert_eq!(refused(series(12), request()).await, None);
    assert_eq!(
        refused(series(1), request()).await.unwrap(),
        "exceeded series limit: limit 1 violated (got 2), set by --store.limits.request-series"
    );
    // Of a request for one series only as many count for each block.
    let one = SeriesRequest {
        limit: 1,
        ..request()
    };
    assert_eq!(refused(series(6), one.clone()).await, None);
    assert!(refused(series(5), one).await.is_some());
    // Without chunks no sample is read.
    let labels_only = SeriesRequest {
        skip_chunks: true,
        ..request()
    };
    assert_eq!(refused(samples(1), labels_only).await, None);
}

/// E-88, A-02, ST-22: the limit of bytes holds for postings, series and chunks alike.
#[tokio::test]
async fn the_limit_of_bytes_refuses_at_every_stage() {
    let bytes = |downloaded_bytes| RequestLimits {
        downloaded_bytes,
        ..Default::default()
    };
    // One block, so that the stages come one after another.
    let request = || SeriesRequest {
        range: TimeRange::from_millis(START_MS, START_MS + HOUR_MS),
        ..series_of(&["a=1", "ext1=value1"])
    };
    let mut allowed = 1;
    for stage in ["postings", "series", "chunks"] {
        let refusal = refused(bytes(allowed), request()).await.unwrap();
        let wanted =
            format!("exceeded bytes limit while fetching {stage}: limit {allowed} violated (got ");
        assert!(refusal.starts_with(&wanted), "{refusal}");
        assert!(
            refusal.ends_with(", set by --store.grpc.downloaded-bytes-limit"),
            "{refusal}"
        );
        let got = refusal.split("(got ").nth(1).unwrap();
        let got: u64 = got.split(')').next().unwrap().parse().unwrap();
        // One less is refused in the same place.
        let less = refused(bytes(got - 1), request()).await.unwrap();
        assert!(less.contains(stage), "{less}");
        allowed = got;
    }
    assert_eq!(refused(bytes(allowed), request()).await, None);
}

fn names_of(texts: &[&str], range: TimeRange) -> LabelNamesRequest {
    LabelNamesRequest {
        matchers: matchers(texts),
        range,
        ..Default::default()
    }
}

fn values_of(label: &str, texts: &[&str], range: TimeRange) -> LabelValuesRequest {
    LabelValuesRequest {
        label: label.into(),
        matchers: matchers(texts),
        range,
        ..Default::default()
    }
}

/// A-02, ST-29.
#[tokio::test]
async fn label_names_and_values_follow_matchers_and_time() {
    let gateway = gateway(GatewayOptions::default()).await;
    let all = TimeRange::ALL;
    let before = TimeRange::from_millis(START_MS - 24 * HOUR_MS, START_MS - 23 * HOUR_MS);
    for (texts, range, wanted) in [
        (&[][..], all, &["a", "b", "c", "ext1", "ext2"][..]),
        (&[], before, &[]),
        (&["a=1"], all, &["a", "b", "c", "ext1", "ext2"]),
        (&["b=1"], all, &["a", "b", "ext1"]),
        (&["b="], all, &["a", "c", "ext2"]),
        (&["a=1"], before, &[]),
    ] {
        let names = gateway.label_names(names_of(texts, range)).await.unwrap();
        assert_eq!(names.values, wanted, "{texts:?}");
    }
    for (label, texts, range, wanted) in [
        ("a", &[][..], all, &["1", "2"][..]),
        ("a", &[], before, &[]),
        ("a", &["a=1"], all, &["1"]),
        ("a", &["a=2", "c=2"], all, &["2"]),
        ("ext1", &[], all, &["value1"]),
        // Series with `c` have ext2.
        ("ext1", &["c=1"], all, &[]),
    ] {
        let values = gateway.label_values(values_of(label, texts, range)).await;
        assert_eq!(values.unwrap().values, wanted, "{label} of {texts:?}");
    }
}

/// A-02, ST-22: the limit of series holds for label calls that read series, whatever is wanted of partial answers.
#[tokio::test]
async fn the_limit_of_series_refuses_label_calls() {
    for (series, is_refused) in [(u64::MAX, false), (1, true)] {
        let limits = RequestLimits {
            series,
            ..Default::default()
        };
        let gateway = gateway(GatewayOptions {
            limits,
            ..Default::default()
        })
        .await;
        for partial_response in [PartialResponse::Abort, PartialResponse::Warn] {
            let names = LabelNamesRequest {
                partial_response,
                ..names_of(&["a=1"], TimeRange::ALL)
            };
            let values = LabelValuesRequest {
                partial_response,
                ..values_of("a", &["a=1"], TimeRange::ALL)
            };
            let answers = [
                gateway.label_names(names).await,
                gateway.label_values(values).await,
            ];
            for answer in answers {
                assert_eq!(answer.is_err(), is_refused, "{answer:?}");
                let Err(error) = answer else { continue };
                assert_eq!(error.kind(), ErrorKind::LimitExceeded);
                assert!(
                    error.to_string().contains("exceeded series limit"),
                    "{error}"
                );
            }
        }
        // Answered from index-headers, without reading a series.
        let names = gateway.label_names(names_of(&[], TimeRange::ALL)).await;
        assert_eq!(names.unwrap().values.len(), 5);
    }
}
