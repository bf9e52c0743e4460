//! The role `thanos compact` as a binary of its own.

fn main() -> std::process::ExitCode {
    thanos_examples::cli::main_of("compact")
}
