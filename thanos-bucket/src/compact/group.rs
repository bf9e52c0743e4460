//! Which blocks may become one: those of one stream of data in one resolution.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use thanos_core::block::{BlockId, Meta};
use thanos_core::labels::{LabelHasher, Labels};
use thanos_core::time::Timestamp;

use crate::fetch::BlockEntry;

/// The name of a group: `<resolution in milliseconds>@<hash of the external labels>`, as Thanos calls it.
///
/// It names work directories and appears in logs. It does not identify a group: two label sets may share a hash.
/// Source: row 2.2 of the specification, Go pkg/block/metadata Thanos.GroupKey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// Milliseconds per downsampled window, 0 for raw samples.
    pub resolution_ms: i64,
    /// The stable hash of the external labels.
    pub labels_hash: u64,
}

/// Blocks of one stream: equal external labels and resolution.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its name.
    pub key: GroupKey,
    /// The external labels of all its blocks, without replica labels where those were removed.
    pub labels: BTreeMap<String, String>,
    /// The blocks, by their first time; equal ones by their ids.
    pub blocks: Vec<Arc<BlockEntry>>,
}

/// Tells which blocks belong together.
pub trait Grouper: fmt::Debug + Send + Sync + 'static {
    /// Returns the groups of `blocks`, in the order of work. Each block is in one group at most.
    fn groups(&self, blocks: &BTreeMap<BlockId, Arc<BlockEntry>>) -> Vec<Group>;
}

/// Groups as Thanos does, by external labels and resolution.
///
/// The parts of a block that was split are in the group of the others; a mark keeps each from being compacted.
#[derive(Debug, Clone, Copy, Default)]
pub struct DefaultGrouper;

impl GroupKey {
    /// Returns the key of the group that a block of `meta` belongs to.
    pub fn of(meta: &Meta) -> Self {
        let labels: Labels = meta.external_labels();
        Self {
            resolution_ms: meta.resolution_ms(),
            labels_hash: LabelHasher::new().separated(labels.as_ref()),
        }
    }

    /// Returns the resolution as metrics say it.
    pub fn resolution(self) -> Resolution {
        Resolution(self.resolution_ms)
    }
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.resolution_ms, self.labels_hash)
    }
}

/// A resolution, printed as Thanos' metrics and logs do: in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resolution(pub i64);

impl Resolution {
    /// Raw samples.
    pub const RAW: Self = Self(0);
    /// Windows of five minutes.
    pub const FIVE_MINUTES: Self = Self(5 * 60 * 1000);
    /// Windows of an hour.
    pub const HOUR: Self = Self(3600 * 1000);
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Group {
    /// Returns the first time of its blocks; `None` without blocks.
    pub fn min_time(&self) -> Option<Timestamp> {
        self.blocks.first().map(|entry| entry.meta.min_time)
    }

    /// Returns the first time after its blocks; `None` without blocks.
    pub fn max_time(&self) -> Option<Timestamp> {
        self.blocks.iter().map(|entry| entry.meta.max_time).max()
    }

    /// Restores the order of [`Group::blocks`].
    pub fn sort(&mut self) {
        self.blocks
            .sort_by_key(|entry| (entry.meta.min_time, entry.meta.ulid));
    }
}

impl Grouper for DefaultGrouper {
    fn groups(&self, blocks: &BTreeMap<BlockId, Arc<BlockEntry>>) -> Vec<Group> {
        type Identity = (i64, BTreeMap<String, String>);
        let mut groups: BTreeMap<Identity, Vec<Arc<BlockEntry>>> = BTreeMap::new();
        for entry in blocks.values() {
            let meta = &entry.meta;
            let labels = meta.thanos.as_ref().map(|thanos| thanos.labels.clone());
            let identity = (meta.resolution_ms(), labels.unwrap_or_default());
            groups.entry(identity).or_default().push(Arc::clone(entry));
        }
        let mut groups: Vec<Group> = groups
            .into_iter()
            .filter_map(|((_, labels), blocks)| {
                let key = GroupKey::of(&blocks.first()?.meta);
                let mut group = Group {
                    key,
                    labels,
                    blocks,
                };
                group.sort();
                Some(group)
            })
            .collect();
        // Thanos' order of work: that of the keys as text.
        groups.sort_by_cached_key(|group| group.key.to_string());
        groups
    }
}

#[cfg(test)]
mod tests {
    use thanos_core::block::ThanosMeta;

    use super::*;
    use crate::compact::testing::{block, labelled};

    fn meta(labels: &[(&str, &str)], resolution_ms: i64) -> Meta {
        let mut thanos = ThanosMeta::default();
        thanos.downsample.resolution_ms = resolution_ms;
        let pairs = labels.iter();
        thanos.labels = pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Meta {
            thanos: Some(thanos),
            ..Meta::default()
        }
    }

    /// C-03: the keys of Thanos' own TestGroupKey.
    #[test]
    fn keys_are_those_of_thanos() {
        type Case<'a> = (&'a [(&'a str, &'a str)], i64, &'a str);
        let cases: [Case<'_>; 4] = [
            (&[], 0, "0@17241709254077376921"),
            (
                &[("foo", "bar"), ("foo1", "bar2")],
                0,
                "0@2124638872457683483",
            ),
            (
                &[(
                    "foo/some..thing/some.thing/../",
                    r"a_b_c/bar-something-a\metric/a\x",
                )],
                0,
                "0@16590761456214576373",
            ),
            (&[], 300_000, "300000@17241709254077376921"),
        ];
        for (labels, resolution, expected) in cases {
            assert_eq!(
                GroupKey::of(&meta(labels, resolution)).to_string(),
                expected
            );
        }
    }

    /// C-03: streams never mix, whatever order the blocks come in.
    #[test]
    fn a_group_has_one_stream_in_one_resolution() {
        let blocks = [
            labelled(block(1, 20, 40), &[("a", "1")], 0),
            labelled(block(2, 0, 20), &[("a", "1")], 0),
            labelled(block(3, 0, 20), &[("a", "1")], 300_000),
            labelled(block(4, 0, 20), &[("a", "2")], 0),
            block(5, 0, 20),
        ];
        let blocks = blocks
            .into_iter()
            .map(|entry| (entry.meta.ulid, Arc::new(entry)))
            .collect();
        let groups = DefaultGrouper.groups(&blocks);
        assert_eq!(groups.len(), 4, "{groups:?}");
        let pair = groups.iter().find(|group| group.blocks.len() == 2).unwrap();
        let starts: Vec<i64> = pair
            .blocks
            .iter()
            .map(|entry| entry.meta.min_time.as_millis())
            .collect();
        assert_eq!(starts, [0, 20]);
    }
}
