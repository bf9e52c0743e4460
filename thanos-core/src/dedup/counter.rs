//! The penalty for counters: values are shifted where the replica changes.
//!
//! A replica that missed the end of a counter before a restart has seen less than the other one. Going over to it would
//! look like a reset, and `rate` would count the whole value again; so it is raised by what it lacks. The raise of a
//! replica depends on all changes so far, also on those between the replicas before it, which is why the replicas are
//! walked together and not folded one after the other.

use super::penalty::{Penalties, Side, seek};
use super::{Pick, Replica};

/// A replica on its way.
struct Leaf<'a, R> {
    replica: &'a R,
    number: usize,
    at: usize,
    shift: f64,
}

impl<R: Replica> Leaf<'_, R> {
    fn time(&self) -> Option<i64> {
        self.replica.times().get(self.at).copied()
    }

    /// Returns the shifted value, unless it is a histogram or there is none.
    fn float(&self) -> Option<f64> {
        self.time()?;
        Some(self.replica.float(self.at)? + self.shift)
    }
}

/// The choice between all replicas before `leaf` and `leaf`.
struct Level<'a, R> {
    leaf: Leaf<'a, R>,
    penalties: Penalties,
    side: Side,
}

/// The first replica, and the choices between it and those that follow, each of which is over those before it.
struct Walk<'a, R> {
    first: Leaf<'a, R>,
    levels: Vec<Level<'a, R>>,
}

pub(super) fn pick<R: Replica>(replicas: &[&R]) -> Vec<Pick> {
    let leaf = |(number, replica)| Leaf {
        replica,
        number,
        at: 0,
        shift: 0.0,
    };
    let mut leaves = replicas.iter().copied().enumerate().map(leaf);
    let Some(first) = leaves.next() else {
        return Vec::new();
    };
    let levels = leaves.map(|leaf| Level {
        leaf,
        penalties: Penalties::new(),
        side: Side::A,
    });
    let mut walk = Walk {
        first,
        levels: levels.collect(),
    };
    let top = walk.levels.len();
    // What is under a level has to be at its first sample before the level is asked for one.
    for depth in 1..top {
        walk.next(depth);
    }
    let mut picks = Vec::new();
    while walk.next(top).is_some() {
        let leaf = walk.current(top);
        picks.push(Pick {
            replica: leaf.number,
            sample: leaf.at,
            shift: leaf.shift,
        });
    }
    picks
}

impl<'a, R: Replica> Walk<'a, R> {
    /// Returns the replica whose sample is the current one of the first `depth` levels.
    fn current(&self, depth: usize) -> &Leaf<'a, R> {
        let mut from_top = self.levels[..depth].iter().rev();
        let chosen = from_top.find(|level| level.side == Side::B);
        chosen.map_or(&self.first, |level| &level.leaf)
    }

    /// Moves the first `depth` levels to the first sample that is not before `earliest`, and returns its time.
    fn seek(&mut self, depth: usize, earliest: i64) -> Option<i64> {
        if depth == 0 {
            let first = &mut self.first;
            first.at = seek(first.replica.times(), first.at, earliest);
            return first.time();
        }
        // Every sample on the way is looked at: the penalties depend on them.
        let mut time = self.current(depth).time();
        while time.is_some_and(|time| time < earliest) {
            time = self.next(depth);
        }
        time
    }

    /// Moves the first `depth` levels, of which there is at least one, to their next sample, and returns its time.
    fn next(&mut self, depth: usize) -> Option<i64> {
        let before = depth - 1;
        let level = &self.levels[before];
        let (last_side, last) = (level.side, self.current(depth).float());
        let (earliest_before, earliest_leaf) = level.penalties.earliest();
        let time_before = self.seek(before, earliest_before);
        let level = &mut self.levels[before];
        let leaf = &mut level.leaf;
        leaf.at = seek(leaf.replica.times(), leaf.at, earliest_leaf);
        let time_leaf = leaf.time();
        let side = level.penalties.choose(time_before, time_leaf);
        // At the end of both, as at the end of the side before, it is the replica's turn.
        level.side = side.unwrap_or(Side::B);
        if level.side != last_side
            && let Some(last) = last
        {
            self.raise(depth, last);
        }
        match side? {
            Side::A => time_before,
            Side::B => time_leaf,
        }
    }

    /// Raises the replicas of the first `depth` levels whose current value is below `last`.
    ///
    /// COMPAT: Thanos raises all of them at every change, also those that are not gone over to.
    fn raise(&mut self, depth: usize, last: f64) {
        let mut depth = depth;
        while let Some(before) = depth.checked_sub(1) {
            raise(&mut self.levels[before].leaf, last);
            if self.current(before).float().is_none() {
                return;
            }
            depth = before;
        }
        raise(&mut self.first, last);
    }
}

fn raise<R: Replica>(leaf: &mut Leaf<'_, R>, last: f64) {
    if let Some(value) = leaf.float()
        && last > value
    {
        leaf.shift += last - value;
    }
}
