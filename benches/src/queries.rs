//! The queries of the engine benches and the data that they are asked of.

use std::sync::Arc;

use thanos_core::chunk::Samples;
use thanos_core::histogram::{BucketLayout, Histogram, Span};
use thanos_core::labels::Labels;
use thanos_core::query::Queryable;
use thanos_core::time::Timestamp;
use thanos_promql::testkit::MemoryQueryable;

/// A query with its name.
pub type Case = (&'static str, &'static str);

/// Range queries over [`req_6h`]: the cases of promql-engine's benchmarks.
pub const FLOAT_CASES: [Case; 55] = [
    ("select", "http_requests_total"),
    ("sum", "sum(http_requests_total)"),
    ("sum_by", "sum by (pod) (http_requests_total)"),
    ("topk", "topk(2, http_requests_total)"),
    ("bottomk", "bottomk(2, http_requests_total)"),
    ("limitk", "limitk(2, http_requests_total)"),
    ("limit_ratio", "limit_ratio(0.2, http_requests_total)"),
    ("rate", "rate(http_requests_total[1m])"),
    ("rate_5m", "rate(http_requests_total[5m])"),
    ("rate_10m", "rate(http_requests_total[10m])"),
    (
        "subquery",
        "sum_over_time(rate(http_requests_total[1m])[10m:1m])",
    ),
    ("sum_rate", "sum(rate(http_requests_total[1m]))"),
    ("sum_rate_5m", "sum(rate(http_requests_total[5m]))"),
    (
        "sum_by_rate",
        "sum by (pod) (rate(http_requests_total[1m]))",
    ),
    (
        "quantile",
        "quantile by (pod) (scalar(min(http_requests_total)), http_requests_total)",
    ),
    (
        "one_to_one",
        r#"http_requests_total{container="c1"} / ignoring (container) http_responses_total"#,
    ),
    (
        "many_to_one",
        "http_requests_total / on (pod) group_left () http_responses_total",
    ),
    ("vector_scalar", "http_requests_total * 10"),
    ("negate", "-http_requests_total"),
    ("compare", "http_requests_total > 10"),
    ("offset", "http_requests_total offset 5m"),
    ("at", "http_requests_total @ 600"),
    ("at_offset", "http_requests_total @ 600 offset 5m"),
    ("clamp", "clamp(http_requests_total, 5, 10)"),
    ("clamp_min", "clamp_min(http_requests_total, 10)"),
    ("nested", "clamp(1 - http_requests_total, 10 - 5, 10)"),
    (
        "nested_irate",
        "clamp(irate(http_requests_total[30s]), 10 - 5, 10)",
    ),
    (
        "nested_rate",
        "clamp(rate(http_requests_total[30s]), 10 - 5, 10)",
    ),
    (
        "histogram_quantile",
        "histogram_quantile(0.9, http_response_seconds_bucket)",
    ),
    ("sort", "sort(http_requests_total)"),
    ("sort_desc", "sort_desc(http_requests_total)"),
    ("absent", "absent(http_requests_total)"),
    ("absent_nothing", "absent(nonexistent)"),
    (
        "smoothing",
        "double_exponential_smoothing(http_requests_total[1m], 0.1, 0.1)",
    ),
    ("count_over_5m", "count_over_time(http_requests_total[5m])"),
    ("count_over_1h", "count_over_time(http_requests_total[1h])"),
    ("count_over_6h", "count_over_time(http_requests_total[6h])"),
    ("sum_over_5m", "sum_over_time(http_requests_total[5m])"),
    ("sum_over_1h", "sum_over_time(http_requests_total[1h])"),
    ("sum_over_6h", "sum_over_time(http_requests_total[6h])"),
    ("avg_over_5m", "avg_over_time(http_requests_total[5m])"),
    ("avg_over_1h", "avg_over_time(http_requests_total[1h])"),
    ("avg_over_6h", "avg_over_time(http_requests_total[6h])"),
    ("min_over_5m", "min_over_time(http_requests_total[5m])"),
    ("min_over_1h", "min_over_time(http_requests_total[1h])"),
    ("min_over_6h", "min_over_time(http_requests_total[6h])"),
    ("max_over_5m", "max_over_time(http_requests_total[5m])"),
    ("max_over_1h", "max_over_time(http_requests_total[1h])"),
    ("max_over_6h", "max_over_time(http_requests_total[6h])"),
    (
        "stddev_over_5m",
        "stddev_over_time(http_requests_total[5m])",
    ),
    (
        "stddev_over_1h",
        "stddev_over_time(http_requests_total[1h])",
    ),
    (
        "stddev_over_6h",
        "stddev_over_time(http_requests_total[6h])",
    ),
    (
        "stdvar_over_5m",
        "stdvar_over_time(http_requests_total[5m])",
    ),
    ("last_over_5m", "last_over_time(http_requests_total[5m])"),
    (
        "present_over_5m",
        "present_over_time(http_requests_total[5m])",
    ),
];

/// Range queries over [`native_histograms`].
pub const NATIVE_CASES: [Case; 15] = [
    ("select", "h"),
    ("sum", "sum(h)"),
    ("rate", "rate(h[1m])"),
    ("rate_10m", "rate(h[10m])"),
    ("sum_rate", "sum(rate(h[1m]))"),
    ("histogram_sum", "histogram_sum(h)"),
    ("histogram_count", "histogram_count(h)"),
    ("count_rate", "histogram_count(rate(h[1m]))"),
    ("count_sum_rate", "histogram_count(sum(rate(h[1m])))"),
    ("histogram_avg", "histogram_avg(h)"),
    ("avg_sum_rate", "histogram_avg(sum(rate(h[1m])))"),
    ("quantile_sum", "histogram_quantile(0.9, sum(h))"),
    ("times_scalar", "sum(h * 60)"),
    ("histogram_stdvar", "histogram_stdvar(h)"),
    ("histogram_stddev", "histogram_stddev(h)"),
];

/// The time between two samples of [`req_6h`], in milliseconds.
pub const SCRAPE_MS: i64 = 30_000;
/// The samples of a series of [`req_6h`].
pub const SAMPLES: usize = 720;

const PODS: usize = 1000;
const CONTAINERS: usize = 3;

/// `req-6h`: `http_requests_total` of 1,000 pods with 3 containers, one `http_responses_total` for each pod, and
/// `http_response_seconds_bucket` with 11 bounds for 100 pods; 6 hours at 30 seconds.
pub fn req_6h() -> Arc<dyn Queryable> {
    let mut data = MemoryQueryable::default();
    for pod in 0..PODS {
        let pod_name = format!("p{pod}");
        for container in 0..CONTAINERS {
            let container_name = format!("c{container}");
            let labels = Labels::from_pairs([
                ("__name__", "http_requests_total"),
                ("container", &container_name),
                ("pod", &pod_name),
            ]);
            data.push(labels, counter(pod, container + 1));
        }
        let labels = Labels::from_pairs([("__name__", "http_responses_total"), ("pod", &pod_name)]);
        data.push(labels, counter(pod, 2));
        for bound in (0..11).filter(|_| pod < 100) {
            let le = if bound == 10 {
                "+Inf".to_owned()
            } else {
                bound.to_string()
            };
            let labels = Labels::from_pairs([
                ("__name__", "http_response_seconds_bucket"),
                ("le", &le),
                ("pod", &pod_name),
            ]);
            data.push(labels, counter(pod, bound + 1));
        }
    }
    data.into_queryable()
}

fn counter(start: usize, step: usize) -> impl Iterator<Item = (i64, f64)> {
    (0..SAMPLES).map(move |i| {
        let time_ms = i64::try_from(i).unwrap_or(0) * SCRAPE_MS;
        (time_ms, (start + step * i) as f64)
    })
}

/// `hist`: 500 native histograms `h` of schema 1 with 4 positive and 4 negative buckets over 6 hours at 30 seconds.
///
/// # Panics
///
/// Never: the histograms are well formed.
pub fn native_histograms() -> Arc<dyn Queryable> {
    let mut data = MemoryQueryable::default();
    let spans = vec![
        Span {
            offset: 0,
            length: 2,
        },
        Span {
            offset: 1,
            length: 2,
        },
    ];
    let layout = Arc::new(BucketLayout {
        schema: 1,
        zero_threshold: 0.001,
        positive_spans: spans.clone(),
        negative_spans: spans,
        ..BucketLayout::default()
    });
    for series in 0..500_i64 {
        let mut samples = Samples::new();
        for i in 0..SAMPLES {
            let count = series + i64::try_from(i).unwrap_or(0) + 1;
            let deltas = [count, count, -count, count];
            let mut histogram = Histogram::new(Arc::clone(&layout), &deltas, &deltas)
                .expect("there are as many buckets as spans say");
            histogram.count = 13 * count.unsigned_abs();
            histogram.zero_count = count.unsigned_abs();
            histogram.sum = 18.4 * count as f64;
            let time_ms = i64::try_from(i).unwrap_or(0) * SCRAPE_MS;
            samples.push_histogram(Timestamp::from_millis(time_ms), &histogram);
        }
        let labels = Labels::from_pairs([("__name__", "h"), ("i", &series.to_string())]);
        data.push_samples(labels, &samples);
    }
    data.into_queryable()
}
