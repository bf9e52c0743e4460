//! Generated indexes of any size, without the chunks they refer to.

use bytes::Bytes;

use super::K8sSpec;
use super::k8s::symbols;
use crate::index::{ChunkMeta, ChunkRef, IndexWriter, LabelIndices};
use crate::labels::Labels;

/// The samples after which Prometheus cuts a chunk.
const CHUNK_SAMPLES: usize = 120;
/// About what a chunk takes in its segment file.
const CHUNK_BYTES: u32 = 200;

/// Returns the index of the series of `spec`, each with a chunk for every 120 samples.
///
/// # Panics
///
/// When the chunks would not fit 4 GiB segments, which takes hundreds of millions of them.
pub fn k8s_index(spec: &K8sSpec) -> Bytes {
    let labels = spec.labels();
    index_of(&labels, |number| {
        let count = spec.samples.div_ceil(CHUNK_SAMPLES);
        let mut chunks = Vec::with_capacity(count);
        for i in 0..count {
            let at = |sample: usize| spec.start + spec.step_ms * i64::try_from(sample).unwrap_or(0);
            let last = ((i + 1) * CHUNK_SAMPLES).min(spec.samples) - 1;
            let chunk = u32::try_from(number * count + i).expect("a test has fewer chunks");
            chunks.push(ChunkMeta {
                reference: ChunkRef::new(chunk >> 24, 8 + (chunk & 0xFF_FFFF) * CHUNK_BYTES),
                min_time: at(i * CHUNK_SAMPLES),
                max_time: at(last),
            });
        }
        chunks
    })
}

/// Returns the index of the series with `labels`, which are sorted, and the chunks that `chunks_of` gives each.
///
/// # Panics
///
/// When series or chunks are out of order.
pub fn index_of(labels: &[Labels], mut chunks_of: impl FnMut(usize) -> Vec<ChunkMeta>) -> Bytes {
    let mut writer = IndexWriter::new(Vec::new(), symbols(labels), LabelIndices::Omit)
        .expect("the set of symbols is sorted");
    for (number, labels) in labels.iter().enumerate() {
        writer
            .add_series(labels.as_ref(), &chunks_of(number))
            .expect("generated series are in order");
    }
    Bytes::from(writer.finish().expect("memory takes all").0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{IndexReader, SeriesScratch};

    #[test]
    fn the_index_holds_the_series_of_the_spec() {
        let spec = K8sSpec {
            series: 300,
            ..K8sSpec::default()
        };
        let index = IndexReader::open("index", k8s_index(&spec)).unwrap();
        let mut scratch = SeriesScratch::default();
        let mut found = Vec::new();
        for reference in &index.all_postings().unwrap() {
            index.series(reference.into(), &mut scratch).unwrap();
            assert_eq!(scratch.chunks().len(), 4);
            found.push(scratch.labels().to_labels());
        }
        assert_eq!(found, spec.labels());
    }
}
