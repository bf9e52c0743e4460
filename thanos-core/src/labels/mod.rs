//! Label sets as one byte key whose order is the order of Prometheus.
//!
//! A label set is stored as its *key*: for each label, sorted by name, the name, a `0x00`, the value and a
//! `0x00`, where a `0x00` inside a name or value is written `0x00 0xFF`. Names and values are UTF-8, so no
//! other `0xFF` occurs, and `memcmp` of two keys equals the pairwise comparison that Prometheus does
//! (`labels.Compare`). Equality, order and hashing of whole series are thus one pass over bytes.
//!
//! Keys of many series lie in one arena owned by a batch; [`LabelsRef`] is the cheap view into it and
//! [`Labels`] the owned form.

mod builder;
mod hash;
mod key;
mod matcher;
mod outside;
#[cfg(feature = "relabel")]
pub mod relabel;
mod symbols;

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};

use bytes::Bytes;

pub use builder::LabelsBuilder;
pub use hash::LabelHasher;
pub(crate) use key::append_escaped;
pub use key::{LabelIter, RawLabel, RawLabelIter, append_key_label};
pub use matcher::{MatchOp, Matcher};
pub use outside::{KeyReader, LabelBytes};
pub use symbols::{SymbolInterner, Symbols, merge_sorted_symbols};

use crate::error::Result;

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";

/// An owned label set: a reference-counted key, cheap to clone.
///
/// # Example
///
/// ```
/// use thanos_core::labels::Labels;
///
/// let labels = Labels::from_pairs([("job", "api"), ("__name__", "up")]);
/// assert_eq!(labels.to_string(), r#"{__name__="up", job="api"}"#);
/// assert_eq!(labels.get("job").as_deref(), Some("api"));
/// assert!(labels > Labels::from_pairs([("__name__", "up")]));
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels {
    key: Bytes,
}

impl Labels {
    /// Returns the set without labels.
    pub const fn empty() -> Self {
        Self { key: Bytes::new() }
    }

    /// Returns the set of `pairs`, in any order; a later pair replaces an earlier one of the same name and an
    /// empty value removes the label, as in Prometheus.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut builder = LabelsBuilder::new();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// Returns the set with `key`, after checking that it is a well-formed key.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the bytes are not UTF-8 pairs in strictly ascending name order.
    pub fn from_key(key: Bytes) -> Result<Self> {
        key::check(&key)?;
        Ok(Self { key })
    }

    /// Returns the set with a key that [`append_key_label`] or a batch has made.
    ///
    /// A key made otherwise yields wrong labels, never undefined behaviour.
    pub fn from_trusted_key(key: Bytes) -> Self {
        debug_assert!(key::check(&key).is_ok(), "not a label key: {key:?}");
        Self { key }
    }

    /// Returns a view of this set.
    pub fn as_ref(&self) -> LabelsRef<'_> {
        LabelsRef { key: &self.key }
    }

    /// Returns the order-preserving key.
    pub fn key(&self) -> &Bytes {
        &self.key
    }

    /// Returns the value of the label `name`.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.as_ref().get(name)
    }

    /// Returns the labels as (name, value) in name order.
    pub fn iter(&self) -> LabelIter<'_> {
        self.as_ref().iter()
    }

    /// Reports whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.key.is_empty()
    }
}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

/// A view of a label set whose key lies in somebody else's buffer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelsRef<'a> {
    key: &'a [u8],
}

impl<'a> LabelsRef<'a> {
    /// Returns the view of a key that [`append_key_label`] or a batch has made.
    pub const fn from_trusted_key(key: &'a [u8]) -> Self {
        Self { key }
    }

    /// Returns the order-preserving key.
    pub const fn key(self) -> &'a [u8] {
        self.key
    }

    /// Returns the labels as (name, value) in name order.
    pub fn iter(self) -> LabelIter<'a> {
        LabelIter::new(self.key)
    }

    /// Returns the labels as bytes, in name order: for formats that do not care that they are text.
    pub fn iter_bytes(self) -> LabelBytes<'a> {
        LabelBytes::new(self.key)
    }

    /// Returns the labels as slices of the key, in name order.
    pub fn raw_iter(self) -> RawLabelIter<'a> {
        RawLabelIter::new(self.key)
    }

    /// Returns the value of the label `name`.
    pub fn get(self, name: &str) -> Option<Cow<'a, str>> {
        self.iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value)
    }

    /// Reports whether there is no label.
    pub const fn is_empty(self) -> bool {
        self.key.is_empty()
    }

    /// Returns an owned copy of the set.
    pub fn to_labels(self) -> Labels {
        Labels {
            key: Bytes::copy_from_slice(self.key),
        }
    }
}

/// Formats as Prometheus does in messages: `{__name__="up", job="api"}`, values quoted as Go quotes them.
impl fmt::Display for LabelsRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            if is_legacy_label_name(&name) {
                f.write_str(&name)?;
            } else {
                crate::text::write_go_quoted(f, &name)?;
            }
            f.write_str("=")?;
            crate::text::write_go_quoted(f, &value)?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for LabelsRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reports whether `name` needs no quotes as a label name: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_legacy_label_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes
        .first()
        .is_some_and(|c| c.is_ascii_alphabetic() || *c == b'_')
        && bytes
            .iter()
            .all(|c| c.is_ascii_alphanumeric() || *c == b'_')
}

#[cfg(test)]
mod tests;
