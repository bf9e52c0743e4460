//! The server's side.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::Response;

use super::body::{Recoded, Work};
use super::{ACCEPTED, ALL, Compression, MessageLimits};

/// Answers `request` by `next`, which sees whole messages and whose answer is compressed as the request was.
pub(crate) async fn whole(mut request: Request, next: Next, limits: MessageLimits) -> Response {
    let content_type = request.headers().get(CONTENT_TYPE);
    if !content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        return next.run(request).await;
    }
    let encoding = Compression::take_from(request.headers_mut());
    if encoding == Compression::None {
        let mut answer = next.run(request).await;
        // tonic names what it knows when it refuses an encoding, and there are more.
        if let Some(known) = answer.headers_mut().get_mut(ACCEPTED) {
            *known = ALL;
        }
        return answer;
    }
    let work = Work::Inflate(encoding, limits);
    let request = request.map(|body| Body::new(Recoded::new(body, work)));
    let mut answer = next.run(request).await;
    encoding.put_into(answer.headers_mut());
    answer.map(|body| Body::new(Recoded::new(body, Work::Deflate(encoding))))
}
