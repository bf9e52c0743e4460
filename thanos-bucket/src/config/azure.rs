//! Buckets of Azure Blob Storage.

mod container;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::{ObjectStore, RetryConfig};
use serde::Deserialize;
use thanos_core::{Error, Result};

use super::yaml::{Secret, duration, text};
use super::{Environment, HttpConfig, body, client_error};
use crate::http_client::Connector;
use crate::layers::Uploads;
use container::MadeContainer;

/// The size of the blocks of which large objects are made.
const PART_SIZE: u64 = 16 << 20;
/// How often a failed request is sent again when the configuration says nothing: the default of Azure's own client.
const DEFAULT_RETRIES: usize = 3;

/// The settings of an Azure container, with Thanos' names and defaults.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AzureConfig {
    #[serde(deserialize_with = "text")]
    az_tenant_id: String,
    #[serde(deserialize_with = "text")]
    client_id: String,
    client_secret: Secret,
    #[serde(deserialize_with = "text")]
    storage_account: String,
    storage_account_key: Secret,
    storage_connection_string: Secret,
    storage_create_container: bool,
    #[serde(deserialize_with = "text")]
    pub(super) container: String,
    #[serde(deserialize_with = "text")]
    endpoint: String,
    #[serde(deserialize_with = "text")]
    user_assigned_id: String,
    max_retries: usize,
    /// Has no effect beside `pipeline_config`: a broken body is asked for again as a request is.
    reader_config: ReaderConfig,
    pipeline_config: PipelineConfig,
    http_config: HttpConfig,
    /// Deprecated, and without effect in Thanos too.
    #[serde(deserialize_with = "text")]
    msi_resource: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ReaderConfig {
    max_retry_requests: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PipelineConfig {
    max_tries: usize,
    /// How long one try may take until its answer begins; 0 means `http_config.response_header_timeout`.
    #[serde(deserialize_with = "duration")]
    try_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    retry_delay: Duration,
    #[serde(deserialize_with = "duration")]
    max_retry_delay: Duration,
}

/// Where the blobs are and how to get in.
struct Account {
    name: String,
    url: String,
    access: Access,
}

enum Access {
    Key(Secret),
    SharedSignature(String),
    ClientSecret,
    ManagedIdentity,
    /// What the environment has: a secret, a federated token, or the identity of the machine.
    Ambient,
}

impl Default for AzureConfig {
    fn default() -> Self {
        Self {
            az_tenant_id: String::new(),
            client_id: String::new(),
            client_secret: Secret::default(),
            storage_account: String::new(),
            storage_account_key: Secret::default(),
            storage_connection_string: Secret::default(),
            storage_create_container: true,
            container: String::new(),
            endpoint: "blob.core.windows.net".to_owned(),
            user_assigned_id: String::new(),
            max_retries: 0,
            reader_config: ReaderConfig::default(),
            pipeline_config: PipelineConfig::default(),
            http_config: HttpConfig::default(),
            msi_resource: String::new(),
        }
    }
}

impl AzureConfig {
    pub(super) fn parse(yaml: &str) -> Result<Self> {
        let config: Self = body(yaml)?;
        config.validate()?;
        config.account()?;
        if !config.msi_resource.is_empty() {
            tracing::warn!("the field msi_resource is deprecated and should no longer be set");
        }
        Ok(config)
    }

    fn validate(&self) -> Result<()> {
        let has_key = !self.storage_account_key.is_empty();
        let has_connection = !self.storage_connection_string.is_empty();
        let has_user = !self.user_assigned_id.is_empty();
        let secret = [
            self.az_tenant_id.is_empty(),
            self.client_secret.is_empty(),
            self.client_id.is_empty(),
        ];
        let some_but_not_all = secret.contains(&true) && secret.contains(&false);
        let problems = [
            (
                has_user && has_key,
                "user_assigned_id cannot be set when using storage_account_key authentication",
            ),
            (
                has_user && has_connection,
                "user_assigned_id cannot be set when using storage_connection_string authentication",
            ),
            (
                has_user && !self.client_id.is_empty(),
                "user_assigned_id cannot be set when using client_id authentication",
            ),
            (
                some_but_not_all,
                "az_tenant_id, client_id, and client_secret must be set together",
            ),
            (
                has_key && has_connection,
                "storage_account_key and storage_connection_string cannot both be set",
            ),
            (
                self.storage_account.is_empty() && !has_connection,
                "storage_account is required but not configured",
            ),
            (self.container.is_empty(), "no container specified"),
        ];
        let found: Vec<&str> = problems
            .iter()
            .filter_map(|&(is_so, problem)| is_so.then_some(problem))
            .collect();
        match found.is_empty() {
            true => Ok(()),
            false => Err(Error::invalid(found.join(", "))),
        }
    }

    fn account(&self) -> Result<Account> {
        if !self.storage_connection_string.is_empty() {
            return connection(self.storage_connection_string.expose()).map_err(|problem| {
                Error::invalid(format!("storage_connection_string: {problem}"))
            });
        }
        let access = if !self.storage_account_key.is_empty() {
            Access::Key(self.storage_account_key.clone())
        } else if !self.client_secret.is_empty() {
            Access::ClientSecret
        } else if !self.user_assigned_id.is_empty() {
            Access::ManagedIdentity
        } else {
            Access::Ambient
        };
        Ok(Account {
            name: self.storage_account.clone(),
            url: format!("https://{}.{}", self.storage_account, self.endpoint),
            access,
        })
    }

    pub(super) fn open(&self, environment: Environment<'_>) -> Result<Arc<dyn ObjectStore>> {
        let account = self.account()?;
        let connector = Connector::new(&self.http_settings())?;
        let builder = MicrosoftAzureBuilder::new()
            .with_account(&account.name)
            .with_endpoint(account.url.clone())
            .with_allow_http(account.url.starts_with("http://"))
            .with_container_name(&self.container)
            .with_retry(self.retries())
            .with_http_connector(connector.clone());
        let builder = self.with_access(builder, &account.access, environment);
        let store = builder.build().map_err(|error| match account.access {
            Access::Key(_) | Access::SharedSignature(_) => Error::invalid(
                "create AZURE client: the key or shared access signature is malformed",
            ),
            Access::ClientSecret | Access::ManagedIdentity | Access::Ambient => {
                client_error("AZURE", &error)
            }
        })?;
        let store: Arc<dyn ObjectStore> = match self.storage_create_container {
            false => Arc::new(store),
            true => {
                let url = format!("{}/{}", account.url.trim_end_matches('/'), self.container);
                Arc::new(MadeContainer::new(
                    store,
                    connector.client(),
                    account.name,
                    url,
                ))
            }
        };
        Ok(Arc::new(Uploads::new(store, PART_SIZE)))
    }

    fn with_access(
        &self,
        builder: MicrosoftAzureBuilder,
        access: &Access,
        environment: Environment<'_>,
    ) -> MicrosoftAzureBuilder {
        let builder = match environment("AZURE_AUTHORITY_HOST") {
            Some(host) => builder.with_authority_host(host),
            None => builder,
        };
        match access {
            Access::Key(key) => builder.with_access_key(key.expose()),
            Access::SharedSignature(signature) => {
                builder.with_config(AzureConfigKey::SasKey, signature)
            }
            Access::ClientSecret => builder.with_client_secret_authorization(
                &self.client_id,
                self.client_secret.expose(),
                &self.az_tenant_id,
            ),
            Access::ManagedIdentity => builder
                .with_credential_type("managed_identity")
                .with_client_id(&self.user_assigned_id),
            Access::Ambient => ambient(builder, environment),
        }
    }

    fn http_settings(&self) -> HttpConfig {
        let mut http = self.http_config.clone();
        if !self.pipeline_config.try_timeout.is_zero() {
            http.response_header_timeout = self.pipeline_config.try_timeout;
        }
        http
    }

    fn retries(&self) -> RetryConfig {
        let pipeline = &self.pipeline_config;
        let configured = [
            pipeline.max_tries,
            self.reader_config.max_retry_requests,
            self.max_retries,
        ];
        let mut retries = RetryConfig {
            max_retries: configured
                .into_iter()
                .find(|&tries| tries > 0)
                .unwrap_or(DEFAULT_RETRIES),
            ..RetryConfig::default()
        };
        if !pipeline.retry_delay.is_zero() {
            retries.backoff.init_backoff = pipeline.retry_delay;
        }
        if !pipeline.max_retry_delay.is_zero() {
            retries.backoff.max_backoff = pipeline.max_retry_delay;
        }
        retries.backoff.max_backoff = retries
            .backoff
            .max_backoff
            .max(retries.backoff.init_backoff);
        retries
    }
}

/// Gives `builder` what the environment says about identities, in the words of Azure's own clients.
fn ambient(
    mut builder: MicrosoftAzureBuilder,
    environment: Environment<'_>,
) -> MicrosoftAzureBuilder {
    let variables = [
        ("AZURE_TENANT_ID", AzureConfigKey::AuthorityId),
        ("AZURE_CLIENT_ID", AzureConfigKey::ClientId),
        ("AZURE_CLIENT_SECRET", AzureConfigKey::ClientSecret),
        (
            "AZURE_FEDERATED_TOKEN_FILE",
            AzureConfigKey::FederatedTokenFile,
        ),
    ];
    for (name, key) in variables {
        if let Some(value) = environment(name).filter(|value| !value.is_empty()) {
            builder = builder.with_config(key, value);
        }
    }
    builder
}

/// Reads a connection string: pairs `Name=value` separated by semicolons.
fn connection(text: &str) -> Result<Account, String> {
    let pairs: BTreeMap<String, &str> = text
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .map(|(name, value)| (name.to_lowercase(), value))
        .collect();
    let get = |name: &str| pairs.get(name).copied().filter(|value| !value.is_empty());
    let name = get("accountname");
    let url = match (get("blobendpoint"), name) {
        (Some(url), _) => url.to_owned(),
        (None, Some(name)) => {
            let protocol = get("defaultendpointsprotocol").unwrap_or("https");
            let suffix = get("endpointsuffix").unwrap_or("core.windows.net");
            format!("{protocol}://{name}.blob.{suffix}")
        }
        (None, None) => return Err("neither AccountName nor BlobEndpoint".into()),
    };
    let access = match (get("accountkey"), get("sharedaccesssignature")) {
        (Some(key), _) => Access::Key(Secret::from(key.to_owned())),
        (None, Some(signature)) => Access::SharedSignature(signature.to_owned()),
        (None, None) => return Err("neither AccountKey nor SharedAccessSignature".into()),
    };
    let name = match name {
        Some(name) => name.to_owned(),
        None => account_of(&url).ok_or("no AccountName")?.to_owned(),
    };
    Ok(Account { name, url, access })
}

/// Returns the account in a URL such as `https://account.blob.core.windows.net`.
fn account_of(url: &str) -> Option<&str> {
    url.split_once("://")?.1.split('.').next()
}
