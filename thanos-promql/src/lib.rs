//! PromQL in Rust: parser, plan, series-major engine and the Prometheus HTTP API.
//!
//! | feature | adds |
//! |---|---|
//! | `http` | the HTTP API v1 as an axum router |
//! | `testkit` | data in memory for tests, an entry for fuzzers |

pub mod annotations;
pub mod engine;
pub mod error;
mod exec;
mod functions;
#[cfg(feature = "http")]
pub mod http;
pub mod json;
pub mod parser;
mod plan;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod value;

pub use engine::{Engine, EngineOptions, OnPartial, Query};
pub use error::{Error, ErrorKind, Result};
pub use value::{QueryResult, Value};
