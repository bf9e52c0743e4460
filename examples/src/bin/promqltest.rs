//! Runs test scripts and parser tables: `cargo run --release --bin promqltest -- PATH...`

use std::process::ExitCode;

fn main() -> ExitCode {
    thanos_examples::promqltest::main()
}
