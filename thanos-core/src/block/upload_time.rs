//! `upload_time` in meta.json: a time, or Go's zero time where nobody knows.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::{Timestamp, UtcTime};

/// When the block's meta.json was uploaded; Go's zero time means that nobody knows.
///
/// # Example
///
/// ```
/// use thanos_core::block::UploadTime;
/// use thanos_core::time::UtcTime;
///
/// let time = UploadTime(UtcTime::parse_rfc3339("2026-11-22T13:00:09.054393719Z")?);
/// assert_eq!(time.timestamp().map(|time| time.as_millis()), Some(1795352409054));
/// assert_eq!(UploadTime::UNKNOWN.timestamp(), None);
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadTime(pub UtcTime);

impl UploadTime {
    /// Go's zero time.
    pub const UNKNOWN: Self = Self(UtcTime::GO_ZERO);

    /// Returns the upload time `time`.
    pub fn at(time: Timestamp) -> Self {
        Self(UtcTime::from_timestamp(time))
    }

    /// Returns the time in whole milliseconds, or `None` when it is unknown.
    pub fn timestamp(self) -> Option<Timestamp> {
        (self != Self::UNKNOWN).then(|| self.0.timestamp())
    }
}

impl Default for UploadTime {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

impl fmt::Debug for UploadTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for UploadTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for UploadTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        UtcTime::parse_rfc3339(&text)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_is_gos_zero_time() {
        let json = serde_json::to_string(&UploadTime::default()).unwrap();
        assert_eq!(json, r#""0001-01-01T00:00:00Z""#);
        assert_eq!(
            serde_json::from_str::<UploadTime>(&json)
                .unwrap()
                .timestamp(),
            None
        );
        let now = UploadTime::at(Timestamp::from_millis(1_795_352_409_054));
        let json = serde_json::to_string(&now).unwrap();
        assert_eq!(json, r#""2026-11-22T13:00:09.054Z""#);
        assert_eq!(serde_json::from_str::<UploadTime>(&json).unwrap(), now);
        assert!(serde_json::from_str::<UploadTime>(r#""yesterday""#).is_err());
    }
}
