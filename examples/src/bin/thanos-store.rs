//! The role `thanos store` as a binary of its own.

fn main() -> std::process::ExitCode {
    thanos_examples::cli::main_of("store")
}
