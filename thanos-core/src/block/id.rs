//! The name of a block: a ULID, which is also the name of its directory.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

use crate::error::{Error, Result};
use crate::time::Timestamp;

/// The identity of a block and of its contents; a rewritten block gets a new one.
///
/// # Example
///
/// ```
/// use thanos_core::block::BlockId;
///
/// let id: BlockId = "01M81JDC7R8JKP7SEW1VN2HAQ9".parse()?;
/// assert_eq!(id.to_string(), "01M81JDC7R8JKP7SEW1VN2HAQ9");
/// assert!("01M81JDC7R8JKP7SEW1VN2HAQ9.tmp".parse::<BlockId>().is_err());
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BlockId(Ulid);

impl BlockId {
    /// Returns the id made of a creation time and the low 80 bits of `random`.
    ///
    /// A time before the epoch counts as the epoch.
    pub fn from_parts(created: Timestamp, random: u128) -> Self {
        let ms = u64::try_from(created.as_millis()).unwrap_or(0);
        Self(Ulid::from_parts(ms, random))
    }

    /// Returns the 16 bytes of the id, which sort as the ids do.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.0.to_be_bytes()
    }

    /// Returns the id of the 16 bytes that [`BlockId::to_bytes`] gives.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Ulid(u128::from_be_bytes(bytes)))
    }

    /// Returns the time of creation that the id carries, in whole milliseconds.
    pub fn created(self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.0.timestamp_ms()).unwrap_or(i64::MAX))
    }
}

impl FromStr for BlockId {
    type Err = Error;

    /// Parses the 26 characters of a ULID in their one canonical form.
    ///
    /// Lower case and the look-alikes of Crockford's alphabet are refused: an id that does not print as it was
    /// read would name another directory.
    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid(format!("{text:?} is not a block id (ULID)"));
        let id = Self(Ulid::from_string(text).map_err(|_| bad())?);
        let mut canonical = [0; ulid::ULID_LEN];
        if id.0.array_to_str(&mut canonical) == text {
            Ok(id)
        } else {
            Err(bad())
        }
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for BlockId {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for BlockId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_is_an_id() {
        let id = "01M81JDC7R8JKP7SEW1VN2HAQ9";
        assert_eq!(id.parse::<BlockId>().unwrap().to_string(), id);
        for bad in [
            "",
            "01m81jdc7r8jkp7sew1vn2haq9",
            "01M81JDC7R8JKP7SEW1VN2HAQ",
            "01M81JDC7R8JKP7SEW1VN2HAQ99",
            "O1M81JDC7R8JKP7SEW1VN2HAQ9",
            "81M81JDC7R8JKP7SEW1VN2HAQ9",
            "../../../../../../etc/pass",
        ] {
            assert!(bad.parse::<BlockId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_sort_by_creation_time() {
        let early = BlockId::from_parts(Timestamp::from_millis(1), u128::MAX);
        let late = BlockId::from_parts(Timestamp::from_millis(2), 0);
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(late.created(), Timestamp::from_millis(2));
    }
}
