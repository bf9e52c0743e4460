//! Planning of operators between two parts.

use std::sync::Arc;

use thanos_core::labels::METRIC_NAME;

use super::{Built, Names, Place, Planner, names_after};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::arith::drops_name;
use crate::exec::binary::join::{Join, ManySide, Matching};
use crate::exec::binary::set::{Filter, FilterByPresence, Union};
use crate::exec::map::{ScalarSide, WithScalar};
use crate::exec::names::Overlap;
use crate::parser::ast::{Cardinality, VectorMatching};
use crate::parser::{BinaryOp, ValueType};
use crate::plan;

impl Planner {
    pub(super) fn binary(&mut self, node: &plan::Binary, place: &Place) -> Result<Built> {
        if matches!(node.op, BinaryOp::TrimUpper | BinaryOp::TrimLower) {
            return Err(Error::unimplemented(format!("operator {}", node.op)));
        }
        let place = place.in_binary();
        match (node.lhs.value_type(), node.rhs.value_type()) {
            (ValueType::Vector, ValueType::Vector) => self.vectors(node, &place),
            (ValueType::Scalar, _) => self.with_scalar(node, &place, ScalarSide::Left),
            _ => self.with_scalar(node, &place, ScalarSide::Right),
        }
    }

    fn with_scalar(
        &mut self,
        node: &plan::Binary,
        place: &Place,
        side: ScalarSide,
    ) -> Result<Built> {
        let (scalar, vector) = match side {
            ScalarSide::Left => (&node.lhs, &node.rhs),
            ScalarSide::Right => (&node.rhs, &node.lhs),
        };
        let input = self.vector(vector, place)?;
        let operator = Box::new(WithScalar {
            cx: Arc::clone(&self.cx),
            input: input.operator,
            scalar: self.scalar(scalar, place)?,
            side,
            op: node.op,
            return_bool: node.return_bool,
            ready: None,
        });
        if drops_name(node.op) || node.return_bool {
            return Ok(self.without_names(operator, input.names, Overlap::AtStep));
        }
        Ok(Built {
            operator,
            names: input.names,
        })
    }

    fn vectors(&mut self, node: &plan::Binary, place: &Place) -> Result<Built> {
        let lhs = self.vector(&node.lhs, place)?;
        let rhs = self.vector(&node.rhs, place)?;
        let matching = node.matching.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Internal,
                "two vectors were planned without matching",
            )
        })?;
        if matching.fill_left.is_some() || matching.fill_right.is_some() {
            return Err(Error::unimplemented("fill modifiers"));
        }
        let join = to_join_matching(matching);
        let choice = join.choice();
        Ok(match node.op {
            BinaryOp::And | BinaryOp::Unless => {
                let filter = if node.op == BinaryOp::And {
                    Filter::Present
                } else {
                    Filter::Missing
                };
                let operator = FilterByPresence::new(lhs.operator, rhs.operator, filter, choice);
                Built {
                    operator: Box::new(operator),
                    names: lhs.names,
                }
            }
            BinaryOp::Or => {
                let cx = Arc::clone(&self.cx);
                let names = if (lhs.names, rhs.names) == (Names::Gone, Names::Gone) {
                    Names::Gone
                } else {
                    Names::Mixed
                };
                Built {
                    operator: Box::new(Union::new(cx, lhs.operator, rhs.operator, choice)),
                    names,
                }
            }
            op => {
                let many = match join.many {
                    ManySide::Neither | ManySide::Left => lhs.names,
                    ManySide::Right => rhs.names,
                };
                let copies_name = join.include.iter().any(|label| label == METRIC_NAME);
                let names = if copies_name {
                    Names::Mixed
                } else {
                    names_after(op, node.return_bool, many)
                };
                let operator = Box::new(Join {
                    cx: Arc::clone(&self.cx),
                    lhs: lhs.operator,
                    rhs: rhs.operator,
                    op,
                    return_bool: node.return_bool,
                    matching: join,
                    results: None,
                });
                Built { operator, names }
            }
        })
    }
}

fn to_join_matching(matching: &VectorMatching) -> Matching {
    Matching {
        on: matching.on,
        labels: matching.labels.iter().map(ToString::to_string).collect(),
        many: match matching.card {
            Cardinality::OneToOne | Cardinality::ManyToMany => ManySide::Neither,
            Cardinality::ManyToOne => ManySide::Left,
            Cardinality::OneToMany => ManySide::Right,
        },
        include: matching.include.iter().map(ToString::to_string).collect(),
    }
}
