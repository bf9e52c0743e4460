//! What a process says about itself: its build, its flags, the machine it runs on.

use std::collections::BTreeMap;

use clap::{Arg, ArgMatches, Command};
use thanos_core::time::{Clock, SystemClock, Timestamp};
use thanos_promql::http::{BuildInfo, Hooks, RuntimeInfo};

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

/// Adds all flags, those of a subcommand too, with the values they have.
fn add_flags(command: &Command, found: &ArgMatches, flags: &mut BTreeMap<String, String>) {
    // Opposites of switches say nothing that the switches do not say.
    let is_opposite = |argument: &&Arg| argument.get_id().as_str().starts_with("opposite of ");
    for argument in command
        .get_arguments()
        .filter(|argument| !is_opposite(argument))
    {
        let Some(name) = argument.get_long() else {
            continue;
        };
        let values = found.try_get_raw(argument.get_id().as_str()).ok().flatten();
        let values: Vec<_> = values
            .into_iter()
            .flatten()
            .map(|value| value.to_string_lossy())
            .collect();
        flags.insert(name.to_owned(), values.join(","));
    }
    if let Some((name, found)) = found.subcommand()
        && let Some(command) = command.find_subcommand(name)
    {
        add_flags(command, found, flags);
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
}
