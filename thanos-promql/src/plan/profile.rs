//! The tree of the operators of a query: what explaining and analyzing show.

use std::fmt::Write;
use std::sync::Arc;

use thanos_core::labels::{MatchOp, Matcher};
use thanos_core::time::SignedDuration;

use super::{Aggregate, Binary, Call, Kind, Node, Remote, Selector};
use crate::exec::meter::Meter;
use crate::parser::Span;
use crate::value::OperatorStats;

/// An operator in the tree.
#[derive(Debug)]
pub(crate) struct ProfileNode {
    name: String,
    span: Span,
    meter: Arc<Meter>,
    children: Vec<ProfileNode>,
}

impl ProfileNode {
    /// Returns the tree with what was counted so far.
    pub(crate) fn read(&self) -> OperatorStats {
        let counted = self.meter.read();
        let children: Vec<OperatorStats> = self.children.iter().map(Self::read).collect();
        let below = children.iter().map(|child| child.elapsed).sum();
        OperatorStats {
            name: self.name.clone(),
            span: self.span,
            elapsed: counted.wall,
            elapsed_self: counted.wall.saturating_sub(below),
            compute: counted.compute,
            series: counted.series,
            samples: counted.samples,
            samples_peak: counted.samples_peak,
            bytes: counted.bytes,
            sources: self.meter.plans(),
            fanout: self.meter.log().read(),
            children,
        }
    }
}

/// Grows the tree while operators are built, from the outside in.
#[derive(Debug)]
pub(crate) struct Profile {
    /// The children found so far of every operator that is being built, and those of the whole query first.
    open: Vec<Vec<ProfileNode>>,
}

impl Profile {
    pub(crate) fn new() -> Self {
        Self {
            open: vec![Vec::new()],
        }
    }

    /// Says that an operator is begun: what follows is inside it.
    pub(crate) fn enter(&mut self) {
        self.open.push(Vec::new());
    }

    /// Says that the operator of `node` is built, and returns the meter for it.
    pub(crate) fn leave(&mut self, node: &Node) -> Arc<Meter> {
        let children = self.open.pop().unwrap_or_default();
        self.add(describe(node), node.span, children)
    }

    /// Adds the source of the series of a selector.
    pub(crate) fn add_source(&mut self, selector: &Selector) -> Arc<Meter> {
        let name = format!("[seriesSource] {}", selector_text(selector));
        self.add(name, Span::default(), Vec::new())
    }

    fn add(&mut self, name: String, span: Span, children: Vec<ProfileNode>) -> Arc<Meter> {
        let meter = Arc::new(Meter::default());
        if let Some(around) = self.open.last_mut() {
            around.push(ProfileNode {
                name,
                span,
                meter: Arc::clone(&meter),
                children,
            });
        }
        meter
    }

    /// Returns the tree of the whole query, which is `plan`.
    pub(crate) fn finish(mut self, plan: &Node) -> ProfileNode {
        let mut roots = self.open.drain(..).next().unwrap_or_default();
        let is_plan = |root: &ProfileNode| root.span == plan.span;
        match roots.pop_if(|root| is_plan(root)) {
            Some(root) if roots.is_empty() => root,
            last => {
                roots.extend(last);
                ProfileNode {
                    name: describe(plan),
                    span: plan.span,
                    meter: Arc::default(),
                    children: roots,
                }
            }
        }
    }
}

fn describe(node: &Node) -> String {
    match &node.kind {
        Kind::Number(value) => format!("[number] {value}"),
        Kind::Text(_) => "[text]".into(),
        Kind::Select(selector) => format!("[vectorSelector] {}", selector_text(selector)),
        Kind::Window(selector, range_ms) => {
            let range = duration(*range_ms);
            format!("[matrixSelector] {}[{range}]", selector_text(selector))
        }
        Kind::Subquery(subquery) => {
            let [range, step] = [subquery.range_ms, subquery.step_ms].map(duration);
            format!("[subquery] [{range}:{step}]")
        }
        Kind::Aggregate(aggregate) => aggregate_text(aggregate),
        Kind::Call(call) => call_text(call),
        Kind::Binary(binary) => binary_text(binary),
        Kind::Negate(_) => "[unary] -".into(),
        Kind::Invariant(_) => "[stepInvariant]".into(),
        Kind::Remote(remote) => remote_text(remote),
    }
}

fn remote_text(remote: &Remote) -> String {
    let names: Vec<&str> = remote.parts.iter().map(|part| &*part.name).collect();
    format!("[remoteExec] {} at {}", remote.text, names.join(", "))
}

fn selector_text(selector: &Selector) -> String {
    let matchers: Vec<String> = selector.matchers.iter().map(matcher_text).collect();
    let mut text = format!("{{{}}}", matchers.join(","));
    // Writing to a string cannot fail.
    if let Some(ms) = selector.shift.at_ms {
        let _ = write!(text, " @ {}", crate::functions::math::millis_to_secs(ms));
    }
    if selector.shift.offset_ms != 0 {
        let _ = write!(text, " offset {}", duration(selector.shift.offset_ms));
    }
    text
}

fn matcher_text(matcher: &Matcher) -> String {
    let op = match matcher.op() {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    };
    format!("{}{op}{:?}", matcher.name(), matcher.value())
}

fn aggregate_text(aggregate: &Aggregate) -> String {
    let labels = aggregate.labels.join(", ");
    let op = aggregate.op.as_str();
    match (aggregate.by, labels.is_empty()) {
        (true, true) => format!("[aggregate] {op}"),
        (true, false) => format!("[aggregate] {op} by ({labels})"),
        (false, _) => format!("[aggregate] {op} without ({labels})"),
    }
}

fn call_text(call: &Call) -> String {
    let name = call.func.name;
    let ranges = call.args.iter().find_map(|arg| match &arg.kind {
        Kind::Window(_, range_ms) => Some(format!("[{}]", duration(*range_ms))),
        Kind::Subquery(subquery) => {
            let [range, step] = [subquery.range_ms, subquery.step_ms].map(duration);
            Some(format!("[{range}:{step}]"))
        }
        _ => None,
    });
    format!("[function] {name}{}", ranges.unwrap_or_default())
}

fn binary_text(binary: &Binary) -> String {
    let op = binary.op.as_str();
    let Some(matching) = &binary.matching else {
        return format!("[binary] {op}");
    };
    let labels: Vec<&str> = matching.labels.iter().map(|label| &**label).collect();
    let labels = labels.join(", ");
    let card = matching.card.as_str();
    match (matching.on, labels.is_empty()) {
        (true, _) => format!("[binary] {op} on ({labels}) {card}"),
        (false, false) => format!("[binary] {op} ignoring ({labels}) {card}"),
        (false, true) => format!("[binary] {op} {card}"),
    }
}

fn duration(ms: i64) -> String {
    let duration = SignedDuration::from_nanos(ms.saturating_mul(1_000_000));
    duration.prometheus().to_string()
}
