//! Pain 12: no query returns nothing while a block of any resolution has the data.

use thanos_core::block::Block;
use thanos_core::testkit::{TempDir, TestRandom};

use super::history::*;

const STRETCHES: usize = 6;
const HOURS_EACH: i64 = 4;

/// A series in stretches of four hours, each as a block of every resolution.
fn stretches(dir: &TempDir) -> Vec<[Block; 3]> {
    let mut random = TestRandom::new(7);
    let scrapes = Scrapes {
        interval_ms: 60_000,
        lost_in_100: 0,
        outages: 0,
    };
    let hours = STRETCHES as i64 * HOURS_EACH;
    let times = scrapes.times(&mut random, hours);
    let each = times.len() / STRETCHES;
    let stretch = |(number, times): (usize, &[i64])| {
        let from = number as i64 * HOURS_EACH;
        let series = [("gauge", gauge(times, &mut random))];
        let number = u8::try_from(number).unwrap();
        write_blocks(dir.path(), number, (from, from + HOURS_EACH), &series)
    };
    times.chunks(each).enumerate().map(stretch).collect()
}

/// Whatever blocks of whichever stretch there are: an hour has a value when any block has it, and it is the same.
#[test]
fn every_hour_that_any_block_has_is_answered() {
    let dir = TempDir::new("never-empty");
    let stretches = stretches(&dir);
    let all: Vec<Block> = stretches.iter().map(|blocks| blocks[0].clone()).collect();
    let hours = (1, STRETCHES as i64 * HOURS_EACH);
    let exact = [
        "max_over_time(gauge[1h])",
        "count_over_time(gauge[1h])",
        "sum_over_time(gauge[1h])",
    ];
    let expected = exact.map(|text| at_hours(&queryable(&all, 0), text, hours));
    assert_eq!(expected[0].len(), STRETCHES * 4);
    let cases = match std::env::var_os("THANOS_TEST_LONG") {
        Some(_) => 20_000,
        None => 60,
    };
    let mut random = TestRandom::new(1);
    for case in 0..cases {
        // A third of the resolutions of a stretch is there, so that some have none.
        let is_there: Vec<[bool; 3]> = (0..STRETCHES)
            .map(|_| [0; 3].map(|_: i32| random.below(3) == 0))
            .collect();
        let there = stretches
            .iter()
            .zip(&is_there)
            .flat_map(|(blocks, is_there)| {
                let chosen = blocks
                    .iter()
                    .zip(is_there)
                    .filter(|(_, is_there)| **is_there);
                chosen.map(|(block, _)| block.clone())
            });
        let blocks: Vec<Block> = there.collect();
        let resolution = RESOLUTIONS[usize::try_from(random.below(3)).unwrap()];
        let queryable = queryable(&blocks, resolution);
        let has = |hour: i64| {
            let stretch = usize::try_from((hour - 1) / HOURS_EACH).unwrap();
            is_there[stretch].contains(&true)
        };
        for (text, expected) in exact.iter().zip(&expected) {
            let found = at_hours(&queryable, text, hours);
            for (hour, expected) in expected {
                let found = found.get(hour).copied();
                let wanted = has(*hour).then_some(*expected);
                let is_same = match (found, wanted) {
                    (Some(found), Some(wanted)) => (found - wanted).abs() <= 1e-6,
                    (found, wanted) => found.is_none() && wanted.is_none(),
                };
                assert!(
                    is_same,
                    "case {case}: {text} at {hour}: {found:?} for {wanted:?} of {is_there:?} at {resolution}"
                );
            }
        }
        // Where it stands now is what the last hour says.
        let found = at_hours(&queryable, "gauge", hours);
        assert!(
            (hours.0..=hours.1).all(|hour| !has(hour) || found.contains_key(&hour)),
            "case {case}"
        );
        // A rate has two samples in the range wherever two windows of what there is lie in it.
        let found = at_hours(&queryable, "rate(gauge[3h])", (3, hours.1));
        let within = |hour: i64| has(hour) && has(hour - 1) && has(hour - 2);
        assert!(
            (3..=hours.1).all(|hour| !within(hour) || found.contains_key(&hour)),
            "case {case}"
        );
    }
}
