//! Remote read: requests for series, and the two forms of their answers.

pub(super) mod frames;
#[cfg(any(test, feature = "testkit"))]
pub(crate) mod fuzz;
mod histogram;
pub(super) mod request;
pub(super) mod samples;
pub(super) mod series;
pub(super) mod stream;
#[cfg(test)]
mod tests;
