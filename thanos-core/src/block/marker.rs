//! Marker files: small JSON objects beside meta.json that keep a block from being used or compacted
//! (row 2.3 of the specification).
//!
//! A missing marker means "not marked"; so does one that does not parse, because an upload may have stopped in
//! the middle: callers warn and go on when [`Marker::parse`] says `Corrupt`. Another version is a real error.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{BlockId, json};
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// The version of all three files.
const VERSION: u32 = 1;

/// One of the marker files.
pub trait Marker: Serialize + DeserializeOwned {
    /// The name of the file in its block directory.
    const FILE: &'static str;

    /// Returns the version that the file says.
    fn version(&self) -> u32;

    /// Returns the block that is marked.
    fn block(&self) -> BlockId;

    /// Parses the bytes of the file.
    ///
    /// # Errors
    ///
    /// `Corrupt` when they are not such a marker, `Invalid` when its version is not one this crate reads.
    fn parse(text: &[u8]) -> Result<Self> {
        let mark: Self = json::parse(text).map_err(|error| error.in_file(Self::FILE))?;
        if mark.version() == VERSION {
            return Ok(mark);
        }
        let message = format!("unexpected marker version {}", mark.version());
        Err(Error::invalid(message).in_file(Self::FILE))
    }

    /// Returns the bytes of the file.
    fn to_json(&self) -> Vec<u8> {
        json::to_compact(self)
    }
}

/// deletion-mark.json: the block is to be deleted once a delay has passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletionMark {
    /// The block.
    pub id: BlockId,
    /// The version of the file.
    pub version: u32,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// When it was marked; whole seconds in the file.
    #[serde(with = "unix_secs")]
    pub deletion_time: Timestamp,
}

/// no-compact-mark.json: compaction leaves the block alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoCompactMark {
    /// The block.
    pub id: BlockId,
    /// The version of the file.
    pub version: u32,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// When it was marked; whole seconds in the file.
    #[serde(with = "unix_secs")]
    pub no_compact_time: Timestamp,
    /// Why, as one of the words in [`no_compact_reason`].
    pub reason: String,
}

/// no-downsample-mark.json: downsampling leaves the block alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoDownsampleMark {
    /// The block.
    pub id: BlockId,
    /// The version of the file.
    pub version: u32,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// When it was marked; whole seconds in the file.
    #[serde(with = "unix_secs")]
    pub no_downsample_time: Timestamp,
    /// Why; Thanos only knows `manual`.
    pub reason: String,
}

/// The reasons that Thanos gives in [`NoCompactMark::reason`]; readers must bear others.
pub mod no_compact_reason {
    /// Somebody asked for it.
    pub const MANUAL: &str = "manual";
    /// The index would pass 64 GiB.
    pub const INDEX_SIZE_EXCEEDING: &str = "index-size-exceeding";
    /// The index has chunks out of order.
    pub const OUT_OF_ORDER_CHUNK: &str = "block-index-out-of-order-chunk";
    /// Downsampled blocks that overlap can not be merged.
    pub const DOWNSAMPLE_VERTICAL_COMPACTION: &str = "downsample-vertical-compaction";
}

impl DeletionMark {
    /// Returns the mark that `id` is to be deleted, made at `now`.
    pub fn new(id: BlockId, now: Timestamp, details: impl Into<String>) -> Self {
        Self {
            id,
            version: VERSION,
            details: details.into(),
            deletion_time: now,
        }
    }
}

impl NoCompactMark {
    /// Returns the mark that `id` is not to be compacted, made at `now`.
    pub fn new(id: BlockId, now: Timestamp, reason: &str, details: impl Into<String>) -> Self {
        Self {
            id,
            version: VERSION,
            details: details.into(),
            no_compact_time: now,
            reason: reason.to_owned(),
        }
    }
}

impl NoDownsampleMark {
    /// Returns the mark that `id` is not to be downsampled, made at `now`.
    pub fn new(id: BlockId, now: Timestamp, details: impl Into<String>) -> Self {
        Self {
            id,
            version: VERSION,
            details: details.into(),
            no_downsample_time: now,
            reason: "manual".to_owned(),
        }
    }
}

impl Marker for DeletionMark {
    const FILE: &'static str = "deletion-mark.json";

    fn version(&self) -> u32 {
        self.version
    }

    fn block(&self) -> BlockId {
        self.id
    }
}

impl Marker for NoCompactMark {
    const FILE: &'static str = "no-compact-mark.json";

    fn version(&self) -> u32 {
        self.version
    }

    fn block(&self) -> BlockId {
        self.id
    }
}

impl Marker for NoDownsampleMark {
    const FILE: &'static str = "no-downsample-mark.json";

    fn version(&self) -> u32 {
        self.version
    }

    fn block(&self) -> BlockId {
        self.id
    }
}

/// [`Timestamp`] as whole seconds.
mod unix_secs {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::time::Timestamp;

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_i64(time.as_millis().div_euclid(1000))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(from).map(|secs| Timestamp::from_millis(secs.saturating_mul(1000)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const ID: &str = "01M81JDC7R8JKP7SEW1VN2HAQ9";
    const NOW: Timestamp = Timestamp::from_millis(1_795_353_011_999);

    fn golden(name: &str) -> Vec<u8> {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/bucket-meta/");
        std::fs::read(format!("{dir}{name}")).unwrap()
    }

    fn assert_golden<M: Marker + PartialEq + std::fmt::Debug>(mark: &M) {
        let file = golden(M::FILE);
        assert_eq!(mark.to_json(), file);
        assert_eq!(M::parse(&file).unwrap().to_json(), file);
    }

    #[test]
    fn marks_have_the_bytes_of_thanos() {
        let id = ID.parse().unwrap();
        assert_golden(&DeletionMark::new(id, NOW, "fixture"));
        assert_golden(&NoCompactMark::new(
            id,
            NOW,
            no_compact_reason::MANUAL,
            "fixture",
        ));
        assert_golden(&NoDownsampleMark::new(id, NOW, "fixture"));
    }

    #[test]
    fn details_are_optional() {
        let text = format!(r#"{{"id":"{ID}","version":1,"deletion_time":7}}"#);
        let mark = DeletionMark::parse(text.as_bytes()).unwrap();
        assert_eq!(mark.deletion_time, Timestamp::from_millis(7000));
        assert_eq!(String::from_utf8(mark.to_json()).unwrap(), text);
    }

    #[test]
    fn half_a_mark_is_corrupt_and_another_version_invalid() {
        let file = golden(DeletionMark::FILE);
        for len in 0..file.len() {
            let error = DeletionMark::parse(&file[..len]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert_eq!(error.file(), Some(DeletionMark::FILE));
        }
        let text = format!(r#"{{"id":"{ID}","version":2,"deletion_time":7}}"#);
        let error = DeletionMark::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
