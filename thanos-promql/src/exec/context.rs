//! What all operators of one evaluation share: limits, the deadline, annotations and counters.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures::lock::Mutex as AsyncMutex;
use thanos_core::budget::{Lease, MemoryBudget};
use thanos_core::query::{Completeness, Missing, Queryable, known_cost};
use thanos_core::time::{Clock, Timestamp};

use super::pool::{Pool, Turns};
use super::tally::Counts;
use crate::admission::{Admission, HeavyPlace};
use crate::annotations::{Annotation, Annotations};
use crate::error::{Error, Result};
use crate::plan::physical::Selection;

/// The shared state of one evaluation.
#[derive(Debug)]
pub(crate) struct Context {
    clock: Arc<dyn Clock>,
    deadline: Timestamp,
    is_stopped: AtomicBool,
    /// Whether there is no memory for what there is to say.
    has_too_much_to_say: AtomicBool,
    budget: MemoryBudget,
    samples_max: u64,
    /// The samples used and read.
    pub(crate) counts: Counts,
    sort_nanos: AtomicU64,
    points: AtomicU64,
    series: AtomicU64,
    notes: Mutex<Notes>,
    /// Why what other engines answered cannot be used.
    reason_to_stay: Mutex<Option<String>>,
    admission: Option<Arc<dyn Admission>>,
    heavy_place: AsyncMutex<Option<HeavyPlace>>,
    /// The threads that decode and compute.
    pub(crate) pool: Arc<Pool>,
    /// How much they did for this evaluation.
    pub(crate) turns: Turns,
    /// Whether metric names are dropped at the end of the query only.
    pub(crate) delayed_name_removal: bool,
    /// Whether counters use the start timestamps of samples.
    pub(crate) start_timestamps: bool,
    /// Whether labels say what a metric is.
    pub(crate) type_and_unit_labels: bool,
    /// How far back an instant selector looks, in milliseconds.
    pub(crate) lookback_ms: i64,
}

#[derive(Debug, Default)]
struct Notes {
    annotations: Annotations,
    completeness: Completeness,
    leases: Vec<Lease>,
    /// Of the annotations.
    annotations_lease: Option<Lease>,
    /// Why no more annotations are added.
    failure: Option<Error>,
}

impl Notes {
    fn lease_annotation(&mut self, budget: &MemoryBudget, annotation: &Annotation) -> Result<()> {
        let bytes = self.annotations.more_bytes(annotation) as u64;
        match &mut self.annotations_lease {
            Some(lease) => lease.grow(bytes)?,
            none => *none = Some(budget.lease(bytes)?),
        }
        Ok(())
    }
}

/// The parts of a [`Context`] that come from the engine's options.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) deadline: Timestamp,
    pub(crate) budget: MemoryBudget,
    pub(crate) admission: Option<Arc<dyn Admission>>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) samples_max: u64,
    pub(crate) counts: Counts,
    pub(crate) delayed_name_removal: bool,
    pub(crate) start_timestamps: bool,
    pub(crate) type_and_unit_labels: bool,
    pub(crate) lookback_ms: i64,
}

impl Context {
    pub(crate) fn new(clock: Arc<dyn Clock>, limits: Limits) -> Self {
        Self {
            clock,
            deadline: limits.deadline,
            is_stopped: AtomicBool::new(false),
            has_too_much_to_say: AtomicBool::new(false),
            budget: limits.budget,
            samples_max: limits.samples_max,
            counts: limits.counts,
            sort_nanos: AtomicU64::new(0),
            points: AtomicU64::new(0),
            series: AtomicU64::new(0),
            notes: Mutex::default(),
            reason_to_stay: Mutex::default(),
            admission: limits.admission,
            heavy_place: AsyncMutex::new(None),
            pool: limits.pool,
            turns: Turns::default(),
            delayed_name_removal: limits.delayed_name_removal,
            start_timestamps: limits.start_timestamps,
            type_and_unit_labels: limits.type_and_unit_labels,
            lookback_ms: limits.lookback_ms,
        }
    }

    /// Checks the deadline and lets others run once; operators call it for each tile.
    ///
    /// The pause is what makes dropping the future stop an evaluation over data that is always at hand.
    pub(crate) async fn turn(&self) -> Result<()> {
        self.check()?;
        self.wait_if_heavy().await?;
        let mut paused = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut paused, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        Ok(())
    }

    /// Waits for a place among the heavy queries once the query holds more than a light one may.
    async fn wait_if_heavy(&self) -> Result<()> {
        let Some(admission) = &self.admission else {
            return Ok(());
        };
        if self.budget.used_bytes() <= admission.allowance_bytes() {
            return Ok(());
        }
        self.become_heavy(admission).await
    }

    async fn become_heavy(&self, admission: &Arc<dyn Admission>) -> Result<()> {
        // All parts of the query wait for the same place.
        let mut place = self.heavy_place.lock().await;
        if place.is_none() {
            *place = Some(admission.become_heavy().await?);
        }
        self.check()
    }

    /// Waits for a place among the heavy queries when it is known before anything is read that there is more to read than a
    /// light query may hold.
    pub(crate) async fn expect(
        &self,
        queryable: &Arc<dyn Queryable>,
        selections: &[Selection],
    ) -> Result<()> {
        let Some(admission) = &self.admission else {
            return Ok(());
        };
        let mut bytes = 0_u64;
        for (select, ..) in selections {
            // Whoever cannot tell what it has says so again when it is read.
            let plans = queryable.sources(select).await.unwrap_or_default();
            bytes = bytes.saturating_add(known_cost(&plans).bytes);
        }
        match bytes > admission.allowance_bytes() {
            true => self.become_heavy(admission).await,
            false => Ok(()),
        }
    }

    /// Lets the next [`Context::check`] fail.
    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Checks the deadline, and whether the result is still wanted and there is memory for the annotations.
    pub(crate) fn check(&self) -> Result<()> {
        if self.has_too_much_to_say.load(Ordering::Relaxed)
            && let Some(failure) = self.notes().failure.take()
        {
            return Err(failure);
        }
        if self.is_stopped.load(Ordering::Relaxed) {
            return Err(Error::cancelled("expression evaluation"));
        }
        if self.clock.now() > self.deadline {
            return Err(Error::timeout("expression evaluation"));
        }
        Ok(())
    }

    /// Counts the `points` that came of samples against the limit.
    pub(crate) fn count_points(&self, points: usize) -> Result<()> {
        let points = points as u64;
        let sum = self.points.fetch_add(points, Ordering::Relaxed) + points;
        if sum > self.samples_max {
            return Err(Error::too_many_samples());
        }
        Ok(())
    }

    /// Counts time that sorting the result took.
    pub(crate) fn add_sort_time(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.sort_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Returns the time that sorting the result took.
    pub(crate) fn sort_time(&self) -> Duration {
        Duration::from_nanos(self.sort_nanos.load(Ordering::Relaxed))
    }

    /// Leases memory until the end of the evaluation.
    pub(crate) fn hold(&self, bytes: u64) -> Result<()> {
        let lease = self.lease(bytes)?;
        self.keep(lease);
        Ok(())
    }

    /// Keeps a lease until the end of the evaluation.
    pub(crate) fn keep(&self, lease: Lease) {
        self.notes().leases.push(lease);
    }

    /// Counts series.
    pub(crate) fn count_series(&self, count: usize) {
        self.series.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Leases memory for something that is held.
    pub(crate) fn lease(&self, bytes: u64) -> Result<Lease> {
        Ok(self.budget.lease(bytes)?)
    }

    /// Adds an annotation. When there is no memory for it, the next [`Context::check`] fails.
    ///
    /// A parameter that differs from step to step can be wrong in as many ways as there are steps.
    pub(crate) fn annotate(&self, annotation: Annotation) {
        let mut notes = self.notes();
        match notes.lease_annotation(&self.budget, &annotation) {
            Ok(()) => notes.annotations.add(annotation),
            Err(error) => {
                notes.failure.get_or_insert(error);
                self.has_too_much_to_say.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Says that what other engines answered cannot be used, so that the query has to be evaluated here, and returns the
    /// error that ends the attempt.
    pub(crate) fn must_stay(&self, reason: String) -> Error {
        let error = Error::execution(format!("the query cannot be distributed: {reason}"));
        *self.reason() = Some(reason);
        error
    }

    /// Takes the reason out of [`Context::must_stay`].
    pub(crate) fn take_reason_to_stay(&self) -> Option<String> {
        self.reason().take()
    }

    fn reason(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        // Nothing panics while it is held.
        self.reason_to_stay
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note_missing(&self, missing: Missing) {
        self.notes().completeness.add(missing);
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        // Nothing panics while it is held, and a half-added note would do no harm.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the annotations and the completeness out.
    ///
    /// # Errors
    ///
    /// When there was no memory for an annotation.
    pub(crate) fn take_notes(&self) -> Result<(Annotations, Completeness)> {
        let notes = std::mem::take(&mut *self.notes());
        match notes.failure {
            Some(failure) => Err(failure),
            None => Ok((notes.annotations, notes.completeness)),
        }
    }

    pub(crate) fn series(&self) -> u64 {
        self.series.load(Ordering::Relaxed)
    }

    pub(crate) fn peak_bytes(&self) -> u64 {
        self.budget.peak_bytes()
    }
}
