//! `--no-x` beside every switch `--x`, as in Thanos' command line.

use clap::{Arg, ArgAction, Command};

/// Returns `command` with the opposite of each switch of it and its subcommands; the one given last counts.
///
/// A switch that is on by default is declared as `--no-x`; its opposite is `--x`.
pub fn with_negations(mut command: Command) -> Command {
    let switches: Vec<(String, String, bool)> = command
        .get_arguments()
        .filter(|argument| matches!(argument.get_action(), ArgAction::SetTrue))
        .filter_map(|argument| {
            let name = argument.get_long()?.to_owned();
            Some((
                argument.get_id().to_string(),
                name,
                argument.is_global_set(),
            ))
        })
        .collect();
    for (id, name, is_global) in &switches {
        let opposite = match name.strip_prefix("no-") {
            Some(name) => name.to_owned(),
            None => format!("no-{name}"),
        };
        let is_declared = switches.iter().any(|(_, other, _)| *other == opposite);
        if !is_declared {
            command = command.arg(
                Arg::new(format!("opposite of {name}"))
                    .long(opposite)
                    .action(ArgAction::SetTrue)
                    .overrides_with(id)
                    .global(*is_global)
                    .hide(true),
            );
        }
    }
    let subcommands: Vec<String> = command
        .get_subcommands()
        .map(|subcommand| subcommand.get_name().to_owned())
        .collect();
    for name in subcommands {
        command = command.mut_subcommand(name, with_negations);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kingpin, the flag library of Thanos, does the same.
    #[test]
    fn the_last_of_a_switch_and_its_opposite_counts() {
        let switch = |name: &'static str| {
            let argument = Arg::new(name).long(name);
            argument.action(ArgAction::SetTrue)
        };
        let role = Command::new("role")
            .arg(switch("web.disable"))
            .arg(switch("no-cache"));
        let command = with_negations(Command::new("thanos").subcommand(role));
        for (arguments, web_disable, no_cache) in [
            (vec![], false, false),
            (vec!["--web.disable", "--cache"], true, false),
            (vec!["--web.disable", "--no-web.disable"], false, false),
            (vec!["--no-web.disable", "--web.disable"], true, false),
            (vec!["--cache", "--no-cache"], false, true),
            (vec!["--no-cache", "--cache"], false, false),
        ] {
            let all = ["thanos", "role"].into_iter().chain(arguments.clone());
            let found = command.clone().try_get_matches_from(all).unwrap();
            let (_, found) = found.subcommand().unwrap();
            let got = (found.get_flag("web.disable"), found.get_flag("no-cache"));
            assert_eq!(got, (web_disable, no_cache), "{arguments:?}");
        }
    }
}
