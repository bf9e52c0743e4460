//! The store gateway as a whole: the contract of a `Store` over real storage, faults, and what requests cost.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(
    clippy::print_stdout,
    reason = "what was measured is shown by --nocapture"
)]

mod cancel;
mod chunk_memory;
mod conformance;
mod cost;
mod differential;
mod faults;
mod goldens;
mod local_files;
