//! The API over a real block gives the answers that Prometheus 3.5.3 gave over it.

mod golden;
mod requests;
