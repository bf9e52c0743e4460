//! Postings as caches keep them: the differences of neighbours as uvarints, compressed with Snappy.
//!
//! ```text
//! "dss" | Snappy framing stream of uvarint(reference - reference before, from 0)     what we write
//! "dvs" | one Snappy block of the same                                              read
//! else  | be32 count, count x be32 reference: the list as in the index               read
//! ```
//!
//! References are the numbers of the lists, which for index version 2 are a sixteenth of the offset. The formats are
//! Thanos' (pkg/store/postings_codec.go). Values come from servers that others write to: everything is checked, and the
//! references must lie in the index.

use std::io::{Read, Write};

use thanos_core::encoding::varint::{put_uvarint, read_uvarint};
use thanos_core::postings::Postings;
use thanos_core::{Error, Result};

const STREAMED: &[u8] = b"dss";
const BLOCK: &[u8] = b"dvs";
/// What is decompressed at once; also the size of a Snappy frame.
const BUFFER_BYTES: usize = 64 << 10;
/// The longest uvarint.
const UVARINT_BYTES_MAX: usize = 10;

/// Returns `postings` as the bytes that caches keep.
pub fn encode_postings(postings: &Postings) -> Vec<u8> {
    let mut encoded = STREAMED.to_vec();
    // COMPAT: an empty list has no stream at all, as in Go, whose writer begins the stream with the first byte.
    if postings.is_empty() {
        return encoded;
    }
    let mut stream = snap::write::FrameEncoder::new(&mut encoded);
    let mut deltas = Vec::with_capacity(BUFFER_BYTES + UVARINT_BYTES_MAX);
    let mut before = 0;
    for reference in postings.iter() {
        put_uvarint(&mut deltas, u64::from(reference - before));
        before = reference;
        if deltas.len() >= BUFFER_BYTES {
            stream.write_all(&deltas).expect("a vector takes all bytes");
            deltas.clear();
        }
    }
    stream.write_all(&deltas).expect("a vector takes all bytes");
    stream.flush().expect("a vector takes all bytes");
    drop(stream);
    encoded
}

/// Returns the postings in `encoded`, all of which are below `end`.
///
/// # Errors
///
/// `Corrupt` for anything else. The memory taken is bounded by `end`, whatever the bytes say.
pub fn decode_postings(encoded: &[u8], end: u64) -> Result<Postings> {
    if let Some(stream) = encoded.strip_prefix(STREAMED) {
        return decode_stream(snap::read::FrameDecoder::new(stream), end);
    }
    if let Some(block) = encoded.strip_prefix(BLOCK) {
        return decode_block(block, end);
    }
    decode_raw(encoded, end)
}

fn decode_stream(mut stream: impl Read, end: u64) -> Result<Postings> {
    let mut list = Ascending::new(end);
    let mut buffer = vec![0; BUFFER_BYTES];
    // Bytes of a number that the buffer cut off stay at its front.
    let mut kept = 0;
    loop {
        let read = stream
            .read(&mut buffer[kept..])
            .map_err(|error| Error::corrupt(format!("cached postings: {error}")))?;
        let filled = kept + read;
        let is_last = read == 0;
        let mut at = 0;
        while at < filled && (is_last || filled - at >= UVARINT_BYTES_MAX) {
            let (delta, len) = read_uvarint(&buffer[at..filled])?;
            list.push_delta(delta)?;
            at += len;
        }
        if is_last {
            return Ok(list.into_postings());
        }
        buffer.copy_within(at..filled, 0);
        kept = filled - at;
    }
}

fn decode_block(block: &[u8], end: u64) -> Result<Postings> {
    let corrupt = |error| Error::corrupt(format!("cached postings: {error}"));
    let len = snap::raw::decompress_len(block).map_err(corrupt)?;
    // Each of at most `end` references takes at least one byte, and ten at most.
    if len as u64 > end.saturating_mul(UVARINT_BYTES_MAX as u64) {
        let message =
            format!("cached postings say that they have {len} bytes of references up to {end}");
        return Err(Error::corrupt(message));
    }
    let deltas = snap::raw::Decoder::new()
        .decompress_vec(block)
        .map_err(corrupt)?;
    decode_stream(deltas.as_slice(), end)
}

fn decode_raw(encoded: &[u8], end: u64) -> Result<Postings> {
    let (count, references) = encoded
        .split_first_chunk::<4>()
        .ok_or_else(|| Error::corrupt("cached postings are shorter than their count"))?;
    let count = u64::from(u32::from_be_bytes(*count));
    let (references, rest) = references.as_chunks::<4>();
    if references.len() as u64 != count || !rest.is_empty() {
        let message = format!(
            "cached postings say that they have {count} references, there are {}",
            references.len()
        );
        return Err(Error::corrupt(message));
    }
    let mut list = Ascending::new(end);
    for reference in references {
        list.push(u64::from(u32::from_be_bytes(*reference)))?;
    }
    Ok(list.into_postings())
}

/// A list that is known to ascend strictly below an end.
struct Ascending {
    list: Vec<u32>,
    end: u64,
}

impl Ascending {
    fn new(end: u64) -> Self {
        Self {
            list: Vec::new(),
            end,
        }
    }

    fn push_delta(&mut self, delta: u64) -> Result<()> {
        let before = self.list.last().copied().unwrap_or(0);
        self.push(u64::from(before).saturating_add(delta))
    }

    fn push(&mut self, reference: u64) -> Result<()> {
        let ascends = self
            .list
            .last()
            .is_none_or(|last| u64::from(*last) < reference);
        let fits = u32::try_from(reference)
            .ok()
            .filter(|_| reference < self.end);
        let (true, Some(reference)) = (ascends, fits) else {
            let message = format!(
                "cached postings have reference {reference} after {:?}, of an index that ends at {}",
                self.list.last(),
                self.end
            );
            return Err(Error::corrupt(message));
        };
        self.list.push(reference);
        Ok(())
    }

    fn into_postings(self) -> Postings {
        Postings::from_sorted(self.list)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digit).collect()
    }

    fn decoded(hex: &str) -> Vec<u32> {
        decode_postings(&bytes(hex), u64::MAX).unwrap().into_vec()
    }

    /// ST-24: the bytes were written by klauspost/compress/snappy and golang/snappy, as Thanos calls them.
    #[test]
    fn values_of_go_are_read() {
        let list = [1, 5, 300, 70_000, 70_001];
        assert_eq!(
            decoded("647373ff060000734e61507059010c000062a265250104a702c4a00401"),
            list
        );
        assert_eq!(decoded("647673081c0104a702c4a00401"), list);
        assert_eq!(decoded("647373"), [0_u32; 0]);
        assert_eq!(decoded("000000020000000100000005"), [1, 5]);
        let every_seventh: Vec<u32> = (1..=2000).map(|i| i * 7).collect();
        let stream = "647373ff060000734e61507059006e0000fc8c0b8fd00f0007ee0100ee0100ee0100ee0100ee0100ee0100ee01\
                      00ee0100ee0100ee0100ee0100ee0100ee0100ee0100ee0100ee0100ee0100ee0100ee0100ee0100ee0100ee01\
                      00ee0100ee0100ee0100ee0100ee0100ee0100ee0100ee0100ee0100ee0100ee01004a0100";
        assert_eq!(decoded(stream), every_seventh);
    }

    #[test]
    fn a_short_list_is_written_as_go_writes_it() {
        let encode = |list: Vec<u32>| encode_postings(&Postings::from_sorted(list));
        assert_eq!(
            encode(vec![1, 5, 300, 70_000, 70_001]),
            bytes("647373ff060000734e61507059010c000062a265250104a702c4a00401")
        );
        assert_eq!(encode(Vec::new()), b"dss");
    }

    #[test]
    fn what_cannot_be_postings_of_the_index_is_refused() {
        for (encoded, end) in [
            // Beyond the end.
            (&b"\0\0\0\x01\0\0\0\x09"[..], 9),
            // Descending, and twice the same.
            (b"\0\0\0\x02\0\0\0\x05\0\0\0\x04", 9),
            (b"\0\0\0\x02\0\0\0\x05\0\0\0\x05", 9),
            // Fewer than announced, more than announced, no count.
            (b"\0\0\0\x02\0\0\0\x05", 9),
            (b"\0\0\0\x01\0\0\0\x05\0", 9),
            (b"\0\0", 9),
            // A block that says it has 2^32 - 1 bytes.
            (b"dvs\xff\xff\xff\xff\x0f", 9),
            (b"dssx", 9),
        ] {
            let error = decode_postings(encoded, end).unwrap_err();
            assert_eq!(error.kind(), thanos_core::ErrorKind::Corrupt, "{encoded:?}");
        }
    }

    proptest! {
        #[test]
        fn postings_survive(list in proptest::collection::btree_set(any::<u32>(), 0..3000), dense in 0_u32..200_000) {
            let mut list: Vec<u32> = list.into_iter().collect();
            let first = list.first().copied().unwrap_or(u32::MAX);
            if dense < first {
                list.splice(0..0, 0..dense);
            }
            let postings = Postings::from_sorted(list.clone());
            let decoded = decode_postings(&encode_postings(&postings), 1 << 32).unwrap();
            prop_assert_eq!(decoded.into_vec(), list);
        }

        #[test]
        fn a_damaged_stream_is_an_error(
            list in proptest::collection::btree_set(any::<u32>(), 1..500), at in any::<prop::sample::Index>(), bit in 0_u8..8
        ) {
            let list: Vec<u32> = list.into_iter().collect();
            let mut encoded = encode_postings(&Postings::from_sorted(list.clone()));
            let at = at.index(encoded.len());
            encoded[at] ^= 1 << bit;
            if let Ok(decoded) = decode_postings(&encoded, 1 << 32) {
                // A frame whose type becomes one of those to skip is no longer data; nothing else can go unnoticed.
                prop_assert!(decoded.is_empty() || decoded.into_vec() == list);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), form in 0_usize..3) {
            let prefix = [&b"dss\xff\x06\0\0sNaPpY"[..], b"dvs", b""][form];
            let all: Vec<u8> = prefix.iter().copied().chain(bytes).collect();
            if let Ok(postings) = decode_postings(&all, 1000) {
                prop_assert!(postings.iter().all(|reference| reference < 1000));
            }
        }
    }
}
