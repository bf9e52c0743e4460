//! What must hold for any bytes that a server answers a read with: the body of the fuzz target.

use bytes::Bytes;
use thanos_core::budget::MemoryBudget;
use thanos_core::chunk::SeriesChunk;
use thanos_core::query::{SeriesBatch, SeriesBatchBuilder};
use thanos_core::time::TimeRange;

use super::frames::{FrameCutter, put_frame};
use super::samples;
use super::series::{Order, SeriesReader};

/// Reads `data` as a body, as a message of either form, and as a compressed message.
///
/// # Panics
///
/// When a reader has a bug.
pub(crate) fn read_all(data: &[u8]) {
    let budget = MemoryBudget::new("fuzz", 16 << 20);
    let message = Bytes::copy_from_slice(data);
    let _ = body(message.clone(), &budget);
    let direct = series(&message);
    let mut framed = Vec::new();
    put_frame(&mut framed, data);
    let through = body(framed.into(), &budget).expect("our own frame is one");
    let through = through.first().and_then(series);
    let content = |batch: &SeriesBatch| {
        batch
            .iter()
            .map(|s| s.labels.to_labels())
            .collect::<Vec<_>>()
    };
    assert_eq!(direct.as_ref().map(content), through.as_ref().map(content));
    let held = |batch: SeriesBatch| -> usize {
        let chunks = batch.iter().flat_map(|series| series.chunks);
        chunks.map(SeriesChunk::data_len).sum()
    };
    assert!(
        direct.map_or(0, held) <= data.len(),
        "chunk data comes from the message"
    );
    let _ = samples::read(&message);
    if let Ok((message, _lease)) = samples::decompress(data, &budget) {
        let _ = samples::read(&message);
    }
    assert_eq!(budget.used_bytes(), 0, "nothing stays on lease");
}

fn body(data: Bytes, budget: &MemoryBudget) -> thanos_core::Result<Vec<Bytes>> {
    let mut cutter = FrameCutter::new(budget)?;
    let mut messages = Vec::new();
    cutter.push(data);
    while let Some(message) = cutter.next()? {
        messages.push(message);
    }
    cutter.finish()?;
    Ok(messages)
}

fn series(message: &Bytes) -> Option<SeriesBatch> {
    let mut series = SeriesBatchBuilder::new();
    let mut reader = SeriesReader::new(TimeRange::ALL, Vec::new(), Order::ByLabels);
    reader.read(message, &mut series).ok()?;
    Some(series.finish())
}
