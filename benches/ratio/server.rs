//! The servers: started on loopback, asked over HTTP, measured from the outside.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use thanos_core::testkit::TempDir;
use thanos_core::testkit::peer::Peer;

/// A peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Prometheus,
    VictoriaMetrics,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Prometheus => "Prometheus",
            Self::VictoriaMetrics => "VictoriaMetrics",
        }
    }

    /// Returns the environment variable that holds the path of the program.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::Prometheus => "PEER_PROMETHEUS",
            Self::VictoriaMetrics => "PEER_VM",
        }
    }
}

/// What a request took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    /// Of all threads of the server.
    pub(crate) cpu: Duration,
}

/// An answer and what it took.
pub(crate) struct Asked {
    pub(crate) body: Vec<u8>,
    pub(crate) cost: Cost,
}

/// A running server.
pub(crate) struct Server {
    peer: Peer,
    /// Holds the configuration and data of the server.
    _dir: TempDir,
}

impl Server {
    /// Starts our server, `thanos`, over the block directory `data`.
    pub(crate) fn ours(thanos: &Path, data: &Path) -> Self {
        Self::start("/-/ready", |address, _| {
            let mut command = Command::new(thanos);
            command
                .args(["standalone", "--grpc-address", "127.0.0.1:0"])
                .args(["--http-address", address])
                .arg("--data-dir")
                .arg(data);
            command
        })
    }

    /// Starts a peer; Prometheus over `data`, VictoriaMetrics without data.
    pub(crate) fn peer(kind: Kind, data: &Path) -> Option<Self> {
        let program = PathBuf::from(std::env::var_os(kind.variable())?);
        Some(match kind {
            Kind::Prometheus => Self::start("/-/ready", |address, dir| {
                let config = dir.join("prometheus.yml");
                std::fs::write(&config, "global: {}\n").expect("a fresh directory can be written");
                let mut command = Command::new(&program);
                command
                    .arg(format!("--config.file={}", config.display()))
                    .arg(format!("--storage.tsdb.path={}", data.display()))
                    .arg("--storage.tsdb.retention.time=20y")
                    .arg("--query.max-samples=2000000000")
                    .arg(format!("--web.listen-address={address}"))
                    .arg("--log.level=warn");
                command
            }),
            Kind::VictoriaMetrics => Self::start("/health", |address, dir| {
                let mut command = Command::new(&program);
                command
                    .arg(format!("-storageDataPath={}", dir.display()))
                    .arg(format!("-httpListenAddr={address}"))
                    .arg("-retentionPeriod=100y")
                    .arg("-search.disableCache")
                    .arg("-search.maxUniqueTimeseries=10000000")
                    .arg("-search.maxSeries=10000000")
                    .arg("-search.latencyOffset=0s");
                command
            }),
        })
    }

    /// Starts what `command` makes for an HTTP address and a directory of its own.
    pub(crate) fn start(ready_path: &str, command: impl Fn(&str, &Path) -> Command) -> Self {
        let dir = TempDir::new("ratio-server");
        let peer = Peer::start(|address| command(address, dir.path()), ready_path);
        Self { peer, _dir: dir }
    }

    /// Sends a request and waits for the whole answer.
    pub(crate) fn ask(&self, path: &str, parameters: &[(&str, String)]) -> Asked {
        let parameters: Vec<(&str, &str)> = parameters
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let cpu = self.cpu();
        let started = Instant::now();
        let answer = self.peer.query(path, &parameters);
        let cost = Cost {
            wall: started.elapsed(),
            cpu: self.cpu().saturating_sub(cpu),
        };
        let body = answer.body;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&body));
        Asked { body, cost }
    }

    /// Sends `body` to `path`.
    pub(crate) fn post(&self, path: &str, body: &[u8]) {
        let answer = self.peer.post(path, body);
        assert!(answer.status < 300, "POST {path}: {}", answer.status);
    }

    /// Returns the processor time that the server has used.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = self.proc_file("stat");
        // The name in parentheses may hold spaces; user and system time are the 12th and 13th field after it.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        Duration::from_millis(ticks * 10)
    }

    /// Returns the peak of the resident memory.
    pub(crate) fn peak_mib(&self) -> u64 {
        let status = self.proc_file("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) / 1024
    }

    fn proc_file(&self, name: &str) -> String {
        let path = format!("/proc/{}/{name}", self.peer.pid());
        std::fs::read_to_string(path).unwrap_or_default()
    }
}
