//! The frames of a `Series` answer as bytes: `thanos.SeriesResponse` messages.
//!
//! Almost all bytes between stores are such frames, so they are written from batches and read into batches
//! without protobuf objects in between: labels go straight from the key arena into the message and back, chunk
//! data is a slice of the received frame. Every other message is left to prost.
//!
//! ```text
//! SeriesResponse  one of: 1 Series | 2 warning | 3 hints (Any) | 4 SeriesBatch;  1000 WarningDetail
//! SeriesBatch     1 Series ...
//! Series          1 Label ...   2 AggrChunk ...
//! Label           1 name  2 value
//! AggrChunk       1 min_time  2 max_time  3 raw  4 count  5 sum  6 min  7 max  8 counter
//! Chunk           1 type (encoding - 1)  2 data  3 hash (xxhash64 of data)
//! ```
//!
//! # Warnings and missing data
//!
//! Thanos has warnings only, and its proxies send one when a store below them failed. So a warning from a peer
//! means missing data, unless the peer is of our kind and says in field 1000 that the data is complete. A Go peer
//! skips that field and sees the warning it is used to.

mod decode;
mod encode;
mod frame;
pub(crate) mod proto;

#[cfg(any(feature = "client", feature = "server"))]
#[cfg_attr(
    not(all(feature = "client", feature = "server")),
    allow(dead_code, reason = "each side uses one direction")
)]
pub(crate) mod codec;

pub use decode::FrameDecoder;
pub use encode::FrameEncoder;
pub use frame::{Frame, Frames, SeriesRun};

#[cfg(any(feature = "client", feature = "server"))]
pub(crate) use decode::{WarningDetail, warning_event};
#[cfg(any(feature = "client", feature = "server"))]
pub(crate) use encode::warning_text;

/// The field of `SeriesResponse` that tells what its warning means.
pub(crate) const WARNING_DETAIL_FIELD: u32 = 1000;

#[cfg(test)]
mod tests;
