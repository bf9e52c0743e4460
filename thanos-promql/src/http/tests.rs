//! The API over a real block gives the answers that Prometheus gives over it.

mod admission;
mod components;
mod envelope;
mod golden;
mod hostile;
mod language;
mod peer;
mod peer_workload;
mod query_api;
mod requests;
mod statistics;
mod told;
