//! Label matchers.

use std::fmt;
use std::sync::Arc;

use super::LabelsRef;
use crate::error::Result;
use crate::re2::GoRegex;

/// How a matcher compares; numbered as on the StoreAPI wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// Returns the operator as PromQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// One condition on a label; a label that a series does not have counts as the empty string.
///
/// # Example
///
/// ```
/// use thanos_core::labels::{MatchOp, Matcher};
///
/// let matcher = Matcher::new(MatchOp::Regex, "job", "api|web.*")?;
/// assert!(matcher.matches("web-1") && !matcher.matches("my-api"));
/// assert_eq!(matcher.to_string(), r#"job=~"api|web.*""#);
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Matcher {
    op: MatchOp,
    name: Arc<str>,
    value: Arc<str>,
    regex: Option<Arc<GoRegex>>,
}

impl Matcher {
    /// Returns the matcher `name op "value"`, its regular expression compiled.
    ///
    /// # Errors
    ///
    /// `Invalid` when `value` is not a Go regular expression and `op` wants one.
    pub fn new(op: MatchOp, name: &str, value: &str) -> Result<Self> {
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Arc::new(GoRegex::new(value)?)),
        };
        Ok(Self {
            op,
            name: name.into(),
            value: value.into(),
            regex,
        })
    }

    /// Returns the matcher `name="value"`.
    pub fn equal(name: &str, value: &str) -> Self {
        Self {
            op: MatchOp::Equal,
            name: name.into(),
            value: value.into(),
            regex: None,
        }
    }

    /// Returns how it compares.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// Returns the label it looks at.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what it compares with.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Returns the compiled expression of a regex matcher.
    pub fn regex(&self) -> Option<&GoRegex> {
        self.regex.as_deref()
    }

    /// Returns the only values that the expression of a regex matcher matches, sorted, when it is a list of them.
    ///
    /// A negated matcher is satisfied by all other values.
    pub fn set_matches(&self) -> Option<&[String]> {
        self.regex()?.set_matches()
    }

    /// Returns the text that every value starts with which the expression of a regex matcher matches, or "".
    pub fn prefix(&self) -> &str {
        self.regex().map_or("", GoRegex::prefix)
    }

    /// Reports whether a label with `value` satisfies the condition.
    pub fn matches(&self, value: &str) -> bool {
        let regex_matches = || {
            self.regex
                .as_ref()
                .is_some_and(|regex| regex.is_match(value))
        };
        // Comparing nothing with nothing is slow: see `starts_with` of re2.
        let is_equal = || match value.is_empty() {
            true => self.value.is_empty(),
            false => *self.value == *value,
        };
        match self.op {
            MatchOp::Equal => is_equal(),
            MatchOp::NotEqual => !is_equal(),
            MatchOp::Regex => regex_matches(),
            MatchOp::NotRegex => !regex_matches(),
        }
    }

    /// Reports whether a series without the label satisfies the condition.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// Reports whether a series with `labels` satisfies the condition.
    pub fn matches_labels(&self, labels: LabelsRef<'_>) -> bool {
        self.matches(labels.get(&self.name).as_deref().unwrap_or(""))
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (self.op, &self.name, &self.value) == (other.op, &other.name, &other.value)
    }
}

impl Eq for Matcher {}

/// Formats as Prometheus does: `name="value"`, the name quoted when it needs to be.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if super::is_legacy_label_name(&self.name) {
            f.write_str(&self.name)?;
        } else {
            crate::text::write_go_quoted(f, &self.name)?;
        }
        f.write_str(self.op.as_str())?;
        crate::text::write_go_quoted(f, &self.value)
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
