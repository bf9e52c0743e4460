//! What other engines answer, put together.
//!
//! All engines were asked when the query began. Their answers are read at the same time and held on lease; each value
//! counts when it comes from the engine that stands for the series' partition at that step.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::channel::oneshot;
use futures::future::join_all;
use thanos_core::budget::Lease;
use thanos_core::labels::Labels;
use thanos_core::query::Missing;
use thanos_storeapi::apis::query::{
    QueryApi, QueryEvent, QueryRequest, QuerySeries, QueryStream, QueryTimes,
};
use thanos_storeapi::store::PartialResponse;

use super::bits;
use super::collect::{HeldTiles, MergingCollector};
use super::context::Context;
use super::grid::Grid;
use super::names::Overlap;
use super::operator::Operator;
use super::tile::{SeriesId, Tile};
use crate::annotations::Annotation;
use crate::error::{Error, Result};
use crate::plan::Remote;
use crate::plan::distribute::RemotePart;

/// A query to be sent.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) api: Arc<dyn QueryApi>,
    pub(crate) request: QueryRequest,
}

impl Asked {
    pub(crate) async fn open(self) -> thanos_core::Result<QueryStream> {
        self.api.query(self.request).await
    }
}

type Answer = oneshot::Receiver<thanos_core::Result<QueryStream>>;

/// Gives the series of other engines in the order of their labels.
pub(crate) struct FromRemote {
    cx: Arc<Context>,
    remote: Arc<Remote>,
    answers: Vec<Answer>,
    held: Option<HeldTiles>,
}

impl fmt::Debug for FromRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromRemote")
            .field("remote", &self.remote)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

/// The series of one engine.
struct Read {
    series: Vec<QuerySeries>,
    lease: Lease,
}

impl FromRemote {
    /// Returns the operator over `answers`, one for each part of `remote`.
    pub(crate) fn new(cx: Arc<Context>, remote: Arc<Remote>, answers: Vec<Answer>) -> Self {
        Self {
            cx,
            remote,
            answers,
            held: None,
        }
    }

    async fn collect(&mut self) -> Result<HeldTiles> {
        for missing in self.remote.missing.iter() {
            self.cx.note_missing(missing.clone());
        }
        let answers = std::mem::take(&mut self.answers);
        let parts = self.remote.parts.iter().zip(answers);
        let reads = join_all(parts.map(|(part, answer)| self.read(part, answer))).await;
        let reads: Vec<Read> = reads.into_iter().collect::<Result<_>>()?;
        self.join(reads)
    }

    /// Reads the answer of one engine; if it fails and that is allowed, there is nothing of it but the notice.
    async fn read(&self, part: &RemotePart, answer: Answer) -> Result<Read> {
        match self.read_all(part, answer).await {
            Err(Failed::There(error)) if self.remote.partial_response == PartialResponse::Warn => {
                self.cx.note_missing(Missing {
                    source: part.name.to_string(),
                    reason: format!("remote query error: {error}"),
                });
                Ok(Read {
                    series: Vec::new(),
                    lease: self.cx.lease(0)?,
                })
            }
            Err(Failed::There(error)) => {
                let name = &part.name;
                Err(Error::from(error).context(format!("remote query error ({name})")))
            }
            Err(Failed::Here(error)) => Err(error),
            Ok(read) => Ok(read),
        }
    }

    async fn read_all(
        &self,
        part: &RemotePart,
        answer: Answer,
    ) -> std::result::Result<Read, Failed> {
        let answer = answer
            .await
            .map_err(|_| Error::cancelled("query preparation"))?;
        let mut stream = answer.map_err(Failed::There)?;
        let mut read = Read {
            series: Vec::new(),
            lease: self.cx.lease(0)?,
        };
        while let Some(event) = stream.next().await {
            self.cx.check()?;
            match event.map_err(Failed::There)? {
                QueryEvent::Series(batch) => {
                    let bytes = batch.iter().map(series_bytes).sum();
                    read.lease.grow(bytes).map_err(Error::from)?;
                    read.series.extend(batch);
                }
                QueryEvent::Warning(text) => self.hear(part, text)?,
                QueryEvent::Missing(missing) => self.cx.note_missing(Missing {
                    source: match missing.source.as_str() {
                        "" => part.name.to_string(),
                        source => format!("{}: {source}", part.name),
                    },
                    reason: missing.reason,
                }),
                QueryEvent::Stats(stats) => {
                    let samples = u64::try_from(stats.samples_total).unwrap_or(0);
                    self.cx.counts.add_elsewhere(samples);
                }
            }
        }
        Ok(read)
    }

    /// Takes a warning: about the query, or about data that is missing.
    fn hear(&self, part: &RemotePart, text: String) -> Result<()> {
        let Some(annotation) = Annotation::of_engine(&text) else {
            self.cx.note_missing(Missing {
                source: part.name.to_string(),
                reason: format!("remote query warning: {text}"),
            });
            return Ok(());
        };
        // An engine that sees floats and histograms leaves the group out, and others would not know that.
        if self.remote.is_split && annotation.text().contains("mix of histograms and floats") {
            let name = &part.name;
            let reason = format!("{name} has floats and histograms in one group");
            return Err(self.cx.must_stay(reason));
        }
        self.cx.annotate(annotation);
        Ok(())
    }

    fn join(&self, reads: Vec<Read>) -> Result<HeldTiles> {
        let grid = self.remote.grid;
        let mut all: Vec<(usize, &QuerySeries)> = Vec::new();
        for (part, read) in reads.iter().enumerate() {
            all.extend(read.series.iter().map(|series| (part, series)));
        }
        all.sort_by(|a, b| a.1.labels.cmp(&b.1.labels));
        let masks: Vec<Vec<(&Labels, Vec<u64>)>> = self
            .remote
            .parts
            .iter()
            .map(|part| masks(part, grid))
            .collect();
        let mut joined = MergingCollector::new(Arc::clone(&self.cx), grid, Overlap::AtStep);
        for (part, series) in all {
            let engine = &self.remote.parts[part];
            let mask = masks[part]
                .iter()
                .find(|(partition, _)| is_of(partition, &series.labels));
            let Some((_, mask)) = mask else {
                let reason = format!(
                    "{} answers with a series of none of the partitions that it announces",
                    engine.name
                );
                return Err(self.cx.must_stay(reason));
            };
            self.cx
                .count_points(series.floats.len() + series.histograms.len())?;
            let mut row = Tile::new(grid);
            self.fill(&mut row, engine, series)?;
            let id = row.id(0).clone();
            bits::and(row.row_mut(0).valid, mask);
            if !bits::is_empty(row.row(0).valid) {
                joined.add_row(&id, row.row(0))?;
            }
        }
        self.cx
            .count_series(reads.iter().map(|read| read.series.len()).sum());
        // What was read is given up here; the copy has a lease of its own.
        drop(reads.into_iter().map(|read| read.lease).collect::<Vec<_>>());
        Ok(joined.finish())
    }

    /// Writes a series into `row`.
    fn fill(&self, row: &mut Tile, part: &RemotePart, series: &QuerySeries) -> Result<()> {
        let grid = self.remote.grid;
        let (first, _) = part.share.hull();
        let step_of = |time: thanos_core::time::Timestamp| match part.request.times {
            // The time that was asked for may stand for another one.
            QueryTimes::Instant(_) => Ok(first),
            QueryTimes::Range { .. } => grid.step_at(time.as_millis()).ok_or_else(|| {
                let (name, ms) = (&part.name, time.as_millis());
                Error::execution(format!(
                    "{name} answers with a value at {ms} ms, which is none of the steps"
                ))
            }),
        };
        let mut row = row.push(SeriesId::new(series.labels.clone()));
        for (time, value) in &series.floats {
            row.set(step_of(*time)?, *value);
        }
        for (time, histogram) in &series.histograms {
            row.set_histogram(step_of(*time)?, Arc::new(histogram.clone()));
        }
        Ok(())
    }
}

/// What went wrong at an engine, or here.
enum Failed {
    There(thanos_core::Error),
    Here(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Here(error)
    }
}

/// Returns the steps that count of each partition, as bits.
fn masks(part: &RemotePart, grid: Grid) -> Vec<(&Labels, Vec<u64>)> {
    let mask = |steps: &[(usize, usize)]| {
        let mut mask = vec![0; bits::words(grid.len())];
        for (from, to) in steps {
            (*from..=*to).for_each(|step| bits::set(&mut mask, step));
        }
        mask
    };
    let partitions = part.share.partitions.iter();
    partitions
        .map(|(labels, steps)| (labels, mask(steps)))
        .collect()
}

/// Reports whether a series has all labels of `partition`.
fn is_of(partition: &Labels, series: &Labels) -> bool {
    partition
        .iter()
        .all(|(name, value)| series.get(&name).is_some_and(|own| own == value))
}

fn series_bytes(series: &QuerySeries) -> u64 {
    let histograms = series.histograms.iter();
    let histograms: usize = histograms
        .map(|(_, histogram)| size_of_val(histogram) + size_of_val(histogram.buckets()))
        .sum();
    let floats = size_of_val(&*series.floats);
    (size_of::<QuerySeries>() + series.labels.key().len() + floats + histograms) as u64
}

#[async_trait]
impl Operator for FromRemote {
    fn grid(&self) -> Grid {
        self.remote.grid
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        self.cx.turn().await?;
        if self.held.is_none() {
            self.held = Some(self.collect().await?);
        }
        Ok(self.held.as_mut().and_then(HeldTiles::next))
    }
}
