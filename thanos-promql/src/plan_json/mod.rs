//! Expressions as the JSON in which Thanos' engines hand plans to each other.
//!
//! [`encode`] writes an expression whose times are settled; [`to_query`] (feature `http`) turns such a plan into the
//! text of a query, so that everything that checks a query checks a plan, too. A plan that says something we do not
//! know is refused, and its sender's query text is taken in its place. Source: promql-engine `logicalplan/codec.go`.

#[cfg(any(test, feature = "http"))]
mod decode;
mod encode;
#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "http"))]
pub use decode::{PLAN_BYTES_MAX, to_query};
pub use encode::encode;
