//! The multi-call binary `thanos <role> ...`.
fn main() {}
