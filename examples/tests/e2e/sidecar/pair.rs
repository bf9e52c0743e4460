//! Prometheus servers of this machine, each with our sidecar.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use thanos_core::testkit::TempDir;
use thanos_core::testkit::peer::{Peer, program, run};

use crate::programs::{grpc_address, thanos};

/// How often sidecars of tests ask their Prometheus.
const INTERVAL: &str = "200ms";

/// A Prometheus that can be stopped and started again at the same address.
pub(crate) struct Prometheus {
    pub(crate) address: String,
    binary: PathBuf,
    flags: Vec<String>,
    child: Option<Child>,
    pub(crate) data: TempDir,
    config: TempDir,
}

impl Prometheus {
    /// Returns one that does not run yet, or `None` when it is not installed.
    pub(crate) fn new(external_labels: &str) -> Option<Self> {
        let binary = program("prometheus")?;
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        let prometheus = Self {
            address,
            binary,
            flags: Vec::new(),
            child: None,
            data: TempDir::new("e2e-prometheus"),
            config: TempDir::new("e2e-prometheus-config"),
        };
        prometheus.configure(external_labels, "");
        Some(prometheus)
    }

    /// Writes the configuration: external labels as YAML, and what else there is.
    pub(crate) fn configure(&self, external_labels: &str, more: &str) {
        let yaml = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n  external_labels: {{{external_labels}}}\n{more}"
        );
        std::fs::write(self.config_file("prometheus.yml"), yaml).unwrap();
    }

    pub(crate) fn config_file(&self, name: &str) -> PathBuf {
        self.config.path().join(name)
    }

    /// Fills the database with samples: series as text, and their value `secs` seconds after the epoch.
    pub(crate) fn fill(&self, samples: &[(&str, f64)], secs: i64) {
        let promtool = program("promtool").unwrap();
        let mut text = String::new();
        for (series, value) in samples {
            let _ = writeln!(text, "{series} {value} {secs}");
        }
        text.push_str("# EOF\n");
        let file = self.config_file("data.om");
        std::fs::write(&file, text).unwrap();
        let arguments = ["tsdb", "create-blocks-from", "openmetrics"];
        let mut all: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
        all.extend([file.as_os_str(), self.data.path().as_os_str()]);
        run(&promtool, &all);
    }

    pub(crate) fn flag(&mut self, flag: String) {
        self.flags.push(flag);
    }

    /// Starts it, and does not wait until it is ready.
    pub(crate) fn start(&mut self) {
        let file = |name: &str, path: &Path| format!("--{name}={}", path.display());
        let mut command = Command::new(&self.binary);
        command
            .arg(file("config.file", &self.config_file("prometheus.yml")))
            .arg(file("storage.tsdb.path", self.data.path()))
            .arg("--storage.tsdb.retention.time=100y")
            .arg(format!("--web.listen-address={}", self.address))
            .args(["--web.enable-lifecycle", "--log.level=warn"])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts our sidecar of it, and waits until that answers `path`.
    pub(crate) fn sidecar(&self, path: &str, more: &[&str]) -> Peer {
        let url = format!("http://{}", self.address);
        Peer::start(
            |address| {
                let mut command = thanos(&["sidecar", "--prometheus.url", &url]);
                command.args(["--http-address", address]);
                if !more.contains(&"--grpc-address") {
                    command.args(["--grpc-address", "127.0.0.1:0"]);
                }
                command
                    .args(["--prometheus.get_config_interval", INTERVAL])
                    .args(more);
                command
            },
            path,
        )
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A running Prometheus with its sidecar.
pub(crate) struct Pair {
    pub(crate) prometheus: Prometheus,
    pub(crate) sidecar: Peer,
}

impl Pair {
    /// Starts both, over a database with `samples`.
    pub(crate) fn start(external_labels: &str, samples: &[(&str, f64)], secs: i64) -> Option<Self> {
        let mut prometheus = Prometheus::new(external_labels)?;
        prometheus.fill(samples, secs);
        prometheus.start();
        Some(Self::with(prometheus, &[]))
    }

    /// Starts the sidecar of a Prometheus that runs.
    pub(crate) fn with(prometheus: Prometheus, more: &[&str]) -> Self {
        let sidecar = prometheus.sidecar("/-/ready", more);
        Self {
            prometheus,
            sidecar,
        }
    }

    pub(crate) fn grpc_address(&self) -> String {
        grpc_address(&self.sidecar)
    }
}
