//! The bucket's YAML, as Thanos reads it from `--objstore.config` and `--objstore.config-file`.
//!
//! ```yaml
//! type: FILESYSTEM
//! config:
//!   directory: /var/thanos
//! prefix: tenant-a
//! ```
//!
//! | `type` | how it is spoken |
//! |---|---|
//! | `S3` | natively |
//! | `COS`, `ALIYUNOSS`, `OBS`, `BOS` | through the S3-compatible endpoint of that cloud |
//! | `GCS`, `AZURE` | natively |
//! | `FILESYSTEM`, `MEMORY` | in this process |
//! | `OCI`, `SWIFT`, `HDFS` | an error that says what to do instead |
//!
//! Unknown fields are refused, and so is every setting that this client cannot honour: none is ignored silently. Fields
//! that have no effect because of how this client works say so at their definition.

#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "s3")]
mod compatible;
#[cfg(feature = "s3")]
mod credentials;
#[cfg(feature = "gcs")]
mod gcs;
mod http;
#[cfg(feature = "s3")]
mod s3;
#[cfg(test)]
mod tests;
mod yaml;

use std::sync::Arc;

use object_store::ObjectStore;
use serde::Deserialize;
use serde::de::IgnoredAny;
use thanos_core::{Error, Result};

use crate::Bucket;
use crate::layers::{BucketMetrics, Hedged, HedgingOptions};
use yaml::text;

pub use http::{HttpConfig, TlsConfig};

/// Where settings that are not in the YAML come from: the environment of the process, or a table in tests.
#[cfg(feature = "cloud")]
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Into how many stretches a listing is cut where that helps: a bucket of 10,000 blocks is two pages for each.
#[cfg(any(feature = "gcs", feature = "s3"))]
const LISTING_SHARDS: usize = 16;

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
#[derive(Debug, Clone, PartialEq)]
pub struct BucketConfig {
    provider: Provider,
    prefix: String,
    hedging: HedgingOptions,
}

#[derive(Debug, Clone, PartialEq)]
enum Provider {
    #[cfg(feature = "azure")]
    Azure(Box<azure::AzureConfig>),
    #[cfg(feature = "filesystem")]
    Filesystem(FilesystemConfig),
    #[cfg(feature = "gcs")]
    Gcs(Box<gcs::GcsConfig>),
    Memory,
    #[cfg(feature = "s3")]
    S3(Box<s3::S3Config>),
    #[cfg(feature = "s3")]
    Compatible(Box<compatible::CompatibleConfig>),
}

/// What is the same for all providers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    #[serde(rename = "type", deserialize_with = "text")]
    provider: String,
    #[serde(default, rename = "config")]
    _config: IgnoredAny,
    #[serde(default, deserialize_with = "text")]
    prefix: String,
    #[serde(default)]
    hedging_config: HedgingOptions,
}

/// The settings of one kind of provider; the rest was read before.
#[derive(Debug, Deserialize)]
#[serde(bound = "C: Deserialize<'de> + Default")]
struct Body<C> {
    #[serde(default, deserialize_with = "or_default")]
    config: C,
}

#[cfg(feature = "filesystem")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FilesystemConfig {
    #[serde(deserialize_with = "text")]
    directory: String,
}

/// An in-memory bucket has nothing to set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MemoryConfig {}

impl BucketConfig {
    /// Returns the configuration written in `yaml`.
    ///
    /// # Errors
    ///
    /// `Invalid` with the place of the problem in the text, for an unknown provider or field, for settings that
    /// contradict each other, and for what this build or this client cannot do. Values are never shown.
    pub fn from_yaml(yaml: &str) -> Result<Self> {
        let head: Head = yaml::parse(yaml)?;
        head.hedging_config.validate()?;
        Ok(Self {
            provider: Provider::parse(&head.provider, yaml)?,
            prefix: head.prefix,
            hedging: head.hedging_config,
        })
    }

    /// Opens the bucket. Its metrics are seen by nobody: see [`BucketConfig::open_with`].
    ///
    /// # Errors
    ///
    /// `Invalid` for settings that the provider's client refuses, `NotFound` for a missing directory or file.
    pub fn open(&self) -> Result<Bucket> {
        self.open_with(BucketMetrics::default())
    }

    /// Opens the bucket and counts in `metrics` what is done with it.
    ///
    /// # Errors
    ///
    /// Like [`BucketConfig::open`].
    pub fn open_with(&self, metrics: BucketMetrics) -> Result<Bucket> {
        let mut bucket = Bucket::with_metrics(self.object_store()?, metrics, self.name());
        if self.hedging.enabled {
            let options = self.hedging;
            bucket = bucket.layered(|store| Arc::new(Hedged::new(store, options)));
        }
        bucket.with_prefix(&self.prefix)
    }

    /// Returns the provider's client without the layers above it: no prefix, no metrics, no hedging.
    ///
    /// # Errors
    ///
    /// Like [`BucketConfig::open`].
    pub fn object_store(&self) -> Result<Arc<dyn ObjectStore>> {
        #[cfg(feature = "cloud")]
        let environment: Environment<'_> = &|name| std::env::var(name).ok();
        match &self.provider {
            #[cfg(feature = "azure")]
            Provider::Azure(config) => config.open(environment),
            #[cfg(feature = "filesystem")]
            Provider::Filesystem(config) => crate::directory::store_made(&config.directory),
            #[cfg(feature = "gcs")]
            Provider::Gcs(config) => config.open(environment),
            Provider::Memory => Ok(Arc::new(object_store::memory::InMemory::new())),
            #[cfg(feature = "s3")]
            Provider::S3(config) => config.open(environment),
            #[cfg(feature = "s3")]
            Provider::Compatible(config) => config.open(),
        }
    }

    /// Returns in how many stretches the bucket is best listed at once
    /// ([`FetchOptions::listing_shards`](crate::fetch::FetchOptions::listing_shards)): several where the provider can
    /// begin a listing at a name.
    pub fn listing_shards(&self) -> usize {
        match &self.provider {
            #[cfg(feature = "azure")]
            Provider::Azure(_) => 1,
            #[cfg(feature = "filesystem")]
            Provider::Filesystem(_) => 1,
            #[cfg(feature = "gcs")]
            Provider::Gcs(_) => LISTING_SHARDS,
            Provider::Memory => 1,
            #[cfg(feature = "s3")]
            Provider::S3(_) => LISTING_SHARDS,
            // Not all of those servers know `start-after`, and the others would list everything for each stretch.
            #[cfg(feature = "s3")]
            Provider::Compatible(_) => 1,
        }
    }

    /// Returns the name of the bucket, which is the label `bucket` of its metrics: the bucket or container of a cloud,
    /// the directory of a file system.
    pub fn name(&self) -> &str {
        match &self.provider {
            #[cfg(feature = "azure")]
            Provider::Azure(config) => &config.container,
            #[cfg(feature = "filesystem")]
            Provider::Filesystem(config) => &config.directory,
            #[cfg(feature = "gcs")]
            Provider::Gcs(config) => &config.bucket,
            Provider::Memory => "memory",
            #[cfg(feature = "s3")]
            Provider::S3(config) => &config.bucket,
            #[cfg(feature = "s3")]
            Provider::Compatible(config) => config.name(),
        }
    }
}

impl Provider {
    fn parse(name: &str, yaml: &str) -> Result<Self> {
        match name.to_uppercase().as_str() {
            #[cfg(feature = "azure")]
            "AZURE" => azure::AzureConfig::parse(yaml).map(|config| Self::Azure(Box::new(config))),
            #[cfg(feature = "filesystem")]
            "FILESYSTEM" => FilesystemConfig::parse(yaml).map(Self::Filesystem),
            #[cfg(feature = "gcs")]
            "GCS" => gcs::GcsConfig::parse(yaml).map(|config| Self::Gcs(Box::new(config))),
            "MEMORY" => body::<MemoryConfig>(yaml).map(|MemoryConfig {}| Self::Memory),
            #[cfg(feature = "s3")]
            "S3" => s3::S3Config::parse(yaml).map(|config| Self::S3(Box::new(config))),
            #[cfg(feature = "s3")]
            known @ ("COS" | "ALIYUNOSS" | "OBS" | "BOS") => {
                compatible::CompatibleConfig::parse(known, yaml)
                    .map(|config| Self::Compatible(Box::new(config)))
            }
            #[cfg(not(feature = "azure"))]
            "AZURE" => Err(feature_off("AZURE", "azure")),
            #[cfg(not(feature = "filesystem"))]
            "FILESYSTEM" => Err(feature_off("FILESYSTEM", "filesystem")),
            #[cfg(not(feature = "gcs"))]
            "GCS" => Err(feature_off("GCS", "gcs")),
            #[cfg(not(feature = "s3"))]
            known @ ("S3" | "COS" | "ALIYUNOSS" | "OBS" | "BOS") => Err(feature_off(known, "s3")),
            "OCI" => Err(Error::invalid(
                "buckets of type OCI are not supported: their requests are signed with keys that only Oracle's own API \
                 takes; make a customer secret key and use type S3 with the endpoint \
                 <namespace>.compat.objectstorage.<region>.oraclecloud.com",
            )),
            "SWIFT" => Err(Error::invalid(
                "buckets of type SWIFT are not supported: there is no client for the protocol of OpenStack Swift; \
                 where the cloud has an S3 endpoint (s3api), use type S3",
            )),
            "HDFS" => Err(Error::invalid(
                "buckets of type HDFS are not supported: HDFS is no object storage",
            )),
            _ => Err(Error::invalid(format!(
                "bucket with type {name} is not supported"
            ))),
        }
    }
}

#[cfg(feature = "filesystem")]
impl FilesystemConfig {
    fn parse(yaml: &str) -> Result<Self> {
        let config: Self = body(yaml)?;
        if config.directory.is_empty() {
            return Err(Error::invalid("missing directory for filesystem bucket"));
        }
        Ok(config)
    }
}

/// Reads the `config` of `yaml`, whose other fields have been read.
fn body<C: serde::de::DeserializeOwned + Default>(yaml: &str) -> Result<C> {
    yaml::parse::<Body<C>>(yaml).map(|body| body.config)
}

fn or_default<'de, D, C>(deserializer: D) -> Result<C, D::Error>
where
    D: serde::Deserializer<'de>,
    C: Deserialize<'de> + Default,
{
    Ok(Option::<C>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(not(all(
    feature = "azure",
    feature = "filesystem",
    feature = "gcs",
    feature = "s3"
)))]
fn feature_off(provider: &str, feature: &str) -> Error {
    Error::invalid(format!(
        "this build has no {provider} buckets: feature `{feature}` of thanos-bucket is off"
    ))
}

/// Returns the error of a provider's client, which can hold parts of the configuration, without its sources.
#[cfg(feature = "cloud")]
fn client_error(provider: &str, error: &object_store::Error) -> Error {
    Error::invalid(format!("create {provider} client: {error}"))
}
