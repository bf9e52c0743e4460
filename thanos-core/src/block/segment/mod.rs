//! Chunk segments: the files under `chunks/` that hold the samples of a block.
//!
//! The reader hands out chunks that share the bytes of the file and checks each one's checksum when it is read.
//! Which chunk belongs to which series, and its time range, is the index's part.

mod format;
mod output;
mod reader;
mod source;
mod writer;

pub use format::{
    CHUNKS_DIR, SEGMENT_HEADER_LEN, SEGMENT_LEN_MAX, chunk_entry_len, decode_chunk,
    decode_chunk_at, segment_file_name,
};
pub use output::{SegmentOutput, SegmentPlace};
pub use reader::{ChunkReader, check_segment};
pub use source::SegmentSource;
pub use writer::{ChunkWriter, SegmentFile};

#[cfg(test)]
mod tests;
