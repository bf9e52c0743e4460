//! A counter that is known at every moment, and what replicas have seen of it.

use crate::chunk::Samples;
use crate::testkit::TestRandom;
use crate::time::Timestamp;

pub(super) const MINUTE_MS: i64 = 60_000;
const RATE_MAX: f64 = 10.0;

/// A counter that grows by some rate in each minute, and begins anew at each reset.
pub(super) struct Counter {
    /// By minute: how fast it grows in it, by the second, and how much it has grown before it.
    rates: Vec<f64>,
    grown: Vec<f64>,
    pub(super) resets_ms: Vec<i64>,
}

impl Counter {
    fn new(random: &mut TestRandom, minutes: usize) -> Self {
        let steady = random.below(2) == 0;
        let base = random.unit() * RATE_MAX;
        let rate = |random: &mut TestRandom| match steady {
            true => base,
            false => random.unit() * RATE_MAX,
        };
        let rates: Vec<f64> = (0..minutes).map(|_| rate(random)).collect();
        let mut grown = vec![0.0];
        for rate in &rates {
            grown.push(grown[grown.len() - 1] + rate * 60.0);
        }
        let count = random.below(3);
        let span = MINUTE_MS.unsigned_abs() * minutes as u64;
        let mut resets_ms: Vec<i64> = (0..count)
            .map(|_| random.below(span).cast_signed())
            .collect();
        resets_ms.sort_unstable();
        Self {
            rates,
            grown,
            resets_ms,
        }
    }

    /// Returns how much it has grown since the start, whatever its resets.
    pub(super) fn growth(&self, time_ms: i64) -> f64 {
        let whole = usize::try_from(time_ms / MINUTE_MS).unwrap();
        let rest = (time_ms % MINUTE_MS) as f64 / 1000.0;
        self.grown[whole] + self.rates.get(whole).map_or(0.0, |rate| rate * rest)
    }

    fn value(&self, time_ms: i64) -> f64 {
        let reset = self.resets_ms.iter().rev().find(|reset| **reset <= time_ms);
        self.growth(time_ms) - reset.map_or(0.0, |reset| self.growth(*reset))
    }

    /// Returns the highest rate by the second in a time that is not after the end.
    pub(super) fn fastest(&self, from_ms: i64, to_ms: i64) -> f64 {
        let minute = |time_ms: i64| usize::try_from(time_ms.max(0) / MINUTE_MS).unwrap();
        let to = minute(to_ms).min(self.rates.len() - 1);
        let rates = self.rates[minute(from_ms).min(to)..=to].iter();
        rates.copied().fold(0.0, f64::max)
    }

    pub(super) fn resets_within(&self, from_ms: i64, to_ms: i64) -> usize {
        let is_within = |reset: &&i64| (from_ms + 1..=to_ms).contains(*reset);
        self.resets_ms.iter().filter(is_within).count()
    }
}

pub(super) fn below(random: &mut TestRandom, bound: u64) -> usize {
    usize::try_from(random.below(bound)).unwrap()
}

pub(super) type Floats = Vec<(i64, f64)>;

/// What one to four replicas have seen of a counter.
pub(super) struct History {
    pub(super) counter: Counter,
    pub(super) interval_ms: i64,
    pub(super) end_ms: i64,
    pub(super) replicas: Vec<Floats>,
}

impl History {
    pub(super) fn new(seed: u64) -> Self {
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

/// Scrapes from some moment of an interval on, each up to a tenth of it early or late. None, a few or many scrapes are
/// lost, and up to twice the replica is down for up to a third of the time.
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

pub(super) fn columns(samples: &Floats) -> Samples {
    let mut columns = Samples::new();
    for (time, value) in samples {
        columns.push_float(Timestamp::from_millis(*time), *value);
    }
    columns
}
