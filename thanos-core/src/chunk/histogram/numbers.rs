//! The numbers of one sample after another: what differs between integer and float histograms when they are read.

use std::sync::Arc;

use crate::chunk::samples::HistogramCounts;
use crate::chunk::xor_value::XorValue;
use crate::encoding::bits::{BitReader, PEEK_BITS};
use crate::encoding::varbit::SMALL_SLACK;
use crate::error::Result;
use crate::histogram::{BucketLayout, FloatHistogram, Histogram};

/// The state of a reader: the numbers of the last sample and what the next ones are coded against.
pub(super) trait Numbers: Sized {
    /// The least bits of a bucket of sample 0.
    const BUCKET_BITS_MIN: usize;
    /// The counts of a stale marker.
    const NO_COUNTS: HistogramCounts<'static>;

    /// Reads sample 0 behind its time, with a number of buckets for which memory may be taken.
    fn read_first(reader: &mut BitReader<'_>, buckets: usize) -> Result<Self>;

    /// Reads all but the buckets of a later sample.
    fn read_counts(&mut self, reader: &mut BitReader<'_>) -> Result<()>;

    /// Reads the buckets of a later sample.
    fn read_buckets(&mut self, reader: &mut BitReader<'_>) -> Result<()>;

    /// Returns the sum of observations.
    fn sum(&self) -> f64;

    /// Returns the numbers of observations, in all and in the zero bucket.
    fn float_counts(&self) -> [f64; 2];

    /// Returns all counts.
    fn counts(&self) -> HistogramCounts<'_>;

    /// Returns the histogram, of which nothing is known about a reset.
    fn to_float(&self, layout: &Arc<BucketLayout>) -> FloatHistogram;
}

/// A count that is coded as a delta of deltas.
#[derive(Debug, Default)]
struct Count {
    value: u64,
    delta: i64,
}

impl Count {
    fn read_first(reader: &mut BitReader<'_>) -> Result<Self> {
        let value = reader.read_varbit_uint()?;
        Ok(Self { value, delta: 0 })
    }

    #[inline]
    fn read(&mut self, reader: &mut BitReader<'_>) -> Result<()> {
        self.delta = self.delta.wrapping_add(reader.read_varbit_int()?);
        self.value = self.value.wrapping_add_signed(self.delta);
        Ok(())
    }
}

/// The numbers of an integer histogram.
#[derive(Debug)]
pub(super) struct Integers {
    count: Count,
    zero_count: Count,
    sum: XorValue,
    deltas: Vec<i64>,
    /// How much each of `deltas` changed last.
    changes: Vec<i64>,
    /// The small ones of the changes of `changes`.
    small: Vec<i8>,
}

impl Integers {
    #[inline]
    fn read_changes(&mut self, reader: &mut BitReader<'_>) -> Result<()> {
        reader.read_varbit_ints(&mut self.changes, &mut self.small)
    }
}

impl Numbers for Integers {
    const BUCKET_BITS_MIN: usize = 1;
    const NO_COUNTS: HistogramCounts<'static> = HistogramCounts::Integer {
        count: 0,
        zero_count: 0,
        deltas: &[],
    };

    fn read_first(reader: &mut BitReader<'_>, buckets: usize) -> Result<Self> {
        let mut numbers = Self {
            count: Count::read_first(reader)?,
            zero_count: Count::read_first(reader)?,
            sum: XorValue::read_first(reader)?,
            deltas: Vec::with_capacity(buckets),
            changes: vec![0; buckets],
            small: vec![0; buckets + SMALL_SLACK],
        };
        numbers.read_changes(reader)?;
        let changes = numbers.changes.iter_mut().zip(&numbers.small);
        numbers.deltas.extend(changes.map(|(large, small)| {
            // Sample 0 has no delta of deltas.
            std::mem::take(large).wrapping_add(i64::from(*small))
        }));
        Ok(numbers)
    }

    #[inline]
    fn read_counts(&mut self, reader: &mut BitReader<'_>) -> Result<()> {
        self.count.read(reader)?;
        self.zero_count.read(reader)?;
        self.sum.read(reader)
    }

    #[inline]
    fn read_buckets(&mut self, reader: &mut BitReader<'_>) -> Result<()> {
        self.read_changes(reader)?;
        let states = self.deltas.iter_mut().zip(&mut self.changes);
        for ((delta, change), small) in states.zip(&self.small) {
            *change = change.wrapping_add(i64::from(*small));
            *delta = delta.wrapping_add(*change);
        }
        Ok(())
    }

    #[inline]
    fn sum(&self) -> f64 {
        self.sum.value()
    }

    fn float_counts(&self) -> [f64; 2] {
        [self.count.value as f64, self.zero_count.value as f64]
    }

    #[inline]
    fn counts(&self) -> HistogramCounts<'_> {
        HistogramCounts::Integer {
            count: self.count.value,
            zero_count: self.zero_count.value,
            deltas: &self.deltas,
        }
    }

    fn to_float(&self, layout: &Arc<BucketLayout>) -> FloatHistogram {
        let mut histogram = Histogram::from_parts(Arc::clone(layout), self.deltas.clone());
        (histogram.count, histogram.zero_count) = (self.count.value, self.zero_count.value);
        histogram.sum = self.sum();
        histogram.to_float()
    }
}

/// The numbers of a float histogram.
#[derive(Debug)]
pub(super) struct Floats {
    count: XorValue,
    zero_count: XorValue,
    sum: XorValue,
    states: Vec<XorValue>,
    /// The values of `states`.
    buckets: Vec<f64>,
}

impl Numbers for Floats {
    const BUCKET_BITS_MIN: usize = 64;
    const NO_COUNTS: HistogramCounts<'static> = HistogramCounts::Float {
        count: 0.0,
        zero_count: 0.0,
        buckets: &[],
    };

    fn read_first(reader: &mut BitReader<'_>, buckets: usize) -> Result<Self> {
        let mut numbers = Self {
            count: XorValue::read_first(reader)?,
            zero_count: XorValue::read_first(reader)?,
            sum: XorValue::read_first(reader)?,
            states: Vec::with_capacity(buckets),
            buckets: Vec::with_capacity(buckets),
        };
        for _ in 0..buckets {
            let state = XorValue::read_first(reader)?;
            numbers.states.push(state);
            numbers.buckets.push(state.value());
        }
        Ok(numbers)
    }

    #[inline]
    fn read_counts(&mut self, reader: &mut BitReader<'_>) -> Result<()> {
        self.count.read(reader)?;
        self.zero_count.read(reader)?;
        self.sum.read(reader)
    }

    /// Most buckets are unchanged, which is one bit each.
    #[inline]
    fn read_buckets(&mut self, reader: &mut BitReader<'_>) -> Result<()> {
        let states = &mut self.states[..];
        let values = &mut self.buckets[..states.len()];
        let mut at = 0;
        while at < states.len() {
            let zeros = reader.peek().leading_zeros().min(PEEK_BITS);
            let same = (zeros as usize).min(states.len() - at);
            if same > 0 {
                at += same;
                reader.skip(zeros.min(u32::try_from(same).expect("at most 57")))?;
                continue;
            }
            states[at].read(reader)?;
            values[at] = states[at].value();
            at += 1;
        }
        Ok(())
    }

    #[inline]
    fn sum(&self) -> f64 {
        self.sum.value()
    }

    fn float_counts(&self) -> [f64; 2] {
        [self.count.value(), self.zero_count.value()]
    }

    #[inline]
    fn counts(&self) -> HistogramCounts<'_> {
        HistogramCounts::Float {
            count: self.count.value(),
            zero_count: self.zero_count.value(),
            buckets: &self.buckets,
        }
    }

    fn to_float(&self, layout: &Arc<BucketLayout>) -> FloatHistogram {
        let mut histogram = FloatHistogram::from_parts(Arc::clone(layout), self.buckets.clone());
        [histogram.count, histogram.zero_count] = self.float_counts();
        histogram.sum = self.sum();
        histogram
    }
}
