//! Operators between two vectors: joins ([`join`]) and set operators ([`set`]).

pub(crate) mod element;
pub(crate) mod join;
pub(crate) mod matching;
mod one_side;
mod output;
pub(crate) mod set;

#[cfg(test)]
mod tests;
