//! The compactor: keeps a bucket in order.
//!
//! ```text
//! sync -> delete marked blocks -> mark garbage -> group -> plan and compact until nothing is left
//!      -> downsample, twice -> retention -> remove broken uploads
//! ```
//!
//! Deciding is here and makes no request; carrying out is the job's.

pub mod group;
pub mod passes;
pub mod planner;
pub mod retention;
#[cfg(test)]
mod testing;
