//! Deleting series: tombstones beside the blocks of a bucket.
//!
//! ```text
//! add -> thanos-tombstones/v1/active/<request>.json -> the next sync of a gateway hides the samples
//!                                                   -> the next compaction leaves them out for good
//!        thanos-tombstones/v1/clean/<request>/<block> <- that a block has none of the samples
//!        thanos-tombstones/v1/done/<request>.json   <- when no block has them any more, as the record of it
//! ```
//!
//! A tombstone says which series of which blocks lose which times, who asked for it and why. It holds for all blocks of
//! the bucket, also for those that come later, until it is done or lifted: then samples that are still there are seen
//! again. Thanos' programs ignore these objects, as they do everything that is not a block.
//!
//! Source: the proposal "Delete series for object storage" that Thanos accepted and never built.

mod format;
mod record;
mod store;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use thanos_core::block::BlockId;
use thanos_core::labels::{LabelsRef, Matcher};
use thanos_core::time::{TimeRange, Timestamp};
use thanos_core::{Error, Result};

use xxhash_rust::xxh64::xxh64;

#[cfg(any(test, feature = "testkit"))]
pub(crate) use format::fuzz_tombstone;
pub use record::AppliedRecord;
pub use store::{TombstoneReader, TombstoneStore};

/// Where all tombstones lie.
pub const TOMBSTONES_DIR: &str = "thanos-tombstones/v1";
/// The most bytes of one tombstone.
pub(crate) const TOMBSTONE_BYTES_MAX: u64 = 1 << 20;
/// The most tombstones that may be active at once.
pub(crate) const TOMBSTONES_MAX: usize = 10_000;
const REQUEST_ID_BYTES_MAX: usize = 128;
const TEXT_BYTES_MAX: usize = 4 << 10;
const SELECTORS_MAX: usize = 1000;

/// The name of a request to delete: letters, digits, `.`, `_` and `-`, not beginning with a dot, at most 128 of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(String);

impl RequestId {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RequestId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_good = !text.is_empty()
            && text.len() <= REQUEST_ID_BYTES_MAX
            && !text.starts_with('.')
            && text.bytes().all(is_allowed);
        if is_good {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::invalid(format!(
            "{text:?} is not a request id: 1 to {REQUEST_ID_BYTES_MAX} letters, digits, '.', '_' and '-', not beginning with '.'"
        )))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A request to delete samples.
///
/// # Example
///
/// ```
/// use thanos_bucket::tombstones::Tombstone;
/// use thanos_core::labels::Matcher;
/// use thanos_core::time::{TimeRange, Timestamp};
///
/// let mut tombstone = Tombstone::new("ticket-4711".parse()?, Timestamp::from_millis(1_793_491_200_000));
/// tombstone.selectors.push(vec![Matcher::equal("job", "shop"), Matcher::equal("cluster", "eu1")]);
/// tombstone.range = TimeRange::from_millis(1_793_000_000_000, 1_793_100_000_000);
/// tombstone.author = "jane".to_owned();
/// tombstone.check()?;
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tombstone {
    /// What the request is called; a second one of this name is refused.
    pub request_id: RequestId,
    /// The series: those of which all matchers of any selector match the labels, external labels included. A series
    /// without a label of a matcher is not matched, whatever the matcher says of the empty value.
    pub selectors: Vec<Vec<Matcher>>,
    /// The times that they lose, both ends included.
    pub range: TimeRange,
    /// When it was asked for; whole seconds are kept.
    pub created: Timestamp,
    /// Who asked for it.
    pub author: String,
    /// Why.
    pub reason: String,
}

impl Tombstone {
    /// Returns a request for all times without selectors, which have to be added.
    pub fn new(request_id: RequestId, created: Timestamp) -> Self {
        Self {
            request_id,
            selectors: Vec::new(),
            range: TimeRange::from_millis(i64::MIN, i64::MAX),
            created,
            author: String::new(),
            reason: String::new(),
        }
    }

    /// Checks that the request can be carried out.
    ///
    /// # Errors
    ///
    /// `Invalid` when it has no selector, too many of them, one that would match everything, no time, or too long texts.
    pub fn check(&self) -> Result<()> {
        let of = |what: String| {
            Err(Error::invalid(format!(
                "tombstone {}: {what}",
                self.request_id
            )))
        };
        if self.selectors.is_empty() || self.selectors.len() > SELECTORS_MAX {
            return of(format!("it needs 1 to {SELECTORS_MAX} selectors"));
        }
        let selects_something = |selector: &Vec<Matcher>| {
            let mut matchers = selector.iter();
            matchers.any(|matcher| !matcher.matches_empty())
        };
        if !self.selectors.iter().all(selects_something) {
            let message = "a selector must contain at least one non-empty matcher";
            return of(message.to_owned());
        }
        if self.range.is_empty() {
            return of("its end is before its start".to_owned());
        }
        if self.author.len().max(self.reason.len()) > TEXT_BYTES_MAX {
            return of(format!(
                "author and reason must have at most {TEXT_BYTES_MAX} bytes"
            ));
        }
        Ok(())
    }

    /// Returns what blocks name among their sources when the request was applied to them: the same for all.
    pub fn source(&self) -> BlockId {
        let ms = self.created.as_millis();
        // What the object does not keep would make another name of it.
        let created = Timestamp::from_millis(ms - ms.rem_euclid(1000));
        let [high, low] = [0, 1].map(|seed| xxh64(self.request_id.as_str().as_bytes(), seed));
        BlockId::from_parts(created, u128::from(high) << 64 | u128::from(low))
    }

    /// Returns the selectors that are left for the series of a block with these external labels; none means that it
    /// deletes nothing of the block, and an empty selector that it deletes something of every series.
    pub fn selectors_within(&self, external_labels: LabelsRef<'_>) -> Vec<Vec<Matcher>> {
        let within = |selector: &Vec<Matcher>| {
            let mut left = Vec::with_capacity(selector.len());
            for matcher in selector {
                match external_labels.get(matcher.name()) {
                    Some(value) if matcher.matches(&value) => {}
                    Some(_) => return None,
                    None => left.push(matcher.clone()),
                }
            }
            Some(left)
        };
        self.selectors.iter().filter_map(within).collect()
    }
}

/// Reports whether a series with these labels has every label that the matchers speak of, with a value that matches.
pub fn selects(selector: &[Matcher], labels: LabelsRef<'_>) -> bool {
    let mut matchers = selector.iter();
    matchers.all(|matcher| {
        let value = labels.get(matcher.name());
        value.is_some_and(|value| matcher.matches(&value))
    })
}
