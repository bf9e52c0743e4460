//! Buckets full of generated blocks: real ones, written once and uploaded under many names, and wide ones.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bytes::Bytes;
use thanos_core::block::segment::chunk_entry_len;
use thanos_core::block::{
    BlockFile, BlockId, BlockWriter, BlockWriterOptions, Compaction, DeletionMark, Downsample,
    IndexStats, META_FILE, Marker, Meta, NoCompactMark, ThanosMeta, no_compact_reason,
};
use thanos_core::chunk::SeriesChunk;
use thanos_core::index::{
    ChunkMeta, ChunkRef, IndexReader, IndexVersion, SeriesScratch, series_entry_len,
};
use thanos_core::labels::Labels;
use thanos_core::testkit::{K8sSpec, TempDir, index_of};
use thanos_core::time::Timestamp;
use thanos_core::{Error, Result};

use crate::Bucket;

/// What lies around the data of a chunk: its length in at least one byte, its encoding and its checksum.
const CHUNK_FRAME_BYTES_MIN: usize = 1 + 1 + 4;

/// The bytes of a block without its name: any number of blocks in a bucket can share them.
#[derive(Debug, Clone)]
pub struct BlockData {
    index: Bytes,
    segments: Vec<Bytes>,
    /// Times and statistics; the rest is up to [`BlockSpec`].
    meta: Meta,
    index_stats: IndexStats,
}

/// What one block of a generated bucket says of itself.
#[derive(Debug, Clone, Default)]
pub struct BlockSpec {
    /// Its id.
    pub id: BlockId,
    /// Its external labels.
    pub labels: Vec<(String, String)>,
    /// Its resolution in milliseconds, 0 for raw.
    pub resolution_ms: i64,
    /// Its first time and the first time after it; by default those of its data.
    pub time: Option<(Timestamp, Timestamp)>,
    /// The blocks it was compacted from; none means that it is its own source, at level 1.
    pub sources: Vec<BlockId>,
    /// When it was marked for deletion.
    pub deletion_mark: Option<Timestamp>,
    /// Whether compaction leaves it alone.
    pub no_compact: bool,
    /// Whether its meta.json has the sizes of its files and of its longest entries, as Thanos' uploads have.
    pub sizes: Sizes,
}

/// Which sizes a meta.json has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sizes {
    /// Those of files and of the longest entries.
    #[default]
    Known,
    /// None, as in blocks of Prometheus and of old uploaders.
    Unknown,
}

impl BlockData {
    /// Returns the block of `series`, which are sorted.
    ///
    /// # Errors
    ///
    /// What the block writer and the file system report.
    pub fn of_series(series: &[(Labels, Vec<SeriesChunk>)]) -> Result<Self> {
        let options = BlockWriterOptions::new(BlockId::default());
        Self::written_with(options, series)
    }

    /// Returns the block of `series`, which are sorted, whose chunk files have about `segment_bytes` each.
    ///
    /// # Errors
    ///
    /// As for [`BlockData::of_series`].
    pub fn in_segments(series: &[(Labels, Vec<SeriesChunk>)], segment_bytes: u64) -> Result<Self> {
        let options = BlockWriterOptions {
            segment_len_max: segment_bytes,
            ..BlockWriterOptions::new(BlockId::default())
        };
        Self::written_with(options, series)
    }

    fn written_with(
        options: BlockWriterOptions,
        series: &[(Labels, Vec<SeriesChunk>)],
    ) -> Result<Self> {
        let (dir, id) = (TempDir::new("block-data"), options.id);
        let mut symbols = BTreeSet::new();
        for (name, value) in series.iter().flat_map(|(labels, _)| labels.iter()) {
            symbols.insert(name.into_owned());
            symbols.insert(value.into_owned());
        }
        let mut writer = BlockWriter::create(dir.path(), options, symbols)?;
        for (labels, chunks) in series {
            writer.add_series(labels.as_ref(), chunks)?;
        }
        let meta = writer.finish()?;
        let dir = dir.path().join(id.to_string());
        let read = |path: PathBuf| std::fs::read(path).map(Bytes::from);
        let mut segments = Vec::new();
        for number in 1.. {
            match read(dir.join(format!("chunks/{number:06}"))) {
                Ok(segment) => segments.push(segment),
                Err(_) => break,
            }
        }
        let index = read(dir.join("index"))?;
        let chunk_bytes = stored_chunk_max_size(&index, &segments)?;
        Self::new(index, segments, meta, chunk_bytes)
    }

    /// Returns a block of the series of `spec` whose chunks are all alike: it takes little time to make, however wide.
    ///
    /// # Errors
    ///
    /// What the block writer and the file system report; `Invalid` when the chunks do not fit one file of 4 GiB.
    pub fn wide(spec: &K8sSpec) -> Result<Self> {
        let chunks = spec.chunks(0);
        let first = Self::of_series(&[(Labels::from_pairs([("a", "b")]), chunks.clone())])?;
        let template = &first.segments[0];
        let (head, body) = (template.slice(..8), template.slice(8..));
        let too_long = || Error::invalid("the chunks do not fit one file");
        let total = 8 + body.len() * spec.series;
        u32::try_from(total).map_err(|_| too_long())?;
        let mut segment = Vec::with_capacity(total);
        segment.extend_from_slice(&head);
        (0..spec.series).for_each(|_| segment.extend_from_slice(&body));

        let metas = first_chunks(&first.index)?;
        let labels = spec.labels();
        let body_bytes = u32::try_from(body.len()).map_err(|_| too_long())?;
        let index = index_of(&labels, |number| {
            let shift = body_bytes * u32::try_from(number).expect("the sum fits");
            let moved = |chunk: &ChunkMeta| ChunkMeta {
                reference: ChunkRef::new(0, chunk.reference.offset() + shift),
                ..*chunk
            };
            metas.iter().map(moved).collect()
        });
        let mut meta = first.meta;
        let count = spec.series as u64;
        meta.stats.num_series *= count;
        meta.stats.num_chunks *= count;
        meta.stats.num_samples *= count;
        meta.stats.num_float_samples *= count;
        Self::new(index, vec![segment.into()], meta, chunk_max_size(&chunks))
    }

    fn new(index: Bytes, segments: Vec<Bytes>, meta: Meta, chunk_max_size: u64) -> Result<Self> {
        let mut series_max_size = 0;
        for reference in &IndexReader::open("index", index.clone())?.all_postings()? {
            let (offset, entry) = entry_at(&index, reference)?;
            series_max_size = series_max_size.max(series_entry_len(&entry, offset)?);
        }
        let index_stats = IndexStats {
            series_max_size: series_max_size.next_multiple_of(16),
            chunk_max_size,
        };
        Ok(Self {
            index,
            segments,
            meta,
            index_stats,
        })
    }

    /// Returns the length of the index in bytes.
    pub fn index_bytes(&self) -> u64 {
        self.index.len() as u64
    }

    /// Returns the bytes of the index.
    pub fn index(&self) -> &Bytes {
        &self.index
    }

    /// Returns the chunk files.
    pub fn segments(&self) -> &[Bytes] {
        &self.segments
    }

    /// Returns the meta.json of the block that `spec` describes.
    pub fn meta(&self, spec: &BlockSpec) -> Meta {
        let (min_time, max_time) = spec
            .time
            .unwrap_or((self.meta.min_time, self.meta.max_time));
        let is_source = spec.sources.is_empty();
        let mut thanos = ThanosMeta {
            version: 1,
            labels: spec.labels.iter().cloned().collect(),
            downsample: Downsample {
                resolution_ms: spec.resolution_ms,
            },
            source: "test".to_owned(),
            ..ThanosMeta::default()
        };
        if spec.sizes == Sizes::Known {
            thanos.index_stats = self.index_stats.clone();
            thanos.files = self.files();
        }
        Meta {
            ulid: spec.id,
            min_time,
            max_time,
            compaction: Compaction {
                level: if is_source { 1 } else { 2 },
                sources: if is_source {
                    vec![spec.id]
                } else {
                    spec.sources.clone()
                },
                ..Compaction::default()
            },
            thanos: Some(thanos),
            ..self.meta.clone()
        }
    }

    /// What meta.json says of the files, sorted by path.
    fn files(&self) -> Vec<BlockFile> {
        let file = |rel_path: String, size_bytes: u64| BlockFile {
            rel_path,
            size_bytes,
            hash: None,
        };
        let segments = self
            .segments
            .iter()
            .zip(1..)
            .map(|(segment, number)| file(format!("chunks/{number:06}"), segment.len() as u64));
        let rest = [
            file("index".to_owned(), self.index_bytes()),
            file("meta.json".to_owned(), 0),
        ];
        segments.chain(rest).collect()
    }

    /// Puts the block that `spec` describes into `bucket`, meta.json last. Its objects share the memory of this when
    /// the bucket keeps them in memory.
    ///
    /// # Errors
    ///
    /// What the bucket reports.
    pub async fn upload(&self, bucket: &Bucket, spec: &BlockSpec) -> Result<()> {
        let id = spec.id;
        for (number, segment) in (1..).zip(&self.segments) {
            let object = format!("{id}/chunks/{number:06}");
            bucket.put(&object, segment.clone()).await?;
        }
        bucket
            .put(&format!("{id}/index"), self.index.clone())
            .await?;
        if let Some(time) = spec.deletion_mark {
            let mark = DeletionMark::new(id, time, "generated");
            put_marker(bucket, id, &mark).await?;
        }
        if spec.no_compact {
            let now = id.created();
            let mark = NoCompactMark::new(id, now, no_compact_reason::MANUAL, "generated");
            put_marker(bucket, id, &mark).await?;
        }
        let meta = self.meta(spec).to_json();
        bucket.put(&format!("{id}/{META_FILE}"), meta.into()).await
    }
}

async fn put_marker<M: Marker>(bucket: &Bucket, id: BlockId, mark: &M) -> Result<()> {
    let object = format!("{id}/{}", M::FILE);
    bucket.put(&object, mark.to_json().into()).await
}

/// Returns the place and the bytes from there on of the entry of a series.
fn entry_at(index: &Bytes, reference: u32) -> Result<(u64, Bytes)> {
    let beyond = || Error::corrupt(format!("series {reference} lies beyond the index"));
    let offset = IndexVersion::V2
        .series_offset(reference.into())
        .filter(|offset| *offset < index.len() as u64)
        .ok_or_else(beyond)?;
    let start = usize::try_from(offset).map_err(|_| beyond())?;
    Ok((offset, index.slice(start..)))
}

/// Returns the chunks of the first series of `index`.
fn first_chunks(index: &Bytes) -> Result<Vec<ChunkMeta>> {
    let reader = IndexReader::open("index", index.clone())?;
    let mut scratch = SeriesScratch::default();
    if let Some(reference) = (&reader.all_postings()?).into_iter().next() {
        reader.series(reference.into(), &mut scratch)?;
    }
    Ok(scratch.chunks().to_vec())
}

/// Returns the length of the longest chunk as it lies in its file: one of several aggregates is longer than these.
fn stored_chunk_max_size(index: &Bytes, segments: &[Bytes]) -> Result<u64> {
    let reader = IndexReader::open("index", index.clone())?;
    let (mut scratch, mut longest) = (SeriesScratch::default(), 0);
    for reference in &reader.all_postings()? {
        reader.series(reference.into(), &mut scratch)?;
        for chunk in scratch.chunks() {
            let (segment, offset) = (chunk.reference.segment(), chunk.reference.offset());
            let rest = segments.get(segment as usize);
            let rest = rest.and_then(|segment| segment.get(offset as usize..));
            let beyond = || Error::corrupt("a chunk lies beyond its file");
            let len = chunk_entry_len(rest.ok_or_else(beyond)?, u64::from(offset))?;
            longest = longest.max(len.saturating_sub(CHUNK_FRAME_BYTES_MIN) as u64);
        }
    }
    Ok(longest)
}

fn chunk_max_size<'a>(chunks: impl IntoIterator<Item = &'a SeriesChunk>) -> u64 {
    let sizes = chunks.into_iter().map(|chunk| chunk.data_len() as u64);
    sizes.max().unwrap_or_default()
}

/// Returns the id of generated block number `number`: in order, and no two alike.
pub fn block_id(number: u32) -> BlockId {
    let created = Timestamp::from_millis(1_700_000_000_000 + i64::from(number));
    BlockId::from_parts(created, u128::from(number))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use thanos_core::labels::{MatchOp, Matcher};
    use thanos_storeapi::store::{SeriesRequest, Store};
    use thanos_storeapi::testkit::Answer;

    use super::*;
    use crate::gateway::{Gateway, GatewayOptions};

    async fn served(data: &BlockData, specs: &[BlockSpec]) -> Answer {
        let bucket = Bucket::new(Arc::new(InMemory::new()));
        for spec in specs {
            data.upload(&bucket, spec).await.unwrap();
        }
        let gateway = Gateway::new(bucket, GatewayOptions::default());
        let report = gateway.sync().await.unwrap();
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        let request = SeriesRequest {
            matchers: vec![Matcher::new(MatchOp::Regex, "__name__", ".+").unwrap()],
            ..SeriesRequest::default()
        };
        let stream = gateway.series(request).await.unwrap();
        Answer::collect(stream).await.unwrap()
    }

    fn spec(number: u32) -> BlockSpec {
        BlockSpec {
            id: block_id(number),
            labels: vec![("block".to_owned(), number.to_string())],
            ..BlockSpec::default()
        }
    }

    #[tokio::test]
    async fn generated_blocks_are_served() {
        let wide = K8sSpec {
            series: 250,
            samples: 130,
            ..K8sSpec::default()
        };
        let data = BlockData::wide(&wide).unwrap();
        let unknown = BlockSpec {
            sizes: Sizes::Unknown,
            ..spec(2)
        };
        let answer = served(&data, &[spec(1), unknown]).await;
        assert_eq!(answer.series.len(), 500);
        let samples = answer.series[7]
            .samples(thanos_core::time::TimeRange::ALL)
            .unwrap();
        assert_eq!(samples.len(), 130);

        let labels = Labels::from_pairs([("__name__", "up")]);
        let data = BlockData::of_series(&[(labels, wide.chunks(5))]).unwrap();
        let answer = served(&data, &[spec(1), spec(2), spec(3)]).await;
        assert_eq!(answer.series.len(), 3);
        let chunks: Vec<_> = answer.series[0].chunks().cloned().collect();
        assert_eq!(chunks, wide.chunks(5));
    }
}
