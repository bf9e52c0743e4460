//! Common parts: equal parts of a query become one node, and parts that are wanted twice are evaluated once.
//!
//! Equal means equal but for the place in the text. A remark about a shared part names the first place, which is
//! also the one that is kept of two equal remarks.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ptr;

use super::fold::map_children;
use super::physical::subquery_grid;
use super::{Aggregate, Kind, Node, Plan};
use crate::exec::grid::Grid;
use crate::parser::{AggregateOp, ValueType};

/// Returns `plan` with equal parts being the same node.
pub(crate) fn unify(plan: &Plan) -> Plan {
    Unifier::default().unify(plan)
}

#[derive(Debug, Default)]
struct Unifier {
    by_text: HashMap<String, Plan>,
    /// The number of each unified node, which stands for it in the text of its parents.
    numbers: HashMap<usize, usize>,
}

impl Unifier {
    fn unify(&mut self, plan: &Plan) -> Plan {
        let mut children = String::new();
        let kind = map_children(&plan.kind, &mut |child| {
            let child = self.unify(child);
            let number = self.numbers.get(&address(&child)).copied();
            write!(children, "#{} ", number.unwrap_or(usize::MAX))
                .expect("writing to a string cannot fail");
            child
        });
        let text = own_text(&kind) + &children;
        let next = self.by_text.len();
        let unified = self.by_text.entry(text).or_insert_with(|| {
            let node = Node::new(kind, plan.span);
            self.numbers.insert(address(&node), next);
            node
        });
        Plan::clone(unified)
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
    }
}

/// How often each part of a unified plan is wanted over the same steps.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    uses: HashMap<(usize, Grid), Use>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Use {
    /// By aggregations that take each series once and forget it.
    streaming: u32,
    /// By everything else.
    holding: u32,
}

impl Uses {
    /// Counts the uses in `plan`, which is evaluated over `grid`.
    pub(crate) fn count(plan: &Node, grid: Grid) -> Self {
        let mut uses = Self::default();
        uses.visit(plan, grid, false);
        uses
    }

    fn visit(&mut self, node: &Node, grid: Grid, is_streaming: bool) {
        let known = self.uses.entry((address(node), grid)).or_default();
        let is_new = known.streaming + known.holding == 0;
        if is_streaming {
            known.streaming += 1;
        } else {
            known.holding += 1;
        }
        // The parts of a shared part are wanted by it alone.
        if !is_new && can_be_shared(node) {
            return;
        }
        match &node.kind {
            Kind::Number(_) | Kind::Text(_) | Kind::Select(_) | Kind::Window(..) => {}
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

    /// Reports whether `node` over `grid` should be evaluated once for all that want it.
    ///
    /// Series are held until the last one has read them. That costs no more than what a join holds anyway, but
    /// an aggregation of a large selector holds nothing, and goes on doing so.
    pub(crate) fn is_shared(&self, node: &Node, grid: Grid) -> bool {
        let Some(uses) = self.uses.get(&(address(node), grid)) else {
            return false;
        };
        let is_worth_it = if is_small(node) {
            uses.streaming + uses.holding >= 2
        } else {
            uses.holding >= 2
        };
        can_be_shared(node) && is_worth_it && reads_series(node)
    }
}

/// Returns what tells nodes of one plan apart; the plan outlives all that keep it.
pub(crate) fn address(node: &Node) -> usize {
    ptr::from_ref(node).addr()
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
        Kind::Select(_) | Kind::Window(..) => false,
        Kind::Aggregate(aggregate) => is_fold(aggregate) || is_small(&aggregate.expr),
        Kind::Subquery(subquery) => is_small(&subquery.expr),
        Kind::Call(call) => call.args.iter().all(|arg| is_small(arg)),
        Kind::Binary(binary) => is_small(&binary.lhs) && is_small(&binary.rhs),
        Kind::Negate(inner) | Kind::Invariant(inner) => is_small(inner),
    }
}

fn reads_series(node: &Node) -> bool {
    match &node.kind {
        Kind::Number(_) | Kind::Text(_) => false,
        Kind::Select(_) | Kind::Window(..) => true,
        Kind::Aggregate(aggregate) => reads_series(&aggregate.expr),
        Kind::Subquery(subquery) => reads_series(&subquery.expr),
        Kind::Call(call) => call.args.iter().any(|arg| reads_series(arg)),
        Kind::Binary(binary) => reads_series(&binary.lhs) || reads_series(&binary.rhs),
        Kind::Negate(inner) | Kind::Invariant(inner) => reads_series(inner),
    }
}
