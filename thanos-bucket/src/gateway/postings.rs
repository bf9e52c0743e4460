//! Postings of a remote index: planned on the index-header, fetched by range, combined.
//!
//! Not everything that is planned is fetched. A matcher that only wants its label to be there would fetch all lists of
//! the label; beside one that selects series it is left to be looked up in their labels, and so are, when asked for,
//! lists that are larger than what they would save (see [`super::lazy`]).

use std::sync::Arc;

use thanos_core::Result;
use thanos_core::budget::Lease;
use thanos_core::index::{ListGroup, PostingsPlan};
use thanos_core::indexheader::IndexHeader;
use thanos_core::labels::{MatchOp, Matcher};
use thanos_core::postings::{Combined, Postings};

use super::block::GatewayBlock;
use super::expanded::{keep_series, known_series};
use super::lazy::{LazyPostings, lazy_groups};
use super::lists::read_lists;
use super::metrics::LazyReason;
use super::query::QueryContext;

/// The bytes of one reference.
const REFERENCE_BYTES: u64 = size_of::<u32>() as u64;

/// The series of a block that can satisfy the matchers of a request.
#[derive(Debug)]
pub(super) struct Selection {
    /// Ascending, as postings call them: the one thing whose size grows with the selection.
    pub(super) series: Vec<u32>,
    /// What their labels must satisfy too.
    pub(super) lazy_matchers: Vec<Matcher>,
    /// The lease of `series`.
    pub(super) lease: Lease,
}

/// The lists to fetch.
#[derive(Debug)]
pub(super) struct Lists {
    /// Groups to be intersected, the one with the fewest series first.
    pub(super) keep: Vec<ListGroup>,
    /// Groups to be subtracted.
    pub(super) drop: Vec<ListGroup>,
    /// Groups that are not fetched: what they are called, why, and how many bytes they have.
    lazy: Vec<(String, LazyReason, u64)>,
    /// Of the places of all lists.
    _lease: Lease,
}

/// Returns the series of `block` that satisfy `matchers`, or at least those that the lazy ones are left for.
///
/// # Errors
///
/// Those of the bucket; `Corrupt` with the object; `LimitExceeded` when the request may not take or hold so much.
pub(super) async fn matching_series(
    block: &GatewayBlock,
    header: &Arc<IndexHeader>,
    matchers: &[Matcher],
    query: &Arc<QueryContext>,
) -> Result<Selection> {
    let version = header.index_version();
    let (matchers, mut lazy_matchers) = set_aside(matchers);
    if let Some(known) = known_series(block, version, &matchers, query).await? {
        let series = known.into_vec();
        let lease = lease_of(&series, query)?;
        return Ok(Selection {
            series,
            lazy_matchers,
            lease,
        });
    }
    let planned = plan(block, header, &matchers, &lazy_matchers, query).await?;
    let Some(lists) = planned else {
        return Ok(Selection {
            series: Vec::new(),
            lazy_matchers,
            lease: query.budget.lease(0)?,
        });
    };
    for (name, reason, bytes) in &lists.lazy {
        query.metrics().lazy_group(*reason, *bytes);
        // A label may have several matchers and so several groups: all of its matchers hold for every wanted series.
        let of_group = |matcher: &&Matcher| matcher.name() == name;
        lazy_matchers.extend(matchers.iter().filter(of_group).cloned());
    }
    let is_all = lists.lazy.is_empty();
    if !is_all {
        query.metrics().lazy_postings();
    }
    let Combined { series, lease } = read_lists(block, header, lists, query).await?;
    let series = if is_all {
        let kept = keep_series(block, &matchers, Postings::from_sorted(series), query).await?;
        kept.into_vec()
    } else {
        series
    };
    Ok(Selection {
        series,
        lazy_matchers,
        lease,
    })
}

fn lease_of(series: &[u32], query: &QueryContext) -> Result<Lease> {
    query.budget.lease(size_of_val(series) as u64)
}

/// Splits `matchers` into those that postings are read for and those that only want their label to be there, provided
/// that others select series. None occurs twice.
fn set_aside(matchers: &[Matcher]) -> (Vec<Matcher>, Vec<Matcher>) {
    let mut distinct: Vec<Matcher> = Vec::with_capacity(matchers.len());
    for matcher in matchers {
        if !distinct.contains(matcher) {
            distinct.push(matcher.clone());
        }
    }
    let (aside, rest): (Vec<Matcher>, Vec<Matcher>) =
        distinct.iter().cloned().partition(wants_any_value);
    if rest.iter().any(|matcher| !matcher.matches_empty()) {
        (rest, aside)
    } else {
        (distinct, Vec::new())
    }
}

/// Reports whether every value but the empty one satisfies `matcher`.
fn wants_any_value(matcher: &Matcher) -> bool {
    match matcher.op() {
        MatchOp::NotEqual => matcher.value().is_empty(),
        MatchOp::Regex => {
            let regex = matcher.regex();
            regex.is_some_and(|regex| regex.matches_all_but_empty())
        }
        MatchOp::Equal | MatchOp::NotRegex => false,
    }
}

/// Plans on the index-header, which may have to be read from a disk; nothing when no series can match.
async fn plan(
    block: &GatewayBlock,
    header: &Arc<IndexHeader>,
    matchers: &[Matcher],
    aside: &[Matcher],
    query: &QueryContext,
) -> Result<Option<Lists>> {
    let (header, matchers) = (Arc::clone(header), matchers.to_vec());
    let aside: Vec<String> = aside.iter().map(|one| one.name().to_owned()).collect();
    let lazy = block.lazy_postings();
    let series_bytes = block.series_bytes_max();
    let budget = query.budget.clone();
    let work = move || {
        let table = header.postings_table();
        if aside.iter().any(|name| table.value_count(name) == 0) {
            return Ok(None);
        }
        let (planned, lease) = PostingsPlan::within(table, &matchers, &budget)?;
        Ok(match planned {
            PostingsPlan::Nothing => None,
            PostingsPlan::Lists { keep, drop } => {
                Some(chosen(keep, drop, lease, series_bytes, lazy))
            }
        })
    };
    let planned: Result<Option<Lists>> = block.compute().run(work).await?;
    planned.map_err(|error| error.in_file(block.index_object()))
}

/// Leaves out what is not worth fetching.
fn chosen(
    keep: Vec<ListGroup>,
    drop: Vec<ListGroup>,
    lease: Lease,
    series_bytes: u64,
    lazy: Option<LazyPostings>,
) -> Lists {
    let reasons = match lazy {
        Some(options) => lazy_groups(&keep, &drop, series_bytes, options),
        None => vec![None; keep.len() + drop.len()],
    };
    let mut reasons = reasons.into_iter();
    let mut lazy = Vec::new();
    let mut worth_fetching = |groups: Vec<ListGroup>| -> Vec<ListGroup> {
        let groups = groups.into_iter().zip(reasons.by_ref());
        let worth = |(group, reason): (ListGroup, Option<LazyReason>)| {
            let Some(reason) = reason else {
                return Some(group);
            };
            let bytes = group.entries_estimate() * REFERENCE_BYTES;
            lazy.push((group.name, reason, bytes));
            None
        };
        groups.filter_map(worth).collect()
    };
    let (keep, drop) = (worth_fetching(keep), worth_fetching(drop));
    Lists {
        keep,
        drop,
        lazy,
        _lease: lease,
    }
}
