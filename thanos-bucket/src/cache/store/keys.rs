//! The keys and values of the caching bucket: those of Thanos (pkg/store/cache/cachekey, caching_bucket.go).
//!
//! | key | value |
//! |---|---|
//! | `exists:<name>` | `true` or `false` |
//! | `content:<name>` | the bytes |
//! | `attrs:<name>` | `{"size":...,"last_modified":"..."}` |
//! | `subrange:<name>:<start>:<end>` | the bytes |
//! | `iter:<directory>:<hash>` | the names in it as JSON, directories with a slash |
//! | `iter-recursive-attrs:<directory>:<hash>` | names, sizes and times as JSON; ours alone, for Thanos keeps no sizes |
//!
//! The hash tells buckets apart that share servers: xxhash64 of the bucket cache's configuration and its path. Only
//! listings have it, for the names of all else have the block in them.

use bytes::Bytes;
use object_store::ObjectMeta;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

/// What an object is to this cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file of chunks: `^.*/chunks/\d+$`.
    Chunks,
    /// `meta.json` or `deletion-mark.json` of a block.
    Meta,
    /// Anything else.
    Other,
}

/// Returns what the object `name` is.
pub(super) fn kind_of(name: &str) -> Kind {
    let Some((directory, file)) = name.rsplit_once('/') else {
        return Kind::Other;
    };
    if file == "meta.json" || file == "deletion-mark.json" {
        return Kind::Meta;
    }
    let in_chunks = directory.ends_with("/chunks");
    let is_number = !file.is_empty() && file.bytes().all(|byte| byte.is_ascii_digit());
    if in_chunks && is_number {
        Kind::Chunks
    } else {
        Kind::Other
    }
}

/// Returns the key of whether object `name` exists.
pub fn exists(name: &str) -> String {
    format!("exists:{name}")
}

/// Returns the key of the content of object `name`.
pub fn content(name: &str) -> String {
    format!("content:{name}")
}

/// Returns the key of the attributes of object `name`.
pub fn attributes(name: &str) -> String {
    format!("attrs:{name}")
}

/// Returns the key of some bytes of object `name`.
pub fn subrange(name: &str, start: u64, end: u64) -> String {
    format!("subrange:{name}:{start}:{end}")
}

/// Returns the key of the names in `directory`.
pub fn iter(directory: &str, hash: &str) -> String {
    format!("iter:{directory}:{hash}")
}

/// Returns the key of the objects under `directory`.
pub fn iter_recursive(directory: &str, hash: &str) -> String {
    format!("iter-recursive-attrs:{directory}:{hash}")
}

/// What `attrs:` says of an object (objstore.ObjectAttributes).
#[derive(Debug, Serialize, Deserialize)]
struct Attributes {
    size: u64,
    last_modified: String,
}

pub(super) fn encode_attributes(meta: &ObjectMeta) -> Bytes {
    let attributes = Attributes {
        size: meta.size,
        last_modified: rfc3339(meta),
    };
    let text = serde_json::to_vec(&attributes).expect("a number and a text are JSON");
    text.into()
}

pub(super) fn decode_attributes(location: &Path, value: &[u8]) -> Option<ObjectMeta> {
    let attributes: Attributes = serde_json::from_slice(value).ok()?;
    Some(ObjectMeta {
        location: location.clone(),
        last_modified: attributes.last_modified.parse().ok()?,
        size: attributes.size,
        e_tag: None,
        version: None,
    })
}

/// Returns the time as Go writes it.
pub(super) fn rfc3339(meta: &ObjectMeta) -> String {
    meta.last_modified.to_rfc3339().replace("+00:00", "Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ST-25: keys and values as in Thanos' pkg/store/cache/cachekey/cachekey_test.go and its caching bucket.
    #[test]
    fn keys_and_values_are_those_of_thanos() {
        assert_eq!(exists("b/meta.json"), "exists:b/meta.json");
        assert_eq!(content("b/meta.json"), "content:b/meta.json");
        assert_eq!(attributes("b/chunks/000001"), "attrs:b/chunks/000001");
        let key = subrange("b/chunks/000001", 0, 16_000);
        assert_eq!(key, "subrange:b/chunks/000001:0:16000");
        assert_eq!(
            iter("", "13014657067377926493"),
            "iter::13014657067377926493"
        );

        let value = br#"{"size":12,"last_modified":"2024-05-01T10:00:00.5Z"}"#;
        let meta = decode_attributes(&Path::from("a"), value).unwrap();
        assert_eq!(meta.size, 12);
        let text = encode_attributes(&meta);
        let expected = r#"{"size":12,"last_modified":"2024-05-01T10:00:00.500Z"}"#;
        assert_eq!(text, expected);
        assert!(decode_attributes(&Path::from("a"), b"{").is_none());
    }

    #[test]
    fn names_decide_what_is_kept() {
        for (name, kind) in [
            ("01/chunks/000001", Kind::Chunks),
            ("a/01/chunks/1", Kind::Chunks),
            ("01/chunks/000001.tmp", Kind::Other),
            ("chunks/000001", Kind::Other),
            ("01/chunks/", Kind::Other),
            ("01/meta.json", Kind::Meta),
            ("01/deletion-mark.json", Kind::Meta),
            ("meta.json", Kind::Other),
            ("01/index", Kind::Other),
            ("01/no-compact-mark.json", Kind::Other),
        ] {
            assert_eq!(kind_of(name), kind, "{name}");
        }
    }
}
