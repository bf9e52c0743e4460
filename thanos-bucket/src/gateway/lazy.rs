//! Which postings are not worth fetching: their matchers are applied to the labels of the series instead.
//!
//! ```text
//! groups by cardinality P, the first one to keep is fetched; group n is fetched while
//!     4 Pn < P1 S R^(n-2) (1 - R)      S: bytes of a series, R: share of series that a group lets pass
//! ```
//!
//! The rule and its numbers are those of Thanos (pkg/store/lazy_postings.go; 2.9 of the specification).

use thanos_core::index::ListGroup;

use super::metrics::LazyReason;

/// How large a part of the series is assumed to satisfy a matcher.
const MATCH_RATIO: f64 = 0.5;
/// The bytes of a reference.
const REFERENCE_BYTES: f64 = 4.0;

/// How postings are left out (`--store.enable-lazy-expanded-postings`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LazyPostings {
    /// Postings of a label are not fetched when it has so many times more values than series can match
    /// (`--store.posting-group-max-key-series-ratio`); 0 means that the number of values does not matter.
    pub max_key_series_ratio: f64,
}

impl Default for LazyPostings {
    fn default() -> Self {
        Self {
            max_key_series_ratio: 100.0,
        }
    }
}

/// A group of a plan, as the rule sees it.
#[derive(Debug, Clone, PartialEq)]
struct Candidate {
    /// Its position among the groups.
    at: usize,
    is_drop: bool,
    keys: f64,
    cardinality: f64,
}

/// Returns for each group, those to keep before those to drop, why it is not fetched, or nothing when it is.
pub(super) fn lazy_groups(
    keep: &[ListGroup],
    drop: &[ListGroup],
    series_bytes: u64,
    options: LazyPostings,
) -> Vec<Option<LazyReason>> {
    let groups: Vec<&ListGroup> = keep.iter().chain(drop).collect();
    let mut reasons = vec![None; groups.len()];
    let is_consistent = |group: &&ListGroup| {
        let payloads = group.lists.iter().map(|list| list.location.payload());
        payloads
            .into_iter()
            .all(|payload| payload.end > payload.start)
    };
    // Without a label to keep all series are read, and postings are all there is to find fewer.
    let is_all = keep.iter().any(|group| group.name.is_empty());
    if groups.len() <= 1 || is_all || !groups.iter().all(is_consistent) {
        return reasons;
    }
    let mut candidates: Vec<Candidate> = groups
        .iter()
        .enumerate()
        .map(|(at, group)| Candidate {
            at,
            is_drop: at >= keep.len(),
            keys: as_f64(group.lists.len() as u64),
            cardinality: as_f64(group.entries_estimate()),
        })
        .collect();
    candidates.sort_by(|a, b| {
        let by_name = || groups[a.at].name.cmp(&groups[b.at].name);
        a.cardinality.total_cmp(&b.cardinality).then_with(by_name)
    });
    mark(&candidates, as_f64(series_bytes), options, &mut reasons);
    reasons
}

fn mark(
    candidates: &[Candidate],
    series_bytes: f64,
    options: LazyPostings,
    reasons: &mut [Option<LazyReason>],
) {
    let Some(first) = candidates.iter().position(|one| !one.is_drop) else {
        return;
    };
    let dropped: f64 = candidates[..first].iter().map(|one| one.cardinality).sum();
    let mut matched = candidates[first].cardinality - (dropped * MATCH_RATIO).ceil();
    let matched_max = matched;
    let mut rest = candidates[first + 1..].iter();
    for one in rest.by_ref() {
        let ratio = options.max_key_series_ratio;
        if matched > 0.0 && ratio > 0.0 && matched_max > 0.0 && one.keys / matched_max > ratio {
            reasons[one.at] = Some(LazyReason::KeysLimit);
            continue;
        }
        let (spared, left) = if one.is_drop {
            let spared = (one.cardinality.min(matched) * MATCH_RATIO).ceil();
            (spared, matched - spared)
        } else {
            let spared = (matched * (1.0 - MATCH_RATIO)).ceil();
            (spared, (matched * MATCH_RATIO).ceil())
        };
        if matched <= 0.0 || one.cardinality * REFERENCE_BYTES > spared * series_bytes {
            reasons[one.at] = Some(LazyReason::PostingsSize);
            break;
        }
        matched = left;
    }
    for one in rest {
        reasons[one.at] = Some(LazyReason::PostingsSize);
    }
}

/// Counts of postings are far below where floats leave numbers out, and the rule is a guess.
#[allow(clippy::cast_precision_loss, reason = "estimates")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
