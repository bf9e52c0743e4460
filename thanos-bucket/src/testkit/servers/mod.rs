//! Object-storage servers beside a test, each speaking the real protocol of its cloud on a loopback port.
//!
//! | server | protocol | needs |
//! |---|---|---|
//! | [`ObjectServer::s3`] | S3, signatures checked | nothing: it runs in this process |
//! | [`ObjectServer::gcs`] | the XML API of Google Cloud Storage | nothing: a stub in this process |
//! | [`ObjectServer::moto`] | S3, as AWS' own clients are tested with | `moto_server` |
//! | [`ObjectServer::azurite`] | Azure Blob Storage | `azurite-blob` |
//!
//! `./test` installs the two programs. Without them the last two say so loudly and return `None`; with `CI=true` they
//! panic. A server ends when it is dropped.

mod gcs;
mod peers;
mod thread;

use std::path::Path;

use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use thanos_core::testkit::TempDir;

use peers::Process;
use thread::ServerThread;

/// The access key that the in-process S3 server knows.
pub const ACCESS_KEY: &str = "thanos-test";
/// The secret key that goes with [`ACCESS_KEY`].
pub const SECRET_KEY: &str = "thanos-test-secret";
/// The account that every Azurite has.
const AZURE_ACCOUNT: &str = "devstoreaccount1";
/// Its key, published in the documentation of Azurite: not a secret.
const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A running object-storage server.
///
/// # Example
///
/// ```no_run
/// use thanos_bucket::config::BucketConfig;
/// use thanos_bucket::testkit::servers::ObjectServer;
///
/// let server = ObjectServer::s3();
/// let bucket = BucketConfig::from_yaml(&server.config("blocks", "some/prefix"))?.open()?;
/// # let _ = bucket;
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug)]
pub struct ObjectServer {
    kind: Kind,
    running: Running,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    S3,
    Moto,
    Azurite,
    Gcs,
}

#[derive(Debug)]
enum Running {
    Thread {
        server: ServerThread,
        /// Where the S3 server keeps its objects.
        root: Option<TempDir>,
    },
    Process(Process),
}

impl ObjectServer {
    /// Starts an S3 server in this process. It checks signatures, conditions of writes and names of buckets.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    pub fn s3() -> Self {
        let root = TempDir::new("s3-server");
        let server = ServerThread::start(s3_router(root.path()));
        Self {
            kind: Kind::S3,
            running: Running::Thread {
                server,
                root: Some(root),
            },
        }
    }

    /// Starts a stub of the XML API of Google Cloud Storage in this process. It lists 50 objects a page.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    pub fn gcs() -> Self {
        Self {
            kind: Kind::Gcs,
            running: Running::Thread {
                server: ServerThread::start(gcs::router()),
                root: None,
            },
        }
    }

    /// Starts moto, or returns `None` when it is not installed.
    ///
    /// # Panics
    ///
    /// When it does not become ready, or is not installed and `CI=true`.
    pub fn moto() -> Option<Self> {
        Some(Self {
            kind: Kind::Moto,
            running: Running::Process(Process::moto()?),
        })
    }

    /// Starts Azurite, or returns `None` when it is not installed.
    ///
    /// # Panics
    ///
    /// When it does not become ready, or is not installed and `CI=true`.
    pub fn azurite() -> Option<Self> {
        Some(Self {
            kind: Kind::Azurite,
            running: Running::Process(Process::azurite()?),
        })
    }

    /// Returns a name for messages.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::S3 => "s3",
            Kind::Moto => "moto",
            Kind::Azurite => "azurite",
            Kind::Gcs => "gcs",
        }
    }

    /// Returns the host and port that the server listens on.
    pub fn address(&self) -> &str {
        match &self.running {
            Running::Thread { server, .. } => server.address(),
            Running::Process(process) => process.address(),
        }
    }

    /// Returns the bucket YAML for everything under `prefix` (which may be empty) of `bucket`. Makes the bucket where the
    /// client does not.
    ///
    /// # Panics
    ///
    /// When the bucket cannot be made.
    pub fn config(&self, bucket: &str, prefix: &str) -> String {
        self.make_bucket(bucket);
        let address = self.address();
        let config = match self.kind {
            Kind::S3 | Kind::Moto => format!(
                "type: S3\nconfig:\n  bucket: {bucket}\n  endpoint: {address}\n  region: us-east-1\n  \
                 insecure: true\n  access_key: {ACCESS_KEY}\n  secret_key: {SECRET_KEY}\n"
            ),
            Kind::Azurite => format!(
                "type: AZURE\nconfig:\n  container: {bucket}\n  storage_connection_string: \
                 DefaultEndpointsProtocol=http;AccountName={AZURE_ACCOUNT};AccountKey={AZURE_KEY};\
                 BlobEndpoint=http://{address}/{AZURE_ACCOUNT};\n"
            ),
            Kind::Gcs => format!(
                "type: GCS\nconfig:\n  bucket: {bucket}\n  service_account: |-\n    \
                 {{\"type\": \"service_account\", \"gcs_base_url\": \"http://{address}\", \"disable_oauth\": true, \
                 \"client_email\": \"\", \"private_key\": \"\", \"private_key_id\": \"\"}}\n"
            ),
        };
        format!("{config}prefix: {prefix:?}\n")
    }

    fn make_bucket(&self, bucket: &str) {
        match &self.running {
            Running::Thread { root, .. } => {
                if let Some(root) = root {
                    let made = std::fs::create_dir_all(root.path().join(bucket));
                    made.expect("the directory of a test can be written to");
                }
            }
            Running::Process(process) if self.kind == Kind::Moto => {
                process.put(&format!("/{bucket}"));
            }
            Running::Process(_) => {}
        }
    }
}

fn s3_router(root: &Path) -> axum::Router {
    let files = s3s_fs::FileSystem::new(root).expect("a fresh directory can be read");
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let service = builder.build();
    axum::Router::new().fallback(move |request| answer(service.clone(), request))
}

async fn answer(service: S3Service, request: axum::extract::Request) -> axum::response::Response {
    use axum::http::header::{ETAG, IF_NONE_MATCH};
    // The service knows conditions of writes alone; this is that of reads.
    let known = request.headers().get(IF_NONE_MATCH).cloned();
    let is_read = request.method() == axum::http::Method::GET;
    let request = request.map(s3s::Body::http_body_unsync);
    match service.call(request).await {
        Ok(response)
            if is_read && known.is_some() && response.headers().get(ETAG) == known.as_ref() =>
        {
            let mut unchanged = axum::response::Response::default();
            *unchanged.status_mut() = axum::http::StatusCode::NOT_MODIFIED;
            unchanged.headers_mut().extend(known.map(|tag| (ETAG, tag)));
            unchanged
        }
        Ok(response) => response.map(axum::body::Body::new),
        Err(error) => {
            let mut response = axum::response::Response::new(format!("{error:?}").into());
            *response.status_mut() = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}
