//! The series of several blocks in label order, each with its chunks in every block.

use super::chain::GoHeap;
use super::{Block, BlockSeries};
use crate::chunk::SeriesChunk;
use crate::error::Result;
use crate::labels::Labels;
use crate::query::{Select, SeriesBatch};

/// Walks the series of several blocks. The parts of a series come in the order in which Prometheus' merge comes to
/// them: where samples are equal in time, it decides which one is kept.
#[derive(Debug)]
pub(crate) struct SeriesOfBlocks {
    sources: Vec<Source>,
    /// The sources that wait, by the labels at which they stand.
    waiting: GoHeap<Labels>,
    /// The sources whose series was handed out last.
    current: Vec<usize>,
}

#[derive(Debug)]
struct Source {
    series: BlockSeries,
    batch: SeriesBatch,
    next: usize,
}

impl Source {
    /// Returns the labels of the series that is next.
    fn labels(&mut self) -> Result<Option<Labels>> {
        while self.next == self.batch.len() {
            let Some(batch) = self.series.next().transpose()? else {
                return Ok(None);
            };
            (self.batch, self.next) = (batch, 0);
        }
        Ok(Some(self.batch.labels(self.next)))
    }

    fn take_chunks(&mut self) -> Vec<SeriesChunk> {
        self.next += 1;
        self.batch.take_chunks(self.next - 1).collect()
    }
}

impl SeriesOfBlocks {
    pub(crate) fn new(blocks: &[Block]) -> Result<Self> {
        let mut sources = Vec::with_capacity(blocks.len());
        for block in blocks {
            sources.push(Source {
                series: block.select(&Select::default())?,
                batch: SeriesBatch::default(),
                next: 0,
            });
        }
        Ok(Self {
            current: (0..sources.len()).collect(),
            sources,
            waiting: GoHeap::default(),
        })
    }

    /// Returns the next series with its chunks in each block that has it.
    pub(crate) fn next(&mut self) -> Result<Option<(Labels, Vec<Vec<SeriesChunk>>)>> {
        for source in self.current.drain(..) {
            if let Some(labels) = self.sources[source].labels()? {
                self.waiting.push(labels, source);
            }
        }
        let Some((labels, first)) = self.waiting.pop() else {
            return Ok(None);
        };
        let mut parts = vec![self.sources[first].take_chunks()];
        self.current.push(first);
        while self.waiting.first() == Some(&labels)
            && let Some((_, source)) = self.waiting.pop()
        {
            parts.push(self.sources[source].take_chunks());
            self.current.push(source);
        }
        Ok(Some((labels, parts)))
    }
}
