//! Go's regular expressions (RE2 syntax) as Prometheus uses them in matchers: fully anchored, dot matches newline.
//!
//! Rust's own syntax differs in what it accepts and in what `\d`, `\w` or `{` mean, so Go's is parsed here and
//! compiled by `regex_automata`. Patterns that are alternations of plain texts, or plain texts with `.*` and
//! `.+` between them, never reach the engine: see `plan`.

mod class;
mod escape;
mod glob;
mod node;
mod parser;
mod plan;
mod replace;
mod unicode;

use crate::error::Result;
use plan::Plan;
pub use replace::GoReplacer;

/// A compiled, fully anchored Go regular expression.
///
/// # Example
///
/// ```
/// use thanos_core::re2::GoRegex;
///
/// let regex = GoRegex::new("api-(eu|us)")?;
/// assert!(regex.is_match("api-eu") && !regex.is_match("my-api-eu"));
/// assert_eq!(regex.set_matches().unwrap(), ["api-eu", "api-us"]);
/// assert_eq!(GoRegex::new("api-.*")?.prefix(), "api-");
/// let error = GoRegex::new("(api").unwrap_err();
/// assert_eq!(error.to_string(), "error parsing regexp: missing closing ): `(api`");
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct GoRegex {
    plan: Plan,
    prefix: String,
    prefixes: Vec<String>,
}

impl GoRegex {
    /// Compiles `pattern`.
    ///
    /// # Errors
    ///
    /// `Invalid` with Go's text for a pattern that Go rejects, or whose compiled form would be too large.
    pub fn new(pattern: &str) -> Result<Self> {
        let plan = Plan::new(pattern)?;
        let prefix = plan.prefix();
        let prefixes = plan.prefixes();
        Ok(Self {
            plan,
            prefix,
            prefixes,
        })
    }

    /// Reports whether the whole of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.plan.is_match(text)
    }

    /// Reports whether `text` starts and ends as all matches do: where it does not, it is no match. That costs little and
    /// wants no text that is known to be one.
    #[inline]
    pub fn may_match(&self, text: &[u8]) -> bool {
        self.plan.may_match(text)
    }

    /// Returns the only texts that match, sorted, when the expression is no more than a list of them.
    ///
    /// The empty text may be among them; in a matcher it also stands for a label that is absent.
    pub fn set_matches(&self) -> Option<&[String]> {
        self.plan.set_matches()
    }

    /// Returns a text that every match starts with; empty when none is known.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns texts of which every match starts with one; sorted, and none starts with another. One of them is empty
    /// when nothing is known.
    ///
    /// ```
    /// use thanos_core::re2::GoRegex;
    ///
    /// assert_eq!(GoRegex::new("(eu|us)-.*")?.prefixes(), ["eu-", "us-"]);
    /// assert_eq!(GoRegex::new("(?i)[a-z]{3,9}")?.prefixes(), [""]);
    /// # Ok::<(), thanos_core::Error>(())
    /// ```
    pub fn prefixes(&self) -> &[String] {
        &self.prefixes
    }

    /// Reports whether every text matches: `.*`.
    pub fn matches_everything(&self) -> bool {
        self.plan.min_chars_of_any_text() == Some(0)
    }

    /// Reports whether every text but the empty one matches: `.+`.
    pub fn matches_all_but_empty(&self) -> bool {
        self.plan.min_chars_of_any_text() == Some(1)
    }
}

/// Reports whether `pattern` matches `text` by the engine alone, to check the short cuts against.
#[cfg(any(test, feature = "testkit"))]
pub(crate) fn matches_by_engine(pattern: &str, text: &str) -> Result<bool> {
    let engine = plan::Engine::new(pattern, parser::parse(pattern)?)?;
    Ok(engine.without_short_cuts().is_match(text))
}

#[cfg(test)]
mod tests;
