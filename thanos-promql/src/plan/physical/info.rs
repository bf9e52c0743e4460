//! Planning of `info`.

use std::sync::Arc;

use futures::channel::oneshot;

use super::call::arg;
use super::{Built, Names, Place, Planner};
use crate::error::Result;
use crate::exec::info::{Info, InfoSelection};
use crate::exec::select::Shift;
use crate::plan::{Call, Kind, Plan};

impl Planner {
    pub(super) fn info(&mut self, call: &Call, place: &Place) -> Result<Built> {
        let series = arg(call, 0)?;
        let shift = reference_time(series).unwrap_or_default();
        let matchers = match call.args.get(1).map(|labels| &labels.kind) {
            Some(Kind::Select(selector)) => &selector.matchers[..],
            _ => &[],
        };
        let selection = InfoSelection::new(matchers, shift, place.step_ms)?;
        let (sender, queryable) = oneshot::channel();
        self.queryables.push(sender);
        let operator = Info {
            cx: Arc::clone(&self.cx),
            input: self.vector(series, place)?.operator,
            selection,
            queryable: Some(queryable),
            tally: place.tally,
            results: None,
        };
        Ok(Built {
            operator: Box::new(operator),
            // Info series may have a type or unit to add.
            names: Names::Mixed,
        })
    }
}

/// Returns when the first selector of `plan` looks: its own `@` or that of the innermost subquery around it that
/// has one, with the offsets up to there.
///
/// Source: Prometheus `promql/info.go`, `infoSelectTimestampAndOffset`.
fn reference_time(plan: &Plan) -> Option<Shift> {
    match &plan.kind {
        Kind::Number(_) | Kind::Text(_) | Kind::Remote(_) => None,
        Kind::Select(selector) | Kind::Window(selector, _) => Some(selector.shift),
        Kind::Subquery(subquery) => {
            let inner = reference_time(&subquery.expr)?;
            if inner.at_ms.is_some() {
                return Some(inner);
            }
            Some(Shift {
                at_ms: subquery.shift.at_ms,
                offset_ms: inner.offset_ms.saturating_add(subquery.shift.offset_ms),
            })
        }
        Kind::Aggregate(aggregate) => {
            reference_time(&aggregate.expr).or_else(|| reference_time(aggregate.param.as_ref()?))
        }
        Kind::Call(call) => call.args.iter().find_map(reference_time),
        Kind::Binary(binary) => reference_time(&binary.lhs).or_else(|| reference_time(&binary.rhs)),
        Kind::Negate(inner) | Kind::Invariant(inner) => reference_time(inner),
    }
}
