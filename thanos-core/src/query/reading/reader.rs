//! The reader: decodes the chunks of one series after the other into buffers that are used again.

use super::{Reading, WindowValue};
use crate::chunk::{
    self, Aggregate, Chunk, ChunkPayload, Encoding, HistogramRef, SampleRef, Samples, SeriesChunk,
};
use crate::dedup::{Dedup, Replica, split_by_rhythm, split_overlapping};
use crate::downsample::{CounterTotal, FIVE_MINUTES_MS, ONE_HOUR_MS};
use crate::error::{Error, Result};
use crate::histogram::{CounterResetHint, FloatHistogram, is_stale_nan};
use crate::time::Timestamp;

/// Reads the chunks of a series as its samples.
///
/// # Example
///
/// ```
/// use thanos_core::chunk::{self, Samples};
/// use thanos_core::dedup::Dedup;
/// use thanos_core::query::{Reading, SeriesReader};
/// use thanos_core::time::Timestamp;
///
/// let replica = |shift: i64| {
///     let mut samples = Samples::new();
///     for scrape in 0..10 {
///         samples.push_float(Timestamp::from_millis(scrape * 15_000 + shift), scrape as f64);
///     }
///     chunk::encode(&samples)
/// };
/// let chunks = [replica(0), replica(700)].concat();
/// let reading = Reading { dedup: Some(Dedup::Penalty), ..Reading::default() };
/// let mut samples = Samples::new();
/// SeriesReader::default().read(&chunks, &reading, &mut samples)?;
/// assert_eq!(samples.len(), 10);
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct SeriesReader {
    replicas: Vec<Part>,
    /// The chunk at hand, where it is not decoded in place, and the other half of an average.
    spare: [Samples; 2],
}

/// A replica on its way: chunks that do not overlap.
#[derive(Debug, Default)]
struct Part {
    samples: Samples,
    total: CounterTotal,
}

/// How the chunks of a series are taken together.
#[derive(Debug, Clone, Copy)]
struct Plan {
    windows: WindowValue,
    /// Whether counters are added up, raw ones too.
    is_total: bool,
    /// Whether there are raw and downsampled chunks.
    is_mixed: bool,
    /// Whether all chunks are raw ones of replicas of a counter, whose values are compared as they are.
    is_counter: bool,
    dedup: Dedup,
}

impl Plan {
    fn new(chunks: &[SeriesChunk], reading: &Reading) -> Self {
        let is_raw = |chunk: &&SeriesChunk| matches!(chunk.payload, ChunkPayload::Raw(_));
        let raw = chunks.iter().filter(is_raw).count();
        let is_mixed = raw > 0 && raw < chunks.len();
        let is_total = reading.windows == WindowValue::Total
            && (raw < chunks.len() || reading.dedup == Some(Dedup::PenaltyOfCounter));
        let is_counter = reading.dedup == Some(Dedup::Counter) && raw == chunks.len();
        let dedup = match reading.dedup {
            Some(Dedup::Chain) => Dedup::Chain,
            Some(Dedup::Counter) if is_counter => Dedup::Counter,
            // Totals of two replicas are apart by what one of them did not see.
            Some(_) if is_total => Dedup::PenaltyOfCounter,
            Some(Dedup::Counter) => Dedup::Penalty,
            Some(dedup) => dedup,
            // The same samples twice, in two resolutions: one of the two at a time.
            None if is_mixed && is_total => Dedup::PenaltyOfCounter,
            None if is_mixed => Dedup::Penalty,
            None => Dedup::Chain,
        };
        Self {
            windows: reading.windows,
            is_total,
            is_mixed,
            is_counter,
            dedup,
        }
    }
}

impl SeriesReader {
    /// Replaces `out` by the samples of `chunks`, which are in the order of their times; returns the width of their
    /// windows in milliseconds, 0 when all of them are raw.
    ///
    /// # Errors
    ///
    /// `Corrupt` when a chunk is damaged or lacks the aggregate that is read.
    pub fn read(
        &mut self,
        chunks: &[SeriesChunk],
        reading: &Reading,
        out: &mut Samples,
    ) -> Result<i64> {
        let plan = Plan::new(chunks, reading);
        let numbers = match plan.dedup {
            Dedup::Counter => split_by_rhythm(chunks),
            _ => split_overlapping(chunks.iter().map(SeriesChunk::time_range)),
        };
        let count = numbers.iter().max().map_or(0, |last| last + 1);
        self.replicas
            .resize_with(count.max(self.replicas.len()), Part::default);
        for part in &mut self.replicas {
            part.samples.clear();
            part.total = CounterTotal::default();
        }
        let mut window_ms = 0;
        for (chunk, number) in chunks.iter().zip(numbers) {
            let part = &mut self.replicas[number];
            window_ms = window_ms.max(part.decode(chunk, plan, &mut self.spare)?);
        }
        out.clear();
        match &mut self.replicas[..count] {
            [] => {}
            [only] => std::mem::swap(&mut only.samples, out),
            parts => deduplicate(parts, plan.dedup, reading, out),
        }
        Ok(window_ms)
    }

    /// Returns the bytes that the buffers hold.
    pub fn memory_bytes(&self) -> usize {
        let parts = self.replicas.iter().map(|part| &part.samples);
        parts
            .chain(&self.spare)
            .map(Samples::memory_bytes)
            .sum::<usize>()
    }
}

impl Part {
    /// Appends the samples of a chunk; returns the width of its windows.
    fn decode(&mut self, part: &SeriesChunk, plan: Plan, spare: &mut [Samples; 2]) -> Result<i64> {
        let aggregate = match (&part.payload, plan.windows) {
            (ChunkPayload::Raw(raw), _) => {
                self.raw(raw, plan, &mut spare[0])?;
                return Ok(0);
            }
            (_, WindowValue::Average) => return self.averages(part, spare),
            (_, WindowValue::Count) => Aggregate::Count,
            (_, WindowValue::Sum) => Aggregate::Sum,
            (_, WindowValue::Min) => Aggregate::Min,
            (_, WindowValue::Max) => Aggregate::Max,
            (_, WindowValue::Total) => Aggregate::Counter,
        };
        let Some(chunk) = find(part, aggregate)? else {
            return Ok(0);
        };
        let samples = &mut spare[0];
        decode_alone(chunk, samples)?;
        match plan.is_total {
            true => self.add_up(samples),
            false => self.append(samples),
        }
        Ok(window_ms(samples.times()))
    }

    fn raw(&mut self, chunk: &Chunk, plan: Plan, spare: &mut Samples) -> Result<()> {
        if plan.is_total || plan.is_mixed && plan.windows == WindowValue::Count {
            decode_alone(chunk, spare)?;
            match plan.is_total {
                true => self.add_up(spare),
                false => self.count_up(spare),
            }
            return Ok(());
        }
        if plan.is_counter {
            decode_alone(chunk, spare)?;
            self.append_numbers(spare);
            return Ok(());
        }
        let before = self.samples.len();
        chunk::decode(chunk, &mut self.samples)?;
        let tail = &self.samples.times()[before.saturating_sub(1)..];
        if !tail.is_sorted_by(|a, b| a < b) {
            // Only damaged chunks hold what their times do not say.
            self.samples.truncate(before);
            decode_alone(chunk, spare)?;
            self.append(spare);
        }
        Ok(())
    }

    /// Appends samples; those that are not after the last one are passed over.
    fn append(&mut self, samples: &Samples) {
        for (at, (time, sample)) in samples.iter().enumerate() {
            if self.is_news(time) {
                self.samples
                    .push_with_start(samples.start(at), time, sample);
            }
        }
    }

    /// Appends samples but for those that are not numbers: where a series ends, a counter does not.
    fn append_numbers(&mut self, samples: &Samples) {
        let is_ascending = samples.times().is_sorted_by(|a, b| a < b);
        let is_next = samples.times().first();
        let is_next = is_next.is_none_or(|first| self.is_news(Timestamp::from_millis(*first)));
        let is_number = |value: &f64| !value.is_nan();
        if is_ascending
            && is_next
            && samples.is_float_only()
            && samples.starts().is_empty()
            && self.samples.starts().is_empty()
            && samples.values().iter().all(is_number)
        {
            self.samples
                .extend_floats(samples.times(), samples.values());
            return;
        }
        for (at, (time, sample)) in samples.iter().enumerate() {
            let is_nan = matches!(sample, SampleRef::Float(value) if value.is_nan());
            if !is_nan && self.is_news(time) {
                self.samples
                    .push_with_start(samples.start(at), time, sample);
            }
        }
    }

    fn is_news(&self, time: Timestamp) -> bool {
        let last = self.samples.times().last();
        last.is_none_or(|last| *last < time.as_millis())
    }

    /// Appends a count of 1 for each sample; the end of a series stays what it is.
    fn count_up(&mut self, samples: &Samples) {
        for (time, value) in samples.times().iter().zip(samples.values()) {
            let time = Timestamp::from_millis(*time);
            let count = if is_stale_nan(*value) { *value } else { 1.0 };
            if self.is_news(time) {
                self.samples.push_float(time, count);
            }
        }
    }

    /// Appends the running total of a counter. The resets of histograms show in their buckets and need no help.
    fn add_up(&mut self, samples: &Samples) {
        for (time, sample) in samples.iter() {
            match sample {
                SampleRef::Float(value) => {
                    if let Some(total) = self.total.add(time, value) {
                        self.samples.push_float(time, total);
                    }
                }
                SampleRef::Histogram(_) => {
                    if self.total.is_news(time) {
                        self.samples.push(time, sample);
                    }
                }
            }
        }
    }

    fn averages(&mut self, part: &SeriesChunk, spare: &mut [Samples; 2]) -> Result<i64> {
        let [counts, sums] = spare;
        for (aggregate, samples) in [(Aggregate::Count, &mut *counts), (Aggregate::Sum, sums)] {
            let chunk = part.get(aggregate).ok_or_else(|| missing(aggregate))?;
            decode_alone(chunk, samples)?;
        }
        let sums = &spare[1];
        let counts = &spare[0];
        if counts.times() != sums.times() {
            return Err(Error::corrupt("the windows of count and sum differ"));
        }
        for ((time, sum), count) in sums.iter().zip(counts.values()) {
            if !self.is_news(time) {
                continue;
            }
            match sum {
                SampleRef::Float(sum) => self.samples.push_float(time, sum / count),
                SampleRef::Histogram(sum) => {
                    let average = divided(sum.to_float(), *count);
                    self.samples.push_float_histogram(time, &average);
                }
            }
        }
        Ok(window_ms(counts.times()))
    }
}

fn decode_alone(chunk: &Chunk, samples: &mut Samples) -> Result<()> {
    samples.clear();
    chunk::decode(chunk, samples)
}

/// Returns the chunk of one aggregate; `None` where no function that reads it reads the series.
fn find(part: &SeriesChunk, aggregate: Aggregate) -> Result<Option<&Chunk>> {
    if let Some(found) = part.get(aggregate) {
        return Ok(Some(found));
    }
    // Native histograms have no minimum and maximum, and the functions that want one pass over histograms.
    let has_no_order = matches!(aggregate, Aggregate::Min | Aggregate::Max);
    let is_histogram = |sum: &Chunk| !matches!(sum.encoding, Encoding::XOR | Encoding::XOR2);
    let sum = part.get(Aggregate::Sum);
    let sum = sum.or_else(|| part.get(Aggregate::Counter));
    if has_no_order && sum.is_none_or(is_histogram) {
        return Ok(None);
    }
    Err(missing(aggregate))
}

fn missing(aggregate: Aggregate) -> Error {
    Error::corrupt(format!(
        "a chunk has neither raw samples nor the aggregate {aggregate:?}"
    ))
}

fn divided(mut histogram: FloatHistogram, by: f64) -> FloatHistogram {
    histogram.count /= by;
    histogram.sum /= by;
    histogram.zero_count /= by;
    let buckets = histogram.buckets_mut();
    buckets.iter_mut().for_each(|bucket| *bucket /= by);
    histogram
}

/// Returns the resolution that windows at `times` are of.
///
/// Some may be missing, the last one can end early, and a counter begins before its first window ends.
fn window_ms(times: &[i64]) -> i64 {
    let distances = |times: &[i64]| -> Vec<i64> {
        let distances = times.windows(2).map(|two| two[1].saturating_sub(two[0]));
        distances.filter(|distance| *distance > 0).collect()
    };
    let inner = times
        .get(1..times.len().saturating_sub(2))
        .unwrap_or_default();
    let least = distances(inner).into_iter().min();
    match least.or_else(|| distances(times).into_iter().max()) {
        Some(distance) if distance >= ONE_HOUR_MS => ONE_HOUR_MS,
        _ => FIVE_MINUTES_MS,
    }
}

/// A replica from the first time on that the query needs.
struct Needed<'a> {
    samples: &'a Samples,
    from: usize,
    times: &'a [i64],
}

impl<'a> Needed<'a> {
    fn new(samples: &'a Samples, reading: &Reading) -> Self {
        let times = samples.times();
        let (min, max) = (reading.range.min.as_millis(), reading.range.max.as_millis());
        let from = times.partition_point(|time| *time < min);
        let to = times.partition_point(|time| *time <= max).max(from);
        Self {
            samples,
            from,
            times: &times[from..to],
        }
    }
}

impl Replica for Needed<'_> {
    fn times(&self) -> &[i64] {
        self.times
    }

    fn float(&self, index: usize) -> Option<f64> {
        self.samples.float(self.from + index)
    }
}

fn deduplicate(parts: &[Part], dedup: Dedup, reading: &Reading, out: &mut Samples) {
    let needed: Vec<Needed<'_>> = parts
        .iter()
        .map(|part| Needed::new(&part.samples, reading))
        .filter(|needed| !needed.times.is_empty())
        .collect();
    let replicas: Vec<&Needed<'_>> = needed.iter().collect();
    let picks = dedup.pick(&replicas);
    let is_plain =
        |needed: &Needed<'_>| needed.samples.is_float_only() && needed.samples.starts().is_empty();
    if needed.iter().all(is_plain) {
        for pick in picks {
            let replica = &needed[pick.replica];
            let value = replica.samples.values()[replica.from + pick.sample];
            let time = Timestamp::from_millis(replica.times[pick.sample]);
            out.push_float(time, shifted(value, pick.shift));
        }
        return;
    }
    let mut last = None;
    for pick in picks {
        let replica = &needed[pick.replica];
        let at = replica.from + pick.sample;
        let before = pick.sample.checked_sub(1).map(|at| (pick.replica, at));
        let follows = before.is_some() && before == last;
        let sample = match replica.samples.get(at) {
            SampleRef::Float(value) => SampleRef::Float(shifted(value, pick.shift)),
            // What a histogram says of the one before it holds for that one only.
            SampleRef::Histogram(histogram) if !follows => {
                SampleRef::Histogram(with_unknown_reset(histogram))
            }
            sample @ SampleRef::Histogram(_) => sample,
        };
        let time = Timestamp::from_millis(replica.times[pick.sample]);
        out.push_with_start(replica.samples.start(at), time, sample);
        last = Some((pick.replica, pick.sample));
    }
}

/// Returns the value raised; one that is not raised keeps the sign of its zero.
fn shifted(value: f64, shift: f64) -> f64 {
    if shift == 0.0 { value } else { value + shift }
}

fn with_unknown_reset(mut histogram: HistogramRef<'_>) -> HistogramRef<'_> {
    if histogram.counter_reset_hint != CounterResetHint::Gauge {
        histogram.counter_reset_hint = CounterResetHint::Unknown;
    }
    histogram
}
