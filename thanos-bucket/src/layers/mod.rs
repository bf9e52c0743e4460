//! Layers between a bucket and the client of an object store. Each is an `ObjectStore` around another one.
//!
//! From the network up, as [`crate::config::BucketConfig::open`] and [`crate::Bucket`] put them together:
//!
//! | layer | what it does |
//! |---|---|
//! | the client | retries |
//! | [`PutAttributes`], [`Uploads`] | metadata on objects, large objects in parts |
//! | [`Instrumented`] | counts requests, in Thanos' metrics too |
//! | [`Hedged`] | asks again when an answer is late |
//! | caches | whatever [`crate::Bucket::layered`] adds |
//!
//! [`LimitStore`] of `object_store` bounds how many requests run at once; it belongs below [`Instrumented`], whose
//! durations then hold the waiting too.

mod hedged;
mod instrumented;
mod metrics;
mod put_attributes;
#[cfg(test)]
mod tests;
mod uploads;

pub use hedged::{Hedged, HedgingOptions};
pub(crate) use instrumented::RequestCounter;
pub use instrumented::{ExistsQuestion, ExpectMissing, Instrumented, RequestCounts};
pub use metrics::BucketMetrics;
pub use object_store::limit::LimitStore;
pub use put_attributes::PutAttributes;
pub use uploads::Uploads;
