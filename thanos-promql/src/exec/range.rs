//! Functions over ranges: of a selector, or of a subquery.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::budget::Lease;
use thanos_core::histogram::{CounterResetHint, FloatHistogram};
use thanos_core::labels::METRIC_NAME;

use super::bits;
use super::context::Context;
use super::grid::Grid;
use super::names::drop_name;
use super::operator::{BoxOperator, Operator};
use super::rows::{RowMaker, SelectRows};
use super::samples::{Detail, SampleBuffer, StaleMarkers};
use super::scalar::{Scalar, Scalars};
use super::select::Shift;
use super::source::{ChunkedSeries, SeriesSource};
use super::tally::{Tally, Windows, weights};
use super::tile::{HistogramRow, Row, SeriesId, Tile};
use crate::annotations::{Annotation, HistogramOperation};
use crate::error::Result;
use crate::functions::window::{Columns, Remark, Remarks, Sweep, WindowFn};
use crate::parser::Span;
use crate::parser::ast::RangeExtension;
use crate::value::SampleValue;

/// What a function over ranges computes, apart from where its samples come from.
#[derive(Debug, Clone)]
pub(crate) struct RangeCall {
    pub(crate) cx: Arc<Context>,
    pub(crate) grid: Grid,
    pub(crate) function: WindowFn,
    pub(crate) range_ms: i64,
    pub(crate) shift: Shift,
    pub(crate) extension: Option<RangeExtension>,
    /// Which part of native histograms the call and what is around it need.
    pub(crate) detail: Detail,
    pub(crate) tally: Tally,
    /// The place of the first argument, for annotations.
    pub(crate) span: Span,
}

/// A [`RangeCall`] with its parameters known.
#[derive(Debug)]
struct Ready {
    call: RangeCall,
    steps: Vec<(i64, i64)>,
    params: [Scalars; 2],
    /// Of the steps.
    _lease: Lease,
}

impl Ready {
    async fn new(call: RangeCall, scalars: Vec<Scalar>) -> Result<Self> {
        let mut params = [Scalars::constant(0.0), Scalars::constant(0.0)];
        for (param, mut scalar) in params.iter_mut().zip(scalars) {
            *param = scalar.eval(&call.cx, call.grid).await?;
        }
        let bytes = call.grid.len() * size_of::<(i64, i64)>();
        let lease = call.cx.lease(bytes as u64)?;
        let steps = call
            .grid
            .times_ms()
            .map(|step_ms| (step_ms, call.shift.apply(step_ms)))
            .collect();
        Ok(Self {
            call,
            steps,
            params,
            _lease: lease,
        })
    }

    /// Appends the row of a series to `tile` when it has values.
    fn add_columns(&self, tile: &mut Tile, id: &SeriesId, mut series: Columns<'_>) -> Result<()> {
        let call = &self.call;
        if !call.cx.start_timestamps {
            series.starts = &[];
        }
        let mut out_id = id.clone();
        if !call.function.keeps_name() {
            drop_name(&call.cx, &mut out_id);
        }
        let mut row = tile.push(out_id);
        let sweep = Sweep {
            steps: &self.steps,
            range_ms: call.range_ms,
            extension: call.extension,
            reach_ms: call.function.reach(call.extension, call.cx.lookback_ms),
            params: [self.params[0].as_slice(), self.params[1].as_slice()],
        };
        let (mut floats, mut histograms) = (0, 0);
        // A row of histograms can be far larger than what it is computed from.
        let mut lease = call.cx.lease(0)?;
        let mut leased = Ok(());
        let set = |step, value| match value {
            SampleValue::Float(value) => {
                floats += 1;
                row.set(step, value);
            }
            SampleValue::Histogram(histogram) => {
                histograms += 1;
                if leased.is_ok() {
                    leased = lease.grow(histogram.size_bytes() as u64);
                    row.set_histogram(step, histogram);
                }
            }
        };
        let mut remarks = Remarks::default();
        let check = || call.cx.check();
        let touched = call.function.over_windows(series.window_ms).sweep(
            series,
            sweep,
            set,
            check,
            &mut remarks,
        )?;
        leased?;
        if !remarks.is_empty() {
            self.annotate(&metric_of(id), &remarks);
        }
        if floats > 0 && call.function.wants_counter_name() {
            self.doubt_counter(id);
        }
        tile.pop_if_empty();
        self.count(series, sweep.reach_ms, touched);
        call.cx.count_points(floats + histograms)
    }

    fn count(&self, series: Columns<'_>, reach_ms: (i64, i64), touched: usize) {
        let call = &self.call;
        let weights = if series.is_float_only() {
            Vec::new()
        } else {
            weights(series)
        };
        let windows = Windows {
            steps: &self.steps,
            range_ms: call.range_ms.saturating_add(reach_ms.0),
            after_ms: reach_ms.1,
            weights: &weights,
        };
        let used = if series.is_float_only() {
            touched as u64
        } else {
            windows.used(series.times)
        };
        let counts = &call.cx.counts;
        counts.add_windows(call.tally, series.times, windows, used);
    }

    fn annotate(&self, metric: &str, remarks: &Remarks) {
        let (cx, span) = (&self.call.cx, self.call.span);
        for q in remarks.quantiles() {
            cx.annotate(Annotation::invalid_quantile(q, span));
        }
        for remark in remarks.iter() {
            cx.annotate(annotation(remark, metric, span));
        }
        if remarks.overlaps() > 0 {
            let windows = remarks.overlaps();
            cx.annotate(Annotation::start_time_overlap(metric, windows, span));
        }
    }

    /// Remarks that a metric is probably no counter.
    fn doubt_counter(&self, id: &SeriesId) {
        let (cx, span) = (&self.call.cx, self.call.span);
        let metric = metric_of(id);
        if metric.is_empty() {
            return;
        }
        if cx.type_and_unit_labels {
            let type_label = id.labels.get(TYPE).unwrap_or_default();
            if !matches!(&*type_label, "counter" | "histogram") {
                let annotation = Annotation::possible_non_counter_type(&metric, &type_label, span);
                cx.annotate(annotation);
            }
            return;
        }
        let is_counter = ["_total", "_sum", "_count", "_bucket"]
            .iter()
            .any(|suffix| metric.ends_with(suffix));
        if !is_counter {
            cx.annotate(Annotation::possible_non_counter(&metric, span));
        }
    }
}

/// The label that tells the type of a metric.
const TYPE: &str = "__type__";

fn metric_of(id: &SeriesId) -> Cow<'_, str> {
    id.labels.get(METRIC_NAME).unwrap_or_default()
}

fn annotation(remark: Remark, metric: &str, span: Span) -> Annotation {
    use HistogramOperation::{Addition, Aggregation, Subtraction};
    match remark {
        Remark::MixedKinds => Annotation::mixed_floats_histograms(metric, span),
        Remark::HistogramsIgnored => Annotation::histogram_ignored_in_mixed_range(metric, span),
        Remark::NotCounter => Annotation::native_histogram_not_counter(metric, span),
        Remark::NotGauge => Annotation::native_histogram_not_gauge(metric, span),
        Remark::MixedBuckets => Annotation::mixed_exponential_custom(metric, span),
        Remark::BoundsReconciledInAddition => Annotation::mismatched_custom_buckets(Addition, span),
        Remark::BoundsReconciledInSubtraction => {
            Annotation::mismatched_custom_buckets(Subtraction, span)
        }
        Remark::BoundsReconciledInAggregation => {
            Annotation::mismatched_custom_buckets(Aggregation, span)
        }
        Remark::HintCollision => Annotation::counter_reset_collision(Aggregation, span),
    }
}

/// A call whose parameters are computed when the first tile is wanted.
#[derive(Debug)]
struct Prepared {
    call: RangeCall,
    scalars: Vec<Scalar>,
    ready: Option<Arc<Ready>>,
}

impl Prepared {
    async fn ready(&mut self) -> Result<Arc<Ready>> {
        if let Some(ready) = &self.ready {
            return Ok(Arc::clone(ready));
        }
        let scalars = std::mem::take(&mut self.scalars);
        let ready = Arc::new(Ready::new(self.call.clone(), scalars).await?);
        self.ready = Some(Arc::clone(&ready));
        Ok(ready)
    }
}

impl RowMaker for Arc<Ready> {
    fn add(
        &self,
        tile: &mut Tile,
        series: &ChunkedSeries,
        buffer: &mut SampleBuffer,
    ) -> Result<()> {
        let columns = buffer.decode(series, StaleMarkers::Drop, self.call.detail)?;
        self.add_columns(tile, &SeriesId::new(series.labels.clone()), columns)
    }
}

/// A function over the samples of a selector.
#[derive(Debug)]
pub(crate) struct RangeOverSelect {
    grid: Grid,
    state: RangeState,
}

#[derive(Debug)]
enum RangeState {
    /// The parameters are not known yet.
    Waiting(Box<(Prepared, SeriesSource)>),
    Running(Box<SelectRows<Arc<Ready>>>),
    Failed,
}

impl RangeOverSelect {
    pub(crate) fn new(call: RangeCall, scalars: Vec<Scalar>, source: SeriesSource) -> Self {
        let grid = call.grid;
        let prepared = Prepared {
            call,
            scalars,
            ready: None,
        };
        Self {
            grid,
            state: RangeState::Waiting(Box::new((prepared, source))),
        }
    }
}

#[async_trait]
impl Operator for RangeOverSelect {
    fn grid(&self) -> Grid {
        self.grid
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        if let RangeState::Running(rows) = &mut self.state {
            return rows.next().await;
        }
        let RangeState::Waiting(waiting) = std::mem::replace(&mut self.state, RangeState::Failed)
        else {
            return Ok(None);
        };
        let (mut prepared, source) = *waiting;
        let ready = prepared.ready().await?;
        let cx = Arc::clone(&ready.call.cx);
        let mut rows = Box::new(SelectRows::new(cx, self.grid, ready, source));
        let first = rows.next().await;
        self.state = RangeState::Running(rows);
        first
    }
}

/// A function over the results of a subquery.
#[derive(Debug)]
pub(crate) struct RangeOverSubquery {
    cx: Arc<Context>,
    grid: Grid,
    prepared: Prepared,
    input: BoxOperator,
    tile: Option<(Tile, usize)>,
    columns: RowColumns,
}

impl RangeOverSubquery {
    pub(crate) fn new(call: RangeCall, scalars: Vec<Scalar>, input: BoxOperator) -> Self {
        Self {
            cx: Arc::clone(&call.cx),
            grid: call.grid,
            prepared: Prepared {
                call,
                scalars,
                ready: None,
            },
            input,
            tile: None,
            columns: RowColumns::default(),
        }
    }

    /// Returns the tile that holds the next input row.
    async fn input_row(&mut self) -> Result<Option<(Tile, usize)>> {
        match self.tile.take() {
            Some((tile, row)) if row < tile.len() => Ok(Some((tile, row))),
            _ => Ok(self.input.next().await?.map(|tile| (tile, 0))),
        }
    }
}

/// The samples of a row as columns, in buffers that are used again.
#[derive(Debug, Default)]
pub(crate) struct RowColumns {
    times: Vec<i64>,
    values: Vec<f64>,
    histograms: HistogramRow,
}

impl RowColumns {
    /// Replaces the content by the samples of `row`.
    pub(crate) fn load(&mut self, grid: Grid, row: Row<'_>) -> Columns<'_> {
        self.times.clear();
        self.values.clear();
        self.histograms.clear();
        for step in bits::ones(row.valid) {
            self.times.push(grid.time_ms(step));
            self.values.push(row.values[step]);
        }
        if !row.is_float_only() {
            self.load_histograms(row);
        }
        Columns {
            times: &self.times,
            values: &self.values,
            histograms: &self.histograms,
            starts: &[],
            window_ms: 0,
        }
    }

    /// Loads the histograms without their hints of counter resets.
    ///
    /// A subquery leaves samples out and has others twice, so that the hints are not true of its samples.
    /// Source: Prometheus `promql/engine.go`, `evalSubquery`.
    fn load_histograms(&mut self, row: Row<'_>) {
        let mut last: Option<(&Arc<FloatHistogram>, Arc<FloatHistogram>)> = None;
        for step in bits::ones(row.valid) {
            let Some(histogram) = row.histogram(step) else {
                self.histograms.push(None);
                continue;
            };
            let without_hint = match &last {
                Some((known, loaded)) if Arc::ptr_eq(known, histogram) => Arc::clone(loaded),
                _ => without_hint(histogram),
            };
            self.histograms.push(Some(Arc::clone(&without_hint)));
            last = Some((histogram, without_hint));
        }
    }
}

fn without_hint(histogram: &Arc<FloatHistogram>) -> Arc<FloatHistogram> {
    let mut copy = Arc::clone(histogram);
    match copy.counter_reset_hint {
        CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        CounterResetHint::CounterReset | CounterResetHint::NotCounterReset => {
            Arc::make_mut(&mut copy).counter_reset_hint = CounterResetHint::Unknown;
        }
    }
    copy
}

#[async_trait]
impl Operator for RangeOverSubquery {
    fn grid(&self) -> Grid {
        self.grid
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        self.cx.turn().await?;
        let ready = self.prepared.ready().await?;
        let mut tile = Tile::new(self.grid);
        while !tile.is_full() {
            let Some((input, row)) = self.input_row().await? else {
                break;
            };
            let columns = self.columns.load(self.input.grid(), input.row(row));
            ready.add_columns(&mut tile, input.id(row), columns)?;
            self.tile = Some((input, row + 1));
        }
        Ok((!tile.is_empty()).then_some(tile))
    }
}
