//! Answers that stand from the start, for everything but series.

use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::error::{Error, Result};
use thanos_core::labels::Labels;
use thanos_core::time::{TimeRange, Timestamp, UtcTime};

use crate::apis::exemplars::{Exemplar, ExemplarsApi, ExemplarsRequest, SeriesExemplars};
use crate::apis::metadata::{Metadata, MetadataApi, MetadataRequest, MetricMetadata};
use crate::apis::rules::{
    AlertInstance, AlertState, AlertingRule, RecordingRule, Rule, RuleGroup, RulesApi, RulesRequest,
};
use crate::apis::status::{
    HeadStatistics, Statistic, StatusApi, StatusRequest, TenantStatistics, TsdbStatistics,
};
use crate::apis::targets::{
    ActiveTarget, DroppedTarget, TargetHealth, Targets, TargetsApi, TargetsRequest,
};
use crate::apis::{Answer, Apis};
use crate::store::PartialResponse;

/// Answers every request for rules, targets, metadata, exemplars and statistics in the same way, whatever it asks for; or
/// fails.
#[derive(Debug, Clone, Default)]
pub struct FixedApis {
    /// The rules.
    pub rules: Vec<RuleGroup>,
    /// The targets.
    pub targets: Targets,
    /// The metadata.
    pub metadata: Metadata,
    /// The exemplars.
    pub exemplars: Vec<SeriesExemplars>,
    /// The statistics.
    pub statistics: TenantStatistics,
    /// What every answer warns of.
    pub warnings: Vec<String>,
    /// Why every request fails, if it does.
    pub failure: Option<String>,
}

impl FixedApis {
    /// Returns one of everything, all of it with the label `replica` of `replica` where there are labels.
    ///
    /// # Panics
    ///
    /// Never: its times are valid.
    pub fn sample(replica: &str) -> Self {
        let labels = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().copied();
            Labels::from_pairs(pairs.chain([("replica", replica)]))
        };
        Self {
            rules: vec![sample_group(&labels)],
            targets: sample_targets(&labels),
            metadata: [("up".to_owned(), vec![sample_metadata()])].into(),
            exemplars: vec![SeriesExemplars {
                labels: labels(&[("__name__", "requests_bucket")]),
                exemplars: vec![Exemplar {
                    labels: Labels::from_pairs([("trace_id", "4bf92f35")]),
                    value: 0.25,
                    time: Timestamp::from_millis(1_793_491_200_123),
                }],
            }],
            statistics: [(String::new(), sample_statistics())].into(),
            warnings: Vec::new(),
            failure: None,
        }
    }

    /// Returns them as what a component offers.
    pub fn apis(self) -> Apis {
        let this = Arc::new(self);
        Apis {
            rules: Some(Arc::clone(&this) as _),
            targets: Some(Arc::clone(&this) as _),
            metadata: Some(Arc::clone(&this) as _),
            exemplars: Some(Arc::clone(&this) as _),
            status: Some(this),
            query: None,
        }
    }

    fn answer<T: Clone>(&self, value: &T) -> Result<Answer<T>> {
        if let Some(reason) = &self.failure {
            return Err(Error::unavailable(reason.clone()));
        }
        let mut answer = Answer::complete(value.clone());
        answer.warnings.clone_from(&self.warnings);
        Ok(answer)
    }
}

/// Makes labels of pairs and of what all labels have.
type LabelsOf<'a> = dyn Fn(&[(&'static str, &'static str)]) -> Labels + 'a;

fn evaluated() -> UtcTime {
    UtcTime::from_unix_secs_and_nanos(1_793_491_200, 123_456_789).expect("below a second")
}

fn sample_group(labels: &LabelsOf<'_>) -> RuleGroup {
    let recording = RecordingRule {
        name: "job:up:sum".into(),
        query: "sum by (job) (up)".into(),
        labels: labels(&[("team", "core")]),
        health: "ok".into(),
        last_error: String::new(),
        evaluation_secs: 0.002,
        last_evaluation: evaluated(),
    };
    let alerting = AlertingRule {
        state: AlertState::Firing,
        name: "Down".into(),
        query: "up == 0".into(),
        duration_secs: 60.0,
        keep_firing_for_secs: 5.0,
        labels: labels(&[("severity", "page")]),
        annotations: Labels::from_pairs([("summary", "it is down")]),
        alerts: vec![AlertInstance {
            labels: labels(&[("alertname", "Down"), ("severity", "page")]),
            annotations: Labels::from_pairs([("summary", "it is down")]),
            state: AlertState::Firing,
            active_at: Some(evaluated()),
            value: "0".into(),
            partial_response: PartialResponse::Warn,
        }],
        health: "err".into(),
        last_error: "too many series".into(),
        evaluation_secs: 0.5,
        last_evaluation: evaluated(),
    };
    RuleGroup {
        name: "availability".into(),
        file: "/rules/up.yaml".into(),
        rules: vec![Rule::Recording(recording), Rule::Alerting(alerting)],
        interval_secs: 30.0,
        evaluation_secs: 0.6,
        last_evaluation: evaluated(),
        limit: 10,
        partial_response: PartialResponse::Abort,
    }
}

fn sample_targets(labels: &LabelsOf<'_>) -> Targets {
    let active = ActiveTarget {
        discovered_labels: labels(&[("__address__", "10.0.0.1:9100")]),
        labels: labels(&[("instance", "10.0.0.1:9100"), ("job", "node")]),
        scrape_pool: "node".into(),
        scrape_url: "http://10.0.0.1:9100/metrics".into(),
        global_url: "http://node-1:9100/metrics".into(),
        last_error: String::new(),
        last_scrape: evaluated(),
        last_scrape_secs: 0.01,
        health: TargetHealth::Up,
    };
    Targets {
        active: vec![active],
        dropped: vec![DroppedTarget {
            discovered_labels: labels(&[("__address__", "10.0.0.2:80")]),
        }],
    }
}

fn sample_metadata() -> MetricMetadata {
    MetricMetadata {
        metric_type: "gauge".into(),
        help: "Whether the last scrape went well.".into(),
        unit: String::new(),
    }
}

fn sample_statistics() -> TsdbStatistics {
    let list = |name: &str, value| {
        vec![Statistic {
            name: name.into(),
            value,
        }]
    };
    TsdbStatistics {
        head: HeadStatistics {
            series: 12,
            label_pairs: 34,
            chunks: 56,
            range: TimeRange::from_millis(1_793_491_200_000, 1_793_498_400_000),
        },
        series_by_metric_name: list("up", 7),
        values_by_label_name: list("instance", 5),
        bytes_by_label_name: list("instance", 99),
        series_by_label_pair: list("job=node", 6),
    }
}

#[async_trait]
impl RulesApi for FixedApis {
    async fn rules(&self, _: RulesRequest) -> Result<Answer<Vec<RuleGroup>>> {
        self.answer(&self.rules)
    }
}

#[async_trait]
impl TargetsApi for FixedApis {
    async fn targets(&self, _: TargetsRequest) -> Result<Answer<Targets>> {
        self.answer(&self.targets)
    }
}

#[async_trait]
impl MetadataApi for FixedApis {
    async fn metadata(&self, _: MetadataRequest) -> Result<Answer<Metadata>> {
        self.answer(&self.metadata)
    }
}

#[async_trait]
impl ExemplarsApi for FixedApis {
    async fn exemplars(&self, _: ExemplarsRequest) -> Result<Answer<Vec<SeriesExemplars>>> {
        self.answer(&self.exemplars)
    }
}

#[async_trait]
impl StatusApi for FixedApis {
    async fn tsdb_statistics(&self, _: StatusRequest) -> Result<Answer<TenantStatistics>> {
        self.answer(&self.statistics)
    }
}
