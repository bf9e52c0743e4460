//! Selectors and subqueries, and the modifiers that move them in time.

use std::sync::Arc;

use thanos_core::labels::{MatchOp, Matcher};
use thanos_core::time::Timestamp;

use super::duration::DurationValue;
use super::{Expr, Span};

/// The label that holds the metric name.
pub(in crate::parser) const METRIC_NAME: &str = "__name__";

/// A condition on a label, not compiled yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMatcher {
    /// The label.
    pub name: Arc<str>,
    /// The comparison.
    pub op: MatchOp,
    /// What it is compared with.
    pub value: Arc<str>,
}

impl LabelMatcher {
    /// Returns the condition that the metric name is `name`.
    pub fn name(name: Arc<str>) -> Self {
        Self {
            name: METRIC_NAME.into(),
            op: MatchOp::Equal,
            value: name,
        }
    }

    /// Returns the condition ready to be applied, its regular expression compiled.
    ///
    /// # Errors
    ///
    /// `Invalid` when the regular expression is not one; the parser rejects such matchers.
    pub fn compile(&self) -> thanos_core::Result<Matcher> {
        Matcher::new(self.op, &self.name, &self.value)
    }
}

/// The time `@` pins a selector to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtModifier {
    /// `@ 1609746000`
    Timestamp(Timestamp),
    /// `@ start()`: the first step of the query.
    Start,
    /// `@ end()`: the last step of the query.
    End,
}

/// The modifiers `offset` and `@` of a selector or subquery.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TimeShift {
    /// How far the selector looks into the past; negative looks into the future.
    pub offset: Option<DurationValue>,
    /// The time that replaces the time of the step.
    pub at: Option<AtModifier>,
}

/// How samples around a window take part in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeExtension {
    /// `anchored`: the last sample before the window counts as its first.
    Anchored,
    /// `smoothed`: values are interpolated at both edges.
    Smoothed,
}

impl RangeExtension {
    /// Returns the modifier as written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anchored => "anchored",
            Self::Smoothed => "smoothed",
        }
    }
}

/// Selects the newest sample of series.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSelector {
    /// The metric name, if it was written in front of the braces.
    pub name: Option<Arc<str>>,
    /// All conditions in the order written; the one that stands for `name` is the last.
    pub matchers: Vec<LabelMatcher>,
    /// The modifiers `offset` and `@`.
    pub shift: TimeShift,
    /// The modifier `anchored` or `smoothed`.
    pub extension: Option<RangeExtension>,
    /// Where it stands: up to the last `offset` or `@`, but for those behind a range (see [`MatrixSelector`]).
    pub span: Span,
}

impl VectorSelector {
    /// Compiles all conditions.
    ///
    /// # Errors
    ///
    /// As [`LabelMatcher::compile`].
    pub fn compile_matchers(&self) -> thanos_core::Result<Vec<Matcher>> {
        self.matchers.iter().map(LabelMatcher::compile).collect()
    }
}

/// Selects the samples of a window before each step.
///
/// Modifiers written behind the range (`x[5m] offset 1h`) are those of `selector`.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixSelector {
    /// The series and the modifiers.
    pub selector: Arc<VectorSelector>,
    /// The length of the window.
    pub range: DurationValue,
    /// Where it stands, modifiers included.
    pub span: Span,
}

/// Evaluates an expression at the steps of a window before each step.
#[derive(Debug, Clone, PartialEq)]
pub struct SubqueryExpr {
    /// The inner expression.
    pub expr: Expr,
    /// The length of the window.
    pub range: DurationValue,
    /// The distance of the inner steps; the engine's default if not written.
    pub step: Option<DurationValue>,
    /// The modifiers `offset` and `@`.
    pub shift: TimeShift,
    /// Where it stands, modifiers included.
    pub span: Span,
}
