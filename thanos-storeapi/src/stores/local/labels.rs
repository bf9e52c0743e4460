//! Label names and values, from the index of each block.

use std::collections::BTreeSet;

use thanos_core::block::Block;
use thanos_core::error::{Error, Result};
use thanos_core::labels::{Labels, Matcher};
use thanos_core::query::{Completeness, Missing};
use thanos_core::time::TimeRange;

use super::served::Served;
use crate::label_edit::strip_matchers;
use crate::store::{LabelNamesRequest, LabelValuesRequest, LabelsResponse, PartialResponse};

/// Answers a request for label names (row ST-29 of the specification).
pub(super) fn label_names(served: &Served, request: &LabelNamesRequest) -> Result<LabelsResponse> {
    let of_block = |block: &Block, external: &Labels, matchers: &[Matcher]| {
        let mut names = block.label_names(matchers)?;
        // External labels are those of series: no series, no labels.
        if !names.is_empty() || !block.index().postings_for_matchers(matchers)?.is_empty() {
            names.extend(external.iter().map(|(name, _)| name.into_owned()));
        }
        Ok(names)
    };
    let scope = Scope {
        range: request.range,
        matchers: &request.matchers,
        policy: request.partial_response,
    };
    let (mut names, missing) = scope.union(served, of_block)?;
    names.retain(|name| !request.without_replica_labels.contains(name));
    Ok(response(names, request.limit, missing))
}

/// Answers a request for the values of a label (row ST-29 of the specification).
pub(super) fn label_values(
    served: &Served,
    request: &LabelValuesRequest,
) -> Result<LabelsResponse> {
    if request.label.is_empty() {
        return Err(Error::invalid("label name parameter cannot be empty"));
    }
    if request.without_replica_labels.contains(&request.label) {
        return Ok(LabelsResponse::default());
    }
    let of_block = |block: &Block, external: &Labels, matchers: &[Matcher]| {
        // What the series of the block say about an external label is hidden by it.
        match external.get(&request.label) {
            None => block.label_values(&request.label, matchers),
            Some(value) => {
                let series = block.index().postings_for_matchers(matchers)?;
                let value = (!series.is_empty()).then(|| value.into_owned());
                Ok(value.into_iter().collect())
            }
        }
    };
    let scope = Scope {
        range: request.range,
        matchers: &request.matchers,
        policy: request.partial_response,
    };
    let (values, missing) = scope.union(served, of_block)?;
    Ok(response(values, request.limit, missing))
}

/// Which blocks a label call is about.
struct Scope<'a> {
    range: TimeRange,
    matchers: &'a [Matcher],
    policy: PartialResponse,
}

impl Scope<'_> {
    /// Returns the union of what `of_block` returns for every block that may have matching series; it gets the external
    /// labels and the matchers that are left for the block itself.
    fn union(
        &self,
        served: &Served,
        of_block: impl Fn(&Block, &Labels, &[Matcher]) -> Result<Vec<String>>,
    ) -> Result<(BTreeSet<String>, Vec<Missing>)> {
        let mut missing = served.missing(self.range, self.matchers, self.policy)?;
        let mut all = BTreeSet::new();
        for group in served.groups() {
            let external = group.external_labels();
            let Some(matchers) = strip_matchers(self.matchers, external) else {
                continue;
            };
            for block in group.blocks() {
                if self.range.is_empty() || !block.meta().time_range().overlaps(self.range) {
                    continue;
                }
                match of_block(block, external, &matchers) {
                    Ok(strings) => all.extend(strings),
                    Err(error) => missing.push(self.excuse(error, block)?),
                }
            }
        }
        Ok((all, missing))
    }

    /// Turns a block that cannot be read into a notice, where the request allows that.
    fn excuse(&self, error: Error, block: &Block) -> Result<Missing> {
        let source = format!("block {}", block.id());
        match self.policy {
            PartialResponse::Abort => Err(error.context(source)),
            PartialResponse::Warn => Ok(Missing {
                source,
                reason: error.to_string(),
            }),
        }
    }
}

fn response(strings: BTreeSet<String>, limit: u64, missing: Vec<Missing>) -> LabelsResponse {
    let limit = match limit {
        0 => usize::MAX,
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let mut completeness = Completeness::Complete;
    missing
        .into_iter()
        .for_each(|missing| completeness.add(missing));
    LabelsResponse {
        values: strings.into_iter().take(limit).collect(),
        completeness,
        ..LabelsResponse::default()
    }
}
