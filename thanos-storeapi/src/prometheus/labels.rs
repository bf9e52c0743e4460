//! Label names and values of a Prometheus.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use thanos_core::error::{Error, Result};
use thanos_core::labels::{LabelsRef, Matcher};
use thanos_core::query::{Completeness, SeriesEvent};

use super::client::LabelAnswer;
use super::store::{PrometheusStore, Question};
use crate::label_edit::LabelEdit;
use crate::store::{LabelNamesRequest, LabelValuesRequest, LabelsResponse};

/// How label calls are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By the calls of Prometheus' API.
    Calls,
    /// By looking at the series, because the server does not take the matchers.
    Series,
}

impl PrometheusStore {
    pub(super) async fn names_of(&self, request: &LabelNamesRequest) -> Result<LabelsResponse> {
        let Some(question) = self.question(&request.matchers, request.range) else {
            return Ok(LabelsResponse::default());
        };
        let removed = &request.without_replica_labels;
        let answer = match way(&question) {
            Way::Calls => {
                // Names that are going to be removed must not take the place of others.
                let limit = match request.limit {
                    0 => 0,
                    limit => limit.saturating_add(removed.len() as u64),
                };
                let client = self.server.client();
                client
                    .label_names(&question.matchers, question.range, limit)
                    .await?
            }
            Way::Series => {
                let collect = |labels: LabelsRef<'_>, found: &mut BTreeSet<String>| {
                    found.extend(labels.iter().map(|(name, _)| name.into_owned()));
                };
                self.of_series(&question, collect).await?
            }
        };
        let mut names: BTreeSet<String> = answer.values.into_iter().collect();
        if !names.is_empty() {
            let external = question.facts.external_labels.iter();
            names.extend(external.map(|(name, _)| name.into_owned()));
        }
        for name in removed {
            names.remove(name);
        }
        Ok(response(names, answer.warnings, request.limit))
    }

    pub(super) async fn values_of(&self, request: &LabelValuesRequest) -> Result<LabelsResponse> {
        if request.label.is_empty() {
            return Err(Error::invalid("label name parameter cannot be empty"));
        }
        if request.without_replica_labels.contains(&request.label) {
            return Ok(LabelsResponse::default());
        }
        let Some(question) = self.question(&request.matchers, request.range) else {
            return Ok(LabelsResponse::default());
        };
        if let Some(value) = question.facts.external_labels.get(&request.label) {
            let (exists, warnings) = self.has_series(&question).await?;
            let values = exists.then(|| value.into_owned());
            return Ok(response(
                values.into_iter().collect(),
                warnings,
                request.limit,
            ));
        }
        let answer = match way(&question) {
            Way::Calls => {
                let client = self.server.client();
                let (matchers, range) = (&question.matchers, question.range);
                client
                    .label_values(&request.label, matchers, range, request.limit)
                    .await?
            }
            Way::Series => {
                let collect = |labels: LabelsRef<'_>, found: &mut BTreeSet<String>| {
                    let value = labels.get(&request.label);
                    found.extend(value.map(|value| value.into_owned()));
                };
                self.of_series(&question, collect).await?
            }
        };
        let values = answer.values.into_iter().collect();
        Ok(response(values, answer.warnings, request.limit))
    }

    /// Reports whether there is a series, and what Prometheus says about it.
    async fn has_series(&self, question: &Question) -> Result<(bool, Vec<String>)> {
        if question.matchers.is_empty() {
            let client = self.server.client();
            let names = client.label_names(&[], question.range, 1).await?;
            return Ok((!names.values.is_empty(), names.warnings));
        }
        let mut series = self.labels_only(question, edit(question), 1).await?;
        let mut warnings = Vec::new();
        while let Some(event) = series.try_next().await? {
            match event {
                SeriesEvent::Batch(batch) if !batch.is_empty() => return Ok((true, warnings)),
                SeriesEvent::Warning(warning) => warnings.push(warning),
                SeriesEvent::Batch(_) | SeriesEvent::Missing(_) | SeriesEvent::Hints(_) => {}
            }
        }
        Ok((false, warnings))
    }

    /// Collects strings from the labels of the series that match.
    async fn of_series(
        &self,
        question: &Question,
        collect: impl Fn(LabelsRef<'_>, &mut BTreeSet<String>),
    ) -> Result<LabelAnswer> {
        let mut series = self.labels_only(question, edit(question), 0).await?;
        let mut found = BTreeSet::new();
        let mut warnings = Vec::new();
        while let Some(event) = series.try_next().await? {
            match event {
                SeriesEvent::Batch(batch) => {
                    for series in batch.iter() {
                        collect(series.labels, &mut found);
                    }
                }
                SeriesEvent::Warning(warning) => warnings.push(warning),
                SeriesEvent::Missing(_) | SeriesEvent::Hints(_) => {}
            }
        }
        Ok(LabelAnswer {
            values: found.into_iter().collect(),
            warnings,
        })
    }
}

fn edit(question: &Question) -> LabelEdit {
    LabelEdit::new(&question.facts.external_labels, &[])
}

/// Returns how label calls for some series are asked.
fn way(question: &Question) -> Way {
    let matchers = &question.matchers;
    let all_series = matchers.is_empty();
    let refused = matchers.iter().all(Matcher::matches_empty);
    match all_series || (question.facts.version.has_label_matchers() && !refused) {
        true => Way::Calls,
        false => Way::Series,
    }
}

fn response(values: BTreeSet<String>, warnings: Vec<String>, limit: u64) -> LabelsResponse {
    let limit = match usize::try_from(limit) {
        Ok(limit) if limit > 0 => limit,
        _ => usize::MAX,
    };
    LabelsResponse {
        values: values.into_iter().take(limit).collect(),
        warnings,
        completeness: Completeness::Complete,
        hints: None,
    }
}
