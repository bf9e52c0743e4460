//! The JSON of targets, metadata, exemplars and statistics.

use serde::Deserialize;
use thanos_core::error::{Error, Result};
use thanos_core::labels::Labels;
use thanos_core::time::{TimeRange, Timestamp, UtcTime};

use super::super::calls::JsonLabels;
use super::with_external;
use crate::apis::exemplars::{Exemplar, SeriesExemplars};
use crate::apis::metadata::MetricMetadata;
use crate::apis::status::{HeadStatistics, Statistic, TsdbStatistics};
use crate::apis::targets::{ActiveTarget, DroppedTarget, TargetHealth, Targets};

/// A field that old servers do not send, or send as `null`.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Returns the time in `text`; without any it never was.
pub(super) fn time(text: &str) -> Result<UtcTime> {
    match text {
        "" => Ok(UtcTime::GO_ZERO),
        text => {
            UtcTime::parse_rfc3339(text).map_err(|error| Error::corrupt(error.message().to_owned()))
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TargetsAnswer {
    #[serde(default, deserialize_with = "or_default")]
    active_targets: Vec<ActiveAnswer>,
    #[serde(default, deserialize_with = "or_default")]
    dropped_targets: Vec<DroppedAnswer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ActiveAnswer {
    discovered_labels: JsonLabels,
    labels: JsonLabels,
    scrape_pool: String,
    scrape_url: String,
    global_url: String,
    last_error: String,
    last_scrape: String,
    last_scrape_duration: f64,
    health: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DroppedAnswer {
    discovered_labels: JsonLabels,
}

impl TargetsAnswer {
    /// Returns the targets with the external labels among theirs.
    pub(super) fn targets(self, external: &Labels) -> Result<Targets> {
        let active = |target: ActiveAnswer| {
            Ok(ActiveTarget {
                discovered_labels: with_external(&target.discovered_labels.0, external),
                labels: with_external(&target.labels.0, external),
                scrape_pool: target.scrape_pool,
                scrape_url: target.scrape_url,
                global_url: target.global_url,
                last_error: target.last_error,
                last_scrape: time(&target.last_scrape)?,
                last_scrape_secs: target.last_scrape_duration,
                health: match target.health.as_str() {
                    "up" => TargetHealth::Up,
                    "down" => TargetHealth::Down,
                    _ => TargetHealth::Unknown,
                },
            })
        };
        let dropped = |target: DroppedAnswer| DroppedTarget {
            discovered_labels: with_external(&target.discovered_labels.0, external),
        };
        let all: Result<Vec<_>> = self.active_targets.into_iter().map(active).collect();
        Ok(Targets {
            active: all?,
            dropped: self.dropped_targets.into_iter().map(dropped).collect(),
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MetadataEntry {
    #[serde(rename = "type")]
    metric_type: String,
    help: String,
    unit: String,
}

impl From<MetadataEntry> for MetricMetadata {
    fn from(entry: MetadataEntry) -> Self {
        Self {
            metric_type: entry.metric_type,
            help: entry.help,
            unit: entry.unit,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExemplarSeries {
    series_labels: JsonLabels,
    #[serde(default, deserialize_with = "or_default")]
    exemplars: Vec<ExemplarAnswer>,
}

#[derive(Debug, Deserialize)]
struct ExemplarAnswer {
    labels: JsonLabels,
    value: String,
    /// In seconds.
    timestamp: f64,
}

impl ExemplarSeries {
    /// Returns the exemplars of a series with the external labels among its own.
    pub(super) fn exemplars(self, external: &Labels) -> Result<SeriesExemplars> {
        let exemplar = |exemplar: ExemplarAnswer| {
            let value = value(&exemplar.value);
            Ok(Exemplar {
                labels: exemplar.labels.0,
                value: value.ok_or_else(|| {
                    Error::corrupt(format!("exemplar has value {:?}", exemplar.value))
                })?,
                time: milliseconds(exemplar.timestamp),
            })
        };
        let exemplars: Result<Vec<_>> = self.exemplars.into_iter().map(exemplar).collect();
        Ok(SeriesExemplars {
            labels: with_external(&self.series_labels.0, external),
            exemplars: exemplars?,
        })
    }
}

/// Returns a float that Go has printed.
fn value(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        text => text.parse().ok(),
    }
}

fn milliseconds(seconds: f64) -> Timestamp {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "conversions of floats saturate"
    )]
    Timestamp::from_millis((seconds * 1000.0).round() as i64)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct StatusAnswer {
    head_stats: HeadAnswer,
    #[serde(deserialize_with = "or_default")]
    series_count_by_metric_name: Vec<StatisticAnswer>,
    #[serde(deserialize_with = "or_default")]
    label_value_count_by_label_name: Vec<StatisticAnswer>,
    #[serde(deserialize_with = "or_default")]
    memory_in_bytes_by_label_name: Vec<StatisticAnswer>,
    #[serde(deserialize_with = "or_default")]
    series_count_by_label_value_pair: Vec<StatisticAnswer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct HeadAnswer {
    num_series: u64,
    num_label_pairs: i64,
    chunk_count: i64,
    min_time: i64,
    max_time: i64,
}

#[derive(Debug, Deserialize)]
struct StatisticAnswer {
    name: String,
    value: u64,
}

impl StatusAnswer {
    /// Returns the statistics, with at most `entries_max` in each list; 0 leaves that to the server, which may be too old
    /// to know a limit.
    pub(super) fn statistics(self, entries_max: usize) -> TsdbStatistics {
        let entries_max = if entries_max == 0 {
            usize::MAX
        } else {
            entries_max
        };
        let list = |list: Vec<StatisticAnswer>| {
            let entry = |entry: StatisticAnswer| Statistic {
                name: entry.name,
                value: entry.value,
            };
            list.into_iter().take(entries_max).map(entry).collect()
        };
        let head = self.head_stats;
        TsdbStatistics {
            head: HeadStatistics {
                series: head.num_series,
                label_pairs: head.num_label_pairs,
                chunks: head.chunk_count,
                range: TimeRange::from_millis(head.min_time, head.max_time),
            },
            series_by_metric_name: list(self.series_count_by_metric_name),
            values_by_label_name: list(self.label_value_count_by_label_name),
            bytes_by_label_name: list(self.memory_in_bytes_by_label_name),
            series_by_label_pair: list(self.series_count_by_label_value_pair),
        }
    }
}
