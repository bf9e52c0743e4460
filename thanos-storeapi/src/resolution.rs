//! Which of several blocks of one stream answer a request: the coarsest that will do, finer ones for the gaps, and
//! coarser ones where there is nothing else.

use thanos_core::time::{TimeRange, Timestamp};

/// Returns the positions of the blocks to read, by ascending time.
///
/// `blocks` holds the time range and the resolution (ms) of each block of one stream; `max_resolution_ms` is the
/// coarsest resolution that will do. Blocks of the coarsest one are taken, and every time they leave uncovered is
/// looked for in the next finer one: no data is left out because a coarser block does not exist
/// (rows ST-14 and 2.9 of the specification). What is left then is looked for in blocks that are coarser than wanted,
/// the finest first: none is left out either because it outlived the finer ones. (Thanos leaves it out.)
///
/// # Example
///
/// ```
/// use thanos_core::time::TimeRange;
/// use thanos_storeapi::resolution::select_blocks;
///
/// let raw_1 = (TimeRange::from_millis(0, 99), 0);
/// let raw_2 = (TimeRange::from_millis(100, 199), 0);
/// let coarse_1 = (TimeRange::from_millis(0, 99), 300_000);
/// let blocks = [raw_1, raw_2, coarse_1];
/// assert_eq!(select_blocks(&blocks, TimeRange::ALL, 300_000), [2, 1]);
/// assert_eq!(select_blocks(&blocks, TimeRange::ALL, 0), [0, 1]);
/// assert_eq!(select_blocks(&blocks[1..], TimeRange::ALL, 0), [1, 0]);
/// ```
pub fn select_blocks(
    blocks: &[(TimeRange, i64)],
    range: TimeRange,
    max_resolution_ms: i64,
) -> Vec<usize> {
    let mut resolutions: Vec<i64> = blocks.iter().map(|(_, resolution)| *resolution).collect();
    // Those that will do, coarsest first, then those that are coarser, finest first.
    resolutions.sort_unstable_by_key(|resolution| match *resolution <= max_resolution_ms {
        true => (false, -i128::from(*resolution)),
        false => (true, i128::from(*resolution)),
    });
    resolutions.dedup();
    let levels: Vec<Vec<usize>> = resolutions
        .iter()
        .map(|resolution| {
            let mut level: Vec<usize> = (0..blocks.len())
                .filter(|at| blocks[*at].1 == *resolution)
                .collect();
            level.sort_by_key(|at| (blocks[*at].0.min, blocks[*at].0.max));
            level
        })
        .collect();
    let mut selected = Vec::new();
    fill(blocks, &levels, range, &mut selected);
    // A finer block that spans two gaps is found for both.
    let mut seen = vec![false; blocks.len()];
    selected.retain(|at| !std::mem::replace(&mut seen[*at], true));
    selected
}

fn fill(
    blocks: &[(TimeRange, i64)],
    levels: &[Vec<usize>],
    range: TimeRange,
    selected: &mut Vec<usize>,
) {
    let Some((level, finer)) = levels.split_first() else {
        return;
    };
    let mut uncovered = Some(range.min);
    for at in level {
        let block = blocks[*at].0;
        if !block.overlaps(range) {
            continue;
        }
        if let Some(from) = uncovered.filter(|from| *from < block.min) {
            let gap = TimeRange {
                min: from,
                max: before(block.min),
            };
            fill(blocks, finer, gap, selected);
        }
        selected.push(*at);
        uncovered = uncovered.and_then(|from| Some(from.max(after(block.max)?)));
    }
    if let Some(from) = uncovered.filter(|from| *from <= range.max) {
        fill(
            blocks,
            finer,
            TimeRange {
                min: from,
                max: range.max,
            },
            selected,
        );
    }
}

fn before(time: Timestamp) -> Timestamp {
    time.saturating_add_millis(-1)
}

/// The time after `time`, or `None` at the end of time.
fn after(time: Timestamp) -> Option<Timestamp> {
    time.as_millis().checked_add(1).map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIVE_MINUTES: i64 = 300_000;
    const ONE_HOUR: i64 = 3_600_000;

    fn block(min: i64, max: i64, resolution: i64) -> (TimeRange, i64) {
        (TimeRange::from_millis(min, max), resolution)
    }

    /// ST-14.
    #[test]
    fn gaps_of_the_coarsest_resolution_are_filled_from_finer_ones() {
        let blocks = [
            block(0, 99, 0),
            block(100, 199, 0),
            block(200, 299, 0),
            block(300, 399, 0),
            block(100, 299, FIVE_MINUTES),
            block(200, 299, ONE_HOUR),
        ];
        let selected = |resolution| select_blocks(&blocks, TimeRange::ALL, resolution);
        assert_eq!(selected(0), [0, 1, 2, 3]);
        assert_eq!(selected(FIVE_MINUTES), [0, 4, 3]);
        assert_eq!(selected(ONE_HOUR), [0, 4, 5, 3]);
        assert_eq!(
            select_blocks(&blocks, TimeRange::from_millis(150, 180), ONE_HOUR),
            [4]
        );
    }

    /// Pain 12: raw blocks expire before those made of them.
    #[test]
    fn coarser_blocks_answer_where_there_are_no_others() {
        let blocks = [
            block(0, 99, ONE_HOUR),
            block(100, 199, ONE_HOUR),
            block(100, 199, FIVE_MINUTES),
            block(200, 299, FIVE_MINUTES),
            block(200, 299, 0),
        ];
        let selected = |resolution| select_blocks(&blocks, TimeRange::ALL, resolution);
        assert_eq!(selected(0), [0, 2, 4]);
        assert_eq!(selected(FIVE_MINUTES), [0, 2, 3]);
        assert_eq!(selected(ONE_HOUR), [0, 1, 3]);
    }

    #[test]
    fn overlapping_blocks_of_one_resolution_are_all_read() {
        let blocks = [block(0, 199, 0), block(100, 149, 0), block(120, 300, 0)];
        assert_eq!(select_blocks(&blocks, TimeRange::ALL, 0), [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn every_time_that_any_block_covers_is_covered_by_one_that_will_do_if_there_is_one(
            raw in proptest::collection::vec((0_i64..60, 0_i64..20, 0_usize..3), 0..12),
            time in 0_i64..80,
            coarsest in 0_usize..3,
        ) {
            let resolutions = [0, FIVE_MINUTES, ONE_HOUR];
            let blocks: Vec<_> =
                raw.iter().map(|(min, len, level)| block(*min, min + len, resolutions[*level])).collect();
            let range = TimeRange::from_millis(10, 70);
            let time = Timestamp::from_millis(time);
            let selected = select_blocks(&blocks, range, resolutions[coarsest]);
            let covers = |at: &usize| blocks[*at].0.contains(time);
            let allowed = |at: &usize| blocks[*at].1 <= resolutions[coarsest];
            let is_there = |which: &dyn Fn(&usize) -> bool| {
                range.contains(time) && (0..blocks.len()).any(|at| covers(&at) && which(&at))
            };
            prop_assert_eq!(selected.iter().any(covers) && range.contains(time), is_there(&|_| true));
            if is_there(&allowed) {
                prop_assert!(selected.iter().any(|at| covers(at) && allowed(at)));
            }
        }
    }
}
