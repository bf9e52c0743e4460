//! Which aggregates of downsampled chunks an answer carries.

use thanos_core::chunk::{Aggregate, ChunkPayload, SeriesChunk};

/// Drops the aggregates that are not `wanted`; returns `None` when nothing is left of the chunk (row ST-15 of the
/// specification). Raw chunks stay as they are.
///
/// A request that allows downsampled data but names no aggregate gets all of them: Thanos answers with chunks without
/// data, which no reader can use.
pub fn keep_aggregates(mut chunk: SeriesChunk, wanted: &[Aggregate]) -> Option<SeriesChunk> {
    let ChunkPayload::Aggregates(set) = &mut chunk.payload else {
        return Some(chunk);
    };
    if wanted.iter().all(|aggregate| *aggregate == Aggregate::Raw) {
        return Some(chunk);
    }
    for aggregate in Aggregate::DOWNSAMPLED {
        if !wanted.contains(&aggregate) {
            set[aggregate as usize] = None;
        }
    }
    set.iter().any(Option::is_some).then_some(chunk)
}

#[cfg(test)]
mod tests {
    use thanos_core::chunk::{Chunk, Encoding};
    use thanos_core::time::Timestamp;

    use super::*;

    fn downsampled(present: &[Aggregate]) -> SeriesChunk {
        let mut set: Box<[Option<Chunk>; 6]> = Box::default();
        for aggregate in present {
            set[*aggregate as usize] = Some(Chunk {
                encoding: Encoding::XOR,
                data: vec![*aggregate as u8].into(),
            });
        }
        SeriesChunk {
            min_time: Timestamp::from_millis(0),
            max_time: Timestamp::from_millis(1),
            payload: ChunkPayload::Aggregates(set),
        }
    }

    #[test]
    fn only_wanted_aggregates_stay() {
        use Aggregate::{Count, Counter, Max, Min, Raw, Sum};
        let all = Aggregate::DOWNSAMPLED;
        for (present, wanted, left) in [
            (&all[..], &[Count, Sum][..], &[Count, Sum][..]),
            (&all, &[Counter], &[Counter]),
            (&all, &[], &all),
            (&all, &[Raw], &all),
            (&all, &all, &all),
            (&[Count, Sum, Counter], &[Min, Sum], &[Sum]),
            (&[Count, Sum, Counter], &[Max], &[]),
        ] {
            let kept = keep_aggregates(downsampled(present), wanted);
            let expected = (!left.is_empty()).then(|| downsampled(left));
            assert_eq!(kept, expected, "{present:?} {wanted:?}");
        }
    }

    #[test]
    fn raw_chunks_serve_every_function() {
        let at = Timestamp::from_millis(0);
        let chunk = Chunk {
            encoding: Encoding::XOR,
            data: vec![0, 0].into(),
        };
        let raw = SeriesChunk::raw(at, at, chunk);
        assert_eq!(keep_aggregates(raw.clone(), &[Aggregate::Max]), Some(raw));
    }
}
