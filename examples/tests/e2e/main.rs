//! End-to-end scenarios: real processes of the built binaries, talking over real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod answers;
mod block_viewer;
mod blocks;
mod cancellation;
mod collector;
mod compact;
mod compact_scenario;
mod debug;
mod deployment;
mod embedding;
mod exemplars;
mod fakes;
mod faults;
mod grafana;
mod hostile_http;
mod ingestors;
mod jaeger;
mod lazy;
mod levels;
mod manifest;
mod metrics;
mod programs;
mod querier_rows;
mod raw;
mod readiness;
mod recorded;
mod requests;
mod scenes;
mod servers;
mod shutdown;
mod sidecar;
mod store_caches;
mod store_gateway;
mod store_limits;
mod store_rows;
mod tenant_matrix;
mod tenants;
mod tls;
mod tools;
mod tracing;
mod web;
