//! Adding external labels to a sorted stream and removing replica labels from it, and keeping it sorted.
//!
//! Both can change the order of series. With `{a="1"}` before `{a="1", b="2"}`, adding `c` swaps the two: the
//! first continues with `c`, the second with `b`. Two facts decide how the order is restored:
//!
//! - Labels that *no* series has are added: only a series whose label set is a prefix of a later one's can move.
//!   [`add_labels`] holds such series back until the last that starts with them has passed, nothing else.
//! - Labels that some series have are replaced or removed: a series can move past any other that shares the
//!   labels before the removed one, and nothing in the stream says when the last such series has come.
//!   [`edit_and_sort`] therefore holds all series (keys and chunk handles), leased from a budget.
//!
//! A store over blocks knows from the index which case it has.

mod hold;
mod matchers;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use thanos_core::labels::{Labels, LabelsRef};

pub use matchers::strip_matchers;
pub use stream::{add_labels, edit_and_sort};

/// Labels to add to every series (they win over labels of the same name) and label names to remove.
///
/// # Example
///
/// ```
/// use thanos_core::labels::Labels;
/// use thanos_storeapi::label_edit::LabelEdit;
///
/// let external = Labels::from_pairs([("cluster", "eu"), ("replica", "a")]);
/// let edit = LabelEdit::new(&external, &["replica".to_owned()]);
/// let labels = Labels::from_pairs([("__name__", "up"), ("cluster", "inner"), ("job", "api")]);
/// assert_eq!(edit.apply(labels.as_ref()).to_string(), r#"{__name__="up", cluster="eu", job="api"}"#);
/// ```
#[derive(Debug, Clone, Default)]
pub struct LabelEdit {
    /// What is added; none of these is in `remove`.
    add: Labels,
    /// Escaped names that are dropped from the series: those added and those removed.
    drop: BTreeSet<Vec<u8>>,
}

impl LabelEdit {
    /// Returns the edit that adds `external_labels` and then removes `replica_labels`.
    pub fn new(external_labels: &Labels, replica_labels: &[String]) -> Self {
        let removed = Labels::from_pairs(replica_labels.iter().map(|name| (name, "-")));
        let is_removed = |name: &[u8]| removed.as_ref().raw_iter().any(|label| label.name == name);
        let mut key = Vec::new();
        for label in external_labels
            .as_ref()
            .raw_iter()
            .filter(|label| !is_removed(label.name))
        {
            key.extend_from_slice(label.label);
        }
        let names = external_labels
            .as_ref()
            .raw_iter()
            .chain(removed.as_ref().raw_iter());
        let drop = names.map(|label| label.name.to_vec()).collect();
        Self {
            add: Labels::from_trusted_key(key.into()),
            drop,
        }
    }

    /// Reports whether the edit changes nothing, whatever the series.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.drop.is_empty()
    }

    /// Returns the labels that every edited series carries.
    pub fn added(&self) -> &Labels {
        &self.add
    }

    /// Reports whether the edit only adds labels to series that have none of the names in `label_names`: the case in
    /// which [`add_labels`] keeps the order while streaming.
    pub fn only_adds<'a>(&self, label_names: impl IntoIterator<Item = &'a str>) -> bool {
        let mut key = Vec::new();
        label_names.into_iter().all(|name| {
            key.clear();
            thanos_core::labels::append_key_label(&mut key, name, "");
            LabelsRef::from_trusted_key(&key)
                .raw_iter()
                .all(|label| !self.drop.contains(label.name))
        })
    }

    /// Returns the edited labels.
    pub fn apply(&self, labels: LabelsRef<'_>) -> Labels {
        let mut key = Vec::with_capacity(labels.key().len() + self.add.key().len());
        self.append(labels, &mut key);
        Labels::from_trusted_key(key.into())
    }

    /// Appends the key of the edited labels to `key`; reports whether a label of the series was dropped for it.
    pub(crate) fn append(&self, labels: LabelsRef<'_>, key: &mut Vec<u8>) -> bool {
        let mut added = self.add.as_ref().raw_iter().peekable();
        let mut dropped = false;
        for label in labels.raw_iter() {
            while let Some(before) = added.next_if(|add| add.name < label.name) {
                key.extend_from_slice(before.label);
            }
            if self.drop.contains(label.name) {
                dropped = true;
            } else {
                key.extend_from_slice(label.label);
            }
        }
        added.for_each(|add| key.extend_from_slice(add.label));
        dropped
    }
}
