//! Every annotation that PromQL knows.
//!
//! Source: Prometheus `util/annotations`.

use thanos_core::text::{FloatFormat, GoFloat};

use super::{Annotation, Details, Monotonicity, for_metric, quoted};
use crate::parser::Span;

/// What histograms were being put together for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HistogramOperation {
    /// The operator `+`.
    Addition,
    /// The operator `-`, and differences over a range.
    Subtraction,
    /// An aggregation, over series or over time.
    Aggregation,
}

impl HistogramOperation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

impl Annotation {
    /// A quantile outside 0 to 1.
    pub fn invalid_quantile(q: f64, span: Span) -> Self {
        let q = GoFloat(q, FloatFormat::General);
        Self::warning(
            span,
            format!("quantile value should be between 0 and 1, got {q}"),
        )
    }

    /// A ratio outside -1 to 1, which is taken as `cap`.
    pub fn invalid_ratio(ratio: f64, cap: f64, span: Span) -> Self {
        let [ratio, cap] = [ratio, cap].map(|value| GoFloat(value, FloatFormat::General));
        let text = "ratio value should be between -1 and 1";
        Self::warning(span, format!("{text}, got {ratio}, capping to {cap}"))
    }

    /// A classic bucket whose `le` is not a number.
    pub fn bad_bucket_label(metric: &str, le: &str, span: Span) -> Self {
        let text = format!(
            "bucket label \"le\" is missing or has a malformed value of {}",
            quoted(le)
        );
        Self::warning(span, text + &for_metric(metric))
    }

    /// A function that makes no sense for a gauge, by the name of the metric.
    pub fn possible_non_counter(metric: &str, span: Span) -> Self {
        let text =
            "metric might not be a counter, name does not end in _total/_sum/_count/_bucket:";
        Self::info(span, format!("{text} {}", quoted(metric)))
    }

    /// Sorting in a range query, whose result is always sorted by labels.
    pub fn sort_in_range_query(span: Span) -> Self {
        let text =
            "sort is ineffective for range queries since results are always ordered by labels";
        Self::warning(span, text)
    }

    /// Classic buckets that had to be made monotonic.
    pub fn forced_monotonicity(metric: &str, details: Monotonicity, span: Span) -> Self {
        let text = "input to histogram_quantile needed to be fixed for monotonicity (see \
                    https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
        Self {
            details: Details::Monotonicity(details),
            ..Self::info(span, text.to_owned() + &for_metric(metric))
        }
    }

    /// Floats and histograms in one window.
    pub fn mixed_floats_histograms(metric: &str, span: Span) -> Self {
        let text = "encountered a mix of histograms and floats for metric name";
        Self::warning(span, format!("{text} {}", quoted(metric)))
    }

    /// Floats and histograms in one group of an aggregation.
    pub fn mixed_floats_histograms_in_aggregation(span: Span) -> Self {
        let text = "encountered a mix of histograms and floats for aggregation";
        Self::warning(span, text)
    }

    /// Classic and native histograms of the same name and labels.
    pub fn mixed_classic_native(metric: &str, span: Span) -> Self {
        let text = "vector contains a mix of classic and native histograms";
        Self::warning(span, text.to_owned() + &for_metric(metric))
    }

    /// A gauge histogram where a counter is wanted.
    pub fn native_histogram_not_counter(metric: &str, span: Span) -> Self {
        let text = "this native histogram metric is not a counter:";
        Self::warning(span, format!("{text} {}", quoted(metric)))
    }

    /// A counter histogram where a gauge is wanted.
    pub fn native_histogram_not_gauge(metric: &str, span: Span) -> Self {
        let text = "this native histogram metric is not a gauge:";
        Self::warning(span, format!("{text} {}", quoted(metric)))
    }

    /// Exponential and custom buckets that would have to be put together.
    pub fn mixed_exponential_custom(metric: &str, span: Span) -> Self {
        let text = "vector contains a mix of histograms with exponential and custom buckets schemas \
                    for metric name";
        Self::warning(span, format!("{text} {}", quoted(metric)))
    }

    /// A function that makes no sense for a gauge, by the label that tells the type.
    pub fn possible_non_counter_type(metric: &str, type_label: &str, span: Span) -> Self {
        let text = "metric might not be a counter, __type__ label is not set to \"counter\" or \
                    \"histogram\", got";
        let type_label = quoted(type_label);
        Self::info(span, format!("{text} {type_label}: {}", quoted(metric)))
    }

    /// An operator between samples of types for which it has no meaning; types are `float` or `histogram`.
    pub fn incompatible_types(lhs: &str, operator: &str, rhs: &str, span: Span) -> Self {
        let text = "incompatible sample types encountered for binary operator";
        let quoted = quoted(operator);
        Self::info(span, format!("{text} {quoted}: {lhs} {operator} {rhs}"))
    }

    /// An aggregation that has no meaning for histograms.
    pub fn histogram_ignored_in_aggregation(aggregation: &str, span: Span) -> Self {
        Self::info(
            span,
            format!("ignored histogram in {aggregation} aggregation"),
        )
    }

    /// A function that takes the floats of a window and leaves the histograms.
    pub fn histogram_ignored_in_mixed_range(metric: &str, span: Span) -> Self {
        let text =
            "ignored histograms in a range containing both floats and histograms for metric name";
        Self::info(span, format!("{text} {}", quoted(metric)))
    }

    /// An operator between histograms whose buckets cannot be made the same.
    pub fn incompatible_bucket_layout(operator: &str, span: Span) -> Self {
        let text = "incompatible bucket layout encountered for binary operator";
        Self::warning(span, format!("{text} {operator}"))
    }

    /// A quantile that falls into the observations of NaN.
    pub fn quantile_nan_result(metric: &str, span: Span) -> Self {
        let text = "input to histogram_quantile has NaN observations, result is NaN";
        Self::info(span, text.to_owned() + &for_metric(metric))
    }

    /// A quantile that observations of NaN make too high.
    pub fn quantile_nan_skew(metric: &str, span: Span) -> Self {
        let text = "input to histogram_quantile has NaN observations, result is skewed higher";
        Self::info(span, text.to_owned() + &for_metric(metric))
    }

    /// Observations of NaN, which are in no fraction.
    pub fn fraction_nan(metric: &str, span: Span) -> Self {
        let text = "input to histogram_fraction has NaN observations, which are excluded from all fractions";
        Self::info(span, text.to_owned() + &for_metric(metric))
    }

    /// Histograms of which one says that it follows a counter reset and another that it does not.
    pub fn counter_reset_collision(operation: HistogramOperation, span: Span) -> Self {
        let text = "conflicting counter resets during histogram";
        Self::warning(span, format!("{text} {}", operation.as_str()))
    }

    /// Custom buckets whose bounds had to be made the same.
    pub fn mismatched_custom_buckets(operation: HistogramOperation, span: Span) -> Self {
        let text = "mismatched custom buckets were reconciled during";
        Self::info(span, format!("{text} {}", operation.as_str()))
    }

    /// Samples that say they began to count before the sample before them was taken, in so many windows.
    pub fn start_time_overlap(metric: &str, windows: u64, span: Span) -> Self {
        let text = "sample has start time that overlaps with previous sample timestamp for metric";
        Self {
            details: Details::Occurrences(windows),
            ..Self::warning(span, format!("{text} {}", quoted(metric)))
        }
    }
}
