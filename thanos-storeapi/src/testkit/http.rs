//! As much of an HTTP server as a fake needs: it can also stop in the middle.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What was asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(parameter, _)| parameter == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn parameters(&self, name: &str) -> Vec<&str> {
        let found = self.query.iter().filter(|(parameter, _)| parameter == name);
        found.map(|(_, value)| value.as_str()).collect()
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) ending: Ending,
    /// Where else to ask.
    pub(crate) location: Option<&'static str>,
}

/// How a reply ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As it should.
    Whole,
    /// The connection is closed before the end.
    Cut,
    /// Nothing more comes until the client goes away.
    Never,
}

impl Reply {
    pub(crate) fn json(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            content_type: "application/json",
            body: body.into(),
            ending: Ending::Whole,
            location: None,
        }
    }

    pub(crate) fn data(data: &str) -> Self {
        Self::json(format!(r#"{{"status":"success","data":{data}}}"#))
    }

    pub(crate) fn status(status: u16, body: &str) -> Self {
        Self {
            status,
            ..Self::json(body)
        }
    }
}

type Handler = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// A server that notes what it is asked, and stops when dropped.
pub(crate) struct HttpFake {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    asked: Mutex<Vec<Asked>>,
    /// How often a client went away before the end of a reply that never ends.
    left: Mutex<usize>,
}

impl HttpFake {
    pub(crate) async fn start(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, handler).await
    }

    /// Starts one that speaks TLS if there are settings of it.
    pub(crate) async fn start_with(
        tls: Option<rustls::ServerConfig>,
        handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let acceptor = tls.map(|tls| tokio_rustls::TlsAcceptor::from(Arc::new(tls)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let handler: Handler = Arc::new(handler);
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let (handler, state) = (Arc::clone(&handler), Arc::clone(&shared));
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    let _ = match acceptor {
                        None => connection(stream, &handler, &state).await,
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => connection(stream, &handler, &state).await,
                            Err(error) => Err(error),
                        },
                    };
                });
            }
        });
        Self {
            address,
            state,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns what was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.state.asked.lock())
    }

    pub(crate) fn clients_that_left(&self) -> usize {
        *self.state.left.lock()
    }
}

impl Drop for HttpFake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    handler: &Handler,
    state: &State,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read_request(&mut stream).await? {
        state.asked.lock().push(asked.clone());
        let reply = handler(&asked);
        let out = stream.get_mut();
        let location = reply.location.map(|path| format!("Location: {path}\r\n"));
        let head = format!(
            "HTTP/1.1 {} Answer\r\nContent-Type: {}\r\n{}Transfer-Encoding: chunked\r\n\r\n",
            reply.status,
            reply.content_type,
            location.unwrap_or_default()
        );
        out.write_all(head.as_bytes()).await?;
        for piece in reply.body.chunks(1000) {
            out.write_all(format!("{:x}\r\n", piece.len()).as_bytes())
                .await?;
            out.write_all(piece).await?;
            out.write_all(b"\r\n").await?;
        }
        match reply.ending {
            Ending::Whole => out.write_all(b"0\r\n\r\n").await?,
            Ending::Cut => return Ok(()),
            Ending::Never => {
                let gone = stream.read_u8().await.is_err();
                *state.left.lock() += usize::from(gone);
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut BufReader<S>,
) -> std::io::Result<Option<Asked>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let mut asked = Asked {
        method: words.next().unwrap_or_default().to_owned(),
        ..Asked::default()
    };
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    asked.path = path.to_owned();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    asked.query = pairs
        .map(|(name, value)| (unescape(name), unescape(value)))
        .collect();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        asked
            .headers
            .push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = asked
        .header("content-length")
        .and_then(|text| text.parse().ok());
    asked.body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut asked.body).await?;
    Ok(Some(asked))
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        rest = others;
        match (first, others) {
            (b'%', [a, b, others @ ..]) => {
                let code = std::str::from_utf8(&[*a, *b]).map(|code| u8::from_str_radix(code, 16));
                bytes.push(code.unwrap().unwrap());
                rest = others;
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).unwrap()
}
