//! The typed calls: what is asked of a Prometheus, and what it answers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use thanos_core::error::{Error, ErrorKind, Result};
use thanos_core::labels::{Labels, Matcher};
use thanos_core::query::{SeriesBatch, SeriesBatchBuilder};
use thanos_core::time::{SignedDuration, TimeRange, Timestamp, UtcTime};

use super::client::{Envelope, LabelAnswer, Parameters, PrometheusClient, checked, escape, parsed};
use super::server::PrometheusVersion;
use crate::net::http_client::HttpRequest;

const LOWEST_TIMESTAMP: &str = "prometheus_tsdb_lowest_timestamp_seconds";
/// A database without a block says the latest time there is; as a float it is this.
const NO_BLOCK_MS: f64 = i64::MAX as f64;
/// What Prometheus says about an answer as long as was asked for.
const CUT_AT_LIMIT: &str = "results truncated due to limit";

/// The flags of a Prometheus that matter to those who take its blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrometheusFlags {
    /// The directory of its database.
    pub tsdb_path: String,
    /// How long its blocks are at least.
    pub min_block_duration: SignedDuration,
    /// How long they are at most.
    pub max_block_duration: SignedDuration,
    /// The file that says what blocks were uploaded; empty when it does not wait for that.
    pub delay_compact_file: String,
    /// Whether snapshots and deletions are allowed.
    pub admin_api: bool,
    /// Whether it can be told to reload.
    pub lifecycle: bool,
}

/// The state of a Prometheus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeInfo {
    /// Whether the last configuration was taken.
    pub reload_success: bool,
    /// When a configuration was taken last.
    pub last_reload: UtcTime,
}

#[derive(Debug, Deserialize)]
struct BuildInfo {
    version: String,
}

#[derive(Debug, Deserialize)]
struct ConfigAnswer {
    yaml: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    global: Option<GlobalConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GlobalConfig {
    external_labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeInfoAnswer {
    reload_config_success: bool,
    last_config_time: String,
}

#[derive(Debug, Deserialize)]
struct SnapshotAnswer {
    name: String,
}

impl PrometheusClient {
    /// Returns the version. Servers before 2.14.0 do not tell theirs.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the server cannot be reached.
    pub async fn version(&self) -> Result<PrometheusVersion> {
        let (path, none) = ("api/v1/status/buildinfo", Parameters::default());
        match self.get::<BuildInfo>(path, &none).await {
            Ok((info, _)) => Ok(PrometheusVersion::new(&info.version)),
            Err(error) if is_no_endpoint(&error) => Ok(PrometheusVersion::UNKNOWN),
            Err(error) => Err(error),
        }
    }

    /// Returns the external labels of the configuration that the server runs with.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the server cannot be reached, `Corrupt` for a configuration that is not YAML.
    pub async fn external_labels(&self) -> Result<Labels> {
        let path = "api/v1/status/config";
        let (answer, _) = self
            .get::<ConfigAnswer>(path, &Parameters::default())
            .await?;
        let config: Config =
            serde_saphyr::from_str(&global_section(&answer.yaml)).map_err(|error| {
                Error::corrupt(format!("{}/{path}: configuration: {error}", self.url()))
            })?;
        let labels = config.global.and_then(|global| global.external_labels);
        Ok(Labels::from_pairs(labels.unwrap_or_default()))
    }

    /// Returns the flags, or `None` from a server that does not tell them.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the server cannot be reached, `Corrupt` for flags that make no sense.
    pub async fn flags(&self) -> Result<Option<PrometheusFlags>> {
        let (path, none) = ("api/v1/status/flags", Parameters::default());
        match self.get::<BTreeMap<String, String>>(path, &none).await {
            Ok((flags, _)) => PrometheusFlags::new(&flags)
                .map(Some)
                .map_err(|error| error.context(format!("{}/{path}", self.url()))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the time from which on the database has blocks; the earliest time there is if it has none or does not
    /// tell.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the server cannot be reached.
    pub async fn lowest_timestamp(&self) -> Result<Timestamp> {
        let (body, _lease) = self.read("metrics", &Parameters::default()).await?;
        let text = String::from_utf8_lossy(&body);
        lowest_timestamp(&text).map_err(|error| error.context(format!("{}/metrics", self.url())))
    }

    /// Returns the names of the labels of the series that match and have samples in `range`; Prometheus may be coarser.
    ///
    /// # Errors
    ///
    /// `Invalid` for matchers that all match series without the label, which Prometheus does not take.
    pub async fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limit: u64,
    ) -> Result<LabelAnswer> {
        self.strings("api/v1/labels", matchers, range, limit).await
    }

    /// Returns the values of a label; as [`PrometheusClient::label_names`].
    ///
    /// # Errors
    ///
    /// As [`PrometheusClient::label_names`].
    pub async fn label_values(
        &self,
        label: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: u64,
    ) -> Result<LabelAnswer> {
        let mut path = String::from("api/v1/label/");
        if thanos_core::labels::is_legacy_label_name(label) {
            path.push_str(label);
        } else {
            // Prometheus 3 takes other names in the form in which they can be part of a path.
            escape(&mut path, &values_escaped(label));
        }
        path.push_str("/values");
        self.strings(&path, matchers, range, limit).await
    }

    async fn strings(
        &self,
        path: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: u64,
    ) -> Result<LabelAnswer> {
        let parameters = Parameters::default()
            .matching(matchers)
            .within(range)
            .at_most(limit);
        // Without any, old servers answer null.
        let (values, mut warnings) = self.get::<OrNull<Vec<String>>>(path, &parameters).await?;
        warnings.retain(|warning| limit == 0 || warning != CUT_AT_LIMIT);
        Ok(LabelAnswer {
            values: values.0,
            warnings,
        })
    }

    /// Returns the labels of the series that match and have samples in `range`, in any order.
    ///
    /// # Errors
    ///
    /// As [`PrometheusClient::label_names`].
    pub async fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limit: u64,
    ) -> Result<(Vec<SeriesBatch>, Vec<String>)> {
        let parameters = Parameters::default()
            .matching(matchers)
            .within(range)
            .at_most(limit);
        let path = "api/v1/series";
        let (body, _lease) = self.read(path, &parameters).await?;
        let in_context = |error: Error| error.context(format!("{}/{path}", self.url()));
        let envelope: Envelope<SeriesLabels> = parsed(&body).map_err(in_context)?;
        let (series, mut warnings) = envelope.open().map_err(in_context)?;
        warnings.retain(|warning| limit == 0 || warning != CUT_AT_LIMIT);
        Ok((series.0, warnings))
    }

    /// Tells the server to read its configuration and its rules again.
    ///
    /// # Errors
    ///
    /// What the server says when it did not.
    pub async fn reload(&self) -> Result<()> {
        let request = HttpRequest::post(self.address("-/reload", &Parameters::default()), "");
        let hint = "have you set the `--web.enable-lifecycle` Prometheus flag?";
        let answer = checked(self.http().send(request).await?).await;
        let answer = answer.map_err(|error| error.context(hint))?;
        match answer.status() {
            200 => Ok(()),
            // Something on the way has answered, not the server.
            other => Err(Error::unavailable(format!(
                "{}: status {other}, wanted 200; {hint}",
                answer.request()
            ))),
        }
    }

    /// Returns when the server took its configuration, and whether it takes the current one.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the server cannot be reached.
    pub async fn runtime_info(&self) -> Result<RuntimeInfo> {
        let path = "api/v1/status/runtimeinfo";
        let (answer, _) = self
            .get::<RuntimeInfoAnswer>(path, &Parameters::default())
            .await?;
        Ok(RuntimeInfo {
            reload_success: answer.reload_config_success,
            last_reload: UtcTime::parse_rfc3339(&answer.last_config_time)?,
        })
    }

    /// Makes a snapshot of the database and returns its directory below that of the database. The server must allow it
    /// (`--web.enable-admin-api`).
    ///
    /// # Errors
    ///
    /// What the server says when it does not.
    pub async fn snapshot(&self, skip_head: bool) -> Result<String> {
        let path = "api/v1/admin/tsdb/snapshot";
        let request = HttpRequest::post(
            self.address(path, &Parameters::default()),
            format!("skip_head={skip_head}"),
        );
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        let answer = checked(self.http().send(request).await?).await?;
        let (body, _lease) = answer.collect(self.budget()).await?;
        let envelope: Envelope<SnapshotAnswer> = parsed(&body)?;
        Ok(format!("snapshots/{}", envelope.open()?.0.name))
    }
}

/// Reports whether the server does not have what it was asked for; old ones say so in two ways.
fn is_no_endpoint(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.message().contains("status 405")
}

/// Returns the lines of a configuration that are about the whole server: the rest may be long, and is of no use here.
fn global_section(yaml: &str) -> Cow<'_, str> {
    let lines = || yaml.split_inclusive('\n');
    let Some(start) = lines().position(|line| line.starts_with("global:")) else {
        return Cow::Borrowed(yaml);
    };
    let inside = |line: &&str| line.starts_with([' ', '#', '\n', '\r']);
    let section = lines().skip(start).take(1);
    Cow::Owned(
        section
            .chain(lines().skip(start + 1).take_while(inside))
            .collect(),
    )
}

fn lowest_timestamp(metrics: &str) -> Result<Timestamp> {
    let value = metrics.lines().find_map(|line| {
        let value = line.strip_prefix(LOWEST_TIMESTAMP)?;
        value.strip_prefix(' ')
    });
    let Some(value) = value.and_then(|value| value.split_whitespace().next()) else {
        return Ok(Timestamp::MIN);
    };
    let seconds: f64 = value
        .parse()
        .map_err(|_| Error::corrupt(format!("{LOWEST_TIMESTAMP} is {value:?}")))?;
    let ms = seconds * 1000.0;
    if !ms.is_finite() || ms >= NO_BLOCK_MS {
        return Ok(Timestamp::MIN);
    }
    #[allow(
        clippy::cast_possible_truncation,
        reason = "conversions of floats saturate"
    )]
    Ok(Timestamp::from_millis(ms.floor() as i64))
}

/// Returns a name in the form `U__...`, in which Prometheus takes names in paths.
///
/// Source: prometheus/common model/metric.go, `EscapeName` with `ValueEncodingEscaping`.
fn values_escaped(name: &str) -> String {
    let mut escaped = String::from("U__");
    for (index, c) in name.chars().enumerate() {
        match c {
            '_' => escaped.push_str("__"),
            'a'..='z' | 'A'..='Z' | ':' => escaped.push(c),
            '0'..='9' if index > 0 => escaped.push(c),
            other => escaped.push_str(&format!("_{:x}_", u32::from(other))),
        }
    }
    escaped
}

impl PrometheusFlags {
    fn new(flags: &BTreeMap<String, String>) -> Result<Self> {
        let text = |name: &str| flags.get(name).cloned().unwrap_or_default();
        let duration = |name: &str| match flags.get(name) {
            None => Ok(SignedDuration::ZERO),
            Some(value) => SignedDuration::parse_prometheus(value)
                .map_err(|error| error.context(format!("flag {name}"))),
        };
        let switch = |name: &str| flags.get(name).is_some_and(|value| value == "true");
        Ok(Self {
            tsdb_path: text("storage.tsdb.path"),
            min_block_duration: duration("storage.tsdb.min-block-duration")?,
            max_block_duration: duration("storage.tsdb.max-block-duration")?,
            delay_compact_file: text("storage.tsdb.delay-compact-file.path"),
            admin_api: switch("web.enable-admin-api"),
            lifecycle: switch("web.enable-lifecycle"),
        })
    }
}

/// A value that may be `null`, which is then the default.
#[derive(Debug)]
pub(super) struct OrNull<T>(pub(super) T);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for OrNull<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Ok(Self(Option::deserialize(deserializer)?.unwrap_or_default()))
    }
}

/// The label sets of a series answer, read straight into batches.
#[derive(Debug, Default)]
struct SeriesLabels(Vec<SeriesBatch>);

impl<'de> Deserialize<'de> for SeriesLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Sets;

        impl<'de> Visitor<'de> for Sets {
            type Value = SeriesLabels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of label sets")
            }

            fn visit_unit<E>(self) -> std::result::Result<SeriesLabels, E> {
                Ok(SeriesLabels::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut sets: A,
            ) -> std::result::Result<SeriesLabels, A::Error> {
                let mut batches = Vec::new();
                let mut series = SeriesBatchBuilder::new();
                while let Some(JsonLabels(labels)) = sets.next_element()? {
                    series.push(labels.as_ref(), []);
                    if series.is_full() {
                        batches.push(series.finish());
                    }
                }
                if !series.is_empty() {
                    batches.push(series.finish());
                }
                Ok(SeriesLabels(batches))
            }
        }

        deserializer.deserialize_any(Sets)
    }
}

/// A label set as JSON.
#[derive(Debug, Default)]
pub(super) struct JsonLabels(pub(super) Labels);

impl<'de> Deserialize<'de> for JsonLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = JsonLabels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a label set")
            }

            fn visit_unit<E>(self) -> std::result::Result<JsonLabels, E> {
                Ok(JsonLabels::default())
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<JsonLabels, A::Error> {
                let mut pairs: Vec<(Text<'de>, Text<'de>)> = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                let pairs = pairs.iter().map(|(name, value)| (&*name.0, &*value.0));
                Ok(JsonLabels(Labels::from_pairs(pairs)))
            }
        }

        deserializer.deserialize_any(Pairs)
    }
}

/// Text that is borrowed from the answer where nothing in it is escaped.
#[derive(Debug, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    /// SC-06: the labels are those of the running configuration, whatever else is in it.
    #[test]
    fn the_global_section_ends_where_the_next_begins() {
        let yaml = "global:\n  scrape_interval: 1m\n  external_labels:\n    a: \"1\"\n\n  # x\n  evaluation_interval: 1m\nrule_files:\n- a: [\n";
        let section = global_section(yaml);
        assert!(section.ends_with("evaluation_interval: 1m\n"), "{section}");
        let config: Config = serde_saphyr::from_str(&section).unwrap();
        let labels = config.global.unwrap().external_labels.unwrap();
        assert_eq!(labels["a"], "1");
        assert_eq!(
            global_section("scrape_configs: []\n"),
            "scrape_configs: []\n"
        );
    }

    /// SC-11: how far back the data of a server goes.
    #[test]
    fn the_lowest_timestamp_is_found_among_the_metrics() {
        let found = |value: &str| {
            let text = format!(
                "# TYPE {LOWEST_TIMESTAMP} gauge\n{LOWEST_TIMESTAMP}_other 3\n{LOWEST_TIMESTAMP} {value}\nup 1\n"
            );
            lowest_timestamp(&text).map(Timestamp::as_millis)
        };
        assert_eq!(found("1.7e+09").unwrap(), 1_700_000_000_000);
        assert_eq!(found("1700000000.5").unwrap(), 1_700_000_000_500);
        assert_eq!(found("9.223372036854776e+15").unwrap(), i64::MIN);
        assert!(found("soon").is_err());
        assert_eq!(lowest_timestamp("up 1\n").unwrap(), Timestamp::MIN);
    }

    #[test]
    fn names_in_paths_are_those_of_prometheus() {
        for (name, escaped) in [
            ("with space", "U__with_20_space"),
            ("a_b.c", "U__a__b_2e_c"),
            ("1a", "U___31_a"),
            ("\u{e9}", "U___e9_"),
        ] {
            assert_eq!(values_escaped(name), escaped);
        }
    }
}
