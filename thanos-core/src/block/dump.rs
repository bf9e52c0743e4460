//! All samples of some blocks as text, as `promtool tsdb dump` prints them.
//!
//! ```text
//! {__name__="up", job="api"} 1 1793491200000
//! {__name__="latency", job="api"} {count:4, sum:0.5, (0.125,0.25]:4} 1793491200000
//! ```
//!
//! Labels, value, and time in milliseconds; series in label order and each in time order. Two blocks hold the same
//! data exactly when their dumps are equal.

use std::io::Write;

use super::Block;
use super::chain::chain_samples;
use super::parts::SeriesOfBlocks;
use crate::chunk::{self, Aggregate, SampleRef, Samples, SeriesChunk};
use crate::error::{Error, Result};
use crate::text::{FloatFormat, push_float};

/// Writes every sample of `blocks` to `out`; where several blocks have a sample at the same time, the one that
/// Prometheus' querier takes over blocks in this order (a database orders them by start).
///
/// # Errors
///
/// `Corrupt` when a block is damaged, `Invalid` for chunks that hold no samples of their own (downsampled blocks),
/// and what `out` reports.
pub fn dump(blocks: &[Block], out: &mut dyn Write) -> Result<()> {
    let mut series = SeriesOfBlocks::new(blocks)?;
    let mut line = Vec::new();
    while let Some((labels, parts)) = series.next()? {
        let (labels, sources) = (labels.to_string(), decode(&parts)?);
        chain_samples(&sources, |time, sample| {
            line.clear();
            line.extend_from_slice(labels.as_bytes());
            line.push(b' ');
            push_sample(&mut line, sample);
            line.push(b' ');
            line.extend_from_slice(time.as_millis().to_string().as_bytes());
            line.push(b'\n');
            out.write_all(&line).map_err(Error::from)
        })?;
    }
    Ok(())
}

fn push_sample(line: &mut Vec<u8>, sample: SampleRef<'_>) {
    match sample {
        SampleRef::Float(value) => push_float(line, value, FloatFormat::General),
        SampleRef::Histogram(histogram) => match histogram.to_integer() {
            Some(integer) => push_text(line, &integer),
            None => push_text(line, &histogram.to_float()),
        },
    }
}

fn push_text(line: &mut Vec<u8>, histogram: &impl std::fmt::Display) {
    line.extend_from_slice(histogram.to_string().as_bytes());
}

/// Returns the samples of a series in each block that has it.
fn decode(parts: &[Vec<SeriesChunk>]) -> Result<Vec<Samples>> {
    let mut sources = Vec::with_capacity(parts.len());
    for chunks in parts {
        let mut samples = Samples::new();
        for part in chunks {
            let Some(raw) = part.get(Aggregate::Raw) else {
                return Err(Error::invalid("a downsampled chunk has no samples to dump"));
            };
            chunk::decode(raw, &mut samples)?;
        }
        sources.push(samples);
    }
    Ok(sources)
}
