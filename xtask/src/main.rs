//! Project chores, run as `cargo xtask <chore>`.

#![expect(
    clippy::print_stdout,
    reason = "a command line tool answers on standard output"
)]

mod codegen;
mod layers;
mod source;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <chore>

chores:
  codegen   write thanos-storeapi/src/pb from its proto files; with --check, compare instead
  layers    check that the crates depend on each other in one direction only, and the size of thanos-core
  source    check the rules for source text: ASCII, file length, no protobuf types outside their module";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some("codegen") => codegen::run(&arguments[1..]),
        Some("layers") => layers::check(),
        Some("source") => source::check(),
        _ => {
            println!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(problems) => {
            println!("{problems}");
            ExitCode::FAILURE
        }
    }
}
