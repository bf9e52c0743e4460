//! The label hashes of Prometheus and Thanos, which are not the same.
//!
//! All are xxhash64 with seed 0, over one of two forms of the labels in name order:
//!
//! ```text
//! sized      { size name size value }       size = 1 byte below 255, else 0xFF and 3 bytes, little-endian
//! separated  { name 0xFF value 0xFF }
//! ```
//!
//! Sized is `labels.Hash()` of a Prometheus of default build, in whose order `limit_ratio` selects series.
//! Separated is all else: `labels.StableHash`, Thanos' group key, its hashring (after the tenant) and query
//! sharding (over some labels), and Prometheus' grouping hashes.

use xxhash_rust::xxh64::xxh64;

use super::{LabelsRef, METRIC_NAME};

const SEPARATOR: u8 = 0xFF;

/// The first size that is written in four bytes, and the mark before the other three.
const LONG_SIZE: u8 = 0xFF;

/// Computes label hashes, reusing one buffer.
///
/// # Example
///
/// ```
/// use thanos_core::labels::{LabelHasher, Labels};
///
/// let labels = Labels::from_pairs([("__name__", "up")]);
/// let mut hasher = LabelHasher::new();
/// assert_eq!(hasher.sized(labels.as_ref()), 17066213849227247093);
/// assert_eq!(hasher.separated(labels.as_ref()), 2581902663846753688);
/// ```
#[derive(Debug, Clone, Default)]
pub struct LabelHasher {
    buffer: Vec<u8>,
}

impl LabelHasher {
    /// Returns a hasher.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns `labels.Hash()` of a Prometheus of default build.
    pub fn sized(&mut self, labels: LabelsRef<'_>) -> u64 {
        self.buffer.clear();
        for (name, value) in labels.iter_bytes() {
            append_sized(&mut self.buffer, &name);
            append_sized(&mut self.buffer, &value);
        }
        xxh64(&self.buffer, 0)
    }

    /// Returns the hash over all labels with separators (`labels.StableHash`).
    pub fn separated(&mut self, labels: LabelsRef<'_>) -> u64 {
        self.buffer.clear();
        self.append_all(labels);
        xxh64(&self.buffer, 0)
    }

    /// Returns the hash over `prefix`, a separator and all labels (Thanos' `labelpb.HashWithPrefix`).
    pub fn separated_after(&mut self, prefix: &str, labels: LabelsRef<'_>) -> u64 {
        self.buffer.clear();
        self.buffer.extend_from_slice(prefix.as_bytes());
        self.buffer.push(SEPARATOR);
        self.append_all(labels);
        xxh64(&self.buffer, 0)
    }

    /// Returns the hash over the labels whose name satisfies `keep`, with separators.
    pub fn separated_where(
        &mut self,
        labels: LabelsRef<'_>,
        mut keep: impl FnMut(&[u8]) -> bool,
    ) -> u64 {
        self.buffer.clear();
        for (name, value) in labels.iter_bytes() {
            if keep(&name) {
                append_separated(&mut self.buffer, &name);
                append_separated(&mut self.buffer, &value);
            }
        }
        xxh64(&self.buffer, 0)
    }

    /// Returns the hash over the labels that `names`, which is sorted, lists (`labels.HashForLabels`).
    pub fn separated_for(&mut self, labels: LabelsRef<'_>, names: &[impl AsRef<str>]) -> u64 {
        self.separated_where(labels, |name| contains(names, name))
    }

    /// Returns the hash over the labels that `names`, which is sorted, does not list, and without the metric
    /// name in any case (`labels.HashWithoutLabels`).
    pub fn separated_without(&mut self, labels: LabelsRef<'_>, names: &[impl AsRef<str>]) -> u64 {
        self.separated_where(labels, |name| {
            name != METRIC_NAME.as_bytes() && !contains(names, name)
        })
    }

    fn append_all(&mut self, labels: LabelsRef<'_>) {
        let key = labels.key();
        if memchr::memchr(SEPARATOR, key).is_none() {
            // Nothing is escaped: the key has the right form but for its terminators.
            let from = self.buffer.len();
            self.buffer.extend_from_slice(key);
            for byte in &mut self.buffer[from..] {
                *byte = if *byte == 0 { SEPARATOR } else { *byte };
            }
            return;
        }
        for (name, value) in labels.iter_bytes() {
            append_separated(&mut self.buffer, &name);
            append_separated(&mut self.buffer, &value);
        }
    }
}

fn contains(names: &[impl AsRef<str>], name: &[u8]) -> bool {
    names
        .binary_search_by(|listed| listed.as_ref().as_bytes().cmp(name))
        .is_ok()
}

fn append_separated(buffer: &mut Vec<u8>, text: &[u8]) {
    buffer.extend_from_slice(text);
    buffer.push(SEPARATOR);
}

/// Sizes from 2^24 on do not exist in Prometheus, which panics; here the upper bits are lost.
fn append_sized(buffer: &mut Vec<u8>, text: &[u8]) {
    match u8::try_from(text.len()) {
        Ok(size) if size < LONG_SIZE => buffer.push(size),
        _ => {
            buffer.push(LONG_SIZE);
            buffer.extend_from_slice(&(text.len() as u64).to_le_bytes()[..3]);
        }
    }
    buffer.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::labels::Labels;

    #[test]
    fn hashes_are_those_of_prometheus() {
        let golden = include_str!("../../testdata/go/label_hashes.jsonl");
        let names = ["a", "job", "pod"];
        let mut hasher = LabelHasher::new();
        for line in golden.lines().skip(1) {
            let row: Value = serde_json::from_str(line).unwrap();
            let pairs = row[0].as_object().unwrap().iter();
            let labels =
                Labels::from_pairs(pairs.map(|(name, value)| (name, value.as_str().unwrap())));
            let labels = labels.as_ref();
            let found = [
                hasher.sized(labels),
                hasher.separated(labels),
                hasher.separated_for(labels, &names),
                hasher.separated_without(labels, &names),
            ];
            let expected: Vec<&str> = (1..5).map(|i| row[i].as_str().unwrap()).collect();
            assert_eq!(
                found.map(|hash| hash.to_string()).as_slice(),
                expected,
                "{labels}"
            );
        }
    }

    #[test]
    fn a_prefix_is_hashed_before_the_labels() {
        let labels = Labels::from_pairs([("a", "1"), ("n", "\0")]);
        let expected = xxh64(b"tenant\xffa\xff1\xffn\xff\0\xff", 0);
        let found = LabelHasher::new().separated_after("tenant", labels.as_ref());
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn the_short_cut_gives_the_same_hash(
            pairs in prop::collection::btree_map("[ab\0\u{e9}]{1,3}", "[ab\0\u{e9}]{1,40}", 0..6)
        ) {
            let labels = Labels::from_pairs(pairs.iter());
            let mut plain = Vec::new();
            for (name, value) in &pairs {
                append_separated(&mut plain, name.as_bytes());
                append_separated(&mut plain, value.as_bytes());
            }
            let mut hasher = LabelHasher::new();
            prop_assert_eq!(hasher.separated(labels.as_ref()), xxh64(&plain, 0));
            prop_assert_eq!(hasher.separated_where(labels.as_ref(), |_| true), xxh64(&plain, 0));
        }
    }
}
