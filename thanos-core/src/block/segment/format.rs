//! The layout of a chunk segment file, and the one chunk in it.
//!
//! ```text
//! segment = magic 0x85BD40DD (4) version 1 (1) zero (3) { chunk }
//! chunk   = uvarint-len (1..=5) encoding (1) data (len) crc32c of encoding and data (4)
//! ```
//!
//! The length counts the data alone. Integers are big-endian. Source: Prometheus `tsdb/docs/format/chunks.md` and
//! `tsdb/chunks`.

use bytes::Bytes;

use crate::chunk::{Chunk, Encoding};
use crate::encoding::crc::CRC_LEN;
use crate::encoding::{Cursor, crc, varint::put_uvarint};
use crate::error::{Error, Result};

/// The directory of the segment files in a block directory.
pub const CHUNKS_DIR: &str = "chunks";
/// The bytes before the first chunk.
pub const SEGMENT_HEADER_LEN: usize = 8;
/// The size at which writers begin the next segment.
pub const SEGMENT_LEN_MAX: u64 = 512 << 20;

const MAGIC: u32 = 0x85BD_40DD;
const VERSION: u8 = 1;
/// The encoding byte between length and data.
const ENCODING_LEN: usize = 1;
/// The longest length field: a 32-bit varint.
pub(super) const LENGTH_LEN_MAX: usize = 5;
/// What tells how long any chunk is, and no more than the shortest of them has.
pub(super) const CHUNK_LEN_MIN: usize = 1 + ENCODING_LEN + CRC_LEN;

/// Returns the name of the segment file at `position`, counted from 0: `000001`.
pub fn segment_file_name(position: usize) -> String {
    format!("{:06}", position + 1)
}

/// Returns the header of a segment file.
pub(super) fn header() -> [u8; SEGMENT_HEADER_LEN] {
    let mut header = [0; SEGMENT_HEADER_LEN];
    header[..4].copy_from_slice(&MAGIC.to_be_bytes());
    header[4] = VERSION;
    header
}

/// Checks the header of a segment file.
///
/// The three bytes of padding must be zero as all writers leave them, so that no damage passes for a segment.
pub(super) fn check_header(segment: &[u8]) -> Result<()> {
    let mut cursor = Cursor::new(segment);
    let magic = cursor.be32("segment magic")?;
    if magic != MAGIC {
        return Err(Error::corrupt(format!(
            "not a chunk segment: magic is {magic:08x}, expected {MAGIC:08x}"
        ))
        .at(0));
    }
    let version = cursor.u8("segment version")?;
    if version != VERSION {
        return Err(Error::corrupt(format!("unknown segment version {version}")).at(4));
    }
    if cursor.bytes(3, "segment header")? != [0; 3] {
        return Err(Error::corrupt("padding of the segment header is not zero").at(5));
    }
    Ok(())
}

/// Returns the chunk whose length field is at the front of `bytes`, which lie at `offset` of their segment file,
/// and the number of bytes that it takes there. The chunk shares the memory of `bytes`.
///
/// A gateway that fetched a range of a remote segment uses this as the reader of local files does.
///
/// # Errors
///
/// `Corrupt` when the chunk is cut short or its checksum does not match.
pub fn decode_chunk(bytes: &Bytes, offset: u64) -> Result<(Chunk, usize)> {
    decode_chunk_at(bytes, 0, offset)
}

/// Like [`decode_chunk`] for the chunk at `start` of `bytes`, so that no slice is made but the one of its data.
///
/// # Errors
///
/// Those of [`decode_chunk`].
#[inline]
pub fn decode_chunk_at(bytes: &Bytes, start: usize, offset: u64) -> Result<(Chunk, usize)> {
    let rest = bytes.get(start..).unwrap_or_default();
    let (length_len, data_len) = read_length(rest, offset)?;
    let data_start = length_len + ENCODING_LEN;
    let entry_len = data_start.saturating_add(data_len).saturating_add(CRC_LEN);
    let Some(entry) = rest.get(length_len..entry_len) else {
        return Err(Error::corrupt(format!(
            "chunk of {data_len} bytes is longer than the {} bytes left",
            rest.len()
        ))
        .at(offset));
    };
    let (content, stored) = entry.split_at(ENCODING_LEN + data_len);
    let stored = Cursor::new(stored).be32("chunk checksum")?;
    crc::verify("chunk", content, stored).map_err(|error| error.at(offset))?;
    let chunk = Chunk {
        encoding: Encoding(content[0]),
        data: bytes.slice(start + data_start..start + data_start + data_len),
    };
    Ok((chunk, entry_len))
}

/// Returns how many bytes the chunk at the front of `bytes` takes in its segment file; `bytes` may end before the
/// chunk does.
///
/// # Errors
///
/// `Corrupt` when not even the length is there.
#[inline]
pub fn chunk_entry_len(bytes: &[u8], offset: u64) -> Result<usize> {
    let (length_len, data_len) = read_length(bytes, offset)?;
    Ok((length_len + ENCODING_LEN + CRC_LEN).saturating_add(data_len))
}

/// Reads the length field: its own length and the length of the data.
#[inline]
fn read_length(bytes: &[u8], offset: u64) -> Result<(usize, usize)> {
    let field = &bytes[..bytes.len().min(LENGTH_LEN_MAX)];
    let mut cursor = Cursor::at_offset(field, offset);
    let len = cursor.uvarint32("chunk length")?;
    let data_len = usize::try_from(len)
        .map_err(|_| Error::corrupt("chunk length does not fit memory").at(offset))?;
    Ok((field.len() - cursor.remaining(), data_len))
}

/// Appends `chunk` as a segment stores it.
pub(super) fn append_chunk(out: &mut Vec<u8>, chunk: &Chunk) {
    put_uvarint(out, chunk.data.len() as u64);
    let content_start = out.len();
    out.push(chunk.encoding.0);
    out.extend_from_slice(&chunk.data);
    let checksum = crc::checksum(&out[content_start..]);
    out.extend_from_slice(&checksum.to_be_bytes());
}

/// Returns the most bytes that `chunk` can take in a segment, as Prometheus reckons when it cuts segments.
pub(super) fn chunk_len_bound(chunk: &Chunk) -> u64 {
    (LENGTH_LEN_MAX + ENCODING_LEN + CRC_LEN) as u64 + chunk.data.len() as u64
}
