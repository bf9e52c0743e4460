//! Real programs beside a test: the Prometheus and promtool that are installed on this machine.
//!
//! A test that needs one asks [`program`] and ends when there is none, after a loud line on standard error; with
//! `CI=true` in the environment a missing program is a failure instead. Servers listen on the loopback address
//! and are killed, by their own process id, when their [`Peer`] is dropped.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use super::TempDir;

/// How long a server may take until it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a server is started again when somebody else took its port in the meantime.
const START_ATTEMPTS: u32 = 3;

/// Returns the path of the program `name`, or `None` when it is not installed.
///
/// # Panics
///
/// When it is not installed and `CI=true`.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!ci, "{name} is not installed, and CI skips no test");
        // Not `eprintln!`: what that says is kept back when a test passes.
        let line = format!("SKIPPED: a test needs {name}, which is not installed\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    found
}

/// Runs a program to its end and returns what it said.
///
/// # Panics
///
/// When the program can not be run or does not succeed.
pub fn run(program: &Path, arguments: &[&OsStr]) -> Output {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    assert!(
        output.status.success(),
        "{} {arguments:?}: {}\n{}",
        program.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A running server.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    address: String,
    dir: TempDir,
}

/// The answer to an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Peer {
    /// Starts Prometheus over the database directory `data` and waits until it is ready, or returns `None` when it
    /// is not installed. It scrapes nothing and keeps data for 20 years, so that old blocks are not deleted.
    ///
    /// # Panics
    ///
    /// When it does not become ready.
    pub fn prometheus(data: &Path) -> Option<Self> {
        let prometheus = program("prometheus")?;
        let config = TempDir::new("prometheus");
        let config_file = config.path().join("prometheus.yml");
        std::fs::write(&config_file, "global: {}\n").expect("a fresh directory can be written to");
        let start = |address: &str| {
            let mut command = Command::new(&prometheus);
            command
                .arg(flag("--config.file=", &config_file))
                .arg(flag("--storage.tsdb.path=", data))
                .arg("--storage.tsdb.retention.time=20y")
                .arg(format!("--web.listen-address={address}"))
                .arg("--log.level=warn");
            command
        };
        Some(Self::start(start, "/-/ready"))
    }

    /// Starts the server that `command` makes for an address to listen on, and waits until `ready_path` answers 200.
    ///
    /// # Panics
    ///
    /// When it does not become ready; the message holds the end of its log.
    pub fn start(command: impl Fn(&str) -> Command, ready_path: &str) -> Self {
        let mut last_log = String::new();
        for _ in 0..START_ATTEMPTS {
            let address = free_address();
            let mut peer = Self::spawn(command(&address), address);
            if peer.wait_ready(ready_path) {
                return peer;
            }
            last_log = peer.log();
        }
        panic!("the server did not become ready:\n{last_log}");
    }

    fn spawn(mut command: Command, address: String) -> Self {
        let dir = TempDir::new("peer");
        let log =
            File::create(dir.path().join("log")).expect("a fresh directory can be written to");
        let log_too = log.try_clone().expect("an open file can be cloned");
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            child,
            address,
            dir,
        }
    }

    fn wait_ready(&mut self, ready_path: &str) -> bool {
        let started = Instant::now();
        while started.elapsed() < READY_TIMEOUT {
            if matches!(self.try_get(ready_path), Ok(answer) if answer.status == 200) {
                return true;
            }
            if !matches!(self.child.try_wait(), Ok(None)) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Returns the host and port that the server listens on.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the process id of the server.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns what the server wrote to its standard output and error so far.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.dir.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Answers a GET of `path`, which may carry a query string.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub fn get(&self, path: &str) -> HttpAnswer {
        self.try_get(path)
            .unwrap_or_else(|error| panic!("GET {path}: {error}\n{}", self.log()))
    }

    /// Answers a GET of `path` with `parameters` in the query string.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub fn query(&self, path: &str, parameters: &[(&str, &str)]) -> HttpAnswer {
        self.query_with(path, parameters, &[])
    }

    /// Answers a GET of `path` with `parameters` in the query string and `headers` (`name: value`).
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub fn query_with(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
        headers: &[&str],
    ) -> HttpAnswer {
        let mut url = path.to_owned();
        for (i, (name, value)) in parameters.iter().enumerate() {
            let separator = if i == 0 { '?' } else { '&' };
            let _ = write!(url, "{separator}{}={}", escape(name), escape(value));
        }
        self.send("GET", &url, headers, b"")
            .unwrap_or_else(|error| panic!("GET {url}: {error}\n{}", self.log()))
    }

    /// Answers a POST of `body` to `path`.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub fn post(&self, path: &str, body: &[u8]) -> HttpAnswer {
        self.send("POST", path, &[], body)
            .unwrap_or_else(|error| panic!("POST {path}: {error}\n{}", self.log()))
    }

    fn try_get(&self, path: &str) -> std::io::Result<HttpAnswer> {
        self.send("GET", path, &[], b"")
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> std::io::Result<HttpAnswer> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        // HTTP/1.0: the body is not chunked and ends with the connection.
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Length: {}\r\n",
            self.address,
            body.len()
        )?;
        for header in headers {
            write!(stream, "{header}\r\n")?;
        }
        write!(stream, "\r\n")?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        parse_answer(&answer).ok_or_else(|| std::io::Error::other("not an HTTP answer"))
    }
}

impl Peer {
    /// Asks the server to end with SIGTERM and returns how it ended.
    ///
    /// # Panics
    ///
    /// When it still runs after `timeout`.
    pub fn terminate(&mut self, timeout: Duration) -> ExitStatus {
        self.signal("TERM");
        self.wait(timeout)
    }

    /// Sends a signal to the server, by its name without `SIG`.
    ///
    /// # Panics
    ///
    /// When it cannot be sent.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "kill -s {name} {pid} failed"
        );
    }

    /// Waits for the end of the server and returns how it ended.
    ///
    /// # Panics
    ///
    /// When it still runs after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            assert!(
                started.elapsed() < timeout,
                "still running after {timeout:?}:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn flag(name: &str, value: &Path) -> std::ffi::OsString {
    let mut flag = std::ffi::OsString::from(name);
    flag.push(value);
    flag
}

/// An address on loopback that nobody listened on a moment ago.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("loopback has a free port")
        .to_string()
}

fn parse_answer(answer: &[u8]) -> Option<HttpAnswer> {
    let head_len = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..head_len]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = answer[head_len + 4..].to_vec();
    Some(HttpAnswer { status, body })
}

/// Escapes all but letters, digits and `-._~` for a query string.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prometheus_answers_and_is_gone_after_the_test() {
        let data = TempDir::new("peer-data");
        let Some(peer) = Peer::prometheus(data.path()) else {
            return;
        };
        let answer = peer.query("/api/v1/query", &[("query", "1 + \"a\" & b")]);
        assert_eq!(answer.status, 400);
        let answer = peer.query("/api/v1/query", &[("query", "1 + 1"), ("time", "5")]);
        let expected = r#"{"status":"success","data":{"resultType":"scalar","result":[5,"2"]}}"#;
        assert_eq!(String::from_utf8_lossy(&answer.body), expected);
        let address = peer.address().to_owned();
        drop(peer);
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn query_strings_are_escaped() {
        assert_eq!(
            escape("a{b=\"\u{e9}\"} + 1"),
            "a%7Bb%3D%22%C3%A9%22%7D%20%2B%201"
        );
    }
}
