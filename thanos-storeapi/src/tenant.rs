//! On whose behalf a request is made.

use std::fmt;
use std::sync::Arc;

use thanos_core::{Error, Result};

/// The name under which gRPC metadata and HTTP headers carry the tenant between components (row 2.15 of the
/// specification).
pub const TENANT_KEY: &str = "thanos-tenant";
/// The tenant of requests that name none.
pub const DEFAULT_TENANT: &str = "default-tenant";
/// No sane name is longer; it becomes a label of metrics.
const TENANT_BYTES_MAX: usize = 150;

/// The name of a tenant: safe as a label value, as a part of a path and in a log.
///
/// # Example
///
/// ```
/// use thanos_storeapi::tenant::TenantId;
///
/// assert_eq!(TenantId::parse("team-a")?.as_str(), "team-a");
/// assert!(TenantId::parse("../team-b").is_err());
/// assert_eq!(TenantId::default().as_str(), "default-tenant");
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Returns the tenant called `name`.
    ///
    /// # Errors
    ///
    /// `Invalid` for a name that is empty, longer than 150 bytes, `.` or `..`, or has other characters than letters,
    /// digits and `!-_.*'()`.
    pub fn parse(name: &str) -> Result<Self> {
        let is_allowed = |c: u8| c.is_ascii_alphanumeric() || b"!-_.*'()".contains(&c);
        let problem = if name.is_empty() {
            "is empty"
        } else if name.len() > TENANT_BYTES_MAX {
            "is longer than 150 bytes"
        } else if name == "." || name == ".." {
            "names a directory"
        } else if !name.bytes().all(is_allowed) {
            "has a character other than letters, digits and !-_.*'()"
        } else {
            return Ok(Self(Arc::from(name)));
        };
        Err(Error::invalid(format!("tenant {name:?} {problem}")))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TenantId {
    fn default() -> Self {
        Self(Arc::from(DEFAULT_TENANT))
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
