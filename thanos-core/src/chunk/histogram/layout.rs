//! The bucket layout at the start of a histogram chunk.
//!
//! ```text
//! zero threshold   1 byte: 0 = zero | 1..=254 = 2^(byte - 244) | 255 = 64 bits follow
//! schema           varbit
//! spans, twice     varbit number; for each varbit length, varbit offset
//! custom bounds    only for the custom schema: varbit number; for each varbit thousandths + 1, or 0 and 64 bits
//! ```

use crate::encoding::bits::{BitReader, BitWriter};
use crate::error::Result;
use crate::histogram::{BucketLayout, Span};

/// The first byte of a threshold that is no small power of two.
const THRESHOLD_IN_FULL: u8 = 255;
/// The byte of a power of two is its exponent plus this.
const THRESHOLD_EXPONENT_BIAS: i32 = 244;
/// The largest custom bound, in thousandths, that is written as an integer.
const CUSTOM_THOUSANDTHS_MAX: f64 = 33_554_430.0;
/// A span takes at least two bits, so does no list claim more entries than the chunk has bits.
const LIST_ENTRY_BITS_MIN: u64 = 2;

pub(super) fn read_layout(reader: &mut BitReader<'_>) -> Result<BucketLayout> {
    let zero_threshold = read_zero_threshold(reader)?;
    let schema = reader.read_varbit_int()?;
    let mut layout = BucketLayout {
        schema: i32::try_from(schema).unwrap_or(i32::MAX),
        zero_threshold,
        positive_spans: read_spans(reader)?,
        negative_spans: read_spans(reader)?,
        custom_values: Vec::new(),
    };
    if !layout.has_known_schema() {
        return Err(reader.corrupt(format!("histogram has an unknown schema {schema}")));
    }
    if layout.has_custom_buckets() {
        layout.custom_values = read_custom_values(reader)?;
    }
    layout
        .check_spans()
        .map_err(|e| reader.corrupt(e.message()))?;
    Ok(layout)
}

pub(super) fn write_layout(writer: &mut BitWriter, layout: &BucketLayout) {
    put_zero_threshold(writer, layout.zero_threshold);
    writer.put_varbit_int(i64::from(layout.schema));
    put_spans(writer, &layout.positive_spans);
    put_spans(writer, &layout.negative_spans);
    if layout.has_custom_buckets() {
        writer.put_varbit_uint(layout.custom_values.len() as u64);
        for &bound in &layout.custom_values {
            put_custom_value(writer, bound);
        }
    }
}

/// Reads the length of a list and checks it against what is left of the chunk.
fn read_len(reader: &mut BitReader<'_>) -> Result<usize> {
    let len = reader.read_varbit_uint()?;
    let bits = len.saturating_mul(LIST_ENTRY_BITS_MIN);
    if bits > reader.remaining() as u64 {
        return Err(reader.corrupt(format!("histogram chunk cannot hold a list of {len}")));
    }
    Ok(usize::try_from(len).expect("the length is below the number of bits in memory"))
}

fn read_spans(reader: &mut BitReader<'_>) -> Result<Vec<Span>> {
    let len = read_len(reader)?;
    let mut spans = Vec::with_capacity(len);
    for _ in 0..len {
        let length = reader.read_varbit_uint()?;
        let offset = reader.read_varbit_int()?;
        let (Ok(offset), Ok(length)) = (i32::try_from(offset), u32::try_from(length)) else {
            return Err(reader.corrupt("histogram span is out of range"));
        };
        spans.push(Span { offset, length });
    }
    Ok(spans)
}

fn put_spans(writer: &mut BitWriter, spans: &[Span]) {
    writer.put_varbit_uint(spans.len() as u64);
    for span in spans {
        writer.put_varbit_uint(u64::from(span.length));
        writer.put_varbit_int(i64::from(span.offset));
    }
}

fn read_zero_threshold(reader: &mut BitReader<'_>) -> Result<f64> {
    Ok(match reader.read_byte()? {
        0 => 0.0,
        THRESHOLD_IN_FULL => f64::from_bits(reader.read(64)?),
        exponent => f64::from_bits(power_of_two_bits(
            i32::from(exponent) - THRESHOLD_EXPONENT_BIAS,
        )),
    })
}

fn put_zero_threshold(writer: &mut BitWriter, threshold: f64) {
    let exponent = (1..THRESHOLD_IN_FULL).find(|&byte| {
        power_of_two_bits(i32::from(byte) - THRESHOLD_EXPONENT_BIAS) == threshold.to_bits()
    });
    match exponent {
        _ if threshold == 0.0 => writer.put(0, 8),
        Some(byte) => writer.put(u64::from(byte), 8),
        None => {
            writer.put(u64::from(THRESHOLD_IN_FULL), 8);
            writer.put(threshold.to_bits(), 64);
        }
    }
}

/// Returns the bits of 2^exponent as a float, for exponents of normal numbers.
fn power_of_two_bits(exponent: i32) -> u64 {
    u64::from((exponent + 1023).unsigned_abs()) << 52
}

fn read_custom_values(reader: &mut BitReader<'_>) -> Result<Vec<f64>> {
    let len = read_len(reader)?;
    let mut values = Vec::with_capacity(len);
    for _ in 0..len {
        values.push(match reader.read_varbit_uint()? {
            0 => f64::from_bits(reader.read(64)?),
            thousandths => (thousandths - 1) as f64 / 1000.0,
        });
    }
    Ok(values)
}

/// Writes a bound as thousandths when that is exact and short, else in full.
fn put_custom_value(writer: &mut BitWriter, bound: f64) {
    let thousandths = bound * 1000.0;
    let in_range = (0.0..=CUSTOM_THOUSANDTHS_MAX).contains(&thousandths);
    let rounded = thousandths.round();
    if !in_range || rounded / 1000.0 != bound {
        writer.put(0, 1);
        return writer.put(bound.to_bits(), 64);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the value is a whole number from 0 to 33554430"
    )]
    let whole = rounded as u64;
    writer.put_varbit_uint(whole + 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_take_one_byte_when_they_are_small_powers_of_two() {
        let table = [
            (0.0, 8),
            (2.0_f64.powi(-128), 8),
            (2.0_f64.powi(-243), 8),
            (2.0_f64.powi(10), 8),
            (2.0_f64.powi(-244), 72),
            (2.0_f64.powi(11), 72),
            (0.001, 72),
            (f64::MIN_POSITIVE, 72),
        ];
        for (threshold, bits) in table {
            let mut writer = BitWriter::default();
            put_zero_threshold(&mut writer, threshold);
            let data = writer.finish();
            assert_eq!(data.len() * 8, bits, "{threshold}");
            let mut reader = BitReader::new(&data, 0);
            assert_eq!(read_zero_threshold(&mut reader).unwrap(), threshold);
        }
        let mut writer = BitWriter::default();
        put_zero_threshold(&mut writer, 2.0_f64.powi(-128));
        assert_eq!(writer.finish(), [116], "the byte of the default threshold");
    }

    #[test]
    fn custom_bounds_come_back_bit_for_bit() {
        let bounds = [
            -1.0, 0.0, 0.001, 0.005, 0.1, 1.0, 2.5, 0.0005, 33_554.430, 33_554.431, 1e9,
        ];
        let layout = BucketLayout {
            schema: crate::histogram::CUSTOM_BUCKETS_SCHEMA,
            custom_values: bounds.to_vec(),
            ..BucketLayout::default()
        };
        let mut writer = BitWriter::default();
        write_layout(&mut writer, &layout);
        let data = writer.finish();
        let read = read_layout(&mut BitReader::new(&data, 0)).unwrap();
        assert_eq!(read, layout);
    }
}
