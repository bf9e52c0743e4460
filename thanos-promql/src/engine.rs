//! The engine: a query text, a time and data in; a value out.
//!
//! An [`Engine`] is cheap to clone and has no state but its options. Evaluation is one future: dropping it
//! stops the evaluation and gives its memory back. It needs no runtime and computes inside `poll`, so call it
//! from a compute thread, for instance under `futures::executor::block_on`.

mod prepared;

use std::collections::BTreeSet;
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use thanos_core::budget::MemoryBudget;
use thanos_core::query::{Completeness, Missing, Queryable};
use thanos_core::time::{Clock, SystemClock, Timestamp};

use crate::admission::Admission;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::context::{Context, Limits};
use crate::exec::grid::Grid;
use crate::exec::pool::Pool;
use crate::exec::tally::Counts;
use crate::parser::{self, ValueType};
use crate::plan::{self, QueryTimes};
use crate::remote::Remotes;
use crate::value::QueryResult;

pub use prepared::PreparedQuery;

/// The settings of an [`Engine`].
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// How far back an instant selector looks for a sample.
    pub lookback: Duration,
    /// The most time for one query.
    pub timeout: Duration,
    /// The most points that the selectors and windows of one query may give; by default as good as none, as in
    /// Thanos, because the memory is limited anyway.
    pub samples_max: u64,
    /// The threads that decode series and compute their rows, shared by all queries. With one, everything
    /// happens on the thread that polls the query. Results do not depend on it.
    pub threads: NonZeroUsize,
    /// The most bytes that one query may hold; counts against `budget`, too.
    pub query_bytes_max: u64,
    /// The memory of all queries together.
    pub budget: MemoryBudget,
    /// The most levels of an expression. Evaluation takes up to 8 KiB of stack for each, so raise it only where
    /// queries run on threads with more than the usual 2 MiB.
    pub levels_max: u32,
    /// The step of a subquery that does not say.
    pub subquery_step: Duration,
    /// Whether metric names are dropped at the end of a query only.
    pub delayed_name_removal: bool,
    /// Whether functions of counters use the start times that samples carry.
    pub start_timestamps: bool,
    /// Whether the labels `__type__` and `__unit__` say what a metric is, in place of the end of its name.
    pub type_and_unit_labels: bool,
    /// The parts of the language that are on.
    pub parser: parser::Options,
    /// What to do with an answer that lacks data.
    pub on_partial: OnPartial,
}

/// What to do with an answer when a source of data did not contribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnPartial {
    /// Fail the query.
    #[default]
    Fail,
    /// Answer with what there is and warn.
    Warn,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            lookback: Duration::from_secs(5 * 60),
            timeout: Duration::from_secs(2 * 60),
            samples_max: i32::MAX as u64,
            threads: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            query_bytes_max: 1 << 30,
            budget: MemoryBudget::new("query engine memory", 4 << 30),
            levels_max: 250,
            subquery_step: Duration::from_secs(60),
            delayed_name_removal: false,
            start_timestamps: false,
            type_and_unit_labels: false,
            parser: parser::Options::default(),
            on_partial: OnPartial::default(),
        }
    }
}

/// A query with its times, and the settings that differ from the engine's.
///
/// # Example
///
/// ```
/// use std::time::{Duration, Instant};
/// use thanos_core::time::Timestamp;
/// use thanos_promql::engine::Query;
///
/// let hour = Timestamp::from_millis(3_600_000);
/// let query = Query::range("up", Timestamp::from_millis(0), hour, Duration::from_secs(60));
/// assert_eq!(query.lookback, None);
/// ```
#[derive(Debug, Clone)]
pub struct Query {
    /// The expression.
    pub text: String,
    /// The first step.
    pub start: Timestamp,
    /// The last step is at or before it.
    pub end: Timestamp,
    /// The distance of the steps; none for an instant query.
    pub step: Option<Duration>,
    /// Replaces the engine's lookback.
    pub lookback: Option<Duration>,
    /// Replaces the engine's timeout when it is shorter.
    pub timeout: Option<Duration>,
    /// Replaces the engine's setting.
    pub on_partial: Option<OnPartial>,
    /// What to count beside the totals.
    pub detail: Detail,
    /// What memory the query has and when it may go on; `None` takes the memory of the engine.
    pub admission: Option<Arc<dyn Admission>>,
}

/// What a query counts beside the totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Detail {
    /// The samples of each step.
    pub steps: bool,
    /// The time, series, samples and bytes of each operator.
    pub operators: bool,
}

impl Query {
    /// Returns a query for one moment.
    pub fn instant(text: impl Into<String>, time: Timestamp) -> Self {
        Self {
            text: text.into(),
            start: time,
            end: time,
            step: None,
            lookback: None,
            timeout: None,
            on_partial: None,
            detail: Detail::default(),
            admission: None,
        }
    }

    /// Returns a query for moments from `start` to at most `end`.
    pub fn range(
        text: impl Into<String>,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
    ) -> Self {
        Self {
            end,
            step: Some(step),
            ..Self::instant(text, start)
        }
    }
}

/// Evaluates PromQL over any [`Queryable`].
#[derive(Debug, Clone)]
pub struct Engine {
    options: Arc<EngineOptions>,
    pool: Arc<Pool>,
    clock: Arc<dyn Clock>,
}

impl Default for Engine {
    fn default() -> Self {
        Self::new(EngineOptions::default())
    }
}

impl Engine {
    /// Returns an engine with `options` that takes the time from the system.
    pub fn new(options: EngineOptions) -> Self {
        Self::with_clock(options, Arc::new(SystemClock))
    }

    /// Returns an engine that takes the time from `clock`.
    pub fn with_clock(options: EngineOptions, clock: Arc<dyn Clock>) -> Self {
        Self {
            pool: Arc::new(Pool::new(options.threads)),
            options: Arc::new(options),
            clock,
        }
    }

    /// Returns the options.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Returns the engine's clock.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Returns the time by the engine's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Evaluates `text` at `time`.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn instant(
        &self,
        queryable: &Arc<dyn Queryable>,
        text: &str,
        time: Timestamp,
    ) -> impl Future<Output = Result<QueryResult>> + Send + 'static {
        self.query(queryable, Query::instant(text, time))
    }

    /// Evaluates `text` at every `step` from `start` to `end`.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn range(
        &self,
        queryable: &Arc<dyn Queryable>,
        text: &str,
        (start, end): (Timestamp, Timestamp),
        step: Duration,
    ) -> impl Future<Output = Result<QueryResult>> + Send + 'static {
        self.query(queryable, Query::range(text, start, end, step))
    }

    /// Evaluates a query.
    ///
    /// # Errors
    ///
    /// The [kind](Error::kind) tells a wrong query from one that fails over this data, from a limit, from
    /// trouble with the data.
    pub fn query(
        &self,
        queryable: &Arc<dyn Queryable>,
        query: Query,
    ) -> impl Future<Output = Result<QueryResult>> + Send + 'static {
        let engine = self.clone();
        let queryable = Arc::clone(queryable);
        async move { engine.prepare(&query)?.run(queryable).await }
    }

    /// Parses and plans `query`, so that a wrong query is told before any data is touched.
    ///
    /// # Errors
    ///
    /// `Invalid` in Prometheus' words when the query is wrong.
    pub fn prepare(&self, query: &Query) -> Result<PreparedQuery> {
        self.prepare_with(query, None)
    }

    /// Parses and plans `query` so that `remotes` evaluate the parts of it that they can.
    ///
    /// # Errors
    ///
    /// As [`Engine::prepare`].
    pub fn prepare_distributed(&self, query: &Query, remotes: &Remotes) -> Result<PreparedQuery> {
        // A name that is dropped at the end of the query would be dropped at the end of each part.
        let remotes = Some(remotes).filter(|_| !self.options.delayed_name_removal);
        self.prepare_with(query, remotes)
    }

    fn prepare_with(&self, query: &Query, remotes: Option<&Remotes>) -> Result<PreparedQuery> {
        let preparing = Instant::now();
        let expr = parser::parse(&query.text, &self.options.parser)
            .map_err(|error| Error::invalid(error.to_string()))?;
        let value_type = expr.value_type();
        if query.step.is_some() && !matches!(value_type, ValueType::Vector | ValueType::Scalar) {
            return Err(Error::invalid(format!(
                "invalid expression type \"{}\" for range query, must be Scalar or instant Vector",
                value_type.documented()
            )));
        }
        let step_ms = query.step.map_or(0, millis);
        if query.step.is_some() && step_ms <= 0 {
            return Err(Error::invalid("the step of a range query must be positive"));
        }
        let times = QueryTimes {
            start: query.start,
            end: query.end,
            step_ms,
            subquery_step_ms: millis(self.options.subquery_step),
            levels_left: self.options.levels_max,
        };
        let built = plan::build(&expr, &times)?;
        let plan = plan::optimise(&built);
        let grid = match query.step {
            None => Grid::instant(query.start),
            Some(_) => Grid::range(query.start.as_millis(), query.end.as_millis(), step_ms)?,
        };
        let lookback_ms = millis(query.lookback.unwrap_or(self.options.lookback));
        let distributed = remotes
            .filter(|_| grid.len() > 0)
            .map(|remotes| plan::distribute(&plan::fold(&built), grid, lookback_ms, remotes))
            .filter(plan::has_remote)
            .map(|plan| plan::optimise(&plan));
        let started = self.clock.now();
        let timeout = query.timeout.unwrap_or(self.options.timeout);
        let timeout = timeout.min(self.options.timeout);
        let of_engine = || {
            let budget = &self.options.budget;
            budget.child("query memory", self.options.query_bytes_max)
        };
        let admission = query.admission.clone();
        let budget = admission
            .as_ref()
            .map_or_else(of_engine, |one| one.budget());
        let counts_lease = if query.detail.steps {
            Some(budget.lease(Counts::bytes_of(grid.len()))?)
        } else {
            None
        };
        let limits = Limits {
            deadline: started + millis(timeout),
            budget,
            admission,
            pool: Arc::clone(&self.pool),
            samples_max: self.options.samples_max,
            counts: if query.detail.steps {
                Counts::with_steps(grid.len())
            } else {
                Counts::default()
            },
            delayed_name_removal: self.options.delayed_name_removal,
            start_timestamps: self.options.start_timestamps,
            type_and_unit_labels: self.options.type_and_unit_labels,
            lookback_ms,
        };
        let cx = Context::new(Arc::clone(&self.clock), limits);
        if let Some(lease) = counts_lease {
            cx.keep(lease);
        }
        Ok(PreparedQuery {
            cx: Arc::new(cx),
            clock: Arc::clone(&self.clock),
            started,
            timeout,
            plan,
            distributed,
            grid,
            is_instant: query.step.is_none(),
            step_ms,
            on_partial: query.on_partial.unwrap_or(self.options.on_partial),
            detail: query.detail,
            prepare_time: preparing.elapsed(),
        })
    }
}

/// Returns what is missing, as users see it; several selectors may miss the same.
pub(crate) fn missing_texts(completeness: &Completeness) -> BTreeSet<String> {
    completeness.missing().iter().map(missing_text).collect()
}

/// Returns who is missing and why; many reasons begin with who it is, and sometimes it is nobody in particular.
fn missing_text(Missing { source, reason }: &Missing) -> String {
    let rest = reason.strip_prefix(source.as_str());
    let is_told = source.is_empty() || rest.is_some_and(|rest| rest.starts_with(": "));
    match is_told {
        true => reason.clone(),
        false => format!("{source}: {reason}"),
    }
}

/// Returns the failure of an answer that would lack data.
pub(crate) fn partial_error(completeness: &Completeness) -> Error {
    let missing: Vec<String> = missing_texts(completeness).into_iter().collect();
    Error::new(
        ErrorKind::Storage,
        format!("incomplete data: {}", missing.join("; ")),
    )
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
