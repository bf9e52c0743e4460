//! Regular expressions of matchers: whether they are valid and whether they match the empty text.
//!
//! Most patterns in queries are alternatives of plain words and `.*`; those are judged by looking, without
//! compiling. Only the store that applies a matcher compiles it.

use thanos_core::labels::{MatchOp, Matcher};

use super::ast::LabelMatcher;

/// Checks that `pattern` is a Go regular expression.
///
/// # Errors
///
/// Go's message.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    if simple_matches_empty(pattern).is_some() {
        return Ok(());
    }
    let compiled = Matcher::new(MatchOp::Regex, "", pattern);
    compiled.map(|_| ()).map_err(|error| error.to_string())
}

/// Reports whether a series without the label satisfies `matcher`.
pub(super) fn matches_empty(matcher: &LabelMatcher) -> bool {
    match matcher.op {
        MatchOp::Equal => matcher.value.is_empty(),
        MatchOp::NotEqual => !matcher.value.is_empty(),
        MatchOp::Regex | MatchOp::NotRegex => {
            if let Some(pattern_does) = simple_matches_empty(&matcher.value) {
                return pattern_does == (matcher.op == MatchOp::Regex);
            }
            matcher
                .compile()
                .is_ok_and(|compiled| compiled.matches_empty())
        }
    }
}

/// Answers for alternatives of characters and dots, each with at most one of `*`, `+` and `?`; none for others.
fn simple_matches_empty(pattern: &str) -> Option<bool> {
    let mut matches_empty = false;
    let mut alternative_does = true;
    // Whether the last thing in the alternative could be repeated or made optional.
    let mut can_repeat = false;
    let mut before_atom = true;
    for byte in pattern.bytes() {
        match byte {
            b'|' => {
                matches_empty |= alternative_does;
                (alternative_does, can_repeat, before_atom) = (true, false, true);
            }
            b'*' | b'?' if can_repeat => {
                alternative_does = before_atom;
                can_repeat = false;
            }
            b'+' if can_repeat => can_repeat = false,
            b'\\' | b'*' | b'+' | b'?' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'^' | b'$' => {
                return None;
            }
            _ => {
                before_atom = alternative_does;
                alternative_does = false;
                can_repeat = true;
            }
        }
    }
    Some(matches_empty || alternative_does)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_patterns_are_judged_as_if_compiled() {
        for pattern in [
            "",
            "a",
            "a|b",
            "a||b",
            "|",
            ".*",
            ".+",
            ".?",
            "a.*b",
            "a*b*",
            "a*b+",
            "a?|b",
            "a+|b*",
            "api-.*|web_[0-9]",
            "a**",
            "(a)?",
            "*",
        ] {
            let compiled = Matcher::new(MatchOp::Regex, "x", pattern);
            if let Some(answer) = simple_matches_empty(pattern) {
                let compiled = compiled.unwrap_or_else(|error| panic!("{pattern}: {error}"));
                assert_eq!(answer, compiled.matches_empty(), "{pattern}");
            }
        }
        assert_eq!(simple_matches_empty("a**"), None);
        assert_eq!(simple_matches_empty("[a]"), None);
        assert_eq!(simple_matches_empty("a*b?"), Some(true));
        assert_eq!(simple_matches_empty("a*b"), Some(false));
    }
}
