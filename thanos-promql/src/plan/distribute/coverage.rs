//! Which engine evaluates which steps of a part of a query.
//!
//! The data is spread by *partitions*: the external labels of the databases, without those of replicas. Engines of
//! different partitions have different series as long as any two partitions differ in the value of a label that both
//! have. Within a partition each step is evaluated by one engine: one that announces all that the others announce for
//! the times that the step looks at. Where there is none, the answer would differ from that of reading the series here,
//! so nothing is distributed.

use std::collections::BTreeMap;
use std::sync::Arc;

use thanos_core::labels::{Labels, Matcher};
use thanos_core::time::TimeRange;

use super::super::{Kind, Node};
use crate::exec::grid::Grid;
use crate::exec::select::Shift;
use crate::functions::window::{WindowFn, reach};
use crate::remote::{Coverage, Remotes};

/// The steps of a partition that an engine evaluates: from, to, both inclusive.
pub(crate) type Steps = Vec<(usize, usize)>;

/// What an engine is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Share {
    /// Its place among the engines.
    pub(crate) engine: usize,
    /// By partition, the steps whose values count.
    pub(crate) partitions: Vec<(Labels, Steps)>,
}

impl Share {
    /// Returns the first and the last step.
    pub(crate) fn hull(&self) -> (usize, usize) {
        let all = || self.partitions.iter().flat_map(|(_, steps)| steps);
        let first = all().map(|steps| steps.0).min();
        let last = all().map(|steps| steps.1).max();
        (first.unwrap_or(0), last.unwrap_or(0))
    }
}

/// Times at which something is evaluated or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Times {
    /// Counted from the step.
    FromStep { lo: i64, hi: i64 },
    /// The same for all steps.
    Fixed { lo: i64, hi: i64 },
}

impl Times {
    fn shifted(self, shift: Shift) -> Self {
        let by = shift.offset_ms.saturating_neg();
        match shift.at_ms {
            Some(at) => Self::Fixed { lo: at, hi: at },
            None => self,
        }
        .extended(by.saturating_neg(), by)
    }

    /// Returns the times from `before` before to `after` after these.
    fn extended(self, before: i64, after: i64) -> Self {
        match self {
            Self::FromStep { lo, hi } => Self::FromStep {
                lo: lo.saturating_sub(before),
                hi: hi.saturating_add(after),
            },
            Self::Fixed { lo, hi } => Self::Fixed {
                lo: lo.saturating_sub(before),
                hi: hi.saturating_add(after),
            },
        }
    }

    /// Returns the steps, as times, that look at something in `range`.
    fn steps_that_see(self, range: TimeRange) -> TimeRange {
        let (from, to) = (range.min.as_millis(), range.max.as_millis());
        match self {
            Self::FromStep { lo, hi } => {
                TimeRange::from_millis(from.saturating_sub(hi), to.saturating_sub(lo))
            }
            Self::Fixed { lo, hi } if from <= hi && lo <= to => TimeRange::ALL,
            Self::Fixed { .. } => TimeRange::from_millis(1, 0),
        }
    }
}

/// What a selector reads.
#[derive(Debug)]
struct Need {
    matchers: Arc<[Matcher]>,
    times: Times,
}

fn needs(node: &Node, lookback_ms: i64) -> Vec<Need> {
    let mut all = Vec::new();
    find_needs(
        node,
        Times::FromStep { lo: 0, hi: 0 },
        lookback_ms,
        &mut all,
    );
    all
}

fn find_needs(node: &Node, times: Times, lookback_ms: i64, all: &mut Vec<Need>) {
    let mut below = |node: &Node, times| find_needs(node, times, lookback_ms, all);
    match &node.kind {
        Kind::Number(_) | Kind::Text(_) | Kind::Remote(_) => {}
        Kind::Select(selector) | Kind::Window(selector, _) => {
            let range_ms = match &node.kind {
                Kind::Window(_, range_ms) => *range_ms,
                _ => 0,
            };
            let (before, after) = reach(selector.extension, lookback_ms);
            // More than is read does no harm.
            let before = before.max(lookback_ms).saturating_add(range_ms);
            all.push(Need {
                matchers: Arc::clone(&selector.matchers),
                times: times.shifted(selector.shift).extended(before, after),
            });
        }
        Kind::Subquery(subquery) => {
            let times = times.shifted(subquery.shift);
            below(&subquery.expr, times.extended(subquery.range_ms, 0));
        }
        Kind::Aggregate(aggregate) => {
            below(&aggregate.expr, times);
            aggregate.param.iter().for_each(|param| below(param, times));
        }
        Kind::Call(call) => {
            // Thanos' functions look back from the start of their windows, too.
            let function = WindowFn::from_name(call.func.name);
            let before = function.map_or(0, |function| function.reach(None, lookback_ms).0);
            let lookback_ms = lookback_ms.max(before);
            let args = call.args.iter();
            args.for_each(|arg| find_needs(arg, times, lookback_ms, all));
        }
        Kind::Binary(binary) => {
            below(&binary.lhs, times);
            below(&binary.rhs, times);
        }
        Kind::Negate(inner) | Kind::Invariant(inner) => below(inner, times),
    }
}

/// The databases with one set of external labels: the times that each engine has of it.
type Database = BTreeMap<usize, Vec<TimeRange>>;

/// What is known about the data of all engines.
#[derive(Debug)]
pub(super) struct Claims {
    /// By partition and external labels.
    partitions: BTreeMap<Labels, BTreeMap<Labels, Database>>,
    /// The names of the labels of partitions.
    pub(super) names: Vec<String>,
}

impl Claims {
    /// Returns what `remotes` announce, or `None` when one of them announces nothing that says what it has.
    pub(super) fn of(remotes: &Remotes) -> Option<Self> {
        let options = &remotes.options;
        let mut partitions: BTreeMap<Labels, BTreeMap<Labels, Database>> = BTreeMap::new();
        let mut names: Vec<String> = Vec::new();
        for (index, engine) in remotes.engines.iter().enumerate() {
            if engine.tsdbs.is_empty() {
                return None;
            }
            for tsdb in &engine.tsdbs {
                let is_of_partition = |name: &str| {
                    let is_replica = options.replica_labels.iter().any(|label| label == name);
                    let partition = &options.partition_labels;
                    !is_replica
                        && (partition.is_empty() || partition.iter().any(|label| label == name))
                };
                let pairs = tsdb.external_labels.iter();
                let partition = Labels::from_pairs(pairs.filter(|(name, _)| is_of_partition(name)));
                names.extend(partition.iter().map(|(name, _)| name.into_owned()));
                let databases = partitions.entry(partition).or_default();
                let database = databases.entry(tsdb.external_labels.clone()).or_default();
                database.entry(index).or_default().push(tsdb.range);
            }
        }
        names.sort_unstable();
        names.dedup();
        Some(Self { partitions, names })
    }

    /// Returns what each engine has to be asked so that `node` is evaluated over `grid` once for each series, or `None`
    /// when that cannot be done.
    pub(super) fn shares(
        &self,
        remotes: &Remotes,
        node: &Node,
        grid: Grid,
        lookback_ms: i64,
    ) -> Option<Vec<Share>> {
        let needs = needs(node, lookback_ms);
        let mut asked = vec![false; remotes.engines.len()];
        let mut shares: BTreeMap<usize, Vec<(Labels, Steps)>> = BTreeMap::new();
        let mut relevant: Vec<&Labels> = Vec::new();
        for (partition, databases) in &self.partitions {
            let is_relevant = databases
                .iter()
                .any(|(labels, database)| is_seen(&needs, labels, database, grid));
            if is_relevant {
                relevant.push(partition);
            }
            let assigned = assign(remotes, databases, &needs, grid);
            for (engine, steps) in match (assigned, is_relevant) {
                (Some(assigned), _) => assigned,
                (None, true) => return None,
                (None, false) => continue,
            } {
                asked[engine] |= is_relevant;
                let share = shares.entry(engine).or_default();
                share.push((partition.clone(), steps));
            }
        }
        if !all_differ(&relevant) {
            return None;
        }
        let shares = shares.into_iter().filter(|(engine, _)| asked[*engine]);
        Some(
            shares
                .map(|(engine, partitions)| Share { engine, partitions })
                .collect(),
        )
    }
}

/// Reports whether any two partitions have a label in common whose values differ.
fn all_differ(partitions: &[&Labels]) -> bool {
    let differ = |a: &Labels, b: &Labels| {
        a.iter()
            .any(|(name, value)| b.get(&name).is_some_and(|other| other != value))
    };
    // Nearly always all have the same names, and then being different is enough.
    let names = |labels: &Labels| -> Vec<String> {
        labels.iter().map(|(name, _)| name.into_owned()).collect()
    };
    let Some(first) = partitions.first().map(|first| names(first)) else {
        return true;
    };
    if partitions.iter().all(|other| names(other) == first) {
        return true;
    }
    let pairs = partitions.iter().enumerate();
    pairs
        .flat_map(|(i, a)| partitions[i + 1..].iter().map(move |b| (a, b)))
        .all(|(a, b)| differ(a, b))
}

fn may_match(external: &Labels, need: &Need) -> bool {
    need.matchers.iter().all(|matcher| {
        external
            .get(matcher.name())
            .is_none_or(|value| matcher.matches(&value))
    })
}

/// Reports whether any step looks at something of a database.
fn is_seen(needs: &[Need], labels: &Labels, database: &Database, grid: Grid) -> bool {
    let steps = TimeRange::from_millis(grid.start_ms(), grid.last_ms());
    needs
        .iter()
        .filter(|need| may_match(labels, need))
        .any(|need| {
            let mut ranges = database.values().flatten();
            ranges.any(|range| need.times.steps_that_see(*range).overlaps(steps))
        })
}

/// Returns the engines that evaluate a partition with their steps, or `None` when a step has no engine.
fn assign(
    remotes: &Remotes,
    databases: &BTreeMap<Labels, Database>,
    needs: &[Need],
    grid: Grid,
) -> Option<Vec<(usize, Steps)>> {
    let evaluates = |engine: &usize| remotes.engines[*engine].api.is_some();
    let mut candidates: Vec<usize> = databases
        .values()
        .flat_map(|database| database.keys().copied())
        .filter(evaluates)
        .collect();
    candidates.sort_unstable();
    candidates.dedup();
    let coverage = remotes.options.coverage;
    let blind: Vec<(usize, Vec<TimeRange>)> = candidates
        .into_iter()
        .map(|engine| (engine, blind_steps(engine, databases, needs, coverage)))
        .collect();
    let mut assigned: BTreeMap<usize, Steps> = BTreeMap::new();
    let mut step = 0;
    while step < grid.len() {
        // The one that gets furthest, and of equals the first.
        let reach = |(engine, blind): &(usize, Vec<TimeRange>)| {
            Some((last_seen(blind, grid, step)?, std::cmp::Reverse(*engine)))
        };
        let (last, std::cmp::Reverse(engine)) = blind.iter().filter_map(reach).max()?;
        assigned.entry(engine).or_default().push((step, last));
        step = last + 1;
    }
    Some(assigned.into_iter().collect())
}

/// Returns the last step from `step` on up to which none is in `blind`, or `None` when `step` is.
fn last_seen(blind: &[TimeRange], grid: Grid, step: usize) -> Option<usize> {
    let time = grid.time_ms(step);
    if blind
        .iter()
        .any(|range| range.min.as_millis() <= time && time <= range.max.as_millis())
    {
        return None;
    }
    let next = blind
        .iter()
        .map(|range| range.min.as_millis())
        .filter(|from| *from > time)
        .min();
    let last = grid.len() - 1;
    let Some(next) = next.filter(|next| *next <= grid.time_ms(last)) else {
        return Some(last);
    };
    // The steps ascend.
    let (mut low, mut high) = (step, last);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if grid.time_ms(middle) < next {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Some(low)
}

/// Returns the steps, as times, that look at something that others have and `engine` has not.
fn blind_steps(
    engine: usize,
    databases: &BTreeMap<Labels, Database>,
    needs: &[Need],
    coverage: Coverage,
) -> Vec<TimeRange> {
    let whole = match coverage {
        Coverage::Announced => None,
        Coverage::Whole => {
            let own = databases.values().filter_map(|one| one.get(&engine));
            own.flatten().copied().reduce(|a, b| TimeRange {
                min: a.min.min(b.min),
                max: a.max.max(b.max),
            })
        }
    };
    let mut blind = Vec::new();
    for (labels, database) in databases {
        let needs: Vec<&Need> = needs
            .iter()
            .filter(|need| may_match(labels, need))
            .collect();
        if needs.is_empty() {
            continue;
        }
        let own = database.get(&engine).cloned().unwrap_or_default();
        let own = whole.map_or(own, |whole| vec![whole]);
        let others = database.iter().filter(|(other, _)| **other != engine);
        for range in others.flat_map(|(_, ranges)| ranges) {
            for gap in without(*range, &own) {
                blind.extend(needs.iter().map(|need| need.times.steps_that_see(gap)));
            }
        }
    }
    blind.retain(|range| !range.is_empty());
    blind
}

/// Returns what is left of `range` without `own`.
fn without(range: TimeRange, own: &[TimeRange]) -> Vec<TimeRange> {
    let mut own: Vec<&TimeRange> = own.iter().collect();
    own.sort_unstable_by_key(|one| one.min);
    let mut left = Vec::new();
    let mut from = range.min.as_millis();
    let to = range.max.as_millis();
    for one in own {
        if one.min.as_millis() > from {
            let gap_end = to.min(one.min.as_millis().saturating_sub(1));
            left.push(TimeRange::from_millis(from, gap_end));
        }
        from = from.max(one.max.as_millis().saturating_add(1));
    }
    if from != i64::MAX || range.max.as_millis() != i64::MAX {
        left.push(TimeRange::from_millis(from, to));
    }
    left.retain(|range| !range.is_empty());
    left
}
