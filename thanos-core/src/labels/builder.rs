//! Building a label set from labels in any order.

use bytes::Bytes;

use super::key::append_key_label;
use super::{Labels, LabelsRef};

/// Collects labels in any order and builds the sorted set.
///
/// A later value replaces an earlier one and an empty value removes the label, as in Prometheus.
#[derive(Debug, Clone, Default)]
pub struct LabelsBuilder {
    /// Sorted by name, names unique, values possibly empty.
    labels: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Returns a builder without labels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a builder that starts with the labels of `base`.
    pub fn from_labels(base: LabelsRef<'_>) -> Self {
        let labels = base
            .iter()
            .map(|(name, value)| (name.into_owned(), value.into_owned()));
        Self {
            labels: labels.collect(),
        }
    }

    /// Sets the label `name`; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self
            .labels
            .binary_search_by(|(found, _)| found.as_str().cmp(name))
        {
            Ok(place) => value.clone_into(&mut self.labels[place].1),
            Err(place) => self
                .labels
                .insert(place, (name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Removes the label `name`.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.labels.retain(|(found, _)| found != name);
        self
    }

    /// Keeps the labels whose name satisfies `keep`.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) -> &mut Self {
        self.labels.retain(|(name, _)| keep(name));
        self
    }

    /// Returns the value of the label `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        let place = self
            .labels
            .binary_search_by(|(found, _)| found.as_str().cmp(name))
            .ok()?;
        Some(&self.labels[place].1)
    }

    /// Returns the labels as (name, value) in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let labels = self.labels.iter().filter(|(_, value)| !value.is_empty());
        labels.map(|(name, value)| (&**name, &**value))
    }

    /// Appends the key of the set to `arena`.
    pub fn append_key(&self, arena: &mut Vec<u8>) {
        for (name, value) in self.labels.iter().filter(|(_, value)| !value.is_empty()) {
            append_key_label(arena, name, value);
        }
    }

    /// Returns the set.
    pub fn build(&self) -> Labels {
        let mut key = Vec::new();
        self.append_key(&mut key);
        Labels::from_trusted_key(Bytes::from(key))
    }
}
