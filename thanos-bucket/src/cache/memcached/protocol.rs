//! The text protocol of memcached (doc/protocol.txt of its source), as far as a cache needs it.
//!
//! ```text
//! get <key>*\r\n                                  VALUE <key> <flags> <bytes>\r\n<data>\r\n ... END\r\n
//! set <key> 0 <expires> <bytes>\r\n<data>\r\n     STORED\r\n
//! config get cluster\r\n                          CONFIG cluster 0 <bytes>\r\n<version>\n<host|ip|port> ...\n\r\nEND\r\n
//! ```

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::cache::remote::Failure;

/// The longest key that servers take.
const KEY_BYTES_MAX: usize = 250;
/// The longest line that is not data: a key and some numbers, or a message.
const LINE_BYTES_MAX: u64 = 2048;
/// The longest answer to one `get`, unless a single value may be longer.
const ANSWER_BYTES_MAX: u64 = 128 << 20;
/// The longest list of servers.
const CLUSTER_BYTES_MAX: u64 = 1 << 20;

/// Reports whether servers take `key`.
pub(super) fn is_key(key: &str) -> bool {
    let is_allowed = |byte: u8| byte > b' ' && byte != 0x7f;
    !key.is_empty() && key.len() <= KEY_BYTES_MAX && key.bytes().all(is_allowed)
}

/// What went wrong.
#[derive(Debug)]
pub(super) enum Problem {
    /// The server was not there a moment ago.
    Away,
    Timeout,
    Network(io::Error),
    /// The server says so.
    Server(String),
    /// The answer is none.
    Protocol(String),
}

impl Problem {
    pub(super) fn failure(&self) -> Failure {
        match self {
            Self::Timeout => Failure::Timeout,
            Self::Away | Self::Network(_) => Failure::Network,
            Self::Server(_) => Failure::Server,
            Self::Protocol(_) => Failure::Other,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away => f.write_str("the server could not be reached a moment ago"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Network(error) => error.fmt(f),
            Self::Server(message) => f.write_str(message),
            Self::Protocol(message) => write!(f, "unexpected answer: {message}"),
        }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Network(error)
    }
}

/// A connection on which the server waits for a command.
pub(super) struct Connection<S> {
    stream: BufReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream: BufReader::with_capacity(64 << 10, stream),
        }
    }

    /// Returns the values of those of `keys` that the server has. A longer value than `value_bytes_max` is a problem.
    pub(super) async fn get(
        &mut self,
        keys: &[&str],
        value_bytes_max: u64,
    ) -> Result<HashMap<String, Bytes>, Problem> {
        let mut command = String::from("get");
        for key in keys {
            debug_assert!(is_key(key));
            command.push(' ');
            command.push_str(key);
        }
        command.push_str("\r\n");
        self.stream.write_all(command.as_bytes()).await?;
        let mut values = HashMap::with_capacity(keys.len());
        let mut room = value_bytes_max.max(ANSWER_BYTES_MAX);
        // A server that sends more values than there are keys does not speak this protocol.
        for _ in 0..=keys.len() {
            let line = self.line().await?;
            if line == "END" {
                return Ok(values);
            }
            let (key, len) = parse_value_line(&line)?;
            if len > value_bytes_max {
                let message = format!("value of {len} bytes, at most {value_bytes_max} are read");
                return Err(Problem::Protocol(message));
            }
            room = room.checked_sub(len).ok_or_else(|| {
                Problem::Protocol("an answer that is too long for what a cache has".to_owned())
            })?;
            let value = self.data(len).await?;
            values.insert(key.to_owned(), value);
        }
        Err(Problem::Protocol("more values than keys".to_owned()))
    }

    /// Stores a value until `expires`, in seconds since the epoch.
    pub(super) async fn set(
        &mut self,
        key: &str,
        expires: i64,
        value: &Bytes,
    ) -> Result<(), Problem> {
        debug_assert!(is_key(key));
        let mut command = Vec::with_capacity(KEY_BYTES_MAX + 64 + value.len());
        command.extend_from_slice(format!("set {key} 0 {expires} {}\r\n", value.len()).as_bytes());
        command.extend_from_slice(value);
        command.extend_from_slice(b"\r\n");
        self.stream.write_all(&command).await?;
        match self.line().await?.as_str() {
            "STORED" => Ok(()),
            answer => Err(problem_of(answer)),
        }
    }

    /// Returns the servers of the cluster, as `host:port`.
    async fn cluster(&mut self) -> Result<Vec<String>, Problem> {
        self.stream.write_all(b"config get cluster\r\n").await?;
        let line = self.line().await?;
        let len = line
            .strip_prefix("CONFIG cluster ")
            .and_then(|rest| rest.rsplit(' ').next()?.parse().ok())
            .filter(|len| *len <= CLUSTER_BYTES_MAX)
            .ok_or_else(|| problem_of(&line))?;
        let config = self.data(len).await?;
        parse_cluster(&config)
    }

    /// Reads one line, without its end.
    async fn line(&mut self) -> Result<String, Problem> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(LINE_BYTES_MAX);
        limited.read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let text = line.strip_suffix(b"\r\n").unwrap_or(&line);
        let text = std::str::from_utf8(text);
        let text = text.map_err(|error| Problem::Protocol(error.to_string()))?;
        Ok(text.to_owned())
    }

    /// Reads `len` bytes and the end of line after them. Memory is taken as they come, whatever `len` says.
    async fn data(&mut self, len: u64) -> Result<Bytes, Problem> {
        let with_end = len + 2;
        let mut data = Vec::new();
        let read = (&mut self.stream)
            .take(with_end)
            .read_to_end(&mut data)
            .await?;
        if read as u64 != with_end {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if !data.ends_with(b"\r\n") {
            return Err(Problem::Protocol("data without an end".to_owned()));
        }
        data.truncate(read - 2);
        Ok(data.into())
    }
}

fn parse_value_line(line: &str) -> Result<(&str, u64), Problem> {
    let mut words = line.split(' ');
    if words.next() == Some("VALUE")
        && let (Some(key), Some(_flags), Some(len)) = (words.next(), words.next(), words.next())
        && let Ok(len) = len.parse()
    {
        return Ok((key, len));
    }
    Err(problem_of(line))
}

fn problem_of(answer: &str) -> Problem {
    if answer == "ERROR" || answer.starts_with("SERVER_ERROR") || answer.starts_with("CLIENT_ERROR")
    {
        return Problem::Server(answer.to_owned());
    }
    Problem::Protocol(answer.to_owned())
}

fn parse_cluster(config: &[u8]) -> Result<Vec<String>, Problem> {
    let bad = |what: &str| Problem::Protocol(format!("list of servers: {what}"));
    let text = std::str::from_utf8(config).map_err(|_| bad("not a text"))?;
    let nodes = text
        .lines()
        .nth(1)
        .ok_or_else(|| bad("no line of servers"))?;
    let node = |node: &str| {
        let mut parts = node.split('|');
        let (host, ip, port) = (parts.next()?, parts.next()?, parts.next()?);
        let port: u16 = port.parse().ok()?;
        Some(format!("{}:{port}", if ip.is_empty() { host } else { ip }))
    };
    let nodes = nodes.split_ascii_whitespace().map(node);
    nodes
        .collect::<Option<_>>()
        .ok_or_else(|| bad("not host|ip|port"))
}

/// Asks the server at `address` which servers there are.
pub(super) async fn discover(address: &str, timeout: Duration) -> io::Result<Vec<String>> {
    let ask = async {
        let stream = TcpStream::connect(address).await?;
        Connection::new(stream).cluster().await
    };
    match tokio::time::timeout(timeout, ask).await {
        Ok(Ok(servers)) => Ok(servers),
        Ok(Err(Problem::Network(error))) => Err(error),
        Ok(Err(problem)) => Err(io::Error::other(problem.to_string())),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// A server that says what it says, whatever it is asked.
#[cfg(any(test, feature = "testkit"))]
struct Script<'a> {
    answers: &'a [u8],
}

#[cfg(any(test, feature = "testkit"))]
mod script {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::ReadBuf;

    use super::{AsyncRead, AsyncWrite, Script, io};

    impl AsyncRead for Script<'_> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let (said, rest) = self
                .answers
                .split_at(buffer.remaining().min(self.answers.len()));
            buffer.put_slice(said);
            self.answers = rest;
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Script<'_> {
        fn poll_write(
            self: Pin<&mut Self>,
            _context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
}

/// Reads any bytes as answers of a server: no panic, and no value that was not sent.
#[cfg(any(test, feature = "testkit"))]
pub(crate) fn fuzz_answers(answers: &[u8]) {
    use futures::FutureExt;

    let mut connection = Connection::new(Script { answers });
    let got = connection.get(&["a", "b", "END"], 100).now_or_never();
    if let Ok(values) = got.expect("all bytes are there") {
        assert!(values.len() <= 4);
        for value in values.values() {
            let is_sent =
                value.is_empty() || answers.windows(value.len()).any(|sent| sent == value);
            assert!(is_sent, "{value:?} in {answers:?}");
        }
    }
    let value = Bytes::from_static(b"v");
    let _ = Connection::new(Script { answers })
        .set("a", 1, &value)
        .now_or_never();
    if let Some(Ok(servers)) = Connection::new(Script { answers }).cluster().now_or_never() {
        assert!(servers.iter().all(|server| server.contains(':')));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns what a `get` of `keys` makes of `answer`.
    fn get(keys: &[&str], answer: &[u8]) -> Result<HashMap<String, Bytes>, Problem> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (ours, mut theirs) = tokio::io::duplex(1 << 20);
            theirs.write_all(answer).await.unwrap();
            theirs.shutdown().await.unwrap();
            Connection::new(ours).get(keys, 100).await
        })
    }

    #[test]
    fn values_are_read_as_they_are() {
        let answer = b"VALUE a 0 3\r\n1\r\n\r\nVALUE b 7 0 99\r\n\r\nEND\r\n";
        let values = get(&["a", "b", "c"], answer).unwrap();
        assert_eq!(
            (values.len(), &values["a"][..], &values["b"][..]),
            (2, &b"1\r\n"[..], &b""[..])
        );
    }

    #[test]
    fn what_is_no_answer_is_a_problem() {
        for (answer, expected) in [
            (&b"SERVER_ERROR out of memory\r\n"[..], Failure::Server),
            (b"", Failure::Network),
            (b"VALUE a 0 5\r\n12", Failure::Network),
            (b"VALUE a 0 2\r\n1234\r\n", Failure::Other),
            (b"VALUE a 0 101\r\n", Failure::Other),
            (b"VALUE a 0 18446744073709551615\r\n", Failure::Other),
            (
                b"VALUE a 0 0\r\n\r\nVALUE b 0 0\r\n\r\nEND\r\n",
                Failure::Other,
            ),
            (b"hello\r\n", Failure::Other),
        ] {
            let problem = get(&["a"], answer).unwrap_err();
            assert_eq!(problem.failure(), expected, "{problem}");
        }
    }

    #[test]
    fn servers_take_short_keys_without_spaces() {
        assert!(is_key("subrange:a/chunks/000001:0:16000") && is_key(&"k".repeat(250)));
        for key in ["", "a b", "a\r\nflush_all", "a\x7f", &"k".repeat(251)] {
            assert!(!is_key(key), "{key:?}");
        }
    }

    #[test]
    fn a_cluster_is_a_list_of_hosts() {
        let servers = parse_cluster(b"12\nhost-1|10.0.0.1|11211 host-2||11212\n").unwrap();
        assert_eq!(servers, ["10.0.0.1:11211", "host-2:11212"]);
        assert!(parse_cluster(b"12\nhost-1\n").is_err());
        assert!(parse_cluster(b"12").is_err());
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(
            answer in proptest::collection::vec(proptest::sample::select(b"VALUE END\r\na 0123456789\0".to_vec()), 0..80),
            tokens in proptest::collection::vec(prop::sample::select(vec![
                "VALUE", " ", " ", "a", "b", "0", "2", "7", "99999999999", "\r\n", "\r\n", "xy", "END\r\n", "STORED\r\n",
                "VALUE a 0 2\r\nxy\r\n", "CONFIG cluster 0 12\r\n", "12\nh|1.2.3.4|5\n", "|", "SERVER_ERROR x\r\n",
            ]), 0..20),
        ) {
            fuzz_answers(&answer);
            fuzz_answers(tokens.concat().as_bytes());
            let _ = parse_cluster(&answer);
        }
    }
}
