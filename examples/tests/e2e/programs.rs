//! Starting the roles as processes.

use std::path::{Path, PathBuf};
use std::process::Command;

use thanos_core::testkit::TempDir;
use thanos_core::testkit::peer::Peer;

/// The folder of test data that belongs to `crate_name`.
pub(crate) fn testdata(crate_name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(crate_name)
        .join("testdata")
}

/// The command line of the multi-call binary.
pub(crate) fn thanos(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thanos"));
    command.args(arguments);
    command
}

/// The YAML of a bucket in `directory`.
pub(crate) fn directory_bucket(directory: &Path) -> String {
    let directory = directory.display();
    format!("type: FILESYSTEM\nconfig:\n  directory: {directory}\n")
}

/// A store gateway.
pub(crate) struct Store {
    pub(crate) http: Peer,
    pub(crate) grpc_address: String,
    pub(crate) data_dir: TempDir,
}

impl Store {
    /// Starts one over a directory.
    pub(crate) fn start(directory: &Path) -> Self {
        Self::over(&directory_bucket(directory), &[])
    }

    /// Starts one over the bucket that `yaml` describes, with `more` flags. It looks for blocks often.
    pub(crate) fn over(yaml: &str, more: &[&str]) -> Self {
        Self::in_data_dir(TempDir::new("e2e-store"), yaml, more)
    }

    /// Ends it and starts another one over the same data directory.
    pub(crate) fn restarted(self, yaml: &str, more: &[&str]) -> Self {
        drop(self.http);
        Self::in_data_dir(self.data_dir, yaml, more)
    }

    fn in_data_dir(data_dir: TempDir, yaml: &str, more: &[&str]) -> Self {
        let http = Peer::start(
            |address| {
                let mut command = thanos(&["store", "--data-dir"]);
                command.arg(data_dir.path());
                command.args(["--http-address", address, "--grpc-address", "127.0.0.1:0"]);
                command.args(["--objstore.config", yaml]);
                command.args(["--sync-block-duration", "200ms"]).args(more);
                command
            },
            "/-/ready",
        );
        let grpc_address = grpc_address(&http);
        Self {
            http,
            grpc_address,
            data_dir,
        }
    }
}

/// Starts a querier over StoreAPI endpoints.
pub(crate) fn querier(endpoints: &[&str], more: &[&str]) -> Peer {
    Peer::start(
        |address| {
            let mut command = thanos(&["query"]);
            command
                .args(["--http-address", address, "--grpc-address", "127.0.0.1:0"])
                .args(more);
            for endpoint in endpoints {
                command.args(["--endpoint", endpoint]);
            }
            command
        },
        "/-/ready",
    )
}

/// Starts everything in one process over a local directory.
pub(crate) fn standalone(data: &Path) -> Peer {
    Peer::start(
        |address| {
            let mut command = thanos(&["standalone", "--data-dir"]);
            command
                .arg(data)
                .args(["--http-address", address, "--grpc-address", "127.0.0.1:0"]);
            command
        },
        "/-/ready",
    )
}

/// The address of the gRPC server of a role, which it says in its log.
pub(crate) fn grpc_address(peer: &Peer) -> String {
    let log = peer.log();
    let line = log
        .lines()
        .find(|line| line.contains("listening for serving gRPC"));
    let address = line.and_then(|line| line.split("address=").nth(1)?.split_whitespace().next());
    address
        .unwrap_or_else(|| panic!("no gRPC address in the log:\n{log}"))
        .trim_matches('"')
        .to_owned()
}
