//! Planning of the functions of histograms.

use std::sync::Arc;

use thanos_core::histogram::FloatHistogram;

use super::call::{arg, wrong_arguments};
use super::{Built, Names, Place, Planner};
use crate::error::Result;
use crate::exec::histogram::{OverBuckets, Question};
use crate::exec::labels::is_metadata;
use crate::exec::names::Overlap;
use crate::exec::native::{HistogramFn, MapHistograms};
use crate::parser::FunctionId;
use crate::plan::{Call, Kind};

/// Returns the function that gives a number for each native histogram.
pub(super) fn histogram_fn(id: FunctionId) -> Option<HistogramFn> {
    Some(match id {
        FunctionId::HistogramAvg => FloatHistogram::average,
        FunctionId::HistogramCount => |histogram: &FloatHistogram| histogram.count,
        FunctionId::HistogramStddev => FloatHistogram::standard_deviation,
        FunctionId::HistogramStdvar => FloatHistogram::variance,
        FunctionId::HistogramSum => |histogram: &FloatHistogram| histogram.sum,
        _ => return None,
    })
}

impl Planner {
    pub(super) fn map_histograms(
        &mut self,
        call: &Call,
        function: HistogramFn,
        place: &Place,
    ) -> Result<Built> {
        let input = self.vector(arg(call, 0)?, place)?;
        let operator = Box::new(MapHistograms {
            cx: Arc::clone(&self.cx),
            input: input.operator,
            function,
        });
        let built = self.without_names(operator, input.names, Overlap::AtStep);
        // Types and units may still be there.
        Ok(Built {
            names: input.names,
            ..built
        })
    }

    pub(super) fn over_buckets(&mut self, call: &Call, place: &Place) -> Result<Built> {
        let (question, histograms) = match (call.func.id, &call.args[..]) {
            (FunctionId::HistogramQuantile, [q, histograms]) => {
                let (span, q) = (q.span, self.scalar(q, place)?);
                (Question::Quantile { q, span }, histograms)
            }
            (FunctionId::HistogramFraction, [lower, upper, histograms]) => {
                let limits = [self.scalar(lower, place)?, self.scalar(upper, place)?];
                (Question::Fraction(Box::new(limits)), histograms)
            }
            (FunctionId::HistogramQuantiles, [histograms, label, qs @ ..]) => {
                let Kind::Text(label) = &label.kind else {
                    return Err(wrong_arguments(call));
                };
                let mut scalars = Vec::new();
                for q in qs {
                    scalars.push((self.scalar(q, place)?, q.span));
                }
                let label = label.to_string();
                (Question::Quantiles { label, qs: scalars }, histograms)
            }
            _ => return Err(wrong_arguments(call)),
        };
        let label = match &question {
            Question::Quantiles { label, .. } => Some(label.clone()),
            Question::Quantile { .. } | Question::Fraction(_) => None,
        };
        let input = self.vector(histograms, place)?;
        let operator = Box::new(OverBuckets {
            cx: Arc::clone(&self.cx),
            input: input.operator,
            question,
            span: histograms.span,
            results: None,
        });
        let Some(label) = label else {
            return Ok(self.without_names(operator, input.names, Overlap::AtStep));
        };
        // The same quantile may be asked for twice, and the label may replace any other.
        Ok(Built {
            operator: self.merged(operator, Overlap::AtStep),
            names: if is_metadata(label.as_bytes()) || self.cx.delayed_name_removal {
                Names::Mixed
            } else {
                Names::Gone
            },
        })
    }
}
