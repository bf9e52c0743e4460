//! The memory of an answer.

use std::sync::Arc;

use parking_lot::Mutex;
use thanos_core::budget::Lease;

/// The memory that an answer takes, on lease until the last copy of the answer is gone.
///
/// # Example
///
/// ```
/// use thanos_core::budget::MemoryBudget;
/// use thanos_storeapi::apis::{Answer, Held};
///
/// let budget = MemoryBudget::new("memory", 100);
/// let mut answer = Answer::complete("rules");
/// answer.held = Held::from(budget.lease(60)?);
/// let copy = answer.clone();
/// drop(answer);
/// assert_eq!(budget.used_bytes(), 60);
/// drop(copy);
/// assert_eq!(budget.used_bytes(), 0);
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Held {
    leases: Vec<Arc<Mutex<Lease>>>,
}

impl Held {
    /// Takes over what `other` holds.
    pub fn join(&mut self, other: Self) {
        self.leases.extend(other.leases);
    }

    /// Returns the bytes on lease.
    pub fn bytes(&self) -> u64 {
        self.leases.iter().map(|lease| lease.lock().bytes()).sum()
    }
}

impl From<Lease> for Held {
    fn from(lease: Lease) -> Self {
        Self::from(Arc::new(Mutex::new(lease)))
    }
}

impl From<Arc<Mutex<Lease>>> for Held {
    fn from(lease: Arc<Mutex<Lease>>) -> Self {
        Self {
            leases: vec![lease],
        }
    }
}

/// What an answer says does not depend on the memory it takes.
impl PartialEq for Held {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
