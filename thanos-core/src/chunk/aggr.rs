//! Thanos' container of aggregates: up to five chunks over the same windows in one chunk of a downsampled block.
//!
//! ```text
//! for count, sum, min, max, counter:
//!     uvarint length of the data; 0 = absent and nothing follows
//!     1 byte encoding
//!     data
//! ```
//!
//! Source: Thanos compact/downsample, EncodeAggrChunk and AggrChunk.Get.

use bytes::Bytes;

use super::{Aggregate, Chunk, ChunkPayload, Encoding, num_samples};
use crate::encoding::varint::{put_uvarint, read_uvarint};
use crate::error::{Error, Result};

/// Any subset of raw, count, sum, min, max, counter, indexed by [`Aggregate`].
pub type AggregateSet = [Option<Chunk>; 6];

/// Returns the chunks in a container; they share its memory.
///
/// A container that ends after the last present aggregate is accepted, which upstream's reader refuses.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when a length leads past the end or bytes are left over.
pub fn decode_aggregates(data: &Bytes) -> Result<AggregateSet> {
    let mut set = AggregateSet::default();
    let mut at = 0;
    for aggregate in Aggregate::DOWNSAMPLED {
        if at == data.len() {
            break;
        }
        let (len, prefix) = read_uvarint(&data[at..]).map_err(|e| e.shifted(at as u64))?;
        at += prefix;
        if len == 0 {
            continue;
        }
        let chunk = usize::try_from(len)
            .ok()
            .and_then(|len| at.checked_add(1)?.checked_add(len))
            .filter(|&end| end <= data.len())
            .map(|end| Chunk {
                encoding: Encoding(data[at]),
                data: data.slice(at + 1..end),
            })
            .ok_or_else(|| past_end(aggregate, len, at))?;
        at += 1 + chunk.data.len();
        set[aggregate as usize] = Some(chunk);
    }
    if at < data.len() {
        return Err(Error::corrupt("bytes are left after the last aggregate").at(at as u64));
    }
    Ok(set)
}

#[cold]
fn past_end(aggregate: Aggregate, len: u64, at: usize) -> Error {
    Error::corrupt(format!(
        "{aggregate:?} aggregate of {len} bytes leads past the end of its chunk"
    ))
    .at(at as u64)
}

/// Returns the payload of a chunk from a block: the aggregates of a container, or the chunk itself.
///
/// # Errors
///
/// As [`decode_aggregates`].
pub fn payload(chunk: Chunk) -> Result<ChunkPayload> {
    if chunk.encoding == Encoding::AGGREGATES {
        let set = decode_aggregates(&chunk.data)?;
        return Ok(ChunkPayload::Aggregates(Box::new(set)));
    }
    Ok(ChunkPayload::Raw(chunk))
}

/// Returns a container of the downsampled chunks in `set`; one of raw samples does not belong there.
///
/// # Errors
///
/// [`Invalid`](crate::ErrorKind::Invalid) when `set` has raw samples or a chunk without data.
pub fn encode_aggregates(set: &AggregateSet) -> Result<Chunk> {
    if set[Aggregate::Raw as usize].is_some() {
        return Err(Error::invalid(
            "a container of aggregates cannot hold raw samples",
        ));
    }
    let present = set.iter().flatten().map(|chunk| chunk.data.len() + 4);
    let mut data = Vec::with_capacity(present.sum::<usize>() + set.len());
    for aggregate in Aggregate::DOWNSAMPLED {
        let Some(chunk) = &set[aggregate as usize] else {
            data.push(0);
            continue;
        };
        if chunk.data.is_empty() {
            return Err(Error::invalid(format!(
                "{aggregate:?} aggregate has no data"
            )));
        }
        put_uvarint(&mut data, chunk.data.len() as u64);
        data.push(chunk.encoding.0);
        data.extend_from_slice(&chunk.data);
    }
    Ok(Chunk {
        encoding: Encoding::AGGREGATES,
        data: data.into(),
    })
}

/// Returns the number of windows in a container, which is the number of samples of its count aggregate.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when the container is damaged or has no counts.
pub(super) fn window_count(data: &Bytes) -> Result<usize> {
    let set = decode_aggregates(data)?;
    let count = set[Aggregate::Count as usize].as_ref();
    num_samples(count.ok_or_else(|| Error::corrupt("container has no count aggregate").at(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk;

    fn containers() -> Vec<Chunk> {
        let path = format!("{}/testdata/chunks/downsampled", env!("CARGO_MANIFEST_DIR"));
        chunk::segment_chunks(&std::fs::read(path).unwrap())
    }

    #[test]
    fn downsampled_chunks_encode_to_the_same_bytes() {
        let chunks = containers();
        assert_eq!(chunks.len(), 54);
        for chunk in &chunks {
            let set = decode_aggregates(&chunk.data).unwrap();
            assert_eq!(encode_aggregates(&set).unwrap(), *chunk);
            let windows = num_samples(chunk).unwrap();
            for aggregate in Aggregate::DOWNSAMPLED {
                let part = set[aggregate as usize].as_ref().unwrap();
                let samples = chunk::samples(part).unwrap().len();
                if aggregate == Aggregate::Counter {
                    // The first raw sample comes before the windows and the last raw value after them;
                    // windows whose total is not a number may be missing.
                    assert!(samples <= windows + 2);
                } else {
                    assert_eq!(samples, windows);
                }
            }
        }
    }

    #[test]
    fn absent_aggregates_take_one_byte() {
        let count = Chunk {
            encoding: Encoding::XOR,
            data: Bytes::from_static(&[0, 0]),
        };
        let mut set = AggregateSet::default();
        set[Aggregate::Count as usize] = Some(count);
        let container = encode_aggregates(&set).unwrap();
        assert_eq!(container.data.as_ref(), [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(decode_aggregates(&container.data).unwrap(), set);
        assert_eq!(decode_aggregates(&container.data.slice(..4)).unwrap(), set);
        set[Aggregate::Raw as usize] = set[Aggregate::Count as usize].clone();
        assert!(encode_aggregates(&set).is_err());
    }

    #[test]
    fn damage_is_an_error_or_another_container() {
        for container in containers().iter().step_by(9) {
            for at in 0..container.data.len() {
                let mut data = container.data.to_vec();
                data[at] ^= 0xFF;
                if let Ok(set) = decode_aggregates(&data.into()) {
                    set.iter().flatten().for_each(|part| {
                        let _ = chunk::samples(part);
                    });
                }
                // A cut at the border of two aggregates is a container with fewer of them.
                let _ = decode_aggregates(&container.data.slice(..at));
            }
        }
        let error = decode_aggregates(&Bytes::from_static(&[0, 9, 1, 2])).unwrap_err();
        assert_eq!(error.offset(), Some(2));
        let mut long = encode_aggregates(&AggregateSet::default())
            .unwrap()
            .data
            .to_vec();
        long.push(7);
        assert!(decode_aggregates(&long.into()).is_err());
    }
}
