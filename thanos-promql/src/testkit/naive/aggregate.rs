//! Aggregations that make one member of each group: sums, means, counts and their kin.
//!
//! Source: Prometheus `promql/engine.go`, `rangeEvalAgg` and `aggregation`.

use super::evaluate::{Evaluator, number_at};
use super::histogram::Hist;
use super::labels::text;
use super::series::{Cell, Line, Member, Steps, labels_where};
use super::sums;
use crate::error::{Error, Result};
use crate::parser::AggregateOp as Op;
use crate::parser::ast::{AggregateExpr, Grouping};
use thanos_core::labels::{Labels, LabelsBuilder, METRIC_NAME};
use thanos_core::text::{FloatFormat, GoFloat};

/// Numbers of which `topk` and its kin want less cannot be counted.
const COUNT_MIN: f64 = -9_223_372_036_854_775_808.0;
const COUNT_MAX: f64 = 9_223_372_036_854_774_784.0;

/// Returns the labels of the group that a series belongs to.
pub(super) fn group_of(node: &AggregateExpr, labels: &Labels) -> Labels {
    labels_where(labels, |name| {
        let is_listed = node.labels.iter().any(|label| &**label == name);
        match node.grouping {
            Grouping::By => is_listed,
            Grouping::Without => !is_listed && name != METRIC_NAME,
        }
    })
}

/// Puts the members of a vector into their groups, in the order in which the groups appear.
pub(super) fn groups(node: &AggregateExpr, vector: &[Member]) -> Vec<(Labels, Vec<Member>)> {
    let mut groups: Vec<(Labels, Vec<Member>)> = Vec::new();
    for member in vector {
        let labels = group_of(node, &member.labels);
        match groups.iter_mut().find(|(known, _)| *known == labels) {
            Some((_, members)) => members.push(member.clone()),
            None => groups.push((labels, vec![member.clone()])),
        }
    }
    groups
}

impl Evaluator<'_> {
    /// Evaluates an aggregation at each of `steps`.
    pub(super) fn aggregate(&mut self, node: &AggregateExpr, steps: Steps) -> Result<Vec<Line>> {
        if node.op == Op::CountValues {
            return self.count_values(node, steps);
        }
        let mut params = Vec::new();
        if let Some(param) = &node.param {
            params = self.eval(param, steps)?;
        }
        let input = self.eval(&node.expr, steps)?;
        let values: Vec<f64> = steps.times().map(|time| number_at(&params, time)).collect();
        if !self.check_params(node.op, &values)? {
            return Ok(Vec::new());
        }
        let members = input.len();
        let order: Vec<Labels> = input
            .iter()
            .map(|line| group_of(node, &line.labels))
            .collect();
        let picks = node.op.has_parameter() && node.op != Op::Quantile;
        let mut lines = self.by_step(&[input], steps, |evaluator, time, vectors| {
            let param = number_at(&params, time);
            if picks {
                return Ok(evaluator.pick(node, param, members, &vectors[0]));
            }
            let mut out = Vec::new();
            for (labels, group) in groups(node, &vectors[0]) {
                if let Some(cell) = evaluator.folded_group(node.op, param, &group) {
                    out.push(Member {
                        labels,
                        drop_name: group.iter().any(|member| member.drop_name),
                        cell,
                    });
                }
            }
            Ok(out)
        })?;
        if !picks {
            // Groups come in the order of their series, whichever of them has the first value.
            lines.sort_by_key(|line| order.iter().position(|labels| *labels == line.labels));
        }
        Ok(lines)
    }

    /// Checks the parameters of all steps at once; reports whether there is anything to do.
    fn check_params(&mut self, op: Op, values: &[f64]) -> Result<bool> {
        let has_nan = values.iter().any(|value| value.is_nan());
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        match op {
            Op::TopK | Op::BottomK | Op::LimitK => {
                if has_nan {
                    return Err(Error::execution("Parameter value is NaN"));
                }
                if max < 1.0 {
                    return Ok(false);
                }
                if min <= COUNT_MIN || max >= COUNT_MAX {
                    return Err(Error::execution("the parameter is no count"));
                }
            }
            Op::LimitRatio => {
                if has_nan {
                    return Err(Error::execution("Ratio value is NaN"));
                }
                if min == 0.0 && max == 0.0 {
                    return Ok(false);
                }
                if max > 1.0 || min < -1.0 {
                    self.warn("no ratio");
                }
            }
            Op::Quantile if has_nan || max > 1.0 || min < 0.0 => self.warn("no quantile"),
            _ => {}
        }
        Ok(true)
    }

    fn folded_group(&mut self, op: Op, param: f64, group: &[Member]) -> Option<Cell> {
        let floats: Vec<f64> = group.iter().filter_map(|m| m.cell.float()).collect();
        let histograms: Vec<Hist> = group
            .iter()
            .filter_map(|member| member.cell.histogram().cloned())
            .collect();
        let count = group.len() as f64;
        match op {
            Op::Group => return Some(Cell::Float(1.0)),
            Op::Count => return Some(Cell::Float(count)),
            Op::Sum | Op::Avg if !histograms.is_empty() => {
                if !floats.is_empty() {
                    self.warn("floats and histograms in a group");
                    return None;
                }
                let folded = self.folded(&histograms, op == Op::Avg)?;
                return Some(Cell::Histogram(folded.compacted()));
            }
            _ => {}
        }
        if !histograms.is_empty() {
            self.inform(format!("{op} ignores histograms"));
        }
        if floats.is_empty() {
            return None;
        }
        Some(Cell::Float(match op {
            Op::Sum => sums::sum(&floats),
            Op::Avg => sums::mean(&floats),
            Op::Stdvar => sums::variance_of_group(&floats),
            Op::Stddev => sums::variance_of_group(&floats).sqrt(),
            Op::Quantile => sums::quantile(param, &floats),
            Op::Min => extreme(&floats, |value, best| value < best),
            _ => extreme(&floats, |value, best| value > best),
        }))
    }

    /// Source: Prometheus `promql/engine.go`, `aggregationCountValues`.
    fn count_values(&mut self, node: &AggregateExpr, steps: Steps) -> Result<Vec<Line>> {
        let label = node.param.as_ref().map_or("", text);
        if label.is_empty() {
            return Err(Error::execution("invalid label name"));
        }
        let mut node = node.clone();
        if node.grouping == Grouping::By {
            node.labels.push(label.into());
        }
        let input = self.eval(&node.expr, steps)?;
        self.by_step(&[input], steps, |_, _, vectors| {
            let mut vector = vectors[0].clone();
            for member in &mut vector {
                let value = match &member.cell {
                    Cell::Float(value) => GoFloat(*value, FloatFormat::Fixed).to_string(),
                    Cell::Histogram(histogram) => histogram.to_float().to_string(),
                };
                member.labels = LabelsBuilder::from_labels(member.labels.as_ref())
                    .set(label, &value)
                    .build();
            }
            let counted = groups(&node, &vector).into_iter();
            Ok(counted
                .map(|(labels, group)| Member::of_float(labels, group.len() as f64))
                .collect())
        })
    }
}

/// Returns the best value; anything wins over not-a-number.
fn extreme(values: &[f64], is_better: impl Fn(f64, f64) -> bool) -> f64 {
    let mut best = values[0];
    for value in values {
        if is_better(*value, best) || best.is_nan() {
            best = *value;
        }
    }
    best
}
