//! Aggregates of native histograms: count, sum and counter.
//!
//! All histograms of a batch are brought to one layout first, the lowest resolution and the widest zero bucket among
//! them, because a chunk has only one. Custom bounds can not be brought together without loss: a batch ends where they
//! change. (Thanos stops with a panic there.)

use std::sync::Arc;

use super::floats::count;
use super::windows::{Windows, batches};
use super::{CHUNK_WINDOWS_MAX, RAW_MS, aggregates, chunk_count, column, in_order, xor_chunk};
use crate::chunk::{
    Aggregate, AggregateSet, Chunk, FloatHistogramEncoder, SampleRef, Samples, SeriesChunk,
};
use crate::error::Result;
use crate::histogram::{BucketLayout, CounterResetHint, FloatHistogram};
use crate::time::{TimeRange, Timestamp};

/// A histogram and its time in milliseconds.
type Timed = (i64, FloatHistogram);

/// Downsamples a stretch of raw histograms.
pub(super) fn raw(samples: &Samples, to_ms: i64, out: &mut Vec<SeriesChunk>) -> Result<()> {
    let histograms = timed(samples);
    for stretch in histograms.chunk_by(|(_, a), (_, b)| is_same_kind(a, b)) {
        let times: Vec<i64> = stretch.iter().map(|(time, _)| *time).collect();
        let range = TimeRange::from_millis(times[0], times[times.len() - 1]);
        let count = chunk_count(range, RAW_MS, to_ms, times.len());
        for batch in batches(&times, times.len() / count + 1, to_ms) {
            let mut batch = stretch[batch].to_vec();
            batch.retain(|(_, histogram)| !histogram.sum.is_nan());
            raw_batch(&batch, to_ms, out)?;
        }
    }
    Ok(())
}

/// Returns the histograms that count.
fn timed(samples: &Samples) -> Vec<Timed> {
    let one = |at: usize| match samples.get(at) {
        SampleRef::Histogram(histogram) => Some((samples.times()[at], histogram.to_float())),
        SampleRef::Float(_) => None,
    };
    in_order(samples).filter_map(one).collect()
}

/// Reports whether two histograms can be brought to one layout.
fn is_same_kind(a: &FloatHistogram, b: &FloatHistogram) -> bool {
    let (a, b) = (a.layout(), b.layout());
    Arc::ptr_eq(a, b)
        || a.has_custom_buckets() == b.has_custom_buckets() && a.custom_values == b.custom_values
}

fn raw_batch(batch: &[Timed], to_ms: i64, out: &mut Vec<SeriesChunk>) -> Result<()> {
    let times: Vec<i64> = batch.iter().map(|(time, _)| *time).collect();
    let totals = totals(batch, to_ms)?;
    let sums = sums(batch, to_ms)?;
    let counts = Windows::new(&times, to_ms).map(|(_, samples)| count(samples.len()));
    let windows = totals.into_iter().zip(sums).zip(counts);
    let windows = windows.map(|(((time, total), (_, sum)), count)| Window {
        time,
        count,
        sum,
        total,
    });
    put_windows(windows, out)
}

/// Makes the downsampled chunks of a batch into one; more where custom bounds change.
pub(super) fn aggregated(
    batch: &[SeriesChunk],
    to_ms: i64,
    out: &mut Vec<SeriesChunk>,
) -> Result<()> {
    let bounds = |chunk: &SeriesChunk| -> Result<Vec<f64>> {
        let sums = timed(&column(std::slice::from_ref(chunk), Aggregate::Sum)?);
        let first = sums
            .first()
            .map(|(_, sum)| sum.layout().custom_values.clone());
        Ok(first.unwrap_or_default())
    };
    let mut rest = batch;
    while let Some((first, others)) = rest.split_first() {
        let wanted = bounds(first)?;
        let mut len = 1;
        for chunk in others {
            if bounds(chunk)? != wanted {
                break;
            }
            len += 1;
        }
        let (alike, after) = rest.split_at(len);
        aggregated_alike(alike, to_ms, out)?;
        rest = after;
    }
    Ok(())
}

fn aggregated_alike(batch: &[SeriesChunk], to_ms: i64, out: &mut Vec<SeriesChunk>) -> Result<()> {
    let totals = totals(&timed(&column(batch, Aggregate::Counter)?), to_ms)?;
    let sums = sums(&timed(&column(batch, Aggregate::Sum)?), to_ms)?;
    let counts = column(batch, Aggregate::Count)?;
    let windows = Windows::new(counts.times(), to_ms);
    let counts = windows.map(|(time, samples)| (time, counts.values()[samples].iter().sum()));
    let (mut totals, mut sums) = (totals.into_iter().peekable(), sums.into_iter().peekable());
    // All three have the same windows, unless the chunks are damaged: then only what is whole counts.
    let whole = counts.filter_map(|(time, count)| {
        while totals.next_if(|(other, _)| *other < time).is_some() {}
        while sums.next_if(|(other, _)| *other < time).is_some() {}
        let (_, total) = totals.next_if(|(other, _)| *other == time)?;
        let (_, sum) = sums.next_if(|(other, _)| *other == time)?;
        Some(Window {
            time,
            count,
            sum,
            total,
        })
    });
    put_windows(whole, out)
}

/// Returns the sum of each window. Sums are gauges: that of a window can be lower than that of the one before.
fn sums(batch: &[Timed], to_ms: i64) -> Result<Vec<Timed>> {
    let batch = with_one_layout(batch)?;
    let times: Vec<i64> = batch.iter().map(|(time, _)| *time).collect();
    let mut sums = Vec::new();
    for (time, samples) in Windows::new(&times, to_ms) {
        let (first, others) = (samples.start, samples.start + 1..samples.end);
        let mut sum = batch[first].1.clone();
        for (_, histogram) in &batch[others] {
            sum.add(histogram)?;
        }
        sum.counter_reset_hint = CounterResetHint::Gauge;
        sums.push((time, sum));
    }
    Ok(sums)
}

/// Returns the total of a counter at the end of each window; of a gauge its last value.
fn totals(batch: &[Timed], to_ms: i64) -> Result<Vec<Timed>> {
    let is_gauge = |(_, histogram): &Timed| histogram.counter_reset_hint == CounterResetHint::Gauge;
    let hint = match batch.first().is_some_and(is_gauge) {
        true => CounterResetHint::Gauge,
        false => CounterResetHint::Unknown,
    };
    let own_layouts = batch;
    let batch = with_one_layout(batch)?;
    let times: Vec<i64> = batch.iter().map(|(time, _)| *time).collect();
    let mut totals = Vec::new();
    let mut total: Option<FloatHistogram> = None;
    for (time, samples) in Windows::new(&times, to_ms) {
        for at in samples {
            let now = &batch[at].1;
            let Some(total) = &mut total else {
                total = Some(now.clone());
                continue;
            };
            // Resets are looked for before layouts are changed: a finer one only comes with a reset.
            let is_reset =
                !is_gauge(&batch[at]) && is_reset(&own_layouts[at].1, &own_layouts[at - 1].1);
            if !is_reset {
                let mut before = batch[at - 1].1.clone();
                before.counter_reset_hint = now.counter_reset_hint;
                let mut difference = now.clone();
                difference.subtract(&before)?;
                total.add(&difference)?;
            } else {
                total.add(now)?;
            }
        }
        let mut at_end = total.clone().expect("a window has a sample");
        at_end.counter_reset_hint = hint;
        totals.push((time, at_end));
    }
    Ok(totals)
}

/// Reports a reset that the writer knew of, or that shows in the buckets.
fn is_reset(now: &FloatHistogram, before: &FloatHistogram) -> bool {
    if now.counter_reset_hint != CounterResetHint::NotCounterReset {
        return now.detect_reset(before);
    }
    let mut unsure = now.clone();
    unsure.counter_reset_hint = CounterResetHint::Unknown;
    unsure.detect_reset(before)
}

/// Returns the histograms at the lowest resolution and with the widest zero bucket among them.
fn with_one_layout(batch: &[Timed]) -> Result<Vec<Timed>> {
    let mut brought = batch.to_vec();
    let differ = |two: &[Timed]| {
        let (a, b) = (two[0].1.layout(), two[1].1.layout());
        (a.schema, a.zero_threshold.to_bits()) != (b.schema, b.zero_threshold.to_bits())
    };
    if !batch.windows(2).any(differ) {
        return Ok(brought);
    }
    // Of the sum of all, the zero bucket ends where no bucket of any of them is cut.
    let mut sum = brought[0].1.clone();
    for (_, histogram) in &batch[1..] {
        sum.add(histogram)?;
    }
    let common = BucketLayout {
        schema: sum.layout().schema,
        zero_threshold: sum.layout().zero_threshold,
        ..BucketLayout::default()
    };
    let empty = FloatHistogram::new(Arc::new(common), &[], &[])?;
    for (_, histogram) in &mut brought {
        let hint = histogram.counter_reset_hint;
        histogram.add(&empty)?;
        histogram.counter_reset_hint = hint;
    }
    Ok(brought)
}

/// The aggregates of a window.
pub(crate) struct Window {
    pub(crate) time: i64,
    pub(crate) count: f64,
    pub(crate) sum: FloatHistogram,
    pub(crate) total: FloatHistogram,
}

/// Puts windows into a chunk, and into more where a histogram can not join those before or the chunk is full.
pub(crate) fn put_windows(
    windows: impl Iterator<Item = Window>,
    out: &mut Vec<SeriesChunk>,
) -> Result<()> {
    let mut open: Option<OpenAggregates> = None;
    for window in windows {
        let Some(aggregates) = &mut open else {
            open = Some(OpenAggregates::of(&window));
            continue;
        };
        let ended = match aggregates.times.len() < CHUNK_WINDOWS_MAX {
            true => aggregates.push(&window).map(Some),
            false => Some(None),
        };
        let Some(totals) = ended else {
            continue;
        };
        let next = OpenAggregates::of(&window);
        out.push(std::mem::replace(aggregates, next).finish(totals)?);
    }
    if let Some(aggregates) = open {
        out.push(aggregates.finish(None)?);
    }
    Ok(())
}

/// A chunk of aggregates in the making.
struct OpenAggregates {
    times: Vec<i64>,
    counts: Vec<f64>,
    sums: FloatHistogramEncoder,
    totals: FloatHistogramEncoder,
}

impl OpenAggregates {
    fn of(window: &Window) -> Self {
        let mut open = Self {
            times: Vec::new(),
            counts: Vec::new(),
            sums: FloatHistogramEncoder::new(),
            totals: FloatHistogramEncoder::new(),
        };
        // The first sample of a chunk always fits.
        let _ = open.push(window);
        open
    }

    /// Takes a window. When its total can not join those before, their chunk is returned, and nothing was taken.
    fn push(&mut self, window: &Window) -> Option<Chunk> {
        let time = Timestamp::from_millis(window.time);
        let ended = self.totals.append(time, &window.total);
        if ended.is_none() {
            // Sums are gauges of one layout: they always fit.
            let _ = self.sums.append(time, &window.sum);
            self.times.push(window.time);
            self.counts.push(window.count);
        }
        ended
    }

    fn finish(self, totals: Option<Chunk>) -> Result<SeriesChunk> {
        let mut set = AggregateSet::default();
        set[Aggregate::Count as usize] = Some(xor_chunk(&self.times, &self.counts)?);
        set[Aggregate::Sum as usize] = Some(self.sums.finish());
        let totals = totals.unwrap_or_else(|| self.totals.finish());
        set[Aggregate::Counter as usize] = Some(totals);
        let (min, max) = (self.times[0], self.times[self.times.len() - 1]);
        Ok(aggregates(min, max, set))
    }
}
