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

use super::chain::{GoHeap, chain_samples};
use super::{Block, BlockSeries};
use crate::chunk::{self, Aggregate, SampleRef, Samples};
use crate::error::{Error, Result};
use crate::labels::Labels;
use crate::query::{Select, SeriesBatch};
use crate::text::{FloatFormat, push_float};

/// Writes every sample of `blocks` to `out`; where several blocks have a sample at the same time, the one that
/// Prometheus' querier takes over blocks in this order (a database orders them by start).
///
/// # Errors
///
/// `Corrupt` when a block is damaged, `Invalid` for chunks that hold no samples of their own (downsampled blocks),
/// and what `out` reports.
pub fn dump(blocks: &[Block], out: &mut dyn Write) -> Result<()> {
    let mut merge = Merge::new(blocks)?;
    let mut line = Vec::new();
    while let Some((labels, sources)) = merge.next()? {
        let labels = labels.to_string();
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

/// The series of several blocks in the order of Prometheus' merge (`storage.genericMergeSeriesSet`), whose heap
/// decides which of equal series comes first.
#[derive(Debug)]
struct Merge {
    sources: Vec<Source>,
    waiting: GoHeap<Labels>,
    /// The sources that the last series was taken from.
    taken: Vec<usize>,
}

impl Merge {
    fn new(blocks: &[Block]) -> Result<Self> {
        let mut sources = Vec::new();
        for block in blocks {
            sources.push(Source::new(block.select(&Select::default())?));
        }
        let taken = (0..sources.len()).collect();
        Ok(Self {
            sources,
            waiting: GoHeap::default(),
            taken,
        })
    }

    /// Returns the labels of the next series and the samples of each block that has it.
    fn next(&mut self) -> Result<Option<(Labels, Vec<Samples>)>> {
        for source in std::mem::take(&mut self.taken) {
            if let Some(labels) = self.sources[source].advance()? {
                self.waiting.push(labels, source);
            }
        }
        let Some(labels) = self.waiting.first().cloned() else {
            return Ok(None);
        };
        let mut samples = Vec::new();
        while self.waiting.first() == Some(&labels)
            && let Some((_, source)) = self.waiting.pop()
        {
            self.taken.push(source);
            samples.push(self.sources[source].samples()?);
        }
        Ok(Some((labels, samples)))
    }
}

/// The series of a block, one by one.
#[derive(Debug)]
struct Source {
    series: BlockSeries,
    batch: SeriesBatch,
    at: usize,
}

impl Source {
    fn new(series: BlockSeries) -> Self {
        let batch = SeriesBatch::default();
        Self {
            series,
            batch,
            at: 0,
        }
    }

    fn advance(&mut self) -> Result<Option<Labels>> {
        self.at += 1;
        if self.at >= self.batch.len() {
            let Some(batch) = self.series.next() else {
                return Ok(None);
            };
            (self.batch, self.at) = (batch?, 0);
        }
        Ok(Some(self.batch.labels(self.at)))
    }

    fn samples(&self) -> Result<Samples> {
        let mut samples = Samples::new();
        for part in self.batch.get(self.at).chunks {
            let Some(raw) = part.get(Aggregate::Raw) else {
                return Err(Error::invalid("a downsampled chunk has no samples to dump"));
            };
            chunk::decode(raw, &mut samples)?;
        }
        Ok(samples)
    }
}
