//! Protobuf messages to the types of [`crate::store`] and back.
//!
//! The server reads requests and writes answers, the client the other way round. The frames of `Series` are not
//! here: see [`crate::wire`].

pub(crate) mod info;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod status;

#[cfg(test)]
mod tests;
