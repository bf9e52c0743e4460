//! Seeded data shapes shared by the benches.

pub mod queries;
