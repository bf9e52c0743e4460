//! Instant selectors: the latest sample of each series at each step.

use std::sync::Arc;

use super::context::Context;
use super::grid::Grid;
use super::names::drop_name;
use super::rows::RowMaker;
use super::samples::{Detail, SampleBuffer, StaleMarkers, look_back, look_back_floats};
use super::source::ChunkedSeries;
use super::tally::Tally;
use super::tile::{Cell, SeriesId, Tile};
use crate::error::Result;
use crate::functions::math::millis_to_secs;

/// Where in time a selector looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shift {
    /// The fixed time of `@`, in milliseconds.
    pub(crate) at_ms: Option<i64>,
    /// The offset into the past.
    pub(crate) offset_ms: i64,
}

impl Shift {
    /// Returns the time to look at for a step at `step_ms`.
    pub(crate) fn apply(self, step_ms: i64) -> i64 {
        self.at_ms.unwrap_or(step_ms).saturating_sub(self.offset_ms)
    }
}

/// What an instant selector gives for a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Value,
    /// The time of the sample: `timestamp(selector)`.
    SampleTime,
    /// The time at which the sample began to count, 0 where that is not known: `start_timestamp(selector)`.
    StartTime,
}

/// Makes the rows of an instant selector.
#[derive(Debug)]
pub(crate) struct InstantSelect {
    pub(crate) cx: Arc<Context>,
    pub(crate) grid: Grid,
    pub(crate) shift: Shift,
    pub(crate) wanted: Wanted,
    pub(crate) detail: Detail,
    pub(crate) tally: Tally,
}

impl RowMaker for InstantSelect {
    fn add(
        &self,
        tile: &mut Tile,
        series: &ChunkedSeries,
        buffer: &mut SampleBuffer,
    ) -> Result<()> {
        let samples = buffer.decode(series, StaleMarkers::Keep, self.detail)?;
        let mut id = SeriesId::new(series.labels.clone());
        if self.wanted != Wanted::Value {
            drop_name(&self.cx, &mut id);
        }
        let mut row = tile.push(id);
        let times = self.grid.times_ms().map(|ms| self.shift.apply(ms));
        // A window is as fresh as its width lets it be.
        let lookback_ms = self.cx.lookback_ms.max(samples.window_ms);
        if self.wanted == Wanted::Value && samples.is_float_only() {
            let found = look_back_floats(samples, times, lookback_ms, &mut row);
            self.cx.counts.add_row(self.tally, row.valid, found);
            tile.pop_if_empty();
            return self.cx.count_points(found);
        }
        let found = look_back(samples, times, lookback_ms, |step, at| {
            match (self.wanted, samples.cell(at)) {
                (Wanted::SampleTime, _) => row.set(step, millis_to_secs(samples.times[at])),
                (Wanted::StartTime, _) => {
                    let start_ms = samples.starts.get(at).copied().unwrap_or_default();
                    row.set(step, millis_to_secs(start_ms));
                }
                (Wanted::Value, Cell::Float(value)) => row.set(step, value),
                (Wanted::Value, Cell::Histogram(histogram)) => {
                    row.set_histogram(step, Arc::clone(histogram));
                }
            }
        });
        self.cx.counts.add_row(self.tally, row.valid, found);
        tile.pop_if_empty();
        self.cx.count_points(found)
    }
}
