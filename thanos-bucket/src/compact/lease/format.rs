//! What a slot of a journal holds: one line of JSON, and one with the checksum of the first.
//!
//! ```text
//! thanos-jobs/v1/<job>/<slot, ten digits>.json
//!   { "version": 1, "kind": "lease", "owner": "..", "expires_ms": .., "attempt": "..", "after": ".." }
//!   { "version": 1, "kind": "commit", "owner": "..", "attempt": "..", "is_finished": false,
//!     "blocks": [ <meta.json> .. ], "no_compact": "..", "sources": [ .. ], "details": ".." }
//!
//!   { "xxh64": "<sixteen digits>" }
//! ```
//!
//! The checksum is there because a decision is carried out as it stands: with one bit of a name turned over, another block
//! would be marked for deletion.

use serde::{Deserialize, Serialize};
use thanos_core::block::{BlockId, Meta};
use thanos_core::{Error, Result};
use xxhash_rust::xxh64::xxh64;

/// Where all journals lie; Thanos looks only into directories that are called like blocks.
pub(super) const JOURNALS: &str = "thanos-jobs/v1";
const VERSION: u32 = 1;

/// The second line.
#[derive(Debug, Serialize, Deserialize)]
struct Checksum {
    xxh64: String,
}

/// One slot of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) version: u32,
    #[serde(flatten)]
    pub(super) kind: EntryKind,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum EntryKind {
    Lease(LeaseEntry),
    Commit(Commit),
}

/// Somebody works on the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeaseEntry {
    pub(super) owner: String,
    /// When others may take over, by the owner's clock.
    pub(super) expires_ms: i64,
    /// Which attempt this is: its owner and this tell its entries from all others.
    pub(super) attempt: String,
    /// The attempt whose decision was the last one when the lease was taken; empty when there was none.
    #[serde(default)]
    pub(super) after: Option<String>,
}

/// A decision: these blocks are the result of the job. Everything they need but their `meta.json` is in the bucket.
///
/// Whoever reads it can carry it out, and carrying it out twice is no harm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// Whose decision.
    pub(super) owner: String,
    /// In which attempt.
    pub(super) attempt: String,
    /// Whether everything is carried out.
    pub(super) is_finished: bool,
    /// The `meta.json` of the new blocks, in the order of their publication.
    pub blocks: Vec<Meta>,
    /// Why the new blocks are not to be compacted, in words; empty when they may be.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub no_compact: String,
    /// The blocks that are replaced and to be marked for deletion.
    pub sources: Vec<BlockId>,
    /// What their deletion marks say.
    pub details: String,
}

impl Entry {
    pub(super) fn new(kind: EntryKind) -> Self {
        Self {
            version: VERSION,
            kind,
        }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec(self).expect("strings, numbers and meta.jsons are JSON");
        let checksum = serde_json::to_vec(&Checksum::of(&text)).expect("a string is JSON");
        text.push(b'\n');
        text.extend_from_slice(&checksum);
        text.push(b'\n');
        text
    }

    /// Parses the bytes of a slot.
    ///
    /// # Errors
    ///
    /// `Invalid` for another version, `Corrupt` for what is no entry.
    pub(super) fn parse(text: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let damaged = |error: serde_json::Error| Error::corrupt(error.to_string());
        let (line, checksum) = split_lines(text);
        let head: Head = serde_json::from_slice(line).map_err(damaged)?;
        if head.version != VERSION {
            let message = format!("unexpected version {} of a journal", head.version);
            return Err(Error::invalid(message));
        }
        let checksum: Checksum = serde_json::from_slice(checksum).map_err(damaged)?;
        if checksum.xxh64 != Checksum::of(line).xxh64 {
            return Err(Error::corrupt("the checksum of the slot is wrong"));
        }
        serde_json::from_slice(line).map_err(damaged)
    }
}

impl Checksum {
    fn of(line: &[u8]) -> Self {
        Self {
            xxh64: format!("{:016x}", xxh64(line, 0)),
        }
    }
}

/// Returns the first line of `text`, and the rest.
fn split_lines(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| *byte == b'\n');
    let (line, rest) = text.split_at(end.unwrap_or(text.len()));
    (line, rest.get(1..).unwrap_or_default())
}

/// Reads `data` as a slot, also with a checksum that fits.
#[cfg(any(test, feature = "testkit"))]
pub(crate) fn fuzz_slot(data: &[u8]) {
    let (line, _) = split_lines(data);
    let checksum = serde_json::to_vec(&Checksum::of(line)).expect("a string is JSON");
    for text in [data, &[line, b"\n", &checksum].concat()] {
        let Ok(entry) = Entry::parse(text) else {
            continue;
        };
        let again = Entry::parse(&entry.to_json());
        assert!(again.is_ok_and(|again| again == entry));
    }
}

impl EntryKind {
    /// Reports whether both are of the same attempt of the same owner.
    pub(super) fn is_same_attempt(&self, other: &Self) -> bool {
        self.writer() == other.writer()
    }

    fn writer(&self) -> (&str, &str, bool) {
        match self {
            Self::Lease(lease) => (&lease.owner, &lease.attempt, true),
            Self::Commit(commit) => (&commit.owner, &commit.attempt, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use thanos_core::ErrorKind;

    use super::*;

    fn lease() -> Entry {
        Entry::new(EntryKind::Lease(LeaseEntry {
            owner: "a".to_owned(),
            expires_ms: 7,
            attempt: "x".to_owned(),
            after: Some("w".to_owned()),
        }))
    }

    fn commit() -> Entry {
        let meta = br#"{"ulid":"01M81JDC7R8JKP7SEW1VN2HAQ9","minTime":1,"maxTime":2,"version":1}"#;
        Entry::new(EntryKind::Commit(Commit {
            owner: "a".to_owned(),
            attempt: "x".to_owned(),
            is_finished: false,
            blocks: vec![Meta::parse(meta).unwrap()],
            no_compact: String::new(),
            sources: vec![BlockId::default()],
            details: "why".to_owned(),
        }))
    }

    #[test]
    fn entries_have_these_bytes() {
        let text = concat!(
            r#"{"version":1,"kind":"lease","owner":"a","expires_ms":7,"attempt":"x","after":"w"}"#,
            "\n",
            r#"{"xxh64":"5fb8453a62d9ec48"}"#,
            "\n",
        );
        assert_eq!(String::from_utf8(lease().to_json()).unwrap(), text);
        for entry in [lease(), commit()] {
            assert_eq!(Entry::parse(&entry.to_json()).unwrap(), entry);
        }
        assert!(!lease().kind.is_same_attempt(&commit().kind));
    }

    #[test]
    fn half_an_entry_is_corrupt_and_another_version_is_not_touched() {
        let text = commit().to_json();
        // The last byte ends a line that is whole without it.
        for len in 0..text.len() - 1 {
            let error = Entry::parse(&text[..len]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{len}");
        }
        for place in 0..text.len() - 1 {
            for bit in 0..8 {
                let mut flipped = text.clone();
                flipped[place] ^= 1 << bit;
                let parsed = Entry::parse(&flipped);
                // Digits of a checksum may be written in capitals as well, and another version is another format.
                let is_harmless = |entry: &Entry| *entry == commit();
                match parsed {
                    Ok(entry) => assert!(is_harmless(&entry), "{place} {bit}"),
                    Err(error) if error.kind() == ErrorKind::Invalid => assert_eq!(place, 11),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
                }
            }
        }
        let newer = br#"{"version":2,"kind":"else"}"#;
        assert_eq!(Entry::parse(newer).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
