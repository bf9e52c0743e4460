//! The command line of `promqltest`: finds the files, runs them, prints what failed.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use futures::executor::block_on;
use thanos_promql::testkit::promqltest::{Report, Runner, expressions};

/// Runs test scripts in the language of Prometheus' promqltest against this project's PromQL engine.
///
/// Every failed evaluation is printed as `file:line: what`, and at the end `N passed, M failed`. An instant
/// evaluation counts once, although it is repeated as a step of a range and, with `@` in its selectors, at other
/// times. The engine has the settings of Prometheus' own tests: all experimental parts of the language,
/// delayed name removal and start timestamps are on, lookback is 5m, the step of subqueries 1m, at most 10,000
/// samples are loaded.
#[derive(Debug, Parser)]
#[command(name = "promqltest", version, after_help = EXAMPLE)]
struct Cli {
    /// The paths are parser tables (JSON lines with `input` and `valid` or `errors`) in place of scripts.
    #[arg(long)]
    expressions: bool,
    /// Print a line for each file, too.
    #[arg(long, short)]
    verbose: bool,
    /// Files, or folders with files that end in `.test` (or `.jsonl`, for tables).
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

const EXAMPLE: &str = "\
A script:
  load 1m
    requests_total{job=\"api\"} 0+60x10

  eval instant at 5m rate(requests_total[5m])
    expect no_warn
    {job=\"api\"} 1

  eval range from 0 to 4m step 2m requests_total
    requests_total{job=\"api\"} 0 120 240";

/// Runs what the arguments of this process name.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli, &mut io::stdout().lock()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody is left to tell when this fails, too.
            let _ = writeln!(io::stderr(), "promqltest: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns how many evaluations failed.
fn run(cli: &Cli, out: &mut impl Write) -> io::Result<usize> {
    let extension = if cli.expressions { "jsonl" } else { "test" };
    let (mut passed, mut failed) = (0, 0);
    for path in files(&cli.paths, extension)? {
        let name = path.display();
        let text = std::fs::read_to_string(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
        let report = if cli.expressions {
            expressions::run(&text, &expressions::parser_options())
        } else {
            block_on(Runner::default().run(&text))
        };
        print(&report, &path, cli.verbose, out)?;
        passed += report.passed;
        failed += report.failures.len();
    }
    writeln!(out, "{passed} passed, {failed} failed")?;
    Ok(failed)
}

fn print(report: &Report, path: &Path, is_verbose: bool, out: &mut impl Write) -> io::Result<()> {
    let name = path.display();
    for failure in &report.failures {
        writeln!(out, "{name}:{}: {}", failure.line, failure.what)?;
    }
    if is_verbose {
        let (passed, failed) = (report.passed, report.failures.len());
        writeln!(out, "{name}: {passed} passed, {failed} failed")?;
    }
    Ok(())
}

/// Returns the files among `paths` and, sorted, those with `extension` in the folders among them.
fn files(paths: &[PathBuf], extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let known = files.len();
        for entry in path.read_dir()? {
            let file = entry?.path();
            if file.extension().is_some_and(|found| found == extension) {
                files.push(file);
            }
        }
        files[known..].sort();
        if files.len() == known {
            let what = format!("{}: no file ends in .{extension}", path.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
