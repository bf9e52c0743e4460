//! The client's side.

use std::pin::Pin;
use std::task::{Context, Poll};

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
        let request = self.small(request);
        let limits = self.limits;
        let answer = Service::call(&mut self.channel, request);
        Box::pin(async move { Ok(whole(answer.await?, limits)) })
    }
}
