//! Cache servers beside a test: memcached and Redis, from packages of the distribution, on loopback ports.
//!
//! Where a program is not installed they say so loudly and return `None`; with `CI=true` they panic. A server ends when
//! it is dropped.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use thanos_core::testkit::peer;

/// How long a server may take until it listens.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How often another port is tried when somebody else took the one that was free.
const STARTS_MAX: usize = 5;

/// A running cache server.
#[derive(Debug)]
pub struct CacheServer {
    program: PathBuf,
    port_flag: &'static str,
    args: Vec<String>,
    port: u16,
    address: String,
    child: Option<Child>,
}

impl CacheServer {
    /// Starts a memcached server.
    ///
    /// # Panics
    ///
    /// When it does not start, or is not installed and `CI=true`.
    pub fn memcached() -> Option<Self> {
        let args = ["-l", "127.0.0.1", "-u", "nobody", "-m", "16"];
        Self::start("memcached", "-p", &args)
    }

    /// Starts a Redis server without persistence that asks for `password`, unless that is empty.
    ///
    /// # Panics
    ///
    /// As [`CacheServer::memcached`].
    pub fn redis(password: &str) -> Option<Self> {
        let mut args = vec!["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        if !password.is_empty() {
            args.extend(["--requirepass", password]);
        }
        Self::start("redis-server", "--port", &args)
    }

    fn start(program: &str, port_flag: &'static str, args: &[&str]) -> Option<Self> {
        let program = peer::program(program)?;
        let mut server = Self {
            program,
            port_flag,
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            port: 0,
            address: String::new(),
            child: None,
        };
        for _ in 0..STARTS_MAX {
            server.port = free_port();
            server.address = format!("127.0.0.1:{}", server.port);
            if server.try_start() {
                return Some(server);
            }
        }
        panic!("{:?} did not start", server.program);
    }

    fn try_start(&mut self) -> bool {
        let child = Command::new(&self.program)
            .args([self.port_flag, &self.port.to_string()])
            .args(&self.args)
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{:?}: {error}", self.program));
        let child = self.child.insert(child);
        let started = Instant::now();
        while started.elapsed() < READY_TIMEOUT {
            if !matches!(child.try_wait(), Ok(None)) {
                return false;
            }
            if TcpStream::connect(&self.address).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// Returns `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Kills the server.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is nothing left to do.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again at the same address, empty.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn restart(&mut self) {
        self.stop();
        assert!(self.try_start(), "{:?} did not start again", self.program);
    }
}

impl Drop for CacheServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    let address = listener.local_addr().expect("a listener has an address");
    address.port()
}
