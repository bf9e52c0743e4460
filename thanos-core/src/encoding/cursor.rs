//! A checked reader of big-endian integers, base-128 varints and checksummed sections.
//!
//! Every failure is a `Corrupt` error with the offset in the file, so that the formats need not count bytes
//! themselves. The cursor never allocates.

use super::crc::{self, CRC_LEN};
use super::varint;
use crate::error::{Error, Result};

/// A position in a slice that lies at a known offset of a file.
///
/// # Example
///
/// ```
/// use thanos_core::encoding::Cursor;
///
/// let mut cursor = Cursor::at_offset(&[0, 0, 1, 0, 0x96, 0x01], 100);
/// assert_eq!(cursor.be32("length")?, 256);
/// assert_eq!(cursor.uvarint("count")?, 150);
/// let error = cursor.be32("checksum").unwrap_err();
/// assert_eq!(error.to_string(), "offset 106: checksum is cut short");
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    rest: &'a [u8],
    /// The file offset of `rest`.
    offset: u64,
}

/// The checked content of a length-prefixed section with its place in the file.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    /// The bytes between the length and the checksum.
    pub content: &'a [u8],
    /// The file offset of `content`.
    pub offset: u64,
}

impl<'a> Section<'a> {
    /// Returns a cursor over the content.
    pub fn cursor(self) -> Cursor<'a> {
        Cursor::at_offset(self.content, self.offset)
    }
}

impl<'a> Cursor<'a> {
    /// Returns a cursor over a whole file.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self::at_offset(bytes, 0)
    }

    /// Returns a cursor over `bytes`, which lie at `offset` of their file.
    pub const fn at_offset(bytes: &'a [u8], offset: u64) -> Self {
        Self {
            rest: bytes,
            offset,
        }
    }

    /// Returns the file offset of the next byte.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the bytes not read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Returns the number of bytes not read yet.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Reports whether everything is read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads `count` bytes; `what` names them in the error, here and in all other methods.
    ///
    /// # Errors
    ///
    /// `Corrupt` when fewer are left.
    #[inline]
    pub fn bytes(&mut self, count: usize, what: &str) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.cut_short(what));
        };
        self.rest = rest;
        self.offset += count as u64;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.cut_short(what));
        };
        self.rest = rest;
        self.offset += N as u64;
        Ok(*taken)
    }

    /// Reads one byte.
    ///
    /// # Errors
    ///
    /// `Corrupt` when none is left.
    #[inline]
    pub fn u8(&mut self, what: &str) -> Result<u8> {
        Ok(self.array::<1>(what)?[0])
    }

    /// Reads a big-endian 16-bit integer.
    ///
    /// # Errors
    ///
    /// `Corrupt` when fewer than 2 bytes are left.
    #[inline]
    pub fn be16(&mut self, what: &str) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array(what)?))
    }

    /// Reads a big-endian 32-bit integer.
    ///
    /// # Errors
    ///
    /// `Corrupt` when fewer than 4 bytes are left.
    #[inline]
    pub fn be32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }

    /// Reads a big-endian 64-bit integer.
    ///
    /// # Errors
    ///
    /// `Corrupt` when fewer than 8 bytes are left.
    #[inline]
    pub fn be64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_be_bytes(self.array(what)?))
    }

    /// Reads an unsigned base-128 varint.
    ///
    /// # Errors
    ///
    /// `Corrupt` when it is cut short or does not fit 64 bits.
    #[inline]
    pub fn uvarint(&mut self, what: &str) -> Result<u64> {
        // References and lengths take one to three bytes nearly always.
        match self.rest {
            [byte @ ..0x80, rest @ ..] => {
                self.rest = rest;
                self.offset += 1;
                return Ok(u64::from(*byte));
            }
            [low, high @ ..0x80, rest @ ..] => {
                self.rest = rest;
                self.offset += 2;
                return Ok(u64::from(low & 0x7F) | u64::from(*high) << 7);
            }
            [low, middle, high @ ..0x80, rest @ ..] => {
                self.rest = rest;
                self.offset += 3;
                let low = u64::from(low & 0x7F) | u64::from(middle & 0x7F) << 7;
                return Ok(low | u64::from(*high) << 14);
            }
            _ => {}
        }
        self.uvarint_long(what)
    }

    fn uvarint_long(&mut self, what: &str) -> Result<u64> {
        match varint::read_uvarint(self.rest) {
            Ok((value, len)) => {
                self.rest = &self.rest[len..];
                self.offset += len as u64;
                Ok(value)
            }
            Err(_) if self.rest.len() < varint::VARINT_BYTES_MAX => Err(self.cut_short(what)),
            Err(_) => Err(self.corrupt(format_args!("{what} does not fit 64 bits"))),
        }
    }

    /// Reads an unsigned varint that must fit 32 bits.
    ///
    /// # Errors
    ///
    /// `Corrupt` when it is cut short or too large.
    #[inline]
    pub fn uvarint32(&mut self, what: &str) -> Result<u32> {
        let before = *self;
        let value = self.uvarint(what)?;
        u32::try_from(value)
            .map_err(|_| before.corrupt(format_args!("{what} {value} does not fit 32 bits")))
    }

    /// Reads a zigzag varint.
    ///
    /// # Errors
    ///
    /// `Corrupt` when it is cut short or does not fit 64 bits.
    #[inline]
    pub fn varint(&mut self, what: &str) -> Result<i64> {
        self.uvarint(what).map(varint::unzigzag)
    }

    /// Reads a number of things of which each takes at least `item_bytes_min` bytes of the rest.
    ///
    /// The bound makes it safe to reserve memory for the things.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the rest cannot hold that many.
    #[inline]
    pub fn uvarint_count(&mut self, item_bytes_min: usize, what: &str) -> Result<usize> {
        let offset = self.offset;
        let count = self.uvarint(what)?;
        let possible = self.remaining() / item_bytes_min.max(1);
        match usize::try_from(count) {
            Ok(count) if count <= possible => Ok(count),
            _ => Err(self.too_many(offset, count, what)),
        }
    }

    #[cold]
    fn too_many(&self, offset: u64, count: u64, what: &str) -> Error {
        let left = self.remaining();
        let message = format!("{what} {count} is more than the {left} bytes left can hold");
        Error::corrupt(message).at(offset)
    }

    /// Reads bytes behind their length as an unsigned varint.
    ///
    /// # Errors
    ///
    /// `Corrupt` when fewer are left.
    #[inline]
    pub fn uvarint_bytes(&mut self, what: &str) -> Result<&'a [u8]> {
        let before = *self;
        let len = self.uvarint(what)?;
        match usize::try_from(len) {
            Ok(len) if len <= self.rest.len() => self.bytes(len, what),
            _ => Err(before.corrupt(format_args!(
                "{what} of {len} bytes is longer than the {} bytes left",
                self.rest.len()
            ))),
        }
    }

    /// Reads UTF-8 text behind its length as an unsigned varint.
    ///
    /// # Errors
    ///
    /// `Corrupt` when fewer bytes are left or they are not UTF-8.
    pub fn uvarint_str(&mut self, what: &str) -> Result<&'a str> {
        let before = *self;
        let bytes = self.uvarint_bytes(what)?;
        std::str::from_utf8(bytes).map_err(|_| before.corrupt(format_args!("{what} is not UTF-8")))
    }

    /// Reads a section: 32-bit length, content, checksum of the content; and checks the checksum.
    ///
    /// # Errors
    ///
    /// `Corrupt` at the start of the section when it is cut short or damaged.
    pub fn be32_section(&mut self, what: &str) -> Result<Section<'a>> {
        let start = self.offset;
        let len = self.be32(what)?;
        self.section(u64::from(len), start, what)
    }

    /// Reads a section whose length is an unsigned varint, and checks its checksum.
    ///
    /// # Errors
    ///
    /// `Corrupt` at the start of the section when it is cut short or damaged.
    #[inline]
    pub fn uvarint_section(&mut self, what: &str) -> Result<Section<'a>> {
        let start = self.offset;
        let len = self.uvarint(what)?;
        self.section(len, start, what)
    }

    fn section(&mut self, len: u64, start: u64, what: &str) -> Result<Section<'a>> {
        let offset = self.offset;
        let fits = usize::try_from(len)
            .ok()
            .filter(|len| len.saturating_add(CRC_LEN) <= self.rest.len());
        let Some(len) = fits else {
            return Err(self.too_long(start, len, what));
        };
        let content = self.bytes(len, what)?;
        let stored = self.be32(what)?;
        crc::verify(what, content, stored).map_err(|error| error.at(start))?;
        Ok(Section { content, offset })
    }

    #[cold]
    fn too_long(&self, start: u64, len: u64, what: &str) -> Error {
        let left = self.rest.len();
        let message =
            format!("{what} of {len} bytes and its checksum are longer than the {left} bytes left");
        Error::corrupt(message).at(start)
    }

    #[cold]
    fn cut_short(&self, what: &str) -> Error {
        self.corrupt(format_args!("{what} is cut short"))
    }

    /// Returns a `Corrupt` error at the current offset.
    #[cold]
    pub fn corrupt(&self, message: impl std::fmt::Display) -> Error {
        Error::corrupt(message.to_string()).at(self.offset)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn varints_beyond_64_bits_are_corrupt() {
        let mut eleven = [0x80_u8; 11];
        eleven[10] = 0;
        for bytes in [
            &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2][..],
            &eleven,
        ] {
            let error = Cursor::at_offset(bytes, 7).uvarint("v").unwrap_err();
            assert_eq!(error.to_string(), "offset 7: v does not fit 64 bits");
        }
        let error = Cursor::new(&[0x80, 0x80]).uvarint("v").unwrap_err();
        assert_eq!(error.to_string(), "offset 0: v is cut short");
        let error = Cursor::new(&[0xFF, 0xFF, 0xFF, 0xFF, 0x1F])
            .uvarint32("v")
            .unwrap_err();
        assert_eq!(error.offset(), Some(0));
    }

    #[test]
    fn declared_lengths_are_checked_before_use() {
        let huge = [0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 1, 2];
        assert!(Cursor::new(&huge).uvarint_bytes("v").is_err());
        assert!(Cursor::new(&huge).uvarint_count(1, "v").is_err());
        assert!(Cursor::new(&huge).uvarint_section("v").is_err());
        assert!(Cursor::new(&huge).be32_section("v").is_err());
        assert_eq!(Cursor::new(&[2, 0, 0]).uvarint_count(1, "v").unwrap(), 2);
        assert!(Cursor::new(&[2, 0, 0]).uvarint_count(2, "v").is_err());
    }

    #[test]
    fn a_section_with_a_flipped_byte_is_corrupt() {
        let mut good = 3_u32.to_be_bytes().to_vec();
        good.extend_from_slice(b"abc");
        good.extend_from_slice(&crc::checksum(b"abc").to_be_bytes());
        let section = Cursor::at_offset(&good, 10).be32_section("s").unwrap();
        assert_eq!((section.content, section.offset), (&b"abc"[..], 14));
        for i in 0..good.len() {
            let mut bad = good.clone();
            bad[i] ^= 0x10;
            let error = Cursor::at_offset(&bad, 10).be32_section("s").unwrap_err();
            assert_eq!(error.offset(), Some(10));
        }
    }

    proptest! {
        #[test]
        fn varints_survive(unsigned in any::<u64>(), signed in any::<i64>()) {
            let mut out = Vec::new();
            varint::put_uvarint(&mut out, unsigned);
            varint::put_varint(&mut out, signed);
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(cursor.uvarint("u").unwrap(), unsigned);
            prop_assert_eq!(cursor.varint("s").unwrap(), signed);
            prop_assert!(cursor.is_empty());
        }

        #[test]
        fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..32)) {
            for read in [
                |c: &mut Cursor<'_>| c.uvarint("x").is_ok(),
                |c: &mut Cursor<'_>| c.uvarint_bytes("x").is_ok(),
                |c: &mut Cursor<'_>| c.uvarint_section("x").is_ok(),
                |c: &mut Cursor<'_>| c.be32_section("x").is_ok(),
                |c: &mut Cursor<'_>| c.uvarint_str("x").is_ok(),
            ] {
                let mut cursor = Cursor::new(&bytes);
                let before = cursor.remaining();
                let ok = read(&mut cursor);
                prop_assert!(!ok || cursor.remaining() < before);
                prop_assert_eq!(cursor.offset(), (bytes.len() - cursor.remaining()) as u64);
            }
        }
    }
}
