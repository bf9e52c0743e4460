//! Calls of Prometheus' HTTP API.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use thanos_core::budget::{Lease, MemoryBudget};
use thanos_core::error::{Error, ErrorKind, Result};
use thanos_core::labels::Matcher;
use thanos_core::time::{TimeRange, Timestamp};

use crate::net::http_client::{HttpClient, HttpRequest, HttpResponse};

/// How much of an answer that is not a success is shown.
const SHOWN_BYTES_MAX: usize = 1000;
/// The most bytes of an answer about the server itself, such as its configuration.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// Times further from 1970 than this, in milliseconds, are left to Prometheus, whose own limits are near.
const TIME_MS_MAX: i64 = 9_000_000_000_000_000;

/// The HTTP API of one Prometheus server; clones share the connections.
///
/// # Example
///
/// ```no_run
/// use thanos_storeapi::net::http_client::{HttpClient, HttpClientConfig, HttpClientMetrics};
/// use thanos_storeapi::prometheus::PrometheusClient;
///
/// # async fn run() -> thanos_core::Result<()> {
/// let http = HttpClient::new(&HttpClientConfig::default(), "example", HttpClientMetrics::default())?;
/// let prometheus = PrometheusClient::new(http, "http://localhost:9090")?;
/// println!("{}", prometheus.external_labels().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PrometheusClient {
    http: HttpClient,
    /// Without a slash at its end.
    base: Arc<str>,
    /// The memory of answers that are read as a whole.
    budget: MemoryBudget,
}

/// Strings that Prometheus found, with what it says about them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelAnswer {
    /// Names or values, in no certain order.
    pub values: Vec<String>,
    /// What users should see.
    pub warnings: Vec<String>,
}

/// What every answer of the API is wrapped in.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct Envelope<T> {
    status: String,
    /// Not there when the answer has none; what is null is for `T` to judge.
    #[serde(default = "Option::default", deserialize_with = "there")]
    data: Option<T>,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
}

/// The status of an answer without a body.
const NO_CONTENT: u16 = 204;
/// The answer without data.
const NOTHING: &[u8] = br#"{"status":"success","data":null}"#;

/// Returns a value that is there, be it null.
fn there<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl PrometheusClient {
    /// Returns the API at `url`, which may have a path before that of the API.
    ///
    /// # Errors
    ///
    /// `Invalid` when it is not an address of HTTP.
    pub fn new(http: HttpClient, url: &str) -> Result<Self> {
        let base = url.trim_end_matches('/');
        let has_host = ["http://", "https://"].iter().any(|scheme| {
            let rest = base.strip_prefix(scheme);
            rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        });
        if !has_host || base.contains(['?', '#']) {
            return Err(Error::invalid(format!(
                "not the address of a Prometheus: {url:?}, wanted http://host:port"
            )));
        }
        Ok(Self {
            http,
            base: base.into(),
            budget: MemoryBudget::new("answer of Prometheus", ANSWER_BYTES_MAX),
        })
    }

    /// Returns the same API, whose answers are on lease from `budget` as long as they are read.
    #[must_use]
    pub fn with_budget(mut self, budget: MemoryBudget) -> Self {
        self.budget = budget;
        self
    }

    /// Returns the address, which also names the server in errors.
    pub fn url(&self) -> &str {
        &self.base
    }

    pub(super) fn http(&self) -> &HttpClient {
        &self.http
    }

    pub(super) fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// Returns the address of `path` (without a slash before it) with `parameters`.
    pub(super) fn address(&self, path: &str, parameters: &Parameters) -> String {
        format!("{}/{path}{}", self.base, parameters.text)
    }

    /// Reads `path` as text.
    ///
    /// # Errors
    ///
    /// That of the server if the answer is not a success, `Unavailable` without an answer.
    pub(super) async fn read(&self, path: &str, parameters: &Parameters) -> Result<(Bytes, Lease)> {
        let answer = self.answer(path, parameters).await?;
        answer.collect(&self.budget).await
    }

    async fn answer(&self, path: &str, parameters: &Parameters) -> Result<HttpResponse> {
        let request = HttpRequest::get(self.address(path, parameters));
        checked(self.http.send(request).await?).await
    }

    /// Reads what `path` answers with, and the warnings.
    ///
    /// # Errors
    ///
    /// As [`PrometheusClient::read`], and `Corrupt` for what is not such an answer.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        parameters: &Parameters,
    ) -> Result<(T, Vec<String>)> {
        let (data, warnings, _) = self.get_on_lease(path, parameters).await?;
        Ok((data, warnings))
    }

    /// Does the same, and returns the lease of what was read as well: what is made of it takes about as much.
    ///
    /// # Errors
    ///
    /// As [`PrometheusClient::get`].
    pub(super) async fn get_on_lease<T: DeserializeOwned>(
        &self,
        path: &str,
        parameters: &Parameters,
    ) -> Result<(T, Vec<String>, Lease)> {
        let answer = self.answer(path, parameters).await?;
        let says_nothing = answer.status() == NO_CONTENT;
        let (body, lease) = answer.collect(&self.budget).await?;
        let in_context = |error: Error| error.context(format!("{}/{path}", self.base));
        // COMPAT: Prometheus has a success without a body where there is nothing to say (`respond` in web/api/v1). With any
        // other status a body that is missing was lost on the way.
        let text: &[u8] = if says_nothing { NOTHING } else { &body };
        let envelope: Envelope<T> = parsed(text).map_err(in_context)?;
        let (data, warnings) = envelope.open().map_err(in_context)?;
        Ok((data, warnings, lease))
    }
}

impl<T> Envelope<T> {
    pub(super) fn open(self) -> Result<(T, Vec<String>)> {
        if self.status != "success" {
            return Err(Error::unavailable(match self.error.as_str() {
                "" => format!("status {:?}", self.status),
                error => error.to_owned(),
            }));
        }
        let data = self
            .data
            .ok_or_else(|| Error::corrupt("the answer has no data"))?;
        Ok((data, self.warnings))
    }
}

/// Returns the answer in `body`.
pub(super) fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body)
        .map_err(|error| Error::corrupt(format!("not the expected answer: {error}")))
}

/// Returns the answer if it is a success.
///
/// # Errors
///
/// What the server says otherwise; the kind follows the status.
pub(super) async fn checked(answer: HttpResponse) -> Result<HttpResponse> {
    if answer.is_success() {
        return Ok(answer);
    }
    let (status, request) = (answer.status(), answer.request().to_owned());
    let said = answer.beginning(SHOWN_BYTES_MAX).await;
    let said = match serde_json::from_str::<Envelope<serde::de::IgnoredAny>>(&said) {
        Ok(envelope) if !envelope.error.is_empty() => envelope.error,
        _ => said,
    };
    let kind = match status {
        400 | 401 | 403 | 405 | 422 => ErrorKind::Invalid,
        404 => ErrorKind::NotFound,
        _ => ErrorKind::Unavailable,
    };
    Err(Error::new(
        kind,
        format!("{request}: status {status}: {said}"),
    ))
}

/// The query string of a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Parameters {
    text: String,
}

impl Parameters {
    /// Appends a parameter.
    #[must_use]
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.text.push(if self.text.is_empty() { '?' } else { '&' });
        escape(&mut self.text, name);
        self.text.push('=');
        escape(&mut self.text, value);
        self
    }

    /// Appends the series that are wanted, unless all are.
    #[must_use]
    pub(super) fn matching(self, matchers: &[Matcher]) -> Self {
        match matchers {
            [] => self,
            matchers => self.with("match[]", &selector(matchers)),
        }
    }

    /// Appends the ends of a range that are not as good as none.
    #[must_use]
    pub(super) fn within(mut self, range: TimeRange) -> Self {
        for (name, time) in [("start", range.min), ("end", range.max)] {
            if time.as_millis().unsigned_abs() < TIME_MS_MAX.unsigned_abs() {
                self = self.with(name, &seconds(time));
            }
        }
        self
    }

    /// Appends both ends of a range, for calls that want them; as far as Prometheus can go.
    #[must_use]
    pub(super) fn within_all(self, range: TimeRange) -> Self {
        let bounded = |time: Timestamp| {
            Timestamp::from_millis(time.as_millis().clamp(-TIME_MS_MAX, TIME_MS_MAX))
        };
        self.with("start", &seconds(bounded(range.min)))
            .with("end", &seconds(bounded(range.max)))
    }

    /// Appends a limit if there is one.
    #[must_use]
    pub(super) fn at_most(self, limit: u64) -> Self {
        match limit {
            0 => self,
            limit => self.with("limit", &limit.to_string()),
        }
    }
}

/// Returns a PromQL selector.
pub(super) fn selector(matchers: &[Matcher]) -> String {
    let mut text = String::from("{");
    for (place, matcher) in matchers.iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        let _ = write!(text, "{comma}{matcher}");
    }
    text + "}"
}

/// Returns a time in seconds, exactly.
fn seconds(time: Timestamp) -> String {
    let ms = time.as_millis();
    let sign = if ms < 0 { "-" } else { "" };
    let (seconds, below) = (ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000);
    format!("{sign}{seconds}.{below:03}")
}

/// Appends `text` as it stands in paths and query strings.
pub(super) fn escape(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
}
