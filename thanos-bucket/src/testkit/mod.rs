//! What tests of buckets need.

#[cfg(feature = "testkit-servers")]
pub mod servers;
