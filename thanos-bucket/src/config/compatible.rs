//! Clouds with an own type in Thanos that also speak the protocol of S3: those endpoints are used.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use serde::Deserialize;
use thanos_core::{Error, Result};

use super::s3::{DEFAULT_ATTEMPTS, validate_host};
use super::yaml::{Secret, text};
use super::{HttpConfig, body, client_error};
use crate::http_client::{Connector, retries};
use crate::layers::Uploads;

/// The size of the parts in which large objects are written.
const PART_SIZE: u64 = 64 << 20;

/// What all of these clouds need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CompatibleConfig {
    provider: &'static str,
    bucket: String,
    /// The URL of the bucket, its name included.
    url: String,
    region: String,
    access_key: Secret,
    secret_key: Secret,
    http_config: HttpConfig,
    max_retries: usize,
}

/// Tencent Cloud Object Storage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CosConfig {
    #[serde(deserialize_with = "text")]
    bucket: String,
    #[serde(deserialize_with = "text")]
    region: String,
    #[serde(deserialize_with = "text")]
    app_id: String,
    /// The URL of the bucket, instead of the three above.
    #[serde(deserialize_with = "text")]
    endpoint: String,
    secret_key: Secret,
    secret_id: Secret,
    max_retries: usize,
    http_config: HttpConfig,
}

/// Alibaba Cloud Object Storage Service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct OssConfig {
    #[serde(deserialize_with = "text")]
    endpoint: String,
    #[serde(deserialize_with = "text")]
    bucket: String,
    access_key_id: Secret,
    access_key_secret: Secret,
}

/// Huawei Cloud Object Storage Service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ObsConfig {
    #[serde(deserialize_with = "text")]
    bucket: String,
    #[serde(deserialize_with = "text")]
    endpoint: String,
    access_key: Secret,
    secret_key: Secret,
    max_retries: usize,
    http_config: HttpConfig,
}

/// Baidu Object Storage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BosConfig {
    #[serde(deserialize_with = "text")]
    bucket: String,
    #[serde(deserialize_with = "text")]
    endpoint: String,
    access_key: Secret,
    secret_key: Secret,
}

impl CompatibleConfig {
    /// Reads the settings of `provider`, one of COS, ALIYUNOSS, OBS and BOS.
    pub(super) fn parse(provider: &str, yaml: &str) -> Result<Self> {
        let config = match provider {
            "COS" => body::<CosConfig>(yaml)?.convert(),
            "ALIYUNOSS" => body::<OssConfig>(yaml)?.convert(),
            "OBS" => body::<ObsConfig>(yaml)?.convert(),
            _ => body::<BosConfig>(yaml)?.convert(),
        };
        config.map_err(Error::invalid)
    }

    pub(super) fn name(&self) -> &str {
        &self.bucket
    }

    pub(super) fn open(&self) -> Result<Arc<dyn ObjectStore>> {
        let store = AmazonS3Builder::new()
            .with_bucket_name(&self.bucket)
            .with_endpoint(&self.url)
            .with_virtual_hosted_style_request(true)
            .with_region(&self.region)
            .with_access_key_id(self.access_key.expose())
            .with_secret_access_key(self.secret_key.expose())
            .with_allow_http(self.url.starts_with("http://"))
            .with_retry(retries(self.max_retries, DEFAULT_ATTEMPTS))
            .with_http_connector(Connector::new(&self.http_config)?)
            .build()
            .map_err(|error| client_error(self.provider, &error))?;
        Ok(Arc::new(Uploads::new(Arc::new(store), PART_SIZE)))
    }
}

impl CosConfig {
    fn convert(self) -> Result<CompatibleConfig, String> {
        if self.secret_id.is_empty() || self.secret_key.is_empty() {
            return Err("cos: secret_id or secret_key is empty".into());
        }
        let (bucket, url) = if self.endpoint.is_empty() {
            if self.bucket.is_empty() || self.app_id.is_empty() || self.region.is_empty() {
                return Err("insufficient cos configuration information: endpoint, or bucket, app_id and region".into());
            }
            let bucket = format!("{}-{}", self.bucket, self.app_id);
            let url = format!("https://{bucket}.cos.{}.myqcloud.com", self.region);
            (bucket, url)
        } else {
            let host = self.endpoint.split_once("://").map(|(_, host)| host);
            let host = host.ok_or("cos endpoint must be the URL of the bucket")?;
            let bucket = host.split('.').next().unwrap_or_default().to_owned();
            (bucket, self.endpoint.trim_end_matches('/').to_owned())
        };
        let in_host = url
            .split(".cos.")
            .nth(1)
            .and_then(|rest| rest.split('.').next());
        let region = match self.region.as_str() {
            "" => in_host.unwrap_or("us-east-1").to_owned(),
            region => region.to_owned(),
        };
        Ok(CompatibleConfig {
            provider: "COS",
            bucket,
            url,
            region,
            access_key: self.secret_id,
            secret_key: self.secret_key,
            http_config: self.http_config,
            max_retries: self.max_retries,
        })
    }
}

impl OssConfig {
    fn convert(self) -> Result<CompatibleConfig, String> {
        if self.endpoint.is_empty() || self.bucket.is_empty() {
            return Err("aliyun oss endpoint or bucket is not present in config file".into());
        }
        if self.access_key_id.is_empty() || self.access_key_secret.is_empty() {
            return Err(
                "aliyun oss access_key_id or access_key_secret is not present in config file"
                    .into(),
            );
        }
        let (scheme, host) = scheme_and_host("aliyun oss endpoint", &self.endpoint)?;
        // The S3 protocol has names of its own: s3.oss-<region>.aliyuncs.com.
        let host = match host.starts_with("oss-") {
            true => format!("s3.{host}"),
            false => host.to_owned(),
        };
        let first = host.trim_start_matches("s3.").split('.').next();
        let region = first.unwrap_or_default().trim_end_matches("-internal");
        Ok(CompatibleConfig {
            provider: "ALIYUNOSS",
            url: format!("{scheme}://{}.{host}", self.bucket),
            region: region.to_owned(),
            bucket: self.bucket,
            access_key: self.access_key_id,
            secret_key: self.access_key_secret,
            http_config: HttpConfig::default(),
            max_retries: 0,
        })
    }
}

impl ObsConfig {
    fn convert(self) -> Result<CompatibleConfig, String> {
        if self.endpoint.is_empty() {
            return Err("no obs endpoint in config file".into());
        }
        if self.bucket.is_empty() {
            return Err("no obs bucket in config file".into());
        }
        if self.access_key.is_empty() {
            return Err("no obs access_key specified".into());
        }
        if self.secret_key.is_empty() {
            return Err("no obs secret_key specified".into());
        }
        let (scheme, host) = scheme_and_host("obs endpoint", &self.endpoint)?;
        Ok(CompatibleConfig {
            provider: "OBS",
            url: format!("{scheme}://{}.{host}", self.bucket),
            region: second_label(host),
            bucket: self.bucket,
            access_key: self.access_key,
            secret_key: self.secret_key,
            http_config: self.http_config,
            max_retries: self.max_retries,
        })
    }
}

impl BosConfig {
    fn convert(self) -> Result<CompatibleConfig, String> {
        let missing = [&self.bucket, &self.endpoint]
            .iter()
            .any(|text| text.is_empty());
        if missing || self.access_key.is_empty() || self.secret_key.is_empty() {
            return Err(
                "insufficient BOS configuration information: bucket, endpoint, access_key and secret_key".into(),
            );
        }
        let (scheme, host) = scheme_and_host("bos endpoint", &self.endpoint)?;
        // The S3 protocol has names of its own: s3.<region>.bcebos.com.
        let host = match host.starts_with("s3.") {
            true => host.to_owned(),
            false => format!("s3.{host}"),
        };
        Ok(CompatibleConfig {
            provider: "BOS",
            url: format!("{scheme}://{}.{host}", self.bucket),
            region: second_label(&host),
            bucket: self.bucket,
            access_key: self.access_key,
            secret_key: self.secret_key,
            http_config: HttpConfig::default(),
            max_retries: 0,
        })
    }
}

/// Returns the parts of an endpoint whose scheme may be missing.
fn scheme_and_host<'a>(what: &str, endpoint: &'a str) -> Result<(&'a str, &'a str), String> {
    let (scheme, host) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    let host = host.trim_end_matches('/');
    if scheme != "https" && scheme != "http" {
        return Err(format!("{what} must begin with https:// or http://"));
    }
    validate_host(what, host)?;
    Ok((scheme, host))
}

fn second_label(host: &str) -> String {
    host.split('.').nth(1).unwrap_or("us-east-1").to_owned()
}
