//! Seeded data shapes shared by the benches.
