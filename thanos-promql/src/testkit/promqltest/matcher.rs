//! What an expected text must be: equal to one, or matched by a regular expression somewhere.

use std::fmt;

use thanos_core::re2::GoRegex;

/// A condition on an error or annotation.
#[derive(Debug, Clone)]
pub(super) enum TextMatch {
    /// Every text.
    Any,
    /// This text.
    Message(String),
    /// Every text in which the expression matches.
    Regex(String, GoRegex),
}

impl TextMatch {
    /// Compiles a regular expression of Go.
    pub(super) fn regex(pattern: &str) -> Result<Self, String> {
        let invalid = |error| format!("invalid regex {pattern}: {error}");
        GoRegex::new(pattern).map_err(invalid)?;
        // Our expressions are anchored and their dot matches a newline; these are neither.
        let anywhere = format!("(?s:.*)(?-s:{pattern})(?s:.*)");
        let regex = GoRegex::new(&anywhere).map_err(invalid)?;
        Ok(Self::Regex(pattern.to_owned(), regex))
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Message(message) => message == text,
            Self::Regex(_, regex) => regex.is_match(text),
        }
    }
}

impl fmt::Display for TextMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any text"),
            Self::Message(message) => write!(f, "{message:?}"),
            Self::Regex(pattern, _) => write!(f, "a match of {pattern:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_match_anywhere_unless_they_are_anchored() {
        for (pattern, text, is_match) in [
            ("b.", "abc", true),
            ("^b", "abc", false),
            ("c$", "abc", true),
            ("a|x", "za", true),
            ("^a|x$", "ba", false),
            ("a.c", "a\nc", false),
            (r"got -?\d+", "q, got -5 (1:2)", true),
        ] {
            let regex = TextMatch::regex(pattern).unwrap();
            assert_eq!(regex.matches(text), is_match, "{pattern} {text}");
        }
        for wrong in ["(a", "a)(b"] {
            assert!(TextMatch::regex(wrong).is_err(), "{wrong}");
        }
    }
}
