//! A [`Store`] that asks another one over gRPC.
//!
//! The connection is made with the first call and again whenever it was lost; calls meanwhile fail with
//! `Unavailable`. Waiting for a frame has no limit here: the fan-out above decides how long it waits for one, and
//! dropping the stream cancels the call at the peer.
//!
//! [`ClientSettings`] say for each peer how it is connected to. With feature `tls`, `ClientSettings::tls` takes a
//! [`TlsClient`](crate::net::tls::TlsClient), which is made once for all peers that have the same certificates:
//!
//! ```no_run
//! # #[cfg(feature = "tls")]
//! # fn run() -> thanos_core::Result<()> {
//! use thanos_storeapi::client::{ClientSettings, RemoteStore};
//! use thanos_storeapi::net::tls::{ClientTls, Pem};
//!
//! let tls = ClientTls {
//!     authorities: Pem::file("ca.pem"),
//!     certificate: Pem::file("client.pem"),
//!     key: Pem::file("client.key"),
//!     min_version: Some("1.3".parse()?),
//!     ..ClientTls::default()
//! };
//! let settings = ClientSettings {
//!     tls: Some(ClientSettings::tls_client(tls)?),
//!     ..ClientSettings::default()
//! };
//! let store = RemoteStore::new("store-a:10901", settings)?;
//! # Ok(())
//! # }
//! ```

mod apis;
mod charge;
mod connect;
mod events;
mod query;
mod trace;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use thanos_core::error::{Error, Result};
use tonic::transport::Endpoint;

use crate::convert::response::{label_names_from_pb, label_values_from_pb};
use crate::convert::status::from_status;
use crate::net::compress::{Compression, Peer};
use crate::pb::thanos::info::InfoRequest;
use crate::pb::thanos::info::info_client::InfoClient;
use crate::pb::thanos::store_client::StoreClient;
use crate::store::{
    LabelNamesRequest, LabelValuesRequest, LabelsResponse, SeriesRequest, SeriesStream, Store,
    StoreInfo,
};
use crate::tenant::{TENANT_KEY, TenantId};
use events::events;
use trace::Spanned;
pub use trace::{CallContext, CallWatch, SharedContext};

/// How peers are connected to. The defaults are those of the Thanos querier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// The most bytes of one received message; Thanos knows no limit but this one of its gRPC library.
    pub message_bytes_max: usize,
    /// The most bytes of a whole answer that is no stream of series, such as all rules, and so of each of its messages.
    /// Thanos knows no such limit. The memory of the answer is on lease from the budget of the request as well.
    pub answer_bytes_max: usize,
    /// The series wanted in each frame when the request does not say; peers may ignore it.
    pub response_batch_size: u64,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How often a connection is asked whether it is alive.
    pub keepalive_interval: Duration,
    /// How long the answer may take.
    pub keepalive_timeout: Duration,
    /// How much the peer may send ahead on one stream: the memory that a stream nobody reads can hold.
    pub stream_window_bytes: u32,
    /// How much the peer may send ahead on the connection.
    pub connection_window_bytes: u32,
    /// The most bytes of the headers of one answer.
    pub header_list_bytes_max: u32,
    /// How requests are compressed; peers answer likewise.
    pub compression: Compression,
    /// The most bytes that one compressed message may grow to.
    pub decompressed_bytes_max: usize,
    /// What calls tell the peer about the request that they are a part of.
    pub context: Option<SharedContext>,
    /// With what connections are encrypted, if they are.
    #[cfg(feature = "tls")]
    pub tls: Option<crate::net::tls::TlsClient>,
}

impl ClientSettings {
    /// Returns what encrypts the connections of any number of peers.
    ///
    /// # Errors
    ///
    /// `Invalid` for certificates and keys that cannot be used, `NotFound` for missing files.
    #[cfg(feature = "tls")]
    pub fn tls_client(tls: crate::net::tls::ClientTls) -> Result<crate::net::tls::TlsClient> {
        crate::net::tls::TlsClient::new(tls, &["h2"])
    }
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            message_bytes_max: i32::MAX as usize,
            answer_bytes_max: 256 << 20,
            response_batch_size: 64,
            connect_timeout: Duration::from_secs(5),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
            stream_window_bytes: 1 << 20,
            connection_window_bytes: 8 << 20,
            header_list_bytes_max: 1 << 20,
            compression: Compression::None,
            decompressed_bytes_max: 256 << 20,
            context: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

/// Another store, reached over gRPC; clones share the connection.
///
/// # Example
///
/// ```no_run
/// use thanos_core::labels::Matcher;
/// use thanos_storeapi::client::{ClientSettings, RemoteStore};
/// use thanos_storeapi::store::{SeriesRequest, Store};
///
/// # async fn run() -> thanos_core::Result<()> {
/// let store = RemoteStore::new("store-a:10901", ClientSettings::default())?;
/// let matchers = vec![Matcher::equal("__name__", "up")];
/// let series = store.series(SeriesRequest { matchers, ..Default::default() }).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RemoteStore {
    inner: Arc<Inner>,
}

struct Inner {
    address: Arc<str>,
    endpoint: Endpoint,
    /// Made by the first call, because making it needs a runtime.
    channel: OnceLock<Peer>,
    settings: ClientSettings,
}

impl RemoteStore {
    /// Returns the store at `address`: `host:port`.
    ///
    /// # Errors
    ///
    /// `Invalid` when the address is not of that form.
    pub fn new(address: &str, settings: ClientSettings) -> Result<Self> {
        let endpoint = connect::endpoint(address, &settings)?;
        Ok(Self {
            inner: Arc::new(Inner {
                address: address.into(),
                endpoint,
                channel: OnceLock::new(),
                settings,
            }),
        })
    }

    /// Returns the address, which also names the store in errors.
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    fn channel(&self) -> Spanned<Peer> {
        let channel = &self.inner.channel;
        let peer = channel
            .get_or_init(|| connect::peer(&self.inner.endpoint, &self.inner.settings))
            .clone();
        let context = self.inner.settings.context.clone();
        Spanned::new(peer, Arc::clone(&self.inner.address), context)
    }

    fn store_client(&self) -> StoreClient<Spanned<Peer>> {
        StoreClient::new(self.channel())
            .max_decoding_message_size(self.inner.settings.message_bytes_max)
            .max_encoding_message_size(usize::MAX)
    }

    fn error(&self, status: tonic::Status) -> Error {
        from_status(status, self.address())
    }
}

/// Returns the call with the tenant in its metadata.
fn for_tenant<T>(message: T, tenant: &TenantId) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    // The characters of a tenant are allowed in metadata.
    if let Ok(value) = tenant.as_str().parse() {
        request.metadata_mut().insert(TENANT_KEY, value);
    }
    request
}

impl fmt::Debug for RemoteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteStore")
            .field("address", &self.inner.address)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for RemoteStore {
    async fn info(&self) -> Result<StoreInfo> {
        let mut client = InfoClient::new(self.channel())
            .max_decoding_message_size(self.inner.settings.message_bytes_max);
        let answer = client.info(InfoRequest {}).await;
        Ok(answer
            .map_err(|status| self.error(status))?
            .into_inner()
            .into())
    }

    async fn series(&self, mut request: SeriesRequest) -> Result<SeriesStream> {
        if request.response_batch_size == 0 {
            request.response_batch_size = self.inner.settings.response_batch_size;
        }
        let tenant = request.tenant.clone();
        let request = for_tenant(crate::pb::thanos::SeriesRequest::from(request), &tenant);
        let answer = self.store_client().series(request).await;
        let frames = answer.map_err(|status| self.error(status))?.into_inner();
        Ok(events(frames, Arc::clone(&self.inner.address)))
    }

    async fn label_names(&self, request: LabelNamesRequest) -> Result<LabelsResponse> {
        let tenant = request.tenant.clone();
        let request = for_tenant(crate::pb::thanos::LabelNamesRequest::from(request), &tenant);
        let answer = self.store_client().label_names(request).await;
        let answer = answer.map_err(|status| self.error(status))?;
        Ok(label_names_from_pb(answer.into_inner(), self.address()))
    }

    async fn label_values(&self, request: LabelValuesRequest) -> Result<LabelsResponse> {
        let tenant = request.tenant.clone();
        let request = for_tenant(
            crate::pb::thanos::LabelValuesRequest::from(request),
            &tenant,
        );
        let answer = self.store_client().label_values(request).await;
        let answer = answer.map_err(|status| self.error(status))?;
        Ok(label_values_from_pb(answer.into_inner(), self.address()))
    }
}

#[cfg(test)]
mod tests;
