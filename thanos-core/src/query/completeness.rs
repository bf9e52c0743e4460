//! Whether an answer holds all the data, as a type that travels with the answer.

/// A source that did not contribute all its data to an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Missing {
    /// The store, block or endpoint.
    pub source: String,
    /// Why, in words for the user.
    pub reason: String,
}

/// Whether an answer holds all the data that exists.
///
/// # Example
///
/// ```
/// use thanos_core::query::{Completeness, Missing};
///
/// let mut completeness = Completeness::Complete;
/// completeness.add(Missing { source: "store-a".into(), reason: "timed out".into() });
/// assert!(!completeness.is_complete());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub enum Completeness {
    /// Every source answered in full.
    #[default]
    Complete,
    /// Some did not.
    Partial {
        /// What is missing; never empty.
        missing: Vec<Missing>,
    },
}

impl Completeness {
    /// Reports whether nothing is missing.
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Complete)
    }

    /// Notes one more missing source.
    pub fn add(&mut self, more: Missing) {
        match self {
            Self::Complete => {
                *self = Self::Partial {
                    missing: vec![more],
                }
            }
            Self::Partial { missing } => missing.push(more),
        }
    }

    /// Takes over what `other` is missing.
    pub fn merge(&mut self, other: Self) {
        if let Self::Partial { missing } = other {
            missing.into_iter().for_each(|more| self.add(more));
        }
    }

    /// Returns what is missing.
    pub fn missing(&self) -> &[Missing] {
        match self {
            Self::Complete => &[],
            Self::Partial { missing } => missing,
        }
    }
}
