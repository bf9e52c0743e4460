//! Objects of which each read says something else: a proxy, a cache or a disk on the way lies, or somebody has written the
//! object anew.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result as StoreResult,
};
use parking_lot::Mutex;
use thanos_core::indexheader::HeaderSource;
use thanos_core::testkit::K8sSpec;
use thanos_storeapi::testkit::Answer;

use super::requests::counted;
use super::*;
use crate::testkit::{BlockData, BlockSpec, block_id};

/// What the front of a read is replaced by, one read after the other.
#[derive(Debug)]
struct Lies {
    suffix: &'static str,
    /// Where the reads begin that meet one.
    starts: Range<u64>,
    fronts: VecDeque<Vec<u8>>,
}

#[derive(Debug)]
struct Lying {
    inner: InMemory,
    lies: Mutex<Option<Lies>>,
}

impl Lying {
    fn front_of(&self, location: &Path, options: &GetOptions) -> Option<Vec<u8>> {
        let Some(GetRange::Bounded(range)) = &options.range else {
            return None;
        };
        let mut lies = self.lies.lock();
        let lies = lies.as_mut()?;
        let meets = location.as_ref().ends_with(lies.suffix) && lies.starts.contains(&range.start);
        meets.then(|| lies.fronts.pop_front()).flatten()
    }
}

impl fmt::Display for Lying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lying")
    }
}

#[async_trait]
impl ObjectStore for Lying {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let front = self.front_of(location, &options);
        let answer = self.inner.get_opts(location, options).await?;
        let Some(front) = front else {
            return Ok(answer);
        };
        let (meta, range) = (answer.meta.clone(), answer.range.clone());
        let mut bytes = BytesMut::from(&answer.bytes().await?[..]);
        bytes[..front.len()].copy_from_slice(&front);
        let body = futures::stream::iter([Ok(Bytes::from(bytes))]).boxed();
        Ok(GetResult {
            payload: GetResultPayload::Stream(body),
            meta,
            range,
            attributes: Default::default(),
            extensions: Default::default(),
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A length as a varint of two bytes.
fn length(bytes: u16) -> Vec<u8> {
    let [low, high] = [bytes & 0x7f, bytes >> 7].map(|part| u8::try_from(part).unwrap());
    vec![low | 0x80, high]
}

/// ST-19: an entry or a chunk that is fetched again because it says that it is longer, and says the same then, is damaged.
/// So it is read once more from its start, and answers are right, or `Corrupt` when the bucket itself says so.
#[tokio::test]
async fn what_says_each_time_that_it_is_longer_is_read_from_the_start() {
    let spec = K8sSpec {
        series: 600,
        samples: 2,
        ..K8sSpec::default()
    };
    let data = BlockData::wide(&spec).unwrap();
    let store = Arc::new(Lying {
        inner: InMemory::new(),
        lies: Mutex::default(),
    });
    let bucket = Bucket::new(store.clone());
    let spec = BlockSpec {
        id: block_id(1),
        ..BlockSpec::default()
    };
    data.upload(&bucket, &spec).await.unwrap();
    let index = data.index();
    let toc = HeaderSource::toc_range(index.len() as u64).unwrap();
    let toc = index.slice(usize::try_from(toc.start).unwrap()..);
    let source = HeaderSource::decode(index, &toc, index.len() as u64).unwrap();
    let first_entry = source.toc.series..source.toc.series + 16;

    let lies = |which: usize, count: usize| -> Lies {
        let (suffix, starts, lengths) = match which {
            0 => (
                "/index",
                first_entry.clone(),
                [1000, 3000, 1000, 3000, 0, 0],
            ),
            _ => ("/chunks/000001", 0..9, [1000, 3000, 9000, 1000, 3000, 9000]),
        };
        let lengths = lengths.into_iter().take(count).filter(|bytes| *bytes > 0);
        Lies {
            suffix,
            starts,
            fronts: lengths.map(length).collect(),
        }
    };
    let metric = "thanos_bucket_store_damaged_reads_total";
    for (which, item, once, always) in [(0, "series", 2, 4), (1, "chunks", 3, 6)] {
        let gateway = Gateway::new(bucket.clone(), GatewayOptions::default());
        gateway.sync().await.unwrap();
        let ask = |request: SeriesRequest| async {
            let answer = gateway.series(request).await.unwrap();
            Answer::collect(answer).await
        };
        let all = ask(SeriesRequest {
            matchers: vec![Matcher::new(MatchOp::Regex, "__name__", ".+").unwrap()],
            ..SeriesRequest::default()
        });
        let all = all.await.unwrap();
        let first = all.series[0].labels.clone();
        let first_only = || SeriesRequest {
            matchers: (first.iter())
                .map(|(name, value)| Matcher::equal(&name, &value))
                .collect(),
            ..SeriesRequest::default()
        };
        let wanted = ask(first_only()).await.unwrap();
        assert_eq!(wanted.series.len(), 1);

        *store.lies.lock() = Some(lies(which, once));
        let found = ask(first_only()).await.unwrap();
        assert_eq!(found.series, wanted.series, "{item}");
        let left = store.lies.lock().take().unwrap();
        assert!(left.fronts.is_empty(), "{item}: {left:?}");
        let metrics = &gateway.options.metrics;
        let healed = format!("{{data_type=\"{item}\",outcome=\"healed\"}} 1");
        assert_eq!(counted(metrics, metric), std::slice::from_ref(&healed));

        *store.lies.lock() = Some(lies(which, always));
        let error = ask(first_only()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let left = store.lies.lock().take().unwrap();
        assert!(left.fronts.is_empty(), "{item}: {left:?}");
        let failed = format!("{{data_type=\"{item}\",outcome=\"failed\"}} 1");
        assert_eq!(counted(metrics, metric), [failed, healed]);
    }
}
