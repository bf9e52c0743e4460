//! Common parts: equal parts of a query have the same number, and parts that are wanted twice are evaluated once.
//!
//! Equal means equal but for the place in the text. Each keeps its place, which remarks of what is around it name;
//! remarks of a shared part itself name the last one, as those of Prometheus.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::fold::map_children;
use super::physical::subquery_grid;
use super::{Aggregate, Kind, Node, Plan};
use crate::exec::grid::Grid;
use crate::parser::{AggregateOp, ValueType};

/// Returns `plan` with numbers, which are the same for equal parts.
pub(crate) fn unify(plan: &Plan) -> Plan {
    Unifier::default().unify(plan)
}

#[derive(Debug, Default)]
struct Unifier {
    /// The number of a part stands for it in the text of its parents.
    numbers: HashMap<String, usize>,
}

impl Unifier {
    fn unify(&mut self, plan: &Plan) -> Plan {
        let mut children = String::new();
        let kind = map_children(&plan.kind, &mut |child| {
            let child = self.unify(child);
            write!(children, "#{} ", child.number.unwrap_or(usize::MAX))
                .expect("writing to a string cannot fail");
            child
        });
        let text = own_text(&kind) + &children;
        let next = self.numbers.len();
        let number = *self.numbers.entry(text).or_insert(next);
        Plan::new(Node {
            kind,
            span: plan.span,
            number: Some(number),
        })
    }
}

/// Returns what there is to know about a node apart from its children.
fn own_text(kind: &Kind) -> String {
    match kind {
        Kind::Number(value) => format!("number {:x} ", value.to_bits()),
        Kind::Text(text) => format!("text {text:?} "),
        Kind::Select(selector) => format!("select {selector:?} "),
        Kind::Window(selector, range_ms) => format!("window {selector:?} {range_ms} "),
        Kind::Subquery(subquery) => format!(
            "subquery {} {} {:?} ",
            subquery.range_ms, subquery.step_ms, subquery.shift
        ),
        Kind::Aggregate(aggregate) => format!(
            "aggregate {} {} {:?} ",
            aggregate.op, aggregate.by, aggregate.labels
        ),
        Kind::Call(call) => format!("call {} ", call.func.name),
        Kind::Binary(binary) => format!(
            "binary {} {:?} {} ",
            binary.op, binary.matching, binary.return_bool
        ),
        Kind::Negate(_) => "negate ".to_owned(),
        Kind::Invariant(_) => "invariant ".to_owned(),
        Kind::Remote(remote) => format!("remote {:?} {:?} ", remote.text, remote.grid),
    }
}

/// How often each part of a unified plan is wanted over the same steps.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    uses: HashMap<(usize, Grid), Use>,
}

#[derive(Debug, Default, Clone)]
struct Use {
    /// By aggregations that take each series once and forget it.
    streaming: u32,
    /// By everything else.
    holding: u32,
    /// The last of the equal parts.
    last: Option<Plan>,
}

impl Uses {
    /// Counts the uses in `plan`, which is evaluated over `grid`.
    pub(crate) fn count(plan: &Node, grid: Grid) -> Self {
        let mut uses = Self::default();
        // Nothing is equal to the whole.
        uses.visit_parts(plan, grid);
        uses
    }

    fn visit(&mut self, node: &Plan, grid: Grid, is_streaming: bool) {
        let Some(number) = node.number else {
            return self.visit_parts(node, grid);
        };
        let known = self.uses.entry((number, grid)).or_default();
        let is_new = known.last.replace(Plan::clone(node)).is_none();
        if is_streaming {
            known.streaming += 1;
        } else {
            known.holding += 1;
        }
        // The parts of a shared part are wanted by it alone.
        if is_new || !can_be_shared(node) {
            self.visit_parts(node, grid);
        }
    }

    fn visit_parts(&mut self, node: &Node, grid: Grid) {
        match &node.kind {
            Kind::Number(_)
            | Kind::Text(_)
            | Kind::Select(_)
            | Kind::Window(..)
            | Kind::Remote(_) => {}
            Kind::Invariant(inner) => self.visit(inner, grid.first(), false),
            Kind::Negate(inner) => self.visit(inner, grid, false),
            Kind::Binary(binary) => {
                self.visit(&binary.lhs, grid, false);
                self.visit(&binary.rhs, grid, false);
            }
            Kind::Call(call) => call
                .args
                .iter()
                .for_each(|arg| self.visit(arg, grid, false)),
            Kind::Aggregate(aggregate) => {
                self.visit(&aggregate.expr, grid, is_fold(aggregate));
                if let Some(param) = &aggregate.param {
                    self.visit(param, grid, false);
                }
            }
            Kind::Subquery(subquery) => {
                // A grid that cannot be is told by the planner.
                if let Ok(inner) = subquery_grid(subquery, grid) {
                    self.visit(&subquery.expr, inner, false);
                }
            }
        }
    }

    /// Returns the number of `node` and the last of those that are equal to it, when it should be evaluated once
    /// over `grid` for all that want it.
    ///
    /// Series are held until the last one has read them. That costs no more than what a join holds anyway, but
    /// an aggregation of a large selector holds nothing, and goes on doing so.
    pub(crate) fn shared(&self, node: &Node, grid: Grid) -> Option<(usize, &Plan)> {
        let number = node.number?;
        let uses = self.uses.get(&(number, grid))?;
        let is_worth_it = if is_small(node) {
            uses.streaming + uses.holding >= 2
        } else {
            uses.holding >= 2
        };
        let last = uses.last.as_ref()?;
        (can_be_shared(node) && is_worth_it && reads_series(node)).then_some((number, last))
    }
}

fn can_be_shared(node: &Node) -> bool {
    node.value_type() == ValueType::Vector && !matches!(node.kind, Kind::Invariant(_))
}

fn is_fold(aggregate: &Aggregate) -> bool {
    match aggregate.op {
        AggregateOp::Sum
        | AggregateOp::Avg
        | AggregateOp::Count
        | AggregateOp::Group
        | AggregateOp::Min
        | AggregateOp::Max
        | AggregateOp::Stddev
        | AggregateOp::Stdvar => true,
        AggregateOp::Quantile
        | AggregateOp::CountValues
        | AggregateOp::TopK
        | AggregateOp::BottomK
        | AggregateOp::LimitK
        | AggregateOp::LimitRatio => false,
    }
}

/// Reports whether the series of `node` are groups rather than what is stored.
fn is_small(node: &Node) -> bool {
    match &node.kind {
        Kind::Number(_) | Kind::Text(_) => true,
        Kind::Select(_) | Kind::Window(..) | Kind::Remote(_) => false,
        Kind::Aggregate(aggregate) => is_fold(aggregate) || is_small(&aggregate.expr),
        Kind::Subquery(subquery) => is_small(&subquery.expr),
        Kind::Call(call) => call.args.iter().all(|arg| is_small(arg)),
        Kind::Binary(binary) => is_small(&binary.lhs) && is_small(&binary.rhs),
        Kind::Negate(inner) | Kind::Invariant(inner) => is_small(inner),
    }
}

/// Reports whether `node` depends on data.
pub(super) fn reads_series(node: &Node) -> bool {
    match &node.kind {
        Kind::Number(_) | Kind::Text(_) => false,
        Kind::Select(_) | Kind::Window(..) | Kind::Remote(_) => true,
        Kind::Aggregate(aggregate) => reads_series(&aggregate.expr),
        Kind::Subquery(subquery) => reads_series(&subquery.expr),
        Kind::Call(call) => call.args.iter().any(|arg| reads_series(arg)),
        Kind::Binary(binary) => reads_series(&binary.lhs) || reads_series(&binary.rhs),
        Kind::Negate(inner) | Kind::Invariant(inner) => reads_series(inner),
    }
}
