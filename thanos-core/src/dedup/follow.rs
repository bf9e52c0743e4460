//! Counters of replicas: one is followed until it is silent, and the answer grows as the counter does.
//!
//! For `rate` and its like the penalty has two faults. It goes over to another replica only after a gap of two to three
//! scrapes, and after an outage of all replicas it passes over the others for twice as long as that was. And it looks at
//! totals, each of which lacks what its replica did not see before a reset: where a replica that lacks much is left, the
//! answer jumps by all of it. Here
//!
//! - a replica is left when its next sample is late by half of its usual distance, for the sample that is next;
//! - the raw values of all replicas are those of one counter, so that the next one can be compared with the last one.
//!   Lower than that it tells of a reset only if its own replica fell; otherwise that one is behind, and the answer
//!   stands still, as with the penalty;
//! - the answer does not grow by more than the replica did itself in the meantime, where it was not silent: also of
//!   replicas that do not see the same, no growth is made up.

use super::{Pick, Replica};

/// How many samples on either side of one tell the usual distance at it.
const NEIGHBOURS: usize = 3;

struct Follower<'a, R> {
    replicas: &'a [&'a R],
    /// For each replica, a sample before which none is looked for any more.
    near: Vec<usize>,
    /// What has to be added to the values of the replica in use.
    shift: f64,
    picks: Vec<Pick>,
}

/// The sample that was picked last.
#[derive(Clone, Copy)]
struct Last {
    replica: usize,
    sample: usize,
    time: i64,
    /// The usual distance of samples at it.
    usual: i64,
}

/// Returns the samples of the answer: the shifted values are a running total.
pub(super) fn pick<R: Replica>(replicas: &[&R]) -> Vec<Pick> {
    let first = |(number, replica): (usize, &&R)| Some((*replica.times().first()?, number));
    let Some((_, number)) = replicas.iter().enumerate().filter_map(first).min() else {
        return Vec::new();
    };
    let longest = replicas.iter().map(|replica| replica.times().len()).max();
    let mut follower = Follower {
        replicas,
        near: vec![0; replicas.len()],
        shift: 0.0,
        picks: Vec::with_capacity(longest.unwrap_or(0)),
    };
    let mut last = follower.push(number, 0);
    loop {
        last = follower.stay(last);
        let Some((replica, sample)) = follower.next(last) else {
            return follower.picks;
        };
        if let Some(shift) = follower.shift_after(last, replica, sample) {
            follower.shift = shift;
        }
        last = follower.push(replica, sample);
    }
}

impl<R: Replica> Follower<'_, R> {
    fn push(&mut self, replica: usize, sample: usize) -> Last {
        self.pick(replica, sample);
        let time = self.replicas[replica].times()[sample];
        Last {
            replica,
            sample,
            time,
            usual: self.usual(replica, sample, time),
        }
    }

    fn pick(&mut self, replica: usize, sample: usize) {
        let is_float = self.replicas[replica].float(sample).is_some();
        self.picks.push(Pick {
            replica,
            sample,
            shift: if is_float { self.shift } else { 0.0 },
        });
    }

    /// Takes the samples of the replica in use up to one after which it is silent.
    fn stay(&mut self, mut last: Last) -> Last {
        let replica = self.replicas[last.replica];
        let times = replica.times();
        let mut value = replica.float(last.sample);
        while let Some(time) = times.get(last.sample + 1) {
            let distance = time.saturating_sub(last.time);
            if is_late(distance, last.usual) || is_late(last.usual, distance) {
                last.usual = self.usual(last.replica, last.sample, last.time);
                if is_late(distance, last.usual) {
                    break;
                }
            }
            (last.sample, last.time) = (last.sample + 1, *time);
            let next = replica.float(last.sample);
            if let (Some(before), Some(next)) = (value, next)
                && next < before
            {
                self.shift += before;
            }
            value = next;
            self.pick(last.replica, last.sample);
        }
        last
    }

    /// Returns the next sample after a gap: the earliest of any replica that is not close to the last one.
    fn next(&mut self, last: Last) -> Option<(usize, usize)> {
        let mut earliest: Option<(i64, bool, usize, usize)> = None;
        for (number, replica) in self.replicas.iter().enumerate() {
            let is_other = number != last.replica;
            let after = match is_other {
                true => last.time.saturating_add(last.usual / 2),
                false => last.time,
            };
            let sample = seek_after(replica.times(), self.near[number], after);
            self.near[number] = sample;
            if let Some(time) = replica.times().get(sample) {
                let found = (*time, is_other, number, sample);
                earliest = Some(earliest.map_or(found, |earliest| earliest.min(found)));
            }
        }
        earliest.map(|(_, _, number, sample)| (number, sample))
    }

    /// Returns what has to be added to the values of `replica` where its `sample` follows the last one; `None` where
    /// one of them is a histogram.
    fn shift_after(&self, last: Last, replica: usize, sample: usize) -> Option<f64> {
        let before = self.replicas[last.replica].float(last.sample)?;
        let replica = self.replicas[replica];
        let value = replica.float(sample)?;
        let growth = match Own::of(replica, last.time, sample) {
            Some(own) if own.is_reset => own.growth_after(before),
            Some(own) if own.is_silent() => value - before,
            Some(own) => (value - before).min(own.growth),
            None => value - before,
        };
        // A shift that stays what it is stays so to the last bit.
        Some(match growth == value - before {
            true if growth >= 0.0 => self.shift,
            _ => before + self.shift + growth.max(0.0) - value,
        })
    }

    /// Returns the usual distance of samples at `time`, when the last one is `sample` of `replica`: that of the replica
    /// that loses the fewest. Two samples alone may be the ends of an outage.
    fn usual(&self, replica: usize, sample: usize, time: i64) -> i64 {
        let (own, _) = usual_distance(self.replicas[replica].times(), sample);
        let others = self.replicas.iter().zip(&self.near);
        let others = others.map(|(other, near)| {
            let times = other.times();
            usual_distance(times, seek_after(times, *near, time))
        });
        let sure = others.filter(|(_, is_sure)| *is_sure);
        let least = sure.map(|(other, _)| other).min();
        least.map_or(own, |least| own.min(least))
    }
}

/// What a replica knows itself of the time since the last sample of the answer.
struct Own<'a, R> {
    replica: &'a R,
    /// Its last sample that is not after that one, and the one that is gone over to.
    from: usize,
    to: usize,
    /// By how much it grew between the two.
    growth: f64,
    is_reset: bool,
}

impl<'a, R: Replica> Own<'a, R> {
    /// Returns what is known at `sample` if the replica has a sample that is not after `time`, and floats from there on.
    fn of(replica: &'a R, time: i64, sample: usize) -> Option<Self> {
        let times = replica.times().get(..sample)?;
        let from = seek_after(times, 0, time).checked_sub(1)?;
        let mut own = Self {
            replica,
            from,
            to: sample,
            growth: 0.0,
            is_reset: false,
        };
        let mut before = replica.float(from)?;
        for at in from + 1..=sample {
            let value = replica.float(at)?;
            own.is_reset |= value < before;
            own.growth += if value < before {
                value
            } else {
                value - before
            };
            before = value;
        }
        Some(own)
    }

    /// Reports whether it was silent at the last sample of the answer: then a reset may have passed unseen.
    fn is_silent(&self) -> bool {
        let times = self.replica.times();
        let distance = times[self.from + 1].saturating_sub(times[self.from]);
        is_late(distance, usual_distance(times, self.from).0)
    }

    /// Returns the growth since the last sample of the answer, which has `value`.
    fn growth_after(&self, value: f64) -> f64 {
        let (mut growth, mut last) = (0.0, value);
        let float = |at: usize| self.replica.float(at).unwrap_or(f64::NAN);
        for at in self.from + 1..=self.to {
            let value = float(at);
            if value >= last {
                growth += value - last;
            } else if value < float(at - 1) {
                growth += value;
            }
            last = value;
        }
        growth.min(self.growth)
    }
}

/// Reports whether a sample at `distance` is later than half of the usual distance beyond that.
fn is_late(distance: i64, usual: i64) -> bool {
    distance > usual.saturating_add(usual / 2)
}

/// Returns how far samples around the one at `at` usually are from each other, and whether there are several that tell:
/// a small one of their distances, because lost scrapes make them longer. 0 where the sample is alone.
fn usual_distance(times: &[i64], at: usize) -> (i64, bool) {
    let from = at.saturating_sub(NEIGHBOURS).min(times.len());
    let to = times.len().min(at.saturating_add(NEIGHBOURS + 1));
    let mut distances = [0; 2 * NEIGHBOURS];
    let mut count = 0;
    for two in times[from..to].windows(2) {
        distances[count] = two[1].saturating_sub(two[0]);
        count += 1;
    }
    let distances = &mut distances[..count];
    distances.sort_unstable();
    let small = count.saturating_sub(1) / 4;
    (distances.get(small).copied().unwrap_or(0), count > 1)
}

/// Returns the position of the first of `times` after `time`, from `near` on.
fn seek_after(times: &[i64], near: usize, time: i64) -> usize {
    let rest = times.get(near..).unwrap_or_default();
    near + rest.partition_point(|other| *other <= time)
}
