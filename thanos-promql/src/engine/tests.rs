use futures::executor::block_on;
use proptest::prelude::*;
use thanos_core::chunk::{SeriesChunk, XorEncoder};
use thanos_core::labels::Labels;
use thanos_core::query::{
    LabelQuery, LabelStrings, Select, SeriesBatch, SeriesBatchBuilder, SeriesEvent, SeriesStream,
};
use thanos_core::time::FixedClock;

use super::*;
use crate::annotations::Severity;
use crate::testkit::MemoryQueryable;
use crate::value::Value;
use crate::value::{Point, SampleValue, Series};

const MINUTE: i64 = 60_000;

fn time(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

fn name(name: &str, labels: &[(&str, &str)]) -> Labels {
    let named = std::iter::once(("__name__", name));
    Labels::from_pairs(named.chain(labels.iter().copied()))
}

/// Counters and gauges with gaps, late starts and early ends; all values are whole numbers, so that sums are
/// exact in any order.
fn data() -> Arc<dyn Queryable> {
    let mut data = MemoryQueryable::default();
    for (i, job) in (0_i64..).zip(["a", "b", "c", "d"]) {
        for (j, zone) in (0_i64..).zip(["x", "y", "z"]) {
            let labels = [("job", job), ("zone", zone)];
            let from = 3 * i + j;
            let steps = from..60 - 2 * j;
            let has_gap = move |step: &i64| (step / (7 + i)) % 3 != 1 || i % 2 == 0;
            let value = move |step: i64| small((step * (i + 2) + j * step % 5) % (20 + 7 * i));
            let samples = |offset: i64| {
                steps
                    .clone()
                    .filter(has_gap)
                    .map(move |step| (step * MINUTE / 2 + j * 1000, value(step + offset)))
            };
            data.push(name("m_total", &labels), samples(0));
            data.push(name("g", &labels), samples(5));
        }
    }
    data.into_queryable()
}

fn small(value: i64) -> f64 {
    f64::from(i32::try_from(value).unwrap())
}

fn instant(text: &str, secs: i64) -> Result<Vec<(String, f64)>> {
    let result = block_on(Engine::default().instant(&data(), text, time(secs)))?;
    Ok(match result.value {
        Value::Vector(samples) => samples
            .into_iter()
            .map(|sample| (sample.labels.to_string(), sample.value.as_float().unwrap()))
            .collect(),
        Value::Scalar(point) => vec![("scalar".into(), point.value)],
        other => panic!("unexpected {other:?}"),
    })
}

fn engine() -> Engine {
    let options = EngineOptions {
        parser: parser::Options::all(),
        ..EngineOptions::default()
    };
    Engine::new(options)
}

fn range(text: &str, (start, end): (i64, i64), step: i64) -> Result<Vec<Series>> {
    let step = Duration::from_secs(step.unsigned_abs());
    let times = (time(start), time(end));
    match block_on(engine().range(&data(), text, times, step))?.value {
        Value::Matrix(series) => Ok(series),
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn a_block_of_memory_is_queried_without_a_runtime() {
    let sums = instant("sum by (job) (g)", 1200).unwrap();
    let jobs: Vec<&str> = sums.iter().map(|(labels, _)| labels.as_str()).collect();
    assert_eq!(jobs[0], r#"{job="a"}"#);
    assert_eq!(jobs.len(), 4);
}

#[test]
fn durations_without_value_are_told_with_their_bytes() {
    for (text, message) in [
        ("g[step()]", "2:8: duration must be greater than 0"),
        (
            "g[5m:range()] offset (1h / step())",
            "22:33: division by zero",
        ),
    ] {
        let error = block_on(Engine::default().instant(&data(), text, time(1200))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{text}");
        assert_eq!(error.to_string(), message, "{text}");
    }
}

#[test]
fn failures_have_prometheus_words() {
    for (text, message) in [
        (
            "g + on (job) g",
            r#"found duplicate series for the match group {job="a"} on the right hand-side of the operation: [{__name__="g", job="a", zone="x"}, {__name__="g", job="a", zone="y"}];many-to-many matching not allowed: matching labels must be unique on one side"#,
        ),
        (
            "g + on (job) sum by (job) (g)",
            "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
        ),
        ("sum by (job) (g) * on (job) group_right () g", ""),
        (
            "g * on (job) group_left (zone) sum by (job) (g)",
            "multiple matches for labels: grouping labels must ensure unique matches",
        ),
        (
            "abs({__name__=~\"g|m_total\"})",
            "vector cannot contain metrics with the same labelset",
        ),
        (
            "rate({__name__=~\"g|m_total\"}[5m])",
            "vector cannot contain metrics with the same labelset",
        ),
        (
            "label_replace(g, \"zone\", \"\", \"\", \"\")",
            "vector cannot contain metrics with the same labelset",
        ),
        (
            "label_replace(g, \"x\", \"\", \"zone\", \"(\")",
            "invalid regular expression in label_replace(): (",
        ),
        ("topk(NaN, g)", "Parameter value is NaN"),
        ("topk(1e20, g)", "Scalar value 1e+20 overflows int64"),
        ("count_values(\"\", g)", "invalid label name \"\""),
        (
            "count_values((\"\\xff\"), g)",
            "invalid label name \"\\xff\"",
        ),
        (
            "label_replace(g, \"\\xff\", \"\", \"zone\", \"(.*)\")",
            "invalid destination label name in label_replace(): \u{fffd}",
        ),
        (
            "label_join(g, \"a\", \"\\xff\", \"\\xff\")",
            "invalid source label name in label_join(): \u{fffd}",
        ),
        ("g[5m] ", "matrix"),
    ] {
        match instant_error(text) {
            None => assert_eq!(message, "", "{text}"),
            Some(error) => assert_eq!(error, message, "{text}"),
        }
    }
}

fn instant_error(text: &str) -> Option<String> {
    match block_on(Engine::default().instant(&data(), text, time(1200))) {
        Ok(result) if result.value.type_name() == "matrix" => Some("matrix".into()),
        Ok(_) => None,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Execution, "{text}");
            Some(error.to_string())
        }
    }
}

#[test]
fn equal_series_that_do_not_overlap_are_one() {
    let mut data = MemoryQueryable::default();
    data.push(name("a", &[("x", "1")]), [(0, 1.0), (60_000, 2.0)]);
    data.push(name("b", &[("x", "1")]), [(600_000, 3.0)]);
    let data = data.into_queryable();
    let query = Query::range("-{x=\"1\"}", time(0), time(900), Duration::from_secs(300));
    let result = block_on(Engine::default().query(&data, query)).unwrap();
    let Value::Matrix(series) = result.value else {
        panic!("a matrix was expected");
    };
    assert_eq!(series.len(), 1);
    let values: Vec<f64> = series[0].points.iter().map(|point| point.value).collect();
    assert_eq!(values, [-1.0, -2.0, -3.0]);
}

#[test]
fn a_query_over_its_limits_fails_and_says_which() {
    let error_with = |change: fn(&mut EngineOptions)| {
        let mut options = EngineOptions::default();
        change(&mut options);
        let engine = Engine::with_clock(options, Arc::new(FixedClock(time(0))));
        let times = (time(0), time(1800));
        let query = engine.range(&data(), "g * m_total", times, Duration::from_secs(10));
        block_on(query).unwrap_err()
    };
    let error = error_with(|options| options.samples_max = 100);
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    let text = "query processing would load too many samples into memory in query execution";
    assert_eq!(error.to_string(), text);
    let error = error_with(|options| options.query_bytes_max = 1000);
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(
        error
            .to_string()
            .starts_with("query memory limit of 1000 bytes exceeded"),
        "{error}"
    );
}

#[test]
fn the_deepest_expressions_do_not_exhaust_the_stack() {
    for (depth, is_too_deep) in [(99, false), (240, false), (900, true)] {
        for text in [
            format!("{}g{}", "abs(".repeat(depth), ")".repeat(depth)),
            format!("g{}", " and g".repeat(depth)),
            format!("g{}", " or g".repeat(depth)),
            format!("vector(0{})", " + time()".repeat(depth)),
            format!("g{}", " * g".repeat(depth)),
            format!("g{}", " + 1".repeat(depth)),
            format!("{}g{}", "sum by (job) (".repeat(depth), ")".repeat(depth)),
            format!("{}g{}", "-(".repeat(depth), ")".repeat(depth)),
        ] {
            match block_on(Engine::default().instant(&data(), &text, time(1200))) {
                Ok(_) => assert!(!is_too_deep, "{depth}"),
                // The parser counts the parentheses, too.
                Err(error) => {
                    assert!(error.to_string().contains("levels"), "{error}");
                    assert!(is_too_deep || text.contains("-("), "{depth}: {error}");
                }
            }
        }
    }
}

#[test]
fn a_subquery_with_too_many_steps_is_over_its_budget() {
    let options = EngineOptions {
        query_bytes_max: 100_000,
        ..EngineOptions::default()
    };
    let query = Engine::new(options).instant(&data(), "sum_over_time(g[10d:1m])", time(1200));
    assert_eq!(
        block_on(query).unwrap_err().kind(),
        ErrorKind::LimitExceeded
    );
}

#[test]
fn memory_is_given_back_with_the_result() {
    let budget = MemoryBudget::new("engine", 1 << 20);
    let options = EngineOptions {
        budget: budget.clone(),
        ..EngineOptions::default()
    };
    let result =
        block_on(Engine::new(options).instant(&data(), "sort(g) + g", time(1200))).unwrap();
    assert!(result.leased_bytes() > 0);
    assert_eq!(budget.used_bytes(), result.leased_bytes());
    assert!(result.stats.peak_bytes > result.leased_bytes());
    drop(result);
    assert_eq!(budget.used_bytes(), 0);
}

#[test]
fn incomplete_data_fails_unless_it_is_allowed() {
    let mut data = MemoryQueryable::default();
    data.push(name("g", &[]), [(0, 1.0)]);
    data.push_missing(Missing {
        source: "store-a".into(),
        reason: "timed out".into(),
    });
    let data = data.into_queryable();
    let mut query = Query::instant("g", time(0));
    let error = block_on(Engine::default().query(&data, query.clone())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert_eq!(error.to_string(), "incomplete data: store-a: timed out");
    query.on_partial = Some(OnPartial::Warn);
    let result = block_on(Engine::default().query(&data, query)).unwrap();
    assert!(!result.completeness.is_complete());
    let warnings = result.annotations.render(Severity::Warning, "g", 10);
    assert_eq!(warnings, ["store-a: timed out"]);
}

/// Q-15: who is missing is said once, and nobody is not said at all.
#[test]
fn warnings_name_who_is_missing_once() {
    for (source, reason, text) in [
        ("store-a", "timed out", "store-a: timed out"),
        ("store-a", "store-a: timed out", "store-a: timed out"),
        ("store-a", "store-ab: gone", "store-a: store-ab: gone"),
        ("", "No StoreAPIs available", "No StoreAPIs available"),
    ] {
        let mut completeness = Completeness::Complete;
        completeness.add(Missing {
            source: source.into(),
            reason: reason.into(),
        });
        let texts: Vec<_> = missing_texts(&completeness).into_iter().collect();
        assert_eq!(texts, [text]);
    }
}

#[test]
fn a_deadline_that_has_passed_stops_the_query() {
    let mut query = Query::instant("g", time(0));
    query.timeout = Some(Duration::ZERO);
    let clock = Arc::new(TickingClock(std::sync::atomic::AtomicI64::new(0)));
    let engine = Engine::with_clock(EngineOptions::default(), clock);
    let error = block_on(engine.query(&data(), query)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(
        error.to_string(),
        "query timed out in expression evaluation"
    );
}

/// A clock that goes on a millisecond whenever somebody looks.
#[derive(Debug)]
struct TickingClock(std::sync::atomic::AtomicI64);

impl Clock for TickingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }
}

#[test]
fn names_are_dropped_at_the_end_when_that_is_wanted() {
    let options = EngineOptions {
        delayed_name_removal: true,
        ..EngineOptions::default()
    };
    let text = r#"label_replace(rate(m_total{zone="x"}[5m]), "was", "$1", "__name__", "(.*)")"#;
    let labels_with = |engine: Engine| {
        let value = block_on(engine.instant(&data(), text, time(1200)))
            .unwrap()
            .value;
        let Value::Vector(samples) = value else {
            panic!("a vector was expected");
        };
        samples[0].labels.to_string()
    };
    assert_eq!(labels_with(Engine::default()), r#"{job="a", zone="x"}"#);
    let expected = r#"{job="a", was="m_total", zone="x"}"#;
    assert_eq!(labels_with(Engine::new(options)), expected);
}

/// Makes series when they are asked for: ten groups, one chunk each.
#[derive(Debug)]
struct Generator {
    series: usize,
    chunk: SeriesChunk,
}

impl Generator {
    fn new(series: usize) -> Self {
        let mut encoder = XorEncoder::new();
        for step in 0..120 {
            encoder.append(time(step * 15), small(step * 3));
        }
        let chunk = SeriesChunk::raw(time(0), time(119 * 15), encoder.finish());
        Self { series, chunk }
    }

    fn batch(&self, number: usize) -> SeriesBatch {
        let mut builder = SeriesBatchBuilder::new();
        for series in number * 100..(number + 1) * 100 {
            let labels = [
                ("i", format!("{series:08}")),
                ("group", (series % 10).to_string()),
            ];
            let named = std::iter::once(("__name__", "m_total".to_owned()));
            let labels = Labels::from_pairs(named.chain(labels));
            builder.push(labels.as_ref(), [self.chunk.clone()]);
        }
        builder.finish()
    }
}

#[async_trait::async_trait]
impl Queryable for Generator {
    async fn select(&self, _: Select) -> thanos_core::Result<SeriesStream> {
        let this = Self {
            series: self.series,
            chunk: self.chunk.clone(),
        };
        let batches =
            (0..self.series / 100).map(move |number| Ok(SeriesEvent::Batch(this.batch(number))));
        Ok(Box::pin(futures::stream::iter(batches)))
    }

    async fn label_names(&self, _: LabelQuery) -> thanos_core::Result<LabelStrings> {
        Ok(LabelStrings::default())
    }

    async fn label_values(&self, _: &str, _: LabelQuery) -> thanos_core::Result<LabelStrings> {
        Ok(LabelStrings::default())
    }
}

#[test]
fn an_aggregation_holds_groups_and_not_series() {
    let peak = |text: &str, series| {
        let data: Arc<dyn Queryable> = Arc::new(Generator::new(series));
        let query = Query::range(text, time(600), time(1500), Duration::from_secs(60));
        let result = block_on(Engine::default().query(&data, query)).unwrap();
        assert_eq!(result.value.series_count(), 10, "{text}");
        assert_eq!(result.stats.series, series as u64, "{text}");
        result.stats.peak_bytes
    };
    for text in [
        "sum by (group) (m_total)",
        "avg by (group) (rate(m_total[5m]) * 60)",
        "max by (group) (-abs(m_total offset 1m) > -1000)",
    ] {
        assert_eq!(peak(text, 1_000), peak(text, 20_000), "{text}");
    }
    let held = |series| {
        let data: Arc<dyn Queryable> = Arc::new(Generator::new(series));
        let query = Query::range(
            "m_total * m_total",
            time(600),
            time(1500),
            Duration::from_secs(60),
        );
        let result = block_on(Engine::default().query(&data, query)).unwrap();
        result.stats.peak_bytes
    };
    assert!(
        held(2_000) > 15 * held(100),
        "a join holds its series, and says so"
    );
}

/// Expressions over the series of [`data`] whose results are exact.
fn expression() -> impl Strategy<Value = String> {
    let selector = prop_oneof![
        Just("g"),
        Just("m_total"),
        Just(r#"g{job=~"a|b"}"#),
        Just(r#"m_total{zone!="x"}"#),
        Just("g offset 4m"),
        Just(r#"{__name__=~"g|m_total",job="c"}"#),
    ];
    let leaf = prop_oneof![
        4 => selector.prop_map(ToOwned::to_owned),
        1 => Just("vector(3)".to_owned()),
        1 => Just("vector(time())".to_owned()),
        1 => Just(r#"g{job="d"} @ 900"#.to_owned()),
    ];
    leaf.prop_recursive(4, 24, 2, |inner| {
        let window = prop_oneof![
            Just("changes"),
            Just("count_over_time"),
            Just("last_over_time"),
            Just("max_over_time"),
            Just("min_over_time"),
            Just("present_over_time"),
            Just("resets"),
            Just("sum_over_time"),
            Just("increase"),
            Just("idelta"),
        ];
        let by = prop_oneof![Just("by (job)"), Just("without (zone)"), Just("by ()")];
        let fold = prop_oneof![
            Just("sum"),
            Just("count"),
            Just("max"),
            Just("min"),
            Just("group")
        ];
        let pick = prop_oneof![Just("topk"), Just("bottomk"), Just("limitk")];
        let op = prop_oneof![Just("+"), Just("-"), Just(">"), Just("<= bool"), Just("==")];
        let set = prop_oneof![Just("and"), Just("or"), Just("unless")];
        prop_oneof![
            (window.clone(), inner.clone()).prop_map(|(f, v)| format!("{f}(({v})[7m:1m])")),
            window.prop_map(|f| format!("{f}(m_total[5m])")),
            (fold, by.clone(), inner.clone()).prop_map(|(f, by, v)| format!("{f} {by} ({v})")),
            (pick, by, inner.clone()).prop_map(|(f, by, v)| format!("{f} {by} (2, {v})")),
            (inner.clone(), op.clone()).prop_map(|(v, op)| format!("({v}) {op} 7")),
            (inner.clone(), op.clone()).prop_map(|(v, op)| format!("7 {op} ({v})")),
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("({a}) {op} ({b})")),
            (inner.clone(), set, inner.clone())
                .prop_map(|(a, op, b)| format!("({a}) {op} on (job) ({b})")),
            inner.clone().prop_map(|v| format!("-({v})")),
            inner.clone().prop_map(|v| format!("abs({v})")),
            inner.clone().prop_map(|v| format!("absent({v})")),
            inner.clone().prop_map(|v| format!("vector(scalar({v}))")),
            inner.prop_map(|v| format!("label_replace({v}, \"j\", \"$1\", \"job\", \"(a|b)\")")),
        ]
    })
}

/// Puts the points of `later` behind those of `earlier`.
fn joined(earlier: Vec<Series>, later: Vec<Series>) -> Vec<Series> {
    let mut all: std::collections::BTreeMap<Labels, Vec<Point>> = earlier
        .into_iter()
        .map(|series| (series.labels, series.points))
        .collect();
    for series in later {
        all.entry(series.labels).or_default().extend(series.points);
    }
    all.into_iter()
        .map(|(labels, points)| Series {
            labels,
            points,
            ..Series::default()
        })
        .collect()
}

/// Compares with NaN equal to itself.
fn text_of(series: &[Series]) -> String {
    format!("{series:?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_steps_of_a_range_do_not_depend_on_each_other(text in expression(), cut in 0_i64..40) {
        let (start, end, step) = (60, 60 + 40 * 45, 45);
        let middle = start + cut * step;
        let whole = range(&text, (start, end), step);
        let parts = [(start, middle), (middle + step, end)].map(|times| {
            if times.0 > times.1 { Ok(Vec::new()) } else { range(&text, times, step) }
        });
        match (whole, parts) {
            (Ok(whole), [Ok(earlier), Ok(later)]) => {
                prop_assert_eq!(text_of(&whole), text_of(&joined(earlier, later)), "{}", text);
            }
            // Functions over ranges compare the labels of all steps.
            (Err(error), [Ok(_), Ok(_)]) => {
                prop_assert_eq!(error.to_string(), Error::same_labelset().to_string(), "{}", text);
            }
            (Err(_), _) => {}
            (Ok(_), parts) => prop_assert!(false, "{text}: only a part fails: {parts:?}"),
        }
    }

    #[test]
    fn an_instant_query_is_a_range_of_one_step(text in expression(), step in 0_i64..40) {
        let secs = 60 + step * 45;
        let in_range = range(&text, (secs, secs), 10);
        let at_once = block_on(engine().instant(&data(), &text, time(secs)));
        match (in_range, at_once) {
            (Ok(in_range), Ok(at_once)) => {
                let Value::Vector(samples) = at_once.value else { panic!("a vector was expected") };
                let mut series: Vec<Series> = samples
                    .into_iter()
                    .map(|sample| Series {
                        labels: sample.labels,
                        points: vec![Point { time: sample.time, value: sample.value.as_float().unwrap() }],
                        ..Series::default()
                    })
                    .collect();
                series.sort_by(|a, b| a.labels.cmp(&b.labels));
                prop_assert_eq!(text_of(&in_range), text_of(&series), "{}", text);
            }
            (Err(a), Err(b)) => prop_assert_eq!(a.to_string(), b.to_string(), "{}", text),
            (a, b) => prop_assert!(false, "{text}: {a:?} but {b:?}"),
        }
    }
}

#[test]
fn a_subquery_at_the_end_of_time_has_no_steps() {
    let text = "sum_over_time(vector(1)[1s:1m])";
    let end = Timestamp::from_millis(i64::MAX);
    let result = block_on(Engine::default().instant(&data(), text, end)).unwrap();
    assert_eq!(result.value.series_count(), 0);
}

/// A counter with a sample each second from 0 on.
fn seconds(count: i64) -> Arc<dyn Queryable> {
    let mut data = MemoryQueryable::default();
    let samples = (0..count).map(|sec| (sec * 1000, small(sec)));
    data.push(name("s", &[]), samples);
    data.into_queryable()
}

#[test]
fn a_deadline_that_passes_inside_a_series_stops_its_windows() {
    // 2,000 windows with up to 20,000 samples each.
    let (text, times) = ("count_over_time(s[20000s])", (time(18_000), time(20_000)));
    let mut query = Query::range(text, times.0, times.1, Duration::from_secs(1));
    let run = |query| {
        let clock = Arc::new(TickingClock(std::sync::atomic::AtomicI64::new(0)));
        let engine = Engine::with_clock(EngineOptions::default(), clock);
        block_on(engine.query(&seconds(20_000), query)).map(|result| result.stats)
    };
    let looks = run(query.clone()).unwrap().elapsed;
    query.timeout = Some(looks / 2);
    assert_eq!(run(query.clone()).unwrap_err().kind(), ErrorKind::Timeout);
    query.timeout = Some(Duration::from_millis(15));
    assert_eq!(run(query).unwrap_err().kind(), ErrorKind::Timeout);
}

#[test]
fn the_numbers_of_scalars_count_against_the_memory() {
    // 86,400 steps, so that the numbers of one scalar take 691 kB.
    let options = EngineOptions {
        query_bytes_max: 4_000_000,
        ..EngineOptions::default()
    };
    let engine = Engine::new(options);
    let run = |scalar: &str| {
        let text = format!("count_over_time(vector({scalar})[1d:1s])");
        block_on(engine.instant(&data(), &text, time(90_000))).map(|result| result.stats.peak_bytes)
    };
    assert!(run("time()").unwrap() >= 86_400 * 8);
    // The numbers of the left sides go into those of the right ones.
    let left = format!("{}time(){}", "(".repeat(30), " + time())".repeat(30));
    assert!(run(&left).unwrap() >= 2 * 86_400 * 8);
    let right = format!("{}time(){}", "(time() + ".repeat(30), ")".repeat(30));
    for scalar in [right.as_str(), &right.replace(" + ", " % ")] {
        let error = run(scalar).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
    }
    let options = EngineOptions {
        query_bytes_max: 1_000_000,
        ..EngineOptions::default()
    };
    let times = (time(0), time(86_400));
    let query = Query::range("rate(s[5m])", times.0, times.1, Duration::from_secs(1));
    let error = block_on(Engine::new(options).query(&seconds(10), query)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
}

#[test]
fn counts_of_values_that_come_seldom_take_little_memory() {
    let options = EngineOptions {
        query_bytes_max: 8 << 20,
        ..EngineOptions::default()
    };
    let query = Query::range(
        "count_values(\"v\", last_over_time(s[1s]))",
        time(0),
        time(2_999),
        Duration::from_secs(1),
    );
    let result = block_on(Engine::new(options).query(&seconds(3_000), query)).unwrap();
    let Value::Matrix(series) = result.value else {
        panic!("a matrix was expected");
    };
    assert_eq!(series.len(), 3_000);
    for one in &series {
        let sec: i64 = one.labels.get("v").unwrap().parse().unwrap();
        let [point] = *one.points else {
            panic!("one point was expected: {one:?}");
        };
        assert_eq!(point.value, 1.0);
        assert_eq!(point.time, time(sec));
    }
}

#[test]
fn counts_of_values_are_right_however_often_a_value_comes() {
    let mut data = MemoryQueryable::default();
    // Value v comes at every step that v divides, from each series whose number is at least v.
    for number in 1..=9_i64 {
        let value = move |step: i64| (1..=number).rev().find(|v| step % v == 0).unwrap_or(1);
        let samples = (0..200).map(|step| (step * 1000, small(value(step))));
        data.push(name("n", &[("i", &number.to_string())]), samples);
    }
    let (start, end) = (time(0), time(199));
    let query = Query::range("count_values(\"v\", n)", start, end, Duration::from_secs(1));
    let result = block_on(Engine::default().query(&data.into_queryable(), query)).unwrap();
    let Value::Matrix(series) = result.value else {
        panic!("a matrix was expected");
    };
    let mut got = std::collections::BTreeMap::new();
    for one in &series {
        let v: i64 = one.labels.get("v").unwrap().parse().unwrap();
        for point in &one.points {
            got.insert((point.time.as_millis() / 1000, v), point.value);
        }
    }
    let mut expected = std::collections::BTreeMap::new();
    for (step, number) in (0..200).flat_map(|step| (1..=9).map(move |number| (step, number))) {
        let v = (1..=number).rev().find(|v| step % v == 0).unwrap_or(1);
        *expected.entry((step, v)).or_insert(0.0) += 1.0;
    }
    assert_eq!(got, expected);
}

#[test]
fn more_steps_than_a_tile_aims_at_are_evaluated_all_the_same() {
    // One more step than a tile has cells.
    for (text, expected) in [
        ("count_over_time(rate(s[20s])[70000s:1s])", 27.0),
        ("count_over_time((-s)[70000s:1s])", 309.0),
        ("count_over_time((s > bool 3)[70000s:1s])", 309.0),
        ("count_over_time((s + s)[70000s:1s])", 309.0),
        ("count_over_time(sum(s)[70000s:1s])", 309.0),
        ("count_over_time(absent(x)[70000s:1s])", 70_000.0),
        (
            "count_over_time(sum_over_time(s[20s:1s])[70000s:1s])",
            328.0,
        ),
    ] {
        let result = block_on(engine().instant(&seconds(10), text, time(69_000))).unwrap();
        let Value::Vector(samples) = result.value else {
            panic!("a vector was expected");
        };
        assert_eq!(samples.len(), 1, "{text}");
        assert_eq!(samples[0].value, SampleValue::Float(expected), "{text}");
    }
}

#[test]
fn an_evaluation_that_nobody_waits_for_stops() {
    let query = Query::instant("g", time(1200));
    let prepared = Engine::default().prepare(&query).unwrap();
    let stop = prepared.stop_on_drop();
    assert!(prepared.cx.check().is_ok());
    drop(stop);
    let error = block_on(prepared.run(data())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

#[test]
fn a_dropped_evaluation_stops_what_other_threads_do_for_it() {
    let query = Query::instant("g", time(1200));
    let prepared = Engine::default().prepare(&query).unwrap();
    let cx = Arc::clone(&prepared.cx);
    let mut run = Box::pin(prepared.run(data()));
    let mut task = std::task::Context::from_waker(futures::task::noop_waker_ref());
    assert!(run.as_mut().poll(&mut task).is_pending());
    assert!(cx.check().is_ok());
    drop(run);
    assert_eq!(cx.check().unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn all_readers_of_a_shared_part_tell_what_went_wrong_in_it() {
    let options = EngineOptions {
        samples_max: 15,
        ..EngineOptions::default()
    };
    // The right side fails while the left one is still busy with the parameter; the left one's error is told.
    let text = "topk(scalar(sum(g)), m_total) + m_total";
    let query = Engine::new(options).instant(&data(), text, time(1200));
    let error = block_on(query).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
}

#[test]
fn labels_that_edits_make_long_count_against_the_memory() {
    let double = [
        r#"label_replace(X, "a", "$1$1", "a", "(.*)")"#,
        r#"label_join(X, "a", "", "a", "a")"#,
    ];
    for double in double {
        let run = |times| {
            let mut text = r#"label_replace(g, "a", "x", "", "")"#.to_owned();
            for _ in 0..times {
                text = double.replace('X', &text);
            }
            let options = EngineOptions {
                query_bytes_max: 1 << 20,
                ..EngineOptions::default()
            };
            block_on(Engine::new(options).instant(&data(), &format!("count({text})"), time(1200)))
        };
        assert!(run(10).is_ok(), "{double}");
        let error = run(22).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
    }
}

#[test]
fn counts_of_many_steps_are_leased_before_they_are_made() {
    let options = EngineOptions {
        query_bytes_max: 1 << 20,
        ..EngineOptions::default()
    };
    let mut query = Query::range("1", time(0), time(1_000_000), Duration::from_secs(1));
    query.detail.steps = true;
    let error = Engine::new(options).prepare(&query).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
}

#[test]
fn annotations_count_against_the_memory() {
    let run = |query_bytes_max| {
        let options = EngineOptions {
            query_bytes_max,
            ..EngineOptions::default()
        };
        let query = Query::range(
            "histogram_quantile(time() + 2, nothing)",
            time(0),
            time(9_999),
            Duration::from_secs(1),
        );
        block_on(Engine::new(options).query(&data(), query))
    };
    assert_eq!(
        run(16 << 20)
            .unwrap()
            .annotations
            .iter()
            .filter(|one| one.text().contains("quantile value"))
            .count(),
        10_000
    );
    let error = run(1 << 20).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
}

#[test]
fn windows_reach_to_the_beginning_of_time() {
    for text in [
        "g[106751991167d] anchored",
        "g[106751991167d] smoothed",
        "g[106751991167d]",
        "rate(g[106751991167d] anchored)",
        "rate(g[106751991167d] smoothed)",
        "rate(g[106751991167d])",
        "g offset 106751991167d",
        "g offset -106751991167d",
        "deriv(g[106751991167d] offset -106751991167d)",
        "sum_over_time(g[106751991167d:106751991166d] offset -106751991167d)",
        "quantile_over_time(0.5, g[1h] @ 9223372036854775)",
        "predict_linear(g[1h] @ -9223372036854775, 1e300)",
        "hour(vector(1e300)) + days_in_month(vector(-1e300))",
    ] {
        for at in [i64::MIN, -30_000_000, 0, 1_200_000, i64::MAX] {
            let at = Timestamp::from_millis(at);
            let result = block_on(engine().instant(&data(), text, at));
            // Some are too far away to be queried; none may overflow.
            if let Err(error) = result {
                assert_ne!(error.kind(), ErrorKind::Internal, "{text}: {error}");
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let mut data = MemoryQueryable::default();
    for i in 0..700 {
        let labels = Labels::from_pairs([
            ("__name__", "m"),
            ("group", if i % 3 == 0 { "a" } else { "b" }),
            ("i", &i.to_string()),
        ]);
        let step = f64::from(i % 17) / 7.0;
        let samples = (0..200).map(|n| (n * 15_000, (n as f64) * step % 100.0));
        data.push(labels, samples);
    }
    let data = data.into_queryable();
    let run = |threads, text: &str, step| {
        let options = EngineOptions {
            threads: NonZeroUsize::new(threads).unwrap(),
            ..EngineOptions::default()
        };
        let result = Engine::new(options).range(
            &data,
            text,
            (time(0), time(3000)),
            Duration::from_secs(step),
        );
        block_on(result).unwrap().value
    };
    for text in [
        "m",
        "sum(rate(m[5m]))",
        "avg by (group) (m)",
        "topk(3, irate(m[2m]))",
        "m - ignoring(group) m",
    ] {
        for step in [15, 3001] {
            let one = run(1, text, step);
            for threads in [2, 5] {
                assert_eq!(run(threads, text, step), one, "{text} on {threads} threads");
            }
        }
    }
}

#[test]
fn equal_parts_are_read_once() {
    let data = data();
    let series_read = |text: &str| {
        let result = block_on(Engine::default().instant(&data, text, time(600)));
        result.unwrap().stats.series
    };
    for (text, part, times) in [
        ("m_total - m_total", "m_total", 1),
        (
            "rate(m_total[1m]) / (rate(m_total[1m]) + 1)",
            "m_total[1m]",
            1,
        ),
        ("m_total - g", "m_total", 2),
        ("sum(m_total) / sum(m_total)", "m_total", 1),
        // Aggregations that stream read for themselves rather than hold all series.
        ("sum(m_total) / count(m_total)", "m_total", 2),
        (
            "sum_over_time(m_total[2m:1m]) + max_over_time(m_total[2m:1m])",
            "sum_over_time(m_total[2m:1m])",
            1,
        ),
    ] {
        assert_eq!(series_read(text), times * series_read(part), "{text}");
    }
}
