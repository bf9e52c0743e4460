use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use thanos_core::labels::{Labels, Matcher};
use thanos_core::time::{TimeRange, Timestamp};
use thanos_storeapi::apis::query::{QueryApi, QueryRequest, QueryStream, QueryTimes};
use thanos_storeapi::store::TsdbInfo;

use super::{RemotePart, distribute};
use crate::exec::grid::Grid;
use crate::parser::{self, Options};
use crate::plan::{self, Kind, Plan};
use crate::remote::{Coverage, RemoteEngine, RemoteOptions, Remotes};

const HOUR: i64 = 3_600_000;

/// Nobody is asked: these tests are about what would be.
#[derive(Debug)]
struct Nobody;

#[async_trait]
impl QueryApi for Nobody {
    async fn query(&self, request: QueryRequest) -> thanos_core::Result<QueryStream> {
        panic!("{} was asked", request.query);
    }
}

/// External labels, and the first and the last time.
type Tsdb<'a> = (&'a [(&'a str, &'a str)], i64, i64);

fn engine(name: &str, tsdbs: &[Tsdb<'_>]) -> RemoteEngine {
    let tsdb = |(labels, from, to): &Tsdb<'_>| TsdbInfo {
        external_labels: Labels::from_pairs(labels.iter().copied()),
        range: TimeRange::from_millis(*from, *to),
    };
    RemoteEngine {
        name: name.into(),
        api: Some(Arc::new(Nobody)),
        tsdbs: tsdbs.iter().map(tsdb).collect(),
    }
}

fn plan_of(text: &str, (from, to): (i64, i64), step_ms: i64) -> (Plan, Grid) {
    let expr = parser::parse(text, &Options::all()).unwrap();
    let (start, end) = (Timestamp::from_millis(from), Timestamp::from_millis(to));
    let times = plan::QueryTimes {
        start,
        end,
        step_ms,
        subquery_step_ms: 60_000,
        levels_left: 100,
    };
    let grid = if step_ms == 0 {
        Grid::instant(start)
    } else {
        Grid::range(from, to, step_ms).unwrap()
    };
    (plan::fold(&plan::build(&expr, &times).unwrap()), grid)
}

fn remote_parts(plan: &Plan, found: &mut Vec<RemotePart>) {
    if let Kind::Remote(remote) = &plan.kind {
        found.extend(remote.parts.iter().cloned());
    }
    plan::fold::map_children(&plan.kind, &mut |child| {
        remote_parts(child, found);
        Plan::clone(child)
    });
}

fn parts_of(text: &str, remotes: &Remotes) -> Vec<RemotePart> {
    let (plan, grid) = plan_of(text, (10 * HOUR, 12 * HOUR), 60_000);
    let mut parts = Vec::new();
    remote_parts(&distribute(&plan, grid, 300_000, remotes), &mut parts);
    parts
}

/// Returns the different queries that are sent.
fn sent(text: &str, remotes: &Remotes) -> Vec<String> {
    let parts = parts_of(text, remotes);
    let mut texts: Vec<String> = parts.into_iter().map(|part| part.request.query).collect();
    texts.dedup();
    texts
}

fn zones() -> Remotes {
    Remotes {
        engines: vec![
            engine("east", &[(&[("zone", "east")], 0, i64::MAX)]),
            engine("west", &[(&[("zone", "west")], 0, i64::MAX)]),
        ],
        ..Remotes::default()
    }
}

/// Q-25: which parts of a query go to the engines that have the data.
#[test]
fn what_works_on_series_or_splits_is_pushed_down() {
    for (text, expected) in [
        ("x", &["x"][..]),
        ("rate(x[5m] offset 1m)", &["rate(x[5m] offset 1m)"]),
        ("sum(x)", &["sum by (zone) (x)"]),
        ("sum by (a) (x)", &["sum by (a, zone) (x)"]),
        ("sum without (a, zone) (x)", &["sum without (a) (x)"]),
        ("count(x)", &["count by (zone) (x)"]),
        ("group(x) + 1", &["group by (zone) (x)"]),
        ("topk(3, rate(x[1m]))", &["topk by (zone) (3, rate(x[1m]))"]),
        (
            "avg by (a) (x)",
            &["sum by (a, zone) (x)", "count by (a, zone) (x)"],
        ),
        ("avg by (__name__) (x)", &["x"]),
        ("avg by (zone) (x)", &["avg by (zone) (x)"]),
        ("quantile(0.5, x)", &["x"]),
        (
            "quantile by (zone) (0.5, x)",
            &["quantile by (zone) (0.5, x)"],
        ),
        ("topk(scalar(y), x)", &["x", "y"]),
        ("stddev without (a) (x)", &["stddev without (a) (x)"]),
        ("count_values by (zone) (\"zone\", x)", &["x"]),
        ("x + y", &["x + y"]),
        ("x + on (a) y", &["x", "y"]),
        ("x + on (zone, a) y", &["x + on (zone, a) y"]),
        ("x + ignoring (zone) y", &["x", "y"]),
        ("x * on (a) group_left (zone) y", &["x", "y"]),
        ("x or vector(0)", &["x"]),
        (
            "sum(x) / sum(y)",
            &["sum by (zone) (x)", "sum by (zone) (y)"],
        ),
        ("x > bool 2 * time()", &["x > bool 2 * time()"]),
        ("x > scalar(y)", &["x", "y"]),
        ("sort_desc(x)", &["x"]),
        ("absent(x)", &[]),
        ("info(x)", &[]),
        ("vector(1)", &[]),
        (
            "label_replace(x, \"a\", \"$1\", \"b\", \"(.*)\")",
            &["label_replace(x, \"a\", \"$1\", \"b\", \"(.*)\")"],
        ),
        (
            "label_replace(x, \"zone\", \"$1\", \"b\", \"(.*)\")",
            &["x"],
        ),
        (
            "histogram_quantile(0.9, sum by (le) (rate(x[5m])))",
            &["sum by (le, zone) (rate(x[5m]))"],
        ),
        ("max_over_time(sum(x)[10m:1m])", &["sum by (zone) (x)"]),
        ("max_over_time(x[10m:])", &["max_over_time(x[10m:1m])"]),
        ("x @ end()", &["x @ 43200.000"]),
        ("sum(x @ 40000)", &["sum by (zone) (x @ 40000.000)"]),
        // E-58.
        ("sum(xrate(x[5m]))", &["sum by (zone) (xrate(x[5m]))"]),
    ] {
        assert_eq!(sent(text, &zones()), expected, "{text}");
    }
}

#[test]
fn only_engines_whose_labels_may_match_are_asked() {
    let names = |text: &str| -> Vec<String> {
        let parts = parts_of(text, &zones());
        parts.iter().map(|part| part.name.to_string()).collect()
    };
    assert_eq!(names("x{zone=\"east\"}"), ["east"]);
    assert_eq!(names("x{zone=~\"w.*\"} + y"), ["east", "west"]);
    assert_eq!(
        names("x{zone=\"east\"} or y{zone=\"west\"}"),
        ["east", "west"]
    );
    assert_eq!(names("x{zone=\"north\"}"), [""; 0]);
    assert_eq!(names("x offset 20h"), [""; 0]);
}

/// Q-25, E-11, E-12: each step goes to an engine that has all that there is for it.
#[test]
fn steps_go_to_who_has_their_data() {
    let a = &[("zone", "east")][..];
    let span = |part: &RemotePart| match part.request.times {
        QueryTimes::Range { start, end, .. } => {
            (part.name.to_string(), start.as_millis(), end.as_millis())
        }
        QueryTimes::Instant(time) => (part.name.to_string(), time.as_millis(), time.as_millis()),
    };
    let spans = |remotes: &Remotes, text: &str| -> Vec<(String, i64, i64)> {
        parts_of(text, remotes).iter().map(span).collect()
    };
    let of = |engines: Vec<RemoteEngine>, coverage| Remotes {
        engines,
        options: RemoteOptions {
            coverage,
            ..RemoteOptions::default()
        },
        ..Remotes::default()
    };
    let old_and_new = |overlap: i64| {
        of(
            vec![
                engine("old", &[(a, 0, 11 * HOUR + overlap)]),
                engine("new", &[(a, 11 * HOUR, i64::MAX)]),
            ],
            Coverage::Announced,
        )
    };
    // The new one begins where the old one ends to be of use.
    assert_eq!(
        spans(&old_and_new(30 * 60_000), "x"),
        [
            ("old".to_owned(), 10 * HOUR, 11 * HOUR + 30 * 60_000),
            ("new".to_owned(), 11 * HOUR + 31 * 60_000, 12 * HOUR)
        ]
    );
    // No engine has the whole window.
    assert_eq!(spans(&old_and_new(30 * 60_000), "rate(x[1h])"), []);
    assert_eq!(spans(&old_and_new(0), "x"), []);
    // One that has it all is asked alone, even if its databases have a gap, which is nobody else's data.
    let gap = || engine("gap", &[(a, 0, HOUR), (a, 11 * HOUR, i64::MAX)]);
    let alone = of(vec![gap()], Coverage::Announced);
    assert_eq!(
        spans(&alone, "x"),
        [("gap".to_owned(), 10 * HOUR, 12 * HOUR)]
    );
    // What is in the gap of one is with another.
    let full = engine("full", &[(a, 0, i64::MAX)]);
    let both = of(vec![gap(), full.clone()], Coverage::Announced);
    assert_eq!(
        spans(&both, "x"),
        [("full".to_owned(), 10 * HOUR, 12 * HOUR)]
    );
    let trusted = of(vec![gap(), full], Coverage::Whole);
    assert_eq!(
        spans(&trusted, "x"),
        [("gap".to_owned(), 10 * HOUR, 12 * HOUR)]
    );
}

#[test]
fn data_that_no_engine_has_as_a_whole_is_read_here() {
    let east = &[("zone", "east")][..];
    let with = |other: RemoteEngine| Remotes {
        engines: vec![engine("east", &[(east, 0, i64::MAX)]), other],
        ..Remotes::default()
    };
    let reader = |labels: &[(&str, &str)], from: i64, to: i64| RemoteEngine {
        api: None,
        ..engine("store", &[(labels, from, to)])
    };
    for (other, expected) in [
        // Only to be read, and needed.
        (reader(&[("zone", "west")], 0, i64::MAX), 0),
        // Data of the same partition from before.
        (reader(east, 0, i64::MAX), 1),
        (reader(&[("zone", "east"), ("rack", "1")], 0, i64::MAX), 0),
        // Too old to matter.
        (reader(&[("zone", "west")], 0, HOUR), 1),
        // Series of the one may be those of the other.
        (engine("other", &[(&[("region", "r")], 0, i64::MAX)]), 0),
        (engine("other", &[(&[], 0, i64::MAX)]), 0),
        // It does not say what it has.
        (engine("other", &[]), 0),
    ] {
        let remotes = with(other);
        let parts = parts_of("x", &remotes);
        assert_eq!(parts.len(), expected, "{:?}", remotes.engines[1]);
    }
    let only_east = with(reader(&[("zone", "west")], 0, i64::MAX));
    assert_eq!(parts_of("x{zone=\"east\"}", &only_east).len(), 1);
}

/// Replicas behind different engines are joined where they meet, so only the reader of all of them may evaluate.
#[test]
fn replicas_are_not_spread() {
    let replica = |name| {
        engine(
            name,
            &[(&[("zone", "east"), ("replica", name)], 0, i64::MAX)],
        )
    };
    let options = RemoteOptions {
        replica_labels: vec!["replica".into()],
        ..RemoteOptions::default()
    };
    let remotes = |engines, coverage| Remotes {
        engines,
        options: RemoteOptions {
            coverage,
            ..options.clone()
        },
        ..Remotes::default()
    };
    let pair = || vec![replica("a"), replica("b")];
    assert!(parts_of("x", &remotes(pair(), Coverage::Announced)).is_empty());
    let trusted = parts_of("x", &remotes(pair(), Coverage::Whole));
    assert_eq!(trusted.len(), 1);
    let both: &[Tsdb<'_>] = &[
        (&[("zone", "east"), ("replica", "a")], 0, i64::MAX),
        (&[("zone", "east"), ("replica", "b")], 0, i64::MAX),
    ];
    let parts = parts_of(
        "x",
        &remotes(vec![engine("both", both)], Coverage::Announced),
    );
    assert_eq!(parts.len(), 1);
    assert!(parts[0].request.dedup);
    assert_eq!(parts[0].request.replica_labels, ["replica"]);
}

#[test]
fn partition_labels_are_the_only_ones_to_be_kept() {
    let mut remotes = zones();
    remotes.engines = vec![
        engine("east", &[(&[("zone", "east"), ("rack", "1")], 0, i64::MAX)]),
        engine("west", &[(&[("zone", "west"), ("rack", "2")], 0, i64::MAX)]),
    ];
    assert_eq!(sent("sum(x)", &remotes), ["sum by (rack, zone) (x)"]);
    remotes.options.partition_labels = vec!["zone".into()];
    assert_eq!(sent("sum(x)", &remotes), ["sum by (zone) (x)"]);
    assert_eq!(parts_of("x{rack=\"2\"}", &remotes).len(), 1);
}

/// Q-31: selectors of another tenant do not leave the process.
#[test]
fn enforced_matchers_are_in_what_is_sent() {
    let mut remotes = zones();
    remotes.options.enforced_matchers = vec![Matcher::equal("tenant_id", "me")];
    let sent = sent(
        "x{tenant_id=\"you\"} + rate({__name__=\"y\",a=\"\\\"} #\"}[5m])",
        &remotes,
    );
    assert_eq!(
        sent,
        [r#"x{tenant_id="me"} + rate(y{a="\"} #",tenant_id="me"}[5m])"#]
    );
}

#[test]
fn times_that_cannot_be_said_in_seconds_are_fixed_or_stay() {
    let parts = |text: &str, time: i64| {
        let (plan, grid) = plan_of(text, (time, time), 0);
        let mut parts = Vec::new();
        remote_parts(&distribute(&plan, grid, 300_000, &zones()), &mut parts);
        parts
    };
    let [time] = [10 * HOUR + 123];
    for (text, expected) in [
        ("x offset 1m", Some("x @ 36000.123 offset 1m")),
        (
            "rate(x[5m]) > time()",
            Some("rate(x[5m] @ 36000.123) > 36000.123"),
        ),
        ("max_over_time(time() - x[5m:1m])", None),
        (
            "max_over_time((x - time())[5m:1m])",
            Some("max_over_time((x - time())[5m:1m] @ 36000.123)"),
        ),
        ("x @ 7", Some("x @ 7.000")),
        ("timestamp(x)", Some("timestamp(x @ 36000.123)")),
        ("timestamp(x + 1)", None),
        ("predict_linear(x[5m], 60)", None),
        ("x > hour()", None),
    ] {
        let Ok(_) = parser::parse(text, &Options::all()) else {
            continue;
        };
        let parts = parts(text, time);
        let sent = parts.first().map(|part| part.request.query.as_str());
        if text == "x > hour()" {
            assert_ne!(sent, Some("x > hour()"));
            continue;
        }
        assert_eq!(sent, expected, "{text}");
        for part in &parts {
            assert_eq!(
                part.request.times,
                QueryTimes::Instant(Timestamp::from_millis(10 * HOUR))
            );
            assert_eq!(part.request.lookback_delta, Some(Duration::from_secs(300)));
            assert_eq!(part.request.response_batch_size, 64);
        }
    }
    // The time 0 means now to a peer.
    assert_eq!(parts("x", 0)[0].request.query, "x @ 0.000");
    // A range over such times stays.
    let (plan, grid) = plan_of("x", (10 * HOUR + 1, 11 * HOUR), 60_000);
    let mut none = Vec::new();
    remote_parts(&distribute(&plan, grid, 300_000, &zones()), &mut none);
    assert!(none.is_empty());
}
