//! Protobuf's wire format: varints, tags and a cursor over a received message.

use bytes::{BufMut, Bytes};

use thanos_core::error::{Error, Result};

/// The wire types that occur; groups do not.
pub(crate) const VARINT: u8 = 0;
const FIXED64: u8 = 1;
pub(crate) const LENGTH_DELIMITED: u8 = 2;
const FIXED32: u8 = 5;

const VARINT_BYTES_MAX: usize = 10;

/// Returns the tag byte of a field below 16.
pub(crate) const fn tag(field: u8, wire_type: u8) -> u8 {
    assert!(field < 16, "the tag fits into a byte");
    field << 3 | wire_type
}

/// The tags of a series' labels and of their parts, for the fast paths.
pub(crate) const LABEL_TAG: u8 = tag(1, LENGTH_DELIMITED);
pub(crate) const NAME_TAG: u8 = tag(1, LENGTH_DELIMITED);
pub(crate) const VALUE_TAG: u8 = tag(2, LENGTH_DELIMITED);

/// Returns the number of bytes that `value` takes as a varint.
pub(crate) const fn varint_len(value: u64) -> usize {
    // One byte for each started group of seven bits: ceil(bits / 7) without a division.
    let bits = 64 - (value | 1).leading_zeros() as usize;
    (bits * 9 + 64) / 64
}

/// Writes `value` as a varint.
#[inline]
pub(crate) fn put_varint(out: &mut impl BufMut, value: u64) {
    match u8::try_from(value) {
        Ok(byte @ 0..0x80) => out.put_u8(byte),
        _ => put_long_varint(out, value),
    }
}

fn put_long_varint(out: &mut impl BufMut, mut value: u64) {
    let mut bytes = [0; VARINT_BYTES_MAX];
    let mut len = 0;
    while value >= 0x80 {
        bytes[len] = (value & 0x7F) as u8 | 0x80;
        value >>= 7;
        len += 1;
    }
    bytes[len] = (value & 0x7F) as u8;
    out.put_slice(&bytes[..=len]);
}

/// Writes the tag and the length of a nested message or a string.
pub(crate) fn put_head(out: &mut impl BufMut, field: u8, len: usize) {
    out.put_u8(tag(field, LENGTH_DELIMITED));
    put_varint(out, len as u64);
}

/// Returns the bytes of a length-delimited field below 16 that is `len` long.
pub(crate) const fn delimited_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

/// A position in a message that is part of a received frame.
///
/// Errors carry the offset in the frame.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    frame: &'a Bytes,
    at: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    /// Returns a cursor over the whole frame.
    pub(crate) fn new(frame: &'a Bytes) -> Self {
        Self {
            frame,
            at: 0,
            end: frame.len(),
        }
    }

    /// Returns the offset in the frame.
    pub(crate) fn offset(&self) -> u64 {
        self.at as u64
    }

    fn error(&self, what: impl Into<String>) -> Error {
        Error::corrupt(what).at(self.offset())
    }

    /// Reads the tag of the next field: its number and wire type, or `None` at the end of the message.
    #[inline]
    pub(crate) fn field(&mut self) -> Result<Option<(u32, u8)>> {
        if self.at == self.end {
            return Ok(None);
        }
        let tag =
            u32::try_from(self.varint()?).map_err(|_| self.error("field tag is too large"))?;
        if tag >> 3 == 0 {
            return Err(self.error("field number is zero"));
        }
        Ok(Some((tag >> 3, (tag & 7) as u8)))
    }

    /// Reads a varint.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64> {
        match self.frame.as_ref().get(self.at..self.end) {
            Some(&[byte, ..]) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64> {
        let bytes = &self.frame[self.at..self.end];
        let mut value = 0_u64;
        for (index, byte) in bytes.iter().take(VARINT_BYTES_MAX).enumerate() {
            value |= u64::from(byte & 0x7F) << (7 * index);
            if *byte < 0x80 {
                // The tenth byte holds the last bit only.
                if index == VARINT_BYTES_MAX - 1 && *byte > 1 {
                    break;
                }
                self.at += index + 1;
                return Ok(value);
            }
        }
        Err(self.error(if bytes.len() < VARINT_BYTES_MAX {
            "number is cut short"
        } else {
            "number has more than 64 bits"
        }))
    }

    /// Reads a varint field, of which `wire_type` was announced.
    #[inline]
    pub(crate) fn expect_varint(&mut self, wire_type: u8) -> Result<u64> {
        self.expect(wire_type, VARINT)?;
        self.varint()
    }

    /// Reads a nested message, of which `wire_type` was announced.
    #[inline]
    pub(crate) fn expect_message(&mut self, wire_type: u8) -> Result<Cursor<'a>> {
        self.expect(wire_type, LENGTH_DELIMITED)?;
        let len = self.varint()?;
        let end = usize::try_from(len)
            .ok()
            .and_then(|len| self.at.checked_add(len))
            .filter(|end| *end <= self.end)
            .ok_or_else(|| {
                self.error(format!(
                    "field of {len} bytes, {} are left",
                    self.end - self.at
                ))
            })?;
        let nested = Cursor {
            frame: self.frame,
            at: self.at,
            end,
        };
        self.at = end;
        Ok(nested)
    }

    /// Reads a float field, of which `wire_type` was announced.
    #[cfg_attr(
        not(feature = "prometheus"),
        allow(dead_code, reason = "only samples have floats")
    )]
    pub(crate) fn expect_double(&mut self, wire_type: u8) -> Result<f64> {
        self.expect(wire_type, FIXED64)?;
        self.double()
    }

    /// Reads a float.
    #[cfg_attr(
        not(feature = "prometheus"),
        allow(dead_code, reason = "only samples have floats")
    )]
    pub(crate) fn double(&mut self) -> Result<f64> {
        let bytes = self.slice().first_chunk();
        let bytes = bytes.ok_or_else(|| self.error("number is cut short"))?;
        self.at += bytes.len();
        Ok(f64::from_le_bytes(*bytes))
    }

    /// Reports whether this is the end of the message.
    #[cfg_attr(
        not(feature = "prometheus"),
        allow(dead_code, reason = "only packed lists have no fields")
    )]
    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.end
    }

    #[inline]
    fn expect(&self, wire_type: u8, expected: u8) -> Result<()> {
        if wire_type == expected {
            return Ok(());
        }
        Err(self.error(format!(
            "field has wire type {wire_type}, expected {expected}"
        )))
    }

    /// Returns the rest of the message as a slice.
    pub(crate) fn slice(&self) -> &'a [u8] {
        &self.frame[self.at..self.end]
    }

    /// Returns the rest of the message as bytes that share the frame.
    pub(crate) fn bytes(&self) -> Bytes {
        self.frame.slice(self.at..self.end)
    }

    /// Returns the rest of the message as text.
    pub(crate) fn text(&self) -> Result<String> {
        let text = std::str::from_utf8(self.slice());
        text.map(str::to_owned)
            .map_err(|_| self.error("text is not UTF-8"))
    }

    /// Passes over a field that is not known.
    pub(crate) fn skip(&mut self, wire_type: u8) -> Result<()> {
        let len = match wire_type {
            VARINT => return self.varint().map(drop),
            LENGTH_DELIMITED => return self.expect_message(wire_type).map(drop),
            FIXED64 => 8,
            FIXED32 => 4,
            other => return Err(self.error(format!("field has unknown wire type {other}"))),
        };
        if self.end - self.at < len {
            return Err(self.error("number is cut short"));
        }
        self.at += len;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_have_the_length_they_say_and_read_back() {
        let near_powers = (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
        for value in near_powers.chain([u64::MAX]) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value), "{value}");
            let frame = Bytes::from(out);
            let mut cursor = Cursor::new(&frame);
            assert_eq!(cursor.varint().unwrap(), value);
            assert!(cursor.field().unwrap().is_none());
        }
    }

    #[test]
    fn bad_numbers_are_corrupt() {
        let cases: [(&[u8], &str); 4] = [
            (&[], "cut short"),
            (&[0x80, 0x80], "cut short"),
            (&[0xFF; 11], "more than 64 bits"),
            (
                &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2],
                "more than 64 bits",
            ),
        ];
        for (bytes, expected) in cases {
            let frame = Bytes::from_static(bytes);
            let error = Cursor::new(&frame).varint().unwrap_err();
            assert!(error.to_string().contains(expected), "{bytes:?}: {error}");
        }
    }

    #[test]
    fn a_length_beyond_the_message_is_corrupt() {
        let frame = Bytes::from_static(&[0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 1]);
        let error = Cursor::new(&frame)
            .expect_message(LENGTH_DELIMITED)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "offset 5: field of 4294967295 bytes, 1 are left"
        );
    }
}
