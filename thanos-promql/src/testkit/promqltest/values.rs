//! The values of a series line, one for each step.

use std::sync::Arc;

use thanos_core::histogram::FloatHistogram;
use thanos_core::labels::Labels;

use super::script::Problem;
use crate::parser::series::{self, HistogramRun, SampleRun};
use crate::parser::{self, UnaryOp};

/// The most values of one series.
const VALUES_MAX: u64 = 1_000_000;

/// What a series has at one step.
#[derive(Debug, Clone)]
pub(super) enum Slot {
    /// `_`
    Omitted,
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram {
        /// The value.
        histogram: Arc<FloatHistogram>,
        /// Whether the counter reset hint was written.
        is_hint_written: bool,
    },
}

/// Reads a line with a metric and its values.
pub(super) fn parse(
    line: usize,
    text: &str,
    options: &parser::Options,
) -> Result<(Labels, Vec<Slot>), Problem> {
    let description =
        series::parse(text, options).map_err(|errors| Problem::of_parser(line, &errors))?;
    let slots = slots(&description.runs).map_err(|what| Problem::new(line, what))?;
    Ok((description.labels, slots))
}

fn slots(runs: &[SampleRun]) -> Result<Vec<Slot>, String> {
    let count = runs.iter().map(count_of).fold(0, u64::saturating_add);
    if count > VALUES_MAX {
        return Err(format!(
            "series has {count} values, at most {VALUES_MAX} are allowed"
        ));
    }
    let mut slots = Vec::new();
    for run in runs {
        match run {
            SampleRun::Omitted { count } => slots.extend((0..*count).map(|_| Slot::Omitted)),
            SampleRun::Floats(run) => slots.extend(run.samples().map(Slot::Float)),
            SampleRun::Histograms(run) => push_histograms(run, &mut slots)?,
        }
    }
    Ok(slots)
}

fn count_of(run: &SampleRun) -> u64 {
    match run {
        SampleRun::Omitted { count } => *count,
        SampleRun::Floats(run) => run.count,
        SampleRun::Histograms(run) => run.count,
    }
}

fn push_histograms(run: &HistogramRun, slots: &mut Vec<Slot>) -> Result<(), String> {
    let mut current = Arc::clone(&run.first);
    for at in 0..run.count {
        if let (Some((op, step)), true) = (&run.step, at > 0) {
            let mut next = FloatHistogram::clone(&current);
            let combined = match op {
                UnaryOp::Plus => next.add(step),
                UnaryOp::Minus => next.subtract(step),
            };
            combined.map_err(|error| format!("error combining histograms: {error}"))?;
            current = Arc::new(next);
        }
        slots.push(Slot::Histogram {
            histogram: Arc::clone(&current),
            is_hint_written: run.is_hint_written,
        });
    }
    Ok(())
}
