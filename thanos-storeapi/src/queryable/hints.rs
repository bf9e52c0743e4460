//! What the function around a selector says about the data it needs.

use thanos_core::chunk::Aggregate;
use thanos_core::dedup::Dedup;

use super::DedupFunc;

/// Returns the aggregates of downsampled windows that `func` reads; raw samples serve every function.
///
/// Source: Thanos pkg/query/querier.go, `aggrsFromFunc`. `sum` (the aggregation, not `sum_over_time`) wants the
/// samples themselves, so it reads the average like every function without an aggregate of its own. So does
/// `count_values`, for which Thanos reads how many samples there were.
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
    if is_or_starts("count") && func != "count_values" {
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

/// Returns how replicas become one for `func`.
///
/// The values of a counter must not go back where another replica is gone over to: that would be a reset. Of
/// `resets` itself the values are not touched; where they are totals of downsampled data, there are none to be seen.
///
/// COMPAT: Thanos takes the samples of the penalty for rates as well (pkg/dedup/iter.go, `isCounter`, which does not
/// know the extended functions). That is off by more than a scrape for one rate in fifty when replicas fail, which
/// [`Dedup::Counter`] is not; where no sample is missing, both choose alike.
pub fn dedup_for(wanted: DedupFunc, func: &str) -> Dedup {
    match (wanted, func) {
        (DedupFunc::Chain, _) => Dedup::Chain,
        (DedupFunc::Penalty, "increase" | "rate" | "irate" | "xincrease" | "xrate") => {
            Dedup::Counter
        }
        (DedupFunc::Penalty, _) => Dedup::Penalty,
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
