//! What must hold for any bytes that a peer sends: the bodies of the fuzz targets.
//!
//! Tests run them on random bytes; `fuzz/` runs them under libFuzzer.

use bytes::Bytes;
use thanos_core::chunk::SeriesChunk;
use thanos_core::labels::Labels;
use thanos_core::query::{SeriesBatch, SeriesBatchBuilder, SeriesEvent};

use crate::wire::{FrameDecoder, FrameEncoder, Frames};

/// Decodes `data` as a frame of a `Series` answer; what decodes must encode and decode to the same.
///
/// # Panics
///
/// When the frame codec has a bug.
pub fn frame(data: &[u8]) {
    let Some(batch) = decode(&Bytes::copy_from_slice(data)) else {
        return;
    };
    let held: usize = batch
        .iter()
        .flat_map(|series| series.chunks)
        .map(SeriesChunk::data_len)
        .sum();
    assert!(held <= data.len(), "chunk data comes from the frame");

    let mut frames = Frames::new(u64::MAX);
    let series = owned(&batch);
    frames.push(SeriesEvent::Batch(batch));
    if let Some(frame) = frames.next_full().or_else(|| frames.flush()) {
        let mut out = Vec::new();
        let encoded = FrameEncoder::default().encode(&frame, &mut out);
        encoded.expect("every chunk from the wire has an encoding");
        let again = decode(&out.into()).expect("our own frames decode");
        assert_eq!(owned(&again), series);
    }
}

fn decode(frame: &Bytes) -> Option<SeriesBatch> {
    let mut series = SeriesBatchBuilder::new();
    let mut decoder = FrameDecoder::new("peer");
    decoder.decode(frame, &mut series).ok()?;
    Some(series.finish())
}

fn owned(batch: &SeriesBatch) -> Vec<(Labels, Vec<SeriesChunk>)> {
    let own = |index| (batch.labels(index), batch.get(index).chunks.to_vec());
    (0..batch.len()).map(own).collect()
}

/// Decodes `data` as each of the other messages and converts what decodes.
///
/// # Panics
///
/// When an adapter has a bug.
#[cfg(any(feature = "client", feature = "server"))]
pub fn messages(data: &[u8]) {
    crate::convert::read_all(data);
}

/// Reads `data` as the answer of a Prometheus to a remote read.
///
/// # Panics
///
/// When a reader has a bug.
#[cfg(feature = "prometheus")]
pub fn remote_read(data: &[u8]) {
    crate::prometheus::fuzz::read_all(data);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn any_bytes_are_read_or_refused(data in prop::collection::vec(any::<u8>(), 0..200)) {
            super::frame(&data);
            #[cfg(any(feature = "client", feature = "server"))]
            super::messages(&data);
        }
    }
}
