//! One random query over random data, and what must hold for the engine's answers to it.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::executor::block_on;
use thanos_core::labels::METRIC_NAME;
use thanos_core::query::Queryable;
use thanos_core::time::Timestamp;

use super::choice::Choice;
use super::compare::{Answer, Outcome, bits_difference, difference, values_difference};
use super::data;
use super::query::Writer;
use crate::engine::{Engine, EngineOptions, Query};
use crate::parser::{self, Expr, FunctionId, Walk};
use crate::testkit::naive::{Naive, NaiveTimes, StoredSeries, is_invariant};

/// So many seeds in a row share their data, because making it takes as long as a query.
const SEEDS_PER_DATA: u64 = 8;

/// A query with its data.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) seed: u64,
    pub(super) text: String,
    pub(super) times: Times,
    pub(super) options: EngineOptions,
    pub(super) series: Arc<Vec<StoredSeries>>,
}

/// The steps of a range query; a query for a range vector is an instant query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) start_ms: i64,
    pub(super) step_ms: i64,
    pub(super) count: i64,
    pub(super) is_instant: bool,
}

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All is as it must be, and there were values.
    Values,
    /// All is as it must be, and there was nothing.
    Empty,
    /// The query fails, as it must.
    Fails,
    /// The language does not define the answer.
    Undefined,
    /// The answer shows that count and sum of histograms are read without their buckets.
    Statistics,
    /// The engine does not know a part of the language.
    Unimplemented(String),
    /// A promise is broken: which, and how.
    Broken(&'static str, String),
}

impl Case {
    /// Returns the case of `seed`, with the data of `known` when that is the same.
    pub(super) fn new(seed: u64, known: Option<&Self>) -> Self {
        let data_seed = seed / SEEDS_PER_DATA;
        let same = known.filter(|known| known.seed / SEEDS_PER_DATA == data_seed);
        let series = same.map_or_else(
            || Arc::new(data::series(data_seed)),
            |known| Arc::clone(&known.series),
        );
        let mut metrics: Vec<String> = series
            .iter()
            .map(|one| one.labels.get(METRIC_NAME).unwrap_or_default().into_owned())
            .collect();
        metrics.dedup();
        let mut choice = Choice::new(seed.rotate_left(32) ^ seed);
        let is_instant = choice.chance(3);
        let mut writer = Writer {
            choice: &mut choice,
            metrics,
        };
        let text = if is_instant {
            writer.range_query()
        } else {
            writer.query()
        };
        let jitter = choice.value(&[0, 0, 0, 1, 4_321]);
        let times = Times {
            start_ms: choice.between(4, 38) * 15_000 + jitter,
            step_ms: choice.value(&[15_000, 30_000, 60_000, 7_000, 100_000]),
            count: if is_instant { 1 } else { choice.between(1, 7) },
            is_instant,
        };
        Self {
            seed,
            text,
            times,
            options: options(&mut choice),
            series,
        }
    }

    /// Checks all promises.
    pub(super) fn check(&self, engines: &Engines) -> Verdict {
        let subject = Subject::new(self, engines);
        let times = self.times;
        let whole = (times.start_ms, times.end_ms());
        let found = if times.is_instant {
            subject.instant(times.start_ms)
        } else {
            subject.range(whole)
        };
        if let Err((_, text)) = &found
            && text.starts_with("unimplemented")
        {
            return Verdict::Unimplemented(text.clone());
        }
        let expected = subject.expected(&subject.naive, whole, times.is_instant);
        if let Some(text) = difference(&expected, &found) {
            return self.broken((&subject, engines), "naive evaluator", text);
        }
        if let Some(text) = subject.check_threads(&found) {
            return self.broken(
                (&subject, engines),
                "the number of threads changes nothing",
                text,
            );
        }
        if !times.is_instant {
            if let Some(text) = subject.check_one_step() {
                return self.broken((&subject, engines), "instant is a range of one step", text);
            }
            if let Ok(found) = &found
                && let Some(text) = subject.check_split(found)
            {
                return self.broken(
                    (&subject, engines),
                    "a split range is the whole range",
                    text,
                );
            }
        }
        match expected {
            Err(_) => Verdict::Fails,
            Ok(answer) if answer.values.is_empty() => Verdict::Empty,
            Ok(_) => Verdict::Values,
        }
    }

    fn broken(
        &self,
        (subject, engines): (&Subject<'_>, &Engines),
        promise: &'static str,
        text: String,
    ) -> Verdict {
        let whole = (self.times.start_ms, self.times.end_ms());
        let is_instant = self.times.is_instant;
        let expected = subject.expected(&subject.naive, whole, is_instant);
        let reversed = subject.expected(&subject.naive.reversed(), whole, is_instant);
        if difference(&expected, &reversed).is_some() {
            return Verdict::Undefined;
        }
        if let Some(whole) = self.with_buckets()
            && !matches!(whole.check(engines), Verdict::Broken(..))
        {
            return Verdict::Statistics;
        }
        Verdict::Broken(promise, text)
    }

    /// Returns the case with a trim of nothing below all functions of count and sum, unless there are none.
    ///
    /// Without their buckets histograms are seen with other resets and bounds. Prometheus leaves them out just so
    /// (`promql/engine.go`, `detectHistogramStatsDecoding`); the naive evaluator never does.
    fn with_buckets(&self) -> Option<Self> {
        let options = &self.options.parser;
        let mut is_changed = false;
        let rewritten = parser::parse(&self.text, options)
            .ok()?
            .rewrite(&mut |node| {
                let Expr::Call(call) = &node else {
                    return Ok(node);
                };
                let is_statistic = matches!(
                    call.func.id,
                    FunctionId::HistogramAvg
                        | FunctionId::HistogramCount
                        | FunctionId::HistogramSum
                );
                if !is_statistic || call.args[0].to_string().contains("</ +Inf") {
                    return Ok(node);
                }
                is_changed = true;
                let text = format!("{}(((({})) </ Inf))", call.func.name, call.args[0]);
                parser::parse(&text, options)
            });
        let text = rewritten.ok()?.to_string();
        is_changed.then(|| Self {
            text,
            ..self.clone()
        })
    }
}

impl Times {
    pub(super) fn end_ms(self) -> i64 {
        self.start_ms + (self.count - 1) * self.step_ms
    }
}

fn options(choice: &mut Choice) -> EngineOptions {
    EngineOptions {
        lookback: Duration::from_secs(choice.value(&[300, 300, 60, 20])),
        subquery_step: Duration::from_secs(choice.value(&[60, 15])),
        delayed_name_removal: choice.chance(50),
        start_timestamps: choice.chance(30),
        parser: parser::Options::all(),
        ..EngineOptions::default()
    }
}

/// Engines by their options, with one thread and with several; threads are too dear to start for each query.
#[derive(Debug, Default)]
pub(super) struct Engines {
    known: Mutex<Vec<(EngineOptions, [Engine; 2])>>,
}

impl Engines {
    fn get(&self, options: &EngineOptions) -> [Engine; 2] {
        let key = |options: &EngineOptions| {
            (
                options.delayed_name_removal,
                options.subquery_step,
                options.start_timestamps,
                options.type_and_unit_labels,
            )
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, engines)) = known.iter().find(|(other, _)| key(other) == key(options)) {
            return engines.clone();
        }
        let engines = [1, 3].map(|threads| {
            Engine::new(EngineOptions {
                threads: NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN),
                ..options.clone()
            })
        });
        known.push((options.clone(), engines.clone()));
        engines
    }
}

/// A case with all that is needed to answer it.
struct Subject<'a> {
    case: &'a Case,
    naive: Naive,
    engines: [Engine; 2],
    data: Arc<dyn Queryable>,
}

impl<'a> Subject<'a> {
    fn new(case: &'a Case, engines: &Engines) -> Self {
        let (data, series) = data::stored(&case.series);
        Self {
            case,
            naive: Naive::new(case.options.clone(), series),
            engines: engines.get(&case.options),
            data: data.into_queryable(),
        }
    }

    fn step(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.case.times.step_ms).unwrap_or(1))
    }

    fn range(&self, (start, end): (i64, i64)) -> Outcome {
        let [start, end] = [start, end].map(Timestamp::from_millis);
        self.answer(Query::range(&self.case.text, start, end, self.step()))
    }

    fn instant(&self, time: i64) -> Outcome {
        let time = Timestamp::from_millis(time);
        self.answer(Query::instant(&self.case.text, time))
    }

    fn answer(&self, query: Query) -> Outcome {
        self.answer_of(&self.engines[0], query)
    }

    fn answer_of(&self, engine: &Engine, mut query: Query) -> Outcome {
        query.lookback = Some(self.case.options.lookback);
        match block_on(engine.query(&self.data, query)) {
            Ok(result) => {
                let severities = result.annotations.iter().map(|one| one.severity());
                Ok(Answer::new(&result.value, severities))
            }
            Err(error) => Err((error.kind(), error.to_string())),
        }
    }

    fn expected(&self, naive: &Naive, (start, end): (i64, i64), is_instant: bool) -> Outcome {
        let times = NaiveTimes {
            start: Timestamp::from_millis(start),
            end: Timestamp::from_millis(end),
            step: (!is_instant).then(|| self.step()),
        };
        match naive.query(&self.case.text, times) {
            Ok(result) => {
                let severities = result.notes.iter().map(|(severity, _)| *severity);
                Ok(Answer::new(&result.value, severities))
            }
            Err(error) => Err((error.kind(), error.to_string())),
        }
    }

    /// Compares the whole answer with that of several threads, to the last bit.
    fn check_threads(&self, found: &Outcome) -> Option<String> {
        let times = self.case.times;
        let [start, end] = [times.start_ms, times.end_ms()].map(Timestamp::from_millis);
        let query = if times.is_instant {
            Query::instant(&self.case.text, start)
        } else {
            Query::range(&self.case.text, start, end, self.step())
        };
        let threaded = self.answer_of(&self.engines[1], query);
        difference(found, &threaded).or_else(|| match (found, &threaded) {
            (Ok(found), Ok(threaded)) => bits_difference(&found.values, &threaded.values),
            _ => None,
        })
    }

    /// Compares an instant query with a range of one step.
    fn check_one_step(&self) -> Option<String> {
        let times = self.case.times;
        let step = self.case.seed.rem_euclid(times.count.unsigned_abs());
        let time = times.start_ms + i64::try_from(step).unwrap_or(0) * times.step_ms;
        let range = self.range((time, time)).map(|mut answer| {
            answer.kind = "";
            answer
        });
        let instant = self.instant(time).map(|mut answer| {
            answer.kind = "";
            answer
        });
        difference(&range, &instant)
    }

    /// Reports whether a parameter changes from step to step and the aggregation takes the first one for all.
    fn has_frozen_parameter(&self) -> bool {
        let Ok(expr) = parser::parse(&self.case.text, &self.case.options.parser) else {
            return false;
        };
        let mut is_found = false;
        expr.walk(&mut |node, _| {
            if let Expr::Aggregate(node) = node
                && let Some(param) = &node.param
            {
                is_found |= is_invariant(&node.expr) && !is_invariant(param);
            }
            Walk::Enter
        });
        is_found
    }

    /// Compares the whole range with the answers for two parts of it, where the query does not ask for its range.
    fn check_split(&self, whole: &Answer) -> Option<String> {
        let times = self.case.times;
        let words = ["start()", "end()", "range()", "step()"];
        let asks_for_range = words.iter().any(|word| self.case.text.contains(word));
        if times.count < 2 || asks_for_range || self.has_frozen_parameter() {
            return None;
        }
        let middle = times.start_ms + (times.count / 2 - 1) * times.step_ms;
        let parts = [
            (times.start_ms, middle),
            (middle + times.step_ms, times.end_ms()),
        ];
        let mut values = super::compare::Values::new();
        for part in parts {
            match self.range(part) {
                Ok(answer) => values.extend(answer.values),
                Err((_, text)) => return Some(format!("a part fails: {text}")),
            }
        }
        let difference = values_difference(&whole.values, &values)?;
        (!self.depends_on_the_first_step(parts)).then_some(difference)
    }

    /// Reports whether the parts of a range do not add up by definition: with delayed removal it is the first value
    /// of a series in a range that says whether its name goes (Prometheus `promql/engine.go`, `rangeEval`).
    fn depends_on_the_first_step(&self, parts: [(i64, i64); 2]) -> bool {
        let whole = self.expected(&self.naive, (parts[0].0, parts[1].1), false);
        let mut values = super::compare::Values::new();
        for part in parts {
            match self.expected(&self.naive, part, false) {
                Ok(answer) => values.extend(answer.values),
                Err(_) => return false,
            }
        }
        self.case.options.delayed_name_removal
            && whole.is_ok_and(|whole| values_difference(&whole.values, &values).is_some())
    }
}
