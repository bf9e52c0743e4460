//! Series descriptions: the language in which test scripts and rule tests write series and expected results.
//!
//! ```text
//! requests{job="api"} 0+10x5 _ stale {{schema:1 count:3 buckets:[1 2]}}x2
//! ```
//!
//! Source: Prometheus promql/parser/generated_parser.y, `series_description`.

use std::iter;
use std::sync::Arc;

use thanos_core::histogram::FloatHistogram;
use thanos_core::labels::Labels;

use super::error::ParseErrors;
use super::grammar::Parser;
use super::lexer::Lexer;
use super::ops::UnaryOp;
use super::options::Options;

/// A series with its samples at a fixed distance.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesDescription {
    /// The labels, the metric name among them.
    pub labels: Labels,
    /// The samples. Repetitions are not written out, so that a short text cannot ask for much memory.
    pub runs: Vec<SampleRun>,
}

/// Samples that were written as one.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleRun {
    /// `_`, `_x3`: no samples.
    Omitted {
        /// How many are left out.
        count: u64,
    },
    /// `1`, `1x3`, `1+2x3`, `stale`.
    Floats(FloatRun),
    /// `{{}}`, `{{}}x3`, `{{}}+{{}}x3`.
    Histograms(HistogramRun),
}

/// Floats, each larger than the one before by the same number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FloatRun {
    /// The first sample.
    pub first: f64,
    /// What is added from one sample to the next.
    pub step: Option<f64>,
    /// How many samples there are.
    pub count: u64,
}

impl FloatRun {
    /// Returns the samples.
    ///
    /// COMPAT: the step is added again and again, so rounding errors add up as in Prometheus' tests.
    pub fn samples(self) -> impl Iterator<Item = f64> {
        let next = move |value: &f64| Some(self.step.map_or(*value, |step| value + step));
        let samples = iter::successors(Some(self.first), next);
        (0..self.count).zip(samples).map(|(_, value)| value)
    }
}

/// Histograms, each the one before plus or minus the same histogram.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramRun {
    /// The first sample.
    pub first: Arc<FloatHistogram>,
    /// What is added or subtracted from one sample to the next.
    pub step: Option<(UnaryOp, Arc<FloatHistogram>)>,
    /// How many samples there are.
    pub count: u64,
    /// Whether the counter reset hint was written, so that expected results can leave it open.
    pub is_hint_written: bool,
}

/// Reads a series description.
///
/// # Errors
///
/// As [`parse`](super::parse).
///
/// # Example
///
/// ```
/// use thanos_promql::parser::{Options, series};
///
/// let description = series::parse(r#"requests{job="api"} 0+10x2 _"#, &Options::default())?;
/// assert_eq!(description.labels.get("job").as_deref(), Some("api"));
/// let series::SampleRun::Floats(run) = description.runs[0] else { panic!() };
/// assert_eq!(run.samples().collect::<Vec<_>>(), [0.0, 10.0, 20.0]);
/// # Ok::<(), thanos_promql::parser::ParseErrors>(())
/// ```
pub fn parse(text: &str, options: &Options) -> Result<SeriesDescription, ParseErrors> {
    super::check_length(text, options)?;
    let mut parser = Parser::new(Lexer::of_series(text), options);
    let description = parser.whole(Parser::series_description);
    match parser.into_errors(text) {
        Some(errors) => Err(errors),
        None => Ok(description.expect("without errors there is a description")),
    }
}

#[cfg(test)]
mod tests;
