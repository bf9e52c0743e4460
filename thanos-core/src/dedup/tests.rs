use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::histogram::Histogram;
use crate::time::{TimeRange, Timestamp};

type Floats<'a> = &'a [(i64, f64)];

fn floats(samples: Floats<'_>) -> Samples {
    let mut columns = Samples::new();
    for (time, value) in samples {
        columns.push_float(Timestamp::from_millis(*time), *value);
    }
    columns
}

/// Returns what `dedup` makes of float replicas.
fn deduplicated(dedup: Dedup, replicas: &[Floats<'_>]) -> Vec<(i64, f64)> {
    let replicas: Vec<Samples> = replicas.iter().map(|samples| floats(samples)).collect();
    let replicas: Vec<&Samples> = replicas.iter().collect();
    let sample = |pick: Pick| {
        let replica = replicas[pick.replica];
        (
            replica.times()[pick.sample],
            replica.values()[pick.sample] + pick.shift,
        )
    };
    dedup.pick(&replicas).into_iter().map(sample).collect()
}

fn every(step: i64, times: std::ops::Range<i64>, value: f64) -> Vec<(i64, f64)> {
    times.map(|number| (number * step, value)).collect()
}

/// the choices that the vectors of Thanos show, for two replicas.
#[test]
fn penalty_stays_with_a_replica_until_a_long_gap() {
    let cases: &[(Floats<'_>, Floats<'_>, Floats<'_>)] = &[
        // The first one is preferred.
        (
            &[(10_000, 10.0), (20_000, 11.0), (30_000, 12.0)],
            &[(10_000, 20.0), (20_000, 21.0), (30_000, 22.0)],
            &[(10_000, 10.0), (20_000, 11.0), (30_000, 12.0)],
        ),
        // The one that begins earlier is.
        (
            &[(10_100, 1.0), (20_100, 1.0), (30_100, 1.0)],
            &[(10_000, 2.0), (20_000, 2.0), (30_000, 2.0)],
            &[(10_000, 2.0), (20_000, 2.0), (30_000, 2.0)],
        ),
        // One lost sample is no reason to go over.
        (
            &[(10_000, 1.0), (20_000, 1.0), (40_000, 1.0)],
            &[(10_000, 2.0), (20_000, 2.0), (30_000, 2.0), (40_000, 2.0)],
            &[(10_000, 1.0), (20_000, 1.0), (40_000, 1.0)],
        ),
        (
            &[(10_000, 1.0), (20_000, 1.0), (40_000, 1.0)],
            &[(15_000, 2.0), (25_000, 2.0), (35_000, 2.0), (45_000, 2.0)],
            &[(10_000, 1.0), (20_000, 1.0), (40_000, 1.0)],
        ),
        // A longer gap is, and then the other one is stayed with.
        (
            &[
                (10_000, 1.0),
                (20_000, 1.0),
                (30_000, 1.0),
                (60_000, 1.0),
                (70_000, 1.0),
            ],
            &[
                (10_100, 2.0),
                (20_100, 2.0),
                (30_100, 2.0),
                (40_100, 2.0),
                (50_100, 2.0),
                (60_100, 2.0),
            ],
            &[
                (10_000, 1.0),
                (20_000, 1.0),
                (30_000, 1.0),
                (50_100, 2.0),
                (60_100, 2.0),
            ],
        ),
    ];
    for (a, b, expected) in cases {
        assert_eq!(deduplicated(Dedup::Penalty, &[a, b]), *expected);
    }
}

/// a counter whose replica missed its end is raised where the replicas change.
#[test]
fn counters_do_not_go_back_where_the_replica_changes() {
    let a: Floats<'_> = &[
        (10_000, 8.0),
        (20_000, 9.0),
        (50_001, 10.0),
        (60_000, 11.0),
        (70_000, 12.0),
        (80_000, 13.0),
        (90_000, 14.0),
        (100_000, 15.0),
    ];
    let b: Floats<'_> = &[(10_001, 8.0), (45_001, 8.5), (55_001, 9.5), (65_001, 10.5)];
    let times = [10_000, 20_000, 45_001, 55_001, 65_001, 90_000, 100_000];
    let with = |values: [f64; 7]| -> Vec<(i64, f64)> { times.into_iter().zip(values).collect() };
    let plain = deduplicated(Dedup::Penalty, &[a, b]);
    assert_eq!(plain, with([8.0, 9.0, 8.5, 9.5, 10.5, 14.0, 15.0]));
    let counter = deduplicated(Dedup::PenaltyOfCounter, &[a, b]);
    assert_eq!(counter, with([8.0, 9.0, 9.0, 10.0, 11.0, 14.0, 15.0]));
}

/// E-59: what is left of two replicas by penalty and by chain.
#[test]
fn penalty_takes_one_replica_and_chain_takes_every_time() {
    let a: Floats<'_> = &[(0, 1.0), (15_000, 2.0), (45_000, 4.0)];
    let b: Floats<'_> = &[(15_000, 2.0), (30_000, 3.0), (60_000, 5.0)];
    let sum = |dedup| -> f64 {
        let samples = deduplicated(dedup, &[a, b]);
        samples.into_iter().map(|(_, value)| value).sum()
    };
    assert_eq!(
        [sum(Dedup::Penalty), sum(Dedup::Chain)].map(f64::round),
        [7.0, 15.0]
    );
}

#[test]
fn replicas_that_follow_each_other_are_joined() {
    let parts: [Floats<'_>; 3] = [
        &[(10_000, 1.0), (20_000, 2.0)],
        &[(60_000, 3.0), (70_000, 4.0)],
        &[(200_000, 5.0), (210_000, 6.0)],
    ];
    for dedup in [Dedup::Penalty, Dedup::PenaltyOfCounter, Dedup::Chain] {
        assert_eq!(deduplicated(dedup, &parts), parts.concat(), "{dedup:?}");
        assert_eq!(deduplicated(dedup, &[]), []);
        assert_eq!(deduplicated(dedup, &[&[], &[]]), []);
        assert_eq!(deduplicated(dedup, &[&[], parts[0]]), parts[0]);
    }
}

/// A replica that was down for hours is left at once and its return changes nothing.
#[test]
fn an_outage_costs_two_samples_at_most() {
    let step = 15_000;
    let mut a = every(step, 0..100, 1.0);
    a.extend(every(step, 500..600, 1.0));
    let b: Vec<(i64, f64)> = every(step, 0..600, 2.0)
        .into_iter()
        .map(|(time, value)| (time + 1_000, value))
        .collect();
    let samples = deduplicated(Dedup::Penalty, &[&a, &b]);
    assert!(samples.len() >= 598, "{}", samples.len());
    assert!(
        samples
            .windows(2)
            .all(|two| two[1].0 - two[0].0 <= 3 * step)
    );
}

#[test]
fn histograms_are_picked_and_never_shifted() {
    let mut a = Samples::new();
    let mut b = Samples::new();
    for number in 0..10 {
        let time = Timestamp::from_millis(number * 10_000);
        a.push_histogram(time, &Histogram::stale());
        b.push_float(time, 5.0);
    }
    let picks = Dedup::PenaltyOfCounter.pick(&[&a, &b]);
    assert_eq!(picks.len(), 10);
    assert!(
        picks
            .iter()
            .all(|pick| pick.replica == 0 && pick.shift == 0.0)
    );
}

#[test]
fn chunks_that_overlap_are_of_different_replicas() {
    let split = |ranges: &[(i64, i64)]| {
        let range = |(min, max): &(i64, i64)| TimeRange::from_millis(*min, *max);
        split_overlapping(ranges.iter().map(range))
    };
    assert_eq!(split(&[]), Vec::<usize>::new());
    assert_eq!(split(&[(0, 20), (21, 40), (41, 60)]), [0, 0, 0]);
    assert_eq!(split(&[(0, 20), (20, 40), (21, 60)]), [0, 1, 0]);
    assert_eq!(
        split(&[(0, 60), (0, 20), (0, 30), (21, 40), (31, 50)]),
        [0, 1, 2, 1, 2]
    );
}

/// The times of a replica that scrapes every 15 s, loses some samples, and is down at times.
fn replica() -> impl Strategy<Value = Vec<(i64, f64)>> {
    let scrape = (0_i64..200, 0_u8..20, 0_i64..2_000_000, 0.0_f64..5.0);
    (0_i64..15_000, proptest::collection::vec(scrape, 0..120)).prop_map(|(phase, scrapes)| {
        let (mut time, mut value) = (phase, 0.0);
        let mut samples = Vec::new();
        for (jitter, fate, outage, increase) in scrapes {
            time += 15_000;
            match fate {
                0 => time += outage,
                1 | 2 => continue,
                3 => value = 0.0,
                _ => value += increase,
            }
            samples.push((time + jitter, value));
        }
        samples
    })
}

proptest! {
    #[test]
    fn what_is_picked_was_recorded_and_ascends(
        replicas in proptest::collection::vec(replica(), 0..5)
    ) {
        let columns: Vec<Samples> = replicas.iter().map(|samples| floats(samples)).collect();
        let columns: Vec<&Samples> = columns.iter().collect();
        for dedup in [Dedup::Penalty, Dedup::PenaltyOfCounter, Dedup::Chain] {
            let picks = dedup.pick(&columns);
            let times: Vec<i64> =
                picks.iter().map(|pick| columns[pick.replica].times()[pick.sample]).collect();
            prop_assert!(times.windows(2).all(|two| two[0] < two[1]), "{:?}", dedup);
            prop_assert_eq!(times.is_empty(), replicas.iter().all(Vec::is_empty));
            let is_shifted = picks.iter().any(|pick| pick.shift != 0.0);
            prop_assert!(dedup == Dedup::PenaltyOfCounter || !is_shifted);
        }
    }

    #[test]
    fn equal_replicas_are_the_replica(samples in replica(), count in 1_usize..5) {
        let replicas = vec![samples.as_slice(); count];
        for dedup in [Dedup::Penalty, Dedup::PenaltyOfCounter, Dedup::Chain] {
            prop_assert_eq!(&deduplicated(dedup, &replicas), &samples);
        }
    }

    #[test]
    fn chain_has_every_time_once(replicas in proptest::collection::vec(replica(), 0..5)) {
        let all: BTreeSet<i64> = replicas.iter().flatten().map(|(time, _)| *time).collect();
        let slices: Vec<Floats<'_>> = replicas.iter().map(Vec::as_slice).collect();
        let chained = deduplicated(Dedup::Chain, &slices);
        let times: Vec<i64> = chained.iter().map(|(time, _)| *time).collect();
        prop_assert_eq!(times, all.into_iter().collect::<Vec<_>>());
        let mut recorded: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for (time, value) in replicas.iter().flatten() {
            recorded.entry(*time).or_default().push(*value);
        }
        for (time, value) in chained {
            prop_assert!(recorded[&time].contains(&value));
        }
    }

    /// Walking all replicas together and folding them one by one are two ways to the same choice.
    #[test]
    fn without_shifts_both_penalties_choose_alike(
        replicas in proptest::collection::vec(replica(), 0..6)
    ) {
        let constant = |samples: &Vec<(i64, f64)>| -> Vec<(i64, f64)> {
            samples.iter().map(|(time, _)| (*time, 1.0)).collect()
        };
        let replicas: Vec<_> = replicas.iter().map(constant).collect();
        let columns: Vec<Samples> = replicas.iter().map(|samples| floats(samples)).collect();
        let columns: Vec<&Samples> = columns.iter().collect();
        prop_assert_eq!(Dedup::Penalty.pick(&columns), Dedup::PenaltyOfCounter.pick(&columns));
    }
}
