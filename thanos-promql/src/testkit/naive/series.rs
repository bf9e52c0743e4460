//! Series and vectors of the naive evaluator, and what happens when labels change.

use std::collections::BTreeMap;

use thanos_core::histogram::is_stale_nan;
use thanos_core::labels::{Labels, LabelsBuilder, METRIC_NAME};

use super::histogram::Hist;
use crate::error::{Error, Result};

/// A float or a native histogram.
#[derive(Debug, Clone)]
pub(super) enum Cell {
    Float(f64),
    Histogram(Hist),
}

impl Cell {
    pub(super) fn float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Histogram(_) => None,
        }
    }

    pub(super) fn histogram(&self) -> Option<&Hist> {
        match self {
            Self::Float(_) => None,
            Self::Histogram(histogram) => Some(histogram),
        }
    }

    pub(super) fn is_stale(&self) -> bool {
        match self {
            Self::Float(value) => is_stale_nan(*value),
            Self::Histogram(histogram) => is_stale_nan(histogram.sum.value),
        }
    }
}

/// A value with its times in milliseconds.
#[derive(Debug, Clone)]
pub(super) struct Dot {
    pub(super) time: i64,
    /// When the counter began; 0 when that is not known.
    pub(super) start: i64,
    pub(super) cell: Cell,
}

/// A series, its points ascending in time.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) labels: Labels,
    /// Whether the name is to be dropped at the end of the query.
    pub(super) drop_name: bool,
    pub(super) dots: Vec<Dot>,
}

/// A member of a vector: what a series is at one evaluation time.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) labels: Labels,
    pub(super) drop_name: bool,
    pub(super) cell: Cell,
}

impl Member {
    pub(super) fn of_float(labels: Labels, value: f64) -> Self {
        Self {
            labels,
            drop_name: false,
            cell: Cell::Float(value),
        }
    }
}

/// The evaluation times of an expression.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) step: i64,
}

impl Steps {
    pub(super) fn times(self) -> impl Iterator<Item = i64> {
        let length = usize::try_from(self.step.max(1)).unwrap_or(usize::MAX);
        (self.start..=self.end).step_by(length)
    }
}

/// Returns the vector that `lines` are at `time`.
pub(super) fn vector_at(lines: &[Line], time: i64) -> Vec<Member> {
    let member = |line: &Line| {
        let place = line.dots.binary_search_by_key(&time, |dot| dot.time).ok()?;
        Some(Member {
            labels: line.labels.clone(),
            drop_name: line.drop_name,
            cell: line.dots[place].cell.clone(),
        })
    };
    lines.iter().filter_map(member).collect()
}

/// Puts the vectors of all steps together again.
///
/// Source: Prometheus `promql/engine.go`, `rangeEval`: a series is its labels, and its mark for dropping the name
/// is the one it was first seen with.
#[derive(Debug, Default)]
pub(super) struct Joined {
    lines: Vec<Line>,
    places: BTreeMap<Labels, usize>,
}

impl Joined {
    /// Adds the vector of one step.
    pub(super) fn add(&mut self, time: i64, vector: Vec<Member>) -> Result<()> {
        for member in vector {
            let place = *self
                .places
                .entry(member.labels)
                .or_insert_with_key(|labels| {
                    self.lines.push(Line {
                        labels: labels.clone(),
                        drop_name: member.drop_name,
                        dots: Vec::new(),
                    });
                    self.lines.len() - 1
                });
            let line = &mut self.lines[place];
            if line.dots.last().is_some_and(|dot| dot.time == time) {
                return Err(Error::same_labelset());
            }
            line.dots.push(Dot {
                time,
                start: 0,
                cell: member.cell,
            });
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Vec<Line> {
        self.lines
    }
}

/// Makes one series of those with equal labels; they must not have a value at the same time.
pub(super) fn merge_equal(lines: Vec<Line>) -> Result<Vec<Line>> {
    let mut merged: Vec<Line> = Vec::new();
    for line in lines {
        let Some(known) = merged.iter_mut().find(|known| known.labels == line.labels) else {
            merged.push(line);
            continue;
        };
        known.dots.extend(line.dots);
        known.dots.sort_by_key(|dot| dot.time);
        if known
            .dots
            .windows(2)
            .any(|pair| pair[0].time == pair[1].time)
        {
            return Err(Error::same_labelset());
        }
    }
    Ok(merged)
}

/// Returns an error when two series have the same labels, even at different times.
pub(super) fn check_unique(lines: &[Line]) -> Result<()> {
    let mut labels: Vec<&Labels> = lines.iter().map(|line| &line.labels).collect();
    labels.sort();
    if labels.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Error::same_labelset());
    }
    Ok(())
}

/// Returns the labels that satisfy `keep`.
pub(super) fn labels_where(labels: &Labels, keep: impl FnMut(&str) -> bool) -> Labels {
    LabelsBuilder::from_labels(labels.as_ref())
        .retain(keep)
        .build()
}

/// Returns the labels without the name, the type and the unit of the metric.
pub(super) fn without_name(labels: &Labels) -> Labels {
    labels_where(labels, |name| {
        ![METRIC_NAME, "__type__", "__unit__"].contains(&name)
    })
}

/// Returns the name of the metric, or nothing.
pub(super) fn metric_name(labels: &Labels) -> String {
    labels.get(METRIC_NAME).unwrap_or_default().into_owned()
}
