//! The wiring shared by the role binaries: flags, logging, probes, metrics, servers, shutdown.
//!
//! Each role is one file under [`roles`]; what a role does lives in the library crates. [`promqltest`] is the command
//! line of the runner of test scripts.

pub mod about;
pub mod api;
pub mod cli;
pub mod debug;
pub mod flags;
pub mod glob;
pub mod grpc;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod probe;
pub mod process;
pub mod promqltest;
pub mod requests;
pub mod roles;
pub mod shutdown;
pub mod traces;
pub mod ui;
pub mod web;
