//! Bodies of gRPC requests and answers that are looked at while they pass: how many messages, and the status at the end.

use axum::body::Body;
use http_body_util::BodyExt;
use prometheus_client::metrics::counter::Counter;
use tonic::Status;

use super::grpc::Call;

/// Returns `body`, whose messages `messages` counts as they pass.
pub(super) fn counted(body: Body, messages: Counter) -> Body {
    let mut place = Place::default();
    Body::new(body.map_frame(move |frame| {
        if let Some(data) = frame.data_ref() {
            messages.inc_by(place.pass(data));
        }
        frame
    }))
}

/// Returns `body` as the answer to `call`, which ends with its trailers, or when it is dropped before.
pub(super) fn until_end_of(body: Body, mut call: Call) -> Body {
    Body::new(body.map_frame(move |frame| {
        if let Some(trailers) = frame.trailers_ref() {
            // Trailers without a status break the protocol.
            let status = Status::from_header_map(trailers);
            call.end(&status.unwrap_or_else(|| Status::unknown("trailers without a status")));
        }
        frame
    }))
}

/// The length of what stands before a message: one byte that says whether it is compressed, four of its length.
const HEAD_BYTES: usize = 5;

/// Where in the messages a body is.
#[derive(Debug, Default)]
struct Place {
    /// Bytes of the next head that have passed.
    head: [u8; HEAD_BYTES],
    head_len: usize,
    /// Bytes of the message that are still to pass.
    rest: usize,
}

impl Place {
    /// Goes on by `data`; returns how many heads of messages end in it.
    fn pass(&mut self, mut data: &[u8]) -> u64 {
        let mut messages = 0;
        while !data.is_empty() {
            let (of_message, others) = data.split_at(self.rest.min(data.len()));
            self.rest -= of_message.len();
            let missing = HEAD_BYTES - self.head_len;
            let (of_head, others) = others.split_at(missing.min(others.len()));
            self.head[self.head_len..][..of_head.len()].copy_from_slice(of_head);
            self.head_len += of_head.len();
            data = others;
            if self.head_len == HEAD_BYTES {
                let [_, len @ ..] = self.head;
                (self.rest, self.head_len) = (u32::from_be_bytes(len) as usize, 0);
                messages += 1;
            }
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let mut stream = Vec::new();
        for len in [0_u32, 1, 300, 7] {
            stream.push(0);
            stream.extend_from_slice(&len.to_be_bytes());
            stream.resize(stream.len() + len as usize, 9);
        }
        for size in 1..=stream.len() {
            let mut place = Place::default();
            let counts = stream.chunks(size).map(|piece| place.pass(piece));
            assert_eq!(counts.sum::<u64>(), 4, "pieces of {size}");
        }
    }
}
