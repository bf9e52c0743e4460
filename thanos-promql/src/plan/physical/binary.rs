//! Planning of operators between two parts.

use std::sync::Arc;

use super::{Built, Names, Place, Planner, names_after};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::arith::{Side, drops_name};
use crate::exec::binary::element::Operation;
use crate::exec::binary::join::{How, Join};
use crate::exec::binary::matching::{Fill, ManySide, Matching};
use crate::exec::binary::set::{Filter, FilterByPresence, Union};
use crate::exec::labels::is_metadata;
use crate::exec::map::WithScalar;
use crate::exec::names::Overlap;
use crate::parser::ast::{Cardinality, VectorMatching};
use crate::parser::{BinaryOp, Span, ValueType};
use crate::plan;

impl Planner {
    pub(super) fn binary(
        &mut self,
        node: &plan::Binary,
        span: Span,
        place: &Place,
    ) -> Result<Built> {
        let place = place.in_binary();
        match (node.lhs.value_type(), node.rhs.value_type()) {
            (ValueType::Vector, ValueType::Vector) => self.vectors(node, span, &place),
            (ValueType::Scalar, _) => self.with_scalar(node, span, &place, Side::Left),
            _ => self.with_scalar(node, span, &place, Side::Right),
        }
    }

    fn with_scalar(
        &mut self,
        node: &plan::Binary,
        span: Span,
        place: &Place,
        side: Side,
    ) -> Result<Built> {
        let (scalar, vector) = match side {
            Side::Left => (&node.lhs, &node.rhs),
            Side::Right => (&node.rhs, &node.lhs),
        };
        let input = self.vector(vector, place)?;
        let operator = Box::new(WithScalar::new(
            Arc::clone(&self.cx),
            input.operator,
            (side, self.scalar(scalar, place)?),
            operation_of(node),
            span,
        ));
        if drops_name(node.op) || node.return_bool {
            return Ok(self.without_names(operator, input.names, Overlap::AtStep));
        }
        Ok(Built {
            operator,
            names: input.names,
        })
    }

    fn vectors(&mut self, node: &plan::Binary, span: Span, place: &Place) -> Result<Built> {
        let lhs = self.vector(&node.lhs, place)?;
        let rhs = self.vector(&node.rhs, place)?;
        let matching = node.matching.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Internal,
                "two vectors were planned without matching",
            )
        })?;
        let join = to_join_matching(matching);
        let choice = join.choice();
        Ok(match node.op {
            BinaryOp::And | BinaryOp::Unless => {
                let filter = if node.op == BinaryOp::And {
                    Filter::Present
                } else {
                    Filter::Missing
                };
                let cx = Arc::clone(&self.cx);
                let operator =
                    FilterByPresence::new(cx, lhs.operator, rhs.operator, filter, choice);
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
                let copies_name = join
                    .include
                    .iter()
                    .any(|label| is_metadata(label.as_bytes()));
                // What is filled in has no name, unless it is one of the matching labels.
                let names = if copies_name || join.fill.is_some() {
                    Names::Mixed
                } else {
                    names_after(op, node.return_bool, many)
                };
                let how = How {
                    cx: Arc::clone(&self.cx),
                    operation: operation_of(node),
                    span,
                    matching: join,
                };
                let operator = Box::new(Join::new(lhs.operator, rhs.operator, how));
                Built { operator, names }
            }
        })
    }
}

fn operation_of(node: &plan::Binary) -> Operation {
    Operation {
        op: node.op,
        return_bool: node.return_bool,
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
        // COMPAT: the sides of `group_right` are swapped, the values that are filled in are not, whatever their names.
        fill: Fill {
            many: matching.fill_left,
            one: matching.fill_right,
        },
    }
}
