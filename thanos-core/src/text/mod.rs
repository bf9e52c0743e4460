//! Text as Go writes it: quoted strings and floats. Messages and JSON must be byte-equal to Prometheus'.

mod quote;

pub use quote::write_go_quoted;
