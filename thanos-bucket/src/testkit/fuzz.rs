//! One entry point per format for fuzzing: any bytes may go in, and nothing may panic or take memory without bound.
//!
//! The package in `fuzz/` runs each of them for as long as one likes; tests here run them on some random bytes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use thanos_core::block::BlockId;
use thanos_core::labels::Labels;
use thanos_core::labels::relabel::{RelabelConfig, Relabeler};
use thanos_core::time::Timestamp;

use crate::cache::index::{codec, page, seal};
use crate::cache::{
    Backend, CachingBucketConfig, CachingStore, CachingStoreMetrics, CachingStoreOptions,
    IndexCacheConfig,
};
use crate::config::BucketConfig;
use crate::fetch::BucketView;
use crate::fetch::filter::RelabelFilter;
use crate::manifest::Manifest;

#[cfg(feature = "memcached")]
pub use memcached::memcached_answers;
#[cfg(feature = "redis")]
pub use redis::redis_answers;

/// No postings lie above this.
const POSTINGS_END: u64 = 100_000;

/// Reads `data` as a page of the index cache, also with a checksum that fits.
///
/// # Panics
///
/// When a page is not the same after it was written, or does not know what it says it knows.
pub fn cache_page(data: &[u8]) {
    page::fuzz_page(data);
}

/// Reads `data` as expanded postings of a cache, also with a seal that fits.
///
/// # Panics
///
/// When postings do not lie below their end, or are not the same after they were written.
pub fn cached_postings(data: &[u8]) {
    const KEY: &str = "EP:key";
    let sealed = seal::sealed_frames(KEY, data);
    for value in [data, &sealed] {
        let Ok(postings) = seal::open(KEY, value, POSTINGS_END) else {
            continue;
        };
        assert!(
            postings
                .iter()
                .all(|reference| u64::from(reference) < POSTINGS_END)
        );
        let again = seal::sealed(KEY, codec::encode_postings(&postings));
        let again = seal::open(KEY, &again, POSTINGS_END);
        assert!(again.is_ok_and(|again| again.into_vec() == postings.into_vec()));
    }
}

/// Has the same value under every key.
#[derive(Debug)]
struct Same(Bytes);

#[async_trait]
impl Backend for Same {
    async fn get_many(&self, keys: &[String]) -> Vec<Option<Bytes>> {
        // Not what Thanos' caches have: then values are believed.
        let has = |key: &String| !key.starts_with("sum:");
        keys.iter()
            .map(|key| has(key).then(|| self.0.clone()))
            .collect()
    }

    fn put(&self, _key: String, _value: Bytes, _ttl: Duration) {}
}

/// Takes `data` for every value of a caching bucket: attributes, contents, listings, parts of chunks.
///
/// # Panics
///
/// When a read gives more than it was asked for.
pub fn caching_bucket_values(data: &[u8]) {
    let id = "01M81JDC7R8JKP7SEW1VN2HAQ9";
    let backend = Arc::new(Same(Bytes::copy_from_slice(data)));
    let options = CachingStoreOptions {
        subrange_bytes: 16,
        ..CachingStoreOptions::default()
    };
    let metrics = CachingStoreMetrics::default();
    let store = CachingStore::new(Arc::new(InMemory::new()), backend, options, metrics);
    let work = async {
        let chunks = Path::from(format!("{id}/chunks/000001"));
        let meta = Path::from(format!("{id}/meta.json"));
        for location in [&chunks, &meta] {
            let _ = store.head(location).await;
            if let Ok(bytes) = store.get_range(location, 3..40).await {
                assert!(bytes.len() <= 37);
            }
            if let Ok(answer) = store.get(location).await {
                let _ = answer.bytes().await;
            }
        }
        let _ = store.list_with_delimiter(None).await;
        let _: Result<Vec<_>, _> = store.list(None).try_collect().await;
    };
    work.now_or_never()
        .expect("a store in memory answers at once");
}

/// Reads `data` as a manifest, also as the body of one whose checksum fits.
///
/// # Panics
///
/// When a readable manifest is not the same after it was written.
pub fn manifest(data: &[u8]) {
    let empty = Manifest {
        made: Timestamp::from_millis(0),
        view: BucketView::default(),
    };
    let written = empty.encode().expect("nothing is short enough");
    // The magic number, the version and the time.
    let head = written.get(..20).expect("a manifest has a head");
    let packed = zstd::bulk::compress(data, 1).expect("a buffer takes all bytes");
    let lengths = [data.len() as u64, packed.len() as u64].map(u64::to_be_bytes);
    let mut whole = [head, lengths.as_flattened(), &packed].concat();
    let sum = xxhash_rust::xxh64::xxh64(&whole, 0);
    whole.extend_from_slice(&sum.to_be_bytes());
    for bytes in [data, &whole] {
        let Ok(manifest) = Manifest::decode(bytes) else {
            continue;
        };
        let again = manifest.encode().expect("it was short enough");
        let again = Manifest::decode(&again).expect("what is written is read");
        let ids = |manifest: &Manifest| {
            manifest
                .view
                .blocks
                .keys()
                .copied()
                .collect::<Vec<BlockId>>()
        };
        assert_eq!(ids(&manifest), ids(&again));
        assert_eq!(manifest.made, again.made);
    }
}

/// Reads `data` as the YAML of a bucket, of an index cache, and of a caching bucket.
///
/// # Panics
///
/// When reading does.
pub fn bucket_yaml(data: &[u8]) {
    let Ok(yaml) = std::str::from_utf8(data) else {
        return;
    };
    let _ = BucketConfig::from_yaml(yaml);
    let _ = IndexCacheConfig::from_yaml(yaml);
    let _ = CachingBucketConfig::from_yaml(yaml, "cache.yaml");
}

/// Reads `data` as rules of relabelling (`--selector.relabel-config`), and relabels with them.
///
/// # Panics
///
/// When either does.
pub fn relabel_yaml(data: &[u8]) {
    let Ok(yaml) = std::str::from_utf8(data) else {
        return;
    };
    let rules: Result<Option<Vec<RelabelConfig>>, _> = serde_saphyr::from_str(yaml);
    if let Ok(Some(rules)) = rules
        && let Ok(relabeler) = Relabeler::new(rules)
    {
        let labels = Labels::from_pairs([("cluster", "eu1"), ("replica", "a")]);
        let _ = relabeler.process(labels.as_ref());
    }
    let _ = RelabelFilter::from_yaml(yaml);
}

/// Reads `data` as a slot of a job's journal, also with a checksum that fits.
///
/// # Panics
///
/// When a readable slot is not the same after it was written.
pub fn journal_slot(data: &[u8]) {
    crate::compact::lease::fuzz_slot(data);
}

/// Reads `data` as a request to delete series, also with a checksum that fits.
///
/// # Panics
///
/// When a readable request is not the same after it was written.
pub fn tombstone(data: &[u8]) {
    crate::tombstones::fuzz_tombstone(data);
}

#[cfg(feature = "memcached")]
mod memcached {
    /// Takes `data` for the answers of a memcached server.
    ///
    /// # Panics
    ///
    /// When a value is read that was not sent.
    pub fn memcached_answers(data: &[u8]) {
        crate::cache::memcached::protocol::fuzz_answers(data);
    }
}

#[cfg(feature = "redis")]
mod redis {
    /// Takes `data` for the answers of a Redis server; the first byte says in how long pieces they come.
    ///
    /// # Panics
    ///
    /// When it matters in how long pieces.
    pub fn redis_answers(data: &[u8]) {
        crate::cache::redis::guard::fuzz_answers(data);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pieces of what is read, so that random texts get somewhere.
    const WORDS: [&str; 52] = [
        "type: ",
        "config:\n  ",
        "S3",
        "GCS",
        "IN-MEMORY",
        "MEMCACHED",
        "bucket: ",
        "max_size: ",
        "250MB",
        "ttl: ",
        "1h",
        "\n",
        "\n- ",
        "source_labels: [cluster]\n  ",
        "action: ",
        "keep",
        "drop",
        "hashmod",
        "modulus: 2\n  ",
        "regex: ",
        "eu.*",
        "(",
        "target_label: a\n  ",
        "{\"size\":",
        "12",
        ",\"last_modified\":\"2024-05-01T10:00:00Z\"",
        "}",
        "[\"",
        "01M81JDC7R8JKP7SEW1VN2HAQ9/",
        "\"]",
        "[{\"name\":\"a\",",
        "true",
        "false",
        "null",
        "dss",
        "\u{0}",
        "\t",
        ": ",
        "&a ",
        "*a ",
        "{\"version\":1,\"kind\":\"lease\",",
        "\"owner\":\"a\",\"attempt\":\"x\"",
        ",\"expires_ms\":7",
        "{\"version\":1,\"kind\":\"commit\",",
        ",\"is_finished\":true,\"blocks\":[],\"sources\":[],\"details\":\"\"",
        "{\"version\":1,\"request_id\":\"r\",",
        "\"selectors\":[[",
        "{\"name\":\"a\",\"type\":\"=~\",\"value\":\"b|\"}",
        ",",
        "]],",
        "\"min_time\":1,\"max_time\":2,",
        "\"creation_time\":3",
    ];

    fn all(data: &[u8]) {
        cache_page(data);
        cached_postings(data);
        caching_bucket_values(data);
        manifest(data);
        bucket_yaml(data);
        relabel_yaml(data);
        journal_slot(data);
        tombstone(data);
        #[cfg(feature = "memcached")]
        memcached_answers(data);
        #[cfg(feature = "redis")]
        redis_answers(data);
    }

    proptest! {
        #[test]
        fn no_format_panics_on_random_bytes(
            data in proptest::collection::vec(any::<u8>(), 0..200),
            small in proptest::collection::vec(0_u8..8, 0..60),
            words in proptest::collection::vec(prop::sample::select(WORDS.to_vec()), 0..25),
        ) {
            all(&data);
            all(&small);
            all(words.concat().as_bytes());
        }
    }
}
