//! The end of an evaluation: tiles become the value of the query, held under a lease.

use std::sync::Arc;

use thanos_core::budget::Lease;
use thanos_core::labels::Labels;
use thanos_core::time::Timestamp;

use super::collect::MergingCollector;
use super::context::Context;
use super::grid::Grid;
use super::labels::without_metadata;
use super::names::Overlap;
use super::operator::BoxOperator;
use super::samples::{SampleBuffer, StaleMarkers};
use super::select::Shift;
use super::source::{Popped, SeriesSource};
use super::tile::{Row, SeriesId, Tile};
use crate::error::{Error, Result};
use crate::value::{Point, Sample, Series};

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
        if let Some(value) = row.get(0) {
            lease.grow(series_bytes(&id.labels, 1))?;
            samples.push(Sample {
                labels: id.labels.clone(),
                point: Point { time, value },
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
        let points: Vec<Point> = row
            .iter()
            .map(|(step, value)| Point {
                time: Timestamp::from_millis(grid.time_ms(step)),
                value,
            })
            .collect();
        lease.grow(series_bytes(&id.labels, points.len()))?;
        all.push(Series {
            labels: id.labels.clone(),
            points,
        });
        Ok(())
    })
    .await?;
    sort_series(&mut all)?;
    Ok((all, lease))
}

/// Returns the samples of a window, sorted by labels: a range selector as the whole query.
pub(crate) async fn window(
    cx: &Arc<Context>,
    mut source: SeriesSource,
    grid: Grid,
    shift: Shift,
    range_ms: i64,
) -> Result<(Vec<Series>, Lease)> {
    let end_ms = shift.apply(grid.start_ms());
    let start_ms = end_ms.saturating_sub(range_ms);
    let mut buffer = SampleBuffer::default();
    let mut all = Vec::new();
    let mut lease = cx.lease(0)?;
    loop {
        match source.pop() {
            Popped::End => break,
            Popped::Starved => source.fill().await?,
            Popped::Series(series) => {
                let columns = buffer.decode(&series, StaleMarkers::Drop)?;
                let points: Vec<Point> = columns
                    .times
                    .iter()
                    .zip(columns.values)
                    .filter(|(time, _)| start_ms < **time && **time <= end_ms)
                    .map(|(time, value)| Point {
                        time: Timestamp::from_millis(*time),
                        value: *value,
                    })
                    .collect();
                cx.count_series(1);
                cx.count_samples(points.len(), points.len())?;
                if points.is_empty() {
                    continue;
                }
                lease.grow(series_bytes(&series.labels, points.len()))?;
                all.push(Series {
                    labels: series.labels,
                    points,
                });
            }
        }
    }
    sort_series(&mut all)?;
    Ok((all, lease))
}

fn sort_series(all: &mut [Series]) -> Result<()> {
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    if all.windows(2).any(|pair| pair[0].labels == pair[1].labels) {
        return Err(Error::same_labelset());
    }
    Ok(())
}

fn series_bytes(labels: &Labels, points: usize) -> u64 {
    (size_of::<Series>() + labels.key().len() + points * size_of::<Point>()) as u64
}
