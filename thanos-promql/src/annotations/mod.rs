//! Annotations: warnings and infos that an evaluation leaves about the query, with the place they speak of.
//!
//! Annotations with the same text and kind are one annotation; a few merge details. The text that users see
//! is built at the end, when the query text is known: `... (line:column)`.

mod kinds;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use thanos_core::text::{FloatFormat, GoFloat, write_go_quoted};
use thanos_core::time::UtcTime;

pub use self::kinds::HistogramOperation;
use crate::parser::Span;

/// How much an annotation matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The answer is probably not what was meant.
    Warning,
    /// The answer may not be what was meant.
    Info,
}

/// One remark about a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotation {
    severity: Severity,
    text: String,
    span: Option<Span>,
    details: Details,
}

/// What equal annotations add up.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Details {
    None,
    Monotonicity(Monotonicity),
    /// How often it happened.
    Occurrences(u64),
}

impl Details {
    fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Monotonicity(known), Self::Monotonicity(more)) => known.merge(more),
            (Self::Occurrences(known), Self::Occurrences(more)) => *known += more,
            _ => {}
        }
    }
}

/// The details of buckets that had to be made monotonic, merged over all samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Monotonicity {
    /// The evaluation times of the first and last such sample, in milliseconds.
    pub times_ms: (i64, i64),
    /// The upper bounds of the lowest and highest changed bucket.
    pub buckets: (f64, f64),
    /// The largest change.
    pub max_diff: f64,
    /// The number of samples.
    pub count: u64,
}

impl Monotonicity {
    fn merge(&mut self, other: Self) {
        self.times_ms.0 = self.times_ms.0.min(other.times_ms.0);
        self.times_ms.1 = self.times_ms.1.max(other.times_ms.1);
        self.buckets.0 = self.buckets.0.min(other.buckets.0);
        self.buckets.1 = self.buckets.1.max(other.buckets.1);
        self.max_diff = self.max_diff.max(other.max_diff);
        self.count += other.count;
    }
}

impl Annotation {
    fn warning(span: Span, text: impl Into<String>) -> Self {
        Self::new(
            Severity::Warning,
            Some(span),
            format!("PromQL warning: {}", text.into()),
        )
    }

    fn info(span: Span, text: impl Into<String>) -> Self {
        Self::new(
            Severity::Info,
            Some(span),
            format!("PromQL info: {}", text.into()),
        )
    }

    fn new(severity: Severity, span: Option<Span>, text: String) -> Self {
        Self {
            severity,
            text,
            span,
            details: Details::None,
        }
    }

    /// Returns a warning of the storage, which has no place in the query.
    pub fn storage(text: impl Into<String>) -> Self {
        Self::new(Severity::Warning, None, text.into())
    }

    /// Returns what another engine says about a part of the query, if it is about that and not about missing data.
    pub(crate) fn of_engine(text: &str) -> Option<Self> {
        let (severity, _) = [
            (Severity::Warning, "PromQL warning: "),
            (Severity::Info, "PromQL info: "),
        ]
        .into_iter()
        .find(|(_, start)| text.starts_with(start))?;
        Some(Self::new(severity, None, text.to_owned()))
    }

    /// Takes over what an equal annotation says.
    ///
    /// COMPAT: of several places the one that Prometheus evaluates last is named; with details, the first.
    fn merge(&mut self, other: Self) {
        let is_later = evaluation_order(other.span) > evaluation_order(self.span);
        if is_later == (self.details == Details::None) {
            self.span = other.span;
        }
        self.details.merge(other.details);
    }

    fn is_of_storage(&self) -> bool {
        self.span.is_none()
    }

    /// Returns how much it matters.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Returns the text without place and details.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the text as users see it: with details and the place in `query`.
    pub fn render(&self, query: &str) -> String {
        let mut text = self.text.clone();
        if let Details::Occurrences(count @ 2..) = self.details {
            write!(text, " ({count} occurrences)").expect("writing to a string cannot fail");
        }
        if let Details::Monotonicity(details) = &self.details {
            let [min, max] = [details.buckets.0, details.buckets.1]
                .map(|bound| GoFloat(bound, FloatFormat::General));
            let [from, to] = [details.times_ms.0, details.times_ms.1]
                .map(|ms| UtcTime::from_unix_secs(ms.div_euclid(1000)));
            let diff = two_digits(details.max_diff);
            let count = details.count;
            write!(
                text,
                ", from buckets {min} to {max}, with a max diff of {diff}, over {count} samples from {from} to {to}"
            )
            .expect("writing to a string cannot fail");
        }
        if let Some(span) = self.span {
            write!(text, " ({})", span.position(query)).expect("writing to a string cannot fail");
        }
        text
    }
}

/// Orders places as they are evaluated: what stands further left first, and parts before the whole.
fn evaluation_order(span: Option<Span>) -> Option<(u32, Reverse<u32>)> {
    span.map(|span| (span.end, Reverse(span.start)))
}

/// A set of annotations in the order of their text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Annotations {
    // Go keeps a map with random order; the text as key gives a fixed order at no cost.
    by_text: BTreeMap<(Severity, String), Annotation>,
}

impl Annotations {
    /// Returns the bytes that `annotation` takes here, none when there is an equal one.
    pub(crate) fn more_bytes(&self, annotation: &Annotation) -> usize {
        let key = (annotation.severity, annotation.text.clone());
        if self.by_text.contains_key(&key) {
            return 0;
        }
        size_of_val(&key) + size_of_val(annotation) + 2 * annotation.text.len()
    }

    /// Adds `annotation`, merging it with an equal one.
    pub fn add(&mut self, annotation: Annotation) {
        let key = (annotation.severity, annotation.text.clone());
        match self.by_text.entry(key) {
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(annotation);
            }
            std::collections::btree_map::Entry::Occupied(mut place) => {
                place.get_mut().merge(annotation);
            }
        }
    }

    /// Takes over all of `other`.
    pub fn merge(&mut self, other: Self) {
        other
            .by_text
            .into_values()
            .for_each(|annotation| self.add(annotation));
    }

    /// Reports whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_text.is_empty()
    }

    /// Returns all, warnings first.
    pub fn iter(&self) -> impl Iterator<Item = &Annotation> {
        self.by_text.values()
    }

    /// Returns the texts of one severity as users see them: all of the storage, and then at most `limit` about
    /// the query and a note about the rest; 0 means all.
    pub fn render(&self, severity: Severity, query: &str, limit: usize) -> Vec<String> {
        // Data that is missing must not go unnoticed because the query has other flaws.
        let (storage, matching): (Vec<_>, Vec<_>) = self
            .iter()
            .filter(|one| one.severity == severity)
            .partition(|one| one.is_of_storage());
        let count = matching.len();
        let shown = if limit == 0 { count } else { limit.min(count) };
        let mut texts: Vec<String> = storage
            .into_iter()
            .chain(matching.into_iter().take(shown))
            .map(|one| one.render(query))
            .collect();
        if count > shown {
            let kind = match severity {
                Severity::Warning => "warning",
                Severity::Info => "info",
            };
            texts.push(format!("{} more {kind} annotations omitted", count - shown));
        }
        texts
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_go_quoted(&mut out, text).expect("writing to a string cannot fail");
    out
}

fn for_metric(metric: &str) -> String {
    if metric.is_empty() {
        return String::new();
    }
    format!(" for metric name {}", quoted(metric))
}

/// Formats as Go's `%.2g`.
fn two_digits(value: f64) -> String {
    if !value.is_finite() {
        return GoFloat(value, FloatFormat::General).to_string();
    }
    let scientific = format!("{value:.1e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = digits.strip_suffix(".0").unwrap_or(digits);
    if (-4..2).contains(&exponent) {
        let rounded: f64 = format!("{digits}e{exponent}").parse().unwrap_or(value);
        return GoFloat(rounded, FloatFormat::Fixed).to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Span = Span { start: 5, end: 9 };

    #[test]
    fn an_annotation_says_where_it_belongs() {
        let info = Annotation::possible_non_counter("edge", SPAN);
        assert_eq!(
            info.render("rate(edge[1m])"),
            "PromQL info: metric might not be a counter, name does not end in \
             _total/_sum/_count/_bucket: \"edge\" (1:6)"
        );
        assert!(info.render("ra\n\nedge").ends_with("(3:2)"));
    }

    #[test]
    fn of_equal_annotations_the_last_evaluated_names_the_place() {
        // `(a) + b`: the sides are evaluated from left to right, and then the whole.
        let [left, right, whole] = [(1, 2), (6, 7), (0, 7)].map(|(start, end)| Span { start, end });
        for (spans, expected) in [
            ([left, right], "(1:7)"),
            ([right, left], "(1:7)"),
            ([whole, right], "(1:1)"),
            ([left, whole], "(1:1)"),
        ] {
            let mut annotations = Annotations::default();
            for span in spans {
                annotations.add(Annotation::histogram_ignored_in_aggregation("min", span));
            }
            let texts = annotations.render(Severity::Info, "(a) + b", 0);
            assert_eq!(texts.len(), 1);
            assert!(texts[0].ends_with(expected), "{}", texts[0]);
        }
    }

    #[test]
    fn equal_annotations_merge_their_details() {
        let details = |ms, low, high, max_diff| Monotonicity {
            times_ms: (ms, ms),
            buckets: (low, high),
            max_diff,
            count: 1,
        };
        let mut annotations = Annotations::default();
        for one in [details(60_000, 0.1, 0.5, 0.25), details(0, 0.2, 1.0, 3.0)] {
            annotations.add(Annotation::forced_monotonicity("", one, SPAN));
        }
        let texts = annotations.render(Severity::Info, "0123456789", 10);
        assert_eq!(texts.len(), 1);
        assert!(
            texts[0].ends_with(
                "#histogram_quantile), from buckets 0.1 to 1, with a max diff of 3, over 2 samples \
                 from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z (1:6)"
            ),
            "{}",
            texts[0]
        );
    }

    #[test]
    fn too_many_annotations_are_counted() {
        let mut annotations = Annotations::default();
        for i in 0..5 {
            annotations.add(Annotation::possible_non_counter(&format!("m{i}"), SPAN));
        }
        let texts = annotations.render(Severity::Info, "rate(m[1m])", 3);
        assert_eq!(texts.len(), 4);
        assert_eq!(texts[3], "2 more info annotations omitted");
    }

    #[test]
    fn what_the_storage_says_comes_first_and_is_never_omitted() {
        let mut annotations = Annotations::default();
        for i in 0..3 {
            annotations.add(Annotation::bad_bucket_label(&format!("m{i}"), "x", SPAN));
            annotations.add(Annotation::storage(format!("store-{i}: timed out")));
        }
        let texts = annotations.render(Severity::Warning, "rate(m[1m])", 2);
        let expected = [
            "store-0: ",
            "store-1: ",
            "store-2: ",
            "PromQL",
            "PromQL",
            "1 more",
        ];
        assert_eq!(texts.len(), expected.len(), "{texts:?}");
        for (text, start) in texts.iter().zip(expected) {
            assert!(text.starts_with(start), "{texts:?}");
        }
    }

    #[test]
    fn two_digits_as_go() {
        for (value, text) in [
            (3.0, "3"),
            (0.25, "0.25"),
            (12.3, "12"),
            (123.0, "1.2e+02"),
            (1e-5, "1e-05"),
            (0.000_123, "0.00012"),
            (99.9, "1e+02"),
        ] {
            assert_eq!(two_digits(value), text);
        }
    }
}
