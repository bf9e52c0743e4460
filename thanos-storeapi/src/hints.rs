//! What a store of blocks and its clients tell each other beside the request: the messages of `hintspb`, row ST-30 of
//! the specification.
//!
//! Requests and answers carry them as a serialised `google.protobuf.Any`. A client may narrow the blocks that are read
//! and ask for statistics; the store names the blocks that it read. They speak of one store: a proxy does not pass those
//! of `Series` on.
//!
//! # Example
//!
//! ```
//! use thanos_core::labels::Matcher;
//! use thanos_storeapi::hints::SeriesRequestHints;
//! use thanos_storeapi::store::SeriesRequest;
//!
//! let hints = SeriesRequestHints {
//!     block_matchers: vec![Matcher::equal("__block_id", "01M81JDC7R8JKP7SEW1VN2HAQ9")],
//!     enable_query_stats: true,
//! };
//! let request = SeriesRequest { hints: Some(hints.encode()), ..Default::default() };
//! assert!(SeriesRequestHints::decode(&request.hints.unwrap())?.enable_query_stats);
//! # Ok::<(), thanos_core::Error>(())
//! ```

use std::time::Duration;

use bytes::Bytes;
use prost::{Message, Name};
use thanos_core::error::{Error, Result};
use thanos_core::labels::Matcher;

use crate::convert::matchers::{matchers_from_pb, matchers_to_pb};
use crate::matchers::NewMatchers;
use crate::pb::hintspb as pb;

/// The name under which the identity of a block is one of its labels in block matchers.
pub const BLOCK_ID_LABEL: &str = "__block_id";

/// What a client adds to a `Series` request.
#[derive(Debug, Clone, Default)]
pub struct SeriesRequestHints {
    /// Only blocks that match, by their external labels and [`BLOCK_ID_LABEL`], are read; none means all.
    pub block_matchers: Vec<Matcher>,
    /// The answer should say what it cost.
    pub enable_query_stats: bool,
}

/// What a store adds to the answer to a `Series` request, after the last series.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SeriesResponseHints {
    /// The ids of the blocks that were read.
    pub queried_blocks: Vec<String>,
    /// What it cost, when the request asked for it.
    pub query_stats: Option<QueryStats>,
}

/// Which of the two label calls hints belong to: each has messages of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LabelCall {
    /// `LabelNames`
    Names,
    /// `LabelValues`
    Values,
}

/// What a client adds to a request for label names or values.
#[derive(Debug, Clone, Default)]
pub struct LabelsRequestHints {
    /// As in [`SeriesRequestHints`].
    pub block_matchers: Vec<Matcher>,
}

/// What a store adds to label names or values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelsResponseHints {
    /// The ids of the blocks that were read.
    pub queried_blocks: Vec<String>,
}

/// The work behind an answer.
///
/// *Touched* counts what was used, wherever it came from; *fetched* counts what came from the bucket, its bytes with
/// those between the wanted ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(missing_docs, reason = "the names say it, with the words above")]
pub struct QueryStats {
    pub blocks_queried: u64,
    pub merged_series: u64,
    pub merged_chunks: u64,
    pub postings: ItemStats,
    /// Postings lists that no cache had.
    pub postings_to_fetch: u64,
    pub series: ItemStats,
    pub chunks: ItemStats,
    /// The sum of all bytes above.
    pub data_downloaded_bytes: u64,
    /// Until the postings of all blocks were known.
    pub get_all_duration: Duration,
    /// What making one stream out of those of the blocks took.
    pub merge_duration: Duration,
}

/// The work behind one kind of item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(missing_docs, reason = "see `QueryStats`")]
pub struct ItemStats {
    pub touched: u64,
    pub touched_bytes: u64,
    pub fetched: u64,
    pub fetched_bytes: u64,
    /// Requests to the bucket.
    pub fetch_count: u64,
}

impl SeriesRequestHints {
    /// Returns them as [`SeriesRequest::hints`](crate::store::SeriesRequest::hints) carries them.
    pub fn encode(&self) -> Bytes {
        pack(&pb::SeriesRequestHints {
            block_matchers: matchers_to_pb(&self.block_matchers),
            enable_query_stats: self.enable_query_stats,
        })
    }

    /// Reads them.
    ///
    /// # Errors
    ///
    /// `Invalid` when `any` is something else, or a matcher is wrong.
    pub fn decode(any: &Bytes) -> Result<Self> {
        let hints: pb::SeriesRequestHints = unpack(any, "series request hints")?;
        Ok(Self {
            block_matchers: block_matchers(&hints.block_matchers)?,
            enable_query_stats: hints.enable_query_stats,
        })
    }
}

impl SeriesResponseHints {
    /// Returns them as [`SeriesEvent::Hints`](crate::store::SeriesEvent::Hints) carries them.
    pub fn encode(&self) -> Bytes {
        pack(&pb::SeriesResponseHints {
            queried_blocks: blocks_to_pb(&self.queried_blocks),
            query_stats: self.query_stats.as_ref().map(stats_to_pb),
        })
    }

    /// Reads them.
    ///
    /// # Errors
    ///
    /// `Invalid` when `any` is something else.
    pub fn decode(any: &Bytes) -> Result<Self> {
        let hints: pb::SeriesResponseHints = unpack(any, "series response hints")?;
        Ok(Self {
            queried_blocks: blocks_from_pb(hints.queried_blocks),
            query_stats: hints.query_stats.as_ref().map(stats_from_pb),
        })
    }
}

impl LabelsRequestHints {
    /// Returns them as the request of `call` carries them.
    pub fn encode(&self, call: LabelCall) -> Bytes {
        let block_matchers = matchers_to_pb(&self.block_matchers);
        match call {
            LabelCall::Names => pack(&pb::LabelNamesRequestHints { block_matchers }),
            LabelCall::Values => pack(&pb::LabelValuesRequestHints { block_matchers }),
        }
    }

    /// Reads those of `call`.
    ///
    /// # Errors
    ///
    /// `Invalid` when `any` is something else, or a matcher is wrong.
    pub fn decode(any: &Bytes, call: LabelCall) -> Result<Self> {
        let matchers = match call {
            LabelCall::Names => {
                unpack::<pb::LabelNamesRequestHints>(any, "label names request hints")?
                    .block_matchers
            }
            LabelCall::Values => {
                unpack::<pb::LabelValuesRequestHints>(any, "label values request hints")?
                    .block_matchers
            }
        };
        Ok(Self {
            block_matchers: block_matchers(&matchers)?,
        })
    }
}

impl LabelsResponseHints {
    /// Returns them as the answer of `call` carries them.
    pub fn encode(&self, call: LabelCall) -> Bytes {
        let queried_blocks = blocks_to_pb(&self.queried_blocks);
        match call {
            LabelCall::Names => pack(&pb::LabelNamesResponseHints { queried_blocks }),
            LabelCall::Values => pack(&pb::LabelValuesResponseHints { queried_blocks }),
        }
    }

    /// Reads those of `call`.
    ///
    /// # Errors
    ///
    /// `Invalid` when `any` is something else.
    pub fn decode(any: &Bytes, call: LabelCall) -> Result<Self> {
        let blocks = match call {
            LabelCall::Names => {
                unpack::<pb::LabelNamesResponseHints>(any, "label names response hints")?
                    .queried_blocks
            }
            LabelCall::Values => {
                unpack::<pb::LabelValuesResponseHints>(any, "label values response hints")?
                    .queried_blocks
            }
        };
        Ok(Self {
            queried_blocks: blocks_from_pb(blocks),
        })
    }
}

/// What Go puts before the name of a message.
const TYPE_URL_PREFIX: &str = "type.googleapis.com/";

macro_rules! named {
    ($($message:ident),*) => {$(
        impl Name for pb::$message {
            const NAME: &'static str = stringify!($message);
            const PACKAGE: &'static str = "hintspb";
        }
    )*};
}

named!(
    SeriesRequestHints,
    SeriesResponseHints,
    LabelNamesRequestHints,
    LabelNamesResponseHints,
    LabelValuesRequestHints,
    LabelValuesResponseHints
);

fn pack<M: Message + Name>(message: &M) -> Bytes {
    let any = prost_types::Any {
        type_url: format!("{TYPE_URL_PREFIX}{}", M::full_name()),
        value: message.encode_to_vec(),
    };
    any.encode_to_vec().into()
}

fn unpack<M: Message + Name + Default>(any: &Bytes, what: &str) -> Result<M> {
    let invalid = |why: String| Error::invalid(format!("unmarshal {what}: {why}"));
    let any = prost_types::Any::decode(any.clone()).map_err(|error| invalid(error.to_string()))?;
    // Only what comes after the last slash names the message.
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    if name != M::full_name() {
        return Err(invalid(format!(
            "mismatched message type: got {name:?} want {:?}",
            M::full_name()
        )));
    }
    M::decode(any.value.as_slice()).map_err(|error| invalid(error.to_string()))
}

fn block_matchers(matchers: &[crate::pb::thanos::LabelMatcher]) -> Result<Vec<Matcher>> {
    matchers_from_pb(matchers, &NewMatchers)
        .map_err(|error| error.context("translate request hints labels matchers"))
}

fn blocks_to_pb(ids: &[String]) -> Vec<pb::Block> {
    ids.iter().map(|id| pb::Block { id: id.clone() }).collect()
}

fn blocks_from_pb(blocks: Vec<pb::Block>) -> Vec<String> {
    blocks.into_iter().map(|block| block.id).collect()
}

fn stats_to_pb(stats: &QueryStats) -> pb::QueryStats {
    let int = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let duration = |duration: Duration| prost_types::Duration::try_from(duration).ok();
    let QueryStats {
        postings,
        series,
        chunks,
        ..
    } = stats;
    pb::QueryStats {
        blocks_queried: int(stats.blocks_queried),
        merged_series_count: int(stats.merged_series),
        merged_chunks_count: int(stats.merged_chunks),
        postings_touched: int(postings.touched),
        postings_touched_size_sum: int(postings.touched_bytes),
        postings_to_fetch: int(stats.postings_to_fetch),
        postings_fetched: int(postings.fetched),
        postings_fetched_size_sum: int(postings.fetched_bytes),
        postings_fetch_count: int(postings.fetch_count),
        series_touched: int(series.touched),
        series_touched_size_sum: int(series.touched_bytes),
        series_fetched: int(series.fetched),
        series_fetched_size_sum: int(series.fetched_bytes),
        series_fetch_count: int(series.fetch_count),
        chunks_touched: int(chunks.touched),
        chunks_touched_size_sum: int(chunks.touched_bytes),
        chunks_fetched: int(chunks.fetched),
        chunks_fetched_size_sum: int(chunks.fetched_bytes),
        chunks_fetch_count: int(chunks.fetch_count),
        data_downloaded_size_sum: int(stats.data_downloaded_bytes),
        get_all_duration: duration(stats.get_all_duration),
        merge_duration: duration(stats.merge_duration),
    }
}

fn stats_from_pb(stats: &pb::QueryStats) -> QueryStats {
    // A peer that says less than nothing says nothing.
    let count = |int: i64| u64::try_from(int).unwrap_or_default();
    let duration = |duration: Option<prost_types::Duration>| {
        duration
            .and_then(|duration| Duration::try_from(duration).ok())
            .unwrap_or_default()
    };
    let item =
        |[touched, touched_bytes, fetched, fetched_bytes, fetch_count]: [i64; 5]| ItemStats {
            touched: count(touched),
            touched_bytes: count(touched_bytes),
            fetched: count(fetched),
            fetched_bytes: count(fetched_bytes),
            fetch_count: count(fetch_count),
        };
    QueryStats {
        blocks_queried: count(stats.blocks_queried),
        merged_series: count(stats.merged_series_count),
        merged_chunks: count(stats.merged_chunks_count),
        postings: item([
            stats.postings_touched,
            stats.postings_touched_size_sum,
            stats.postings_fetched,
            stats.postings_fetched_size_sum,
            stats.postings_fetch_count,
        ]),
        postings_to_fetch: count(stats.postings_to_fetch),
        series: item([
            stats.series_touched,
            stats.series_touched_size_sum,
            stats.series_fetched,
            stats.series_fetched_size_sum,
            stats.series_fetch_count,
        ]),
        chunks: item([
            stats.chunks_touched,
            stats.chunks_touched_size_sum,
            stats.chunks_fetched,
            stats.chunks_fetched_size_sum,
            stats.chunks_fetch_count,
        ]),
        data_downloaded_bytes: count(stats.data_downloaded_size_sum),
        get_all_duration: duration(stats.get_all_duration),
        merge_duration: duration(stats.merge_duration),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use thanos_core::error::ErrorKind;
    use thanos_core::labels::MatchOp;

    use super::*;

    fn stats() -> QueryStats {
        let item = |from: u64| ItemStats {
            touched: from,
            touched_bytes: from + 1,
            fetched: from + 2,
            fetched_bytes: from + 3,
            fetch_count: from + 4,
        };
        QueryStats {
            blocks_queried: 1,
            merged_series: 2,
            merged_chunks: 3,
            postings: item(10),
            postings_to_fetch: 4,
            series: item(20),
            chunks: item(30),
            data_downloaded_bytes: 5,
            get_all_duration: Duration::from_millis(1500),
            merge_duration: Duration::from_nanos(7),
        }
    }

    /// ST-30: the bytes that Go's gogo/protobuf writes for the same message.
    #[test]
    fn hints_have_the_bytes_of_go() {
        let matcher = Matcher::new(MatchOp::Regex, BLOCK_ID_LABEL, "a|b").unwrap();
        let hints = SeriesRequestHints {
            block_matchers: vec![matcher],
            enable_query_stats: true,
        };
        let mut wanted = vec![0x0A, 46];
        wanted.extend(b"type.googleapis.com/hintspb.SeriesRequestHints");
        wanted.extend([0x12, 23, 0x0A, 19, 0x08, 2, 0x12, 10]);
        wanted.extend(b"__block_id");
        wanted.extend([0x1A, 3]);
        wanted.extend(b"a|b");
        wanted.extend([0x10, 1]);
        assert_eq!(hints.encode(), wanted);
    }

    #[test]
    fn hints_come_back_as_they_went() {
        let hints = SeriesResponseHints {
            queried_blocks: vec!["01M81JDC7R8JKP7SEW1VN2HAQ9".into(), "b".into()],
            query_stats: Some(stats()),
        };
        assert_eq!(SeriesResponseHints::decode(&hints.encode()).unwrap(), hints);
        for call in [LabelCall::Names, LabelCall::Values] {
            let hints = LabelsResponseHints {
                queried_blocks: vec!["a".into()],
            };
            let read = LabelsResponseHints::decode(&hints.encode(call), call);
            assert_eq!(read.unwrap(), hints);
            let request = LabelsRequestHints {
                block_matchers: vec![Matcher::equal("region", "eu")],
            };
            let read = LabelsRequestHints::decode(&request.encode(call), call).unwrap();
            let texts: Vec<_> = read
                .block_matchers
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(texts, [r#"region="eu""#]);
        }
    }

    #[test]
    fn what_is_no_such_message_is_invalid() {
        let other = SeriesResponseHints::default().encode();
        let error = SeriesRequestHints::decode(&other).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(
            error.to_string(),
            "unmarshal series request hints: mismatched message type: \
             got \"hintspb.SeriesResponseHints\" want \"hintspb.SeriesRequestHints\""
        );
        assert!(SeriesRequestHints::decode(&Bytes::new()).is_err());
        assert!(
            LabelsRequestHints::decode(
                &LabelsRequestHints::default().encode(LabelCall::Names),
                LabelCall::Values
            )
            .is_err()
        );
        let wrong = pack(&pb::SeriesRequestHints {
            block_matchers: vec![crate::pb::thanos::LabelMatcher {
                r#type: 2,
                name: "a".into(),
                value: "(".into(),
            }],
            enable_query_stats: false,
        });
        let error = SeriesRequestHints::decode(&wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }

    proptest! {
        /// Bytes of anybody are an error or hints, never a panic; flipped bits of real ones too.
        #[test]
        fn damaged_hints_never_panic(at in 0_usize..200, bit in 0_u8..8, cut in 0_usize..200, noise: Vec<u8>) {
            let _ = SeriesRequestHints::decode(&Bytes::from(noise));
            let hints = SeriesResponseHints { queried_blocks: vec!["a".into()], query_stats: Some(stats()) };
            let mut bytes = hints.encode().to_vec();
            let len = bytes.len();
            bytes[at % len] ^= 1 << bit;
            let _ = SeriesResponseHints::decode(&Bytes::from(bytes.clone()));
            bytes.truncate(cut % len);
            let _ = SeriesResponseHints::decode(&Bytes::from(bytes));
        }
    }
}
