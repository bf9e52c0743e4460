//! Postings of a remote index: planned on the index-header, fetched by range, combined.
//!
//! Not everything that is planned is fetched. A matcher that only wants its label to be there would fetch all lists of
//! the label; beside one that selects series it is left to be looked up in their labels, and so are, when asked for,
//! lists that are larger than what they would save (see [`super::lazy`]).

use std::ops::Range;
use std::sync::Arc;

use thanos_core::Result;
use thanos_core::budget::Lease;
use thanos_core::index::{ListGroup, PlannedList, PostingsPlan};
use thanos_core::indexheader::IndexHeader;
use thanos_core::labels::{MatchOp, Matcher};
use thanos_core::postings::Postings;

use super::block::GatewayBlock;
use super::expanded::{keep_series, known_series};
use super::lazy::{LazyPostings, lazy_groups};
use super::metrics::LazyReason;
use super::query::{Item, QueryContext};
use super::ranges::{Fetched, RangeSource, Trust, look_twice, read_ranges};
use super::setops::{GroupBytes, ListBytes, combine, memory_bytes};

/// The most bytes of one request for postings, unless a single list is longer.
const PART_BYTES_MAX: u64 = 4 << 20;
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

/// The lists to fetch, in groups of which the first `keep` are to be intersected and the others subtracted.
struct Lists {
    groups: Vec<ListGroup>,
    keep: usize,
    /// Groups that are not fetched: what they are called, why, and how many bytes they have.
    lazy: Vec<(String, LazyReason, u64)>,
}

impl Lists {
    fn memory_bytes(&self) -> u64 {
        let lists: usize = self.groups.iter().map(|group| group.lists.len()).sum();
        // The list itself, its place among the others, its range and its bytes.
        let each = size_of::<PlannedList>() * 2 + size_of::<Range<u64>>() + size_of::<ListBytes>();
        (lists * each) as u64
    }
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
    let planned = plan(block, header, &matchers, &lazy_matchers).await?;
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
    let series = read_series(block, lists, query).await?;
    let lease = lease_of(&series, query)?;
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
) -> Result<Option<Lists>> {
    let (header, matchers) = (Arc::clone(header), matchers.to_vec());
    let aside: Vec<String> = aside.iter().map(|one| one.name().to_owned()).collect();
    let lazy = block.lazy_postings();
    let series_bytes = block.series_bytes_max();
    let work = move || {
        let table = header.postings_table();
        if aside.iter().any(|name| table.value_count(name) == 0) {
            return Ok(None);
        }
        let planned = PostingsPlan::new(table, &matchers)?;
        Ok(match planned {
            PostingsPlan::Nothing => None,
            PostingsPlan::Lists { keep, drop } => Some(chosen(keep, drop, series_bytes, lazy)),
        })
    };
    let planned: Result<Option<Lists>> = block.compute().run(work).await?;
    planned.map_err(|error| error.in_file(block.index_object()))
}

/// Leaves out what is not worth fetching.
fn chosen(
    keep: Vec<ListGroup>,
    drop: Vec<ListGroup>,
    series_bytes: u64,
    lazy: Option<LazyPostings>,
) -> Lists {
    let reasons = match lazy {
        Some(options) => lazy_groups(&keep, &drop, series_bytes, options),
        None => vec![None; keep.len() + drop.len()],
    };
    let mut lists = Lists {
        groups: Vec::with_capacity(reasons.len()),
        keep: 0,
        lazy: Vec::new(),
    };
    let kept = keep.len();
    let groups = keep.into_iter().chain(drop).zip(reasons);
    for (at, (group, reason)) in groups.enumerate() {
        match reason {
            Some(reason) => {
                let bytes = group.entries_estimate() * REFERENCE_BYTES;
                lists.lazy.push((group.name, reason, bytes));
            }
            None => {
                lists.keep += usize::from(at < kept);
                lists.groups.push(group);
            }
        }
    }
    lists
}

/// Fetches the lists of all groups with as few requests as possible, and combines them.
async fn read_series(
    block: &GatewayBlock,
    lists: Lists,
    query: &Arc<QueryContext>,
) -> Result<Vec<u32>> {
    let _plan_lease = query.budget.lease(lists.memory_bytes())?;
    let mut sorted: Vec<(usize, PlannedList)> = Vec::new();
    for (index, group) in lists.groups.iter().enumerate() {
        sorted.extend(group.lists.iter().map(|list| (index, *list)));
    }
    sorted.sort_unstable_by_key(|(_, list)| list.location.offset);
    // The end of the last list of an index is not known exactly: its range may pass the end of the file.
    let range = |(_, list): &(usize, PlannedList)| list.location.offset..list.location.end;
    let ranges: Vec<Range<u64>> = sorted.iter().map(range).collect();
    let sources = Sources {
        sorted,
        ranges,
        groups: lists.groups.len(),
        keep: lists.keep,
    };
    let attempt = |trust| sources.read(block, query, trust);
    look_twice(query, Item::Postings, attempt).await
}

/// Where the lists of all groups lie.
struct Sources {
    /// With the group of each.
    sorted: Vec<(usize, PlannedList)>,
    ranges: Vec<Range<u64>>,
    groups: usize,
    /// How many groups are to be intersected.
    keep: usize,
}

impl Sources {
    async fn read(
        &self,
        block: &GatewayBlock,
        query: &Arc<QueryContext>,
        trust: Trust,
    ) -> Result<Vec<u32>> {
        let source = RangeSource {
            block,
            object: block.index_object(),
            item: Item::Postings,
            part_bytes_max: PART_BYTES_MAX,
            query,
            items: &[],
            trust,
        };
        // The lease is held until the lists are combined.
        let Fetched {
            bytes: found,
            lease: _fetched_lease,
        } = read_ranges(source, &self.ranges).await?;
        let bytes: usize = found.iter().map(bytes::Bytes::len).sum();
        query.touched(Item::Postings, found.len() as u64, bytes as u64);
        let mut groups = Vec::new();
        groups.resize_with(self.groups, GroupBytes::default);
        for ((group, list), bytes) in self.sorted.iter().zip(found) {
            groups[*group].lists.push(ListBytes {
                offset: list.location.offset,
                bytes,
            });
        }
        let drop = groups.split_off(self.keep);
        let _scratch_lease = query.budget.lease(memory_bytes(&groups, &drop))?;
        let work = move || combine(groups, &drop);
        let series = block.compute().run(work).await?;
        series.map_err(|error| error.in_file(block.index_object()))
    }
}
