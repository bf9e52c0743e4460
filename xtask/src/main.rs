//! Project chores, run as `cargo xtask <chore>`.
fn main() {}
