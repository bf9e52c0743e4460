//! Text as Go writes it: quoted strings and floats. Messages and JSON must be byte-equal to Prometheus'.

mod float;
mod printable;
mod quote;

pub use float::{FloatFormat, GoFloat, push_float, write_float};
pub use quote::write_go_quoted;
