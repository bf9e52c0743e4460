//! One file per role: its flags and its wiring.

pub mod query;
pub mod standalone;
pub mod store;
