//! PromQL in Rust: parser, plan, series-major engine and the Prometheus HTTP API.

pub mod parser;
