//! A tombstone as an object: one line of JSON with a checksum of all the rest.

use serde::{Deserialize, Serialize};
use thanos_core::labels::{MatchOp, Matcher};
use thanos_core::time::{TimeRange, Timestamp};
use thanos_core::{Error, Result};
use xxhash_rust::xxh64::xxh64;

use super::Tombstone;

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    request: Body,
    checksum: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    version: u32,
    request_id: String,
    selectors: Vec<Vec<Condition>>,
    min_time: i64,
    max_time: i64,
    creation_time: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    author: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reason: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    name: String,
    #[serde(rename = "type")]
    op: String,
    value: String,
}

impl Body {
    pub(super) fn of(tombstone: &Tombstone) -> Self {
        let condition = |matcher: &Matcher| Condition {
            name: matcher.name().to_owned(),
            op: matcher.op().as_str().to_owned(),
            value: matcher.value().to_owned(),
        };
        let selectors = tombstone.selectors.iter();
        Self {
            version: VERSION,
            request_id: tombstone.request_id.to_string(),
            selectors: selectors
                .map(|selector| selector.iter().map(condition).collect())
                .collect(),
            min_time: tombstone.range.min.as_millis(),
            max_time: tombstone.range.max.as_millis(),
            creation_time: tombstone.created.as_millis().div_euclid(1000),
            author: tombstone.author.clone(),
            reason: tombstone.reason.clone(),
        }
    }

    fn checksum(&self) -> String {
        let text = serde_json::to_vec(self).expect("numbers and texts are JSON");
        format!("{:016x}", xxh64(&text, 0))
    }

    fn into_tombstone(self) -> Result<Tombstone> {
        let matcher = |condition: Condition| {
            let op = match condition.op.as_str() {
                "=" => MatchOp::Equal,
                "!=" => MatchOp::NotEqual,
                "=~" => MatchOp::Regex,
                "!~" => MatchOp::NotRegex,
                other => return Err(Error::invalid(format!("unknown type of matcher {other:?}"))),
            };
            Matcher::new(op, &condition.name, &condition.value)
        };
        let selector =
            |conditions: Vec<Condition>| conditions.into_iter().map(matcher).collect::<Result<_>>();
        let tombstone = Tombstone {
            request_id: self.request_id.parse()?,
            selectors: (self.selectors.into_iter())
                .map(selector)
                .collect::<Result<_>>()?,
            range: TimeRange::from_millis(self.min_time, self.max_time),
            created: Timestamp::from_millis(self.creation_time.saturating_mul(1000)),
            author: self.author,
            reason: self.reason,
        };
        tombstone.check()?;
        Ok(tombstone)
    }
}

impl Tombstone {
    /// Returns the bytes of the object.
    pub fn to_json(&self) -> Vec<u8> {
        let request = Body::of(self);
        let checksum = request.checksum();
        serde_json::to_vec(&Object { request, checksum }).expect("numbers and texts are JSON")
    }

    /// Parses the bytes of the object.
    ///
    /// # Errors
    ///
    /// `Corrupt` when they are not a tombstone or not what was written, `Invalid` when the version is not one this crate
    /// reads or the request cannot be carried out.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let object: Object = serde_json::from_slice(text)
            .map_err(|error| Error::corrupt(format!("not a tombstone: {error}")))?;
        if object.request.version != VERSION {
            let version = object.request.version;
            return Err(Error::invalid(format!(
                "unexpected version {version} of a tombstone"
            )));
        }
        if object.request.checksum() != object.checksum {
            return Err(Error::corrupt("the checksum of the tombstone is wrong"));
        }
        object.request.into_tombstone()
    }
}

/// Reads `data` as a tombstone, also as the request of one whose checksum fits.
#[cfg(any(test, feature = "testkit"))]
pub(crate) fn fuzz_tombstone(data: &[u8]) {
    let sealed = serde_json::from_slice(data).ok().map(|request: Body| {
        let checksum = request.checksum();
        serde_json::to_vec(&Object { request, checksum }).expect("numbers and texts are JSON")
    });
    for text in [Some(data), sealed.as_deref()].into_iter().flatten() {
        let Ok(tombstone) = Tombstone::parse(text) else {
            continue;
        };
        let written = tombstone.to_json();
        let again = Tombstone::parse(&written).map(|again| again.to_json());
        assert!(again.is_ok_and(|again| again == written));
    }
}
