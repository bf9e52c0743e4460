//! Prometheus blocks in object storage: the bucket, block listing and the store gateway.
//!
//! | feature | what it adds |
//! |---|---|
//! | `filesystem` (default) | a bucket in a local directory |
//! | `testkit` | fakes for tests |

pub mod bucket;
pub mod config;
#[cfg(feature = "filesystem")]
pub mod directory;
pub mod fetch;
pub mod gateway;

pub use bucket::{Bucket, RequestCounts};
