//! Series held back until their place among the edited series is certain.

use std::collections::BTreeMap;

use bytes::Bytes;
use thanos_core::chunk::SeriesChunk;
use thanos_core::labels::LabelsRef;
use thanos_core::query::{SeriesBatch, SeriesBatchBuilder};

use super::LabelEdit;

/// One held series: the key it came with, and its chunks.
type Held = (Bytes, Vec<SeriesChunk>);

/// Adds labels that no series has, and holds back the series that others start with.
///
/// Let `H < K` be keys of the stream. If `H` is no prefix of `K`, their first difference is inside both, and the
/// same labels are inserted before it: their order stays, and it stays for everything after `K`, because the keys
/// that start with `H` are neighbours. So only keys that are a prefix of the newest one have to wait.
#[derive(Debug)]
pub(super) struct PrefixHold {
    edit: LabelEdit,
    /// By edited key; parts of one series are kept in the order they came in.
    held: BTreeMap<Vec<u8>, Vec<Held>>,
    out: SeriesBatchBuilder,
    scratch: Vec<u8>,
}

/// The stream has a series with a label that was promised to be absent.
#[derive(Debug)]
pub(super) struct UnexpectedLabel;

impl PrefixHold {
    pub(super) fn new(edit: LabelEdit) -> Self {
        Self {
            edit,
            held: BTreeMap::new(),
            out: SeriesBatchBuilder::new(),
            scratch: Vec::new(),
        }
    }

    /// Takes the series of `batch`; what is certain now can be fetched with [`PrefixHold::take`].
    pub(super) fn push(&mut self, batch: &SeriesBatch) -> Result<(), UnexpectedLabel> {
        for index in 0..batch.len() {
            let series = batch.get(index);
            self.release(series.labels.key());
            self.scratch.clear();
            if self.edit.append(series.labels, &mut self.scratch) {
                return Err(UnexpectedLabel);
            }
            // Most series are no prefix of their successor and are written without being held.
            let next = (index + 1 < batch.len()).then(|| batch.get(index + 1).labels.key());
            let is_certain = next.is_some_and(|next| !next.starts_with(series.labels.key()));
            if is_certain && self.held.is_empty() {
                let labels = LabelsRef::from_trusted_key(&self.scratch);
                self.out.push(labels, series.chunks.iter().cloned());
            } else {
                let held = (
                    Bytes::copy_from_slice(series.labels.key()),
                    series.chunks.to_vec(),
                );
                self.held
                    .entry(std::mem::take(&mut self.scratch))
                    .or_default()
                    .push(held);
            }
        }
        Ok(())
    }

    /// Writes the held series whose place is certain now that `key` has come.
    fn release(&mut self, key: &[u8]) {
        let certain =
            |parts: &Vec<Held>| parts.iter().any(|(original, _)| !key.starts_with(original));
        let Some(last) = self
            .held
            .iter()
            .rev()
            .find(|(_, parts)| certain(parts))
            .map(|(key, _)| key.clone())
        else {
            return;
        };
        let waiting = self.held.split_off(&last);
        let ready = std::mem::replace(&mut self.held, waiting);
        for (key, parts) in ready {
            self.write(&key, parts);
        }
        if let Some(parts) = self.held.remove(&last) {
            self.write(&last, parts);
        }
    }

    fn write(&mut self, key: &[u8], parts: Vec<Held>) {
        for (_, chunks) in parts {
            self.out.push(LabelsRef::from_trusted_key(key), chunks);
        }
    }

    /// Returns the series whose place is certain.
    pub(super) fn take(&mut self) -> SeriesBatch {
        self.out.finish()
    }

    /// Returns the rest, after the last series has come.
    pub(super) fn finish(&mut self) -> SeriesBatch {
        for (key, parts) in std::mem::take(&mut self.held) {
            self.write(&key, parts);
        }
        self.out.finish()
    }
}

/// All series of a stream, sorted by edited key when the last has come.
#[derive(Debug)]
pub(super) struct SortAll {
    edit: LabelEdit,
    series: Vec<(Vec<u8>, Vec<SeriesChunk>)>,
}

impl SortAll {
    pub(super) fn new(edit: LabelEdit) -> Self {
        Self {
            edit,
            series: Vec::new(),
        }
    }

    /// Takes the series of `batch`; returns about how many bytes they hold on to.
    pub(super) fn push(&mut self, batch: &SeriesBatch) -> u64 {
        for series in batch.iter() {
            let mut key = Vec::new();
            self.edit.append(series.labels, &mut key);
            self.series.push((key, series.chunks.to_vec()));
        }
        // The chunk data is shared with the source, but it is this list that keeps it alive.
        u64::try_from(batch.memory_bytes()).unwrap_or(u64::MAX)
    }

    /// Returns the batches of all series in order, equal label sets joined with their chunks in time order.
    pub(super) fn finish(mut self) -> impl Iterator<Item = SeriesBatch> {
        self.series.sort_by(|a, b| a.0.cmp(&b.0));
        let mut series = self.series.into_iter().peekable();
        let mut out = SeriesBatchBuilder::new();
        std::iter::from_fn(move || {
            while let Some((key, mut chunks)) = series.next() {
                let mut parts = 1;
                while let Some((_, more)) = series.next_if(|next| next.0 == key) {
                    chunks.extend(more);
                    parts += 1;
                }
                if parts > 1 {
                    chunks.sort_by_key(|chunk| (chunk.min_time, chunk.max_time));
                }
                out.push(LabelsRef::from_trusted_key(&key), chunks);
                if out.is_full() {
                    return Some(out.finish());
                }
            }
            (!out.is_empty()).then(|| out.finish())
        })
    }
}
