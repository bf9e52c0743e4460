//! End-to-end scenarios: real processes of the built binaries, talking over real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod answers;
mod grafana;
mod programs;
mod servers;
