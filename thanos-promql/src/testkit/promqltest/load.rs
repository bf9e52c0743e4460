//! The commands `load` and `load_with_nhcb`.

use std::collections::BTreeMap;
use std::sync::Arc;

use thanos_core::labels::Labels;
use thanos_core::time::SignedDuration;

use super::nhcb::{self, Classic};
use super::script::{Lines, Problem, split_word};
use super::start_times::{self, StartTimes};
use super::values::{self, Slot};
use crate::parser;
use crate::value::SampleValue;

/// Series to be added to the data.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) line: usize,
    pub(super) series: BTreeMap<Labels, Vec<LoadedSample>>,
}

/// A sample of a script.
#[derive(Debug, Clone)]
pub(super) struct LoadedSample {
    pub(super) time_ms: i64,
    pub(super) value: SampleValue,
    /// The start timestamp; 0 means none.
    pub(super) start_ms: i64,
}

/// Reads the lines of a load command, of which `text` is the first.
pub(super) fn parse(
    line: usize,
    text: &str,
    lines: &mut Lines<'_>,
    options: &parser::Options,
) -> Result<Load, Problem> {
    let (word, step) = split_word(text);
    if !matches!(word, "load" | "load_with_nhcb") || step.is_empty() {
        let what = "invalid load command. (load[_with_nhcb] <step:duration>)";
        return Err(Problem::new(line, what));
    }
    let step_ms = SignedDuration::parse_prometheus(step)
        .map_err(|error| Problem::new(line, format!("invalid step definition {step:?}: {error}")))?
        .as_millis();
    let mut load = Load {
        line,
        ..Load::default()
    };
    load.parse_series(step_ms, lines, options)?;
    if word == "load_with_nhcb" {
        load.add_custom_buckets()
            .map_err(|what| Problem::new(line, what))?;
    }
    Ok(load)
}

impl Load {
    fn parse_series(
        &mut self,
        step_ms: i64,
        lines: &mut Lines<'_>,
        options: &parser::Options,
    ) -> Result<(), Problem> {
        let mut pending: Option<StartTimes> = None;
        while let Some((line, text)) = lines.next_of_block() {
            if start_times::is_start_times(text) {
                if let Some(lonely) = pending {
                    return Err(lonely_start_times(&lonely));
                }
                pending = Some(start_times::parse(line, text, options)?);
                continue;
            }
            let (labels, slots) = values::parse(line, text, options)?;
            let starts = match pending.take() {
                Some(starts) => offsets_of(starts, &labels, slots.len())?,
                None => Vec::new(),
            };
            // COMPAT: of two lines for one series the last counts.
            self.series.insert(labels, samples(slots, &starts, step_ms));
        }
        match pending {
            Some(lonely) => Err(lonely_start_times(&lonely)),
            None => Ok(()),
        }
    }

    /// Adds the classic histograms once more, as native ones.
    fn add_custom_buckets(&mut self) -> Result<(), String> {
        let mut classics: BTreeMap<Labels, BTreeMap<i64, Classic>> = BTreeMap::new();
        for (labels, samples) in &self.series {
            let Some((base, part)) = nhcb::part_of(labels)? else {
                continue;
            };
            let classic = classics.entry(base).or_default();
            for sample in samples {
                if let SampleValue::Float(value) = sample.value {
                    let at = classic.entry(sample.time_ms).or_default();
                    at.set(part, value)
                        .map_err(|why| format!("histogram of {labels}: {why}"))?;
                }
            }
        }
        for (labels, at_times) in classics {
            let mut samples = Vec::with_capacity(at_times.len());
            for (time_ms, classic) in at_times {
                let histogram = classic
                    .convert()
                    .map_err(|why| format!("histogram {labels}: {why}"))?;
                samples.push(LoadedSample {
                    time_ms,
                    value: SampleValue::Histogram(Arc::new(histogram)),
                    start_ms: 0,
                });
            }
            self.series.entry(labels).or_default().extend(samples);
        }
        Ok(())
    }
}

fn lonely_start_times(starts: &StartTimes) -> Problem {
    Problem::new(starts.line, "@st line has no following sample line")
}

fn offsets_of(
    starts: StartTimes,
    labels: &Labels,
    samples: usize,
) -> Result<Vec<Option<i64>>, Problem> {
    let line = starts.line;
    if starts.labels != *labels {
        let what = "@st metric does not match the following sample line metric";
        return Err(Problem::new(line, what));
    }
    let count = starts.offsets_ms.len();
    if count != samples {
        let what = format!("@st line has {count} values but sample line has {samples}");
        return Err(Problem::new(line, what));
    }
    Ok(starts.offsets_ms)
}

fn samples(slots: Vec<Slot>, starts: &[Option<i64>], step_ms: i64) -> Vec<LoadedSample> {
    let mut samples = Vec::with_capacity(slots.len());
    let mut time_ms = 0_i64;
    for (at, slot) in slots.into_iter().enumerate() {
        let value = match slot {
            Slot::Omitted => None,
            Slot::Float(value) => Some(SampleValue::Float(value)),
            Slot::Histogram { histogram, .. } => Some(SampleValue::Histogram(histogram)),
        };
        let offset_ms = starts.get(at).copied().flatten();
        samples.extend(value.map(|value| LoadedSample {
            time_ms,
            value,
            start_ms: offset_ms.map_or(0, |offset_ms| time_ms.saturating_add(offset_ms)),
        }));
        time_ms = time_ms.saturating_add(step_ms);
    }
    samples
}
