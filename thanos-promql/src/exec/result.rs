//! The end of an evaluation: tiles become the value of the query, held under a lease.

use std::sync::Arc;
use std::time::Instant;

use thanos_core::budget::Lease;
use thanos_core::histogram::FloatHistogram;
use thanos_core::labels::Labels;
use thanos_core::time::Timestamp;

use super::bits;
use super::collect::MergingCollector;
use super::context::Context;
use super::labels::without_metadata;
use super::names::Overlap;
use super::operator::BoxOperator;
use super::samples::{Detail, SampleBuffer, StaleMarkers};
use super::source::{Popped, SeriesSource};
use super::tally::Tally;
use super::tile::{Cell, Row, SeriesId, Tile, histogram_bytes};
use crate::error::{Error, Result};
use crate::functions::window::{self, Columns};
use crate::parser::ast::RangeExtension;
use crate::value::{HistogramPoint, Point, Sample, Series};

/// Pulls all tiles; with delayed name removal the names go here.
async fn for_each_row(
    cx: &Arc<Context>,
    mut operator: BoxOperator,
    mut each: impl FnMut(&SeriesId, Row<'_>) -> Result<()>,
) -> Result<()> {
    let mut each_tile =
        |tile: &Tile| -> Result<()> { tile.rows().try_for_each(|(id, row)| each(id, row)) };
    if !cx.delayed_name_removal {
        while let Some(tile) = operator.next().await? {
            each_tile(&tile)?;
        }
        return Ok(());
    }
    let mut merged = MergingCollector::new(Arc::clone(cx), operator.grid(), Overlap::AtStep);
    while let Some(mut tile) = operator.next().await? {
        for index in 0..tile.len() {
            let id = tile.id_mut(index);
            if id.drop_name {
                id.labels = without_metadata(&id.labels);
            }
        }
        merged.add(&tile)?;
    }
    let mut merged = merged.finish();
    while let Some(tile) = merged.next() {
        each_tile(&tile)?;
    }
    Ok(())
}

/// Returns the result of an instant query that is a vector.
pub(crate) async fn vector(
    cx: &Arc<Context>,
    operator: BoxOperator,
    time: Timestamp,
) -> Result<(Vec<Sample>, Lease)> {
    let mut samples = Vec::new();
    let mut lease = cx.lease(0)?;
    for_each_row(cx, operator, |id, row| {
        if let Some(cell) = row.get(0) {
            lease.grow(row_bytes(&id.labels, row))?;
            samples.push(Sample {
                labels: id.labels.clone(),
                time,
                value: cell.to_value(),
            });
        }
        Ok(())
    })
    .await?;
    Ok((samples, lease))
}

/// Returns series over all steps, sorted by labels.
pub(crate) async fn matrix(
    cx: &Arc<Context>,
    operator: BoxOperator,
) -> Result<(Vec<Series>, Lease)> {
    let grid = operator.grid();
    let mut all = Vec::new();
    let mut lease = cx.lease(0)?;
    for_each_row(cx, operator, |id, row| {
        lease.grow(row_bytes(&id.labels, row))?;
        let time = |step| Timestamp::from_millis(grid.time_ms(step));
        let point = |(step, value)| Point {
            time: time(step),
            value,
        };
        let histogram = |(step, histogram): (usize, &Arc<FloatHistogram>)| HistogramPoint {
            time: time(step),
            histogram: Arc::clone(histogram),
        };
        let mut points = Vec::new();
        if row.is_float_only() {
            points.reserve_exact(bits::count(row.valid));
        }
        points.extend(row.iter_floats().map(point));
        all.push(Series {
            labels: id.labels.clone(),
            points,
            histograms: row.iter_histograms().map(histogram).collect(),
        });
        Ok(())
    })
    .await?;
    sort_series(cx, &mut all)?;
    Ok((all, lease))
}

/// Returns the samples of a window, sorted by labels: a range selector as the whole query.
pub(crate) async fn window(
    cx: &Arc<Context>,
    mut source: SeriesSource,
    borders: (i64, i64),
    extension: Option<RangeExtension>,
) -> Result<(Vec<Series>, Lease)> {
    let mut buffer = SampleBuffer::default();
    let mut all = Vec::new();
    let mut lease = cx.lease(0)?;
    loop {
        match source.pop() {
            Popped::End => break,
            Popped::Starved => source.fill().await?,
            Popped::Series(series) => {
                let columns = buffer.decode(&series, StaleMarkers::Drop, Detail::Buckets)?;
                let reach = window::reach(extension, cx.lookback_ms);
                let found = columns.between(
                    borders.0.saturating_sub(reach.0),
                    borders.1.saturating_add(reach.1),
                );
                let extended = match extension {
                    None => None,
                    Some(extension) if found.is_float_only() => {
                        Some(window::extend(found, borders, extension))
                    }
                    Some(extension) => return Err(no_histograms(extension)),
                };
                let found = match &extended {
                    None => found,
                    Some((times, values)) => Columns::floats(times, values),
                };
                let len = found.times.len();
                cx.count_series(1);
                cx.counts.add_row(Tally::of_query(), &[1], len);
                cx.count_points(len)?;
                if len > 0 {
                    let histograms = histogram_bytes(found.histograms);
                    lease.grow(series_bytes(&series.labels, len, histograms))?;
                    all.push(series_of(series.labels, found));
                }
            }
        }
    }
    sort_series(cx, &mut all)?;
    Ok((all, lease))
}

/// COMPAT: only functions take such windows of histograms (Prometheus `promql/engine.go`, `matrixSelector`).
fn no_histograms(extension: RangeExtension) -> Error {
    let modifier = extension.as_str();
    Error::execution(format!(
        "{modifier} modifier is not supported with histograms"
    ))
}

fn series_of(labels: Labels, samples: Columns<'_>) -> Series {
    let mut series = Series {
        labels,
        ..Series::default()
    };
    for (index, ms) in samples.times.iter().enumerate() {
        let time = Timestamp::from_millis(*ms);
        match samples.cell(index) {
            Cell::Float(value) => series.points.push(Point { time, value }),
            Cell::Histogram(histogram) => series.histograms.push(HistogramPoint {
                time,
                histogram: Arc::clone(histogram),
            }),
        }
    }
    series
}

fn sort_series(cx: &Context, all: &mut [Series]) -> Result<()> {
    let started = Instant::now();
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    cx.add_sort_time(started.elapsed());
    if all.windows(2).any(|pair| pair[0].labels == pair[1].labels) {
        return Err(Error::same_labelset());
    }
    Ok(())
}

fn row_bytes(labels: &Labels, row: Row<'_>) -> u64 {
    let histograms = histogram_bytes(row.histograms);
    series_bytes(labels, bits::count(row.valid), histograms)
}

fn series_bytes(labels: &Labels, points: usize, histogram_bytes: usize) -> u64 {
    let labels = size_of::<Series>() + labels.key().len();
    (labels + points * size_of::<Point>() + histogram_bytes) as u64
}
