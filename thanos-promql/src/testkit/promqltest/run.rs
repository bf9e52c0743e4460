//! Executes the commands of a script.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use thanos_core::query::{Completeness, Queryable};
use thanos_core::time::Timestamp;

use super::annotations;
use super::eval::{Eval, Expected, ExpectedValue, Steps, Times};
use super::script::{self, Command};
use super::storage::Storage;
use super::{Report, describe, pin, result};
use crate::annotations::{Annotation, Annotations, Severity};
use crate::engine::{Engine, Query};
use crate::error::{Error, ErrorKind};
use crate::parser::Span;
use crate::testkit::naive::{Naive, NaiveTimes};
use crate::value::{QueryResult, QueryStats, Sample, Value};

/// The distance of the steps when an instant query is evaluated as a range.
const STEP: Duration = Duration::from_secs(60);
/// The most differences of one evaluation that are told.
const DIFFERENCES_MAX: usize = 10;

/// Who answers the queries of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evaluator {
    Engine,
    Naive,
}

/// Runs a script.
pub(super) async fn run(engine: &Engine, script: &str, evaluator: Evaluator) -> Report {
    let mut report = Report::default();
    let mut storage = Storage::default();
    let mut queryable = storage.queryable();
    for command in script::parse(script, &engine.options().parser) {
        match command {
            Command::Broken(problem) => report.fail(problem.line, problem.what),
            Command::Clear => {
                storage = Storage::default();
                queryable = storage.queryable();
            }
            Command::Load(load) => {
                if let Err(what) = storage.add(&load) {
                    report.fail(load.line, what);
                }
                queryable = storage.queryable();
            }
            Command::Eval(mut eval) => {
                let mut naive = None;
                if evaluator == Evaluator::Naive {
                    naive = Some(Naive::new(engine.options().clone(), storage.stored()));
                    eval.expected = eval.expected.without_texts();
                }
                let evaluation = Evaluation {
                    engine,
                    naive,
                    queryable: &queryable,
                    eval: &eval,
                };
                match evaluation.check().await {
                    Ok(()) => report.passed += 1,
                    Err(what) => report.fail(eval.line, what),
                }
            }
        }
    }
    report
}

/// An evaluation and what it is evaluated over.
struct Evaluation<'a> {
    engine: &'a Engine,
    /// Answers in place of the engine.
    naive: Option<Naive>,
    queryable: &'a Arc<dyn Queryable>,
    eval: &'a Eval,
}

impl Evaluation<'_> {
    async fn check(&self) -> Result<(), String> {
        let text = &self.eval.text;
        match self.eval.times {
            Times::Range(steps) => {
                let query = Query::range(text, steps.start, steps.end, steps.step);
                self.check_query(query).await.map(|_| ()).map_err(|what| {
                    let [start, end] = [steps.start, steps.end].map(describe::time);
                    format!("{text} from {start} to {end}: {what}")
                })
            }
            Times::Instant(time) => {
                self.check_instant(text, time).await?;
                let Some(pinned) = pin::pinned(&self.eval.expr, time) else {
                    return Ok(());
                };
                for other in pin::other_times(time) {
                    self.check_instant(&pinned, other).await?;
                }
                Ok(())
            }
        }
    }

    async fn check_instant(&self, text: &str, time: Timestamp) -> Result<(), String> {
        let at = describe::time(time);
        let found = self
            .check_query(Query::instant(text, time))
            .await
            .map_err(|what| format!("{text} at {at}: {what}"))?;
        match found {
            Some(found) if self.has_range_form(text) => self
                .check_as_range(text, time, &found)
                .await
                .map_err(|what| format!("{text} at {at} as the middle of a range: {what}")),
            _ => Ok(()),
        }
    }

    /// Evaluates a query and compares all that it gives; returns the value unless the query had to fail.
    async fn check_query(&self, query: Query) -> Result<Option<Value>, String> {
        let text = query.text.clone();
        let expected = &self.eval.expected;
        let found = match (self.evaluate(query).await, &expected.fail) {
            (Err(error), Some(_)) => return check_error(expected, &error).map(|()| None),
            (Err(error), None) => return Err(format!("failed: {error}")),
            (Ok(_), Some(_)) => return Err("expected an error, got none".to_owned()),
            (Ok(found), None) => found,
        };
        let mut wrong = annotations::check(expected, &text, &found.annotations);
        wrong.extend(result::differences(self.eval, &found.value));
        told(wrong)?;
        Ok(Some(found.value))
    }

    /// Evaluates a query; a panic is an error of the engine, not the end of the run.
    async fn evaluate(&self, query: Query) -> Result<QueryResult, Error> {
        if let Some(naive) = &self.naive {
            return answer_of(naive, &query);
        }
        let future = self.engine.query(self.queryable, query);
        AssertUnwindSafe(future)
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "the engine panicked")))
    }

    /// Reports whether a query means the same as a step of a range.
    fn has_range_form(&self, text: &str) -> bool {
        let expected = &self.eval.expected;
        let is_instant_only =
            expected.matrix_steps.is_some() || matches!(expected.value, ExpectedValue::String(_));
        let mut of_range = ["start()", "end()", "range()", "step()"].iter();
        !is_instant_only && !of_range.any(|call| text.contains(call))
    }

    async fn check_as_range(
        &self,
        text: &str,
        time: Timestamp,
        instant: &Value,
    ) -> Result<(), String> {
        let step_ms = i64::try_from(STEP.as_millis()).unwrap_or(i64::MAX);
        let steps = Steps {
            start: time.saturating_add_millis(-step_ms),
            end: time.saturating_add_millis(step_ms),
            step: STEP,
        };
        let query = Query::range(text, steps.start, steps.end, steps.step);
        let found = self.evaluate(query).await;
        let found = found.map_err(|error| format!("failed: {error}"))?.value;
        // A range is sorted by labels, so it cannot show an order.
        if self.eval.expected.is_ordered {
            return Ok(());
        }
        let Value::Matrix(series) = found else {
            return Err(format!("expected a matrix, got a {}", found.type_name()));
        };
        told(result::disorder(&series))?;
        let samples: Vec<Sample> = series
            .iter()
            .filter_map(|one| {
                let labels = one.labels.clone();
                let value = result::value_at(one, time)?;
                Some(Sample {
                    labels,
                    time,
                    value,
                })
            })
            .collect();
        let middle = match instant {
            Value::Scalar(point) => {
                let value = samples.first().and_then(|sample| sample.value.as_float());
                let value = value.ok_or("expected a float, got nothing")?;
                Value::Scalar(crate::value::Point { value, ..*point })
            }
            _ => Value::Vector(samples),
        };
        told(result::differences(self.eval, &middle))
    }
}

fn answer_of(naive: &Naive, query: &Query) -> Result<QueryResult, Error> {
    let times = NaiveTimes {
        start: query.start,
        end: query.end,
        step: query.step,
    };
    let answer = naive.query(&query.text, times)?;
    let mut annotations = Annotations::default();
    for (severity, text) in answer.notes {
        annotations.add(match severity {
            Severity::Warning => Annotation::storage(text),
            // Any remark of this severity will do.
            Severity::Info => Annotation::possible_non_counter(&text, Span::default()),
        });
    }
    Ok(QueryResult {
        value: answer.value,
        annotations,
        completeness: Completeness::default(),
        stats: QueryStats::default(),
        analysis: None,
        lease: None,
    })
}

fn check_error(expected: &Expected, error: &Error) -> Result<(), String> {
    let found = error.to_string();
    let conditions = expected.fail.iter().flatten();
    for condition in conditions {
        if !condition.matches(&found) {
            return Err(format!("expected the error {condition}, got {found:?}"));
        }
    }
    Ok(())
}

/// Joins differences to one message.
fn told(wrong: Vec<String>) -> Result<(), String> {
    match wrong.as_slice() {
        [] => Ok(()),
        [only] => Err(only.clone()),
        all => {
            let mut message = format!("{} differences", all.len());
            for one in all.iter().take(DIFFERENCES_MAX) {
                message += "\n    ";
                message += one;
            }
            if all.len() > DIFFERENCES_MAX {
                message += "\n    ...";
            }
            Err(message)
        }
    }
}
