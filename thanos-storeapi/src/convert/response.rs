//! Label names and values with their warnings.

use thanos_core::query::Completeness;

use super::request::{any_from_pb, any_to_pb};
use crate::pb::thanos as pb;
use crate::pb::thanosrs::v1 as ext;
use crate::store::{LabelsResponse, SeriesEvent};
use crate::wire::{WarningDetail, warning_event, warning_text};

impl From<LabelsResponse> for pb::LabelNamesResponse {
    fn from(response: LabelsResponse) -> Self {
        let (warnings, warning_details) = warnings_to_pb(response.warnings, &response.completeness);
        Self {
            names: response.values,
            warnings,
            hints: any_to_pb(response.hints),
            warning_details,
        }
    }
}

impl From<LabelsResponse> for pb::LabelValuesResponse {
    fn from(response: LabelsResponse) -> Self {
        let (warnings, warning_details) = warnings_to_pb(response.warnings, &response.completeness);
        Self {
            values: response.values,
            warnings,
            hints: any_to_pb(response.hints),
            warning_details,
        }
    }
}

/// Returns the answer of `peer`.
pub(crate) fn label_names_from_pb(response: pb::LabelNamesResponse, peer: &str) -> LabelsResponse {
    let (warnings, completeness) =
        warnings_from_pb(response.warnings, response.warning_details, peer);
    LabelsResponse {
        values: response.names,
        warnings,
        completeness,
        hints: any_from_pb(response.hints),
    }
}

/// Returns the answer of `peer`.
pub(crate) fn label_values_from_pb(
    response: pb::LabelValuesResponse,
    peer: &str,
) -> LabelsResponse {
    let (warnings, completeness) =
        warnings_from_pb(response.warnings, response.warning_details, peer);
    LabelsResponse {
        values: response.values,
        warnings,
        completeness,
        hints: any_from_pb(response.hints),
    }
}

/// Returns the warnings that Thanos knows, and for each what it says about the data.
fn warnings_to_pb(
    remarks: Vec<String>,
    completeness: &Completeness,
) -> (Vec<String>, Vec<ext::WarningDetail>) {
    let remarks = remarks.into_iter().map(|text| {
        let detail = ext::WarningDetail {
            data_complete: true,
            ..Default::default()
        };
        (text, detail)
    });
    let losses = completeness.missing().iter().map(|missing| {
        let detail = ext::WarningDetail {
            data_complete: false,
            source: missing.source.clone(),
            reason: missing.reason.clone(),
        };
        (warning_text(missing), detail)
    });
    remarks.chain(losses).unzip()
}

/// Returns the remarks and the losses among the warnings of `peer`.
fn warnings_from_pb(
    texts: Vec<String>,
    details: Vec<ext::WarningDetail>,
    peer: &str,
) -> (Vec<String>, Completeness) {
    let mut remarks = Vec::new();
    let mut completeness = Completeness::Complete;
    // Details that do not pair up with the warnings were not made for them: a proxy may have added warnings.
    let paired = details.len() == texts.len();
    let mut details = details.into_iter().filter(|_| paired);
    for text in texts {
        let detail = details.next().map(|detail| WarningDetail {
            data_complete: detail.data_complete,
            source: detail.source,
            reason: detail.reason,
        });
        match warning_event(text, detail, peer) {
            SeriesEvent::Warning(text) => remarks.push(text),
            SeriesEvent::Missing(missing) => completeness.add(missing),
            SeriesEvent::Batch(_) | SeriesEvent::Hints(_) => {}
        }
    }
    (remarks, completeness)
}
