//! Samplings that a server decides on: `sampler_type: remote`.
//!
//! Source: Go go.opentelemetry.io/contrib/samplers/jaegerremote.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::Request;
use bytes::Bytes;
use opentelemetry::trace::{Link, SpanKind, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HttpClient;
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};
use serde::Deserialize;
use thanos_core::{Error, Result};

use super::super::config::TlsFiles;
use super::super::http_export::CollectorClient;
use super::config::JaegerConfig;

const SERVER_URL: &str = "http://localhost:5778/sampling";
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// How long the server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Which part of traces is kept until the server has said something.
const INITIAL_RATE: f64 = 0.001;
/// How many names of spans have limits of their own.
const OPERATIONS_MAX: usize = 256;

/// So many traces in a second, and as many more as were not used before.
#[derive(Debug, Clone)]
pub(super) struct RateLimit {
    per_second: f64,
    left: Arc<Mutex<(f64, Instant)>>,
}

impl RateLimit {
    pub(super) fn new(per_second: f64) -> Self {
        let left = Arc::new(Mutex::new((per_second.max(1.0), Instant::now())));
        Self { per_second, left }
    }

    fn allows_at(&self, now: Instant) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(left.1).as_secs_f64();
        let filled = (left.0 + passed * self.per_second).min(self.per_second.max(1.0));
        let is_allowed = filled >= 1.0;
        *left = (if is_allowed { filled - 1.0 } else { filled }, now);
        is_allowed
    }
}

impl ShouldSample for RateLimit {
    fn should_sample(
        &self,
        _: Option<&Context>,
        _: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        result(self.allows_at(Instant::now()))
    }
}

fn result(is_kept: bool) -> SamplingResult {
    SamplingResult {
        decision: match is_kept {
            true => SamplingDecision::RecordAndSample,
            false => SamplingDecision::Drop,
        },
        attributes: Vec::new(),
        trace_state: TraceState::default(),
    }
}

/// What the server has said last.
#[derive(Debug, Clone)]
pub(super) struct Remote(Arc<Mutex<Strategy>>);

#[derive(Debug)]
enum Strategy {
    Ratio(f64),
    Limit(RateLimit),
    Operations(Operations),
}

/// A ratio for each name of a span, and no fewer than so many in a second.
#[derive(Debug)]
struct Operations {
    ratio: f64,
    per_second_min: f64,
    known: HashMap<String, (f64, RateLimit)>,
    known_max: usize,
}

impl Remote {
    /// Returns a sampler that asks the server of `config` now and then, in a task of the runtime on which it is made.
    ///
    /// # Errors
    ///
    /// `Invalid` for an address that is none.
    pub(super) fn start(config: &JaegerConfig) -> Result<Self> {
        let address = match config.sampling_server_url.as_str() {
            "" => SERVER_URL,
            given => given,
        };
        let wrong = |error: &dyn std::fmt::Display| {
            Error::invalid(format!("jaeger: sampling_server_url {address:?}: {error}"))
        };
        let mut url = reqwest::Url::parse(address).map_err(|error| wrong(&error))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong(&"it is neither http nor https"));
        }
        url.query_pairs_mut()
            .append_pair("service", &config.service_name);
        let initial = match config.initial_sampler_rate > 0.0 {
            true => config.initial_sampler_rate,
            false => INITIAL_RATE,
        };
        let known_max = match config.sampler_max_operations {
            0 => OPERATIONS_MAX,
            given => given,
        };
        let refresh = config.sampler_refresh_interval.set();
        let client = CollectorClient::new(&TlsFiles::default(), TIMEOUT)?;
        let remote = Self(Arc::new(Mutex::new(Strategy::Ratio(initial))));
        let now = remote.clone();
        tokio::spawn(async move {
            loop {
                match asked(&client, url.as_str(), known_max).await {
                    Ok(strategy) => now.replace(strategy),
                    Err(error) => tracing::warn!(%error, "failed to fetch sampling strategy"),
                }
                tokio::time::sleep(refresh.unwrap_or(REFRESH_INTERVAL)).await;
            }
        });
        Ok(remote)
    }

    fn replace(&self, strategy: Strategy) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (&mut *now, strategy) {
            // What was used up stays so.
            (Strategy::Limit(old), Strategy::Limit(new)) if old.per_second == new.per_second => {}
            (Strategy::Operations(old), Strategy::Operations(mut new)) => {
                for (name, (_, limit)) in &mut new.known {
                    if let Some((_, old)) = old.known.remove(name)
                        && old.per_second == limit.per_second
                    {
                        *limit = old;
                    }
                }
                *now = Strategy::Operations(new);
            }
            (now, new) => *now = new,
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn asked(
    client: &CollectorClient,
    url: &str,
    known_max: usize,
) -> std::result::Result<Strategy, Failure> {
    let request = Request::get(url).body(Bytes::new())?;
    let answer = client.send_bytes(request).await?;
    if !answer.status().is_success() {
        return Err(format!("the server answered {}", answer.status()).into());
    }
    parsed(answer.body(), known_max)
}

/// Source: github.com/jaegertracing/jaeger-idl, proto/api_v2/sampling.proto, as JSON, where zero may be left out.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    probabilistic_sampling: Option<Probabilistic>,
    rate_limiting_sampling: Option<RateLimiting>,
    operation_sampling: Option<PerOperation>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Probabilistic {
    sampling_rate: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RateLimiting {
    max_traces_per_second: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PerOperation {
    default_sampling_probability: f64,
    default_lower_bound_traces_per_second: f64,
    per_operation_strategies: Vec<OfOperation>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OfOperation {
    operation: String,
    probabilistic_sampling: Probabilistic,
}

fn parsed(json: &[u8], known_max: usize) -> std::result::Result<Strategy, Failure> {
    let said: Said = serde_json::from_slice(json)?;
    if let Some(said) = said.operation_sampling {
        let per_second_min = said.default_lower_bound_traces_per_second;
        let of = |one: OfOperation| {
            let limits = (
                one.probabilistic_sampling.sampling_rate,
                RateLimit::new(per_second_min),
            );
            (one.operation, limits)
        };
        let known = said.per_operation_strategies.into_iter().take(known_max);
        return Ok(Strategy::Operations(Operations {
            ratio: said.default_sampling_probability,
            per_second_min,
            known: known.map(of).collect(),
            known_max,
        }));
    }
    if let Some(Probabilistic { sampling_rate }) = said.probabilistic_sampling {
        return Ok(Strategy::Ratio(sampling_rate));
    }
    match said.rate_limiting_sampling {
        Some(said) => Ok(Strategy::Limit(RateLimit::new(said.max_traces_per_second))),
        None => Err("the server names no sampling strategy that is known here".into()),
    }
}

impl Operations {
    fn keeps(&mut self, trace: TraceId, name: &str) -> bool {
        if !self.known.contains_key(name) {
            if self.known.len() >= self.known_max {
                return is_in(self.ratio, trace);
            }
            let limits = (self.ratio, RateLimit::new(self.per_second_min));
            self.known.insert(name.to_owned(), limits);
        }
        let Some((ratio, at_least)) = self.known.get(name) else {
            return false;
        };
        // What is kept anyway counts for what is kept at least.
        let is_allowed = at_least.allows_at(Instant::now());
        is_in(*ratio, trace) || is_allowed
    }
}

fn is_in(ratio: f64, trace: TraceId) -> bool {
    let sampler = Sampler::TraceIdRatioBased(ratio);
    let result = sampler.should_sample(None, trace, "", &SpanKind::Internal, &[], &[]);
    result.decision == SamplingDecision::RecordAndSample
}

impl ShouldSample for Remote {
    fn should_sample(
        &self,
        _: Option<&Context>,
        trace: TraceId,
        name: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        result(match &mut *now {
            Strategy::Ratio(ratio) => is_in(*ratio, trace),
            Strategy::Limit(limit) => limit.allows_at(Instant::now()),
            Strategy::Operations(operations) => operations.keeps(trace, name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// X-20: so many in a second, and no more later for a long silence.
    #[test]
    fn rates_are_limited() {
        let limit = RateLimit::new(2.0);
        let start = Instant::now();
        let kept = |millis: u64| limit.allows_at(start + Duration::from_millis(millis));
        let found: Vec<bool> = [0, 0, 0, 500, 600, 9000, 9000, 9000].map(kept).into();
        let expected = [true, true, false, true, false, true, true, false];
        assert_eq!(found, expected);
        let slow = RateLimit::new(0.1);
        let kept = |secs: u64| slow.allows_at(start + Duration::from_secs(secs));
        assert_eq!([0, 5, 11, 12].map(kept), [true, false, true, false]);
    }

    /// X-20: what a server may say, with its enums as text, as numbers, or left out.
    #[test]
    fn strategies_of_a_server_are_understood() {
        let trace = TraceId::from_bytes([0xFF; 16]);
        let half =
            r#"{"strategyType": "PROBABILISTIC", "probabilisticSampling": {"samplingRate": 0.5}}"#;
        assert!(matches!(parsed(half.as_bytes(), 9).unwrap(), Strategy::Ratio(r) if r == 0.5));
        let three = r#"{"strategyType": 1, "rateLimitingSampling": {"maxTracesPerSecond": 3}}"#;
        let limit = parsed(three.as_bytes(), 9).unwrap();
        assert!(matches!(limit, Strategy::Limit(limit) if limit.per_second == 3.0));
        let each = r#"{"probabilisticSampling": {}, "operationSampling": {"defaultSamplingProbability": 0,
            "perOperationStrategies": [{"operation": "a", "probabilisticSampling": {"samplingRate": 1}}]}}"#;
        let Strategy::Operations(mut each) = parsed(each.as_bytes(), 2).unwrap() else {
            panic!("no operations");
        };
        let mut kept = |name: &str| (0..5).filter(|_| each.keeps(trace, name)).count();
        // One of the others is kept at first: a limit of none in a second has room for one.
        assert_eq!((kept("a"), kept("b"), kept("c")), (5, 1, 0));
        assert_eq!(each.known.len(), 2);
        for nothing in ["{}", "no json"] {
            assert!(parsed(nothing.as_bytes(), 9).is_err());
        }
    }
}
