//! Distributed execution: parts of a query become what other engines evaluate over their data.
//!
//! A part is pushed down when evaluating it at each engine and putting the series together gives what evaluating it
//! here gives: it works on each series alone, or joins and aggregates only series of one partition. Aggregations
//! over partitions are split where that is possible: the sum of sums. Everything else stays, and so does a part whose
//! data no engine has as a whole ([`coverage`]) or whose times cannot be said to an engine.
//!
//! In contrast to Thanos (promql-engine `logicalplan/distribute.go`) an engine is only left out when none of the part's
//! selectors can match its data, `absent` stays here, parameters have to be constants, and data between the engines is
//! never left out.

mod coverage;
mod series_wise;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use thanos_core::labels::METRIC_NAME;
use thanos_core::query::Missing;
use thanos_core::time::Timestamp;
use thanos_storeapi::apis::query::{QueryApi, QueryRequest, QueryTimes};
use thanos_storeapi::store::PartialResponse;

pub(crate) use coverage::Share;

use self::coverage::Claims;
use self::series_wise::is_series_wise;
use super::fold::map_children;
use super::invariant::is_marked;
use super::physical::subquery_grid;
use super::share::reads_series;
use super::unbuild::unbuild;
use super::{Aggregate, Binary, Call, Kind, Node, Plan, Selector, Subquery, has_remote};
use crate::exec::grid::Grid;
use crate::functions::math::millis_to_secs;
use crate::parser::ast::VectorMatching;
use crate::parser::{AggregateOp, BinaryOp, FunctionId, ValueType};
use crate::plan_json;
use crate::remote::Remotes;

/// A part of a query that other engines evaluate.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    /// What they evaluate.
    pub(crate) text: Arc<str>,
    /// The steps of the part.
    pub(crate) grid: Grid,
    /// Who evaluates which steps of which data.
    pub(crate) parts: Arc<[RemotePart]>,
    /// Engines that may have data and have failed.
    pub(crate) missing: Arc<[Missing]>,
    pub(crate) partial_response: PartialResponse,
    /// Whether what comes back is aggregated further, so that values which an engine left out are missed.
    pub(crate) is_split: bool,
}

/// What one engine evaluates.
#[derive(Debug, Clone)]
pub(crate) struct RemotePart {
    pub(crate) name: Arc<str>,
    pub(crate) api: Arc<dyn QueryApi>,
    pub(crate) request: QueryRequest,
    pub(crate) share: Share,
}

/// What the parts of a query have in common.
#[derive(Debug)]
struct Distributor<'a> {
    remotes: &'a Remotes,
    claims: Claims,
    lookback_ms: i64,
}

/// Returns `plan`, which is evaluated over `grid`, with the parts that `remotes` evaluate.
pub(crate) fn distribute(plan: &Plan, grid: Grid, lookback_ms: i64, remotes: &Remotes) -> Plan {
    // A lookback is said in seconds.
    if lookback_ms % 1000 != 0 || lookback_ms == 0 {
        return Plan::clone(plan);
    }
    let evaluates = remotes.engines.iter().any(|engine| engine.api.is_some());
    let Some(claims) = Claims::of(remotes).filter(|_| evaluates) else {
        return Plan::clone(plan);
    };
    let distributor = Distributor {
        remotes,
        claims,
        lookback_ms,
    };
    distributor.node(plan, grid)
}

impl Distributor<'_> {
    fn node(&self, plan: &Plan, grid: Grid) -> Plan {
        // What gives the same at all steps is evaluated at the first, here as there.
        if grid.len() > 1 && is_marked(plan) {
            let first = self.node(plan, grid.first());
            if !has_remote(&first) {
                return Plan::clone(plan);
            }
            return Node::new(Kind::Invariant(first), plan.span);
        }
        if plan.value_type() == ValueType::Vector && reads_series(plan) {
            let whole = is_series_wise(plan, &self.claims.names);
            let pushed = if whole {
                self.remote(plan, grid, false)
            } else {
                self.split(plan, grid)
            };
            if let Some(pushed) = pushed {
                return pushed;
            }
        }
        self.below(plan, grid)
    }

    /// Distributes what is below a part that stays here.
    fn below(&self, plan: &Plan, grid: Grid) -> Plan {
        let kind = match &plan.kind {
            // They look at their argument as it is written.
            Kind::Call(call)
                if matches!(
                    call.func.id,
                    FunctionId::Absent
                        | FunctionId::AbsentOverTime
                        | FunctionId::Info
                        | FunctionId::Timestamp
                        | FunctionId::StartTimestamp
                ) =>
            {
                plan.kind.clone()
            }
            Kind::Subquery(subquery) => match subquery_grid(subquery, grid) {
                Ok(inner) if inner.len() > 0 => Kind::Subquery(Subquery {
                    expr: self.node(&subquery.expr, inner),
                    ..subquery.clone()
                }),
                // What is wrong with it is told when it is planned.
                Ok(_) | Err(_) => plan.kind.clone(),
            },
            kind => map_children(kind, &mut |child| self.node(child, grid)),
        };
        Node::new(kind, plan.span)
    }

    /// Returns an aggregation over partitions as one over aggregations of partitions.
    fn split(&self, plan: &Plan, grid: Grid) -> Option<Plan> {
        let Kind::Aggregate(aggregate) = &plan.kind else {
            return None;
        };
        let is_constant = |param: &Plan| matches!(param.kind, Kind::Number(_));
        if !is_series_wise(&aggregate.expr, &self.claims.names)
            || !aggregate.param.as_ref().is_none_or(is_constant)
        {
            return None;
        }
        let split = |inner, outer| self.split_into(aggregate, inner, outer, plan, grid);
        match aggregate.op {
            AggregateOp::Count => split(AggregateOp::Count, AggregateOp::Sum),
            op @ (AggregateOp::Sum
            | AggregateOp::Min
            | AggregateOp::Max
            | AggregateOp::Group
            | AggregateOp::TopK
            | AggregateOp::BottomK
            | AggregateOp::LimitK) => split(op, op),
            // A division drops the name, which an average by name keeps.
            AggregateOp::Avg if !(aggregate.by && groups_by_metadata(aggregate)) => {
                let lhs = split(AggregateOp::Sum, AggregateOp::Sum)?;
                let rhs = split(AggregateOp::Count, AggregateOp::Sum)?;
                let divided = Kind::Binary(Binary {
                    op: BinaryOp::Div,
                    lhs,
                    rhs,
                    matching: Some(VectorMatching::default()),
                    return_bool: false,
                });
                Some(Node::new(divided, plan.span))
            }
            AggregateOp::Avg
            | AggregateOp::Quantile
            | AggregateOp::Stddev
            | AggregateOp::Stdvar
            | AggregateOp::CountValues
            | AggregateOp::LimitRatio => None,
        }
    }

    fn split_into(
        &self,
        aggregate: &Aggregate,
        inner: AggregateOp,
        outer: AggregateOp,
        plan: &Plan,
        grid: Grid,
    ) -> Option<Plan> {
        let names = &self.claims.names;
        let mut labels = aggregate.labels.clone();
        if aggregate.by {
            labels.extend(names.iter().cloned());
            labels.sort_unstable();
            labels.dedup();
        } else {
            labels.retain(|label| !names.contains(label));
        }
        let inner = Node::new(
            Kind::Aggregate(Aggregate {
                op: inner,
                labels,
                ..aggregate.clone()
            }),
            plan.span,
        );
        let outer = Aggregate {
            op: outer,
            expr: self.remote(&inner, grid, true)?,
            ..aggregate.clone()
        };
        Some(Node::new(Kind::Aggregate(outer), plan.span))
    }

    /// Returns `plan` as what engines evaluate, or `None` if it has to stay.
    fn remote(&self, plan: &Plan, grid: Grid, is_split: bool) -> Option<Plan> {
        let options = &self.remotes.options;
        let enforced = self.enforce(plan);
        let is_single = grid.len() == 1;
        // Times are said in seconds, and 0 means now.
        let sayable = |ms: i64| ms % 1000 == 0 && ms != 0;
        let pinned = match is_single && !sayable(grid.start_ms()) {
            true => pin(&enforced, grid.start_ms())?,
            false => Plan::clone(&enforced),
        };
        let step_ms = grid.step_ms();
        if !is_single
            && (!sayable(grid.start_ms()) || !sayable(grid.last_ms()) || !sayable(step_ms))
        {
            return None;
        }
        let shares = self
            .claims
            .shares(self.remotes, &enforced, grid, self.lookback_ms)?;
        // Nobody has anything, which is told here just as fast.
        if shares.is_empty() {
            return None;
        }
        let expr = unbuild(&pinned)?;
        let text: Arc<str> = expr.to_string().into();
        let json = plan_json::encode(&expr).map(Bytes::from);
        let part = |share: Share| {
            let engine = &self.remotes.engines[share.engine];
            let (first, last) = share.hull();
            let instant = || Timestamp::from_millis(grid.time_ms(first) / 1000 * 1000);
            let times = match first == last {
                true if sayable(grid.time_ms(first)) => QueryTimes::Instant(instant()),
                // All times in it are fixed, so that any will do.
                true => QueryTimes::Instant(instant().max(Timestamp::from_millis(1000))),
                false => QueryTimes::Range {
                    start: Timestamp::from_millis(grid.time_ms(first)),
                    end: Timestamp::from_millis(grid.time_ms(last)),
                    step_ms,
                },
            };
            Some(RemotePart {
                name: Arc::clone(&engine.name),
                api: Arc::clone(engine.api.as_ref()?),
                request: QueryRequest {
                    query: text.to_string(),
                    plan: json.clone(),
                    times,
                    timeout: None,
                    max_resolution_ms: options.max_resolution_ms,
                    replica_labels: options.replica_labels.clone(),
                    store_matchers: Vec::new(),
                    dedup: !options.replica_labels.is_empty(),
                    partial_response: options.partial_response,
                    skip_chunks: false,
                    shard: options.shard.clone(),
                    lookback_delta: Some(std::time::Duration::from_millis(
                        self.lookback_ms.unsigned_abs(),
                    )),
                    response_batch_size: options.response_batch_size,
                    tenant: options.tenant.clone(),
                },
                share,
            })
        };
        let parts: Option<Vec<RemotePart>> = shares.into_iter().map(part).collect();
        let remote = Remote {
            text: Arc::clone(&text),
            grid,
            parts: parts?.into(),
            missing: self.remotes.missing.clone().into(),
            partial_response: options.partial_response,
            is_split,
        };
        Some(Node::new(Kind::Remote(Arc::new(remote)), plan.span))
    }

    /// Returns `plan` with the enforced matchers in all selectors.
    fn enforce(&self, plan: &Plan) -> Plan {
        let enforced = &self.remotes.options.enforced_matchers;
        if enforced.is_empty() {
            return Plan::clone(plan);
        }
        let with_enforced = |selector: &Selector| {
            let is_other = |name: &str| enforced.iter().all(|other| other.name() != name);
            let own = selector.matchers.iter();
            let own = own.filter(|matcher| is_other(matcher.name()));
            Selector {
                matchers: own.chain(enforced).cloned().collect(),
                ..selector.clone()
            }
        };
        let kind = match &plan.kind {
            Kind::Select(selector) => Kind::Select(with_enforced(selector)),
            Kind::Window(selector, range_ms) => Kind::Window(with_enforced(selector), *range_ms),
            kind => map_children(kind, &mut |child| self.enforce(child)),
        };
        Node::new(kind, plan.span)
    }
}

fn groups_by_metadata(aggregate: &Aggregate) -> bool {
    let is_metadata =
        |label: &String| matches!(label.as_str(), METRIC_NAME | "__type__" | "__unit__");
    aggregate.labels.iter().any(is_metadata)
}

/// Returns `plan` so that it gives at any time what it gives at `time_ms`, or `None` where that cannot be written.
fn pin(plan: &Plan, time_ms: i64) -> Option<Plan> {
    let pinned = |selector: &Selector| {
        let mut selector = selector.clone();
        selector.shift.at_ms.get_or_insert(time_ms);
        selector
    };
    let kind = match &plan.kind {
        Kind::Select(selector) => Kind::Select(pinned(selector)),
        Kind::Window(selector, range_ms) => Kind::Window(pinned(selector), *range_ms),
        Kind::Subquery(subquery) => {
            let mut subquery = subquery.clone();
            subquery.shift.at_ms.get_or_insert(time_ms);
            Kind::Subquery(subquery)
        }
        Kind::Call(call) if call.func.id == FunctionId::Time => {
            Kind::Number(millis_to_secs(time_ms))
        }
        Kind::Call(call) if asks_for_step(call) => return None,
        kind => {
            let mut is_pinned = true;
            let kind = map_children(kind, &mut |child| match pin(child, time_ms) {
                Some(child) => child,
                None => {
                    is_pinned = false;
                    Plan::clone(child)
                }
            });
            if !is_pinned {
                return None;
            }
            kind
        }
    };
    Some(Node::new(kind, plan.span))
}

/// Reports whether a function answers with the time of the step where it is not given one.
fn asks_for_step(call: &Call) -> bool {
    let is_selector = |arg: &Plan| matches!(arg.kind, Kind::Select(_));
    match call.func.id {
        FunctionId::Timestamp | FunctionId::StartTimestamp => !call.args.iter().all(is_selector),
        // It counts from the step, wherever its window lies.
        FunctionId::PredictLinear => true,
        _ => call.args.is_empty() && call.func.id != FunctionId::Pi,
    }
}
