//! Connections between components: how they are made, encrypted, compressed and limited.
//!
//! | module | what it is for |
//! |---|---|
//! | `accept` (feature `server`) | connections of a server as they come, after their handshake |
//! | `compress` (features `client`, `server`) | messages of gRPC made small, and safely made whole again |
//! | `http_client` (feature `http-client`) | an HTTP client with the settings of Thanos and Prometheus |
//! | `tls` (feature `tls`) | certificates, versions and names of TLS, for clients and servers of any protocol |

#[cfg(feature = "server")]
pub mod accept;
#[cfg(feature = "compress")]
pub mod compress;
#[cfg(feature = "server")]
mod first_bytes;
#[cfg(feature = "http-client")]
pub mod http_client;
#[cfg(feature = "server")]
mod pings;
#[cfg(feature = "tls")]
pub mod tls;
