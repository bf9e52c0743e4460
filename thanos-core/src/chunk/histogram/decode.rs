//! Histogram chunks into the columns of [`Samples`].

use std::sync::Arc;

use super::layout::read_layout;
use super::{HEADER_BYTES, Header};
use crate::chunk::samples::{HistogramCounts, Samples};
use crate::chunk::starts::StartDecoder;
use crate::chunk::xor_value::XorValue;
use crate::chunk::{Chunk, Encoding};
use crate::encoding::bits::{BitReader, PEEK_BITS};
use crate::error::Result;
use crate::histogram::{BucketLayout, CounterResetHint, EXPONENTIAL_SCHEMA_MAX, is_stale_nan};
use crate::time::Timestamp;

/// Appends the samples of a histogram chunk; after an error `out` is as before.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when the data contradicts the encoding.
pub fn decode_into(chunk: &Chunk, out: &mut Samples) -> Result<()> {
    let header = Header::read(chunk)?;
    if header.count == 0 {
        return Ok(());
    }
    let read = match chunk.encoding {
        Encoding::HISTOGRAM | Encoding::HISTOGRAM_ST => read_integers,
        _ => read_floats,
    };
    let mut frame = Frame {
        reader: BitReader::new(&chunk.data, HEADER_BYTES),
        header,
        starts: StartDecoder::new(header.starts),
    };
    let layout = Arc::new(read_layout(&mut frame.reader)?);
    if layout.schema > EXPONENTIAL_SCHEMA_MAX {
        return decode_high_resolution(&mut frame, &layout, out, read);
    }
    let before = out.len();
    let result = read(&mut frame, &layout, out);
    if result.is_err() {
        out.truncate(before);
    }
    result
}

type ReadSamples = fn(&mut Frame<'_>, &Arc<BucketLayout>, &mut Samples) -> Result<()>;

/// Joins the buckets of a resolution that only later versions write.
#[cold]
fn decode_high_resolution(
    frame: &mut Frame<'_>,
    layout: &Arc<BucketLayout>,
    out: &mut Samples,
    read: ReadSamples,
) -> Result<()> {
    let mut samples = Samples::new();
    read(frame, layout, &mut samples)?;
    for index in 0..samples.len() {
        let time = Timestamp::from_millis(samples.times()[index]);
        let Some(view) = samples.histogram(index) else {
            continue;
        };
        let reducible = view.layout.schema > EXPONENTIAL_SCHEMA_MAX;
        if let Some(mut histogram) = view.to_integer() {
            if reducible {
                histogram.reduce_resolution(EXPONENTIAL_SCHEMA_MAX)?;
            }
            out.push_histogram(time, &histogram);
        } else {
            let mut histogram = view.to_float();
            if reducible {
                histogram.reduce_resolution(EXPONENTIAL_SCHEMA_MAX)?;
            }
            out.push_float_histogram(time, &histogram);
        }
        out.set_last_start(samples.start(index));
    }
    Ok(())
}

/// What both encodings have in common around the samples.
struct Frame<'a> {
    reader: BitReader<'a>,
    header: Header,
    starts: StartDecoder,
}

impl Frame<'_> {
    /// Returns the hint of a sample. The header speaks of the chunk before, which may be gone by now, so
    /// nothing is known about the first sample of a counter.
    fn hint(&self, index: usize) -> CounterResetHint {
        match self.header.hint {
            CounterResetHint::Gauge => CounterResetHint::Gauge,
            _ if index > 0 => CounterResetHint::NotCounterReset,
            _ => CounterResetHint::Unknown,
        }
    }

    /// Reads the start of the sample at `index`, which is the last one in `out`, after the rest of it.
    #[inline]
    fn read_start(&mut self, index: usize, before: i64, out: &mut Samples) -> Result<()> {
        if self.starts.is_any() {
            let time = *out.times.last().expect("the sample was appended");
            let start = self.starts.read(&mut self.reader, index, (before, time))?;
            out.set_last_start(Timestamp::from_millis(start));
        }
        Ok(())
    }

    /// Checks that the buckets of sample 0 are there, before memory is taken for them.
    fn check_buckets(&self, layout: &BucketLayout, bits_each: usize) -> Result<usize> {
        let buckets = layout.positive_len() + layout.negative_len();
        if buckets.saturating_mul(bits_each) > self.reader.remaining() {
            return Err(self
                .reader
                .corrupt(format!("histogram chunk cannot hold {buckets} buckets")));
        }
        Ok(buckets)
    }
}

/// A time that is coded as a delta of deltas.
#[derive(Default)]
struct Time {
    value: i64,
    delta: i64,
}

impl Time {
    #[inline]
    fn read(&mut self, reader: &mut BitReader<'_>) -> Result<Timestamp> {
        self.delta = self.delta.wrapping_add(reader.read_varbit_int()?);
        self.value = self.value.wrapping_add(self.delta);
        Ok(Timestamp::from_millis(self.value))
    }
}

/// A count that is coded as a delta of deltas.
#[derive(Default)]
struct Count {
    value: u64,
    delta: i64,
}

impl Count {
    #[inline]
    fn read(&mut self, reader: &mut BitReader<'_>) -> Result<()> {
        self.delta = self.delta.wrapping_add(reader.read_varbit_int()?);
        self.value = self.value.wrapping_add_signed(self.delta);
        Ok(())
    }
}

fn read_integers(
    frame: &mut Frame<'_>,
    layout: &Arc<BucketLayout>,
    out: &mut Samples,
) -> Result<()> {
    let buckets = frame.check_buckets(layout, 1)?;
    let id = out.add_layout(layout);
    let (mut time, mut count, mut zero_count) =
        (Time::default(), Count::default(), Count::default());
    let reader = &mut frame.reader;
    time.value = reader.read_varbit_int()?;
    count.value = reader.read_varbit_uint()?;
    zero_count.value = reader.read_varbit_uint()?;
    let mut sum = XorValue::read_first(reader)?;
    let mut deltas = vec![0; buckets];
    reader.read_varbit_ints(&mut deltas)?;
    let mut changes = vec![0; buckets];
    let mut changes_of_changes = vec![0; buckets];
    for index in 0..frame.header.count {
        let before = time.value;
        let mut at = Timestamp::from_millis(before);
        if index > 0 {
            at = time.read(&mut frame.reader)?;
            count.read(&mut frame.reader)?;
            zero_count.read(&mut frame.reader)?;
            sum.read(&mut frame.reader)?;
        }
        if is_stale_nan(sum.value()) {
            let counts = HistogramCounts::Integer {
                count: 0,
                zero_count: 0,
                deltas: &[],
            };
            push_stale(out, at, sum.value(), counts);
            frame.read_start(index, before, out)?;
            continue;
        }
        if index > 0 {
            frame.reader.read_varbit_ints(&mut changes_of_changes)?;
            let states = deltas.iter_mut().zip(&mut changes);
            for ((delta, change), more) in states.zip(&changes_of_changes) {
                *change = i64::wrapping_add(*change, *more);
                *delta = i64::wrapping_add(*delta, *change);
            }
        }
        let counts = HistogramCounts::Integer {
            count: count.value,
            zero_count: zero_count.value,
            deltas: &deltas,
        };
        out.push_row(at, id, frame.hint(index), sum.value(), counts);
        frame.read_start(index, before, out)?;
    }
    Ok(())
}

fn read_floats(frame: &mut Frame<'_>, layout: &Arc<BucketLayout>, out: &mut Samples) -> Result<()> {
    let buckets = frame.check_buckets(layout, 64)?;
    let id = out.add_layout(layout);
    let mut time = Time::default();
    let reader = &mut frame.reader;
    time.value = reader.read_varbit_int()?;
    let mut count = XorValue::read_first(reader)?;
    let mut zero_count = XorValue::read_first(reader)?;
    let mut sum = XorValue::read_first(reader)?;
    let mut states = Vec::with_capacity(buckets);
    for _ in 0..buckets {
        states.push(XorValue::read_first(reader)?);
    }
    let mut values: Vec<f64> = states.iter().map(|state| state.value()).collect();
    for index in 0..frame.header.count {
        let before = time.value;
        let mut at = Timestamp::from_millis(before);
        if index > 0 {
            at = time.read(&mut frame.reader)?;
            count.read(&mut frame.reader)?;
            zero_count.read(&mut frame.reader)?;
            sum.read(&mut frame.reader)?;
        }
        if is_stale_nan(sum.value()) {
            let counts = HistogramCounts::Float {
                count: 0.0,
                zero_count: 0.0,
                buckets: &[],
            };
            push_stale(out, at, sum.value(), counts);
            frame.read_start(index, before, out)?;
            continue;
        }
        if index > 0 {
            read_values(&mut frame.reader, &mut states, &mut values)?;
        }
        let counts = HistogramCounts::Float {
            count: count.value(),
            zero_count: zero_count.value(),
            buckets: &values,
        };
        out.push_row(at, id, frame.hint(index), sum.value(), counts);
        frame.read_start(index, before, out)?;
    }
    Ok(())
}

/// Reads the value of every bucket; most are unchanged, which is one bit each.
#[inline]
fn read_values(
    reader: &mut BitReader<'_>,
    states: &mut [XorValue],
    values: &mut [f64],
) -> Result<()> {
    let values = &mut values[..states.len()];
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

/// Appends a stale marker, which has no layout and no hint.
#[cold]
fn push_stale(out: &mut Samples, time: Timestamp, sum: f64, counts: HistogramCounts<'_>) {
    let id = out.add_layout(&Arc::default());
    out.push_row(time, id, CounterResetHint::Unknown, sum, counts);
}
