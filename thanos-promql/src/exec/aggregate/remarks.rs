//! What aggregations remark about native histograms, each remark once.

use std::sync::Arc;

use thanos_core::labels::METRIC_NAME;

use crate::annotations::{Annotation, HistogramOperation};
use crate::exec::context::Context;
use crate::exec::tile::SeriesId;
use crate::parser::Span;

/// The remarks of one aggregation.
#[derive(Debug)]
pub(crate) struct Remarks {
    cx: Arc<Context>,
    aggregation: &'static str,
    span: Span,
    made: u8,
}

impl Remarks {
    /// Returns the remarks of `aggregation` about what stands at `span`.
    pub(crate) fn new(cx: Arc<Context>, aggregation: &'static str, span: Span) -> Self {
        Self {
            cx,
            aggregation,
            span,
            made: 0,
        }
    }

    /// A histogram was left out.
    pub(crate) fn ignored(&mut self) {
        let (aggregation, span) = (self.aggregation, self.span);
        self.once(0, || {
            Annotation::histogram_ignored_in_aggregation(aggregation, span)
        });
    }

    /// A group has floats and histograms.
    pub(crate) fn mixed(&mut self) {
        let span = self.span;
        self.once(1, || {
            Annotation::mixed_floats_histograms_in_aggregation(span)
        });
    }

    /// Custom bounds were made the same.
    pub(crate) fn reconciled(&mut self) {
        let span = self.span;
        let operation = HistogramOperation::Aggregation;
        self.once(2, || Annotation::mismatched_custom_buckets(operation, span));
    }

    /// A group has histograms that contradict each other about a counter reset.
    pub(crate) fn collided(&mut self) {
        let span = self.span;
        let operation = HistogramOperation::Aggregation;
        self.once(3, || Annotation::counter_reset_collision(operation, span));
    }

    /// The buckets of the series `id` are of another kind than those before.
    pub(crate) fn incompatible(&self, id: &SeriesId) {
        let name = id.labels.get(METRIC_NAME).unwrap_or_default();
        self.cx
            .annotate(Annotation::mixed_exponential_custom(&name, self.span));
    }

    fn once(&mut self, number: u8, annotation: impl FnOnce() -> Annotation) {
        let bit = 1 << number;
        if self.made & bit == 0 {
            self.made |= bit;
            self.cx.annotate(annotation());
        }
    }
}
