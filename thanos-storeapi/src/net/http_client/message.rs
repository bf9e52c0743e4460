//! Requests and answers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use thanos_core::budget::{Lease, MemoryBudget};
use thanos_core::{Error, Result};
use tokio::sync::OwnedSemaphorePermit;

use super::failed;

/// What is done with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// It is read.
    Get,
    /// It is given something.
    Post,
}

impl Method {
    /// Returns the name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// A request.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<Bytes>,
}

impl HttpRequest {
    /// Returns a request that reads `url`.
    pub fn get(url: impl Into<String>) -> Self {
        Self {
            method: Method::Get,
            url: url.into(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// Returns a request that gives `body` to `url`.
    pub fn post(url: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            method: Method::Post,
            body: Some(body.into()),
            ..Self::get(url)
        }
    }

    /// Returns the request with one more header, which replaces what the client would say.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// An answer of which the head has come.
#[derive(Debug)]
pub struct HttpResponse {
    answer: reqwest::Response,
    shown: String,
    permit: Option<OwnedSemaphorePermit>,
}

impl HttpResponse {
    pub(super) fn new(
        answer: reqwest::Response,
        shown: String,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            answer,
            shown,
            permit,
        }
    }

    /// Returns the status code.
    pub fn status(&self) -> u16 {
        self.answer.status().as_u16()
    }

    /// Reports whether the status says that the request was carried out.
    pub fn is_success(&self) -> bool {
        self.answer.status().is_success()
    }

    /// Returns the value of a header, if there is one and it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.answer.headers().get(name)?.to_str().ok()
    }

    /// Returns the method and the address of the request, for errors.
    pub fn request(&self) -> &str {
        &self.shown
    }

    /// Returns the body as it comes; dropping it ends the request.
    pub fn into_body(self) -> HttpBody {
        let stream = self.answer.bytes_stream();
        HttpBody {
            stream: Box::pin(stream),
            shown: self.shown,
            permit: self.permit,
        }
    }

    /// Reads the body to its end, on lease from `budget`.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` for a body that is too large, `Unavailable` for one that is cut short.
    pub async fn collect(self, budget: &MemoryBudget) -> Result<(Bytes, Lease)> {
        let shown = self.shown.clone();
        let too_large = |error: Error| error.context(format!("{shown}: the answer is too large"));
        let mut lease = budget.lease(0)?;
        let mut body = self.into_body();
        let mut all = BytesMut::new();
        while let Some(piece) = body.next().await {
            let piece = piece?;
            lease.grow(piece.len() as u64).map_err(too_large)?;
            all.extend_from_slice(&piece);
        }
        Ok((all.freeze(), lease))
    }

    /// Returns up to `bytes_max` of the beginning of the body as text: what servers say about errors.
    pub async fn beginning(self, bytes_max: usize) -> String {
        let mut body = self.into_body();
        let mut all = Vec::new();
        while let Some(Ok(piece)) = body.next().await {
            let left = bytes_max - all.len();
            all.extend_from_slice(&piece[..piece.len().min(left)]);
            if all.len() >= bytes_max {
                break;
            }
        }
        String::from_utf8_lossy(&all).trim().to_owned()
    }
}

/// The body of an answer.
pub struct HttpBody {
    stream: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    shown: String,
    /// The place of the request among those that may be under way.
    permit: Option<OwnedSemaphorePermit>,
}

impl std::fmt::Debug for HttpBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpBody")
            .field("request", &self.shown)
            .finish_non_exhaustive()
    }
}

impl Stream for HttpBody {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = std::task::ready!(self.stream.as_mut().poll_next(cx));
        if item.is_none() {
            self.permit = None;
        }
        Poll::Ready(item.map(|piece| piece.map_err(|error| failed(&self.shown, error))))
    }
}
