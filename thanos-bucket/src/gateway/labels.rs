//! Label names and values: from the index-headers, or from the matching series when there are matchers.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use futures::TryStreamExt;
use thanos_core::labels::{LabelsRef, Matcher};
use thanos_core::query::{Completeness, Missing, SeriesEvent};
use thanos_core::time::TimeRange;
use thanos_core::{Error, Result};
use thanos_storeapi::store::{
    LabelNamesRequest, LabelValuesRequest, LabelsResponse, PartialResponse, SeriesRequest,
};

use super::Loaded;
use super::block::GatewayBlock;
use super::query::QueryContext;
use super::select::{Resolutions, series};

/// Answers a request for label names (row ST-29 of the specification).
pub(super) async fn label_names(
    loaded: &Loaded,
    request: LabelNamesRequest,
    query: &Arc<QueryContext>,
) -> Result<LabelsResponse> {
    let policy = request.partial_response;
    let mut names = BTreeSet::new();
    let missing = if request.matchers.is_empty() {
        for block in blocks_in(loaded, request.range) {
            let header = block.header().await?;
            names.extend(header.postings_table().label_names().map(str::to_owned));
            names.extend(
                block
                    .external_labels()
                    .iter()
                    .map(|(name, _)| name.into_owned()),
            );
        }
        loaded.missing(request.range, &[], Resolutions::All, policy)?
    } else {
        let visit = |labels: LabelsRef<'_>| {
            for (name, _) in labels.iter() {
                if !names.contains(&*name) {
                    names.insert(name.into_owned());
                }
            }
        };
        visit_series(
            loaded,
            request.matchers,
            request.range,
            policy,
            query,
            visit,
        )
        .await?
    };
    names.retain(|name| !request.without_replica_labels.contains(name));
    Ok(response(names, request.limit, missing))
}

/// Answers a request for the values of a label (row ST-29 of the specification).
pub(super) async fn label_values(
    loaded: &Loaded,
    request: LabelValuesRequest,
    query: &Arc<QueryContext>,
) -> Result<LabelsResponse> {
    let policy = request.partial_response;
    if request.label.is_empty() {
        return Err(Error::invalid("label name parameter cannot be empty"));
    }
    let mut values = BTreeSet::new();
    let name = request.label.as_str();
    if request.without_replica_labels.contains(&request.label) {
        return Ok(LabelsResponse::default());
    }
    let missing = if request.matchers.is_empty() {
        for block in blocks_in(loaded, request.range) {
            if let Some(value) = block.external_labels().get(name) {
                values.insert(value.into_owned());
                continue;
            }
            let in_index = |error: Error| error.in_file(block.index_object());
            let visit = |entry: thanos_core::index::TableEntry<'_>| {
                if !entry.value.is_empty() && !values.contains(entry.value) {
                    values.insert(entry.value.to_owned());
                }
                Ok(ControlFlow::Continue(()))
            };
            let header = block.header().await?;
            header
                .postings_table()
                .visit(name, visit)
                .map_err(in_index)?;
        }
        loaded.missing(request.range, &[], Resolutions::All, policy)?
    } else {
        let visit = |labels: LabelsRef<'_>| {
            if let Some(value) = labels.get(name)
                && !values.contains(&*value)
            {
                values.insert(value.into_owned());
            }
        };
        visit_series(
            loaded,
            request.matchers,
            request.range,
            policy,
            query,
            visit,
        )
        .await?
    };
    Ok(response(values, request.limit, missing))
}

/// The blocks with data in `range`; their labels count whatever the resolution.
fn blocks_in(loaded: &Loaded, range: TimeRange) -> impl Iterator<Item = &Arc<GatewayBlock>> {
    loaded
        .blocks
        .values()
        .filter(move |block| block.time_range().overlaps(range))
}

/// Calls `visit` with the labels of every series that matches and has a chunk in `range`; returns what is missing.
async fn visit_series(
    loaded: &Loaded,
    matchers: Vec<Matcher>,
    range: TimeRange,
    partial_response: PartialResponse,
    query: &Arc<QueryContext>,
    mut visit: impl FnMut(LabelsRef<'_>),
) -> Result<Vec<Missing>> {
    let request = SeriesRequest {
        matchers,
        range,
        partial_response,
        skip_chunks: true,
        ..Default::default()
    };
    let mut events = series(loaded, request, Resolutions::All, query)?;
    let mut missing = Vec::new();
    while let Some(event) = events.try_next().await? {
        match event {
            SeriesEvent::Batch(batch) => batch.iter().for_each(|series| visit(series.labels)),
            SeriesEvent::Missing(more) => missing.push(more),
            SeriesEvent::Warning(_) | SeriesEvent::Hints(_) => {}
        }
    }
    Ok(missing)
}

fn response(values: BTreeSet<String>, limit: u64, missing: Vec<Missing>) -> LabelsResponse {
    let limit = if limit == 0 {
        usize::MAX
    } else {
        usize::try_from(limit).unwrap_or(usize::MAX)
    };
    let mut completeness = Completeness::Complete;
    missing
        .into_iter()
        .for_each(|missing| completeness.add(missing));
    LabelsResponse {
        values: values.into_iter().take(limit).collect(),
        completeness,
        ..Default::default()
    }
}
