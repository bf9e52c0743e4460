//! What the operators of an analyzed query did: time, series, samples and bytes of each.
//!
//! [`Metered`] stands around an operator, so that operators know nothing of it; without analysis there is none
//! and nothing is counted. Times are read once a tile, which is what keeps it cheap.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use thanos_core::query::{SourceLog, SourcePlan};

use super::bits;
use super::grid::Grid;
use super::operator::{BoxOperator, Operator};
use super::tile::Tile;
use crate::error::Result;

/// The counters of an operator, or of a source of series.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    wall_nanos: AtomicU64,
    compute_nanos: AtomicU64,
    series: AtomicU64,
    samples: AtomicU64,
    samples_peak: AtomicU64,
    bytes: AtomicU64,
    log: Arc<SourceLog>,
    plans: Mutex<Vec<SourcePlan>>,
}

impl Meter {
    /// Returns what is told what the sources of a selector give.
    pub(crate) fn log(&self) -> &Arc<SourceLog> {
        &self.log
    }

    /// Says whom a selector would ask.
    pub(crate) fn set_plans(&self, plans: Vec<SourcePlan>) {
        *self.plans.lock().unwrap_or_else(PoisonError::into_inner) = plans;
    }

    /// Returns whom a selector would ask.
    pub(crate) fn plans(&self) -> Vec<SourcePlan> {
        let plans = self.plans.lock();
        plans.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds time that passed until something was there.
    pub(crate) fn add_wall(&self, time: Duration) {
        add(&self.wall_nanos, nanos(time));
    }

    /// Adds time that a thread computed.
    pub(crate) fn add_compute(&self, time: Duration) {
        add(&self.compute_nanos, nanos(time));
    }

    /// Adds what came at once.
    pub(crate) fn add_output(&self, series: usize, samples: usize, bytes: u64) {
        add(&self.series, series as u64);
        add(&self.samples, samples as u64);
        self.samples_peak
            .fetch_max(samples as u64, Ordering::Relaxed);
        add(&self.bytes, bytes);
    }

    /// Returns the counts so far.
    pub(crate) fn read(&self) -> Readings {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Readings {
            wall: Duration::from_nanos(get(&self.wall_nanos)),
            compute: Duration::from_nanos(get(&self.compute_nanos)),
            series: get(&self.series),
            samples: get(&self.samples),
            samples_peak: get(&self.samples_peak),
            bytes: get(&self.bytes),
        }
    }
}

/// The counts of a [`Meter`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Readings {
    pub(crate) wall: Duration,
    pub(crate) compute: Duration,
    pub(crate) series: u64,
    pub(crate) samples: u64,
    pub(crate) samples_peak: u64,
    pub(crate) bytes: u64,
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// An operator that is watched.
#[derive(Debug)]
pub(crate) struct Metered {
    pub(crate) operator: BoxOperator,
    pub(crate) meter: Arc<Meter>,
}

#[async_trait]
impl Operator for Metered {
    fn grid(&self) -> Grid {
        self.operator.grid()
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        let started = Instant::now();
        let result = self.operator.next().await;
        self.meter.add_wall(started.elapsed());
        if let Ok(Some(tile)) = &result {
            let samples = tile.rows().map(|(_, row)| bits::count(row.valid)).sum();
            self.meter
                .add_output(tile.len(), samples, tile.memory_bytes());
        }
        result
    }
}
