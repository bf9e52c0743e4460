//! A container that is made when it is not there: `storage_create_container`.
//!
//! Place in the stack: right above the client. The question is asked once, before the first operation, so that opening a
//! bucket needs no network.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::azure::{AzureAuthorizer, MicrosoftAzure};
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use tokio::sync::OnceCell;

/// The client, and what it needs to make the container.
#[derive(Debug, Clone)]
pub(super) struct MadeContainer {
    store: Arc<MicrosoftAzure>,
    http: HttpClient,
    account: Arc<str>,
    url: Arc<str>,
    made: Arc<OnceCell<()>>,
}

impl MadeContainer {
    /// Returns `store`, whose container at `url` is made when it is missing.
    pub(super) fn new(
        store: MicrosoftAzure,
        http: HttpClient,
        account: String,
        url: String,
    ) -> Self {
        Self {
            store: Arc::new(store),
            http,
            account: account.into(),
            url: url.into(),
            made: Arc::default(),
        }
    }

    async fn ready(&self) -> Result<&MicrosoftAzure> {
        self.made.get_or_try_init(|| self.make()).await?;
        Ok(&self.store)
    }

    async fn make(&self) -> Result<()> {
        // Whatever else this says, the operation itself will say it too, and be tried again.
        if self.request("HEAD").await? != 404 {
            return Ok(());
        }
        match self.request("PUT").await? {
            // 409: somebody else was faster.
            200..=299 | 409 => {
                tracing::info!(url = &*self.url, "created the container");
                Ok(())
            }
            status => Err(object_store::Error::Generic {
                store: "MicrosoftAzure",
                source: format!("cannot create the container {}: status {status}", self.url).into(),
            }),
        }
    }

    async fn request(&self, method: &str) -> Result<u16> {
        let generic = |source| object_store::Error::Generic {
            store: "MicrosoftAzure",
            source,
        };
        let credential = self.store.credentials().get_credential().await?;
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = method.parse().map_err(|_| generic("bad method".into()))?;
        let uri = format!("{}?restype=container", self.url);
        *request.uri_mut() = uri.parse().map_err(|_| generic("bad endpoint".into()))?;
        AzureAuthorizer::new(&credential, &self.account).try_authorize(&mut request)?;
        let answer = self.http.execute(request).await;
        let answer = answer.map_err(|error| generic(Box::new(error)))?;
        Ok(answer.status().as_u16())
    }

    fn stream<T: Send + 'static>(
        &self,
        open: impl FnOnce(&MicrosoftAzure) -> BoxStream<'static, Result<T>> + Send + 'static,
    ) -> BoxStream<'static, Result<T>> {
        let this = self.clone();
        async move { this.ready().await.map(open) }
            .map(|opened| match opened {
                Ok(stream) => stream,
                Err(error) => futures::stream::once(async { Err(error) }).boxed(),
            })
            .into_stream()
            .flatten()
            .boxed()
    }
}

impl fmt::Display for MadeContainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MadeContainer({})", self.store)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for MadeContainer {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let store = self.ready().await?;
        store.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let store = self.ready().await?;
        store.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.ready().await?.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.ready().await?.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.stream(move |store| store.delete_stream(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned();
        self.stream(move |store| store.list(prefix.as_ref()))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (prefix, offset) = (prefix.cloned(), offset.clone());
        self.stream(move |store| store.list_with_offset(prefix.as_ref(), &offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.ready().await?.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.ready().await?.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let store = self.ready().await?;
        store.rename_opts(from, to, options).await
    }
}
