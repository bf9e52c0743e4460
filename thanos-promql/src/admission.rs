//! When queries may run, and with how much memory: light ones stay fast whatever heavy ones do.
//!
//! Every query has an allowance of memory that is set aside for it; one that fits in there is *light* and needs one of the
//! light places. A query that wants more, or is known to want more, is *heavy*: it gives its light place back, waits in a
//! bounded queue for one of the few heavy places, and takes the rest of its memory from a pool that all heavy queries share.
//! So the memory of all queries is at most the budget, and light queries neither wait for heavy ones nor are refused
//! because of them. A tenant has at most its share of the places and of the pool.

#[cfg(feature = "http")]
mod places;

use std::any::Any;
use std::fmt;

use async_trait::async_trait;
use thanos_core::budget::MemoryBudget;

#[cfg(feature = "http")]
pub use places::{AdmissionCounters, AdmissionLimits, AdmissionOptions, Places, Ticket};

use crate::error::Result;

/// Holds the place of a heavy query until it is dropped.
pub type HeavyPlace = Box<dyn Any + Send>;

/// The admission of one query.
#[async_trait]
pub trait Admission: fmt::Debug + Send + Sync + 'static {
    /// Returns the memory of the query.
    fn budget(&self) -> MemoryBudget;

    /// Returns how many bytes of it a light query may hold.
    fn allowance_bytes(&self) -> u64;

    /// Waits until the query may hold more than that.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` when too many wait already.
    async fn become_heavy(&self) -> Result<HeavyPlace>;
}
