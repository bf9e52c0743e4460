//! The Thanos StoreAPI: the [`store::Store`] trait, its gRPC form, and fan-out over many stores.

pub mod store;
