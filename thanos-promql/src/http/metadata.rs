//! `series`, `labels` and `label/<name>/values`.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use futures::StreamExt;
use thanos_core::labels::{Labels, Matcher};
use thanos_core::query::{
    Completeness, LabelQuery, LabelStrings, Queryable, Select, SelectHints, SeriesEvent,
};
use thanos_core::time::{TimeRange, Timestamp};

use super::Api;
use super::answer::{Failure, Remarks, success};
use super::params::{Params, invalid};
use super::source::SourceParams;
use crate::engine::{OnPartial, missing_texts, partial_error};
use crate::json::{write_labels, write_strings};

const TRUNCATED: &str = "results truncated due to limit";

pub(super) async fn series(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    if params.all("match[]").next().is_none() {
        return Err(Failure::bad_data("no match[] parameter provided"));
    }
    let limit = params.limit()?;
    let range = time_range(&params)?;
    let options = &api.engine.options().parser;
    let sets = params
        .series_matchers(options)
        .map_err(|error| invalid("match[]", &error))?;
    let mut call = Call::new(&api, &params).await?;
    let mut found = BTreeSet::new();
    for matchers in sets {
        call.add_series(matchers, range, limit, &mut found).await?;
    }
    call.finish(|remarks| {
        let mut out = b"[".to_vec();
        let shown = if limit == 0 { found.len() } else { limit };
        for (i, labels) in found.iter().take(shown).enumerate() {
            if i > 0 {
                out.extend_from_slice(b",");
            }
            write_labels(&mut out, labels.as_ref());
        }
        out.extend_from_slice(b"]");
        if found.len() > shown {
            remarks.warnings.push(TRUNCATED.into());
        }
        out
    })
}

pub(super) async fn label_names(
    State(api): State<Api>,
    params: Params,
) -> Result<Response, Failure> {
    let wanted = Wanted::Names;
    label_strings(&api, &params, &wanted).await
}

pub(super) async fn label_values(
    State(api): State<Api>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, Failure> {
    let wanted = Wanted::Values(unescape_name(&name).unwrap_or(name));
    label_strings(&api, &params, &wanted).await
}

/// What a label call asks for.
enum Wanted {
    Names,
    Values(String),
}

async fn label_strings(api: &Api, params: &Params, wanted: &Wanted) -> Result<Response, Failure> {
    let limit = params.limit()?;
    let range = time_range(params)?;
    let options = &api.engine.options().parser;
    let mut sets = params.series_matchers(options).map_err(Failure::bad_data)?;
    if sets.is_empty() {
        sets.push(Vec::new());
    }
    let mut call = Call::new(api, params).await?;
    let mut found = BTreeSet::new();
    for matchers in sets {
        let query = LabelQuery {
            matchers,
            range,
            limit: hint_limit(limit),
        };
        let strings = match wanted {
            Wanted::Names => call.queryable.label_names(query).await,
            Wanted::Values(name) => call.queryable.label_values(name, query).await,
        };
        found.extend(call.take(strings?));
    }
    call.finish(|remarks| {
        let shown = if limit == 0 { found.len() } else { limit };
        if found.len() > shown {
            remarks.warnings.push(TRUNCATED.into());
        }
        let mut out = Vec::new();
        write_strings(&mut out, found.iter().take(shown).map(String::as_str));
        out
    })
}

/// A call in progress: the data it reads and what it learned beside it.
struct Call {
    queryable: Arc<dyn Queryable>,
    on_partial: OnPartial,
    remarks: Remarks,
    completeness: Completeness,
}

impl Call {
    async fn new(api: &Api, params: &Params) -> Result<Self, Failure> {
        let source: SourceParams = params.source(&api.engine.options().parser)?;
        let on_partial = match source.partial_response {
            None => api.options.on_partial,
            Some(true) => OnPartial::Warn,
            Some(false) => OnPartial::Fail,
        };
        Ok(Self {
            queryable: api.source.queryable(&source).await?,
            on_partial,
            remarks: Remarks::default(),
            completeness: Completeness::Complete,
        })
    }

    async fn add_series(
        &mut self,
        matchers: Vec<Matcher>,
        range: TimeRange,
        limit: usize,
        found: &mut BTreeSet<Labels>,
    ) -> Result<(), Failure> {
        let select = Select {
            matchers,
            range,
            hints: SelectHints {
                func: Some("series".into()),
                limit: hint_limit(limit),
                skip_chunks: true,
                ..SelectHints::default()
            },
        };
        let mut stream = self.queryable.select(select).await?;
        while let Some(event) = stream.next().await {
            match event? {
                SeriesEvent::Batch(batch) => {
                    found.extend(batch.iter().map(|series| series.labels.to_labels()));
                }
                SeriesEvent::Warning(text) => self.remarks.warnings.push(text),
                SeriesEvent::Missing(missing) => self.completeness.add(missing),
                SeriesEvent::Hints(_) => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, strings: LabelStrings) -> Vec<String> {
        self.remarks.warnings.extend(strings.warnings);
        self.completeness.merge(strings.completeness);
        strings.values
    }

    fn finish(mut self, write: impl FnOnce(&mut Remarks) -> Vec<u8>) -> Result<Response, Failure> {
        if !self.completeness.is_complete() && self.on_partial == OnPartial::Fail {
            return Err(partial_error(&self.completeness).into());
        }
        let missing = missing_texts(&self.completeness);
        self.remarks.warnings.extend(missing);
        // Every match[] asks the same sources, which say the same about themselves.
        let mut seen = BTreeSet::new();
        self.remarks
            .warnings
            .retain(|text| seen.insert(text.clone()));
        let data = write(&mut self.remarks);
        Ok(success(data, &self.remarks))
    }
}

fn time_range(params: &Params) -> Result<TimeRange, Failure> {
    Ok(TimeRange {
        min: params.time_or("start", Timestamp::MIN)?,
        max: params.time_or("end", Timestamp::MAX)?,
    })
}

/// One more than wanted, to see whether there are more.
fn hint_limit(limit: usize) -> usize {
    if limit == 0 {
        0
    } else {
        limit.saturating_add(1)
    }
}

/// Undoes the escaping of label names that are not plain (`U__` and then `_XX_` for a character, `__` for `_`).
///
/// Source: `model.UnescapeName` of prometheus/common.
fn unescape_name(name: &str) -> Option<String> {
    let mut rest = name.strip_prefix("U__")?;
    let mut out = String::new();
    while let Some((before, after)) = rest.split_once('_') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let (digits, after) = after.split_once('_')?;
        if digits.len() > 6 {
            return None;
        }
        let code = u32::from_str_radix(digits, 16).ok()?;
        out.push(char::from_u32(code)?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_read_back() {
        for (escaped, name) in [
            ("U__my_2e_label", Some("my.label")),
            ("U__a__b", Some("a_b")),
            ("plain", None),
            ("U__bad_zz_", None),
            ("U__open_2e", None),
        ] {
            assert_eq!(unescape_name(escaped).as_deref(), name, "{escaped}");
        }
    }
}
