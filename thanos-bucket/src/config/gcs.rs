//! Buckets of Google Cloud Storage.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::gcp::GoogleCloudStorageBuilder;
use serde::Deserialize;
use thanos_core::{Error, Result};

use super::yaml::{Secret, text};
use super::{Environment, HttpConfig, body, client_error};
use crate::http_client::{Connector, retries};
use crate::layers::Uploads;

/// The size of the parts of large objects when `chunk_size_bytes` is 0.
const PART_SIZE: u64 = 16 << 20;
/// Parts must not be smaller.
const PART_SIZE_MIN: u64 = 5 << 20;
/// How often a request is sent when `max_retries` is 0.
const DEFAULT_ATTEMPTS: usize = 10;

/// The settings of a GCS bucket, with Thanos' names and defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct GcsConfig {
    #[serde(deserialize_with = "text")]
    pub(super) bucket: String,
    /// JSON; when empty, the credentials of the environment.
    service_account: Secret,
    use_grpc: bool,
    /// Has no effect without `use_grpc`, as in Thanos.
    grpc_conn_pool_size: usize,
    http_config: HttpConfig,
    chunk_size_bytes: u64,
    max_retries: usize,
}

impl GcsConfig {
    pub(super) fn parse(yaml: &str) -> Result<Self> {
        let config: Self = body(yaml)?;
        if config.bucket.is_empty() {
            return Err(Error::invalid(
                "missing Google Cloud Storage bucket name for stored blocks",
            ));
        }
        if config.use_grpc {
            return Err(Error::invalid(
                "use_grpc is not supported: this client speaks HTTP with Google Cloud Storage; remove the setting",
            ));
        }
        Ok(config)
    }

    pub(super) fn open(&self, environment: Environment<'_>) -> Result<Arc<dyn ObjectStore>> {
        let mut builder = GoogleCloudStorageBuilder::new()
            .with_bucket_name(&self.bucket)
            .with_retry(retries(self.max_retries, DEFAULT_ATTEMPTS))
            .with_http_connector(Connector::new(&self.http_config)?);
        if !self.service_account.is_empty() {
            builder = builder.with_service_account_key(self.service_account.expose());
        } else if let Some(file) = environment("GOOGLE_APPLICATION_CREDENTIALS") {
            builder = builder.with_application_credentials(file);
        }
        let store = builder.build().map_err(|error| match error {
            // What the parser of the key says can hold a part of the key.
            _ if !self.service_account.is_empty() => Error::invalid(
                "create GCS client: service_account is no valid key of a service account in JSON",
            ),
            error => client_error("GCS", &error),
        })?;
        let part_size = match self.chunk_size_bytes {
            0 => PART_SIZE,
            size => size.max(PART_SIZE_MIN),
        };
        Ok(Arc::new(Uploads::new(Arc::new(store), part_size)))
    }
}
