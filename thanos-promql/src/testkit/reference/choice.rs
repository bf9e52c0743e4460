//! Seeded choices.

use thanos_core::testkit::TestRandom;

/// A source of choices: the same seed makes the same ones.
#[derive(Debug, Clone)]
pub(super) struct Choice(TestRandom);

impl Choice {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = TestRandom::new(seed ^ 0x5EED_0F0F_C0FF_EE00);
        // Neighbouring seeds begin alike.
        random.next_u64();
        Self(random)
    }

    /// Returns a number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        usize::try_from(self.0.below(bound)).unwrap_or(0)
    }

    /// Returns a number from `low` to `high`.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = u64::try_from(high - low + 1).unwrap_or(1);
        low + i64::try_from(self.0.below(width)).unwrap_or(0)
    }

    /// Returns true in `percent` of all cases.
    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Returns one of `items`.
    pub(super) fn of<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }

    /// Returns one of `items`.
    pub(super) fn value<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// Returns some of `items`, in their order.
    pub(super) fn some<'a>(&mut self, items: &[&'a str], percent: usize) -> Vec<&'a str> {
        items
            .iter()
            .copied()
            .filter(|_| self.chance(percent))
            .collect()
    }
}
