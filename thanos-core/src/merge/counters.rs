//! The counters of downsampled replicas made into one that does not go back where the replica changes.
//!
//! A chunk of a counter begins with its first value as it was scraped, goes on with the total without resets at the end
//! of each window, and ends with its last value as it was scraped, a second time at the last window's time.

use crate::chunk::Samples;
use crate::downsample::CounterTotal;
use crate::time::Timestamp;

/// The counter of one replica over all its chunks.
#[derive(Debug, Default)]
pub(super) struct ReplicaCounter {
    total: CounterTotal,
    points: Vec<Point>,
}

/// A sample with the total since the first one of all chunks.
#[derive(Debug, Clone, Copy)]
struct Point {
    time: Timestamp,
    total: f64,
    /// The value as it was scraped, as far as it can be told.
    value: Option<f64>,
}

impl ReplicaCounter {
    /// Takes the samples of the next chunk.
    pub(super) fn append(&mut self, chunk: &Samples) {
        let first = self.points.len();
        for (time, value) in chunk.times().iter().zip(chunk.values()) {
            let time = Timestamp::from_millis(*time);
            if let Some(total) = self.total.add(time, *value) {
                self.points.push(Point {
                    time,
                    total,
                    value: None,
                });
            }
        }
        let own = self.points.get_mut(first..).unwrap_or_default();
        let (Some(end), Some(last)) = (own.last().map(|last| last.total), self.total.last_value())
        else {
            return;
        };
        for point in &mut *own {
            // Without a reset before the end of the chunk, the value grew as the total did.
            let value = last - (end - point.total);
            point.value = (value >= 0.0).then_some(value);
        }
        if let (Some(first), Some(value)) = (own.first_mut(), chunk.values().first()) {
            first.value = Some(*value);
        }
    }

    /// Returns the position of the sample at `time`.
    fn find(&self, time: Timestamp) -> Option<usize> {
        self.points
            .binary_search_by_key(&time, |point| point.time)
            .ok()
    }
}

/// The counter that is taken of several replicas, window by window.
#[derive(Debug, Default)]
pub(super) struct MergedCounter {
    /// The last sample that was taken, with the total so far.
    last: Option<Taken>,
}

#[derive(Debug, Clone, Copy)]
struct Taken {
    replica: usize,
    /// The sample in its replica.
    point: Point,
    total: f64,
}

impl MergedCounter {
    /// Takes the window at `time` of a replica, and calls `emit` with what comes of it.
    pub(super) fn take(
        &mut self,
        replica: usize,
        counter: &ReplicaCounter,
        time: Timestamp,
        mut emit: impl FnMut(Timestamp, f64),
    ) {
        let Some(at) = counter.find(time) else {
            return;
        };
        let point = counter.points[at];
        let total = match self.last {
            Some(last) if last.replica == replica => last.total + point.total - last.point.total,
            Some(last) => last.total + increase(last, counter, point),
            None => {
                let before = at.checked_sub(1).map(|before| counter.points[before]);
                // The first value of a counter has no window of its own.
                if let Some(first) = before.filter(|_| at == 1) {
                    emit(first.time, first.total);
                }
                point.total
            }
        };
        emit(time, total);
        self.last = Some(Taken {
            replica,
            point,
            total,
        });
    }

    /// Returns the total so far.
    pub(super) fn total(&self) -> Option<f64> {
        self.last.map(|last| last.total)
    }

    /// Returns the last value as it was scraped, or the total where that can not be told.
    pub(super) fn last_value(&self) -> Option<f64> {
        self.last.map(|last| last.point.value.unwrap_or(last.total))
    }
}

/// Returns by how much the counter grew from the sample taken last, of another replica, to `point` of `counter`.
fn increase(last: Taken, counter: &ReplicaCounter, point: Point) -> f64 {
    if let Some(same) = counter.find(last.point.time) {
        return (point.total - counter.points[same].total).max(0.0);
    }
    match (last.point.value, point.value) {
        (Some(before), Some(now)) if now >= before => now - before,
        (Some(_), Some(now)) => now,
        // What can not be told is taken for no reset.
        _ => (point.total - last.point.total).max(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(samples: &[(i64, f64)]) -> Samples {
        let mut columns = Samples::new();
        for (time, value) in samples {
            columns.push_float(Timestamp::from_millis(*time), *value);
        }
        columns
    }

    fn merged(replicas: &[&[&[(i64, f64)]]], taken: &[(usize, i64)]) -> (Vec<(i64, f64)>, f64) {
        let counter = |chunks: &&[&[(i64, f64)]]| {
            let mut counter = ReplicaCounter::default();
            chunks
                .iter()
                .for_each(|samples| counter.append(&chunk(samples)));
            counter
        };
        let counters: Vec<ReplicaCounter> = replicas.iter().map(counter).collect();
        let (mut merged, mut out) = (MergedCounter::default(), Vec::new());
        for (replica, time) in taken {
            let time = Timestamp::from_millis(*time);
            let emit = |time: Timestamp, value| out.push((time.as_millis(), value));
            merged.take(*replica, &counters[*replica], time, emit);
        }
        (out, merged.last_value().unwrap())
    }

    #[test]
    fn a_total_goes_on_over_chunks_and_replicas() {
        // 1, 5 | reset | 3, 8: the second chunk begins with its own first value.
        let a: &[&[(i64, f64)]] = &[
            &[(1, 1.0), (10, 1.0), (20, 5.0), (20, 5.0)],
            &[(21, 3.0), (30, 3.0), (40, 8.0), (40, 8.0)],
        ];
        let one = merged(&[a], &[(0, 10), (0, 20), (0, 30), (0, 40)]);
        let expected = [(1, 1.0), (10, 1.0), (20, 5.0), (30, 8.0), (40, 13.0)];
        assert_eq!(one, (expected.to_vec(), 8.0));
        // The other replica began later: its total is smaller, and grows by as much.
        let b: &[&[(i64, f64)]] = &[&[(20, 4.0), (30, 7.0), (40, 12.0), (40, 8.0)]];
        let both = merged(&[a, b], &[(0, 10), (0, 20), (1, 30), (1, 40)]);
        assert_eq!(
            both,
            (
                vec![(1, 1.0), (10, 1.0), (20, 5.0), (30, 8.0), (40, 13.0)],
                8.0
            )
        );
    }

    #[test]
    fn a_gap_of_both_is_bridged_by_values_as_they_were_scraped() {
        let a: &[&[(i64, f64)]] = &[&[(1, 1.0), (10, 1.0), (20, 5.0), (20, 5.0)]];
        let grown: &[&[(i64, f64)]] = &[&[(29, 6.0), (30, 7.0), (40, 9.0), (40, 9.0)]];
        let (totals, _) = merged(&[a, grown], &[(0, 10), (0, 20), (1, 30), (1, 40)]);
        assert_eq!(totals[3..], [(30, 7.0), (40, 9.0)]);
        let reset: &[&[(i64, f64)]] = &[&[(29, 1.0), (30, 2.0), (40, 3.0), (40, 3.0)]];
        let (totals, last) = merged(&[a, reset], &[(0, 10), (0, 20), (1, 30), (1, 40)]);
        assert_eq!(totals[3..], [(30, 7.0), (40, 8.0)]);
        assert_eq!(last, 3.0);
    }
}
