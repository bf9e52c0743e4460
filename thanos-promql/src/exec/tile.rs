//! Tiles: some series by all steps of a part of a query, as columns of floats with validity bits.
//!
//! Native histograms are rare, so a row has a column of them only when it has at least one.
//!
//! A tile holds at most [`TILE_CELLS`] cells (64 series by 1,024 steps), so that it stays in the cache and the
//! memory of a streaming operator does not depend on how many series flow through it. With more steps a tile
//! holds fewer series, one at least.

use std::sync::Arc;

use thanos_core::histogram::FloatHistogram;
use thanos_core::labels::Labels;

use super::bits;
use super::grid::Grid;
use crate::value::SampleValue;

/// The number of cells that a tile aims at.
pub(crate) const TILE_CELLS: usize = 64 * 1024;
/// The most series of a tile.
pub(crate) const TILE_SERIES: usize = 64;

/// The identity of a series inside an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeriesId {
    /// The labels.
    pub(crate) labels: Labels,
    /// Whether the metric name is to be dropped at the end of the query (delayed name removal only).
    pub(crate) drop_name: bool,
}

impl SeriesId {
    pub(crate) fn new(labels: Labels) -> Self {
        Self {
            labels,
            drop_name: false,
        }
    }

    pub(crate) fn empty() -> Self {
        Self::new(Labels::empty())
    }
}

/// The native histograms of one series: one place for each step, or none at all.
pub(crate) type HistogramRow = Vec<Option<Arc<FloatHistogram>>>;

/// Returns the bytes that a column of histograms takes; neighbours are often the same and then counted once.
pub(crate) fn histogram_bytes(histograms: &[Option<Arc<FloatHistogram>>]) -> usize {
    let mut last = None;
    let mut bytes = size_of_val(histograms);
    for histogram in histograms.iter().flatten() {
        if last.replace(Arc::as_ptr(histogram)) != Some(Arc::as_ptr(histogram)) {
            bytes += size_of::<FloatHistogram>() + size_of_val(histogram.buckets());
        }
    }
    bytes
}

/// What stands in the column of floats where the value is a histogram.
pub(crate) const HISTOGRAM_HERE: f64 = f64::NAN;

/// The value of a series at a step, borrowed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cell<'a> {
    Float(f64),
    Histogram(&'a Arc<FloatHistogram>),
}

impl Cell<'_> {
    /// Returns the value as results have it.
    pub(crate) fn to_value(self) -> SampleValue {
        match self {
            Self::Float(value) => SampleValue::Float(value),
            Self::Histogram(histogram) => SampleValue::Histogram(Arc::clone(histogram)),
        }
    }
}

/// The values of one series.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    /// One for each step; undefined where the bit is not set or the value is a histogram.
    pub(crate) values: &'a [f64],
    /// Which steps have a value, of either kind.
    pub(crate) valid: &'a [u64],
    /// Empty when the row is all floats; else one for each step, there where the value is a histogram. What
    /// stands at a step without value means nothing, so that clearing bits is all that it takes to hide values.
    pub(crate) histograms: &'a [Option<Arc<FloatHistogram>>],
}

impl<'a> Row<'a> {
    /// Returns a row of floats.
    pub(crate) fn floats(values: &'a [f64], valid: &'a [u64]) -> Self {
        Self {
            values,
            valid,
            histograms: &[],
        }
    }

    /// Reports whether there is no histogram.
    pub(crate) fn is_float_only(&self) -> bool {
        self.histograms.is_empty()
    }

    /// Returns the histogram at `step`.
    pub(crate) fn histogram(&self, step: usize) -> Option<&'a Arc<FloatHistogram>> {
        self.histograms.get(step)?.as_ref()
    }

    /// Returns the value at `step`.
    pub(crate) fn get(&self, step: usize) -> Option<Cell<'a>> {
        bits::get(self.valid, step).then(|| self.cell(step))
    }

    /// Returns the value at `step`, which has one.
    pub(crate) fn cell(&self, step: usize) -> Cell<'a> {
        match self.histogram(step) {
            None => Cell::Float(self.values[step]),
            Some(histogram) => Cell::Histogram(histogram),
        }
    }

    /// Returns the steps that have a value, with the value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, Cell<'a>)> {
        bits::ones(self.valid).map(|step| (step, self.cell(step)))
    }

    /// Returns the steps that have a float, with the float.
    pub(crate) fn iter_floats(&self) -> impl Iterator<Item = (usize, f64)> {
        bits::ones(self.valid)
            .filter(|step| self.histogram(*step).is_none())
            .map(|step| (step, self.values[step]))
    }

    /// Returns the steps that have a histogram, with the histogram.
    pub(crate) fn iter_histograms(&self) -> impl Iterator<Item = (usize, &'a Arc<FloatHistogram>)> {
        let steps = if self.is_float_only() {
            &[]
        } else {
            self.valid
        };
        bits::ones(steps).filter_map(|step| Some((step, self.histogram(step)?)))
    }
}

/// The values of one series, to be changed.
#[derive(Debug)]
pub(crate) struct RowMut<'a> {
    pub(crate) values: &'a mut [f64],
    pub(crate) valid: &'a mut [u64],
    /// As in [`Row`].
    pub(crate) histograms: &'a mut HistogramRow,
}

impl RowMut<'_> {
    /// Returns the row to be read.
    pub(crate) fn as_row(&self) -> Row<'_> {
        Row {
            values: self.values,
            valid: self.valid,
            histograms: self.histograms,
        }
    }

    /// Sets the value at `step` to a float.
    pub(crate) fn set(&mut self, step: usize, value: f64) {
        if let Some(histogram) = self.histograms.get_mut(step) {
            *histogram = None;
        }
        self.values[step] = value;
        bits::set(self.valid, step);
    }

    /// Sets the value at `step` to a histogram.
    pub(crate) fn set_histogram(&mut self, step: usize, histogram: Arc<FloatHistogram>) {
        self.histograms.resize(self.values.len(), None);
        self.histograms[step] = Some(histogram);
        self.values[step] = HISTOGRAM_HERE;
        bits::set(self.valid, step);
    }

    /// Removes the histograms and leaves the floats.
    pub(crate) fn drop_histograms(&mut self) {
        for (step, histogram) in self.histograms.drain(..).enumerate() {
            if histogram.is_some() {
                bits::clear(self.valid, step);
            }
        }
    }

    /// Takes over the values of `row` at the steps where it has some.
    pub(crate) fn merge(&mut self, row: Row<'_>) {
        for (step, value) in row.iter() {
            match value {
                Cell::Float(value) => self.set(step, value),
                Cell::Histogram(histogram) => self.set_histogram(step, Arc::clone(histogram)),
            }
        }
    }
}

/// Some series with their values.
#[derive(Debug, Clone)]
pub(crate) struct Tile {
    steps: usize,
    ids: Vec<SeriesId>,
    values: Vec<f64>,
    valid: Vec<u64>,
    /// One row for each series, empty when it has no histogram.
    histograms: Vec<HistogramRow>,
}

impl Tile {
    /// Returns an empty tile over `grid`.
    pub(crate) fn new(grid: Grid) -> Self {
        Self {
            steps: grid.len(),
            ids: Vec::new(),
            values: Vec::new(),
            valid: Vec::new(),
            histograms: Vec::new(),
        }
    }

    /// Returns a tile with one series that has a value at every step.
    pub(crate) fn full(grid: Grid, id: SeriesId, values: &[f64]) -> Self {
        let mut tile = Self::new(grid);
        let row = tile.push(id);
        row.values.copy_from_slice(values);
        bits::set_all(row.valid, values.len());
        tile
    }

    /// Returns the number of series.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Reports whether there is no series.
    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Reports whether the tile should be handed on; one series fits however many steps there are.
    pub(crate) fn is_full(&self) -> bool {
        let series = self.ids.len();
        series >= TILE_SERIES || series > 0 && (series + 1) * self.steps > TILE_CELLS
    }

    /// Returns the bytes that the tile holds, without the labels and bucket layouts, which are shared.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let bytes = size_of_val(&*self.values)
            + size_of_val(&*self.valid)
            + self
                .ids
                .iter()
                .map(|id| size_of::<SeriesId>() + id.labels.key().len())
                .sum::<usize>()
            + self
                .histograms
                .iter()
                .map(|row| histogram_bytes(row))
                .sum::<usize>();
        bytes as u64
    }

    /// Appends a series without values and returns its row.
    pub(crate) fn push(&mut self, id: SeriesId) -> RowMut<'_> {
        self.ids.push(id);
        let words = bits::words(self.steps);
        self.values.resize(self.ids.len() * self.steps, 0.0);
        self.valid.resize(self.ids.len() * words, 0);
        self.histograms.push(HistogramRow::new());
        self.row_mut(self.ids.len() - 1)
    }

    /// Appends a copy of `row`.
    pub(crate) fn push_row(&mut self, id: SeriesId, row: Row<'_>) {
        let target = self.push(id);
        target.values.copy_from_slice(row.values);
        target.valid.copy_from_slice(row.valid);
        target.histograms.extend_from_slice(row.histograms);
    }

    /// Removes the last series when it has no value.
    pub(crate) fn pop_if_empty(&mut self) {
        let Some(last) = self.ids.len().checked_sub(1) else {
            return;
        };
        if bits::is_empty(self.row(last).valid) {
            self.truncate(last);
        }
    }

    fn truncate(&mut self, len: usize) {
        self.ids.truncate(len);
        self.values.truncate(len * self.steps);
        self.valid.truncate(len * bits::words(self.steps));
        self.histograms.truncate(len);
    }

    /// Removes the series without values.
    pub(crate) fn drop_empty(&mut self) {
        let words = bits::words(self.steps);
        let mut kept = 0;
        for index in 0..self.ids.len() {
            if bits::is_empty(self.row(index).valid) {
                continue;
            }
            if kept != index {
                self.ids.swap(kept, index);
                self.histograms.swap(kept, index);
                self.values.copy_within(
                    index * self.steps..(index + 1) * self.steps,
                    kept * self.steps,
                );
                self.valid
                    .copy_within(index * words..(index + 1) * words, kept * words);
            }
            kept += 1;
        }
        self.truncate(kept);
    }

    /// Returns the identity of series `index`.
    pub(crate) fn id(&self, index: usize) -> &SeriesId {
        &self.ids[index]
    }

    /// Returns the identity of series `index`, to be changed.
    pub(crate) fn id_mut(&mut self, index: usize) -> &mut SeriesId {
        &mut self.ids[index]
    }

    /// Returns the values of series `index`.
    pub(crate) fn row(&self, index: usize) -> Row<'_> {
        let words = bits::words(self.steps);
        Row {
            values: &self.values[index * self.steps..(index + 1) * self.steps],
            valid: &self.valid[index * words..(index + 1) * words],
            histograms: &self.histograms[index],
        }
    }

    /// Returns the values of series `index`, to be changed.
    pub(crate) fn row_mut(&mut self, index: usize) -> RowMut<'_> {
        let words = bits::words(self.steps);
        RowMut {
            values: &mut self.values[index * self.steps..(index + 1) * self.steps],
            valid: &mut self.valid[index * words..(index + 1) * words],
            histograms: &mut self.histograms[index],
        }
    }

    /// Returns the series with their values.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&SeriesId, Row<'_>)> {
        self.ids
            .iter()
            .enumerate()
            .map(|(index, id)| (id, self.row(index)))
    }
}
