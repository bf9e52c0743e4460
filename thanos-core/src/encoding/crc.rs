//! CRC-32C (Castagnoli), the checksum of every format of the TSDB.

use crate::error::{Error, Result};

/// The bytes a stored checksum takes.
pub const CRC_LEN: usize = 4;

/// Returns the checksum of `bytes`.
///
/// # Example
///
/// ```
/// assert_eq!(thanos_core::encoding::crc::checksum(b"123456789"), 0xE306_9283);
/// ```
#[inline]
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// Returns the checksum of what `crc` covers followed by `bytes`.
pub fn extend(crc: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, bytes)
}

/// Checks that `bytes` have the checksum `stored`; `what` names them in the error.
///
/// # Errors
///
/// `Corrupt` with both checksums; the caller adds the offset.
#[inline]
pub fn verify(what: &str, bytes: &[u8], stored: u32) -> Result<()> {
    let found = checksum(bytes);
    if found == stored {
        return Ok(());
    }
    Err(mismatch(what, stored, found))
}

#[cold]
fn mismatch(what: &str, stored: u32, found: u32) -> Error {
    Error::corrupt(format!(
        "{what}: checksum mismatch: expected {stored:08x}, found {found:08x}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extending_equals_the_checksum_of_the_whole() {
        assert_eq!(extend(checksum(b"12345"), b"6789"), checksum(b"123456789"));
        assert_eq!(checksum(b""), 0);
    }

    #[test]
    fn a_mismatch_shows_both_checksums() {
        let error = verify("list", b"123456789", 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "list: checksum mismatch: expected 00000001, found e3069283"
        );
    }
}
