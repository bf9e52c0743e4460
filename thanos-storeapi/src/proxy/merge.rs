//! Merging the sorted streams of stores into one; equal series become neighbours.

use std::collections::VecDeque;

use futures::{StreamExt, stream};
use thanos_core::error::Result;
use thanos_core::query::{SeriesBatch, SeriesBatchBuilder, SeriesEvent, SeriesStream};

struct Input {
    stream: SeriesStream,
    batch: SeriesBatch,
    at: usize,
}

struct Merge {
    inputs: Vec<Input>,
    out: VecDeque<SeriesEvent>,
    done: bool,
}

pub(super) fn merge(inputs: Vec<SeriesStream>) -> SeriesStream {
    let input = |stream| Input {
        stream,
        batch: SeriesBatch::default(),
        at: 0,
    };
    let merge = Merge {
        inputs: inputs.into_iter().map(input).collect(),
        out: VecDeque::new(),
        done: false,
    };
    stream::try_unfold(merge, |mut merge| async move {
        Ok(merge.next().await?.map(|event| (event, merge)))
    })
    .boxed()
}

impl Merge {
    async fn next(&mut self) -> Result<Option<SeriesEvent>> {
        loop {
            if let Some(event) = self.out.pop_front() {
                return Ok(Some(event));
            }
            if self.done {
                return Ok(None);
            }
            let mut builder = SeriesBatchBuilder::new();
            while !builder.is_full() {
                let mut index = 0;
                while index < self.inputs.len() {
                    let input = &mut self.inputs[index];
                    if input.at < input.batch.len() {
                        index += 1;
                        continue;
                    }
                    match input.stream.next().await.transpose()? {
                        None => drop(self.inputs.swap_remove(index)),
                        Some(SeriesEvent::Batch(batch)) => (input.batch, input.at) = (batch, 0),
                        Some(other) => self.out.push_back(other),
                    }
                }
                let Some(least) = self
                    .inputs
                    .iter_mut()
                    .min_by_key(|input| input.batch.labels(input.at))
                else {
                    self.done = true;
                    break;
                };
                let series = least.batch.get(least.at);
                builder.push(series.labels, series.chunks.iter().cloned());
                least.at += 1;
            }
            if !builder.is_empty() {
                self.out.push_back(SeriesEvent::Batch(builder.finish()));
            }
        }
    }
}
