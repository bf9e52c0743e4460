//! Random queries that are well typed, about the metrics of the random data.

use super::choice::Choice;

/// All metrics that there may be.
const METRICS: &[&str] = &[
    "requests_total",
    "errors_total",
    "load",
    "temp",
    "limits",
    "target_info",
    "latency_bucket",
    "size",
    "size_total",
    "sized",
    "mixed",
];
const LABELS: &[&str] = &["job", "instance", "code", "zone", "le"];
const RANGES: &[&str] = &["30s", "45s", "1m", "1m30s", "2m", "5m"];

/// Writes random expressions.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) choice: &'a mut Choice,
    /// The metrics that there are.
    pub(super) metrics: Vec<String>,
}

impl Writer<'_> {
    /// Returns a whole query that has a value at each step.
    pub(super) fn query(&mut self) -> String {
        let depth = self.choice.value(&[1, 2, 2, 3, 3, 4]);
        match self.choice.below(20) {
            0 => self.scalar(depth),
            1 => {
                let vector = self.vector(depth);
                match self.choice.below(4) {
                    0 => format!("sort({vector})"),
                    1 => format!("sort_desc({vector})"),
                    2 => format!("sort_by_label({vector}, \"instance\", \"job\")"),
                    _ => format!("sort_by_label_desc({vector}, \"code\")"),
                }
            }
            _ => self.vector(depth),
        }
    }

    /// Returns a whole query whose value is a range.
    pub(super) fn range_query(&mut self) -> String {
        self.matrix(2)
    }

    fn vector(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.selector();
        }
        match self.choice.below(20) {
            0 => self.selector(),
            1..5 => self.over_range(depth - 1),
            5..9 => self.aggregation(depth - 1),
            9..13 => self.between_vectors(depth - 1),
            13 | 14 => self.with_scalar(depth - 1),
            15 => format!("-{}", self.operand(depth - 1)),
            16 => self.labels(depth - 1),
            17 => self.classic(depth - 1),
            _ => self.function(depth - 1),
        }
    }

    fn operand(&mut self, depth: usize) -> String {
        format!("({})", self.vector(depth))
    }

    fn bare_selector(&mut self) -> String {
        if self.choice.chance(12) {
            let names = self.choice.of(&[
                "requests_total|errors_total",
                "load|temp",
                "limits|load",
                "size|sized",
                ".*_total",
                ".+",
            ]);
            return format!("{{__name__=~\"{names}\"}}");
        }
        let name = match self.choice.below(12) {
            0 => self.choice.of(METRICS).to_owned(),
            _ => self.metrics[self.choice.below(self.metrics.len())].clone(),
        };
        let matchers = match self.choice.below(16) {
            0 => "{job=\"a\"}",
            1 => "{job=~\"a|b\"}",
            2 => "{job!=\"a\"}",
            3 => "{instance!~\"0|1\"}",
            4 => "{instance=\"\"}",
            5 => "{code=\"200\", job=~\".+\"}",
            6 => "{job=\"nowhere\", zone!=\"x\"}",
            _ => "",
        };
        format!("{name}{matchers}")
    }

    fn selector(&mut self) -> String {
        let selector = self.bare_selector();
        let modifiers = self.modifiers();
        match self.choice.below(30) {
            0 => format!("{selector} smoothed{modifiers}"),
            1 => format!("{selector} anchored{modifiers}"),
            _ => selector + &modifiers,
        }
    }

    fn modifiers(&mut self) -> String {
        match self.choice.below(20) {
            0 | 1 => {
                let offset = self.choice.of(&["15s", "1m", "7s", "-30s", "5m"]);
                format!(" offset {offset}")
            }
            2 => format!(" @ {}", self.choice.between(0, 60) * 10),
            3 => format!(" @ {}", self.choice.of(&["start()", "end()"])),
            4 => format!(" @ {} offset 15s", self.choice.between(0, 60) * 10),
            _ => String::new(),
        }
    }

    fn matrix(&mut self, depth: usize) -> String {
        let range = self.choice.of(RANGES);
        if depth > 0 && self.choice.chance(25) {
            let inner = self.operand(depth - 1);
            let step = self.choice.of(&["", "10s", "15s", "20s", "30s", "1m"]);
            return format!("{inner}[{range}:{step}]{}", self.modifiers());
        }
        format!("{}[{range}]{}", self.bare_selector(), self.modifiers())
    }

    /// Returns a range selector whose samples are extended to the edges, in a function that can cope with it.
    fn extended_range(&mut self) -> String {
        let range = self.choice.of(RANGES);
        let selector = self.bare_selector();
        let modifiers = self.modifiers();
        let extended = |extension: &str| format!("{selector}[{range}] {extension}{modifiers}");
        if self.choice.chance(50) {
            let name = self
                .choice
                .of(&["rate", "increase", "delta", "changes", "resets"]);
            return format!("{name}({})", extended("anchored"));
        }
        let name = self
            .choice
            .of(&["rate", "increase", "delta", "rate", "deriv"]);
        format!("{name}({})", extended("smoothed"))
    }

    fn over_range(&mut self, depth: usize) -> String {
        if self.choice.chance(12) {
            return self.extended_range();
        }
        let matrix = self.matrix(depth);
        match self.choice.below(16) {
            0..5 => {
                let name = self
                    .choice
                    .of(&["rate", "increase", "delta", "irate", "idelta"]);
                format!("{name}({matrix})")
            }
            5 => {
                let q = self.parameter(&["0.5", "0.9", "0", "1", "0.3"]);
                format!("quantile_over_time({q}, {matrix})")
            }
            6 => {
                let ahead = self.parameter(&["60", "0", "-30"]);
                format!("predict_linear({matrix}, {ahead})")
            }
            7 => {
                let factors = self.choice.of(&["0.5, 0.5", "0.1, 0.9", "0.3, 0.2"]);
                format!("double_exponential_smoothing({matrix}, {factors})")
            }
            8 => format!("absent_over_time({matrix})"),
            _ => {
                let name = self.choice.of(&[
                    "avg_over_time",
                    "changes",
                    "count_over_time",
                    "deriv",
                    "first_over_time",
                    "last_over_time",
                    "mad_over_time",
                    "max_over_time",
                    "min_over_time",
                    "present_over_time",
                    "resets",
                    "stddev_over_time",
                    "stdvar_over_time",
                    "sum_over_time",
                    "ts_of_first_over_time",
                    "ts_of_last_over_time",
                    "ts_of_max_over_time",
                    "ts_of_min_over_time",
                ]);
                format!("{name}({matrix})")
            }
        }
    }

    fn grouping(&mut self) -> String {
        let labels = self.choice.some(LABELS, 35);
        let mut labels = labels.join(", ");
        if self.choice.chance(4) {
            labels = "__name__, job".to_owned();
        }
        match self.choice.below(5) {
            0 => String::new(),
            1 | 2 => format!(" without ({labels}) "),
            _ => format!(" by ({labels}) "),
        }
    }

    fn aggregation(&mut self, depth: usize) -> String {
        let inner = self.vector(depth);
        let grouping = self.grouping();
        let body = match self.choice.below(14) {
            0 => {
                let q = self.parameter(&["0.5", "0.9", "0", "1", "0.25", "2", "NaN"]);
                return format!("quantile{grouping}({q}, {inner})");
            }
            1 | 2 => {
                let name = self.choice.of(&["topk", "bottomk", "limitk"]);
                let k = self.parameter(&["1", "2", "3", "2.7", "0", "100", "-1"]);
                return format!("{name}{grouping}({k}, {inner})");
            }
            3 => {
                let ratio = self.parameter(&["0.5", "-0.5", "0.2", "1", "0", "-1.5"]);
                return format!("limit_ratio{grouping}({ratio}, {inner})");
            }
            4 => {
                let label = self.choice.of(&["value", "job"]);
                return format!("count_values{grouping}(\"{label}\", {inner})");
            }
            _ => self.choice.of(&[
                "sum", "sum", "avg", "avg", "count", "min", "max", "group", "stddev", "stdvar",
            ]),
        };
        format!("{body}{grouping}({inner})")
    }

    /// Returns a constant, or now and then a number that changes from step to step.
    fn parameter(&mut self, constants: &[&'static str]) -> String {
        match self.choice.below(12) {
            0 => "scalar(limits)".to_owned(),
            1 => "(time() % 4)".to_owned(),
            2 => "(time() / 600)".to_owned(),
            _ => self.choice.of(constants).to_owned(),
        }
    }

    fn between_vectors(&mut self, depth: usize) -> String {
        // One step deeper on one side only, so that queries stay small.
        let shallow = depth.min(1);
        let (left, right) = if self.choice.chance(50) {
            (depth, shallow)
        } else {
            (shallow, depth)
        };
        if self.choice.chance(30) {
            let op = self.choice.of(&["and", "or", "unless"]);
            let (lhs, rhs) = (self.operand(left), self.operand(right));
            return format!("{lhs} {op}{} {rhs}", self.matching());
        }
        let op = self.operator();
        if self.choice.chance(50) {
            // Sides that go together.
            let (lhs, rhs) = (self.vector(left), self.vector(right));
            let labels = self.choice.of(&["job", "job, instance"]);
            let fold = self.choice.of(&["sum", "max", "avg", "count"]);
            let fill = self.fill();
            return match self.choice.below(4) {
                0 => {
                    format!("{fold} by ({labels}) ({lhs}) {op}{fill} {fold} by ({labels}) ({rhs})")
                }
                1 => format!(
                    "({lhs}) {op} on ({labels}) group_left{fill} {fold} by ({labels}) ({rhs})"
                ),
                2 => format!(
                    "{fold} by ({labels}) ({lhs}) {op} on ({labels}) group_right{fill} ({rhs})"
                ),
                _ => format!("({lhs}) {op} ignoring (zone, code) group_left{fill} limits"),
            };
        }
        let matching = self.matching();
        let group = if matching.is_empty() {
            ""
        } else {
            self.choice.of(&[
                "",
                "",
                " group_left",
                " group_left (zone)",
                " group_right",
                " group_right (code)",
            ])
        };
        let fill = self.fill();
        let (lhs, rhs) = (self.operand(left), self.operand(right));
        format!("{lhs} {op}{matching}{group}{fill} {rhs}")
    }

    fn matching(&mut self) -> String {
        let labels = self.choice.some(&["job", "instance"], 60).join(", ");
        match self.choice.below(4) {
            0 => String::new(),
            1 => format!(" ignoring ({labels})"),
            _ => format!(" on ({labels})"),
        }
    }

    fn fill(&mut self) -> String {
        let value = self.choice.of(&["0", "1", "-2.5", "NaN"]);
        match self.choice.below(16) {
            0 => format!(" fill ({value})"),
            1 => format!(" fill_left ({value})"),
            2 => format!(" fill_right ({value})"),
            3 => format!(" fill_left (1) fill_right ({value})"),
            _ => String::new(),
        }
    }

    fn operator(&mut self) -> &'static str {
        self.choice.of(&[
            "+", "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=",
            "== bool", "!= bool", "> bool", "< bool", ">= bool", "<= bool",
        ])
    }

    fn with_scalar(&mut self, depth: usize) -> String {
        if self.choice.chance(15) {
            let vector = self.histograms(depth);
            let op = self.choice.of(&["</", ">/"]);
            let limit = self
                .choice
                .of(&["0", "1", "1.5", "-0.3", "4", "Inf", "-Inf", "NaN"]);
            return format!("({vector}) {op} {limit}");
        }
        let vector = self.operand(depth);
        let scalar = self.scalar(depth.min(1));
        let op = self.operator();
        if self.choice.chance(50) {
            format!("{vector} {op} {scalar}")
        } else {
            format!("{scalar} {op} {vector}")
        }
    }

    fn scalar(&mut self, depth: usize) -> String {
        if depth > 0 && self.choice.chance(40) {
            return match self.choice.below(4) {
                0 | 1 => format!("scalar({})", self.vector(depth - 1)),
                2 => {
                    let op = self
                        .choice
                        .of(&["+", "-", "*", "/", "%", "^", "> bool", "!= bool"]);
                    let (lhs, rhs) = (self.scalar(depth - 1), self.scalar(depth - 1));
                    format!("({lhs} {op} {rhs})")
                }
                _ => {
                    let name = self.choice.of(&["max_of", "min_of"]);
                    let (lhs, rhs) = (self.scalar(depth - 1), self.scalar(depth - 1));
                    format!("{name}({lhs}, {rhs})")
                }
            };
        }
        self.choice
            .of(&[
                "0", "1", "2", "-1.5", "10", "0.25", "1e3", "Inf", "-Inf", "NaN", "time()", "pi()",
                "start()", "end()", "range()", "step()",
            ])
            .to_owned()
    }

    fn labels(&mut self, depth: usize) -> String {
        let inner = self.vector(depth);
        let target = self
            .choice
            .of(&["job", "instance", "zone", "copy", "__name__"]);
        let source = self
            .choice
            .of(&["job", "instance", "code", "__name__", "none"]);
        if self.choice.chance(50) {
            let separator = self.choice.of(&["", "-"]);
            return format!(
                "label_join({inner}, \"{target}\", \"{separator}\", \"{source}\", \"instance\")"
            );
        }
        let pattern = self
            .choice
            .of(&["(.*)", "(a|b)", ".*(.)", "", "(?P<x>[a-z]+)_(.*)"]);
        let template = self.choice.of(&["$1", "x$1", "", "${x}", "fixed"]);
        format!("label_replace({inner}, \"{target}\", \"{template}\", \"{source}\", \"{pattern}\")")
    }

    fn classic(&mut self, depth: usize) -> String {
        let inner = match self.choice.below(6) {
            0 => self.vector(depth),
            4 | 5 => self.histograms(depth),
            1 => "latency_bucket".to_owned(),
            2 => "sum by (le, job) (rate(latency_bucket[1m]))".to_owned(),
            _ => {
                let metric = self
                    .choice
                    .of(&["latency_bucket", "size", "sized", "size_total"]);
                format!("rate({metric}[2m])")
            }
        };
        match self.choice.below(4) {
            0 => {
                let (lower, upper) = (
                    self.parameter(&["0", "-Inf", "0.3", "NaN"]),
                    self.parameter(&["1", "Inf", "0.7", "3"]),
                );
                format!("histogram_fraction({lower}, {upper}, {inner})")
            }
            1 => format!("histogram_quantiles({inner}, \"q\", 0.5, 0.9, 1)"),
            _ => {
                let q = self.parameter(&["0.5", "0.9", "0", "1", "0.99", "-1", "2", "NaN"]);
                format!("histogram_quantile({q}, {inner})")
            }
        }
    }

    /// Returns a vector that has native histograms, if there are any.
    fn histograms(&mut self, depth: usize) -> String {
        let names: Vec<String> = self
            .metrics
            .iter()
            .filter(|name| name.starts_with("size") || *name == "mixed")
            .cloned()
            .collect();
        if names.is_empty() || self.choice.chance(20) {
            return self.vector(depth);
        }
        let name = names[self.choice.below(names.len())].clone();
        let range = self.choice.of(RANGES);
        match self.choice.below(8) {
            0..3 => name,
            3 => format!("rate({name}[{range}])"),
            4 => format!("increase({name}[{range}])"),
            5 => format!("avg_over_time({name}[{range}])"),
            6 => format!("sum by (job) ({name})"),
            _ => format!("avg by (job) (rate({name}[{range}]))"),
        }
    }

    fn function(&mut self, depth: usize) -> String {
        match self.choice.below(18) {
            14..18 => {
                let name = self.choice.of(&[
                    "histogram_avg",
                    "histogram_count",
                    "histogram_stddev",
                    "histogram_stdvar",
                    "histogram_sum",
                ]);
                format!("{name}({})", self.histograms(depth))
            }
            0 => format!("clamp({}, -2, {})", self.vector(depth), self.scalar(0)),
            1 => format!("clamp_min({}, {})", self.vector(depth), self.scalar(1)),
            2 => format!("clamp_max({}, {})", self.vector(depth), self.scalar(1)),
            3 => format!(
                "round({}, {})",
                self.vector(depth),
                self.choice.of(&["0.5", "10", "3"])
            ),
            4 => format!("absent({})", self.vector(depth)),
            5 => format!("vector({})", self.scalar(depth.min(1))),
            6 => format!("timestamp({})", self.vector(depth.min(1))),
            7 => format!("start_timestamp({})", self.selector()),
            8 => {
                let name = self.choice.of(&[
                    "minute",
                    "hour",
                    "day_of_week",
                    "day_of_month",
                    "day_of_year",
                    "days_in_month",
                    "month",
                    "year",
                ]);
                match self.choice.below(3) {
                    0 => format!("{name}()"),
                    1 => format!("{name}(timestamp({}) * 86400)", self.bare_selector()),
                    _ => format!("{name}(vector(time() * 1e5))"),
                }
            }
            _ => {
                let name = self.choice.of(&[
                    "abs", "ceil", "floor", "exp", "sqrt", "ln", "log2", "log10", "sgn", "sin",
                    "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh",
                    "atanh", "deg", "rad", "round",
                ]);
                format!("{name}({})", self.vector(depth))
            }
        }
    }
}
