//! The Store conformance suite, and fakes for tests of everything that reads a [`Store`](crate::store::Store).
//!
//! # Example
//!
//! An implementer hands the suite a way to make a store of given series:
//!
//! ```
//! use std::sync::Arc;
//! use thanos_storeapi::store::Store;
//! use thanos_storeapi::testkit::{Dataset, conformance};
//!
//! async fn make_store(data: Dataset) -> Arc<dyn Store> {
//!     Arc::new(data.to_mem_store())
//! }
//! # fn main() {
//! # futures::executor::block_on(
//! conformance::run(make_store)
//! # );
//! # }
//! ```

mod answer;
mod block;
pub mod conformance;
mod dataset;
mod faults;
mod fixed_apis;
pub mod fuzz;
#[cfg(all(test, feature = "http-client"))]
pub(crate) mod http;
mod mem_store;

pub use answer::{Answer, AnswerSeries};
pub use block::write_block;
pub use dataset::{Dataset, DatasetSeries, SAMPLES_PER_CHUNK_MAX};
pub use faults::Fault;
pub use fixed_apis::FixedApis;
pub use mem_store::{MemSeries, MemStore};
