//! The Thanos StoreAPI: the [`store::Store`] trait, its gRPC form, and fan-out over many stores.

pub mod label_edit;
pub mod queryable;
pub mod resolution;
pub mod shard;
pub mod store;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
