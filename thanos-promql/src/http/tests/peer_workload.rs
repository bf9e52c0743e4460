//! Queries made from templates, in the shapes of Prometheus' compliance suite: every function, aggregation and
//! operator with many ranges, offsets, groupings and matchings.
//!
//! Where the rules have changed since 2.42 the queries stay clear of the difference: no window reaches beyond the first
//! sample of a counter (extrapolation to zero came before the threshold), no two picked values are equal (ties of `topk`),
//! and `atan2`, which kept the metric name, stands inside a function that drops it.
//!
//! Left out is what Prometheus 2.42 does not have: experimental functions and aggregations, `double_exponential_smoothing`
//! (it had another name), duration expressions, UTF-8 names, `fill`, trims, `anchored` and `smoothed`, `info`,
//! `first_over_time`, `mad_over_time`, `ts_of_*_over_time`, `histogram_avg`, `histogram_stddev`, `histogram_stdvar`.

const RANGES: [&str; 5] = ["1m", "5m", "15m", "33m", "1h"];
const OFFSETS: [&str; 6] = ["1m", "5m", "10m", "30m", "-1m", "-9m"];
const SELECTORS: [&str; 6] = [
    "edge",
    r#"http_requests_total{code="500"}"#,
    r#"process_resident_memory_bytes{namespace!="search"}"#,
    r#"{__name__=~"process_.*",pod=~".*1"}"#,
    r#"http_requests_total{handler="/",method!~"P.*"}"#,
    "nothing_has_this_name",
];
const GROUPINGS: [&str; 7] = [
    "",
    "by ()",
    "by (namespace)",
    "by (namespace, pod)",
    "by (nothing)",
    "without (pod)",
    "without (code, pod, instance)",
];

/// Returns all queries.
pub(super) fn queries() -> Vec<String> {
    let parts: [fn(&mut Vec<String>); 7] = [
        selectors,
        aggregations,
        functions_over_ranges,
        functions_of_vectors,
        operators,
        matchings,
        subqueries,
    ];
    let mut queries = Vec::new();
    parts.iter().for_each(|part| part(&mut queries));
    queries
}

fn selectors(out: &mut Vec<String>) {
    for selector in SELECTORS {
        out.push(selector.to_owned());
        out.extend(OFFSETS.map(|offset| format!("{selector} offset {offset}")));
        for at in ["1793494000.5", "start()", "end()"] {
            out.push(format!("{selector} @ {at}"));
            out.push(format!("{selector} @ {at} offset 3m"));
        }
    }
}

fn aggregations(out: &mut Vec<String>) {
    for grouping in GROUPINGS {
        for op in [
            "sum", "avg", "count", "min", "max", "group", "stddev", "stdvar",
        ] {
            out.push(format!("{op} {grouping} (http_requests_total)"));
        }
        for q in ["0.5", "0.1", "1", "-0.5", "1.5"] {
            out.push(format!("quantile {grouping} ({q}, process_open_fds)"));
        }
        for k in ["1", "3", "1000"] {
            for op in ["topk", "bottomk"] {
                out.push(format!("{op} {grouping} ({k}, process_cpu_seconds_total)"));
            }
        }
        out.push(format!("count_values {grouping} (\"v\", app_build_info)"));
    }
}

fn functions_over_ranges(out: &mut Vec<String>) {
    for range in RANGES {
        for function in ["rate", "increase", "irate", "resets", "changes"] {
            out.push(format!(
                "{function}(http_requests_total{{code=\"404\"}}[{range}])"
            ));
        }
        for function in [
            "avg_over_time",
            "sum_over_time",
            "min_over_time",
            "max_over_time",
            "count_over_time",
            "last_over_time",
            "present_over_time",
            "stddev_over_time",
            "stdvar_over_time",
            "delta",
            "idelta",
            "deriv",
            "absent_over_time",
        ] {
            out.push(format!(
                "{function}(process_resident_memory_bytes[{range}])"
            ));
            out.push(format!("{function}(process_open_fds[{range}] offset 11m)"));
        }
        for q in ["0", "0.3", "0.99", "2"] {
            out.push(format!(
                "quantile_over_time({q}, process_open_fds[{range}])"
            ));
        }
        out.push(format!("predict_linear(process_open_fds[{range}], 3600)"));
    }
}

fn functions_of_vectors(out: &mut Vec<String>) {
    for function in [
        "abs",
        "ceil",
        "floor",
        "exp",
        "sqrt",
        "ln",
        "log2",
        "log10",
        "sgn",
        "round",
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "sinh",
        "cosh",
        "tanh",
        "asinh",
        "acosh",
        "atanh",
        "deg",
        "rad",
        "timestamp",
        "absent",
        "sort",
        "sort_desc",
        "minute",
        "hour",
        "day_of_week",
        "day_of_month",
        "day_of_year",
        "days_in_month",
        "month",
        "year",
        "scalar",
        "-",
        "+",
    ] {
        out.push(format!("{function}(process_open_fds)"));
        out.push(format!("{function}(deriv(process_open_fds[10m]) / 100)"));
    }
    for q in ["0.1", "0.5", "0.99", "1", "-1", "NaN"] {
        let buckets = "rate(http_request_duration_seconds_bucket[5m])";
        out.push(format!("histogram_quantile({q}, {buckets})"));
        out.push(format!(
            "histogram_quantile({q}, sum by (le, namespace) ({buckets}))"
        ));
    }
    for call in [
        "clamp(process_open_fds, 20, 30)",
        "clamp(process_open_fds, 30, 20)",
        "clamp_min(process_open_fds, 25)",
        "clamp_max(process_open_fds, 25)",
        "round(process_resident_memory_bytes, 1000)",
        "round(process_resident_memory_bytes, 0)",
        r#"label_replace(process_open_fds, "n", "$1-x", "pod", "(.*)-.*")"#,
        r#"label_replace(process_open_fds, "pod", "", "pod", ".*")"#,
        r#"label_replace(process_open_fds, "n", "$1", "pod", "no match (.*)")"#,
        r#"label_join(process_open_fds, "j", "-", "namespace", "pod")"#,
        r#"label_join(process_open_fds, "j", ",")"#,
        "vector(scalar(sum(process_open_fds)))",
        "time() - process_start_time_seconds",
        "1 + 2 ^ 3 ^ 0 % 4",
        "\"a text\"",
        "vector(pi())",
    ] {
        out.push(call.to_owned());
    }
}

fn operators(out: &mut Vec<String>) {
    for pair in ["process_open_fds atan2 7.5", "7.5 atan2 process_open_fds"] {
        out.push(format!("abs({pair})"));
    }
    out.push("7.5 atan2 2".to_owned());
    for op in ["+", "-", "*", "/", "%", "^"] {
        out.push(format!("process_open_fds {op} 7.5"));
        out.push(format!("7.5 {op} process_open_fds"));
        out.push(format!("process_open_fds {op} process_open_fds"));
        out.push(format!("7.5 {op} 2"));
    }
    for op in ["==", "!=", "<", ">", "<=", ">="] {
        out.push(format!("process_open_fds {op} 25"));
        out.push(format!("25 {op} process_open_fds"));
        out.push(format!("process_open_fds {op} bool 25"));
        out.push(format!("25 {op} bool 7"));
        out.push(format!(
            "process_open_fds {op} (process_open_fds offset 5m)"
        ));
        out.push(format!(
            "process_open_fds {op} bool (process_open_fds offset 5m)"
        ));
    }
    for op in ["and", "or", "unless"] {
        for on in ["", "on (pod)", "ignoring (pod)", "on ()", "on (namespace)"] {
            let other = r#"process_resident_memory_bytes{namespace="search"}"#;
            out.push(format!("process_open_fds {op} {on} {other}"));
        }
    }
}

fn matchings(out: &mut Vec<String>) {
    let many = r#"http_requests_total{code="200"}"#;
    for op in ["+", "/", ">", "== bool"] {
        for matching in [
            "on (pod, namespace) group_left",
            "on (pod, namespace) group_left (version)",
            "ignoring (handler, method, code, version) group_left",
            "on (namespace) group_left",
            "on (pod)",
        ] {
            out.push(format!("{many} {op} {matching} app_build_info"));
        }
        let matching = "on (pod, namespace) group_right (version)";
        out.push(format!("app_build_info {op} {matching} {many}"));
    }
    out.push(format!(
        "sum by (pod) ({many}) / on (pod) sum by (pod) (http_requests_total)"
    ));
    out.push(format!("sum({many}) / sum(http_requests_total)"));
}

fn subqueries(out: &mut Vec<String>) {
    for subquery in [
        "[10m:1m]",
        "[30m:90s]",
        "[5m:13s] offset 7m",
        "[20m:2m] @ 1793496000.5",
    ] {
        for function in [
            "max_over_time",
            "avg_over_time",
            "count_over_time",
            "rate",
            "deriv",
        ] {
            out.push(format!(
                "{function}(sum by (namespace) (process_open_fds){subquery})"
            ));
            out.push(format!(
                "{function}(rate(http_requests_total{{code=\"500\"}}[5m]){subquery})"
            ));
        }
    }
}
