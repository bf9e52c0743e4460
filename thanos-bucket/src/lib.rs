//! Prometheus blocks in object storage: the bucket, block listing and the store gateway.
//!
//! | feature | what it adds |
//! |---|---|
//! | `azure` | buckets of Azure Blob Storage |
//! | `filesystem` (default) | a bucket in a local directory |
//! | `gcs` | buckets of Google Cloud Storage |
//! | `http` | the block viewer's API as an axum router |
//! | `memcached`, `redis` | caches in such servers |
//! | `s3` | buckets of S3 and of the many clouds that speak its protocol |
//! | `testkit` | slow, counted and faulty object stores, generated buckets |
//! | `testkit-servers` | object-storage servers for tests |

pub mod bucket;
pub mod cache;
pub mod compact;
pub mod compute;
pub mod config;
#[cfg(feature = "filesystem")]
pub mod directory;
pub mod fetch;
pub mod gateway;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "cloud")]
mod http_client;
pub mod layers;
pub mod manifest;
pub mod ship;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod tombstones;
pub mod tools;
pub mod transfer;

pub use bucket::{Bucket, RequestCounts};
