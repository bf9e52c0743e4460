//! What the function around a selector says about the data it needs.

use thanos_core::chunk::Aggregate;

/// Returns the aggregates of downsampled windows that `func` reads; raw samples serve every function.
///
/// Source: Thanos pkg/query/querier.go, `aggrsFromFunc`. `sum` (the aggregation, not `sum_over_time`) wants the
/// samples themselves, so it reads the average like every function without an aggregate of its own.
pub fn aggregates_for(func: &str) -> Vec<Aggregate> {
    let is_or_starts = |name: &str| {
        func.strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    };
    if is_or_starts("min") {
        return vec![Aggregate::Min];
    }
    if is_or_starts("max") {
        return vec![Aggregate::Max];
    }
    if is_or_starts("count") {
        return vec![Aggregate::Count];
    }
    if func.starts_with("sum_") {
        return vec![Aggregate::Sum];
    }
    match func {
        "increase" | "rate" | "irate" | "resets" | "xincrease" | "xrate" => {
            vec![Aggregate::Counter]
        }
        _ => vec![Aggregate::Count, Aggregate::Sum],
    }
}

/// Returns the coarsest resolution that still gives `func` two windows in its range.
///
/// Source: Thanos pkg/query/querier.go, `maxResolutionFromSelectHints`: these functions need two samples.
pub fn max_resolution_for(max_resolution_ms: i64, range_ms: i64, func: &str) -> i64 {
    let needs_two_samples = matches!(
        func,
        "rate"
            | "irate"
            | "increase"
            | "delta"
            | "idelta"
            | "deriv"
            | "predict_linear"
            | "holt_winters"
            | "double_exponential_smoothing"
    );
    if needs_two_samples && range_ms > 0 {
        max_resolution_ms.min(range_ms / 2)
    } else {
        max_resolution_ms
    }
}
