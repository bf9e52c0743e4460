//! The answers of a server, checked on their way to the client: how long they say that they are.
//!
//! The client takes as much memory as an answer announces and the server sends. Here the lengths are read first, and an
//! answer that is too long ends the connection before its bytes are taken. The protocol is RESP, versions 2 and 3
//! (redis.io, "Redis serialization protocol specification"): lines of which some announce bytes and some more lines.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest value that is read.
pub(super) const VALUE_BYTES_MAX: u64 = 64 << 20;
/// The longest answer to one question.
const ANSWER_BYTES_MAX: u64 = 128 << 20;
/// The most values and lists in one answer.
const ANSWER_ITEMS_MAX: u64 = 1 << 20;
/// The longest line that is no value: a message, or a number.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// So much of a line is looked at: a type and a length.
const LINE_HEAD_BYTES: usize = 24;

/// What has been seen of the answers.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The front of the line that is being read.
    line: Vec<u8>,
    line_bytes: u64,
    /// The last byte of the line so far.
    last: u8,
    /// Bytes of a value, with its end of line, that are still to come.
    value_left: u64,
    /// Items of the answer that are still to come; 0 between answers.
    items_left: u64,
    answer_bytes: u64,
    answer_items: u64,
}

impl Answers {
    /// Looks at the next bytes.
    ///
    /// # Errors
    ///
    /// `InvalidData` for lengths that no answer of a cache has.
    pub(super) fn check(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.value_left > 0 {
                let left = usize::try_from(self.value_left).unwrap_or(usize::MAX);
                let taken = left.min(bytes.len());
                self.value_left -= taken as u64;
                bytes = &bytes[taken..];
            } else {
                bytes = self.take_line(bytes)?;
            }
        }
        Ok(())
    }

    /// Takes bytes up to the end of a line, and returns those behind it.
    fn take_line<'a>(&mut self, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
        let mut before = self.last;
        let ends = |byte: &u8| std::mem::replace(&mut before, *byte) == b'\r' && *byte == b'\n';
        let end = bytes.iter().position(ends);
        let (taken, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
        self.last = taken.last().copied().unwrap_or_default();
        let room = LINE_HEAD_BYTES.saturating_sub(self.line.len());
        self.line.extend_from_slice(&taken[..room.min(taken.len())]);
        self.line_bytes += taken.len() as u64;
        if self.line_bytes > LINE_BYTES_MAX {
            return Err(no_answer("a line that is too long"));
        }
        if end.is_some() {
            let mut line = std::mem::take(&mut self.line);
            self.line_is(&line)?;
            line.clear();
            (self.line, self.line_bytes, self.last) = (line, 0, 0);
        }
        Ok(rest)
    }

    fn line_is(&mut self, line: &[u8]) -> io::Result<()> {
        if self.items_left == 0 {
            (self.items_left, self.answer_items, self.answer_bytes) = (1, 0, 0);
        }
        self.items_left -= 1;
        self.answer_bytes += self.line_bytes;
        match (line.first(), length(line)) {
            (Some(b'$' | b'=' | b'!'), Some(Length::Of(bytes))) => {
                if bytes > VALUE_BYTES_MAX {
                    return Err(no_answer("a value that is too long"));
                }
                self.value_left = bytes + 2;
                self.answer_bytes += self.value_left;
            }
            (Some(b'*' | b'~' | b'>'), Some(Length::Of(items))) => self.more(items)?,
            (Some(b'%'), Some(Length::Of(items))) => self.more(items.saturating_mul(2))?,
            // Attributes come before the item that they belong to.
            (Some(b'|'), Some(Length::Of(items))) => {
                self.more(items.saturating_mul(2).saturating_add(1))?;
            }
            (Some(b'$' | b'*'), Some(Length::Nothing)) => {}
            (Some(b'$' | b'=' | b'!' | b'*' | b'~' | b'>' | b'%' | b'|'), _) => {
                return Err(no_answer("a length that is none"));
            }
            _ => {}
        }
        if self.answer_bytes > ANSWER_BYTES_MAX {
            return Err(no_answer("an answer that is too long"));
        }
        Ok(())
    }

    fn more(&mut self, items: u64) -> io::Result<()> {
        self.answer_items = self.answer_items.saturating_add(items);
        if self.answer_items > ANSWER_ITEMS_MAX {
            return Err(no_answer("a list that is too long"));
        }
        self.items_left += items;
        Ok(())
    }
}

/// What a line announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Of(u64),
    /// That there is no value.
    Nothing,
}

/// Returns the length in a line, read as the client reads it; `None` for what is none.
fn length(line: &[u8]) -> Option<Length> {
    let digits = line.get(1..)?.strip_suffix(b"\r\n")?;
    let length: i64 = std::str::from_utf8(digits).ok()?.trim().parse().ok()?;
    Some(u64::try_from(length).map_or(Length::Nothing, Length::Of))
}

fn no_answer(what: &str) -> io::Error {
    let message = format!("the server sends {what} for what a cache has");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// A stream whose answers are checked.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    answers: Answers,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            answers: Answers::default(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let new = buffer.filled().get(before..).unwrap_or_default();
        Poll::Ready(self.answers.check(new))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Reads any bytes as answers, in pieces and at once: both times they are refused or not, and what is not refused is
/// read by the client without a panic.
#[cfg(any(test, feature = "testkit"))]
pub(crate) fn fuzz_answers(bytes: &[u8]) {
    let (piece_len, bytes) = match bytes.split_first() {
        Some((first, rest)) => (usize::from(*first).max(1), rest),
        None => return,
    };
    let at_once = Answers::default().check(bytes).is_ok();
    let mut answers = Answers::default();
    let in_pieces = bytes
        .chunks(piece_len)
        .all(|piece| answers.check(piece).is_ok());
    assert_eq!(at_once, in_pieces, "{bytes:?}");
    assert!(answers.line.len() <= LINE_HEAD_BYTES);
    if at_once {
        let _ = redis::parse_redis_value(bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(bytes: &[u8]) -> bool {
        Answers::default().check(bytes).is_err()
    }

    #[test]
    fn answers_pass_and_lengths_that_cannot_be_end_the_connection() {
        for answer in [
            &b"+OK\r\n-ERR no\r\n:12\r\n$-1\r\n*-1\r\n"[..],
            b"*3\r\n$1\r\na\r\n$-1\r\n$0\r\n\r\n",
            b"*1\r\n$5\r\n$99\r\n\r\n+OK\r\n",
            b"%1\r\n+a\r\n*2\r\n_\r\n#t\r\n",
            b"$67108864\r\n",
            // A line ends with both bytes.
            b"+a\n$99999999999\r\n",
        ] {
            assert!(!refused(answer), "{answer:?}");
        }
        for answer in [
            &b"$67108865\r\n"[..],
            b"*2\r\n$1\r\na\r\n$18446744073709551615\r\n",
            b"*1048577\r\n",
            b"*1000000\r\n*1000000\r\n",
            b"%600000\r\n",
            b"$ 99999999 \r\n",
            b"=-1\r\n",
            b"$x\r\n",
            b"*3\r\n$67108000\r\n",
            &[b'+'; 70_000],
        ] {
            let is_long_list = answer.starts_with(b"*3");
            if is_long_list {
                // Each value is short enough, all together are not.
                let mut answers = Answers::default();
                answers.check(answer).unwrap();
                let value = vec![0; 67_108_002];
                answers.check(&value).unwrap();
                answers.check(b"$67108000\r\n").unwrap();
                answers.check(&value).unwrap();
                assert!(answers.check(b"$67108000\r\n").is_err());
            } else {
                assert!(refused(answer), "{answer:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(
            tokens in proptest::collection::vec(prop::sample::select(vec![
                "*", "$", "%", "|", "+", "-", "1", "2", "7", "9999999", "-1", "\r\n", "\r\n", "\n", "ab", "_", "#t", ",1.5", "(",
            ]), 0..40),
            piece_len in 0_u8..20,
        ) {
            let text = tokens.concat();
            fuzz_answers(&[&[piece_len][..], text.as_bytes()].concat());
        }
    }
}
