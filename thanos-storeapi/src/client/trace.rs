//! Calls as spans, which tell the peer what they are a part of, and whom it concerns how they end.
//!
//! A span is open from the call to the end of its answer. What goes into the metadata is for [`CallContext`] to say: this
//! crate knows `tracing`, and not how a program collects its traces or counts its calls.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::header::{HeaderMap, HeaderName, HeaderValue};
use tonic::codegen::http::{Request, Response};
use tonic::{Code, Status};
use tracing::{Instrument, Span};

use super::charge::{Charge, Charged};

/// Says what a call tells its peer about the request that it is a part of, such as the ids of a trace.
pub trait CallContext: fmt::Debug + Send + Sync + 'static {
    /// Returns the names and values for the metadata of the call whose span is `span`.
    fn metadata(&self, span: &Span) -> Vec<(String, String)>;

    /// Called where a call of the method at `path` (`/service/method`) begins; what it returns hears how the call ends.
    /// Nobody does by default.
    fn watch(&self, path: &str) -> Option<Box<dyn CallWatch>> {
        let _ = path;
        None
    }
}

/// Hears how a call ends. It is dropped without having heard where the caller does not wait for the end.
pub trait CallWatch: Send {
    /// The call ended with `code`.
    fn end(&mut self, code: Code);
}

/// A shared [`CallContext`]; equal to its clones alone.
#[derive(Debug, Clone)]
pub struct SharedContext(Arc<dyn CallContext>);

impl SharedContext {
    /// Returns `context` for settings.
    pub fn new(context: impl CallContext) -> Self {
        Self(Arc::new(context))
    }
}

impl PartialEq for SharedContext {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for SharedContext {}

/// A connection whose calls are spans.
#[derive(Debug, Clone)]
pub(crate) struct Spanned<S> {
    inner: S,
    address: Arc<str>,
    context: Option<SharedContext>,
}

impl<S> Spanned<S> {
    pub(super) fn new(inner: S, address: Arc<str>, context: Option<SharedContext>) -> Self {
        Self {
            inner,
            address,
            context,
        }
    }

    /// Returns the span of a call of the method at `path`.
    fn span(&self, path: &str) -> Span {
        tracing::info_span!(
            "call",
            otel.name = path,
            otel.kind = "client",
            otel.status_code = tracing::field::Empty,
            peer.address = &*self.address,
        )
    }
}

impl<S> Service<Request<Body>> for Spanned<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let span = self.span(request.uri().path());
        let mut watch = None;
        if let Some(SharedContext(context)) = &self.context {
            watch = context.watch(request.uri().path());
            for (name, value) in context.metadata(&span) {
                add(request.headers_mut(), &name, &value);
            }
        }
        let charge = request.extensions_mut().remove::<Charge>();
        let answer = self.inner.call(request);
        let answer = async move {
            let answer = answer.await?;
            Ok(match charge {
                Some(charge) => answer.map(|body| Body::new(Charged::new(body, charge))),
                None => answer,
            })
        };
        if span.is_disabled() && watch.is_none() {
            return Box::pin(answer);
        }
        let mut ending = Ending {
            span: span.clone(),
            watch,
        };
        let answer = async move {
            let answer = answer.await;
            match &answer {
                Ok(answer) => ending.hear(answer.headers()),
                Err(_) => ending.end(Code::Unavailable),
            }
            Ok(answer?.map(|body| Body::new(Answer { body, ending })))
        };
        Box::pin(answer.instrument(span))
    }
}

/// What is no metadata is left out: it tells about the call and is not the call.
fn add(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        headers.insert(name, value);
    }
}

/// Whom it concerns how a call ends.
struct Ending {
    span: Span,
    watch: Option<Box<dyn CallWatch>>,
}

impl Ending {
    /// Says how the call ended, if `headers` tell it.
    fn hear(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get("grpc-status") {
            self.end(Code::from_bytes(code.as_bytes()));
        }
    }

    fn end(&mut self, code: Code) {
        if code != Code::Ok {
            self.span.record("otel.status_code", "ERROR");
        }
        if let Some(mut watch) = self.watch.take() {
            watch.end(code);
        }
    }

    /// The answer is over: without a status, if nobody heard of one.
    fn end_unsaid(&mut self) {
        if let Some(mut watch) = self.watch.take() {
            watch.end(Code::Unknown);
        }
    }
}

/// The body of an answer, with which its call ends.
struct Answer {
    body: Body,
    ending: Ending,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.ending.hear(trailers);
                }
            }
            Poll::Ready(Some(Err(status))) => self.ending.end(status.code()),
            // Without a word; those who were told before hear nothing more.
            Poll::Ready(None) => self.ending.end_unsaid(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
