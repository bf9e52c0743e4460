//! Stores over data in this process.

mod local;

pub use local::{LocalStore, LocalStoreCounters, LocalStoreOptions};
