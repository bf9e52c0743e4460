//! The circuit breaker of writes (`set_async_circuit_breaker_config`): a server that fails is left alone for a while.
//!
//! It behaves like sony/gobreaker with Thanos' settings: closed, it counts for ten seconds at a time and opens when
//! enough of enough failed; open, it refuses; half-open, it lets some through, and the first failure opens it again.

use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use thanos_core::{Error, Result};
use tokio::time::Instant;

use crate::cache::config::go_duration;

/// How long failures are counted together.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long it stays open where the configuration says 0.
const OPEN_DEFAULT: Duration = Duration::from_secs(60);

/// When writes are refused; the defaults are those of Thanos.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerOptions {
    /// Whether there is a breaker at all.
    pub enabled: bool,
    /// Writes that are let through to see whether the server is back; 0 means one.
    pub half_open_max_requests: u32,
    /// How long writes are refused.
    #[serde(deserialize_with = "go_duration")]
    pub open_duration: Duration,
    /// It does not open before so many writes.
    pub min_requests: u32,
    /// It opens after so many failures in a row.
    pub consecutive_failures: u32,
    /// It opens when such a share of writes failed.
    pub failure_percent: f64,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            enabled: false,
            half_open_max_requests: 10,
            open_duration: Duration::from_secs(5),
            min_requests: 50,
            consecutive_failures: 5,
            failure_percent: 0.05,
        }
    }
}

impl BreakerOptions {
    pub(in super::super) fn validate(&self) -> Result<()> {
        if self.enabled && self.consecutive_failures == 0 {
            let message = "circuit breaker: consecutive failures must be greater than 0";
            return Err(Error::invalid(message));
        }
        let is_share = self.failure_percent > 0.0 && self.failure_percent <= 1.0;
        if self.enabled && !is_share {
            let message = "circuit breaker: failure percent must be in range (0,1]";
            return Err(Error::invalid(message));
        }
        Ok(())
    }
}

/// Decides whether a write may be tried.
#[derive(Debug)]
pub(in super::super) struct Breaker {
    options: BreakerOptions,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { since: Instant, counts: Counts },
    Open { since: Instant },
    HalfOpen { counts: Counts },
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    requests: u32,
    failures: u32,
    successes_in_row: u32,
    failures_in_row: u32,
}

impl Counts {
    fn note(&mut self, succeeded: bool) {
        if succeeded {
            self.successes_in_row += 1;
            self.failures_in_row = 0;
        } else {
            self.failures += 1;
            self.failures_in_row += 1;
            self.successes_in_row = 0;
        }
    }
}

impl Breaker {
    pub(in super::super) fn new(options: BreakerOptions) -> Self {
        let state = State::Closed {
            since: Instant::now(),
            counts: Counts::default(),
        };
        Self {
            options,
            state: Mutex::new(state),
        }
    }

    /// Reports whether a write may be tried; what became of it has to be told with [`Breaker::note`].
    pub(in super::super) fn allows(&self) -> bool {
        if !self.options.enabled {
            return true;
        }
        let mut state = self.state.lock();
        *state = self.aged(*state);
        match &mut *state {
            State::Closed { counts, .. } => {
                counts.requests += 1;
                true
            }
            State::Open { .. } => false,
            State::HalfOpen { counts } => {
                let allowed = counts.requests < self.options.half_open_max_requests.max(1);
                counts.requests += u32::from(allowed);
                allowed
            }
        }
    }

    /// Notes what became of a write.
    pub(in super::super) fn note(&self, succeeded: bool) {
        if !self.options.enabled {
            return;
        }
        let mut state = self.state.lock();
        let opened = State::Open {
            since: Instant::now(),
        };
        match &mut *state {
            State::Closed { counts, .. } => {
                counts.note(succeeded);
                if !succeeded && self.is_too_much(*counts) {
                    *state = opened;
                }
            }
            State::HalfOpen { counts } => {
                counts.note(succeeded);
                if !succeeded {
                    *state = opened;
                } else if counts.successes_in_row >= self.options.half_open_max_requests.max(1) {
                    *state = State::Closed {
                        since: Instant::now(),
                        counts: Counts::default(),
                    };
                }
            }
            State::Open { .. } => {}
        }
    }

    fn is_too_much(&self, counts: Counts) -> bool {
        let share = f64::from(counts.failures) / f64::from(counts.requests.max(1));
        counts.requests >= self.options.min_requests
            && (counts.failures_in_row >= self.options.consecutive_failures
                || share >= self.options.failure_percent)
    }

    fn aged(&self, state: State) -> State {
        let open_duration = if self.options.open_duration.is_zero() {
            OPEN_DEFAULT
        } else {
            self.options.open_duration
        };
        match state {
            State::Closed { since, .. } if since.elapsed() >= INTERVAL => State::Closed {
                since: Instant::now(),
                counts: Counts::default(),
            },
            State::Open { since } if since.elapsed() >= open_duration => State::HalfOpen {
                counts: Counts::default(),
            },
            State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. } => state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(breaker: &Breaker, succeeded: bool) -> bool {
        let allowed = breaker.allows();
        if allowed {
            breaker.note(succeeded);
        }
        allowed
    }

    ///
    #[tokio::test(start_paused = true)]
    async fn a_failing_server_is_left_alone_and_tried_again() {
        let breaker = Breaker::new(BreakerOptions {
            enabled: true,
            min_requests: 4,
            half_open_max_requests: 2,
            ..BreakerOptions::default()
        });
        for _ in 0..4 {
            assert!(tried(&breaker, false));
        }
        assert!(!tried(&breaker, true));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(tried(&breaker, false), "half-open lets one through");
        assert!(!tried(&breaker, true), "and its failure opens it again");
        tokio::time::advance(Duration::from_secs(5)).await;
        for _ in 0..20 {
            assert!(tried(&breaker, true));
        }
    }

    #[test]
    fn settings_are_checked_when_it_is_on() {
        let mut options = BreakerOptions {
            consecutive_failures: 0,
            ..BreakerOptions::default()
        };
        assert!(options.validate().is_ok());
        options.enabled = true;
        assert!(options.validate().is_err());
        options.consecutive_failures = 1;
        options.failure_percent = 1.5;
        assert!(options.validate().is_err());
    }
}
