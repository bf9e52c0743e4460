//! One file per role: its flags and its wiring.

pub mod compact;
pub mod query;
pub mod sidecar;
pub mod standalone;
pub mod store;
pub mod tools;
