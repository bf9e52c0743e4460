//! The role `thanos sidecar` as a binary of its own.

fn main() -> std::process::ExitCode {
    thanos_examples::cli::main_of("sidecar")
}
