//! Regular expressions of matchers.

use crate::labels::{MatchOp, Matcher};
use crate::re2::matches_by_engine;

/// The longest expression that is tried: compiling takes time that grows with it.
const PATTERN_BYTES_MAX: usize = 200;

/// Takes the first line of `data` as an expression and the rest as a label value.
///
/// # Panics
///
/// When what a matcher says about all values it matches is not true of this one.
pub fn matcher_regex(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (pattern, value) = text.split_once('\n').unwrap_or((text, ""));
    if pattern.len() > PATTERN_BYTES_MAX {
        return;
    }
    let matcher = match Matcher::new(MatchOp::Regex, "name", pattern) {
        Ok(matcher) => matcher,
        Err(error) => {
            let text = error.message();
            assert!(text.starts_with("error parsing regexp: "), "{text}");
            return;
        }
    };
    // An expression that is matched without the engine may still be too large for it.
    if let Ok(expected) = matches_by_engine(pattern, value) {
        assert_eq!(matcher.matches(value), expected, "{pattern:?} on {value:?}");
    }
    check(&matcher, value);
    check(&matcher, "");
    for literal in matcher.set_matches().unwrap_or_default() {
        assert!(matcher.matches(literal), "a listed value matches");
    }
    let negated = Matcher::new(MatchOp::NotRegex, "name", pattern)
        .expect("the same expression compiles again");
    assert_ne!(matcher.matches(value), negated.matches(value));
}

fn check(matcher: &Matcher, value: &str) {
    if !matcher.matches(value) {
        return;
    }
    assert!(value.starts_with(matcher.prefix()));
    if let Some(literals) = matcher.set_matches() {
        assert!(literals.iter().any(|literal| literal == value));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn expressions_keep_their_promises(
            pattern in r"(\(\?i\))?[ab|.*+?()\[\]^$\\d-]{0,12}",
            value in "[abAB-]{0,5}",
        ) {
            matcher_regex(format!("{pattern}\n{value}").as_bytes());
        }

        #[test]
        fn all_of_the_syntax_does_no_harm(
            pattern in r"[ab.*+?|()\[\]{}^$\\,0-9dQEpPLxi:<>\-]{0,16}",
            value in "[ab.0]{0,4}",
        ) {
            matcher_regex(format!("{pattern}\n{value}").as_bytes());
        }
    }
}
