//! A query that is parsed and planned: explained, or run once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{join, join_all, try_join_all};
use thanos_core::budget::Lease;
use thanos_core::query::Queryable;
use thanos_core::time::{Clock, Timestamp};

use super::{Detail, OnPartial, missing_texts, partial_error};
use crate::annotations::Annotation;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::context::Context;
use crate::exec::grid::Grid;
use crate::exec::operator::BoxOperator;
use crate::exec::result;
use crate::exec::scalar::Scalar;
use crate::exec::source::SeriesSource;
use crate::parser::ValueType;
use crate::parser::ast::RangeExtension;
use crate::plan::physical::{Place, Planner};
use crate::plan::{self, Kind, Node};
use crate::value::{OperatorStats, Point, QueryResult, QueryStats, StepStats, Timings, Value};

/// Stops an evaluation when dropped.
#[derive(Debug)]
pub(crate) struct StopOnDrop(Arc<Context>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// A query that is ready to run once.
#[derive(Debug)]
pub struct PreparedQuery {
    pub(super) cx: Arc<Context>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) started: Timestamp,
    pub(super) timeout: Duration,
    pub(super) plan: plan::Plan,
    /// The plan with the parts that other engines evaluate.
    pub(super) distributed: Option<plan::Plan>,
    pub(super) grid: Grid,
    pub(super) is_instant: bool,
    pub(super) step_ms: i64,
    pub(super) on_partial: OnPartial,
    pub(super) detail: Detail,
    pub(super) prepare_time: Duration,
}

/// The operators of a whole query.
enum Root {
    Text(Arc<str>),
    Scalar(Scalar),
    Vector(BoxOperator),
    Matrix(BoxOperator),
    /// The borders of the window, and what belongs to it beyond them.
    Window(Box<SeriesSource>, (i64, i64), Option<RangeExtension>),
}

impl PreparedQuery {
    /// Returns the time that the query may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Reports whether other engines evaluate parts of the query.
    pub fn is_distributed(&self) -> bool {
        self.distributed.is_some()
    }

    /// Returns what stops the evaluation when it is dropped, even inside a long series.
    pub(crate) fn stop_on_drop(&self) -> StopOnDrop {
        StopOnDrop(Arc::clone(&self.cx))
    }

    /// Returns the operators that the query is made of, which have done nothing.
    ///
    /// # Errors
    ///
    /// What running the query would find before it reads data.
    pub fn explain(&self) -> Result<OperatorStats> {
        let plan = self.distributed.as_ref().unwrap_or(&self.plan);
        let mut planner = self.planner(plan).with_profile();
        self.root(plan, &mut planner)?;
        let profile = planner.take_profile(plan);
        let profile = profile.ok_or_else(|| internal("a watched plan has no operators"))?;
        Ok(profile.read())
    }

    /// Returns the same, with whom each selector would ask of `queryable`.
    ///
    /// # Errors
    ///
    /// As [`PreparedQuery::explain`], and those of `queryable`.
    pub async fn explain_over(&self, queryable: Arc<dyn Queryable>) -> Result<OperatorStats> {
        let plan = self.distributed.as_ref().unwrap_or(&self.plan);
        let mut planner = self.planner(plan).with_profile();
        self.root(plan, &mut planner)?;
        let profile = planner.take_profile(plan);
        let profile = profile.ok_or_else(|| internal("a watched plan has no operators"))?;
        for (select, meter, _) in &planner.selects {
            let plans = queryable.sources(select).await?;
            meter
                .iter()
                .for_each(|meter| meter.set_plans(plans.clone()));
        }
        Ok(profile.read())
    }

    /// Evaluates the query over `queryable`.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`](super::Engine::query).
    pub async fn run(self, queryable: Arc<dyn Queryable>) -> Result<QueryResult> {
        // Rows that other threads are computing are of no use once nobody waits for them.
        let _stop = self.stop_on_drop();
        if let Some(plan) = &self.distributed {
            let answer = Box::pin(self.attempt(plan, &queryable)).await;
            let Some(reason) = self.cx.take_reason_to_stay().filter(|_| answer.is_err()) else {
                return answer;
            };
            tracing::debug!(%reason, "the query is not distributed after all");
            // What was said belongs to the attempt.
            drop(self.cx.take_notes());
        }
        Box::pin(self.attempt(&self.plan, &queryable)).await
    }

    async fn attempt(
        &self,
        plan: &plan::Plan,
        queryable: &Arc<dyn Queryable>,
    ) -> Result<QueryResult> {
        let evaluating = Instant::now();
        let mut planner = self.planner(plan);
        if self.detail.operators {
            planner = planner.with_profile();
        }
        let root = self.root(plan, &mut planner)?;
        let profile = planner.take_profile(plan);
        self.cx.expect(queryable, &planner.selects).await?;
        open(queryable, planner).await?;
        let (value, lease) = self.evaluate(root).await?;
        let (mut annotations, completeness) = self.cx.take_notes()?;
        if !completeness.is_complete() && self.on_partial == OnPartial::Fail {
            return Err(partial_error(&completeness));
        }
        for text in missing_texts(&completeness) {
            annotations.add(Annotation::storage(text));
        }
        Ok(QueryResult {
            value,
            annotations,
            completeness,
            stats: self.stats(evaluating.elapsed()),
            analysis: profile.map(|profile| profile.read()),
            lease,
        })
    }

    fn stats(&self, evaluate: Duration) -> QueryStats {
        let elapsed_ms = self.clock.now() - self.started;
        let (samples, samples_read) = self.cx.counts.totals();
        let steps = self
            .cx
            .counts
            .steps()
            .map(|(samples, samples_read)| StepStats {
                start: Timestamp::from_millis(self.grid.start_ms()),
                step_ms: self.step_ms,
                samples,
                samples_read,
            });
        let sort = self.cx.sort_time();
        QueryStats {
            samples,
            samples_read,
            steps,
            series: self.cx.series(),
            peak_bytes: self.cx.peak_bytes(),
            elapsed: Duration::from_millis(u64::try_from(elapsed_ms).unwrap_or(0)),
            timings: Timings {
                prepare: self.prepare_time,
                evaluate: evaluate.saturating_sub(sort),
                sort,
            },
        }
    }

    fn planner(&self, plan: &Node) -> Planner {
        Planner::new(Arc::clone(&self.cx), plan, self.grid)
    }

    /// Builds the operators of the query.
    fn root(&self, plan: &Node, planner: &mut Planner) -> Result<Root> {
        let place = Place::of_query(self.grid, self.step_ms);
        match (plan.value_type(), self.is_instant) {
            (ValueType::String, _) => match &plan.kind {
                Kind::Text(text) => Ok(Root::Text(Arc::clone(text))),
                _ => Err(internal("a text has another form")),
            },
            (ValueType::Scalar, true) => planner.scalar(plan, &place).map(Root::Scalar),
            (ValueType::Vector, true) => {
                let built = planner.vector(plan, &place)?;
                Ok(Root::Vector(built.operator))
            }
            (ValueType::Scalar, false) => {
                let built = planner.scalar_series(plan, &place)?;
                Ok(Root::Matrix(built.operator))
            }
            (ValueType::Vector, false) => {
                let built = planner.vector(plan, &place)?;
                Ok(Root::Matrix(built.operator))
            }
            (ValueType::Matrix, _) => match &whole(plan).kind {
                Kind::Window(selector, range_ms) => {
                    let source = planner.window_source(selector, &place, *range_ms);
                    let end_ms = selector.shift.apply(self.grid.start_ms());
                    let borders = (end_ms.saturating_sub(*range_ms), end_ms);
                    Ok(Root::Window(Box::new(source), borders, selector.extension))
                }
                Kind::Subquery(subquery) => {
                    let built = planner.subquery(subquery, &place)?;
                    Ok(Root::Matrix(built.operator))
                }
                _ => Err(internal("a matrix has another form")),
            },
        }
    }

    async fn evaluate(&self, root: Root) -> Result<(Value, Option<Lease>)> {
        let cx = &self.cx;
        let time = Timestamp::from_millis(self.grid.start_ms());
        match root {
            Root::Text(text) => Ok((Value::String(time, text.to_string()), None)),
            Root::Scalar(mut scalar) => {
                let value = scalar.eval(cx, self.grid).await?.get(0);
                Ok((Value::Scalar(Point { time, value }), None))
            }
            Root::Vector(operator) => {
                let (samples, lease) = result::vector(cx, operator, time).await?;
                Ok((Value::Vector(samples), Some(lease)))
            }
            Root::Matrix(operator) => {
                let (series, lease) = result::matrix(cx, operator).await?;
                Ok((Value::Matrix(series), Some(lease)))
            }
            Root::Window(source, borders, extension) => {
                let (series, lease) = result::window(cx, *source, borders, extension).await?;
                Ok((Value::Matrix(series), Some(lease)))
            }
        }
    }
}

fn whole(plan: &Node) -> &Node {
    match &plan.kind {
        Kind::Invariant(inner) => inner,
        _ => plan,
    }
}

/// Opens all selectors at once and hands their streams to the operators.
async fn open(queryable: &Arc<dyn Queryable>, planner: Planner) -> Result<()> {
    for later in planner.queryables {
        // As with streams, nobody may wait.
        let _ = later.send(Arc::clone(queryable));
    }
    let asked = planner.asked.into_iter().map(|(asked, sender)| async {
        // What fails is told by who reads it; nobody waits when the operator was planned away.
        let _ = sender.send(asked.open().await);
    });
    let asked = join_all(asked);
    let selects = planner
        .selects
        .into_iter()
        .map(|(select, _, receiver)| async {
            let stream = queryable
                .select(select)
                .await
                .map_err(Error::expanding_series)?;
            // Nobody waits when the operator was planned away; then nobody misses the stream.
            let _ = receiver.send(stream);
            Ok::<(), Error>(())
        });
    let (opened, _) = join(try_join_all(selects), asked).await;
    opened.map(|_| ())
}

fn internal(what: &str) -> Error {
    Error::new(ErrorKind::Internal, what)
}
