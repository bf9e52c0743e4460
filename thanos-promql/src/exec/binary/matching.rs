//! How the series of two vectors find each other, and what labels their results have.
//!
//! Source: Prometheus `promql/engine.go`, `resultMetric`.

use thanos_core::labels::{Labels, LabelsBuilder};

use crate::exec::arith;
use crate::exec::labels::{LabelChoice, is_metadata, keep};
use crate::parser::BinaryOp;

/// How series find each other.
#[derive(Debug, Clone)]
pub(crate) struct Matching {
    /// Whether `labels` must be equal, or all others.
    pub(crate) on: bool,
    pub(crate) labels: Vec<String>,
    /// The side of which several series may match one of the other.
    pub(crate) many: ManySide,
    /// Labels to copy from the one side.
    pub(crate) include: Vec<String>,
    pub(crate) fill: Fill,
}

/// The side of a join with several series for each match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ManySide {
    Neither,
    Left,
    Right,
}

/// Values that stand for missing series.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fill {
    /// Of the many side.
    pub(crate) many: Option<f64>,
    /// Of the one side.
    pub(crate) one: Option<f64>,
}

impl Fill {
    /// Reports whether anything is filled in.
    pub(crate) fn is_some(self) -> bool {
        self.many.is_some() || self.one.is_some()
    }
}

impl Matching {
    /// Returns the labels that must be equal.
    pub(crate) fn choice(&self) -> LabelChoice {
        if self.on {
            LabelChoice::only(self.labels.clone())
        } else {
            LabelChoice::without(self.labels.clone())
        }
    }

    /// Reports whether a match has one series on each side.
    pub(crate) fn is_one_to_one(&self) -> bool {
        self.many == ManySide::Neither
    }

    /// Returns the labels of the result of two series of the many and of the one side.
    ///
    /// Arithmetic makes another metric out of both and drops the name; `drops_name` says that it goes anyway.
    pub(crate) fn result_labels(
        &self,
        op: BinaryOp,
        drops_name: bool,
        (many, one): (&Labels, &Labels),
    ) -> Labels {
        let drops = drops_name || arith::drops_name(op);
        let listed = |name: &[u8]| self.labels.iter().any(|label| label.as_bytes() == name);
        let labels = keep(many.as_ref(), |name| {
            let is_matched = !self.is_one_to_one() || listed(name) == self.on;
            is_matched && !(drops && is_metadata(name))
        });
        if self.include.is_empty() {
            return labels;
        }
        let mut builder = LabelsBuilder::from_labels(labels.as_ref());
        for name in &self.include {
            // An empty value removes the label.
            builder.set(name, one.get(name).as_deref().unwrap_or_default());
        }
        builder.build()
    }
}
