//! Names for new blocks.

use std::hash::{BuildHasher, Hasher, RandomState};

use thanos_core::block::BlockId;
use thanos_core::time::Clock;

/// Returns a name that no other block has: the time of `clock` and 80 random bits.
pub fn new_block_id(clock: &dyn Clock) -> BlockId {
    // Each state has keys of its own, which the standard library takes from the system's randomness.
    let word = || u128::from(RandomState::new().build_hasher().finish());
    BlockId::from_parts(clock.now(), word() << 64 | word())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use thanos_core::time::{FixedClock, Timestamp};

    use super::*;

    #[test]
    fn names_carry_the_time_and_differ() {
        let clock = FixedClock(Timestamp::from_millis(1_793_491_200_000));
        let ids: BTreeSet<BlockId> = (0..1000).map(|_| new_block_id(&clock)).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.created() == clock.now()));
    }
}
