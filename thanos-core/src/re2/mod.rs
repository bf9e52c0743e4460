//! Go's regular expressions (RE2 syntax) as Prometheus uses them in matchers: fully anchored, dot matches newline.

use regex_automata::meta;

use crate::error::{Error, Result};

/// A compiled, fully anchored Go regular expression.
#[derive(Debug, Clone)]
pub struct GoRegex {
    regex: meta::Regex,
}

impl GoRegex {
    /// Compiles `pattern`.
    ///
    /// # Errors
    ///
    /// `Invalid` with Go's text for a pattern that Go rejects.
    pub fn new(pattern: &str) -> Result<Self> {
        let regex = meta::Regex::new(&format!("^(?s:{pattern})$"))
            .map_err(|error| Error::invalid(format!("error parsing regexp: {error}")))?;
        Ok(Self { regex })
    }

    /// Reports whether the whole of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}
