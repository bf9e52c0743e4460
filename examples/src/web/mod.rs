//! `--http.config`: Prometheus' web configuration file, with TLS and authentication for everything that a role serves
//! over HTTP.
//!
//! The file is checked at the start. Later it is read again when it has changed, for the next connection and the next
//! request; what cannot be read then serves nobody, because it may be about whom to keep out.
//! Source: github.com/prometheus/exporter-toolkit, web/tls_config.go and web/handler.go.

mod auth;
mod config;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use thanos_core::{Error, Result};
use thanos_storeapi::net::accept::Security;
use thanos_storeapi::net::tls::TlsServer;

use self::auth::{Limiter, Users};
use self::config::WebConfig;

/// What a web configuration file asks for; nothing where there is none.
#[derive(Debug, Clone)]
pub struct Web(Option<Arc<File>>);

#[derive(Debug)]
struct File {
    path: PathBuf,
    read: Mutex<Read>,
    /// Made once: a change of its settings takes a restart, as of Prometheus' servers.
    limiter: Option<Limiter>,
    /// So are these two.
    is_http2: bool,
    is_encrypted: bool,
}

/// The file as it was read last.
#[derive(Debug)]
struct Read {
    /// The states of the files that it was made from.
    seen: Vec<Seen>,
    result: Result<Arc<Settings>, String>,
}

type Seen = (PathBuf, Option<(SystemTime, u64)>);

#[derive(Debug)]
struct Settings {
    tls: Option<TlsServer>,
    headers: HeaderMap,
    users: Users,
}

impl Web {
    /// Returns a web without TLS and authentication.
    pub fn open_to_all() -> Self {
        Self(None)
    }

    /// Reads the file at `path`; the empty path means neither TLS nor authentication.
    ///
    /// # Errors
    ///
    /// `Invalid` for a configuration that is wrong, `NotFound` for missing files.
    pub fn open(path: &str) -> Result<Self> {
        if path.is_empty() {
            return Ok(Self::open_to_all());
        }
        let path = PathBuf::from(path);
        let (seen, config) = read(&path);
        let config = config?;
        let settings = settings(&config)?;
        tracing::info!(
            tls = settings.tls.is_some(),
            http2 = config.is_http2(),
            users = settings.users.len(),
            "web configuration read"
        );
        Ok(Self(Some(Arc::new(File {
            path,
            limiter: Limiter::new(config.rate_limit())?,
            is_http2: config.is_http2(),
            is_encrypted: settings.tls.is_some(),
            read: Mutex::new(Read {
                seen,
                result: Ok(Arc::new(settings)),
            }),
        }))))
    }

    /// Returns how connections are encrypted.
    pub fn security(&self) -> Security {
        match &self.0 {
            Some(file) if file.is_encrypted => {
                let file = Arc::clone(file);
                Security::Asked(Arc::new(move || {
                    let settings = file.current().map_err(Error::invalid)?;
                    let gone = || Error::invalid("TLS was taken out of the web configuration");
                    Ok(Some(settings.tls.as_ref().ok_or_else(gone)?.config()))
                }))
            }
            _ => Security::Plain,
        }
    }

    /// Reports whether HTTP/2 may be spoken.
    pub fn is_http2(&self) -> bool {
        self.0.as_ref().is_none_or(|file| file.is_http2)
    }

    /// Returns `router`, which only those reach who may.
    pub fn guard(&self, router: Router) -> Router {
        match &self.0 {
            None => router,
            Some(file) => router.layer(from_fn_with_state(Arc::clone(file), guard)),
        }
    }
}

impl File {
    /// Returns what the file says now.
    fn current(&self) -> Result<Arc<Settings>, String> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let paths = read.seen.iter().map(|(path, _)| path.clone());
        if paths.map(|path| seen(&path)).ne(read.seen.iter().cloned()) {
            let (seen, config) = self::read(&self.path);
            let result = config.and_then(|config| settings(&config));
            match &result {
                Ok(_) => tracing::info!("read changed web configuration"),
                Err(error) => tracing::error!(%error, "unable to read web configuration"),
            }
            *read = Read {
                seen,
                result: result.map(Arc::new).map_err(|error| error.to_string()),
            };
        }
        read.result.clone()
    }
}

/// Reads a file and notes its state, and those of other files that only it tells of.
fn read(path: &Path) -> (Vec<Seen>, Result<WebConfig>) {
    // The state is taken before the content: what changes in between is read again.
    let mut states = vec![seen(path)];
    let config = WebConfig::read(path);
    let authorities = config
        .as_ref()
        .ok()
        .and_then(WebConfig::client_authorities_file);
    states.extend(authorities.map(|path| seen(&path)));
    (states, config)
}

fn seen(path: &Path) -> Seen {
    let meta = std::fs::metadata(path).ok();
    let state = meta.and_then(|meta| Some((meta.modified().ok()?, meta.len())));
    (path.to_owned(), state)
}

fn settings(config: &WebConfig) -> Result<Settings> {
    let protocols: &[&str] = match config.is_http2() {
        true => &["h2", "http/1.1"],
        false => &["http/1.1"],
    };
    let tls = match config.tls()? {
        Some(tls) => TlsServer::new(tls, protocols)?,
        None => None,
    };
    Ok(Settings {
        tls,
        headers: config.headers()?,
        users: Users::new(config.users())?,
    })
}

/// Answers a request by `next` if it comes from somebody who may ask.
async fn guard(State(file): State<Arc<File>>, request: Request, next: Next) -> Response {
    let Ok(settings) = file.current() else {
        return plain(StatusCode::INTERNAL_SERVER_ERROR);
    };
    if file
        .limiter
        .as_ref()
        .is_some_and(|limiter| !limiter.allows())
    {
        return plain(StatusCode::TOO_MANY_REQUESTS);
    }
    let authorization = request.headers().get(header::AUTHORIZATION);
    let mut answer = match settings.users.admit(authorization).await {
        true => next.run(request).await,
        false => {
            let mut refusal = plain(StatusCode::UNAUTHORIZED);
            let basic = HeaderValue::from_static("Basic");
            refusal
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, basic);
            refusal
        }
    };
    for (name, value) in &settings.headers {
        answer
            .headers_mut()
            .entry(name)
            .or_insert_with(|| value.clone());
    }
    answer
}

/// Returns an answer as Go's `http.Error` writes it.
fn plain(status: StatusCode) -> Response {
    let text = status.canonical_reason().unwrap_or_default();
    let mut answer = Response::new(Body::from(format!("{text}\n")));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, text);
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    answer
}
