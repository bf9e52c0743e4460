//! Telling whether an object changed without reading it.

use std::num::NonZeroU64;

use xxhash_rust::xxh64::Xxh64;

use crate::bucket::ObjectInfo;

/// Which contents an object had: a hash of its size, its time of writing and its entity tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(NonZeroU64);

impl Stamp {
    /// Returns the stamp of a listed object.
    pub(crate) fn of(object: &ObjectInfo) -> Self {
        let mut hash = Xxh64::new(0);
        hash.update(&object.size.to_be_bytes());
        hash.update(&object.modified.as_millis().to_be_bytes());
        hash.update(object.version.e_tag().unwrap_or_default().as_bytes());
        Self(NonZeroU64::new(hash.digest()).unwrap_or(NonZeroU64::MIN))
    }

    /// Returns the stamp written as `raw`; none is 0.
    pub(crate) fn from_raw(raw: u64) -> Option<Self> {
        NonZeroU64::new(raw).map(Self)
    }

    /// Returns the number that stands for `stamp` in files.
    pub(crate) fn to_raw(stamp: Option<Self>) -> u64 {
        stamp.map_or(0, |stamp| stamp.0.get())
    }
}

/// Which contents the small files of a block had; `None` for one that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stamps {
    /// `meta.json`.
    pub(crate) meta: Option<Stamp>,
    /// `deletion-mark.json`.
    pub(crate) deletion: Option<Stamp>,
    /// `no-compact-mark.json`.
    pub(crate) no_compact: Option<Stamp>,
    /// `no-downsample-mark.json`.
    pub(crate) no_downsample: Option<Stamp>,
}
