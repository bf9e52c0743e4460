//! Memory budgets: process, tenant and query limits that large buffers lease their bytes from.
//!
//! Budgets form a tree. A lease takes its bytes from a budget and all its parents at once, or from none; it
//! gives them back when dropped. A request over the limit fails with an error that names the limit, so that
//! the configured number and the memory used are the same thing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};

/// A limit on bytes held at once, possibly part of a larger one.
///
/// # Example
///
/// ```
/// use thanos_core::budget::MemoryBudget;
///
/// let process = MemoryBudget::new("process memory", 1000);
/// let query = process.child("query memory", 600);
/// let lease = query.lease(500)?;
/// assert_eq!(process.used_bytes(), 500);
/// assert!(query.lease(200).is_err());
/// drop(lease);
/// assert_eq!(process.used_bytes(), 0);
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    node: Arc<Node>,
}

#[derive(Debug)]
struct Node {
    name: String,
    limit_bytes: u64,
    used_bytes: AtomicU64,
    peak_bytes: AtomicU64,
    parent: Option<MemoryBudget>,
    allowance: Option<Allowance>,
}

/// Bytes of a budget that are not its parent's.
#[derive(Debug)]
struct Allowance {
    bytes: u64,
    /// What goes to the parent depends on what is on lease, so one lease is taken after the other.
    turn: Mutex<()>,
}

impl Allowance {
    /// Returns what of `used` counts against the parent.
    fn beyond(&self, used: u64) -> u64 {
        used.saturating_sub(self.bytes)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        // It guards no data of its own.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// Returns what counts against the parent of the bytes between `from` and `to`.
    fn of_parent(&self, from: u64, to: u64) -> u64 {
        match &self.allowance {
            None => to - from,
            Some(allowance) => allowance.beyond(to) - allowance.beyond(from),
        }
    }
}

/// Counts but never refuses.
impl Default for MemoryBudget {
    fn default() -> Self {
        Self::unlimited()
    }
}

impl MemoryBudget {
    /// Returns a budget of `limit_bytes`; `name` appears in the error of a refused lease.
    pub fn new(name: impl Into<String>, limit_bytes: u64) -> Self {
        Self::with_parent(name.into(), limit_bytes, None, None)
    }

    /// Returns a budget that counts but never refuses.
    pub fn unlimited() -> Self {
        Self::new("unlimited", u64::MAX)
    }

    /// Returns a budget of at most `limit_bytes` whose leases also count against this one.
    #[must_use]
    pub fn child(&self, name: impl Into<String>, limit_bytes: u64) -> Self {
        Self::with_parent(name.into(), limit_bytes, Some(self.clone()), None)
    }

    /// Returns a budget like [`MemoryBudget::child`] whose first `allowance_bytes` do not count against this one: whoever
    /// makes it has set them aside. So a small user cannot be refused because of large ones.
    ///
    /// # Example
    ///
    /// ```
    /// use thanos_core::budget::MemoryBudget;
    ///
    /// let shared = MemoryBudget::new("shared memory", 100);
    /// let query = shared.child_with_allowance("query memory", 1000, 50);
    /// let small = query.lease(50)?;
    /// assert_eq!(shared.used_bytes(), 0);
    /// let more = query.lease(100)?;
    /// assert_eq!(shared.used_bytes(), 100);
    /// assert!(query.lease(1).is_err());
    /// # drop((small, more));
    /// # Ok::<(), thanos_core::Error>(())
    /// ```
    #[must_use]
    pub fn child_with_allowance(
        &self,
        name: impl Into<String>,
        limit_bytes: u64,
        allowance_bytes: u64,
    ) -> Self {
        let allowance = Allowance {
            bytes: allowance_bytes,
            turn: Mutex::new(()),
        };
        let parent = Some(self.clone());
        Self::with_parent(name.into(), limit_bytes, parent, Some(allowance))
    }

    fn with_parent(
        name: String,
        limit_bytes: u64,
        parent: Option<Self>,
        allowance: Option<Allowance>,
    ) -> Self {
        let (used_bytes, peak_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Self {
            node: Arc::new(Node {
                name,
                limit_bytes,
                used_bytes,
                peak_bytes,
                parent,
                allowance,
            }),
        }
    }

    /// Takes `bytes` from this budget and its parents.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` that names the budget that is too small; nothing is taken then.
    pub fn lease(&self, bytes: u64) -> Result<Lease> {
        self.take(bytes)?;
        Ok(Lease {
            budget: self.clone(),
            bytes,
        })
    }

    fn take(&self, bytes: u64) -> Result<()> {
        let node = &*self.node;
        let _turn = node.allowance.as_ref().map(Allowance::turn);
        let fits = |used: u64| {
            used.checked_add(bytes)
                .filter(|sum| *sum <= node.limit_bytes)
        };
        let before = node
            .used_bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits)
            .map_err(|used| {
                Error::limit_exceeded(format!(
                    "{} limit of {} bytes exceeded: {used} bytes in use, {bytes} more wanted",
                    node.name, node.limit_bytes
                ))
            })?;
        if let Some(parent) = &node.parent
            && let Err(error) = parent.take(node.of_parent(before, before + bytes))
        {
            node.used_bytes.fetch_sub(bytes, Ordering::AcqRel);
            return Err(error);
        }
        node.peak_bytes.fetch_max(before + bytes, Ordering::AcqRel);
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        let node = &*self.node;
        let _turn = node.allowance.as_ref().map(Allowance::turn);
        let before = node.used_bytes.fetch_sub(bytes, Ordering::AcqRel);
        if let Some(parent) = &node.parent {
            parent.give_back(node.of_parent(before - bytes, before));
        }
    }

    /// Returns the bytes on lease now.
    pub fn used_bytes(&self) -> u64 {
        self.node.used_bytes.load(Ordering::Acquire)
    }

    /// Returns the most bytes that were ever on lease at once.
    pub fn peak_bytes(&self) -> u64 {
        self.node.peak_bytes.load(Ordering::Acquire)
    }

    /// Returns how many more bytes fit now, here and in all parents: a hint, since others lease meanwhile.
    pub fn room_bytes(&self) -> u64 {
        let room = self.limit_bytes().saturating_sub(self.used_bytes());
        match &self.node.parent {
            Some(parent) => {
                let own = self.node.allowance.as_ref();
                let own = own.map_or(0, |own| own.bytes.saturating_sub(self.used_bytes()));
                room.min(parent.room_bytes().saturating_add(own))
            }
            None => room,
        }
    }

    /// Returns the limit.
    pub fn limit_bytes(&self) -> u64 {
        self.node.limit_bytes
    }
}

/// Bytes taken from a [`MemoryBudget`]; dropping it gives them back.
#[derive(Debug)]
#[must_use = "a dropped lease gives its bytes back at once"]
pub struct Lease {
    budget: MemoryBudget,
    bytes: u64,
}

impl Lease {
    /// Takes more or gives back, so that the lease holds `bytes` afterwards.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` when growing does not fit; the lease is unchanged then.
    pub fn resize(&mut self, bytes: u64) -> Result<()> {
        if bytes > self.bytes {
            self.budget.take(bytes - self.bytes)?;
        } else {
            self.budget.give_back(self.bytes - bytes);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Takes `bytes` more.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` when they do not fit; the lease is unchanged then.
    pub fn grow(&mut self, bytes: u64) -> Result<()> {
        self.resize(self.bytes.saturating_add(bytes))
    }

    /// Returns the bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_that_is_too_small_refuses_for_its_child() {
        let process = MemoryBudget::new("process memory", 100);
        let query = process.child("query memory", 1000);
        let error = query.lease(101).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("process memory limit of 100 bytes"),
            "{error}"
        );
        assert_eq!((query.used_bytes(), process.used_bytes()), (0, 0));
        let _other = process.lease(40).unwrap();
        assert_eq!((query.room_bytes(), process.room_bytes()), (60, 60));
    }

    #[test]
    fn resizing_keeps_the_sum_right() {
        let budget = MemoryBudget::new("b", 10);
        let mut lease = budget.lease(4).unwrap();
        lease.grow(6).unwrap();
        assert!(lease.grow(1).is_err());
        lease.resize(3).unwrap();
        assert_eq!((budget.used_bytes(), budget.peak_bytes()), (3, 10));
        drop(lease);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn an_allowance_is_not_the_parents_and_nothing_is_lost() {
        let shared = MemoryBudget::new("shared memory", 1000);
        let query = shared.child_with_allowance("query memory", 600, 100);
        assert_eq!(query.room_bytes(), 600);
        let others = shared.lease(980).unwrap();
        assert_eq!(query.room_bytes(), 120);
        let mut lease = query.lease(90).unwrap();
        let error = lease.grow(40).unwrap_err();
        assert!(error.to_string().contains("shared memory"), "{error}");
        lease.grow(30).unwrap();
        assert_eq!((query.used_bytes(), shared.used_bytes()), (120, 1000));
        drop(others);
        std::thread::scope(|scope| {
            for size in 1..5 {
                let query = &query;
                scope.spawn(move || {
                    for _ in 0..500 {
                        let mut one = query.lease(size).unwrap();
                        // Some of these are refused.
                        drop(one.grow(size * 50));
                    }
                });
            }
        });
        assert_eq!((query.used_bytes(), shared.used_bytes()), (120, 20));
        lease.resize(10).unwrap();
        assert_eq!((query.used_bytes(), shared.used_bytes()), (10, 0));
    }
}
