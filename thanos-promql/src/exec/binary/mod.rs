//! Operators between two vectors: joins ([`join`]) and set operators ([`set`]).

pub(crate) mod join;
pub(crate) mod set;
