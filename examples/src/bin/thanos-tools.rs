//! The role `thanos tools` as a binary of its own.

fn main() -> std::process::ExitCode {
    thanos_examples::cli::main_of("tools")
}
