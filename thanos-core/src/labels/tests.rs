use std::cmp::Ordering;

use proptest::prelude::*;

use super::*;

/// Compares as Prometheus does: pair by pair, name before value, a prefix first.
fn compare_pairwise(a: &[(String, String)], b: &[(String, String)]) -> Ordering {
    for (x, y) in a.iter().zip(b) {
        let order =
            x.0.as_bytes()
                .cmp(y.0.as_bytes())
                .then_with(|| x.1.as_bytes().cmp(y.1.as_bytes()));
        if order != Ordering::Equal {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    // A small alphabet with NUL and multi-byte characters makes shared prefixes likely.
    let text = || {
        proptest::string::string_regex("[\u{0}\u{1}ab\u{7f}\u{e9}\u{ffff}\u{10ffff}]{1,4}").unwrap()
    };
    proptest::collection::btree_map(text(), text(), 0..5).prop_map(|map| map.into_iter().collect())
}

#[test]
fn a_byte_that_marks_nothing_makes_a_key_unreadable() {
    // It was dropped with the mark before it, so that two keys were the same labels.
    let key = [&[0, 0xFF, 0xFF][..], "\u{e9}\0x\0".as_bytes()].concat();
    assert!(Labels::from_key(Bytes::from(key)).is_err());
    let key = [&[0, 0xFF][..], "\u{e9}\0x\0".as_bytes()].concat();
    let labels = Labels::from_key(Bytes::from(key)).unwrap();
    assert_eq!(labels, Labels::from_pairs([("\0\u{e9}", "x")]));
}

proptest! {
    #[test]
    fn key_order_equals_pairwise_order(a in pairs(), b in pairs()) {
        let order = Labels::from_pairs(a.clone()).cmp(&Labels::from_pairs(b.clone()));
        prop_assert_eq!(order, compare_pairwise(&a, &b));
    }

    #[test]
    fn pairs_survive_the_key(a in pairs()) {
        let labels = Labels::from_pairs(a.clone());
        let back: Vec<_> = labels.iter().map(|(n, v)| (n.into_owned(), v.into_owned())).collect();
        prop_assert_eq!(back, a);
        prop_assert_eq!(Labels::from_key(labels.key().clone()).unwrap(), labels);
    }

    #[test]
    fn any_bytes_as_key_never_panic(key in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = LabelsRef::from_trusted_key(&key).iter().count();
        let _ = Labels::from_key(Bytes::from(key));
    }
}

#[test]
fn an_empty_value_removes_the_label() {
    assert_eq!(
        Labels::from_pairs([("a", "1"), ("b", "2"), ("a", "")]),
        Labels::from_pairs([("b", "2")])
    );
}

#[test]
fn matchers_show_the_values_and_the_prefix_they_look_for() {
    let matcher = Matcher::new(MatchOp::NotRegex, "job", "b|ab").unwrap();
    assert_eq!(matcher.set_matches().unwrap(), ["ab", "b"]);
    assert!(matcher.matches("c") && !matcher.matches("b") && matcher.matches_empty());
    let matcher = Matcher::new(MatchOp::Regex, "job", "api-.+").unwrap();
    assert_eq!((matcher.set_matches(), matcher.prefix()), (None, "api-"));
    assert_eq!(Matcher::equal("job", "api").prefix(), "");
}
