//! Planning of aggregations.

use std::sync::Arc;

use super::{Built, Names, Place, Planner};
use crate::error::{Error, Result};
use crate::exec::aggregate::Aggregate;
use crate::exec::aggregate::count_values::CountValues;
use crate::exec::aggregate::fold::{Avg, Count, Fold, Group, Max, Min, Stddev, Stdvar, Sum};
use crate::exec::aggregate::pick::{Pick, PickAggregate};
use crate::exec::aggregate::quantile::QuantileAggregate;
use crate::exec::aggregate::remarks::Remarks;
use crate::exec::labels::{LabelChoice, is_metadata};
use crate::exec::operator::BoxOperator;
use crate::exec::scalar::Scalar;
use crate::parser::{AggregateOp, Span};
use crate::plan::{self, Kind};

impl Planner {
    pub(super) fn aggregate(
        &mut self,
        node: &plan::Aggregate,
        span: Span,
        place: &Place,
    ) -> Result<Built> {
        let inner = place.in_aggregation(node.op, node.by, &node.labels);
        let input = self.vector(&node.expr, &inner)?;
        let operator: BoxOperator = match node.op {
            AggregateOp::Sum => self.folding::<Sum>(node, input.operator),
            AggregateOp::Avg => self.folding::<Avg>(node, input.operator),
            AggregateOp::Count => self.folding::<Count>(node, input.operator),
            AggregateOp::Group => self.folding::<Group>(node, input.operator),
            AggregateOp::Max => self.folding::<Max>(node, input.operator),
            AggregateOp::Min => self.folding::<Min>(node, input.operator),
            AggregateOp::Stddev => self.folding::<Stddev>(node, input.operator),
            AggregateOp::Stdvar => self.folding::<Stdvar>(node, input.operator),
            AggregateOp::Quantile => {
                let param = self.parameter(node, place)?;
                let cx = Arc::clone(&self.cx);
                let choice = choice(node, &node.labels);
                let remarks = self.remarks(node, node.expr.span);
                Box::new(QuantileAggregate::new(
                    cx,
                    input.operator,
                    choice,
                    param,
                    remarks,
                ))
            }
            AggregateOp::CountValues => self.count_values(node, input.operator)?,
            AggregateOp::TopK => return self.picking(node, place, (input, span), Pick::Top),
            AggregateOp::BottomK => return self.picking(node, place, (input, span), Pick::Bottom),
            AggregateOp::LimitK => return self.picking(node, place, (input, span), Pick::First),
            AggregateOp::LimitRatio => {
                return self.picking(node, place, (input, span), Pick::Ratio);
            }
        };
        let may_name = node
            .labels
            .iter()
            .any(|label| is_metadata(label.as_bytes()))
            || matches!(node.op, AggregateOp::CountValues);
        // Without `by` the metric name goes, but type and unit stay.
        let names = match node.by {
            _ if may_name => Names::Mixed,
            true => Names::Gone,
            false => input.names,
        };
        Ok(Built { operator, names })
    }

    fn folding<F: Fold>(&self, node: &plan::Aggregate, input: BoxOperator) -> BoxOperator {
        let choice = choice(node, &node.labels);
        let remarks = self.remarks(node, node.expr.span);
        Box::new(Aggregate::<F>::new(
            Arc::clone(&self.cx),
            input,
            choice,
            remarks,
        ))
    }

    fn remarks(&self, node: &plan::Aggregate, span: Span) -> Remarks {
        Remarks::new(Arc::clone(&self.cx), node.op.as_str(), span)
    }

    fn picking(
        &mut self,
        node: &plan::Aggregate,
        place: &Place,
        (input, span): (Built, Span),
        pick: Pick,
    ) -> Result<Built> {
        let param = self.parameter(node, place)?;
        let cx = Arc::clone(&self.cx);
        let choice = choice(node, &node.labels);
        let operator = Box::new(PickAggregate::new(
            cx,
            input.operator,
            choice,
            pick,
            param,
            self.remarks(node, span),
        ));
        Ok(Built { operator, ..input })
    }

    fn count_values(&self, node: &plan::Aggregate, input: BoxOperator) -> Result<BoxOperator> {
        let label = match node.param.as_ref().map(|param| &param.kind) {
            Some(Kind::Text(label)) => label.to_string(),
            _ => return Err(missing_parameter(node)),
        };
        if label.is_empty() {
            return Err(Error::execution("invalid label name \"\""));
        }
        let mut labels = node.labels.clone();
        if node.by {
            labels.push(label.clone());
        }
        let choice = choice(node, &labels);
        Ok(Box::new(CountValues::new(
            Arc::clone(&self.cx),
            input,
            choice,
            label,
        )))
    }

    fn parameter(&mut self, node: &plan::Aggregate, place: &Place) -> Result<(Scalar, Span)> {
        let param = node.param.as_ref().ok_or_else(|| missing_parameter(node))?;
        Ok((self.scalar(param, place)?, param.span))
    }
}

fn choice(node: &plan::Aggregate, labels: &[String]) -> LabelChoice {
    if node.by {
        LabelChoice::only(labels.iter().cloned())
    } else {
        LabelChoice::without(labels.iter().cloned())
    }
}

fn missing_parameter(node: &plan::Aggregate) -> Error {
    Error::new(
        crate::error::ErrorKind::Internal,
        format!("{} was planned without its parameter", node.op),
    )
}
