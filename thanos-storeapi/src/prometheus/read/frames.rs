//! The frames of a streamed answer, cut out of the pieces in which a body comes.
//!
//! ```text
//! frame: length of the message (uvarint) | CRC32C of the message (4 bytes, big-endian) | message
//! ```
//!
//! Source: Prometheus storage/remote/chunked.go. A message that lies in one piece is not copied.

use bytes::{Buf, Bytes, BytesMut};
use thanos_core::budget::{Lease, MemoryBudget};
use thanos_core::encoding::crc;
use thanos_core::{Error, Result};

use crate::wire::proto::put_varint;

/// The longest message that Prometheus' own readers take.
pub(in crate::prometheus) const MESSAGE_BYTES_MAX: usize = 50_000_000;
/// Lengths up to the limit need no more bytes than this.
const LENGTH_BYTES_MAX: usize = 5;
const CRC_BYTES: usize = 4;
/// How much is set aside for a message before it has come.
const RESERVE_BYTES_MAX: usize = 1 << 20;
/// How much of what is no frame is shown: a server that fails on the way writes its error into the body.
const SHOWN_BYTES_MAX: usize = 200;

/// Cuts frames out of pieces.
#[derive(Debug)]
pub(in crate::prometheus) struct FrameCutter {
    /// What has come and was not looked at.
    piece: Bytes,
    /// The frame of which only the beginning has come.
    partial: BytesMut,
    /// The bytes of `partial`.
    lease: Lease,
    /// Where the next frame begins in the body.
    offset: u64,
}

/// What a frame says about itself before its message.
#[derive(Debug, Clone, Copy)]
struct Head {
    head_bytes: usize,
    message_bytes: usize,
    crc: u32,
}

impl FrameCutter {
    pub(in crate::prometheus) fn new(budget: &MemoryBudget) -> Result<Self> {
        Ok(Self {
            piece: Bytes::new(),
            partial: BytesMut::new(),
            lease: budget.lease(0)?,
            offset: 0,
        })
    }

    /// Takes the next piece; the frames of the last one must have been taken.
    pub(in crate::prometheus) fn push(&mut self, piece: Bytes) {
        debug_assert!(self.piece.is_empty(), "a piece is left");
        self.piece = piece;
    }

    /// Returns where the next frame begins.
    pub(in crate::prometheus) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the message of the next frame, or `None` when more pieces are needed.
    ///
    /// # Errors
    ///
    /// `Corrupt` for what is no frame or has another checksum, `LimitExceeded` when there is no memory for it.
    pub(in crate::prometheus) fn next(&mut self) -> Result<Option<Bytes>> {
        let frame = match self.partial.is_empty() {
            true => self.whole()?,
            false => self.rest()?,
        };
        let Some((frame, head)) = frame else {
            return Ok(None);
        };
        let message = frame.slice(head.head_bytes..);
        let found = crc::checksum(&message);
        if found != head.crc {
            let what = format!(
                "message has checksum {found:08x}, its frame says {:08x}",
                head.crc
            );
            return Err(self.damaged(&what, &frame));
        }
        self.offset += frame.len() as u64;
        Ok(Some(message))
    }

    /// Checks that the body ended where a frame does.
    ///
    /// # Errors
    ///
    /// `Unavailable` when it did not: the server went away.
    pub(in crate::prometheus) fn finish(&self) -> Result<()> {
        if self.partial.is_empty() {
            return Ok(());
        }
        let what = format!("the answer ends inside a frame{}", said(&self.partial));
        Err(Error::unavailable(what).at(self.offset))
    }

    /// Returns a frame that lies in the piece, or sets the beginning of one aside.
    fn whole(&mut self) -> Result<Option<(Bytes, Head)>> {
        let head = self.head(&self.piece)?;
        if let Some(head) = head.filter(|head| head.frame_bytes() <= self.piece.len()) {
            return Ok(Some((self.piece.split_to(head.frame_bytes()), head)));
        }
        if let Some(head) = head {
            self.partial
                .reserve(head.frame_bytes().min(RESERVE_BYTES_MAX));
        }
        self.take(self.piece.len())?;
        Ok(None)
    }

    /// Returns the frame that was begun, if the rest of it has come.
    fn rest(&mut self) -> Result<Option<(Bytes, Head)>> {
        loop {
            let wanted = match self.head(&self.partial)? {
                Some(head) if head.frame_bytes() == self.partial.len() => {
                    let frame = std::mem::take(&mut self.partial).freeze();
                    self.lease.resize(0)?;
                    return Ok(Some((frame, head)));
                }
                Some(head) => head.frame_bytes() - self.partial.len(),
                // Heads are short and rarely cut.
                None => 1,
            };
            if self.piece.is_empty() {
                return Ok(None);
            }
            self.take(wanted.min(self.piece.len()))?;
        }
    }

    fn take(&mut self, bytes: usize) -> Result<()> {
        self.lease.grow(bytes as u64)?;
        self.partial.extend_from_slice(&self.piece[..bytes]);
        self.piece.advance(bytes);
        Ok(())
    }

    /// Reads the head of the frame that begins with `bytes`; `None` when it is cut.
    fn head(&self, bytes: &[u8]) -> Result<Option<Head>> {
        let mut message_bytes = 0_u64;
        for (index, byte) in bytes.iter().enumerate() {
            if index == LENGTH_BYTES_MAX {
                return Err(self.damaged("the length of a message is out of range", bytes));
            }
            message_bytes |= u64::from(byte & 0x7F) << (7 * index);
            if *byte >= 0x80 {
                continue;
            }
            let fits = usize::try_from(message_bytes).ok();
            let Some(message_bytes) = fits.filter(|bytes| *bytes <= MESSAGE_BYTES_MAX) else {
                let what = format!(
                    "message of {message_bytes} bytes, at most {MESSAGE_BYTES_MAX} are taken"
                );
                return Err(self.damaged(&what, bytes));
            };
            let crc = bytes.get(index + 1..).and_then(|rest| rest.first_chunk());
            return Ok(crc.map(|crc| Head {
                head_bytes: index + 1 + CRC_BYTES,
                message_bytes,
                crc: u32::from_be_bytes(*crc),
            }));
        }
        Ok(None)
    }

    fn damaged(&self, what: &str, found: &[u8]) -> Error {
        Error::corrupt(format!("{what}{}", said(found))).at(self.offset)
    }
}

impl Head {
    fn frame_bytes(self) -> usize {
        self.head_bytes + self.message_bytes
    }
}

/// Returns what `bytes` say if they are text: a server that fails on the way has no other place for its reason.
fn said(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    match std::str::from_utf8(shown) {
        Ok(text) if text.chars().all(|c| !c.is_control() || c.is_whitespace()) => {
            format!(" (the server said {:?})", text.trim())
        }
        _ => String::new(),
    }
}

/// Appends a frame with `message`.
#[cfg_attr(
    not(any(test, feature = "testkit")),
    allow(dead_code, reason = "fakes write frames")
)]
pub(crate) fn put_frame(out: &mut Vec<u8>, message: &[u8]) {
    put_varint(out, message.len() as u64);
    out.extend_from_slice(&crc::checksum(message).to_be_bytes());
    out.extend_from_slice(message);
}
