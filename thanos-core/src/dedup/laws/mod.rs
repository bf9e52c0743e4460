//! Laws of deduplication, on random histories of replicas that scrape one counter.
//!
//! `THANOS_TEST_LONG` tries a million histories, which takes some minutes in an optimised build.

mod history;
mod rates;

use history::{Floats, History, below, columns};

use super::*;
use crate::chunk::SeriesChunk;
use crate::histogram::Histogram;
use crate::query::{Reading, SeriesReader, WindowValue};
use crate::testkit::TestRandom;
use crate::time::{TimeRange, Timestamp};

/// Returns the chunks of all replicas in the order in which a store sends them.
fn chunks_of(replicas: &[Floats]) -> Vec<SeriesChunk> {
    let mut chunks: Vec<SeriesChunk> = Vec::new();
    for replica in replicas {
        chunks.extend(crate::chunk::encode(&columns(replica)));
    }
    chunks.sort_by(SeriesChunk::cmp_by_time);
    chunks
}

/// What `dedup` makes of chunks, from `from_ms` on.
fn read(chunks: &[SeriesChunk], dedup: Dedup, from_ms: i64) -> Floats {
    let reading = Reading {
        windows: match dedup {
            Dedup::PenaltyOfCounter | Dedup::Counter => WindowValue::Total,
            Dedup::Penalty | Dedup::Chain => WindowValue::Average,
        },
        dedup: Some(dedup),
        range: TimeRange::from_millis(from_ms, i64::MAX),
    };
    let mut samples = Samples::new();
    SeriesReader::default()
        .read(chunks, &reading, &mut samples)
        .unwrap();
    let times = samples.times().iter().copied();
    times.zip(samples.values().iter().copied()).collect()
}

const ALL: [Dedup; 4] = [
    Dedup::Penalty,
    Dedup::PenaltyOfCounter,
    Dedup::Counter,
    Dedup::Chain,
];

fn histories() -> u64 {
    match std::env::var_os("THANOS_TEST_LONG") {
        Some(_) => 1_000_000,
        None => 2_000,
    }
}

/// Pain 3 (a): copies of a replica become that replica.
#[test]
fn copies_of_a_replica_become_the_replica() {
    for seed in 0..histories() {
        let history = History::new(seed);
        let replica = columns(&history.replicas[0]);
        for dedup in ALL {
            // Which of the copies gives a sample can not be told.
            let samples = |replicas: &[&Samples]| -> Vec<(usize, u64)> {
                let picks = dedup.pick(replicas);
                let sample = |pick: &Pick| (pick.sample, pick.shift.to_bits());
                picks.iter().map(sample).collect()
            };
            let alone = samples(&[&replica]);
            let kept = alone.iter().map(|(sample, _)| *sample);
            assert!(kept.eq(0..replica.len()), "seed {seed} {dedup:?}");
            let is_shifted = alone.iter().any(|(_, shift)| *shift != 0);
            assert!(!is_shifted || dedup == Dedup::Counter, "seed {seed}");
            for copies in 2..4 {
                let same = samples(&vec![&replica; copies]) == alone;
                assert!(same, "seed {seed} {dedup:?}");
            }
        }
    }
}

/// Pain 3 (b): nothing is made up, and nothing is at a time twice; the chain has every time.
#[test]
fn every_sample_is_one_of_a_replica() {
    for seed in 0..histories() {
        let history = History::new(seed);
        let replicas: Vec<Samples> = history.replicas.iter().map(columns).collect();
        let replicas: Vec<&Samples> = replicas.iter().collect();
        for dedup in ALL {
            let picks = dedup.pick(&replicas);
            let time = |pick: &Pick| replicas[pick.replica].times()[pick.sample];
            assert!(picks.is_sorted_by(|a, b| time(a) < time(b)), "seed {seed}");
            let is_shifted = picks.iter().any(|pick| pick.shift != 0.0);
            let of_counter = matches!(dedup, Dedup::PenaltyOfCounter | Dedup::Counter);
            assert!(!is_shifted || of_counter, "seed {seed} {dedup:?}");
            let is_empty = history.replicas.iter().all(Vec::is_empty);
            assert_eq!(picks.is_empty(), is_empty, "seed {seed} {dedup:?}");
            if dedup == Dedup::Chain {
                let mut times: Vec<i64> = replicas
                    .iter()
                    .flat_map(|replica| replica.times().to_vec())
                    .collect();
                times.sort_unstable();
                times.dedup();
                assert!(picks.iter().map(time).eq(times), "seed {seed}");
            }
        }
    }
}

/// The same for histograms: they are chosen by their times alone, whatever the function is.
#[test]
fn histograms_are_chosen_like_floats_and_never_shifted() {
    for seed in 0..histories() / 10 {
        let history = History::new(seed);
        let histograms = |samples: &Floats| {
            let mut columns = Samples::new();
            for (time, _) in samples {
                columns.push_histogram(Timestamp::from_millis(*time), &Histogram::stale());
            }
            columns
        };
        let floats: Vec<Samples> = history.replicas.iter().map(columns).collect();
        let floats: Vec<&Samples> = floats.iter().collect();
        let histograms: Vec<Samples> = history.replicas.iter().map(histograms).collect();
        let histograms: Vec<&Samples> = histograms.iter().collect();
        for dedup in ALL {
            let places = |picks: Vec<Pick>| -> Vec<(usize, usize)> {
                let place = |pick: &Pick| (pick.replica, pick.sample);
                picks.iter().map(place).collect()
            };
            let picks = dedup.pick(&histograms);
            assert!(picks.iter().all(|pick| pick.shift == 0.0), "seed {seed}");
            // Shifts do not choose either.
            assert_eq!(places(picks), places(dedup.pick(&floats)), "seed {seed}");
        }
    }
}

/// Pain 3 (d): chunks say nothing of the order in which stores sent them.
#[test]
fn the_order_of_stores_does_not_matter() {
    for seed in 0..histories() {
        let history = History::new(seed);
        let mut replicas = history.replicas;
        let chunks = chunks_of(&replicas);
        let mut random = TestRandom::new(seed);
        let turn = below(&mut random, replicas.len() as u64);
        replicas.rotate_left(turn);
        if random.below(2) == 0 {
            replicas.reverse();
        }
        // What is given to every function that reads replicas is equal, and so is all that it makes of it.
        assert_eq!(chunks_of(&replicas), chunks, "seed {seed}");
        let dedup = ALL[below(&mut random, ALL.len() as u64)];
        let once = read(&chunks, dedup, 0);
        let again = read(&chunks_of(&replicas), dedup, 0);
        assert_eq!(again, once, "seed {seed} {dedup:?}");
    }
}

/// Pain 3 (d): a query that is split in two is answered as the whole one, by the chain.
///
/// The penalty begins anew at each start, as in Thanos: with whichever replica comes first. What its answers have in
/// common wherever they begin is what [`rates`] says of counters.
#[test]
fn a_later_start_changes_the_chain_in_nothing() {
    for seed in 0..histories() {
        let history = History::new(seed);
        let middle = history.end_ms / 3;
        let chunks = chunks_of(&history.replicas);
        let mut whole = read(&chunks, Dedup::Chain, 0);
        let mut part = read(&chunks, Dedup::Chain, middle);
        whole.retain(|sample| sample.0 >= middle);
        part.retain(|sample| sample.0 >= middle);
        assert_eq!(part, whole, "seed {seed}");
    }
}
