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
use crate::error::Result;
use crate::labels::{MatchOp, Matcher};

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
        let (mut keep, mut drop) = (Vec::new(), Vec::new());
        for (place, matcher) in matchers.iter().enumerate() {
            if matchers[..place].contains(matcher) {
                continue;
            }
            let side = side(matcher, matchers);
            let lists = lists(table, matcher, side)?;
            let group = ListGroup {
                name: matcher.name().to_owned(),
                lists,
            };
            match side {
                Side::Keep if group.lists.is_empty() => return Ok(Self::Nothing),
                Side::Drop if group.lists.is_empty() => {}
                Side::Keep => add_new(&mut keep, group),
                Side::Drop => add_new(&mut drop, group),
            }
        }
        if keep.is_empty() {
            let Some(all) = all_series(table)? else {
                return Ok(Self::Nothing);
            };
            keep.push(all);
        }
        keep.sort_by_cached_key(ListGroup::entries_estimate);
        Ok(Self::Lists { keep, drop })
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

/// Returns the lists of the values that `matcher` accepts (to keep) or refuses (to drop).
fn lists(table: &PostingsTable, matcher: &Matcher, side: Side) -> Result<Vec<PlannedList>> {
    // The empty name holds the list of all series, which no label matcher means.
    if matcher.name().is_empty() {
        return Ok(Vec::new());
    }
    // Whether the values wanted are those that equal the text or match the expression, or the others.
    let wants_hits = (side == Side::Keep) == is_positive(matcher);
    let name = matcher.name();
    let Some(regex) = matcher.regex() else {
        return match wants_hits {
            true => listed_values(table, name, &[matcher.value()]),
            false => values_where(table, name, "", |value| value != matcher.value()),
        };
    };
    let matches_all = regex.matches_everything() || regex.matches_all_but_empty();
    match (wants_hits, regex.set_matches()) {
        (true, _) if matches_all => values_where(table, name, "", |_| true),
        (false, _) if matches_all => Ok(Vec::new()),
        (true, Some(values)) => listed_values(table, name, values),
        (true, None) => values_where(table, name, regex.prefix(), |value| regex.is_match(value)),
        (false, _) => values_where(table, name, "", |value| !regex.is_match(value)),
    }
}

/// Returns the lists of those of `values` that are there; they are sorted.
fn listed_values(
    table: &PostingsTable,
    name: &str,
    values: &[impl AsRef<str>],
) -> Result<Vec<PlannedList>> {
    let mut lists = Vec::new();
    for value in values.iter().map(AsRef::as_ref) {
        table.visit_from(name, value, |entry| {
            if !value.is_empty() && entry.value == value {
                lists.push(PlannedList::from(entry));
            }
            Ok(ControlFlow::Break(()))
        })?;
    }
    Ok(lists)
}

/// Returns the lists of the values with `prefix` that are not empty and satisfy `wanted`.
fn values_where(
    table: &PostingsTable,
    name: &str,
    prefix: &str,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<PlannedList>> {
    let mut lists = Vec::new();
    table.visit_from(name, prefix, |entry| {
        if !entry.value.starts_with(prefix) {
            return Ok(ControlFlow::Break(()));
        }
        if !entry.value.is_empty() && wanted(entry.value) {
            lists.push(PlannedList::from(entry));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(lists)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::IndexReader;
    use crate::testkit::{K8sSpec, k8s_index};

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
