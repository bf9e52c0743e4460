//! What is to be deleted, and what that means for one series.

use serde_json::{Value, json};

use crate::block::Intervals;
use crate::labels::relabel::RelabelConfig;
use crate::labels::{LabelsRef, MatchOp, Matcher};
use crate::time::TimeRange;

/// A deletion of samples of some series.
#[derive(Debug, Clone, Default)]
pub struct DeletionRequest {
    /// Which series: those that have all these labels, and values that match.
    pub matchers: Vec<Matcher>,
    /// Which of their samples; none means all.
    pub intervals: Vec<TimeRange>,
    /// What the request is called, for people.
    pub request_id: String,
}

impl DeletionRequest {
    /// COMPAT: a label that a series does not have matches nothing, not even the empty text as elsewhere.
    fn selects(&self, labels: LabelsRef<'_>) -> bool {
        self.matchers.iter().all(|matcher| {
            let value = labels.get(matcher.name());
            value.is_some_and(|value| matcher.matches(&value))
        })
    }

    /// Returns the request as the meta.json of Thanos has it: its structs, as Go encodes them.
    pub(super) fn json(&self) -> Value {
        let matchers = self.matchers.iter().map(|matcher| {
            let op = match matcher.op() {
                MatchOp::Equal => 0,
                MatchOp::NotEqual => 1,
                MatchOp::Regex => 2,
                MatchOp::NotRegex => 3,
            };
            json!({"Type": op, "Name": matcher.name(), "Value": matcher.value()})
        });
        let mut request = json!({ "matchers": matchers.collect::<Vec<_>>() });
        if !self.intervals.is_empty() {
            let intervals = self.intervals.iter();
            let intervals = intervals
                .map(|range| json!({"Mint": range.min.as_millis(), "Maxt": range.max.as_millis()}));
            request["intervals"] = intervals.collect();
        }
        if !self.request_id.is_empty() {
            request["request_id"] = json!(self.request_id);
        }
        request
    }
}

/// A rule as the meta.json of Thanos has it.
pub(super) fn relabel_json(config: &RelabelConfig) -> Value {
    let mut rule = json!({
        "separator": config.separator,
        "regex": config.regex,
        "replacement": config.replacement,
        "action": config.action.as_str(),
    });
    if !config.source_labels.is_empty() {
        rule["source_labels"] = json!(config.source_labels);
    }
    if config.modulus != 0 {
        rule["modulus"] = json!(config.modulus);
    }
    if !config.target_label.is_empty() {
        rule["target_label"] = json!(config.target_label);
    }
    rule
}

/// What is deleted of one series.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Deleted {
    /// All of it.
    Whole,
    /// The samples in these intervals.
    Within(Intervals),
}

impl Deleted {
    /// Returns what `requests` together delete of the series `labels`.
    pub(super) fn of(requests: &[DeletionRequest], labels: LabelsRef<'_>) -> Self {
        let mut intervals = Intervals::default();
        for request in requests.iter().filter(|request| request.selects(labels)) {
            if request.intervals.is_empty() {
                return Self::Whole;
            }
            request
                .intervals
                .iter()
                .for_each(|range| intervals.add(*range));
        }
        Self::Within(intervals)
    }

    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Whole)
    }

    pub(super) fn intervals(&self) -> Option<&Intervals> {
        match self {
            Self::Whole => None,
            Self::Within(intervals) => Some(intervals),
        }
    }

    /// Returns the times that are deleted of chunks that cover `ranges`. Of a whole series, that is all from its first
    /// to its last sample.
    pub(super) fn within(&self, ranges: impl Iterator<Item = TimeRange>) -> Intervals {
        let mut gone = Intervals::default();
        for range in ranges {
            match self {
                Self::Whole => {
                    let first = gone.ranges().first().map_or(range.min, |all| all.min);
                    let last = gone.ranges().last().map_or(range.max, |all| all.max);
                    gone.add(TimeRange {
                        min: first.min(range.min),
                        max: last.max(range.max),
                    });
                }
                Self::Within(intervals) => {
                    for part in intervals.overlapping(range) {
                        gone.add(TimeRange {
                            min: part.min.max(range.min),
                            max: part.max.min(range.max),
                        });
                    }
                }
            }
        }
        gone
    }
}
