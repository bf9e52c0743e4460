//! Which postings lists answer a set of matchers, and how they combine.
//!
//! Planning needs the postings table only. [`super::IndexReader`] reads the lists from the index; a gateway, which
//! has no more than the index-header, fetches them.
//!
//! A series without a label counts as having it empty, and the index has no list of such series. So a matcher
//! that refuses the empty value keeps the series in the lists it accepts, and one that accepts the empty value
//! drops the series in the lists it refuses.
//! Source: `PostingsForMatchers` in Prometheus' `tsdb/querier.go`.

use std::ops::ControlFlow;

use super::postings_table::{EntryId, ListLocation, PostingsTable, TableEntry};
use crate::budget::{Lease, MemoryBudget};
use crate::error::Result;
use crate::labels::{MatchOp, Matcher};

/// To look a value up costs about as much as walking over so many.
const LOOK_UP_COST: usize = 16;
/// There is room for so many lists when there is one.
const LISTS_MIN: usize = 4;

/// The lists to read for a set of matchers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostingsPlan {
    /// No series can match.
    Nothing,
    /// The series that are in all groups of `keep` and in no group of `drop`.
    Lists {
        /// At least one group, the one with the fewest series first.
        keep: Vec<ListGroup>,
        /// Possibly none.
        drop: Vec<ListGroup>,
    },
}

/// Lists of one label; a series belongs to the group when it is in any of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListGroup {
    /// The label, or empty for the list of all series.
    pub name: String,
    /// The lists, in the order of their values.
    pub lists: Vec<PlannedList>,
}

/// A list to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedList {
    /// Tells the value, by [`PostingsTable::value`].
    pub entry: EntryId,
    /// Where the list lies in the index.
    pub location: ListLocation,
}

impl ListGroup {
    /// Returns the number of series in the group, lists that share series counted twice.
    pub fn entries_estimate(&self) -> u64 {
        let lists = self.lists.iter();
        lists.map(|list| list.location.entries_estimate()).sum()
    }
}

/// Whether the series of a group are wanted or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Keep,
    Drop,
}

impl PostingsPlan {
    /// Plans for the series that satisfy all of `matchers`; no matchers are satisfied by every series.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the table is damaged.
    pub fn new(table: &PostingsTable, matchers: &[Matcher]) -> Result<Self> {
        let planned = Self::within(table, matchers, &MemoryBudget::unlimited());
        planned.map(|(plan, _)| plan)
    }

    /// Plans as [`PostingsPlan::new`] does, in memory of `budget`: a label can have millions of values. The lease is to
    /// be kept as long as the plan.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the table is damaged; `LimitExceeded` when there is no room for the places of the lists.
    pub fn within(
        table: &PostingsTable,
        matchers: &[Matcher],
        budget: &MemoryBudget,
    ) -> Result<(Self, Lease)> {
        let mut planner = Planner {
            table,
            lease: budget.lease(0)?,
        };
        let plan = planner.plan(matchers)?;
        Ok((plan, planner.lease))
    }
}

/// Finds lists, in leased memory.
struct Planner<'t> {
    table: &'t PostingsTable,
    lease: Lease,
}

impl Planner<'_> {
    fn plan(&mut self, matchers: &[Matcher]) -> Result<PostingsPlan> {
        let (mut keep, mut drop) = (Vec::new(), Vec::new());
        for (place, matcher) in matchers.iter().enumerate() {
            if matchers[..place].contains(matcher) {
                continue;
            }
            let side = side(matcher, matchers);
            let group = ListGroup {
                name: matcher.name().to_owned(),
                lists: self.lists(matcher, side)?,
            };
            match side {
                Side::Keep if group.lists.is_empty() => return Ok(PostingsPlan::Nothing),
                Side::Drop if group.lists.is_empty() => {}
                Side::Keep => add_new(&mut keep, group),
                Side::Drop => add_new(&mut drop, group),
            }
        }
        if keep.is_empty() {
            let Some(all) = all_series(self.table)? else {
                return Ok(PostingsPlan::Nothing);
            };
            keep.push(all);
        }
        keep.sort_by_cached_key(ListGroup::entries_estimate);
        Ok(PostingsPlan::Lists { keep, drop })
    }

    /// Returns the lists of the values that `matcher` accepts (to keep) or refuses (to drop).
    fn lists(&mut self, matcher: &Matcher, side: Side) -> Result<Vec<PlannedList>> {
        // The empty name holds the list of all series, which no label matcher means.
        if matcher.name().is_empty() {
            return Ok(Vec::new());
        }
        // Whether the values wanted are those that equal the text or match the expression, or the others.
        let wants_hits = (side == Side::Keep) == is_positive(matcher);
        let (name, every) = (matcher.name(), &[""][..]);
        let Some(regex) = matcher.regex() else {
            return match wants_hits {
                true => self.listed_values(name, &[matcher.value()]),
                false => self.values_where(name, every, |value| value != matcher.value()),
            };
        };
        let matches_all = regex.matches_everything() || regex.matches_all_but_empty();
        match (wants_hits, regex.set_matches()) {
            (true, _) if matches_all => self.values_where(name, every, |_| true),
            (false, _) if matches_all => Ok(Vec::new()),
            (true, Some(values)) => self.listed_values(name, values),
            (true, None) => {
                let many = regex.prefixes();
                let is_match = |value: &str| regex.is_match(value);
                let prefixes = match self.is_cheaper_to_look_up(many.len(), name) {
                    true => many,
                    false => &[regex.prefix().to_owned()],
                };
                let may_match = |value: &[u8]| regex.may_match(value);
                self.values_where_bytes(name, prefixes, may_match, is_match)
            }
            (false, _) => self.values_where(name, every, |value| !regex.is_match(value)),
        }
    }

    /// Reports whether to find `count` values of a label costs less than to walk over all of them.
    fn is_cheaper_to_look_up(&self, count: usize, name: &str) -> bool {
        count == 1 || count.saturating_mul(LOOK_UP_COST) <= self.table.value_count(name)
    }

    /// Returns the lists of those of `values` that are there; they are sorted.
    fn listed_values(
        &mut self,
        name: &str,
        values: &[impl AsRef<str>],
    ) -> Result<Vec<PlannedList>> {
        let (mut lists, table) = (Vec::new(), self.table);
        let mut wanted = values
            .iter()
            .map(AsRef::as_ref)
            .filter(|value| !value.is_empty());
        let mut next = wanted.next();
        let walks = !self.is_cheaper_to_look_up(values.len(), name);
        while let Some(first) = next {
            table.visit_from(name, first, |entry| {
                while let Some(value) = next
                    && value < entry.value
                {
                    next = wanted.next();
                }
                if next == Some(entry.value) {
                    self.push(&mut lists, entry)?;
                    next = wanted.next();
                }
                Ok(match walks && next.is_some() {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                })
            })?;
            // Nothing was visited, or the walk ended, behind the last value of the label.
            if walks || next == Some(first) {
                break;
            }
        }
        Ok(lists)
    }

    /// Returns the lists of the values that start with any of `prefixes`, are not empty and satisfy `wanted`.
    fn values_where(
        &mut self,
        name: &str,
        prefixes: &[impl AsRef<str>],
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<PlannedList>> {
        self.values_where_bytes(name, prefixes, |_| true, wanted)
    }

    /// Returns the lists as [`Planner::values_where`] does, of values whose bytes satisfy `may_match`.
    fn values_where_bytes(
        &mut self,
        name: &str,
        prefixes: &[impl AsRef<str>],
        may_match: impl Fn(&[u8]) -> bool,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<PlannedList>> {
        let (mut lists, table) = (Vec::new(), self.table);
        for prefix in prefixes.iter().map(AsRef::as_ref) {
            // What lies behind the prefix ends the walk.
            let is_visited = |value: &[u8]| {
                may_match(value) || !(prefix.is_empty() || value.starts_with(prefix.as_bytes()))
            };
            table.visit_if(name, prefix, is_visited, |entry| {
                if !prefix.is_empty() && !entry.value.starts_with(prefix) {
                    return Ok(ControlFlow::Break(()));
                }
                if !entry.value.is_empty() && wanted(entry.value) {
                    self.push(&mut lists, entry)?;
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(lists)
    }

    fn push(&mut self, lists: &mut Vec<PlannedList>, entry: TableEntry<'_>) -> Result<()> {
        if lists.len() == lists.capacity() {
            let more = lists.capacity().max(LISTS_MIN);
            self.lease.grow((more * size_of::<PlannedList>()) as u64)?;
            lists.reserve_exact(more);
        }
        lists.push(PlannedList::from(entry));
        Ok(())
    }
}

/// Adds `group` unless it is there: a request that says the same in many ways has its lists read once.
fn add_new(groups: &mut Vec<ListGroup>, group: ListGroup) {
    if !groups.contains(&group) {
        groups.push(group);
    }
}

fn all_series(table: &PostingsTable) -> Result<Option<ListGroup>> {
    let mut lists = Vec::new();
    table.visit("", |entry| {
        lists.push(PlannedList::from(entry));
        Ok(ControlFlow::Break(()))
    })?;
    let name = String::new();
    Ok((!lists.is_empty()).then_some(ListGroup { name, lists }))
}

impl From<TableEntry<'_>> for PlannedList {
    fn from(entry: TableEntry<'_>) -> Self {
        Self {
            entry: entry.id,
            location: entry.location,
        }
    }
}

fn is_positive(matcher: &Matcher) -> bool {
    match matcher.op() {
        MatchOp::Equal | MatchOp::Regex => true,
        MatchOp::NotEqual | MatchOp::NotRegex => false,
    }
}

/// A positive matcher that accepts the empty value too can keep what it accepts if another one refuses it.
fn side(matcher: &Matcher, all: &[Matcher]) -> Side {
    let must_be_set = || {
        let same_label = |other: &&Matcher| other.name() == matcher.name();
        all.iter()
            .filter(same_label)
            .any(|other| !other.matches_empty())
    };
    if !matcher.matches_empty() || (is_positive(matcher) && must_be_set()) {
        Side::Keep
    } else {
        Side::Drop
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::index::IndexReader;
    use crate::indexheader::{IndexHeader, build_header, build_sparse_header};
    use crate::testkit::{K8sSpec, k8s_index};

    /// Whether values are looked up or walked over, and from where, does not show.
    #[test]
    fn planned_are_the_lists_of_the_values_that_match() {
        let spec = K8sSpec {
            series: 12_000,
            ..K8sSpec::default()
        };
        let index = IndexReader::open("index", k8s_index(&spec)).unwrap();
        let header = Bytes::from(build_header(index.bytes()).unwrap());
        let header = IndexHeader::open("index-header", header).unwrap();
        let sparse = Bytes::from(build_sparse_header(&header).unwrap());
        let sparse = IndexHeader::open("index-header", sparse).unwrap();
        let tables = [index.postings_table(), sparse.postings_table()];
        let pods = index.label_values("pod").unwrap();
        let set = |step| pods.iter().step_by(step).cloned().collect::<Vec<_>>();
        let mixed = format!("a|{}|b|zz|{}|web-", pods[7], pods[100]);
        let most = set(2).join("|");
        for (name, expression) in [
            ("pod", pods[3].as_str()),
            ("pod", &mixed),
            ("pod", &most),
            ("pod", "zz|zzz"),
            ("pod", "web-.*|default-.*"),
            ("pod", "(?i)WEB-APP-1.*"),
            ("pod", "(web|search)-app-[1-3]+-[0-9a-f]+"),
            ("pod", "(no|none)-.*"),
            ("pod", ".*-app-.*0"),
            ("container", "container-(1|3|5)"),
            ("no_such_label", "a|b"),
        ] {
            let matcher = Matcher::new(MatchOp::Regex, name, expression).unwrap();
            let planned = tables.map(|table| {
                let plan = PostingsPlan::new(table, std::slice::from_ref(&matcher)).unwrap();
                match &plan {
                    PostingsPlan::Nothing => Vec::new(),
                    PostingsPlan::Lists { keep, .. } => {
                        let lists = keep[0].lists.iter();
                        lists.map(|list| table.value(list.entry).unwrap()).collect()
                    }
                }
            });
            let values = index.label_values(name).unwrap();
            let expected = values.iter().filter(|value| matcher.matches(value));
            let expected: Vec<_> = expected.collect();
            assert_eq!(planned, [expected.clone(), expected], "{matcher}");
        }
    }

    /// The places of the lists of a regex are on lease before they are taken.
    #[test]
    fn a_plan_over_the_budget_is_refused_by_name() {
        let spec = K8sSpec {
            series: 12_000,
            ..K8sSpec::default()
        };
        let index = IndexReader::open("index", k8s_index(&spec)).unwrap();
        let matchers = [Matcher::new(MatchOp::Regex, "pod", ".+").unwrap()];
        let plan = |limit| {
            let budget = MemoryBudget::new("request", limit);
            let planned = PostingsPlan::within(index.postings_table(), &matchers, &budget);
            planned.map(|(_, lease)| (lease.bytes(), budget.peak_bytes()))
        };
        let error = plan(1000).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::LimitExceeded);
        assert!(error.to_string().contains("request limit"), "{error}");
        let (leased, peak) = plan(1 << 20).unwrap();
        let lists = index.label_values("pod").unwrap().len() as u64;
        let needed = lists * size_of::<PlannedList>() as u64;
        assert!((needed..=2 * needed).contains(&leased) && peak == leased);
    }

    /// A request with one matcher a thousand times read each list a thousand times.
    #[test]
    fn what_is_said_twice_is_planned_once() {
        let spec = K8sSpec {
            series: 200,
            ..K8sSpec::default()
        };
        let index = IndexReader::open("index", k8s_index(&spec)).unwrap();
        let matcher = |op, value| Matcher::new(op, "container", value).unwrap();
        let once = [
            matcher(MatchOp::Regex, "container-.*"),
            matcher(MatchOp::NotEqual, "container-1"),
        ];
        let again = [
            matcher(MatchOp::Regex, "container-.*"),
            // Another text with the same meaning.
            matcher(MatchOp::Regex, "container-.+"),
            matcher(MatchOp::NotEqual, "container-1"),
            matcher(MatchOp::NotRegex, "container-1"),
            matcher(MatchOp::NotEqual, "container-1"),
        ];
        let plan = |matchers: &[Matcher]| PostingsPlan::new(index.postings_table(), matchers);
        let wanted = plan(&once).unwrap();
        assert_eq!(plan(&again).unwrap(), wanted);
        assert!(matches!(wanted, PostingsPlan::Lists { keep, .. } if keep[0].lists.len() == 10));
    }
}
