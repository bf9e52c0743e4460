//! Which info series holds at which step, for each info metric and each value of the identifying labels.

use thanos_core::budget::Lease;
use thanos_core::labels::{Labels, LabelsBuilder, METRIC_NAME};

use super::IDENTIFYING;
use crate::error::{Error, Result};
use crate::exec::bits;
use crate::exec::context::Context;
use crate::exec::grid::Grid;
use crate::exec::labels::{LabelChoice, LabelIndex};
use crate::exec::samples::{Detail, SampleBuffer, StaleMarkers, look_back};
use crate::exec::select::Shift;
use crate::exec::source::ChunkedSeries;
use crate::exec::tally::Tally;
use crate::exec::tile::Cell;

/// Stands for no info series.
pub(super) const NOBODY: u32 = u32::MAX;

/// The info series of one metric with the same identifying labels.
#[derive(Debug)]
pub(super) struct Slot {
    /// The series that holds at each step, with the time of its sample.
    holders: Vec<(u32, i64)>,
}

impl Slot {
    /// Returns the info series that holds at `step`.
    pub(super) fn holder(&self, step: usize) -> u32 {
        self.holders[step].0
    }
}

/// What is wrong at a step. Prometheus goes step by step, so that the first one is told.
#[derive(Debug, Clone)]
pub(super) struct Conflict {
    step: usize,
    pub(super) text: String,
}

impl Conflict {
    /// Replaces `known` when `step` comes before it.
    pub(super) fn keep_first(known: &mut Option<Self>, step: usize, text: impl FnOnce() -> String) {
        if known.as_ref().is_none_or(|known| step < known.step) {
            *known = Some(Self { step, text: text() });
        }
    }
}

/// All info series that were read.
#[derive(Debug)]
pub(super) struct InfoSeries {
    grid: Grid,
    shift: Shift,
    tally: Tally,
    series: Vec<Labels>,
    /// The names of the info metrics.
    names: Vec<String>,
    choice: LabelChoice,
    index: LabelIndex,
    slots: Vec<Slot>,
    /// Two series that hold at once.
    conflict: Option<Conflict>,
    lease: Lease,
}

impl InfoSeries {
    /// Returns no series yet; all are looked at at the steps of `grid`, shifted.
    pub(super) fn new(cx: &Context, (grid, shift): (Grid, Shift), tally: Tally) -> Result<Self> {
        // What one series finds.
        let bytes = grid.len() * size_of::<(usize, i64)>();
        Ok(Self {
            grid,
            shift,
            tally,
            series: Vec::new(),
            names: Vec::new(),
            choice: LabelChoice::only(IDENTIFYING.iter().copied().chain([METRIC_NAME])),
            index: LabelIndex::default(),
            slots: Vec::new(),
            conflict: None,
            lease: cx.lease(bytes as u64)?,
        })
    }

    /// Adds a series; `present` are the steps at which anybody wants to know.
    pub(super) fn add(
        &mut self,
        cx: &Context,
        series: &ChunkedSeries,
        buffer: &mut SampleBuffer,
        present: &[u64],
    ) -> Result<()> {
        cx.check()?;
        let samples = buffer.decode(series, StaleMarkers::Keep, Detail::Buckets)?;
        let mut found: Vec<(usize, i64)> = Vec::new();
        let mut has_histogram = false;
        let times = self.grid.times_ms().map(|ms| self.shift.apply(ms));
        look_back(samples, times, cx.lookback_ms, |step, at| {
            has_histogram |= matches!(samples.cell(at), Cell::Histogram(_));
            found.push((step, samples.times[at]));
        });
        if has_histogram {
            let text = "this should be an info metric, with float samples";
            return Err(Error::execution(format!("{text}: {}", series.labels)));
        }
        let mut valid = vec![0; bits::words(self.grid.len())];
        found
            .iter()
            .for_each(|(step, _)| bits::set(&mut valid, *step));
        cx.counts.add_row(self.tally, &valid, found.len());
        cx.count_points(found.len())?;
        if found.is_empty() {
            return Ok(());
        }
        let slot = self.slot(&series.labels)?;
        let number = u32::try_from(self.series.len()).unwrap_or(NOBODY);
        if number == NOBODY {
            return Err(Error::execution("too many info series"));
        }
        let label_bytes = series.labels.key().len() + size_of::<Labels>();
        self.lease.grow(label_bytes as u64)?;
        self.series.push(series.labels.clone());
        for (step, time_ms) in found {
            if bits::get(present, step) {
                self.hold(slot, step, (number, time_ms));
            }
        }
        Ok(())
    }

    /// Returns the number of the slot that `labels` belong to.
    fn slot(&mut self, labels: &Labels) -> Result<usize> {
        let (slot, new) = self.index.insert_chosen(&self.choice, labels.as_ref());
        let Some(chosen) = new else {
            return Ok(slot);
        };
        let bytes = self.grid.len() * size_of::<(u32, i64)>() + chosen.key().len();
        self.lease.grow(bytes as u64)?;
        let name = labels.get(METRIC_NAME).unwrap_or_default();
        if !self.names.iter().any(|known| *known == name) {
            self.names.push(name.into_owned());
        }
        self.slots.push(Slot {
            holders: vec![(NOBODY, i64::MIN); self.grid.len()],
        });
        Ok(slot)
    }

    /// Lets `new` hold at `step` when its sample is newer.
    fn hold(&mut self, slot: usize, step: usize, new: (u32, i64)) {
        let known = &mut self.slots[slot].holders[step];
        if known.0 == NOBODY || known.1 < new.1 {
            *known = new;
            return;
        }
        if known.1 > new.1 {
            return;
        }
        let [known_labels, new_labels] =
            [known.0, new.0].map(|number| &self.series[number as usize]);
        let time_ms = new.1;
        Conflict::keep_first(&mut self.conflict, step, || {
            format!(
                "found duplicate series for info metric: existing {known_labels} @ {time_ms}, new {new_labels} @ {time_ms}"
            )
        });
    }

    /// Returns the first conflict of two info series.
    pub(super) fn conflict(&self) -> Option<Conflict> {
        self.conflict.clone()
    }

    /// Returns what could speak of a series with the labels `base`.
    pub(super) fn slots_of(&self, base: &Labels) -> Vec<&Slot> {
        let mut builder = LabelsBuilder::new();
        for name in IDENTIFYING {
            if let Some(value) = base.get(name) {
                builder.set(name, &value);
            }
        }
        let slot = |name: &String| {
            let key = builder.set(METRIC_NAME, name).build();
            self.index.get(&key).map(|slot| &self.slots[slot])
        };
        self.names.iter().filter_map(slot).collect()
    }

    /// Returns the labels of the info series `number`.
    pub(super) fn labels(&self, number: u32) -> &Labels {
        &self.series[number as usize]
    }
}
