//! The multi-call binary: `thanos <role> ...`.

fn main() -> std::process::ExitCode {
    thanos_examples::cli::main()
}
