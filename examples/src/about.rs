//! What a process says about itself: its build, its flags, the machine it runs on.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use clap::{Arg, ArgMatches, Command};
use thanos_core::time::{Clock, SystemClock, Timestamp};
use thanos_promql::http::{BuildInfo, Cors, Hooks, RuntimeInfo, status_router};

/// What is known when the process starts.
#[derive(Debug, Clone)]
pub struct About {
    started: Timestamp,
    flags: BTreeMap<String, String>,
}

impl About {
    /// Returns what the command line `found` says about a process that starts now.
    pub fn new(command: &Command, found: &ArgMatches) -> Self {
        let mut flags = BTreeMap::new();
        add_flags(command, found, &mut flags);
        let started = SystemClock.now();
        Self { started, flags }
    }
}

/// What stands for a value that may hold passwords. Source: Thanos `cmd/thanos/main.go`.
const REDACTED: &str = "<REDACTED>";

/// Reports whether a flag may hold passwords: Thanos hides the bucket alone, but every configuration in a flag may.
fn is_secret(flag: &str) -> bool {
    let is_content = flag.ends_with("config") && flag != "http.config";
    is_content || matches!(flag, "objstore.config-file" | "prometheus.http-client")
}

/// Adds all flags, those of a subcommand too, with the values they have.
fn add_flags(command: &Command, found: &ArgMatches, flags: &mut BTreeMap<String, String>) {
    // Opposites of switches say nothing that the switches do not say.
    let is_opposite = |argument: &&Arg| argument.get_id().as_str().starts_with("opposite of ");
    let mut on_by_default = Vec::new();
    for argument in command
        .get_arguments()
        .filter(|argument| !is_opposite(argument))
    {
        let Some(name) = argument.get_long() else {
            continue;
        };
        if let Some(name) = name.strip_prefix("no-") {
            let is_off = found.get_flag(argument.get_id().as_str());
            on_by_default.push((name.to_owned(), (!is_off).to_string()));
            continue;
        }
        let values = found.try_get_raw(argument.get_id().as_str()).ok().flatten();
        let values: Vec<_> = values
            .into_iter()
            .flatten()
            .map(|value| value.to_string_lossy())
            .collect();
        let value = if is_secret(name) && !values.is_empty() {
            REDACTED.to_owned()
        } else {
            values.join(",")
        };
        flags.insert(name.to_owned(), value);
    }
    // What is on unless its opposite is given has no value of its own.
    flags.extend(on_by_default);
    if let Some((name, found)) = found.subcommand()
        && let Some(command) = command.find_subcommand(name)
    {
        add_flags(command, found, flags);
    }
}

impl About {
    /// Returns the pages about the process, for roles without a query API.
    pub fn router(self, cors: Cors) -> Router {
        status_router(Arc::new(self), Arc::new(SystemClock), cors)
    }
}

impl Hooks for About {
    fn build_info(&self) -> BuildInfo {
        BuildInfo {
            version: env!("CARGO_PKG_VERSION").into(),
            ..BuildInfo::default()
        }
    }

    fn runtime_info(&self) -> RuntimeInfo {
        let dir = std::env::current_dir().unwrap_or_default();
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname");
        RuntimeInfo {
            start_time: Some(self.started),
            working_dir: dir.to_string_lossy().into_owned(),
            hostname: hostname.unwrap_or_default().trim_end().to_owned(),
            threads_max: std::thread::available_parallelism().map_or(1, usize::from),
            ..RuntimeInfo::default()
        }
    }

    fn flags(&self) -> BTreeMap<String, String> {
        self.flags.clone()
    }
}

#[cfg(test)]
mod tests {
    use clap::ArgAction;

    use super::*;

    #[test]
    fn flags_of_subcommands_are_told_with_their_defaults() {
        let role =
            Command::new("query").arg(Arg::new("t").long("query.timeout").default_value("2m"));
        let level = Arg::new("l").long("log.level").global(true);
        let command = Command::new("thanos").arg(level).subcommand(role);
        let arguments = ["thanos", "query", "--log.level", "debug"];
        let found = command.clone().try_get_matches_from(arguments).unwrap();
        let about = About::new(&command, &found);
        let flags: Vec<_> = about.flags().into_iter().collect();
        let expected = [("log.level", "debug"), ("query.timeout", "2m")];
        assert_eq!(
            flags,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    /// whoever reads the flags wants to know what holds, not how it was said.
    #[test]
    fn switches_that_are_on_by_default_are_told_by_their_own_name() {
        let switch = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
        let command = Command::new("query")
            .arg(switch("a").overrides_with("no-a"))
            .arg(switch("no-a"))
            .arg(switch("no-b"))
            .arg(switch("c"));
        for (given, expected) in [
            (vec![], ["true", "true", "false"]),
            (vec!["--no-a", "--no-b"], ["false", "false", "false"]),
            (vec!["--no-a", "--a", "--c"], ["true", "true", "true"]),
        ] {
            let arguments = [vec!["query"], given].concat();
            let found = command.clone().try_get_matches_from(arguments).unwrap();
            let flags: Vec<_> = About::new(&command, &found).flags().into_iter().collect();
            let expected = ["a", "b", "c"].into_iter().zip(expected);
            let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(flags, expected.collect::<Vec<_>>());
        }
    }

    /// what may hold a password is not told.
    #[test]
    fn configurations_in_flags_are_hidden() {
        let flag = |name: &'static str| Arg::new(name).long(name);
        let command = Command::new("store")
            .arg(flag("objstore.config"))
            .arg(flag("tracing.config"))
            .arg(flag("tracing.config-file"));
        let arguments = [
            "store",
            "--objstore.config=secret_key: hunter2",
            "--tracing.config-file=t.yaml",
        ];
        let found = command.clone().try_get_matches_from(arguments).unwrap();
        let flags = About::new(&command, &found).flags();
        assert_eq!(flags["objstore.config"], REDACTED);
        assert_eq!(flags["tracing.config"], "");
        assert_eq!(flags["tracing.config-file"], "t.yaml");
    }
}
