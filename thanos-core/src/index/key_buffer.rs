//! A label key under construction that is written text by text and cut back to what the next one shares with it.
//!
//! Names and values are short: most are copied as one block of fixed length, which takes two moves instead of a call, and
//! what lies behind the text is written over by the next one.

use std::ops::Range;

use super::symbol_places::Found;
use super::symbols::{SymbolPlace, Symbols};
use crate::labels::append_escaped;

/// Texts up to this length are copied as a block.
const BLOCK_BYTES: u32 = 32;
const BLOCK: usize = BLOCK_BYTES as usize;

/// The key, with room for a block and a NUL behind it.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyBuffer {
    bytes: Vec<u8>,
    len: usize,
}

impl KeyBuffer {
    /// Returns the key.
    #[inline]
    pub(super) fn key(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Returns the length of the key.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Keeps the first `len` bytes.
    #[inline]
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Appends a piece of another key.
    #[inline]
    pub(super) fn extend(&mut self, from: &Self, piece: Range<usize>) {
        let len = piece.end - piece.start;
        let blocks = len.div_ceil(BLOCK);
        let source = from.bytes.get(piece.start..).unwrap_or_default();
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        if source.len() < blocks * BLOCK || room.len() < blocks * BLOCK {
            return self.extend_slowly(source.get(..len).unwrap_or_default());
        }
        let source = source.as_chunks::<BLOCK>().0.iter();
        let room = room.as_chunks_mut::<BLOCK>().0.iter_mut();
        for (to, from) in room.zip(source).take(blocks) {
            *to = *from;
        }
        self.len += len;
    }

    #[cold]
    fn extend_slowly(&mut self, piece: &[u8]) {
        self.bytes.truncate(self.len);
        self.bytes.extend_from_slice(piece);
        self.len = self.bytes.len();
        self.bytes.resize(2 * self.len + 8 * BLOCK, 0);
    }

    /// Appends the text that was found in `symbols`, as a key has it.
    #[inline]
    pub(super) fn push(&mut self, symbols: &Symbols, text: Found) {
        let Found { place, has_nul } = text;
        let len = place.len as usize;
        let block = SymbolPlace {
            start: place.start,
            len: BLOCK_BYTES,
        };
        // At the end of the table there is no whole block.
        let block = symbols.bytes_at(block).first_chunk::<BLOCK>();
        let room = self.bytes.get_mut(self.len..);
        let room = room.and_then(<[u8]>::split_first_chunk_mut::<BLOCK>);
        match (block, room) {
            (Some(from), Some((to, [behind, ..]))) if len <= BLOCK && !has_nul => {
                *to = *from;
                let nul = to.get_mut(len).unwrap_or(behind);
                *nul = 0;
                self.len += len + 1;
            }
            _ => self.push_slowly(symbols, text),
        }
    }

    #[cold]
    fn push_slowly(&mut self, symbols: &Symbols, text: Found) {
        self.bytes.truncate(self.len);
        let bytes = symbols.bytes_at(text.place);
        if text.has_nul {
            append_escaped(&mut self.bytes, bytes);
        } else {
            self.bytes.extend_from_slice(bytes);
            self.bytes.push(0);
        }
        self.len = self.bytes.len();
        // Room for many texts at once: this is not the way that most of them go.
        self.bytes.resize(2 * self.len + 8 * BLOCK, 0);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::encoding::crc;
    use crate::encoding::varint::put_uvarint;
    use crate::index::{IndexVersion, SymbolRef};

    fn table(texts: &[String]) -> Symbols {
        let mut content = u32::try_from(texts.len()).unwrap().to_be_bytes().to_vec();
        for text in texts {
            put_uvarint(&mut content, text.len() as u64);
            content.extend_from_slice(text.as_bytes());
        }
        let mut file = u32::try_from(content.len()).unwrap().to_be_bytes().to_vec();
        file.extend_from_slice(&content);
        file.extend_from_slice(&crc::checksum(&content).to_be_bytes());
        Symbols::open(&Bytes::from(file), 0, 0, IndexVersion::V2).unwrap()
    }

    proptest! {
        /// Blocks are as good as texts, wherever in the table and however long they are.
        #[test]
        fn a_key_is_its_texts(
            texts in proptest::collection::btree_set("[a-c\0]{0,3}|[a-z]{28,36}|[a-z]{100,140}", 1..8),
            steps in proptest::collection::vec((any::<usize>(), any::<Option<u16>>()), 0..40),
        ) {
            let texts: Vec<String> = texts.into_iter().collect();
            let symbols = table(&texts);
            let (mut buffer, mut expected) = (KeyBuffer::default(), Vec::new());
            for (pick, cut) in steps {
                let number = pick % texts.len();
                let symbol = SymbolRef(u32::try_from(number).unwrap());
                if let Some(cut) = cut {
                    let cut = usize::from(cut) % (expected.len() + 1);
                    buffer.truncate(cut);
                    expected.truncate(cut);
                }
                buffer.push(&symbols, Found::look_up(&symbols, symbol).unwrap());
                append_escaped(&mut expected, texts[number].as_bytes());
                prop_assert_eq!(buffer.key(), &expected[..]);
                prop_assert_eq!(buffer.len(), expected.len());
            }
        }
    }
}
