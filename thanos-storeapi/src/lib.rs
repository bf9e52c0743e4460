//! The Thanos StoreAPI: the [`store::Store`] trait, its gRPC form, and fan-out over many stores.
//!
//! | module | what it is for |
//! |---|---|
//! | [`store`] | the trait that every source of series implements, with its requests and answers |
//! | [`apis`] | what components answer beside series: rules, targets, metadata, exemplars, status, whole queries |
//! | [`queryable`] | any store as something PromQL can be evaluated over |
//! | [`stores`] | stores over data in this process |
//! | `prometheus` (feature `prometheus`) | a Prometheus server as a store, and its other APIs |
//! | [`proxy`] | one store over many |
//! | [`label_edit`], [`join`], [`shard`], [`resolution`], [`aggregates`], [`policy`] | what stores do to the series they send |
//! | [`limits`] | how much an answer may hold |
//! | [`fanout`] | everything beside series from many components |
//! | [`gate`] | how many of something are under way at once |
//! | [`hints`] | what stores of blocks and their clients tell each other beside requests |
//! | [`matchers`] | where the matchers of requests come from |
//! | `endpoints` (feature `client`) | which stores there are: names, files, groups, health |
//! | [`tenancy`] | a store of which every tenant sees its own part |
//! | [`tenant`] | on whose behalf a request is made |
//! | [`net`] | connections between components: encrypted, compressed, limited |
//! | [`wire`] | the frames of a `Series` answer as bytes |
//! | `client` (feature `client`) | a store that asks another one over gRPC |
//! | `server` (feature `server`) | serves any store over gRPC |
//! | `testkit` (feature `testkit`) | the conformance suite and fake stores for tests |

pub mod aggregates;
pub mod apis;
#[cfg(feature = "client")]
pub mod client;
#[cfg_attr(
    not(all(feature = "client", feature = "server")),
    allow(dead_code, reason = "each side uses one direction")
)]
mod convert;
#[cfg(feature = "client")]
pub mod endpoints;
pub mod fanout;
pub mod gate;
pub mod hints;
pub mod join;
pub mod label_edit;
pub mod limits;
pub mod matchers;
pub mod net;
mod pb;
pub mod policy;
#[cfg(feature = "prometheus")]
pub mod prometheus;
pub mod proxy;
pub mod queryable;
pub mod resolution;
#[cfg(feature = "server")]
pub mod server;
pub mod shard;
pub mod store;
pub mod stores;
pub mod tenancy;
pub mod tenant;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod wire;
