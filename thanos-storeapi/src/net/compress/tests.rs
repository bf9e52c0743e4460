use std::collections::VecDeque;
use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use proptest::prelude::*;
use tonic::{Code, Status};

use super::body::{Recoded, Work};
use super::*;

const CODECS: [Compression; 3] = [Compression::Snappy, Compression::Gzip, Compression::Zstd];
const LIMITS: MessageLimits = MessageLimits {
    sent_bytes_max: 1 << 20,
    whole_bytes_max: 1 << 20,
};

/// A body of these pieces.
struct Pieces(VecDeque<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

/// Returns all that `work` makes of `data` in pieces of `size` bytes.
fn recoded(data: &[u8], size: usize, work: Work) -> Result<Vec<u8>, Status> {
    let pieces = data
        .chunks(size.max(1))
        .map(Bytes::copy_from_slice)
        .collect();
    let mut body = Recoded::new(Pieces(pieces), work);
    let mut out = Vec::new();
    loop {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match Pin::new(&mut body).poll_frame(&mut cx) {
            Poll::Pending => panic!("the pieces are all there"),
            Poll::Ready(None) => return Ok(out),
            Poll::Ready(Some(frame)) => out.extend_from_slice(&frame?.into_data().unwrap()),
        }
    }
}

fn message(flag: u8, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap();
    [&[flag][..], &len.to_be_bytes(), payload].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn messages_become_small_and_whole_again(
        payloads in prop::collection::vec(prop::collection::vec(0_u8..4, 0..3000), 0..5),
        size in 1_usize..4000,
    ) {
        let plain: Vec<u8> = payloads.iter().flat_map(|payload| message(0, payload)).collect();
        for codec in CODECS {
            let small = recoded(&plain, size, Work::Deflate(codec)).unwrap();
            prop_assert!(small.len() <= plain.len());
            let whole = recoded(&small, size, Work::Inflate(codec, LIMITS)).unwrap();
            prop_assert_eq!(&whole, &plain);
        }
    }

    #[test]
    fn damaged_messages_are_errors_or_other_messages_and_never_panics(
        payload in prop::collection::vec(0_u8..4, 100..2000),
        at in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        for codec in CODECS {
            let mut small = recoded(&message(0, &payload), 999, Work::Deflate(codec)).unwrap();
            let at = at.index(small.len());
            small[at] ^= 1 << bit;
            if let Ok(whole) = recoded(&small, 999, Work::Inflate(codec, LIMITS)) {
                prop_assert!(whole.len() <= LIMITS.whole_bytes_max + 5);
            }
        }
    }
}

#[test]
fn each_codec_makes_repeated_text_small() {
    let plain = message(0, &b"thanos ".repeat(1000));
    for codec in CODECS {
        let small = recoded(&plain, 100, Work::Deflate(codec)).unwrap();
        assert_eq!(small[0], 1, "{codec}");
        assert!(small.len() < plain.len() / 8, "{codec} {}", small.len());
    }
}

/// the framed format of snappy, as Go's `snappy.NewBufferedWriter` writes it.
#[test]
fn snappy_is_the_framed_format() {
    let golden = b"\xff\x06\x00\x00sNaPpY\x01\x09\x00\x00\xbb\x1f\x1c\x19hello";
    let whole = recoded(
        &message(1, golden),
        7,
        Work::Inflate(Compression::Snappy, LIMITS),
    );
    assert_eq!(whole.unwrap(), message(0, b"hello"));
}

/// A message that says little and becomes a lot.
fn bomb(codec: Compression, len: u64) -> Vec<u8> {
    let mut small = Vec::new();
    let zeros = || std::io::Read::take(std::io::repeat(0), len);
    match codec {
        Compression::None => panic!("no bomb without compression"),
        Compression::Snappy => {
            let mut encoder = snap::write::FrameEncoder::new(&mut small);
            std::io::copy(&mut zeros(), &mut encoder).unwrap();
            encoder.flush().unwrap();
        }
        Compression::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(&mut small, flate2::Compression::best());
            std::io::copy(&mut zeros(), &mut encoder).unwrap();
            encoder.finish().unwrap();
        }
        Compression::Zstd => zstd::stream::copy_encode(zeros(), &mut small, 3).unwrap(),
    }
    message(1, &small)
}

/// decompression bombs of each codec end at the limit.
#[test]
fn bombs_end_at_the_limit() {
    for codec in CODECS {
        let bomb = bomb(codec, 64 << 20);
        let limits = MessageLimits {
            sent_bytes_max: 64 << 20,
            ..LIMITS
        };
        let status = recoded(&bomb, 1 << 16, Work::Inflate(codec, limits)).unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{codec}");
        let expected = "grpc: received message after decompression larger than max 1048576";
        assert_eq!(status.message(), expected);
    }
}

#[test]
fn what_is_exactly_as_long_as_allowed_passes() {
    for codec in CODECS {
        let limits = MessageLimits {
            whole_bytes_max: 1000,
            ..LIMITS
        };
        let small =
            |len: usize| recoded(&message(0, &vec![7; len]), 99, Work::Deflate(codec)).unwrap();
        recoded(&small(1000), 99, Work::Inflate(codec, limits)).unwrap();
        recoded(&small(1001), 99, Work::Inflate(codec, limits)).unwrap_err();
    }
}

#[test]
fn a_length_beyond_the_limit_is_refused_before_the_message() {
    let mut head = message(1, b"");
    head[1..5].copy_from_slice(&u32::MAX.to_be_bytes());
    let status = recoded(&head, 5, Work::Inflate(Compression::Gzip, LIMITS)).unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let expected = "grpc: received message larger than max (4294967295 vs. 1048576)";
    assert_eq!(status.message(), expected);
}

#[test]
fn a_body_that_ends_within_a_message_is_an_error() {
    let small = recoded(
        &message(0, &[1; 1000]),
        99,
        Work::Deflate(Compression::Zstd),
    )
    .unwrap();
    let cut = &small[..small.len() - 1];
    let status = recoded(cut, 99, Work::Inflate(Compression::Zstd, LIMITS)).unwrap_err();
    assert_eq!(status.code(), Code::Internal);
}

/// A window that would take gigabytes is refused although the message is short.
#[test]
fn a_huge_window_of_zstd_is_refused() {
    // Magic, no single segment, a window of 2 GiB, an empty last block.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    let status = recoded(
        &message(1, &frame),
        99,
        Work::Inflate(Compression::Zstd, LIMITS),
    )
    .unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
}

#[test]
fn names_are_those_of_flags() {
    for codec in [
        Compression::None,
        Compression::Snappy,
        Compression::Gzip,
        Compression::Zstd,
    ] {
        assert_eq!(codec.as_str().parse::<Compression>().unwrap(), codec);
    }
    let error = "lz4".parse::<Compression>().unwrap_err().to_string();
    assert_eq!(
        error,
        "invalid compression: lz4, valid values are none, snappy, gzip, zstd"
    );
}
