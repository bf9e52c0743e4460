//! Label sets derived from label sets: without metadata, for grouping, for matching.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use thanos_core::labels::{Labels, LabelsRef, METRIC_NAME};

/// Reports whether a label says what the metric is rather than whose it is.
///
/// Source: Prometheus `schema.IsMetadataLabel`.
pub(crate) fn is_metadata(name: &[u8]) -> bool {
    name == METRIC_NAME.as_bytes() || is_type_or_unit(name)
}

/// Reports whether a label is the type or the unit of a metric.
pub(crate) fn is_type_or_unit(name: &[u8]) -> bool {
    matches!(name, b"__type__" | b"__unit__")
}

/// Returns `labels` without the metric name and its type and unit.
pub(crate) fn without_metadata(labels: &Labels) -> Labels {
    if !labels.as_ref().raw_iter().any(|raw| is_metadata(raw.name)) {
        return labels.clone();
    }
    keep(labels.as_ref(), |name| !is_metadata(name))
}

/// Returns the labels whose name satisfies `is_kept`.
pub(crate) fn keep(labels: LabelsRef<'_>, is_kept: impl Fn(&[u8]) -> bool) -> Labels {
    let mut key = Vec::with_capacity(labels.key().len());
    append_kept(&mut key, labels, is_kept);
    Labels::from_trusted_key(key.into())
}

/// Names with a NUL are escaped in the key; such a name is compared in its escaped form and never listed.
fn append_kept(key: &mut Vec<u8>, labels: LabelsRef<'_>, is_kept: impl Fn(&[u8]) -> bool) {
    for raw in labels.raw_iter() {
        if is_kept(raw.name) {
            key.extend_from_slice(raw.label);
        }
    }
}

/// Which labels count: those listed, or all but those listed.
#[derive(Debug, Clone)]
pub(crate) struct LabelChoice {
    names: Vec<String>,
    listed: bool,
}

impl LabelChoice {
    /// Only the labels `names` count.
    pub(crate) fn only<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self {
            names: names.into_iter().map(Into::into).collect(),
            listed: true,
        }
    }

    /// All labels but `names` and the metric name count.
    pub(crate) fn without<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        let metric = std::iter::once(METRIC_NAME.to_owned());
        Self {
            names: names.into_iter().map(Into::into).chain(metric).collect(),
            listed: false,
        }
    }

    /// Reports whether the label `name` counts.
    fn includes(&self, name: &[u8]) -> bool {
        self.names.iter().any(|listed| listed.as_bytes() == name) == self.listed
    }

    /// Returns the labels that count.
    pub(crate) fn apply(&self, labels: LabelsRef<'_>) -> Labels {
        keep(labels, |name| self.includes(name))
    }

    /// Replaces `key` by the key of the labels that count.
    pub(crate) fn write_key(&self, key: &mut Vec<u8>, labels: LabelsRef<'_>) {
        key.clear();
        if !(self.listed && self.names.is_empty()) {
            append_kept(key, labels, |name| self.includes(name));
        }
    }
}

/// Numbers label sets in the order in which they are first seen.
#[derive(Debug, Default)]
pub(crate) struct LabelIndex {
    /// Hashed by the labels with the number.
    numbers: HashTable<usize>,
    labels: Vec<Labels>,
    hasher: DefaultHashBuilder,
    scratch: Vec<u8>,
}

impl LabelIndex {
    /// Returns the number of `labels` when it is known.
    pub(crate) fn get(&self, labels: &Labels) -> Option<usize> {
        let key = &labels.key()[..];
        self.find(self.hasher.hash_one(key), key)
    }

    /// Returns the number of `labels` and whether it is new.
    pub(crate) fn insert(&mut self, labels: &Labels) -> (usize, bool) {
        let hash = self.hasher.hash_one(&labels.key()[..]);
        match self.find(hash, &labels.key()[..]) {
            Some(number) => (number, false),
            // A copy, because what is looked at may be a part of something large.
            None => (self.push(hash, labels.as_ref().to_labels()), true),
        }
    }

    /// Returns the number of the chosen part of `labels`, and that part when it is new.
    pub(crate) fn insert_chosen(
        &mut self,
        choice: &LabelChoice,
        labels: LabelsRef<'_>,
    ) -> (usize, Option<Labels>) {
        choice.write_key(&mut self.scratch, labels);
        let hash = self.hasher.hash_one(&self.scratch[..]);
        if let Some(number) = self.find(hash, &self.scratch) {
            return (number, None);
        }
        let chosen = LabelsRef::from_trusted_key(&self.scratch).to_labels();
        (self.push(hash, chosen.clone()), Some(chosen))
    }

    /// Returns the number of the chosen part of `labels` when it is known.
    pub(crate) fn find_chosen(
        &mut self,
        choice: &LabelChoice,
        labels: LabelsRef<'_>,
    ) -> Option<usize> {
        choice.write_key(&mut self.scratch, labels);
        self.find(self.hasher.hash_one(&self.scratch[..]), &self.scratch)
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let is_equal = |number: &usize| self.labels[*number].key()[..] == *key;
        self.numbers.find(hash, is_equal).copied()
    }

    fn push(&mut self, hash: u64, labels: Labels) -> usize {
        let number = self.labels.len();
        self.labels.push(labels);
        let (labels, hasher) = (&self.labels, &self.hasher);
        let hash_of = |number: &usize| hasher.hash_one(&labels[*number].key()[..]);
        self.numbers.insert_unique(hash, number, hash_of);
        number
    }

    /// Returns the number of label sets.
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_labels_are_numbered_by_first_sight() {
        let sets = ["a", "b", "a"]
            .map(|job| Labels::from_pairs([("__name__", "up"), ("instance", "i"), ("job", job)]));
        let choice = LabelChoice::only(["job"]);
        let mut index = LabelIndex::default();
        let numbers = sets
            .each_ref()
            .map(|set| index.insert_chosen(&choice, set.as_ref()).0);
        assert_eq!(numbers, [0, 1, 0]);
        assert_eq!(index.len(), 2);
        let without = LabelChoice::without(["job"]);
        assert_eq!(
            without.apply(sets[0].as_ref()),
            Labels::from_pairs([("instance", "i")])
        );
    }

    #[test]
    fn metadata_is_dropped() {
        let labels = Labels::from_pairs([("__name__", "m"), ("__type__", "counter"), ("a", "b")]);
        assert_eq!(without_metadata(&labels), Labels::from_pairs([("a", "b")]));
    }
}
