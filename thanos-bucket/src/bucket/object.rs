//! What a bucket says about one object.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectMeta, PutResult, UpdateVersion};
use thanos_core::time::Timestamp;

/// An object found by a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The name, relative to the bucket's prefix.
    pub name: String,
    /// The length in bytes.
    pub size: u64,
    /// When it was last written.
    pub modified: Timestamp,
    /// Which contents these are.
    pub version: Version,
}

impl ObjectInfo {
    /// Returns the object of `meta` without the first `prefix_depth` parts of its name.
    pub(super) fn new(meta: ObjectMeta, prefix_depth: usize) -> Self {
        let name: Path = meta.location.parts().skip(prefix_depth).collect();
        Self {
            name: name.to_string(),
            size: meta.size,
            modified: Timestamp::from_millis(meta.last_modified.timestamp_millis()),
            version: Version::from_meta(&meta),
        }
    }
}

/// Which contents of an object are meant: two equal versions are the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Version {
    e_tag: Option<String>,
    version: Option<String>,
}

impl Version {
    pub(super) fn from_meta(meta: &ObjectMeta) -> Self {
        Self {
            e_tag: meta.e_tag.clone(),
            version: meta.version.clone(),
        }
    }

    pub(super) fn from_put(put: PutResult) -> Self {
        Self {
            e_tag: put.e_tag,
            version: put.version,
        }
    }

    /// Reports whether the store said anything by which contents can be told apart.
    pub fn is_known(&self) -> bool {
        self.e_tag.is_some() || self.version.is_some()
    }

    /// Returns the entity tag, when the store has such.
    pub fn e_tag(&self) -> Option<&str> {
        self.e_tag.as_deref()
    }
}

impl From<Version> for UpdateVersion {
    fn from(version: Version) -> Self {
        Self {
            e_tag: version.e_tag,
            version: version.version,
        }
    }
}

/// When a conditional write happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutCondition {
    /// Only if there is no such object.
    Absent,
    /// Only if the object still is of this version.
    Unchanged(Version),
}

/// What a conditional read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadOutcome {
    /// The version that is known already.
    Unchanged,
    /// Another one.
    Changed {
        /// The contents.
        bytes: Bytes,
        /// Their version.
        version: Version,
    },
}
