//! Seeded pseudo-random numbers: the same seed gives the same data on every machine.

/// SplitMix64: small, fast, and good enough for test data.
///
/// # Example
///
/// ```
/// use thanos_core::testkit::TestRandom;
///
/// let mut random = TestRandom::new(7);
/// assert!(random.below(10) < 10);
/// assert_eq!(TestRandom::new(1).next_u64(), TestRandom::new(1).next_u64());
/// ```
#[derive(Debug, Clone)]
pub struct TestRandom {
    state: u64,
}

impl TestRandom {
    /// Returns the generator of this seed.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Returns the next number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`, or 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The slight preference for small numbers does not matter to tests.
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// Returns a float of at least 0 and below 1.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
