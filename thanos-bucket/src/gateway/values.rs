//! Sorted distinct strings, as many as are wanted, in leased memory.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use thanos_core::Result;
use thanos_core::budget::{Lease, MemoryBudget};

/// What a string takes beside its bytes: its place in a list, and what the allocator adds.
const VALUE_BYTES: u64 = 48;
/// Leases grow by this much, so that not every string asks the budget.
const LEASE_STEP_BYTES: u64 = 64 << 10;

/// Memory for strings, leased in steps.
#[derive(Debug)]
struct Memory {
    used_bytes: u64,
    lease: Lease,
}

impl Memory {
    fn new(budget: &MemoryBudget) -> Result<Self> {
        Ok(Self {
            used_bytes: 0,
            lease: budget.lease(0)?,
        })
    }

    fn take(&mut self, value: &str) -> Result<()> {
        self.used_bytes += value.len() as u64 + VALUE_BYTES;
        let missing = self.used_bytes.saturating_sub(self.lease.bytes());
        if missing > 0 {
            self.lease.grow(missing.max(LEASE_STEP_BYTES))?;
        }
        Ok(())
    }

    fn give_back(&mut self, value: &str) {
        self.used_bytes -= value.len() as u64 + VALUE_BYTES;
    }
}

/// The least of the values that sorted lists hold.
#[derive(Debug)]
pub(super) struct Values {
    /// Without duplicates.
    sorted: Vec<Box<str>>,
    limit: usize,
    memory: Memory,
}

impl Values {
    /// Returns an empty list that keeps the `limit` least values (0: all).
    pub(super) fn new(limit: u64, budget: &MemoryBudget) -> Result<Self> {
        Ok(Self {
            sorted: Vec::new(),
            limit: limit_of(limit),
            memory: Memory::new(budget)?,
        })
    }

    /// Takes in one list, which `visit` hands over value by value in ascending order.
    ///
    /// # Errors
    ///
    /// What `visit` returns, or `LimitExceeded` when memory is short. What was handed over before is kept.
    pub(super) fn merge(&mut self, visit: impl FnOnce(&mut Merge<'_>) -> Result<()>) -> Result<()> {
        let mut merge = Merge {
            known: &self.sorted,
            at: 0,
            fresh: Vec::new(),
            limit: self.limit,
            memory: &mut self.memory,
        };
        let visited = visit(&mut merge);
        let fresh = merge.fresh;
        if !fresh.is_empty() {
            self.sorted = union(std::mem::take(&mut self.sorted), fresh);
        }
        while self.sorted.len() > self.limit
            && let Some(value) = self.sorted.pop()
        {
            self.memory.give_back(&value);
        }
        visited
    }

    /// Returns the values.
    pub(super) fn into_strings(self) -> Vec<String> {
        self.sorted.into_iter().map(String::from).collect()
    }
}

/// One list on its way into [`Values`].
#[derive(Debug)]
pub(super) struct Merge<'v> {
    known: &'v [Box<str>],
    /// How many of `known` are less than the last value.
    at: usize,
    fresh: Vec<Box<str>>,
    limit: usize,
    memory: &'v mut Memory,
}

impl Merge<'_> {
    /// Takes the next value; breaks when neither it nor a later one is wanted.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` when memory is short.
    pub(super) fn push(&mut self, value: &str) -> Result<ControlFlow<()>> {
        while let Some(known) = self.known.get(self.at)
            && **known < *value
        {
            self.at += 1;
        }
        if self.at + self.fresh.len() >= self.limit {
            return Ok(ControlFlow::Break(()));
        }
        let is_known = self
            .known
            .get(self.at)
            .is_some_and(|known| **known == *value);
        if !is_known && self.fresh.last().is_none_or(|last| **last != *value) {
            self.memory.take(value)?;
            self.fresh.push(value.into());
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Returns the values of two sorted lists without a value in common.
fn union(a: Vec<Box<str>>, b: Vec<Box<str>>) -> Vec<Box<str>> {
    let mut merged = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    while let (Some(from_a), Some(from_b)) = (a.peek(), b.peek()) {
        let least = if from_a < from_b { a.next() } else { b.next() };
        merged.extend(least);
    }
    merged.extend(a);
    merged.extend(b);
    merged
}

fn limit_of(limit: u64) -> usize {
    match usize::try_from(limit) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(limit) => limit,
    }
}

/// The least of the values that come in any order.
#[derive(Debug)]
pub(super) struct Seen {
    values: BTreeSet<Box<str>>,
    limit: usize,
    memory: Memory,
}

impl Seen {
    /// Returns an empty set that keeps the `limit` least values (0: all).
    pub(super) fn new(limit: u64, budget: &MemoryBudget) -> Result<Self> {
        Ok(Self {
            values: BTreeSet::new(),
            limit: limit_of(limit),
            memory: Memory::new(budget)?,
        })
    }

    /// Takes in a value.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` when memory is short.
    pub(super) fn insert(&mut self, value: &str) -> Result<()> {
        if self.values.contains(value) {
            return Ok(());
        }
        if self.values.len() >= self.limit {
            if self.values.last().is_some_and(|last| **last < *value) {
                return Ok(());
            }
            if let Some(last) = self.values.pop_last() {
                self.memory.give_back(&last);
            }
        }
        self.memory.take(value)?;
        self.values.insert(value.into());
        Ok(())
    }

    /// Returns the values in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|value| &**value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use thanos_core::ErrorKind;

    use super::*;

    fn merged(lists: &[BTreeSet<String>], limit: u64) -> Vec<String> {
        let mut values = Values::new(limit, &MemoryBudget::unlimited()).unwrap();
        for list in lists {
            let visit = |merge: &mut Merge<'_>| {
                for value in list {
                    if merge.push(value)?.is_break() {
                        break;
                    }
                }
                Ok(())
            };
            values.merge(visit).unwrap();
        }
        values.into_strings()
    }

    proptest! {
        #[test]
        fn lists_and_sets_give_the_least_values(
            lists in prop::collection::vec(prop::collection::btree_set("[a-c]{0,3}", 0..20), 0..6),
            limit in 0_u64..12,
        ) {
            let all: BTreeSet<String> = lists.iter().flatten().cloned().collect();
            let wanted: Vec<String> = all.into_iter().take(limit_of(limit)).collect();
            prop_assert_eq!(merged(&lists, limit), wanted.clone());
            let mut seen = Seen::new(limit, &MemoryBudget::unlimited()).unwrap();
            for value in lists.iter().flatten() {
                seen.insert(value).unwrap();
            }
            prop_assert_eq!(seen.iter().collect::<Vec<_>>(), wanted);
        }
    }

    #[test]
    fn a_list_is_left_where_the_limit_is_reached() {
        let mut values = Values::new(2, &MemoryBudget::unlimited()).unwrap();
        let mut visited = 0;
        let mut visit = |list: &[&str]| {
            let visited = &mut visited;
            values
                .merge(|merge| {
                    for value in list {
                        *visited += 1;
                        if merge.push(value)?.is_break() {
                            break;
                        }
                    }
                    Ok(())
                })
                .unwrap();
        };
        visit(&["b", "c", "d", "e"]);
        visit(&["c", "d", "e", "f"]);
        assert_eq!(visited, 3 + 2);
        assert_eq!(values.into_strings(), ["b", "c"]);
    }

    /// ST-29: memory is leased, and given back for what falls out.
    #[test]
    fn too_many_values_are_over_the_budget_and_a_limit_keeps_them_in() {
        let budget = MemoryBudget::new("small", 200_000);
        let long: Vec<String> = (0..1000).map(|i| format!("{i:0>500}")).collect();
        let fill = |limit| {
            let mut values = Values::new(limit, &budget)?;
            for value in long.iter().rev() {
                values.merge(|merge| merge.push(value).map(drop))?;
            }
            let mut seen = Seen::new(limit, &budget)?;
            for value in long.iter().rev() {
                seen.insert(value)?;
            }
            Ok(values.into_strings())
        };
        let error: thanos_core::Error = fill(0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        assert!(error.to_string().contains("small"), "{error}");
        assert_eq!(fill(3).unwrap(), long[..3]);
        assert_eq!(budget.used_bytes(), 0);
    }
}
