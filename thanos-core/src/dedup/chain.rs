//! The chain: the samples of all replicas, one for each time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Pick, Replica};

/// Stays with a replica as long as none of the others has an earlier sample, so that runs of samples come from one.
pub(super) fn pick<R: Replica>(replicas: &[&R]) -> Vec<Pick> {
    let longest = replicas.iter().map(|replica| replica.times().len()).max();
    let mut picks = Vec::with_capacity(longest.unwrap_or(0));
    let mut last = None;
    // The next sample of each replica but the one in use.
    let mut waiting: BinaryHeap<Reverse<(i64, usize, usize)>> = BinaryHeap::new();
    for (number, replica) in replicas.iter().enumerate() {
        let first = replica.times().first();
        waiting.extend(first.map(|time| Reverse((*time, number, 0))));
    }
    while let Some(Reverse((mut time, number, mut sample))) = waiting.pop() {
        let times = replicas[number].times();
        loop {
            if last.is_none_or(|last| last < time) {
                picks.push(Pick::new(number, sample));
                last = Some(time);
            }
            sample += 1;
            let Some(next) = times.get(sample) else {
                break;
            };
            time = *next;
            // At equal times the replica in use goes on.
            if waiting
                .peek()
                .is_some_and(|Reverse((other, ..))| *other < time)
            {
                waiting.push(Reverse((time, number, sample)));
                break;
            }
        }
    }
    picks
}
