//! The command line of the binaries.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use thanos_core::Result;

use crate::about::About;
use crate::flags::{LogFlags, TracingFlags, with_files, with_negations};
use crate::logging;
use crate::roles::{compact, query, sidecar, standalone, store, tools};
use crate::traces::Traces;

/// How long blocking work may go on after a role has ended.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// A block storage and global query view for Prometheus.
#[derive(Debug, Parser)]
#[command(name = "thanos", version, propagate_version = true, about)]
struct Cli {
    #[command(flatten)]
    log: LogFlags,
    #[command(flatten)]
    tracing: TracingFlags,
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Continuously compacts blocks in an object store bucket.
    Compact(Box<compact::CompactFlags>),
    /// Sidecar for Prometheus server.
    Sidecar(Box<sidecar::SidecarFlags>),
    /// Store node giving access to blocks in a bucket provider.
    Store(Box<store::StoreFlags>),
    /// Query node exposing PromQL enabled Query API with data retrieved from multiple store nodes.
    Query(Box<query::QueryFlags>),
    /// Tools utility commands.
    Tools(Box<tools::ToolsFlags>),
    /// Everything in one process over a local directory of blocks.
    Standalone(Box<standalone::StandaloneFlags>),
}

/// Runs the role that the arguments of this process name.
pub fn main() -> ExitCode {
    run(std::env::args_os().collect())
}

/// Runs `role` with the arguments of this process: the whole of a role's own binary.
pub fn main_of(role: &str) -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    arguments.insert(arguments.len().min(1), role.into());
    run(arguments)
}

fn run(arguments: Vec<OsString>) -> ExitCode {
    let (cli, about) = match parse(arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            // The message goes where clap wants it; a closed pipe leaves nobody to tell.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run_traced(cli, about) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "running the command failed");
            ExitCode::FAILURE
        }
    }
}

fn run_traced(cli: Cli, about: About) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let traces = {
        let _entered = runtime.enter();
        let config = cli.tracing.config();
        config.and_then(|config| Traces::new(config.as_ref()))
    };
    // What is wrong with the configuration of traces is said in the log as well.
    logging::start(&cli.log, traces.as_ref().ok().and_then(Traces::tracer))?;
    let traces = traces?;
    let outcome = runtime.block_on(run_role(cli.role, about));
    traces.end();
    // Work on threads for blocking calls that nobody waits for any more must not keep the process alive.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    outcome
}

fn parse(arguments: Vec<OsString>) -> std::result::Result<(Cli, About), clap::Error> {
    let command = with_negations(Cli::command());
    let found = command
        .clone()
        .try_get_matches_from(with_files(arguments)?)?;
    let about = About::new(&command, &found);
    Ok((Cli::from_arg_matches(&found)?, about))
}

async fn run_role(role: Role, about: About) -> Result<()> {
    match role {
        Role::Compact(flags) => compact::run(*flags, about).await,
        Role::Sidecar(flags) => sidecar::run(*flags).await,
        Role::Store(flags) => store::run(*flags, about).await,
        Role::Query(flags) => query::run(*flags, about).await,
        Role::Tools(flags) => tools::run(*flags).await,
        Role::Standalone(flags) => standalone::run(*flags, about).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_do_not_contradict_each_other() {
        with_negations(Cli::command()).debug_assert();
    }
}
