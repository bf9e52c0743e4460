//! The language: text to expression tree and back.
//!
//! Does not evaluate anything and reads no data; the engine, the query frontend, rules and distributed
//! execution call it. A query is text from outside: time is linear in its length, and [`Options`] bound its
//! size and depth.

pub mod ast;
pub mod functions;
mod ops;
mod options;
mod span;

pub use ast::Expr;
pub use functions::{Function, FunctionId};
pub use ops::{AggregateOp, BinaryOp, UnaryOp, ValueType};
pub use options::Options;
pub use span::{Position, Span};
