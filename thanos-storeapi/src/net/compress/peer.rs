//! The client's side: compressed requests, answers made whole, and requests that a closing connection did not take.

use std::error::Error as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as _, Frame};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::transport::{Channel, Error};

use super::body::{Recoded, Work};
use super::{ACCEPTED, ALL, Compression, MessageLimits};

/// The connection to a peer, for generated clients; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    channel: Channel,
    compression: Compression,
    limits: MessageLimits,
}

impl Peer {
    pub(crate) fn new(channel: Channel, compression: Compression, limits: MessageLimits) -> Self {
        Self {
            channel,
            compression,
            limits,
        }
    }

    fn small(&self, mut request: Request<Body>) -> Request<Body> {
        if self.compression == Compression::None {
            return request;
        }
        self.compression.put_into(request.headers_mut());
        request.headers_mut().insert(ACCEPTED, ALL);
        let work = Work::Deflate(self.compression);
        request.map(|body| Body::new(Recoded::new(body, work)))
    }
}

/// Returns `answer`, whose messages become whole when they are not.
fn whole(mut answer: Response<Body>, limits: MessageLimits) -> Response<Body> {
    match Compression::take_from(answer.headers_mut()) {
        Compression::None => answer,
        encoding => {
            let work = Work::Inflate(encoding, limits);
            answer.map(|body| Body::new(Recoded::new(body, work)))
        }
    }
}

impl Service<Request<Body>> for Peer {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Service::poll_ready(&mut self.channel, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that was polled is the one that has a place.
        let channel = self.channel.clone();
        let channel = std::mem::replace(&mut self.channel, channel);
        let request = self.small(request);
        let limits = self.limits;
        Box::pin(async move { Ok(whole(send(channel, request).await?, limits)) })
    }
}

/// Sends `request`, again when the connection ends before there is an answer: as servers end connections of some age, that
/// happens to anybody. All calls between components only read, so that none does harm twice.
async fn send(mut channel: Channel, request: Request<Body>) -> Result<Response<Body>, Error> {
    let (parts, body) = request.into_parts();
    let message = Message::of(body).await;
    let mut attempts_left = ATTEMPTS_MAX;
    loop {
        let body = Body::new(message.clone());
        let answer = channel.call(Request::from_parts(parts.clone(), body)).await;
        let Err(error) = answer else {
            return answer;
        };
        attempts_left = match fate(&error) {
            Fate::NotSent => attempts_left - 1,
            // It may be the request that ends the peer: once more and not again.
            Fate::Lost => attempts_left.min(2) - 1,
            Fate::Failed => 0,
        };
        if attempts_left == 0 {
            return Err(error);
        }
        std::future::poll_fn(|cx| channel.poll_ready(cx)).await?;
    }
}

/// How often a request is sent that never gets on its way.
const ATTEMPTS_MAX: u32 = 3;

/// What became of a request without an answer.
enum Fate {
    /// It did not leave.
    NotSent,
    /// The connection ended under it.
    Lost,
    /// There is no connection, or it does not answer in time.
    Failed,
}

fn fate(error: &Error) -> Fate {
    let mut cause = error.source();
    let mut fate = Fate::Failed;
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() || error.is::<tonic::TimeoutExpired>() {
            return Fate::Failed;
        }
        match error.downcast_ref::<hyper::Error>() {
            Some(of_http) if of_http.is_canceled() => return Fate::NotSent,
            Some(of_http) if of_http.is_timeout() => return Fate::Failed,
            Some(_) => fate = Fate::Lost,
            None => {}
        }
        cause = error.source();
    }
    fate
}

/// The one message of a request, which can be sent again.
#[derive(Debug, Clone)]
struct Message {
    data: Bytes,
    /// Why there is no message.
    error: Option<Status>,
}

impl Message {
    async fn of(mut body: Body) -> Self {
        let mut data = Vec::new();
        let mut error = None;
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
        {
            match frame.map(Frame::into_data) {
                Ok(Ok(piece)) => data.extend_from_slice(&piece),
                // Clients send no trailers.
                Ok(Err(_)) => {}
                Err(status) => error = Some(status),
            }
        }
        Self {
            data: data.into(),
            error,
        }
    }
}

impl hyper::body::Body for Message {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(status) = self.error.take() {
            return Poll::Ready(Some(Err(status)));
        }
        let data = std::mem::take(&mut self.data);
        Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.error.is_none()
    }
}
