//! PromQL in Rust: parser, plan, series-major engine and the Prometheus HTTP API.
//!
//! The [`Engine`] evaluates over anything that is a [`Queryable`](thanos_core::query::Queryable) and needs no
//! async runtime:
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::Arc;
//! use futures::executor::block_on;
//! use thanos_core::block::Block;
//! use thanos_core::query::Queryable;
//! use thanos_core::time::Timestamp;
//! use thanos_promql::Engine;
//!
//! let block: Arc<dyn Queryable> = Arc::new(Block::open(Path::new("data/01M81JDC7R8JKP7SEW1VN2HAQ9"))?);
//! let time = Timestamp::from_millis(1_793_496_600_000);
//! let result = block_on(Engine::default().instant(&block, "sum(rate(http_requests_total[5m]))", time))?;
//! println!("{:?}", result.value);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | feature | adds |
//! |---|---|
//! | `http` | the HTTP API v1 as an axum router |
//! | `testkit` | data in memory for tests, a runner of test scripts, a naive evaluator, an entry for fuzzers |

pub mod active;
pub mod admission;
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
pub mod plan_json;
pub mod remote;
pub mod rules;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod value;

pub use engine::{Engine, EngineOptions, OnPartial, Query};
pub use error::{Error, ErrorKind, Result};
pub use value::{QueryResult, Value};
