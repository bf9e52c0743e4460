//! The keys of the index cache.
//!
//! | key | value | who reads it |
//! |---|---|---|
//! | `EP:<block>:<hash of the matchers>:dss` | the series that satisfy them, [`codec`](super::codec) | we and Thanos |
//! | `P:<block>:<hash of name:value>:dss` | one postings list, the same encoding | we and Thanos |
//! | `PP:<block>:<page>` | a page of the lists of an index | we |
//! | `SP:<block>:<page>` | a page of the series entries of an index | we |
//!
//! The first two are those of Thanos, byte for byte (pkg/store/cache/cache.go CacheKey.String), so that gateways of both
//! kinds can share servers. Hashes are BLAKE2b-256: a collision would be a wrong answer.

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use thanos_core::block::BlockId;
use thanos_core::labels::Matcher;

/// The types of items that an index cache counts and that can be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemType {
    /// Postings lists.
    Postings,
    /// Series that satisfy the matchers of a request.
    ExpandedPostings,
    /// Series entries.
    Series,
}

impl ItemType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Postings, Self::ExpandedPostings, Self::Series];

    /// Returns the name in configurations and in the label `item_type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postings => "Postings",
            Self::ExpandedPostings => "ExpandedPostings",
            Self::Series => "Series",
        }
    }

    /// Returns the type of the item under `key`.
    pub(crate) fn of_key(key: &str) -> Self {
        match key.as_bytes().first() {
            Some(b'E') => Self::ExpandedPostings,
            Some(b'S') => Self::Series,
            _ => Self::Postings,
        }
    }
}

/// Returns the key of the series of `block` that satisfy `matchers`, in whatever order they come.
pub fn expanded_key(block: BlockId, matchers: &[Matcher]) -> String {
    let mut sorted: Vec<&Matcher> = matchers.iter().collect();
    sorted.sort_by(|a, b| {
        let order = |matcher: &Matcher| matcher.op();
        order(a)
            .cmp(&order(b))
            .then_with(|| a.name().cmp(b.name()))
            .then_with(|| a.value().cmp(b.value()))
    });
    let text: Vec<String> = sorted.iter().map(ToString::to_string).collect();
    format!("EP:{block}:{}:dss", hash(&text.join(";")))
}

/// Returns the key of the postings list of one label.
pub fn postings_key(block: BlockId, name: &str, value: &str) -> String {
    format!("P:{block}:{}:dss", hash(&format!("{name}:{value}")))
}

/// Returns the key of page `page` among the `item`s of the index of `block`.
pub(super) fn page_key(item: ItemType, block: BlockId, page: u64) -> String {
    match item {
        ItemType::Series => format!("SP:{block}:{page}"),
        ItemType::Postings | ItemType::ExpandedPostings => format!("PP:{block}:{page}"),
    }
}

fn hash(text: &str) -> String {
    let digest = Blake2b::<U32>::digest(text.as_bytes());
    base64_url(&digest)
}

/// Base64 of RFC 4648 section 5 without padding.
fn base64_url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..=group.len() {
            let index = (bits >> (18 - 6 * at)) & 63;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use thanos_core::labels::MatchOp;

    use super::*;

    fn block() -> BlockId {
        "01M81JDC7R8JKP7SEW1VN2HAQ9".parse().unwrap()
    }

    /// ST-24: the hashes were made by golang.org/x/crypto/blake2b over the texts of Thanos' keys.
    #[test]
    fn keys_are_those_of_thanos() {
        assert_eq!(
            postings_key(block(), "job", "api"),
            "P:01M81JDC7R8JKP7SEW1VN2HAQ9:RjLyLT966c_ngG8_b99gtHMvycEej-YJ59N5djb4TAY:dss"
        );
        let matchers = [
            Matcher::new(MatchOp::Regex, "pod", "x.*|y").unwrap(),
            Matcher::equal("job", "api"),
            Matcher::new(MatchOp::NotEqual, "instance", "a\"b").unwrap(),
            Matcher::equal("__name__", "up"),
        ];
        // The hash of `__name__="up";job="api";instance!="a\"b";pod=~"x.*|y"`.
        let key = "EP:01M81JDC7R8JKP7SEW1VN2HAQ9:YdvoXu3L_694zcPfE5PSSiqh6CSU5Zemt6XAmiYc0lQ:dss";
        assert_eq!(expanded_key(block(), &matchers), key);
    }

    #[test]
    fn a_key_says_what_is_under_it() {
        let matchers = [Matcher::equal("a", "b")];
        for (key, item) in [
            (expanded_key(block(), &matchers), ItemType::ExpandedPostings),
            (postings_key(block(), "a", "b"), ItemType::Postings),
            (page_key(ItemType::Postings, block(), 7), ItemType::Postings),
            (page_key(ItemType::Series, block(), 7), ItemType::Series),
        ] {
            assert_eq!(ItemType::of_key(&key), item, "{key}");
        }
    }

    #[test]
    fn base64_has_no_padding() {
        let texts: Vec<_> = [&b""[..], b"f", b"fo", b"foo", b"\xfb\xff"]
            .map(base64_url)
            .into();
        assert_eq!(texts, ["", "Zg", "Zm8", "Zm9v", "-_8"]);
    }
}
