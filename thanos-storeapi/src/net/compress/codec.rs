//! One message made small, and made whole again.

use std::io::{self, Read, Write};

use tonic::Status;

use super::{Compression, MessageLimits};

/// The largest window of zstd that memory is taken for: that of the highest levels without long-distance matching.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;
/// What a message is expected to grow to, as a factor; memory beyond it is taken when there is data for it.
const EXPECTED_GROWTH: usize = 2;

/// Appends the compressed `message` to `out`.
pub(super) fn compress(encoding: Compression, message: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    match encoding {
        Compression::None => out.extend_from_slice(message),
        Compression::Snappy => {
            let mut encoder = snap::write::FrameEncoder::new(out);
            encoder.write_all(message)?;
            encoder.into_inner().map_err(|error| error.into_error())?;
        }
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
            encoder.write_all(message)?;
            encoder.finish()?;
        }
        Compression::Zstd => {
            zstd::stream::copy_encode(message, out, zstd::DEFAULT_COMPRESSION_LEVEL)?
        }
    }
    Ok(())
}

/// Appends what `message` was before it was compressed to `out`.
///
/// # Errors
///
/// `ResourceExhausted` when that is longer than the limit, found before the memory for it is taken; `Internal` for data
/// that is damaged. The texts are those of Go.
pub(super) fn decompress(
    encoding: Compression,
    message: &[u8],
    limits: MessageLimits,
    out: &mut Vec<u8>,
) -> Result<(), Status> {
    let bytes_max = limits.whole_bytes_max;
    let before = out.len();
    out.reserve(message.len().saturating_mul(EXPECTED_GROWTH).min(bytes_max));
    // One byte more than may be there tells a message that is too long.
    let one_more = u64::try_from(bytes_max)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let read = match encoding {
        Compression::None => message.take(one_more).read_to_end(out),
        Compression::Snappy => snap::read::FrameDecoder::new(message)
            .take(one_more)
            .read_to_end(out),
        Compression::Gzip => flate2::bufread::MultiGzDecoder::new(message)
            .take(one_more)
            .read_to_end(out),
        Compression::Zstd => {
            zstd_decoder(message).and_then(|decoder| decoder.take(one_more).read_to_end(out))
        }
    };
    read.map_err(|error| {
        Status::internal(format!(
            "grpc: failed to decompress the received message: {encoding}: {error}"
        ))
    })?;
    if out.len() - before > bytes_max {
        return Err(Status::resource_exhausted(format!(
            "grpc: received message after decompression larger than max {bytes_max}"
        )));
    }
    Ok(())
}

fn zstd_decoder(message: &[u8]) -> io::Result<zstd::stream::read::Decoder<'static, &[u8]>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(message)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(decoder)
}
