//! Aggregations that keep some members of each group: `topk`, `bottomk`, `limitk`, `limit_ratio`.
//!
//! Source: Prometheus `promql/engine.go`, `aggregationK`.

use std::cmp::Ordering;

use super::aggregate::groups;
use super::evaluate::Evaluator;
use super::series::Member;
use crate::parser::AggregateOp as Op;
use crate::parser::ast::AggregateExpr;
use thanos_core::labels::LabelHasher;

impl Evaluator<'_> {
    /// Returns the members that are kept; `members` is the number of series of all steps.
    pub(super) fn pick(
        &mut self,
        node: &AggregateExpr,
        param: f64,
        members: usize,
        vector: &[Member],
    ) -> Vec<Member> {
        if node.op == Op::LimitRatio {
            let is_kept = |member: &&Member| is_in_ratio(member, param);
            return vector.iter().filter(is_kept).cloned().collect();
        }
        let count = (1..=members).rfind(|count| *count as f64 <= param);
        let Some(count) = count else {
            return Vec::new();
        };
        let mut out = Vec::new();
        for (_, mut group) in groups(node, vector) {
            if node.op != Op::LimitK {
                let before = group.len();
                group.retain(|member| member.cell.float().is_some());
                if group.len() < before {
                    self.inform(format!("{} ignores histograms", node.op));
                }
                group.sort_by(|a, b| by_value(node.op, a, b));
            }
            out.extend(group.into_iter().take(count));
        }
        out
    }
}

/// Orders the best first; numbers come before what is none.
fn by_value(op: Op, a: &Member, b: &Member) -> Ordering {
    let [a, b] = [a, b].map(|member| member.cell.float().unwrap_or(f64::NAN));
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => {
            let ascending = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
            if op == Op::TopK {
                ascending.reverse()
            } else {
                ascending
            }
        }
    }
}

/// Reports whether the hash of the labels lies within the ratio; a negative ratio counts from the other end.
fn is_in_ratio(member: &Member, ratio: f64) -> bool {
    let hash = LabelHasher::new().sized(member.labels.as_ref());
    let place = hash as f64 / u64::MAX as f64;
    let ratio = ratio.clamp(-1.0, 1.0);
    if ratio >= 0.0 {
        place < ratio
    } else {
        place >= 1.0 + ratio
    }
}
