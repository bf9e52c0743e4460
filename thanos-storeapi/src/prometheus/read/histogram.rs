//! `prometheus.Histogram`: a native histogram in an answer with samples.
//!
//! ```text
//!  1 count_int  2 count_float  3 sum  4 schema (zigzag)  5 zero_threshold  6 zero_count_int  7 zero_count_float
//!  8 negative span ...  9 negative_delta ... (zigzag)  10 negative_count ...
//! 11 positive span ...  12 positive_delta ... (zigzag)  13 positive_count ...
//! 14 reset_hint  15 timestamp (ms)  16 custom_value ...        span: 1 offset (zigzag)  2 length
//! ```

use std::sync::Arc;

use thanos_core::chunk::Samples;
use thanos_core::encoding::varint::unzigzag;
use thanos_core::histogram::{BucketLayout, CounterResetHint, FloatHistogram, Histogram, Span};
use thanos_core::time::Timestamp;
use thanos_core::{Error, Result};

use crate::wire::proto::{Cursor, LENGTH_DELIMITED};

/// A histogram with integer or with float counts.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum AnyHistogram {
    Integer(Histogram),
    Float(FloatHistogram),
}

impl AnyHistogram {
    pub(super) fn push_to(&self, samples: &mut Samples, time: Timestamp) {
        match self {
            Self::Integer(histogram) => samples.push_histogram(time, histogram),
            Self::Float(histogram) => samples.push_float_histogram(time, histogram),
        }
    }
}

/// One side of a histogram.
#[derive(Debug, Default)]
struct Side {
    spans: Vec<Span>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

/// The fields of the message.
#[derive(Debug, Default)]
struct Fields {
    count_int: u64,
    /// There when the counts are floats.
    count_float: Option<f64>,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    zero_count_int: u64,
    zero_count_float: f64,
    positive: Side,
    negative: Side,
    reset_hint: u64,
    time_ms: i64,
    custom_values: Vec<f64>,
}

/// Returns a histogram and its time.
///
/// # Errors
///
/// `Corrupt` for bytes that are no such message, and for buckets that do not fit the spans.
pub(super) fn read(message: Cursor<'_>) -> Result<(i64, AnyHistogram)> {
    let fields = Fields::read(message)?;
    let time_ms = fields.time_ms;
    let histogram = fields.into_histogram();
    let histogram = histogram.map_err(|error| {
        Error::corrupt(format!("native histogram: {}", error.message())).with_source(error)
    })?;
    Ok((time_ms, histogram))
}

impl Fields {
    fn read(mut message: Cursor<'_>) -> Result<Self> {
        let mut fields = Self::default();
        while let Some((field, wire_type)) = message.field()? {
            match field {
                1 => fields.count_int = message.expect_varint(wire_type)?,
                2 => fields.count_float = Some(message.expect_double(wire_type)?),
                3 => fields.sum = message.expect_double(wire_type)?,
                4 => fields.schema = int32(unzigzag(message.expect_varint(wire_type)?))?,
                5 => fields.zero_threshold = message.expect_double(wire_type)?,
                6 => fields.zero_count_int = message.expect_varint(wire_type)?,
                7 => fields.zero_count_float = message.expect_double(wire_type)?,
                8..=10 => fields.negative.read(field - 8, &mut message, wire_type)?,
                11..=13 => fields.positive.read(field - 11, &mut message, wire_type)?,
                14 => fields.reset_hint = message.expect_varint(wire_type)?,
                15 => fields.time_ms = message.expect_varint(wire_type)?.cast_signed(),
                16 => doubles(&mut message, wire_type, &mut fields.custom_values)?,
                _ => message.skip(wire_type)?,
            }
        }
        Ok(fields)
    }

    fn into_histogram(self) -> Result<AnyHistogram> {
        let hint = match self.reset_hint {
            0 => CounterResetHint::Unknown,
            1 => CounterResetHint::CounterReset,
            2 => CounterResetHint::NotCounterReset,
            3 => CounterResetHint::Gauge,
            other => return Err(Error::corrupt(format!("reset hint {other}"))),
        };
        let (positive, negative) = (self.positive, self.negative);
        let layout = Arc::new(BucketLayout {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            positive_spans: positive.spans,
            negative_spans: negative.spans,
            custom_values: self.custom_values,
        });
        if !layout.has_known_schema() {
            return Err(Error::corrupt(format!("schema {}", self.schema)));
        }
        if let Some(count) = self.count_float {
            let mut histogram = FloatHistogram::new(layout, &positive.counts, &negative.counts)?;
            histogram.counter_reset_hint = hint;
            (histogram.count, histogram.sum) = (count, self.sum);
            histogram.zero_count = self.zero_count_float;
            return Ok(AnyHistogram::Float(histogram));
        }
        let mut histogram = Histogram::new(layout, &positive.deltas, &negative.deltas)?;
        histogram.counter_reset_hint = hint;
        (histogram.count, histogram.sum) = (self.count_int, self.sum);
        histogram.zero_count = self.zero_count_int;
        Ok(AnyHistogram::Integer(histogram))
    }
}

impl Side {
    /// Reads field 0 (a span), 1 (deltas) or 2 (counts) of the side.
    fn read(&mut self, field: u32, message: &mut Cursor<'_>, wire_type: u8) -> Result<()> {
        match field {
            0 => {
                let span = read_span(message.expect_message(wire_type)?)?;
                self.spans.push(span);
            }
            1 => numbers(message, wire_type, |number| {
                self.deltas.push(unzigzag(number))
            })?,
            _ => doubles(message, wire_type, &mut self.counts)?,
        }
        Ok(())
    }
}

fn read_span(mut message: Cursor<'_>) -> Result<Span> {
    let (mut offset, mut length) = (0, 0);
    while let Some((field, wire_type)) = message.field()? {
        match field {
            1 => offset = int32(unzigzag(message.expect_varint(wire_type)?))?,
            2 => {
                let number = message.expect_varint(wire_type)?;
                length = u32::try_from(number).map_err(|_| out_of_range(number))?;
            }
            _ => message.skip(wire_type)?,
        }
    }
    Ok(Span { offset, length })
}

fn int32(number: i64) -> Result<i32> {
    i32::try_from(number).map_err(|_| out_of_range(number))
}

fn out_of_range(number: impl std::fmt::Display) -> Error {
    Error::corrupt(format!("number {number} is out of range"))
}

/// Reads one number or a packed list of them.
fn numbers(message: &mut Cursor<'_>, wire_type: u8, mut take: impl FnMut(u64)) -> Result<()> {
    if wire_type != LENGTH_DELIMITED {
        take(message.expect_varint(wire_type)?);
        return Ok(());
    }
    let mut list = message.expect_message(wire_type)?;
    while !list.is_empty() {
        take(list.varint()?);
    }
    Ok(())
}

/// Reads one float or a packed list of them.
fn doubles(message: &mut Cursor<'_>, wire_type: u8, out: &mut Vec<f64>) -> Result<()> {
    if wire_type != LENGTH_DELIMITED {
        out.push(message.expect_double(wire_type)?);
        return Ok(());
    }
    let mut list = message.expect_message(wire_type)?;
    while !list.is_empty() {
        out.push(list.double()?);
    }
    Ok(())
}
