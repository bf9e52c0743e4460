//! What differs between integer and float histograms when they are written.

use std::fmt::Debug;
use std::sync::Arc;

use crate::chunk::Encoding;
use crate::chunk::samples::HistogramRef;
use crate::chunk::xor_value::XorValue;
use crate::encoding::bits::BitWriter;
use crate::histogram::spans::{Pair, Span, pairs, spread, to_counts, to_deltas};
use crate::histogram::{BucketLayout, CounterResetHint, FloatHistogram, Histogram};

/// The numbers of the last sample of a chunk, and how the next one is written after them.
///
/// Implemented for [`Integer`] and [`Float`] and closed to others.
pub trait Kind: Numbers {}

impl Kind for Integer {}
impl Kind for Float {}

/// Why a sample cannot join a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Apart {
    /// The chunk is one of gauges and the sample is a counter, or the other way round.
    GaugeMismatch,
    /// A counter was reset.
    Reset,
    /// The chunk has ended with a stale marker.
    AfterStale,
    /// The schema or the zero threshold changed, or the bounds of a gauge.
    NewLayout,
}

/// Which buckets of a sample and of a chunk are missing on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gaps {
    /// The chunk lacks buckets of the sample.
    pub(super) in_chunk: bool,
    /// The sample lacks buckets of the chunk.
    pub(super) in_sample: bool,
}

impl Gaps {
    fn add(&mut self, pair: Pair) {
        self.in_chunk |= pair.a.is_none();
        self.in_sample |= pair.b.is_none();
    }
}

/// Returns the gaps between two sides.
pub(super) fn gaps(chunk: &[Span], sample: &[Span]) -> Gaps {
    let mut gaps = Gaps::default();
    if chunk != sample {
        pairs(chunk, sample).for_each(|pair| gaps.add(pair));
    }
    gaps
}

/// Returns the gaps between two sides of a counter, or nothing when a count has decreased.
///
/// A bucket that vanished has decreased, unless it was empty.
fn counter_gaps<C: PartialOrd + Default + Copy>(
    (chunk_spans, chunk): (&[Span], impl Iterator<Item = C>),
    (sample_spans, sample): (&[Span], impl Iterator<Item = C>),
) -> Option<Gaps> {
    let mut gaps = Gaps::default();
    if chunk_spans == sample_spans {
        let decreased = chunk
            .zip(sample)
            .fold(false, |any, (old, new)| any | (old > new));
        return (!decreased).then_some(gaps);
    }
    let (chunk, sample): (Vec<C>, Vec<C>) = (chunk.collect(), sample.collect());
    for pair in pairs(chunk_spans, sample_spans) {
        gaps.add(pair);
        let fits = match (pair.a.map(|at| chunk[at]), pair.b.map(|at| sample[at])) {
            (Some(old), Some(new)) => old.partial_cmp(&new) != Some(std::cmp::Ordering::Greater),
            (Some(old), None) => old == C::default(),
            (None, _) => true,
        };
        if !fits {
            return None;
        }
    }
    Some(gaps)
}

/// Returns absolute counts of buckets that are given as differences.
fn running(deltas: &[i64]) -> impl Iterator<Item = i64> {
    deltas.iter().scan(0_i64, |count, &delta| {
        *count = count.wrapping_add(delta);
        Some(*count)
    })
}

/// What every histogram sample has.
#[derive(Debug, Clone, Copy)]
pub struct Common<'a> {
    pub(super) hint: CounterResetHint,
    pub(super) sum: f64,
    pub(super) layout: &'a Arc<BucketLayout>,
}

mod private {
    use super::{
        Apart, Arc, BucketLayout, Common, CounterResetHint, Debug, Encoding, Gaps, HistogramRef,
    };
    use crate::encoding::bits::BitWriter;

    /// The sealed part of [`super::Kind`].
    pub trait Numbers: Debug + Clone + Default {
        /// The sample.
        type Sample: Clone;
        /// The encoding byte.
        const ENCODING: Encoding;
        /// The encoding byte of chunks with start timestamps.
        const ENCODING_WITH_STARTS: Encoding;

        /// Returns what every sample has.
        fn common(sample: &Self::Sample) -> Common<'_>;
        /// Returns the marker of the end of a series.
        fn stale() -> Self::Sample;
        /// Returns the sample if it is of this kind.
        fn from_ref(sample: HistogramRef<'_>) -> Option<Self::Sample>;
        /// Returns the sample with the buckets of `layout`, which are at least its own.
        fn spread(sample: &Self::Sample, layout: &Arc<BucketLayout>) -> Self::Sample;
        /// Returns the header of a chunk that begins because its first sample could not join the chunk before.
        fn header_after(apart: Apart) -> CounterResetHint;
        /// Returns the header of a chunk that was begun for its size, from the relation to the chunk before.
        fn header_continued(relation: Result<(), Apart>) -> CounterResetHint;

        /// Reports whether the number of observations is below the last sample's.
        fn count_decreased(&self, sample: &Self::Sample) -> bool;
        /// Reports whether the zero count is below the last sample's.
        fn zero_count_decreased(&self, sample: &Self::Sample) -> bool;
        /// Compares the buckets of a counter: nothing means that one has decreased.
        fn counter_gaps(
            &self,
            layout: &BucketLayout,
            sample: &Self::Sample,
        ) -> Option<(Gaps, Gaps)>;

        /// Writes the counts of sample 0.
        fn put_first_counts(&mut self, writer: &mut BitWriter, sample: &Self::Sample);
        /// Writes the buckets of sample 0.
        fn put_first_buckets(&mut self, writer: &mut BitWriter, sample: &Self::Sample);
        /// Writes the counts of a later sample.
        fn put_counts(&mut self, writer: &mut BitWriter, sample: &Self::Sample, stale: bool);
        /// Writes the buckets of a later sample.
        fn put_buckets(&mut self, writer: &mut BitWriter, sample: &Self::Sample);
    }
}
use private::Numbers;

/// The numbers of an integer histogram.
#[derive(Debug, Clone, Default)]
pub struct Integer {
    count: u64,
    zero_count: u64,
    count_delta: i64,
    zero_count_delta: i64,
    deltas: Vec<i64>,
    changes: Vec<i64>,
}

impl Numbers for Integer {
    type Sample = Histogram;
    const ENCODING: Encoding = Encoding::HISTOGRAM;
    const ENCODING_WITH_STARTS: Encoding = Encoding::HISTOGRAM_ST;

    fn common(sample: &Histogram) -> Common<'_> {
        Common {
            hint: sample.counter_reset_hint,
            sum: sample.sum,
            layout: sample.layout(),
        }
    }

    fn stale() -> Histogram {
        Histogram::stale()
    }

    fn from_ref(sample: HistogramRef<'_>) -> Option<Histogram> {
        sample.to_integer()
    }

    fn spread(sample: &Histogram, layout: &Arc<BucketLayout>) -> Histogram {
        let own = sample.layout();
        let side = |from: &[Span], deltas: &[i64], to: &[Span]| {
            to_deltas(&spread(from, &to_counts(deltas), to))
        };
        let mut deltas = side(
            &own.positive_spans,
            sample.positive_deltas(),
            &layout.positive_spans,
        );
        deltas.extend(side(
            &own.negative_spans,
            sample.negative_deltas(),
            &layout.negative_spans,
        ));
        let mut wider = sample.clone();
        wider.set_deltas(Arc::clone(layout), deltas);
        wider
    }

    fn header_after(apart: Apart) -> CounterResetHint {
        match apart {
            // COMPAT: HistogramAppender.appendable begins with "not reset" and leaves with it here.
            Apart::GaugeMismatch => CounterResetHint::NotCounterReset,
            Apart::Reset => CounterResetHint::CounterReset,
            Apart::AfterStale | Apart::NewLayout => CounterResetHint::Unknown,
        }
    }

    fn header_continued(relation: Result<(), Apart>) -> CounterResetHint {
        match relation {
            Ok(()) => CounterResetHint::NotCounterReset,
            Err(apart) => Self::header_after(apart),
        }
    }

    fn count_decreased(&self, sample: &Histogram) -> bool {
        sample.count < self.count
    }

    fn zero_count_decreased(&self, sample: &Histogram) -> bool {
        sample.zero_count < self.zero_count
    }

    fn counter_gaps(&self, layout: &BucketLayout, sample: &Histogram) -> Option<(Gaps, Gaps)> {
        let own = sample.layout();
        let (positive, negative) = self.deltas.split_at(layout.positive_len());
        let side = |spans: &[Span], deltas: &[i64], sample_spans: &[Span], sample: &[i64]| {
            counter_gaps((spans, running(deltas)), (sample_spans, running(sample)))
        };
        Some((
            side(
                &layout.positive_spans,
                positive,
                &own.positive_spans,
                sample.positive_deltas(),
            )?,
            side(
                &layout.negative_spans,
                negative,
                &own.negative_spans,
                sample.negative_deltas(),
            )?,
        ))
    }

    fn put_first_counts(&mut self, writer: &mut BitWriter, sample: &Histogram) {
        writer.put_varbit_uint(sample.count);
        writer.put_varbit_uint(sample.zero_count);
        (self.count, self.zero_count) = (sample.count, sample.zero_count);
        (self.count_delta, self.zero_count_delta) = (0, 0);
    }

    fn put_first_buckets(&mut self, writer: &mut BitWriter, sample: &Histogram) {
        for &delta in sample.deltas() {
            writer.put_varbit_int(delta);
        }
        self.deltas = sample.deltas().to_vec();
        self.changes = vec![0; self.deltas.len()];
    }

    fn put_counts(&mut self, writer: &mut BitWriter, sample: &Histogram, stale: bool) {
        put_count(
            writer,
            (&mut self.count, &mut self.count_delta),
            sample.count,
            stale,
        );
        put_count(
            writer,
            (&mut self.zero_count, &mut self.zero_count_delta),
            sample.zero_count,
            stale,
        );
    }

    fn put_buckets(&mut self, writer: &mut BitWriter, sample: &Histogram) {
        let states = self.deltas.iter_mut().zip(&mut self.changes);
        for ((last, change), &delta) in states.zip(sample.deltas()) {
            let next = delta.wrapping_sub(*last);
            writer.put_varbit_int(next.wrapping_sub(*change));
            (*last, *change) = (delta, next);
        }
    }
}

/// Writes the delta of the delta of a count; a stale marker has no counts and writes zero.
fn put_count(
    writer: &mut BitWriter,
    (last, last_delta): (&mut u64, &mut i64),
    count: u64,
    stale: bool,
) {
    let delta = count.wrapping_sub(*last).cast_signed();
    let change = delta.wrapping_sub(*last_delta);
    writer.put_varbit_int(if stale { 0 } else { change });
    (*last, *last_delta) = (count, delta);
}

/// The numbers of a float histogram.
#[derive(Debug, Clone, Default)]
pub struct Float {
    count: XorValue,
    zero_count: XorValue,
    buckets: Vec<XorValue>,
}

impl Numbers for Float {
    type Sample = FloatHistogram;
    const ENCODING: Encoding = Encoding::FLOAT_HISTOGRAM;
    const ENCODING_WITH_STARTS: Encoding = Encoding::FLOAT_HISTOGRAM_ST;

    fn common(sample: &FloatHistogram) -> Common<'_> {
        Common {
            hint: sample.counter_reset_hint,
            sum: sample.sum,
            layout: sample.layout(),
        }
    }

    fn stale() -> FloatHistogram {
        FloatHistogram::stale()
    }

    fn from_ref(sample: HistogramRef<'_>) -> Option<FloatHistogram> {
        Some(sample.to_float())
    }

    fn spread(sample: &FloatHistogram, layout: &Arc<BucketLayout>) -> FloatHistogram {
        let own = sample.layout();
        let mut buckets = spread(
            &own.positive_spans,
            sample.positive_buckets(),
            &layout.positive_spans,
        );
        buckets.extend(spread(
            &own.negative_spans,
            sample.negative_buckets(),
            &layout.negative_spans,
        ));
        let mut wider = sample.clone();
        wider.set_buckets(Arc::clone(layout), buckets);
        wider
    }

    fn header_after(apart: Apart) -> CounterResetHint {
        match apart {
            Apart::Reset => CounterResetHint::CounterReset,
            Apart::GaugeMismatch | Apart::AfterStale | Apart::NewLayout => {
                CounterResetHint::Unknown
            }
        }
    }

    fn header_continued(relation: Result<(), Apart>) -> CounterResetHint {
        match relation {
            Err(Apart::Reset) => CounterResetHint::CounterReset,
            // COMPAT: FloatHistogramAppender knows only "reset" and "not reset", also after a new layout.
            Ok(()) | Err(Apart::GaugeMismatch | Apart::AfterStale | Apart::NewLayout) => {
                CounterResetHint::NotCounterReset
            }
        }
    }

    fn count_decreased(&self, sample: &FloatHistogram) -> bool {
        sample.count < self.count.value()
    }

    fn zero_count_decreased(&self, sample: &FloatHistogram) -> bool {
        sample.zero_count < self.zero_count.value()
    }

    fn counter_gaps(&self, layout: &BucketLayout, sample: &FloatHistogram) -> Option<(Gaps, Gaps)> {
        let own = sample.layout();
        let (positive, negative) = self.buckets.split_at(layout.positive_len());
        let side = |spans: &[Span], states: &[XorValue], sample_spans: &[Span], sample: &[f64]| {
            counter_gaps(
                (spans, states.iter().map(|state| state.value())),
                (sample_spans, sample.iter().copied()),
            )
        };
        Some((
            side(
                &layout.positive_spans,
                positive,
                &own.positive_spans,
                sample.positive_buckets(),
            )?,
            side(
                &layout.negative_spans,
                negative,
                &own.negative_spans,
                sample.negative_buckets(),
            )?,
        ))
    }

    fn put_first_counts(&mut self, writer: &mut BitWriter, sample: &FloatHistogram) {
        self.count = XorValue::write_first(writer, sample.count);
        self.zero_count = XorValue::write_first(writer, sample.zero_count);
    }

    fn put_first_buckets(&mut self, writer: &mut BitWriter, sample: &FloatHistogram) {
        self.buckets = sample
            .buckets()
            .iter()
            .map(|&value| XorValue::write_first(writer, value))
            .collect();
    }

    fn put_counts(&mut self, writer: &mut BitWriter, sample: &FloatHistogram, _stale: bool) {
        self.count.write(writer, sample.count);
        self.zero_count.write(writer, sample.zero_count);
    }

    fn put_buckets(&mut self, writer: &mut BitWriter, sample: &FloatHistogram) {
        for (state, &value) in self.buckets.iter_mut().zip(sample.buckets()) {
            state.write(writer, value);
        }
    }
}
