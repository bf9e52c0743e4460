//! Aggregates of floats.

use std::ops::Range;

use super::windows::{Windows, batches};
use super::{CounterTotal, RAW_MS, aggregates, chunk_count, column, in_order, xor_chunk};
use crate::chunk::{Aggregate, AggregateSet, Samples, SeriesChunk};
use crate::error::{Error, Result};
use crate::time::{TimeRange, Timestamp};

/// COMPAT: what the minimum of a window begins with, so that of nothing but infinity it is the largest finite float.
const LEAST_START: f64 = f64::MAX;
/// COMPAT: what the maximum of a window begins with.
const GREATEST_START: f64 = f64::MIN;

/// Downsamples a stretch of raw floats.
pub(super) fn raw(samples: &Samples, to_ms: i64, out: &mut Vec<SeriesChunk>) -> Result<()> {
    let (mut times, mut values) = columns(samples);
    let [Some(first), Some(last)] = [times.first(), times.last()] else {
        return Ok(());
    };
    let range = TimeRange::from_millis(*first, *last);
    // What is not a number takes part in this, and in nothing else.
    let count = chunk_count(range, RAW_MS, to_ms, times.len());
    let batches = batches(&times, times.len() / count + 1, to_ms);
    let mut made = Vec::new();
    for batch in batches {
        let numbers = drop_not_numbers(&mut times[batch.clone()], &mut values[batch.clone()]);
        let batch = batch.start..batch.start + numbers;
        let (times, values) = (&times[batch.clone()], &values[batch]);
        if !times.is_empty() {
            made.push(raw_batch(times, values, to_ms)?);
        }
    }
    out.extend(made);
    Ok(())
}

/// Moves the samples that are numbers to the front and returns how many there are.
fn drop_not_numbers(times: &mut [i64], values: &mut [f64]) -> usize {
    let mut kept = 0;
    for at in 0..values.len() {
        if !values[at].is_nan() {
            (times[kept], values[kept]) = (times[at], values[at]);
            kept += 1;
        }
    }
    kept
}

/// Returns the samples that count, as columns.
fn columns(samples: &Samples) -> (Vec<i64>, Vec<f64>) {
    let sample = |at: usize| (samples.times()[at], samples.values()[at]);
    in_order(samples).map(sample).unzip()
}

/// The windows of a batch, in columns.
#[derive(Debug, Default)]
struct Columns {
    times: Vec<i64>,
    counts: Vec<f64>,
    sums: Vec<f64>,
    minima: Vec<f64>,
    maxima: Vec<f64>,
    totals: Vec<f64>,
}

fn raw_batch(times: &[i64], values: &[f64], to_ms: i64) -> Result<SeriesChunk> {
    let mut columns = Columns::default();
    // A counter begins with its first value as it was scraped, and ends with the last.
    let mut counter_times = vec![times[0]];
    columns.totals.push(values[0]);
    // The first sample comes as a difference from zero, not from itself: that is not zero when it is infinite.
    let (mut total, mut last) = (0.0, 0.0);
    for (time, samples) in Windows::new(times, to_ms) {
        let (mut sum, mut min, mut max) = (0.0, LEAST_START, GREATEST_START);
        let window = &values[samples];
        for value in window {
            let value = *value;
            sum += value;
            min = lesser(min, value);
            max = greater(max, value);
            total += if value < last { value } else { value - last };
            last = value;
        }
        columns.times.push(time);
        columns.counts.push(count(window.len()));
        columns.sums.push(sum);
        columns.minima.push(min);
        columns.maxima.push(max);
        columns.totals.push(total);
    }
    counter_times.extend_from_slice(&columns.times);
    let end = columns.times[columns.times.len() - 1];
    counter_times.push(end);
    columns.totals.push(last);
    let mut set = AggregateSet::default();
    let mut put = |aggregate: Aggregate, times: &[i64], values: &[f64]| {
        set[aggregate as usize] = Some(xor_chunk(times, values)?);
        Ok::<(), Error>(())
    };
    put(Aggregate::Count, &columns.times, &columns.counts)?;
    put(Aggregate::Sum, &columns.times, &columns.sums)?;
    put(Aggregate::Min, &columns.times, &columns.minima)?;
    put(Aggregate::Max, &columns.times, &columns.maxima)?;
    put(Aggregate::Counter, &counter_times, &columns.totals)?;
    Ok(aggregates(columns.times[0], end, set))
}

/// Returns the lesser value; a value that is not a number changes nothing.
fn lesser(min: f64, value: f64) -> f64 {
    if value < min { value } else { min }
}

/// Returns the greater value; a value that is not a number changes nothing.
fn greater(max: f64, value: f64) -> f64 {
    if value > max { value } else { max }
}

#[expect(clippy::cast_precision_loss, reason = "no window has 2^53 samples")]
pub(super) fn count(samples: usize) -> f64 {
    samples as f64
}

/// Returns the downsampled chunks of a batch as one; nothing when they are without a sample.
pub(super) fn aggregated(batch: &[SeriesChunk], to_ms: i64) -> Result<Option<SeriesChunk>> {
    let mut set = AggregateSet::default();
    let mut range: Option<(i64, i64)> = None;
    let mut put = |aggregate: Aggregate, windows: &[i64], times: &[i64], values: &[f64]| {
        if let [first, .., last] | [first @ last] = windows {
            let (min, max) = range.unwrap_or((*first, *last));
            range = Some((min.min(*first), max.max(*last)));
            set[aggregate as usize] = Some(xor_chunk(times, values)?);
        }
        Ok::<(), Error>(())
    };
    for aggregate in [
        Aggregate::Count,
        Aggregate::Sum,
        Aggregate::Min,
        Aggregate::Max,
    ] {
        let (times, values) = columns(&column(batch, aggregate)?);
        let fold = |samples: Range<usize>| {
            let window = values[samples].iter().copied();
            match aggregate {
                Aggregate::Min => window.fold(LEAST_START, lesser),
                Aggregate::Max => window.fold(GREATEST_START, greater),
                _ => window.fold(0.0, |sum, value| sum + value),
            }
        };
        let windows = Windows::new(&times, to_ms);
        let (times, values): (Vec<i64>, Vec<f64>) =
            windows.map(|(time, samples)| (time, fold(samples))).unzip();
        put(aggregate, &times, &times, &values)?;
    }
    let (windows, times, values) = counter(batch, to_ms)?;
    put(Aggregate::Counter, &windows, &times, &values)?;
    Ok(range.map(|(min, max)| aggregates(min, max, set)))
}

/// Returns the windows of the counter, and the times and values of its chunk.
fn counter(batch: &[SeriesChunk], to_ms: i64) -> Result<(Vec<i64>, Vec<i64>, Vec<f64>)> {
    let samples = column(batch, Aggregate::Counter)?;
    let mut total = CounterTotal::default();
    let shown = samples.times().iter().zip(samples.values());
    let shown = shown.filter_map(|(time, value)| {
        let total = total.add(Timestamp::from_millis(*time), *value)?;
        Some((*time, total))
    });
    let (times, totals): (Vec<i64>, Vec<f64>) = shown.unzip();
    let Some(last_value) = total.last_value() else {
        return Ok(Default::default());
    };
    let mut windows = Vec::new();
    let (mut counter_times, mut values) = (vec![times[0]], vec![totals[0]]);
    let (mut sum, mut last) = (totals[0], totals[0]);
    for (time, samples) in Windows::new(&times, to_ms) {
        for total in &totals[samples.start.max(1)..samples.end.max(1)] {
            // COMPAT: differences are added up, and not the last total taken, for the same last bit.
            sum += if *total < last { *total } else { *total - last };
            last = *total;
        }
        windows.push(time);
        counter_times.push(time);
        values.push(sum);
    }
    counter_times.extend(windows.last());
    values.push(last_value);
    Ok((windows, counter_times, values))
}
