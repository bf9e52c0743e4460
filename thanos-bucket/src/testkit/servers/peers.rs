//! The servers that are programs of others: moto and Azurite.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use thanos_core::testkit::{TempDir, peer};

/// How long a server may take until it is ready: both start an interpreter first.
const READY_TIMEOUT: Duration = Duration::from_secs(90);

/// A server program that chose its own port and wrote it to its log.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    address: String,
    _dir: TempDir,
}

impl Process {
    pub(super) fn moto() -> Option<Self> {
        let mut command = Command::new(program("venv/bin", "moto_server")?);
        command.args(["-H", "127.0.0.1", "-p", "0"]);
        Some(Self::start(command))
    }

    pub(super) fn azurite() -> Option<Self> {
        let mut command = Command::new(program("node_modules/.bin", "azurite-blob")?);
        command.args(["--inMemoryPersistence", "--skipApiVersionCheck"]);
        command.args(["--disableTelemetry", "--silent"]);
        command.args(["--blobHost", "127.0.0.1", "--blobPort", "0"]);
        Some(Self::start(command))
    }

    fn start(mut command: Command) -> Self {
        let dir = TempDir::new("object-server");
        let log_file = dir.path().join("log");
        let log = std::fs::File::create(&log_file).expect("a fresh directory can be written to");
        let log_too = log.try_clone().expect("an open file can be cloned");
        let child = command
            .current_dir(dir.path())
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut process = Self {
            child,
            address: String::new(),
            _dir: dir,
        };
        process.address = process.wait_for_address(&log_file);
        process
    }

    fn wait_for_address(&mut self, log_file: &Path) -> String {
        let started = Instant::now();
        loop {
            let log = std::fs::read_to_string(log_file).unwrap_or_default();
            if let Some(address) = address_in(&log) {
                return address;
            }
            let ended = !matches!(self.child.try_wait(), Ok(None));
            assert!(
                !ended && started.elapsed() < READY_TIMEOUT,
                "the server did not become ready:\n{log}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Sends a PUT without a body, which is how an S3 bucket is made.
    pub(super) fn put(&self, path: &str) {
        let answer = self.try_put(path);
        let ok = matches!(&answer, Ok(answer) if answer.contains(" 200 "));
        assert!(ok, "PUT {path}: {answer:?}");
    }

    fn try_put(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        let host = &self.address;
        write!(
            stream,
            "PUT {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns where `./test` has installed the program, or else the one in the search path.
fn program(directory: &str, name: &str) -> Option<PathBuf> {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers");
    let installed = peers.join(directory).join(name);
    if installed.is_file() {
        return Some(installed);
    }
    peer::program(name)
}

/// Returns the host and port of the first complete line that names a loopback URL with a port.
fn address_in(log: &str) -> Option<String> {
    let complete = &log[..log.rfind('\n')?];
    let start = complete.find("http://127.0.0.1:")? + "http://".len();
    let address = &complete[start..];
    let end = address
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))
        .unwrap_or(address.len());
    Some(address[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_a_complete_line() {
        assert_eq!(address_in(" * Running on http://127.0.0.1:33"), None);
        let log = "starting on 127.0.0.1:0\nlistens on http://127.0.0.1:3317\nbye";
        assert_eq!(address_in(log).as_deref(), Some("127.0.0.1:3317"));
    }
}
