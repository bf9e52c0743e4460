//! Buckets of S3 and of servers that speak its protocol under any name.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use object_store::ObjectStore;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use serde::Deserialize;
use thanos_core::{Error, Result};

use super::yaml::{Secret, text};
use super::{Environment, HttpConfig, body, client_error, credentials};
use crate::http_client::{Connector, retries};
use crate::layers::{PutAttributes, Uploads};

/// How often a request is sent when `max_retries` is 0: the default of the client that Thanos uses.
pub(super) const DEFAULT_ATTEMPTS: usize = 10;
/// Object storages refuse smaller parts.
const PART_SIZE_MIN: u64 = 5 << 20;

/// The settings of an S3 bucket, with Thanos' names and defaults.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct S3Config {
    #[serde(deserialize_with = "text")]
    pub(super) bucket: String,
    #[serde(deserialize_with = "text")]
    pub(super) endpoint: String,
    #[serde(deserialize_with = "text")]
    pub(super) region: String,
    /// Has no effect: the endpoint is used as it is written, and `dualstack` is part of the name of one that is.
    disable_dualstack: bool,
    aws_sdk_auth: bool,
    pub(super) access_key: Secret,
    pub(super) insecure: bool,
    signature_version2: bool,
    pub(super) secret_key: Secret,
    pub(super) session_token: Secret,
    put_user_metadata: BTreeMap<String, String>,
    pub(super) http_config: HttpConfig,
    trace: TraceConfig,
    #[serde(deserialize_with = "text")]
    list_objects_version: String,
    pub(super) bucket_lookup_type: BucketLookup,
    /// Has no effect: every body is signed with its SHA-256, which the server checks, so that MD5 adds nothing.
    send_content_md5: bool,
    disable_multipart: bool,
    part_size: u64,
    sse_config: SseConfig,
    #[serde(deserialize_with = "text")]
    sts_endpoint: String,
    pub(super) max_retries: usize,
}

/// Where the name of the bucket goes: into the host or into the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum BucketLookup {
    /// Into the host for clouds that want it so, else into the path.
    #[default]
    Auto,
    VirtualHosted,
    Path,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TraceConfig {
    enable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SseConfig {
    #[serde(rename = "type", deserialize_with = "text")]
    kind: String,
    #[serde(deserialize_with = "text")]
    kms_key_id: String,
    kms_encryption_context: BTreeMap<String, String>,
    /// The file that holds the key.
    #[serde(deserialize_with = "text")]
    encryption_key: String,
}

impl Default for S3Config {
    fn default() -> Self {
        Self {
            bucket: String::new(),
            endpoint: String::new(),
            region: String::new(),
            disable_dualstack: false,
            aws_sdk_auth: false,
            access_key: Secret::default(),
            insecure: false,
            signature_version2: false,
            secret_key: Secret::default(),
            session_token: Secret::default(),
            put_user_metadata: BTreeMap::new(),
            http_config: HttpConfig::default(),
            trace: TraceConfig::default(),
            list_objects_version: String::new(),
            bucket_lookup_type: BucketLookup::Auto,
            send_content_md5: true,
            disable_multipart: false,
            part_size: 64 << 20,
            sse_config: SseConfig::default(),
            sts_endpoint: String::new(),
            max_retries: 0,
        }
    }
}

impl S3Config {
    pub(super) fn parse(yaml: &str) -> Result<Self> {
        let config: Self = body(yaml)?;
        config.validate().map_err(Error::invalid)?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), String> {
        self.validate_place()?;
        self.validate_keys()?;
        self.validate_encryption()?;
        if self.signature_version2 {
            return Err(
                "signature_version2 is not supported: this client signs with version 4 only".into(),
            );
        }
        match self.list_objects_version.as_str() {
            "" | "v2" => {}
            "v1" => {
                return Err(
                    "list_objects_version v1 is not supported: this client lists with v2 only"
                        .into(),
                );
            }
            _ => return Err("unsupported list_objects_version; supported: v2".into()),
        }
        if !self.disable_multipart && self.part_size < PART_SIZE_MIN {
            return Err(format!(
                "part_size is {} bytes, the least that S3 takes is {PART_SIZE_MIN}",
                self.part_size
            ));
        }
        Ok(())
    }

    fn validate_place(&self) -> Result<(), String> {
        if self.endpoint.is_empty() {
            return Err("no s3 endpoint in config file".into());
        }
        if self.bucket.is_empty() {
            return Err("no s3 bucket in config file".into());
        }
        validate_host("s3 endpoint", &self.endpoint)
    }

    fn validate_keys(&self) -> Result<(), String> {
        let (access, secret) = (!self.access_key.is_empty(), !self.secret_key.is_empty());
        let advice =
            "either both should be present in config or envvars/IAM should be used".to_owned();
        match (access, secret) {
            (true, _) if self.aws_sdk_auth => {
                Err("aws_sdk_auth and access_key are mutually exclusive configurations".into())
            }
            (true, false) => Err(format!(
                "no s3 secret_key specified while access_key is present in config file; {advice}"
            )),
            (false, true) => Err(format!(
                "no s3 access_key specified while secret_key is present in config file; {advice}"
            )),
            (true, true) | (false, false) => Ok(()),
        }
    }

    fn validate_encryption(&self) -> Result<(), String> {
        let sse = &self.sse_config;
        match sse.kind.as_str() {
            "" | "SSE-S3" => Ok(()),
            "SSE-C" if sse.encryption_key.is_empty() => {
                Err("encryption_key must be set if sse_config.type is set to 'SSE-C'".into())
            }
            "SSE-C" => Ok(()),
            "SSE-KMS" if sse.kms_key_id.is_empty() => {
                Err("kms_key_id must be set if sse_config.type is set to 'SSE-KMS'".into())
            }
            "SSE-KMS" if !sse.kms_encryption_context.is_empty() => Err(
                "sse_config.kms_encryption_context is not supported: this client cannot sign that header; \
                 set a default encryption of the bucket instead"
                    .into(),
            ),
            "SSE-KMS" => Ok(()),
            _ => Err("unsupported sse_config.type was provided. Supported types are SSE-S3, SSE-KMS, SSE-C".into()),
        }
    }

    pub(super) fn open(&self, environment: Environment<'_>) -> Result<Arc<dyn ObjectStore>> {
        let builder = self.builder()?;
        let builder = if self.access_key.is_empty() {
            let builder = credentials::from_environment(builder, environment)?;
            match self.sts_endpoint.as_str() {
                "" => builder,
                endpoint => {
                    builder.with_config(object_store::aws::AmazonS3ConfigKey::StsEndpoint, endpoint)
                }
            }
        } else {
            let builder = builder
                .with_access_key_id(self.access_key.expose())
                .with_secret_access_key(self.secret_key.expose());
            match self.session_token.expose() {
                "" => builder,
                token => builder.with_token(token),
            }
        };
        let store = self.encrypted(builder)?;
        let store = store.build().map_err(|error| client_error("S3", &error))?;
        Ok(self.layered(store))
    }

    /// Returns the client for the bucket, still without keys.
    fn builder(&self) -> Result<AmazonS3Builder> {
        let connector = Connector::new(&self.http_config)?.traced(self.trace.enable);
        let scheme = if self.insecure { "http" } else { "https" };
        let virtual_hosted = self.is_virtual_hosted();
        let endpoint = match virtual_hosted {
            true => format!("{scheme}://{}.{}", self.bucket, self.endpoint),
            false => format!("{scheme}://{}", self.endpoint),
        };
        Ok(AmazonS3Builder::new()
            .with_bucket_name(&self.bucket)
            .with_endpoint(endpoint)
            .with_region(self.region_or_default())
            .with_allow_http(self.insecure)
            .with_virtual_hosted_style_request(virtual_hosted)
            .with_retry(retries(self.max_retries, DEFAULT_ATTEMPTS))
            .with_http_connector(connector))
    }

    pub(super) fn is_virtual_hosted(&self) -> bool {
        match self.bucket_lookup_type {
            BucketLookup::Path => false,
            BucketLookup::VirtualHosted => true,
            // A dot in the name would not match the wildcard of the certificate.
            BucketLookup::Auto => {
                let wants_host = ["amazonaws.com", "amazonaws.com.cn", "aliyuncs.com"];
                wants_host
                    .iter()
                    .any(|domain| self.endpoint.ends_with(&format!(".{domain}")))
                    && (self.insecure || !self.bucket.contains('.'))
            }
        }
    }

    /// Returns the region, which the endpoints of AWS have in their names. Other servers take the default.
    pub(super) fn region_or_default(&self) -> String {
        if !self.region.is_empty() {
            return self.region.clone();
        }
        let host = self.endpoint.split(':').next().unwrap_or_default();
        let service = host
            .strip_suffix(".amazonaws.com.cn")
            .or_else(|| host.strip_suffix(".amazonaws.com"))
            .unwrap_or_default();
        let region = service
            .strip_prefix("s3.dualstack.")
            .or_else(|| service.strip_prefix("s3."))
            .or_else(|| service.strip_prefix("s3-"));
        region.unwrap_or("us-east-1").to_owned()
    }

    fn encrypted(&self, builder: AmazonS3Builder) -> Result<AmazonS3Builder> {
        let sse = &self.sse_config;
        match sse.kind.as_str() {
            "SSE-S3" => {
                let key = "aws_server_side_encryption"
                    .parse()
                    .map_err(|error| client_error("S3", &error))?;
                Ok(builder.with_config(key, "AES256"))
            }
            "SSE-KMS" => Ok(builder.with_sse_kms_encryption(&sse.kms_key_id)),
            "SSE-C" => {
                let key = std::fs::read(&sse.encryption_key)
                    .map_err(|error| Error::from(error).in_file(&sse.encryption_key))?;
                if key.len() != 32 {
                    let message = format!("a key for SSE-C has 32 bytes, this has {}", key.len());
                    return Err(Error::invalid(message).in_file(&sse.encryption_key));
                }
                let key = base64::engine::general_purpose::STANDARD.encode(key);
                Ok(builder.with_ssec_encryption(key))
            }
            _ => Ok(builder),
        }
    }

    fn layered(&self, store: AmazonS3) -> Arc<dyn ObjectStore> {
        let mut store: Arc<dyn ObjectStore> = Arc::new(store);
        if !self.put_user_metadata.is_empty() {
            store = Arc::new(PutAttributes::new(store, &self.put_user_metadata));
        }
        if !self.disable_multipart {
            store = Arc::new(Uploads::new(store, self.part_size));
        }
        store
    }
}

/// Reports an endpoint that is more than a host with perhaps a port.
pub(super) fn validate_host(what: &str, endpoint: &str) -> Result<(), String> {
    let ok = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    match endpoint.chars().all(ok) && !endpoint.contains("://") {
        true => Ok(()),
        false => Err(format!(
            "{what} must be a host and perhaps a port, without scheme and path (`insecure: true` means http)"
        )),
    }
}
