//! Runs test scripts in the language of Prometheus' `promqltest`, on our engine over data in memory.
//!
//! ```text
//! load 1m
//!   requests_total{job="api"} 0+60x10
//!
//! eval instant at 5m rate(requests_total[5m])
//!   expect no_warn
//!   {job="api"} 1
//! ```
//!
//! Commands are `load <step>`, `load_with_nhcb <step>`, `clear`, `eval instant at <time> <query>` and
//! `eval range from <time> to <time> step <step> <query>`; the lines below a command, up to an empty line or a
//! comment, belong to it. An instant evaluation is repeated as the middle of a range, and at other times with
//! `@` in every selector: all must give what is expected.
//!
//! Source: Prometheus promql/promqltest. Unlike there, an evaluation that fails does not end the script.

mod annotations;
mod compare;
#[cfg(test)]
mod conformance;
mod describe;
mod eval;
pub mod expressions;
mod load;
mod matcher;
mod nhcb;
mod number;
mod pin;
mod result;
mod run;
mod script;
mod start_times;
mod storage;
#[cfg(test)]
mod tests;
mod values;

use std::time::Duration;

use crate::engine::{Engine, EngineOptions};
use crate::parser;
use run::Evaluator;

/// What became of the evaluations of a script.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many evaluations gave what was expected.
    pub passed: usize,
    /// The others, and the lines that are not part of the language.
    pub failures: Vec<Failure>,
}

impl Report {
    fn fail(&mut self, line: usize, what: impl Into<String>) {
        let what = what.into();
        self.failures.push(Failure { line, what });
    }
}

/// Something in a script that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The line of the script, from 1.
    pub line: usize,
    /// What is wrong; further lines are indented.
    pub what: String,
}

/// Runs scripts on one engine.
///
/// # Example
///
/// ```
/// use futures::executor::block_on;
/// use thanos_promql::testkit::promqltest::Runner;
///
/// let script = "load 1m\n  x 1 2 3\n\neval instant at 2m x + 1\n  {} 4\n";
/// let report = block_on(Runner::default().run(script));
/// assert_eq!(report.passed, 1, "{report:?}");
/// ```
#[derive(Debug, Clone)]
pub struct Runner {
    engine: Engine,
}

impl Default for Runner {
    fn default() -> Self {
        Self::new(Engine::new(engine_options()))
    }
}

impl Runner {
    /// Returns a runner on `engine`, for tests of other settings than [`engine_options`].
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// Runs a script from its first to its last line, over data that is empty at the start.
    pub async fn run(&self, script: &str) -> Report {
        run::run(&self.engine, script, Evaluator::Engine).await
    }

    /// Runs a script on the naive evaluator with the engine's options, to check that one.
    ///
    /// It tells neither the texts of errors and annotations nor an order, so these are not compared.
    pub async fn run_naive(&self, script: &str) -> Report {
        run::run(&self.engine, script, Evaluator::Naive).await
    }
}

/// Returns the settings of Prometheus' own test engine: every part of the language is on.
pub fn engine_options() -> EngineOptions {
    EngineOptions {
        lookback: Duration::from_secs(5 * 60),
        timeout: Duration::from_secs(100),
        samples_max: 10_000,
        subquery_step: Duration::from_secs(60),
        delayed_name_removal: true,
        start_timestamps: true,
        parser: parser::Options::all(),
        ..EngineOptions::default()
    }
}
