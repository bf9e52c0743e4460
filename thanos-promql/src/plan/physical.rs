//! From the plan to operators: decides the steps of every part, what each selector reads, and where series
//! that lose their name have to be checked for having become equal.

mod aggregate;
mod binary;
mod call;
mod histogram;
mod info;

use std::collections::HashMap;
use std::sync::Arc;

use futures::channel::oneshot;
use thanos_core::labels::{METRIC_NAME, MatchOp};
use thanos_core::query::{Queryable, Select, SelectHints, SeriesStream};
use thanos_core::time::TimeRange;
use thanos_storeapi::apis::query::QueryStream;

use super::distribute::RemotePart;
use super::profile::{Profile, ProfileNode};
use super::share::Uses;
use super::{Kind, Node, Plan, Remote, Selector, Subquery};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::arith::{drops_name, is_trim};
use crate::exec::context::Context;
use crate::exec::grid::Grid;
use crate::exec::map::{Negate, Repeat};
use crate::exec::meter::Meter;
use crate::exec::meter::Metered;
use crate::exec::names::{MergeEqual, MetadataWatch, Overlap};
use crate::exec::operator::{BoxOperator, Nothing};
use crate::exec::remote::{Asked, FromRemote};
use crate::exec::rows::SelectRows;
use crate::exec::samples::Detail;
use crate::exec::scalar::{Scalar, ScalarSeries};
use crate::exec::select::{InstantSelect, Wanted};
use crate::exec::shared::Shared;
use crate::exec::source::SeriesSource;
use crate::exec::tally::Tally;
use crate::functions::window::reach;
use crate::parser::ast::RangeExtension;
use crate::parser::{AggregateOp, BinaryOp, FunctionId, ValueType};

/// What a selector asks for, what counts it when the query is watched, and who waits for the answer.
pub(crate) type Selection = (Select, Option<Arc<Meter>>, oneshot::Sender<SeriesStream>);

/// Builds operators and collects what their selectors have to read.
#[derive(Debug)]
pub(crate) struct Planner {
    cx: Arc<Context>,
    uses: Uses,
    shared: HashMap<(usize, Grid), (Arc<Shared>, Names)>,
    /// The operators built so far, when the query is analyzed or explained.
    profile: Option<Profile>,
    /// What to select, and who waits for it.
    pub(crate) selects: Vec<Selection>,
    /// What to ask other engines, and who waits for the answers.
    pub(crate) asked: Vec<(Asked, oneshot::Sender<thanos_core::Result<QueryStream>>)>,
    /// Who waits for the data itself, to select what turns out to be wanted during the evaluation.
    pub(crate) queryables: Vec<oneshot::Sender<Arc<dyn Queryable>>>,
    /// What the selectors tell of their series, by [`Names::Same`].
    watches: Vec<Arc<MetadataWatch>>,
}

/// The bytes that a step of a subquery takes: a value in a tile, and time and value in columns.
const SUBQUERY_STEP_BYTES: u64 = 24;

/// What is known about the metric names of the series of an operator, and the types and units that go with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// No series has one.
    Gone,
    /// All series come from one selector and have the same name. So dropping it makes no two series equal unless
    /// they differ by type or unit, which the selector's watch tells.
    Same(usize),
    /// Anything.
    Mixed,
}

/// An operator with what is known about its series.
pub(crate) struct Built {
    pub(crate) operator: BoxOperator,
    pub(crate) names: Names,
}

/// Where in the query a part stands: its steps, and what is around it, as advice for the storage.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) grid: Grid,
    /// The distance of the steps, 0 in an instant query.
    pub(crate) step_ms: i64,
    func: Option<&'static str>,
    grouping: Option<(bool, Vec<String>)>,
    /// How samples count in the statistics.
    pub(crate) tally: Tally,
}

impl Place {
    /// Returns the place of the whole query.
    pub(crate) fn of_query(grid: Grid, step_ms: i64) -> Self {
        Self {
            grid,
            step_ms,
            func: None,
            grouping: None,
            tally: Tally::of_query(),
        }
    }

    fn over(&self, grid: Grid) -> Self {
        Self {
            grid,
            ..self.clone()
        }
    }

    fn in_function(&self, func: &'static str) -> Self {
        Self {
            func: Some(func),
            grouping: None,
            ..self.clone()
        }
    }

    fn in_binary(&self) -> Self {
        Self {
            func: None,
            grouping: None,
            ..self.clone()
        }
    }

    fn in_aggregation(&self, op: AggregateOp, by: bool, labels: &[String]) -> Self {
        Self {
            func: Some(op.as_str()),
            grouping: Some((by, labels.to_vec())),
            ..self.clone()
        }
    }
}

impl Planner {
    /// Returns a planner for `plan` over `grid`.
    pub(crate) fn new(cx: Arc<Context>, plan: &Node, grid: Grid) -> Self {
        Self {
            cx,
            uses: Uses::count(plan, grid),
            shared: HashMap::new(),
            profile: None,
            selects: Vec::new(),
            asked: Vec::new(),
            queryables: Vec::new(),
            watches: Vec::new(),
        }
    }

    /// Watches all operators.
    pub(crate) fn with_profile(mut self) -> Self {
        self.profile = Some(Profile::new());
        self
    }

    /// Returns the operators that were built for `plan`, when they are watched.
    pub(crate) fn take_profile(&mut self, plan: &Node) -> Option<ProfileNode> {
        self.profile.take().map(|profile| profile.finish(plan))
    }

    /// Returns the operator of a vector.
    pub(crate) fn vector(&mut self, node: &Node, place: &Place) -> Result<Built> {
        if place.grid.len() == 0 {
            return Ok(Built {
                operator: Box::new(Nothing(place.grid)),
                names: Names::Gone,
            });
        }
        if let Some(profile) = &mut self.profile {
            profile.enter();
        }
        let shared = self.uses.shared(node, place.grid);
        let built = match shared.map(|(number, last)| (number, Plan::clone(last))) {
            Some((number, last)) => self.shared(number, &last, place)?,
            None => self.unshared(node, place)?,
        };
        Ok(self.watched(node, built))
    }

    /// Returns the operator of `node` with a meter around it, when the query is analyzed.
    fn watched(&mut self, node: &Node, built: Built) -> Built {
        let Some(profile) = &mut self.profile else {
            return built;
        };
        let meter = profile.leave(node);
        let operator = built.operator;
        Built {
            operator: Box::new(Metered { operator, meter }),
            names: built.names,
        }
    }

    /// Returns a reader of a part that has several.
    fn shared(&mut self, number: usize, node: &Node, place: &Place) -> Result<Built> {
        let key = (number, place.grid);
        if !self.shared.contains_key(&key) {
            let built = self.unshared(node, place)?;
            let shared = Shared::new(Arc::clone(&self.cx), built.operator);
            self.shared.insert(key, (shared, built.names));
        }
        let (shared, names) = &self.shared[&key];
        Ok(Built {
            operator: Box::new(shared.reader()),
            names: *names,
        })
    }

    fn unshared(&mut self, node: &Node, place: &Place) -> Result<Built> {
        match &node.kind {
            Kind::Select(selector) if selector.extension == Some(RangeExtension::Smoothed) => {
                Ok(self.smoothed(selector, node.span, place))
            }
            Kind::Select(selector) => Ok(self.select(selector, place, Wanted::Value)),
            Kind::Invariant(inner) => self.invariant(inner, place),
            Kind::Remote(remote) => self.remote(remote, place),
            Kind::Negate(inner) => {
                let input = self.vector(inner, place)?;
                let operator = Box::new(Negate {
                    cx: Arc::clone(&self.cx),
                    input: input.operator,
                });
                Ok(self.without_names(operator, input.names, Overlap::AtStep))
            }
            Kind::Aggregate(aggregate) => self.aggregate(aggregate, node.span, place),
            Kind::Call(call) => self.call(call, node.span, place),
            Kind::Binary(binary) => self.binary(binary, node.span, place),
            Kind::Number(_) | Kind::Text(_) | Kind::Window(..) | Kind::Subquery(_) => {
                Err(type_error(node, ValueType::Vector))
            }
        }
    }

    /// Returns the scalar that `node` is.
    pub(crate) fn scalar(&mut self, node: &Node, place: &Place) -> Result<Scalar> {
        match &node.kind {
            Kind::Number(value) => Ok(Scalar::Const(*value)),
            Kind::Negate(inner) => Ok(Scalar::Negate(Box::new(self.scalar(inner, place)?))),
            Kind::Invariant(inner) => {
                let mut first = place.over(place.grid.first());
                first.tally = place.tally.repeated(place.grid.len());
                Ok(Scalar::Invariant(Box::new(self.scalar(inner, &first)?)))
            }
            Kind::Binary(binary) => {
                let around = place.in_binary();
                let lhs = self.scalar(&binary.lhs, &around)?;
                let rhs = self.scalar(&binary.rhs, &around)?;
                if is_trim(binary.op) {
                    return Err(Error::trim_of_scalars(binary.op));
                }
                Ok(Scalar::Binary(binary.op, Box::new([lhs, rhs])))
            }
            Kind::Call(call) => {
                let place = place.in_function(call.func.name);
                match (call.func.id, &call.args[..]) {
                    (FunctionId::Time, _) => Ok(Scalar::Time),
                    (FunctionId::Pi, _) => Ok(Scalar::Const(std::f64::consts::PI)),
                    (FunctionId::Scalar, [input]) => {
                        Ok(Scalar::OnlyValue(self.vector(input, &place)?.operator))
                    }
                    (FunctionId::MinOf, [a, b]) => Ok(Scalar::Min(Box::new([
                        self.scalar(a, &place)?,
                        self.scalar(b, &place)?,
                    ]))),
                    (FunctionId::MaxOf, [a, b]) => Ok(Scalar::Max(Box::new([
                        self.scalar(a, &place)?,
                        self.scalar(b, &place)?,
                    ]))),
                    _ => Err(Error::unimplemented(format!("function {}", call.func.name))),
                }
            }
            Kind::Text(_)
            | Kind::Select(_)
            | Kind::Window(..)
            | Kind::Subquery(_)
            | Kind::Aggregate(_)
            | Kind::Remote(_) => Err(type_error(node, ValueType::Scalar)),
        }
    }

    /// Returns a scalar as a series without labels.
    pub(crate) fn scalar_series(&mut self, node: &Node, place: &Place) -> Result<Built> {
        let scalar = self.scalar(node, place)?;
        Ok(Built {
            operator: Box::new(ScalarSeries::new(Arc::clone(&self.cx), place.grid, scalar)),
            names: Names::Gone,
        })
    }

    fn invariant(&mut self, inner: &Plan, place: &Place) -> Result<Built> {
        let mut first = place.over(place.grid.first());
        if place.grid.len() == 1 {
            return self.vector(inner, &first);
        }
        first.tally = place.tally.repeated(place.grid.len());
        let input = self.vector(inner, &first)?;
        Ok(Built {
            operator: Box::new(Repeat {
                grid: place.grid,
                input: input.operator,
                tile: None,
            }),
            names: input.names,
        })
    }

    /// Orders the answers of other engines.
    fn remote(&mut self, remote: &Arc<Remote>, place: &Place) -> Result<Built> {
        if remote.grid != place.grid {
            let text = "a part was planned for other steps than those of its engines";
            return Err(Error::new(ErrorKind::Internal, text));
        }
        let order = |part: &RemotePart| {
            let (sender, receiver) = oneshot::channel();
            let asked = Asked {
                api: Arc::clone(&part.api),
                request: part.request.clone(),
            };
            self.asked.push((asked, sender));
            receiver
        };
        let answers = remote.parts.iter().map(order).collect();
        let cx = Arc::clone(&self.cx);
        Ok(Built {
            operator: Box::new(FromRemote::new(cx, Arc::clone(remote), answers)),
            names: Names::Mixed,
        })
    }

    fn select(&mut self, selector: &Selector, place: &Place, wanted: Wanted) -> Built {
        let lookback_ms = self.cx.lookback_ms;
        let (source, names) = self.source(selector, place, 0, (lookback_ms, 0));
        Built {
            operator: Box::new(SelectRows::new(
                Arc::clone(&self.cx),
                place.grid,
                InstantSelect {
                    cx: Arc::clone(&self.cx),
                    grid: place.grid,
                    shift: selector.shift,
                    wanted,
                    detail: match wanted {
                        Wanted::Value => selector.detail,
                        Wanted::SampleTime | Wanted::StartTime => Detail::Statistics,
                    },
                    tally: place.tally,
                },
                source,
            )),
            names,
        }
    }

    /// Orders the series of a range selector that is the whole query.
    pub(crate) fn window_source(
        &mut self,
        selector: &Selector,
        place: &Place,
        range_ms: i64,
    ) -> SeriesSource {
        let reach_ms = reach(selector.extension, self.cx.lookback_ms);
        self.source(selector, place, range_ms, reach_ms).0
    }

    /// Orders the series of a selector over windows of `range_ms`, 0 for an instant selector, that look
    /// `reach_ms` before and after their windows, and says what is known of their names.
    ///
    /// Source: Prometheus `promql/engine.go`, `getTimeRangesForSelector`.
    fn source(
        &mut self,
        selector: &Selector,
        place: &Place,
        range_ms: i64,
        reach_ms: (i64, i64),
    ) -> (SeriesSource, Names) {
        let before_ms = range_ms.saturating_add(reach_ms.0);
        let first = selector.shift.apply(place.grid.start_ms());
        let last = selector.shift.apply(place.grid.last_ms());
        // Windows are open on the left: a sample exactly that old is not wanted.
        let from = first.saturating_sub(before_ms).saturating_add(1);
        let to = last.saturating_add(reach_ms.1);
        let (grouping_by, grouping) = place.grouping.clone().unwrap_or_default();
        let (sender, receiver) = oneshot::channel();
        let profile = self.profile.as_mut();
        let meter = profile.map(|profile| profile.add_source(selector));
        let select = Select {
            matchers: selector.matchers.to_vec(),
            range: TimeRange::from_millis(from, to),
            hints: SelectHints {
                step_ms: place.step_ms,
                range_ms,
                func: place.func.map(ToOwned::to_owned),
                grouping,
                grouping_by,
                limit: 0,
                skip_chunks: false,
            },
            log: meter.as_ref().map(|meter| Arc::clone(meter.log())),
        };
        self.selects.push((select, meter.clone(), sender));
        let watch = Arc::new(MetadataWatch::default());
        let source = SeriesSource::new(Arc::clone(&self.cx), receiver, meter, Arc::clone(&watch));
        if !has_one_name(selector) {
            return (source, Names::Mixed);
        }
        self.watches.push(watch);
        (source, Names::Same(self.watches.len() - 1))
    }

    /// Returns the series of a subquery over the steps that its windows cover.
    pub(crate) fn subquery(&mut self, subquery: &Subquery, place: &Place) -> Result<Built> {
        let grid = subquery_grid(subquery, place.grid)?;
        // A row of the inner part and its copy in columns: the only rows that a query can make arbitrarily long.
        self.cx.hold(grid.len() as u64 * SUBQUERY_STEP_BYTES)?;
        let inner = Place {
            grid,
            step_ms: subquery.step_ms,
            func: place.func,
            grouping: None,
            tally: place.tally.inside(),
        };
        match subquery.expr.value_type() {
            ValueType::Scalar => self.scalar_series(&subquery.expr, &inner),
            _ => self.vector(&subquery.expr, &inner),
        }
    }

    /// Returns `operator`, which drops names, so that no two of its series are equal.
    fn without_names(&self, operator: BoxOperator, names: Names, overlap: Overlap) -> Built {
        if self.cx.delayed_name_removal {
            return Built { operator, names };
        }
        let operator = match names {
            Names::Gone => operator,
            Names::Same(watch) => {
                let watch = Some(Arc::clone(&self.watches[watch]));
                let cx = Arc::clone(&self.cx);
                Box::new(MergeEqual::new(cx, operator, overlap, watch))
            }
            Names::Mixed => self.merged(operator, overlap),
        };
        Built {
            operator,
            names: Names::Gone,
        }
    }

    fn merged(&self, operator: BoxOperator, overlap: Overlap) -> BoxOperator {
        Box::new(MergeEqual::new(
            Arc::clone(&self.cx),
            operator,
            overlap,
            None,
        ))
    }
}

/// Returns the steps of a subquery: multiples of its step, whatever the steps around it.
///
/// Source: Prometheus `promql/engine.go`, `subqueryTimeRange`.
pub(super) fn subquery_grid(subquery: &Subquery, outer: Grid) -> Result<Grid> {
    let first = subquery.shift.apply(outer.start_ms());
    let last = subquery.shift.apply(outer.last_ms());
    let open_start = first.saturating_sub(subquery.range_ms);
    let step_ms = subquery.step_ms;
    let mut start = open_start / step_ms * step_ms;
    if start <= open_start {
        let Some(next) = start.checked_add(step_ms) else {
            return Ok(Grid::none_at(last));
        };
        start = next;
    }
    Grid::range(start, last, step_ms)
}

/// Reports whether all series of a selector have the same metric name.
fn has_one_name(selector: &Selector) -> bool {
    selector.matchers.iter().any(|matcher| {
        matcher.name() == METRIC_NAME
            && matcher.op() == MatchOp::Equal
            && !matcher.value().is_empty()
    })
}

/// Returns the names after an operator between vectors.
fn names_after(op: BinaryOp, return_bool: bool, names: Names) -> Names {
    if drops_name(op) || return_bool {
        Names::Gone
    } else {
        names
    }
}

fn type_error(node: &Node, wanted: ValueType) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!(
            "a {} was planned where a {} is needed",
            node.value_type().documented(),
            wanted.documented()
        ),
    )
}
