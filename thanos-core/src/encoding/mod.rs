//! The small codings under every format: bit streams and variable-length integers.
//!
//! Nothing here knows what the bits mean; the chunk, index and log readers do.

pub mod bits;
pub mod crc;
mod cursor;
pub mod varbit;
pub mod varint;

pub use cursor::{Cursor, Section};
