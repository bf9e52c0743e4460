//! The bucket's YAML, as Thanos reads it from `--objstore.config` and `--objstore.config-file`.
//!
//! ```yaml
//! type: FILESYSTEM
//! config:
//!   directory: /var/thanos
//! prefix: tenant-a
//! ```

use serde::Deserialize;
use thanos_core::{Error, Result};

use crate::Bucket;

/// A parsed bucket configuration.
///
/// # Example
///
/// ```
/// use thanos_bucket::config::BucketConfig;
///
/// let config = BucketConfig::from_yaml("type: FILESYSTEM\nconfig:\n  directory: .\n")?;
/// let bucket = config.open()?;
/// # let _ = bucket;
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketConfig {
    /// The provider: `FILESYSTEM`, `MEMORY`.
    #[serde(rename = "type")]
    provider: String,
    #[serde(default)]
    config: ProviderConfig,
    /// Put before every object name.
    #[serde(default)]
    prefix: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
struct ProviderConfig {
    directory: Option<String>,
}

/// Provider types of Thanos that this build does not speak.
const KNOWN_ELSEWHERE: [&str; 10] = [
    "S3",
    "GCS",
    "AZURE",
    "SWIFT",
    "COS",
    "ALIYUNOSS",
    "BOS",
    "OCI",
    "OBS",
    "HDFS",
];

impl BucketConfig {
    /// Returns the configuration written in `yaml`.
    ///
    /// # Errors
    ///
    /// `Invalid` with the place of the problem in the text.
    pub fn from_yaml(yaml: &str) -> Result<Self> {
        // A snippet of the text around the problem could show the secrets beside it.
        let options = serde_saphyr::options! { with_snippet: false };
        serde_saphyr::from_str_with_options(yaml, options).map_err(|error| {
            Error::invalid(format!("bucket configuration: {error}")).with_source(error)
        })
    }

    /// Opens the bucket.
    ///
    /// # Errors
    ///
    /// `Invalid` for an unknown or unsupported provider or a missing setting, `NotFound` for a missing directory.
    pub fn open(&self) -> Result<Bucket> {
        let bucket = match self.provider.to_uppercase().as_str() {
            "FILESYSTEM" => self.open_directory()?,
            "MEMORY" => Bucket::new(std::sync::Arc::new(object_store::memory::InMemory::new())),
            known if KNOWN_ELSEWHERE.contains(&known) => {
                return Err(Error::invalid(format!(
                    "bucket configuration: provider {known} is not supported by this build; supported: FILESYSTEM, MEMORY"
                )));
            }
            other => {
                return Err(Error::invalid(format!(
                    "bucket with type {other} is not supported"
                )));
            }
        };
        bucket.with_prefix(&self.prefix)
    }

    #[cfg(feature = "filesystem")]
    fn open_directory(&self) -> Result<Bucket> {
        let directory = self
            .config
            .directory
            .as_deref()
            .filter(|directory| !directory.is_empty())
            .ok_or_else(|| Error::invalid("missing directory for filesystem bucket"))?;
        crate::directory::open(directory)
    }

    #[cfg(not(feature = "filesystem"))]
    fn open_directory(&self) -> Result<Bucket> {
        Err(Error::invalid(
            "this build has no filesystem bucket: feature `filesystem` is off",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(yaml: &str) -> String {
        BucketConfig::from_yaml(yaml)
            .and_then(|config| config.open())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn each_mistake_has_its_message() {
        assert!(error_of("type: FILESYSTEM\nconfig: {}\n").contains("missing directory"));
        assert!(error_of("type: S3\nconfig: {bucket: x}\n").contains("S3 is not supported"));
        assert!(error_of("type: FLOPPY\n").contains("bucket with type FLOPPY is not supported"));
        assert!(error_of("type: MEMORY\nprefx: a\n").contains("prefx"));
        assert!(
            error_of("type: FILESYSTEM\nconfig: {directory: /no/such/place}\n")
                .contains("/no/such/place")
        );
    }

    #[test]
    fn errors_do_not_show_the_text_around_the_problem() {
        let error = error_of("type: S3\nconfig:\n  secret_key: canary\nprefx: a\n");
        assert!(!error.contains("canary"), "{error}");
        assert!(error.contains("prefx"), "{error}");
    }

    #[test]
    fn provider_names_are_case_insensitive() {
        assert!(
            BucketConfig::from_yaml("type: memory")
                .unwrap()
                .open()
                .is_ok()
        );
    }
}
