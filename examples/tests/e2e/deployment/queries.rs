//! Queries over the data of a deployment.

use super::data::{LENGTH_SECS, SCRAPE_SECS};

/// Expressions that Debian's Prometheus and ours answer alike.
const EXPRESSIONS: [&str; 73] = [
    "shop_info",
    "shop_steady_total",
    r#"shop_steady_total{instance="i1"}"#,
    r#"shop_steady_total{instance=~"i[02]"}"#,
    r#"shop_steady_total{instance!="i1",job=~".+"}"#,
    r#"{__name__=~"shop_(info|temperature)"}"#,
    r#"{__name__=~"shop_.*",instance="i2"}"#,
    r#"shop_steady_total{cluster="eu"}"#,
    r#"shop_steady_total{cluster!="us"}"#,
    r#"shop_steady_total{cluster="us"}"#,
    r#"shop_steady_total{missing=""}"#,
    "shop_temperature offset 10m",
    "shop_temperature offset -10m",
    "rate(shop_steady_total[2m])",
    "rate(shop_restarting_total[5m])",
    "irate(shop_restarting_total[2m])",
    "increase(shop_restarting_total[1h])",
    "resets(shop_restarting_total[2h])",
    "changes(shop_temperature[10m])",
    "delta(shop_temperature[10m])",
    "idelta(shop_temperature[10m])",
    "deriv(shop_temperature[10m])",
    "predict_linear(shop_temperature[10m], 600)",
    "avg_over_time(shop_temperature[7m])",
    "min_over_time(shop_temperature[7m])",
    "max_over_time(shop_temperature[7m])",
    "sum_over_time(shop_temperature[7m])",
    "count_over_time(shop_temperature[7m])",
    "stddev_over_time(shop_temperature[7m])",
    "stdvar_over_time(shop_temperature[7m])",
    "last_over_time(shop_temperature[7m])",
    "present_over_time(shop_temperature[7m])",
    "absent_over_time(shop_temperature[7m])",
    "quantile_over_time(0.9, shop_temperature[7m])",
    "absent(shop_temperature)",
    "absent(shop_nothing)",
    "sum(shop_temperature)",
    "avg by (job) (shop_temperature)",
    "min without (room) (shop_temperature)",
    "max(shop_temperature)",
    "count by (job, cluster) (shop_info)",
    "group(shop_info)",
    "stddev(shop_temperature)",
    "stdvar(shop_temperature)",
    "topk(2, shop_steady_total)",
    "bottomk(1, shop_steady_total)",
    "quantile(0.5, shop_temperature)",
    r#"count_values("v", shop_info)"#,
    "sum by (instance) (rate(shop_steady_total[5m]))",
    "sum(rate(shop_latency_bucket[5m])) by (le)",
    "histogram_quantile(0.9, sum by (le) (rate(shop_latency_bucket[5m])))",
    "histogram_quantile(0.5, rate(shop_latency_bucket[10m]))",
    "rate(shop_latency_sum[5m]) / rate(shop_latency_count[5m])",
    "shop_steady_total > 1000",
    "shop_steady_total > bool 1000",
    "shop_steady_total + on (instance, job) shop_restarting_total",
    "shop_steady_total * on (instance) group_left (version) shop_info",
    "shop_steady_total and shop_restarting_total > 100",
    r#"shop_steady_total unless shop_steady_total{instance="i0"}"#,
    "shop_steady_total or shop_info",
    "2 * shop_temperature - 1 ^ 2 % 3",
    "-shop_temperature",
    "abs(shop_temperature - 20)",
    "clamp(shop_temperature, 18, 22)",
    "round(shop_temperature, 0.5)",
    "sqrt(shop_temperature)",
    r#"label_replace(shop_info, "major", "$1", "version", "(.*)\\..*")"#,
    r#"label_join(shop_info, "all", "-", "instance", "job")"#,
    "timestamp(shop_info)",
    "scalar(sum(shop_temperature))",
    "max_over_time(sum(shop_temperature)[20m:1m])",
    "avg_over_time(rate(shop_steady_total[2m])[15m:30s])",
    "hour() + day_of_week() + month()",
];

/// A question to the HTTP API.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) path: &'static str,
    pub(crate) parameters: Vec<(&'static str, String)>,
}

impl Question {
    /// Returns the parameters with `more`.
    pub(crate) fn with<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let own = self.parameters.iter();
        own.map(|(name, value)| (*name, value.as_str()))
            .chain(more.iter().copied())
            .collect()
    }
}

/// All expressions at two instants and over a range, for data that begins at `start` (Unix seconds).
pub(crate) fn questions(start: i64) -> Vec<Question> {
    let instant = |since: i64| {
        move |query: &str| Question {
            path: "/api/v1/query",
            parameters: vec![
                ("query", query.to_owned()),
                ("time", (start + since).to_string()),
            ],
        }
    };
    let range = |query: &str| Question {
        path: "/api/v1/query_range",
        parameters: vec![
            ("query", query.to_owned()),
            ("start", (start + 20 * 60 + 40).to_string()),
            ("end", (start + LENGTH_SECS - 20 * 60).to_string()),
            ("step", (SCRAPE_SECS * 20).to_string()),
        ],
    };
    let early = EXPRESSIONS.into_iter().map(instant(95 * 60 + 40));
    let late = EXPRESSIONS
        .into_iter()
        .map(instant(3 * 3600 + 20 * 60 + 40));
    early
        .chain(late)
        .chain(EXPRESSIONS.into_iter().map(range))
        .collect()
}
