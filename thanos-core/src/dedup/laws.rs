//! Laws of deduplication, on random histories of replicas that scrape one counter.
//!
//! `THANOS_TEST_LONG` tries a million histories, which wants an optimised build.

use super::*;
use crate::chunk::SeriesChunk;
use crate::query::{Reading, SeriesReader, WindowValue};
use crate::testkit::TestRandom;
use crate::time::{TimeRange, Timestamp};

/// A counter that is known at every moment: it grows by `rate` a second, and begins anew at each reset.
struct Counter {
    /// By the start of each minute: how fast it grows in it.
    rates: Vec<f64>,
    resets_ms: Vec<i64>,
}

const MINUTE_MS: i64 = 60_000;
const RATE_MAX: f64 = 10.0;

impl Counter {
    fn new(random: &mut TestRandom, minutes: usize) -> Self {
        let steady = random.below(2) == 0;
        let base = random.unit() * RATE_MAX;
        let rate = |random: &mut TestRandom| match steady {
            true => base,
            false => random.unit() * RATE_MAX,
        };
        let rates = (0..minutes).map(|_| rate(random)).collect();
        let count = random.below(3);
        let span = MINUTE_MS.unsigned_abs() * minutes as u64;
        let mut resets_ms: Vec<i64> = (0..count)
            .map(|_| random.below(span).cast_signed())
            .collect();
        resets_ms.sort_unstable();
        Self { rates, resets_ms }
    }

    /// Returns how much it has grown since the start, whatever its resets.
    fn growth(&self, time_ms: i64) -> f64 {
        let whole = usize::try_from(time_ms / MINUTE_MS).unwrap();
        let full: f64 = self.rates[..whole.min(self.rates.len())].iter().sum();
        let rest = (time_ms % MINUTE_MS) as f64 / 1000.0;
        full * 60.0 + self.rates.get(whole).map_or(0.0, |rate| rate * rest)
    }

    fn value(&self, time_ms: i64) -> f64 {
        let reset = self.resets_ms.iter().rev().find(|reset| **reset <= time_ms);
        self.growth(time_ms) - reset.map_or(0.0, |reset| self.growth(*reset))
    }
}

fn below(random: &mut TestRandom, bound: u64) -> usize {
    usize::try_from(random.below(bound)).unwrap()
}

type Floats = Vec<(i64, f64)>;

/// What several replicas have seen of a counter.
struct History {
    counter: Counter,
    interval_ms: i64,
    end_ms: i64,
    replicas: Vec<Floats>,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut random = TestRandom::new(seed);
        let minutes = 10 + below(&mut random, 20);
        let counter = Counter::new(&mut random, minutes);
        let interval_ms = [5_000, 10_000, 15_000, 30_000, 60_000][below(&mut random, 5)];
        let end_ms = MINUTE_MS * minutes as i64;
        let count = 1 + below(&mut random, 4);
        let replica = |_| scrapes(&mut random, &counter, interval_ms, end_ms);
        let replicas = (0..count).map(replica).collect();
        Self {
            counter,
            interval_ms,
            end_ms,
            replicas,
        }
    }
}

/// Scrapes up to a tenth of the interval early or late, with lost scrapes and outages.
fn scrapes(random: &mut TestRandom, counter: &Counter, interval_ms: i64, end_ms: i64) -> Floats {
    let span = end_ms.unsigned_abs();
    let outages: Vec<(i64, i64)> = (0..random.below(3))
        .map(|_| {
            let start = random.below(span).cast_signed();
            (start, start + random.below(span / 3).cast_signed())
        })
        .collect();
    let lost_in_100 = [0, 0, 3, 20][below(random, 4)];
    let jitter = interval_ms / 10;
    let phase = random.below(interval_ms.unsigned_abs()).cast_signed();
    let mut samples = Floats::new();
    let mut due = phase + jitter;
    while due + jitter < end_ms {
        let late = random.below(2 * jitter.unsigned_abs() + 1).cast_signed() - jitter;
        let time = due + late;
        let is_out = outages
            .iter()
            .any(|(from, to)| (*from..*to).contains(&time));
        if !is_out && random.below(100) >= lost_in_100 {
            samples.push((time, counter.value(time)));
        }
        due += interval_ms;
    }
    samples
}

fn columns(samples: &Floats) -> Samples {
    let mut columns = Samples::new();
    for (time, value) in samples {
        columns.push_float(Timestamp::from_millis(*time), *value);
    }
    columns
}

/// What `dedup` makes of replicas, from `from_ms` on, through their chunks.
fn read(replicas: &[Floats], dedup: Dedup, from_ms: i64) -> Floats {
    let mut chunks: Vec<SeriesChunk> = Vec::new();
    for replica in replicas {
        chunks.extend(crate::chunk::encode(&columns(replica)));
    }
    chunks.sort_by(SeriesChunk::cmp_by_time);
    let reading = Reading {
        windows: match dedup {
            Dedup::PenaltyOfCounter => WindowValue::Total,
            Dedup::Penalty | Dedup::Chain => WindowValue::Average,
        },
        dedup: Some(dedup),
        range: TimeRange::from_millis(from_ms, i64::MAX),
    };
    let mut samples = Samples::new();
    SeriesReader::default()
        .read(&chunks, &reading, &mut samples)
        .unwrap();
    let times = samples.times().iter().copied();
    times.zip(samples.values().iter().copied()).collect()
}

const ALL: [Dedup; 3] = [Dedup::Penalty, Dedup::PenaltyOfCounter, Dedup::Chain];

fn histories() -> u64 {
    match std::env::var_os("THANOS_TEST_LONG") {
        Some(_) => 1_000_000,
        None => 4_000,
    }
}

/// Pain 3 (a): copies of a replica become that replica.
#[test]
fn copies_of_a_replica_become_the_replica() {
    for seed in 0..histories() {
        let history = History::new(seed);
        let replica = columns(&history.replicas[0]);
        for dedup in ALL {
            for copies in 1..4 {
                let picks = dedup.pick(&vec![&replica; copies]);
                let kept = picks.iter().map(|pick| (pick.sample, pick.shift.to_bits()));
                assert!(kept.eq((0..replica.len()).map(|at| (at, 0))), "seed {seed}");
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
            assert!(
                !is_shifted || dedup == Dedup::PenaltyOfCounter,
                "seed {seed}"
            );
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

/// Pain 3 (d): chunks say nothing of the order in which stores sent them.
#[test]
fn the_order_of_stores_does_not_matter() {
    for seed in 0..histories() / 4 {
        let history = History::new(seed);
        let mut reversed = history.replicas.clone();
        reversed.reverse();
        let mut turned = history.replicas.clone();
        turned.rotate_left(1);
        for dedup in ALL {
            let once = read(&history.replicas, dedup, 0);
            assert_eq!(read(&reversed, dedup, 0), once, "seed {seed} {dedup:?}");
            assert_eq!(read(&turned, dedup, 0), once, "seed {seed} {dedup:?}");
        }
    }
}

/// Pain 3 (d): a query that is split in two is answered as the whole one, by the chain.
///
/// The penalty begins anew at each start, as in Thanos: with whichever replica comes first.
#[test]
fn a_later_start_changes_the_chain_in_nothing() {
    for seed in 0..histories() / 4 {
        let history = History::new(seed);
        let middle = history.end_ms / 3;
        let mut whole = read(&history.replicas, Dedup::Chain, 0);
        let mut part = read(&history.replicas, Dedup::Chain, middle);
        whole.retain(|sample| sample.0 >= middle);
        part.retain(|sample| sample.0 >= middle);
        assert_eq!(part, whole, "seed {seed}");
    }
}

/// Returns the rate as `PromQL` computes it, where there are two samples.
fn rate(samples: &[(i64, f64)], from_ms: i64, to_ms: i64) -> Option<f64> {
    let start = samples.partition_point(|sample| sample.0 <= from_ms);
    let end = samples.partition_point(|sample| sample.0 <= to_ms);
    let window = &samples[start..end.max(start)];
    let [first, .., last] = window else {
        return None;
    };
    let pairs = window.windows(2);
    let resets: f64 = pairs
        .filter(|pair| pair[1].1 < pair[0].1)
        .map(|pair| pair[0].1)
        .sum();
    let increase = last.1 - first.1 + resets;
    let sampled = (last.0 - first.0) as f64;
    let average = sampled / (window.len() - 1) as f64;
    let reach = |gap: i64| {
        let gap = gap as f64;
        if gap >= average * 1.1 {
            average / 2.0
        } else {
            gap
        }
    };
    let mut before = reach(first.0 - from_ms);
    if increase > 0.0 && first.1 >= 0.0 {
        before = before.min(sampled * (first.1 / increase));
    }
    let covered = sampled + before + reach(to_ms - last.0);
    Some(increase * (covered / sampled) / ((to_ms - from_ms) as f64 / 1000.0))
}

/// Pain 3 (c): where a replica knows the rate, so does the answer, but for what a counter grows within one scrape.
///
/// The penalty of Thanos does not always keep to that: after an outage of all replicas it passes over the others for
/// twice as long, and the total of each replica lacks what that one did not see before a reset. How often is bounded.
#[test]
fn rates_are_mostly_within_a_scrape_of_the_best_replica() {
    let (mut asked, mut without, mut off) = (0_u64, 0_u64, 0_u64);
    for seed in 0..histories() {
        let history = History::new(seed);
        let answer = read(&history.replicas, Dedup::PenaltyOfCounter, 0);
        let range_ms = history.interval_ms * 8;
        let mut end = range_ms;
        while end < history.end_ms {
            let start = end - range_ms;
            let grown = history.counter.growth(end) - history.counter.growth(start);
            let truth = grown / (range_ms as f64 / 1000.0);
            let error_of = |samples: &Floats| Some((rate(samples, start, end)? - truth).abs());
            let best = history.replicas.iter().filter_map(error_of);
            if let Some(best) = best.reduce(f64::min) {
                let scrape = RATE_MAX * history.interval_ms as f64 / range_ms as f64;
                asked += 1;
                match error_of(&answer) {
                    None => without += 1,
                    Some(error) => off += u64::from(error > best + scrape),
                }
            }
            end += history.interval_ms * 3;
        }
    }
    assert!(asked > histories());
    assert!(without * 1000 <= asked, "{without} of {asked} have no rate");
    assert!(off * 80 <= asked, "{off} of {asked} are off by a scrape");
}
