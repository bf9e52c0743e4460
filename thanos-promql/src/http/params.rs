//! The parameters of a request: read from the URL and a form, parsed as Prometheus parses them.

use std::time::Duration;

use axum::Form;
use axum::extract::{FromRequest, Query, Request};
use axum::http::{HeaderMap, Method};
use thanos_core::labels::Matcher;
use thanos_core::text::write_go_quoted;
use thanos_core::time::{SignedDuration, Timestamp, UtcTime};
use thanos_storeapi::store::ShardInfo;

use super::Api;
use super::answer::Failure;
use super::source::SourceParams;
use crate::parser::{self, parse_selector};

/// The earliest and latest time of Prometheus' API, as text and where the text stands for.
const TIME_LIMITS: [(&str, Timestamp); 2] = [
    ("-292273086-05-16T16:47:06Z", Timestamp::MIN),
    ("292277025-08-18T07:12:54.999999999Z", Timestamp::MAX),
];

/// How coarse downsampled data may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxSourceResolution {
    /// A fifth of the step.
    Auto,
    /// At most this many milliseconds; 0 is raw data only.
    Millis(i64),
}

/// The parameters of a request in the order in which Go looks at them: form first, then URL.
#[derive(Debug, Clone, Default)]
pub(super) struct Params {
    pairs: Vec<(String, String)>,
    headers: HeaderMap,
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let malformed = |what: &dyn std::fmt::Display| {
            Failure::bad_data(format!("error parsing form values: {what}"))
        };
        let Query(in_url) = Query::<Vec<(String, String)>>::try_from_uri(request.uri())
            .map_err(|error| malformed(&error))?;
        let has_form = request
            .headers()
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
        let headers = request.headers().clone();
        let mut pairs = Vec::new();
        if request.method() == Method::POST && has_form {
            let Form(in_form) = Form::<Vec<(String, String)>>::from_request(request, state)
                .await
                .map_err(|error| malformed(&error))?;
            pairs = in_form;
        }
        pairs.extend(in_url);
        Ok(Self { pairs, headers })
    }
}

impl Params {
    /// Returns the first value of `name`, empty when there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        let mut pairs = self.pairs.iter();
        let found = pairs.find(|(found, _)| found == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// Returns all values of `name`.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs
            .iter()
            .filter(move |(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns the value of `name` unless it is empty.
    fn given(&self, name: &str) -> Option<&str> {
        Some(self.get(name)).filter(|value| !value.is_empty())
    }

    /// Returns the time in `name`, which must be there.
    pub(super) fn time(&self, name: &str) -> Result<Timestamp, Failure> {
        parse_time(self.get(name)).map_err(|error| invalid(name, &error))
    }

    /// Returns the time in `name` or `default`.
    pub(super) fn time_or(&self, name: &str, default: Timestamp) -> Result<Timestamp, Failure> {
        let Some(text) = self.given(name) else {
            return Ok(default);
        };
        parse_time(text)
            .map_err(|error| invalid(name, &format!("invalid time value for '{name}': {error}")))
    }

    /// Returns the duration in `name`, which must be there.
    pub(super) fn duration(&self, name: &str) -> Result<SignedDuration, Failure> {
        parse_duration(self.get(name)).map_err(|error| invalid(name, &error))
    }

    /// Returns the time that the request allows for itself.
    pub(super) fn timeout(&self) -> Result<Option<Duration>, Failure> {
        let Some(text) = self.given("timeout") else {
            return Ok(None);
        };
        let timeout = parse_duration(text).map_err(|error| invalid("timeout", &error))?;
        Ok(Some(timeout.to_std().unwrap_or(Duration::ZERO)))
    }

    /// Returns the lookback that the request wants.
    pub(super) fn lookback(&self) -> Result<Option<Duration>, Failure> {
        let Some(text) = self.given("lookback_delta") else {
            return Ok(None);
        };
        let lookback = parse_duration(text).map_err(|error| {
            Failure::bad_data(format!("error parsing lookback delta duration: {error}"))
        })?;
        // COMPAT: zero and less mean the default.
        Ok(lookback.to_std().filter(|lookback| !lookback.is_zero()))
    }

    /// Returns the most series wanted; 0 means all.
    pub(super) fn limit(&self) -> Result<usize, Failure> {
        let Some(text) = self.given("limit") else {
            return Ok(0);
        };
        let limit: i64 = text.parse().map_err(|_| {
            let text = quoted(text);
            invalid(
                "limit",
                &format!("strconv.Atoi: parsing {text}: invalid syntax"),
            )
        })?;
        usize::try_from(limit).map_err(|_| invalid("limit", "limit must be non-negative"))
    }

    /// Returns the sets of conditions in `name`.
    pub(super) fn matcher_sets(
        &self,
        name: &str,
        options: &parser::Options,
    ) -> Result<Vec<Vec<Matcher>>, String> {
        self.all(name)
            .map(|text| {
                let selector = parse_selector(text, options).map_err(|error| error.to_string())?;
                selector
                    .compile_matchers()
                    .map_err(|error| error.to_string())
            })
            .collect()
    }

    /// Returns the sets of conditions in `match[]`, each of which must exclude something.
    pub(super) fn series_matchers(
        &self,
        options: &parser::Options,
    ) -> Result<Vec<Vec<Matcher>>, String> {
        let sets = self.matcher_sets("match[]", options)?;
        if sets
            .iter()
            .any(|set| set.iter().all(Matcher::matches_empty))
        {
            return Err("match[] must contain at least one non-empty matcher".into());
        }
        Ok(sets)
    }

    /// Returns Thanos' extra parameters and the tenant.
    pub(super) fn source(&self, api: &Api) -> Result<SourceParams, Failure> {
        let replica_labels: Vec<String> =
            self.all("replicaLabels[]").map(ToOwned::to_owned).collect();
        Ok(SourceParams {
            dedup: self.flag("dedup")?,
            replica_labels: (!replica_labels.is_empty()).then_some(replica_labels),
            partial_response: self.flag("partial_response")?,
            max_source_resolution: self.max_source_resolution()?,
            store_matchers: self
                .matcher_sets("storeMatch[]", &api.engine.options().parser)
                .map_err(Failure::bad_data)?,
            shard: self.shard()?,
            engine: self.engine()?,
            step_ms: None,
            span: None,
            tenant: api.options.tenancy.tenant_of(&self.headers)?,
        })
    }

    /// Source: Thanos `pkg/api/query/v1.go`, `parseEngineParam`.
    fn engine(&self) -> Result<Option<String>, Failure> {
        match self.given("engine") {
            None => Ok(None),
            Some(name @ ("prometheus" | "thanos")) => Ok(Some(name.to_owned())),
            Some(other) => Err(Failure::bad_data(format!("'{other}' bad engine"))),
        }
    }

    /// Source: Thanos `pkg/api/query/v1.go`, `parseShardInfo`.
    fn shard(&self) -> Result<Option<ShardInfo>, Failure> {
        let Some(text) = self.given("shard_info") else {
            return Ok(None);
        };
        let wrong = |what: &dyn std::fmt::Display| {
            Failure::bad_data(format!("could not unmarshal parameter shard_info: {what}"))
        };
        let json: serde_json::Value = serde_json::from_str(text).map_err(|error| wrong(&error))?;
        if json.is_null() {
            return Ok(None);
        }
        let json = json.as_object().ok_or_else(|| wrong(&"not an object"))?;
        let number = |name: &str| match json.get(name) {
            None => Ok(0),
            Some(value) => value
                .as_u64()
                .ok_or_else(|| wrong(&format!("{name} is not a number of shards"))),
        };
        let labels = json.get("labels").and_then(serde_json::Value::as_array);
        Ok(Some(ShardInfo {
            shard_index: number("shard_index")?,
            total_shards: number("total_shards")?,
            by: json.get("by").and_then(serde_json::Value::as_bool) == Some(true),
            labels: labels
                .into_iter()
                .flatten()
                .filter_map(|label| label.as_str().map(ToOwned::to_owned))
                .collect(),
        }))
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Failure> {
        let Some(text) = self.given(name) else {
            return Ok(None);
        };
        match text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Some(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Some(false)),
            _ => Err(Failure::bad_data(format!(
                "'{name}' parameter: strconv.ParseBool: parsing {}: invalid syntax",
                quoted(text)
            ))),
        }
    }

    fn max_source_resolution(&self) -> Result<Option<MaxSourceResolution>, Failure> {
        let name = "max_source_resolution";
        let Some(text) = self.given(name) else {
            return Ok(None);
        };
        if text == "auto" {
            return Ok(Some(MaxSourceResolution::Auto));
        }
        let resolution = parse_duration(text)
            .map_err(|error| Failure::bad_data(format!("'{name}' parameter: {error}")))?;
        let ms = resolution.as_millis();
        if ms < 0 {
            return Err(Failure::bad_data(format!(
                "negative '{name}' is not accepted. Try a positive integer"
            )));
        }
        Ok(Some(MaxSourceResolution::Millis(ms)))
    }
}

/// Returns the failure of a parameter with a wrong value.
pub(super) fn invalid(name: &str, error: &str) -> Failure {
    Failure::bad_data(format!("invalid parameter \"{name}\": {error}"))
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    write_go_quoted(&mut out, text).expect("writing to a string cannot fail");
    out
}

/// Parses seconds since the epoch, or RFC 3339.
fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Some(secs) = parse_float(text) {
        let whole = secs.trunc();
        let millis = ((secs - whole) * 1000.0).round();
        return Ok(Timestamp::from_millis(
            to_i64(whole)
                .saturating_mul(1000)
                .saturating_add(to_i64(millis)),
        ));
    }
    if let Ok(time) = UtcTime::parse_rfc3339(text) {
        return Ok(time.timestamp());
    }
    let limit = TIME_LIMITS.iter().find(|(known, _)| *known == text);
    limit
        .map(|(_, time)| *time)
        .ok_or_else(|| format!("cannot parse {} to a valid timestamp", quoted(text)))
}

/// Parses seconds, or Prometheus' durations.
fn parse_duration(text: &str) -> Result<SignedDuration, String> {
    if let Some(secs) = parse_float(text) {
        let nanos = secs * 1e9;
        if nanos.abs() > 9_223_372_036_854_775_807.0 {
            return Err(format!(
                "cannot parse {} to a valid duration. It overflows int64",
                quoted(text)
            ));
        }
        return Ok(SignedDuration::from_nanos(to_i64(nanos)));
    }
    SignedDuration::parse_prometheus(text)
        .map_err(|_| format!("cannot parse {} to a valid duration", quoted(text)))
}

fn parse_float(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "saturates where Go wraps; both are far outside of any data"
)]
fn to_i64(value: f64) -> i64 {
    value as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        for (text, ms) in [
            ("0", 0),
            ("1435781451.781", 1_435_781_451_781),
            ("-1.5", -1500),
            ("1e3", 1_000_000),
            ("2015-06-03T13:21:58.555Z", 1_433_337_718_555),
            ("2015-06-03T14:21:58.555+01:00", 1_433_337_718_555),
            ("-292273086-05-16T16:47:06Z", i64::MIN),
        ] {
            assert_eq!(parse_time(text), Ok(Timestamp::from_millis(ms)), "{text}");
        }
        assert_eq!(
            parse_time("a\"b"),
            Err("cannot parse \"a\\\"b\" to a valid timestamp".into())
        );
        assert!(parse_time("").is_err());
    }

    #[test]
    fn durations_are_seconds_or_prometheus_own() {
        for (text, ms) in [
            ("15", 15_000),
            ("0.5", 500),
            ("1h30m", 5_400_000),
            ("-3", -3000),
        ] {
            assert_eq!(parse_duration(text).unwrap().as_millis(), ms, "{text}");
        }
        assert_eq!(
            parse_duration("1e30").unwrap_err(),
            "cannot parse \"1e30\" to a valid duration. It overflows int64"
        );
        assert_eq!(
            parse_duration("x").unwrap_err(),
            "cannot parse \"x\" to a valid duration"
        );
    }
}
