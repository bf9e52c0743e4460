//! Seeded data shapes shared by the benches.

pub mod compaction;
pub mod cpu_time;
pub mod queries;
pub mod wide;
