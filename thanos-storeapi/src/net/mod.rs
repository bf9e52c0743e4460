//! Connections between components: how they are made, encrypted, compressed and limited.
//!
//! | module | what it is for |
//! |---|---|
//! | `tls` (feature `tls`) | certificates, versions and names of TLS, for clients and servers of any protocol |

#[cfg(feature = "tls")]
pub mod tls;
