//! Where the matchers of requests come from.
//!
//! Compiling a large regular expression costs more than many a request; dashboards send the same one again and again.

use std::fmt;

use thanos_core::error::Result;
use thanos_core::labels::{MatchOp, Matcher};

/// Makes the matchers of requests, or knows them already.
pub trait MatcherSource: fmt::Debug + Send + Sync + 'static {
    /// Returns the matcher `name op "value"`.
    ///
    /// # Errors
    ///
    /// `Invalid` when `value` is not a Go regular expression and `op` wants one.
    fn matcher(&self, op: MatchOp, name: &str, value: &str) -> Result<Matcher>;
}

/// Makes every matcher anew.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewMatchers;

impl MatcherSource for NewMatchers {
    fn matcher(&self, op: MatchOp, name: &str, value: &str) -> Result<Matcher> {
        Matcher::new(op, name, value)
    }
}
