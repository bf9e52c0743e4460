//! The API over a real block gives the answers that Prometheus gives over it.

mod golden;
mod peer;
mod requests;
