//! `series`, `labels` and `label/<name>/values`.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use futures::StreamExt;
use thanos_core::budget::Lease;
use thanos_core::labels::{Labels, Matcher};
use thanos_core::query::{
    Completeness, LabelQuery, LabelStrings, Queryable, Select, SelectHints, SeriesEvent,
};
use thanos_core::text::write_go_quoted;
use thanos_core::time::TimeRange;

use super::Api;
use super::answer::{Failure, Remarks, array_pieces, stream_success};
use super::options::Dialect;
use super::params::{Params, invalid};
use super::source::SourceParams;
use crate::admission::Admission;
use crate::engine::{OnPartial, missing_texts, partial_error};
use crate::error::{Error, Result as QueryOutcome};
use crate::json::{write_labels, write_string};

const TRUNCATED: &str = "results truncated due to limit";
/// The bytes that a found text or label set takes beside its characters.
const FOUND_BYTES: usize = 64;

pub(super) async fn series(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    if params.all("match[]").next().is_none() {
        return Err(Failure::bad_data("no match[] parameter provided"));
    }
    let limit = params.limit()?;
    let range = time_range(&api, &params)?;
    let sets = params
        .series_matchers(&api.engine.options().parser)
        .map_err(|error| invalid("match[]", &error))?;
    let source = params.source(&api)?;
    let found = work(
        &api,
        &params,
        source,
        "series",
        move |mut call| async move {
            let is_sorted = sets.len() == 1;
            let mut found = Vec::new();
            for matchers in sets {
                call.add_series(matchers, range, limit, &mut found).await?;
            }
            if !is_sorted {
                found.sort_unstable();
                found.dedup();
            }
            call.finish(found, limit)
        },
    );
    let found = found.await?;
    let pieces = array_pieces(found.items, |out, labels: &Labels| {
        write_labels(out, labels.as_ref());
    });
    Ok(stream_success(pieces, &found.remarks, found.lease))
}

pub(super) async fn label_names(
    State(api): State<Api>,
    params: Params,
) -> Result<Response, Failure> {
    label_strings(&api, &params, Wanted::Names).await
}

pub(super) async fn label_values(
    State(api): State<Api>,
    name: Result<Path<String>, axum::extract::rejection::PathRejection>,
    params: Params,
) -> Result<Response, Failure> {
    // A name that is not UTF-8 cannot be told in JSON; an empty one has no route.
    let Path(name) = name.unwrap_or_else(|_| Path(String::new()));
    let name = unescape_name(&name).unwrap_or(name);
    if name.is_empty() {
        let mut text = "invalid label name: ".to_owned();
        write_go_quoted(&mut text, &name).expect("writing to a string cannot fail");
        return Err(Failure::bad_data(text));
    }
    label_strings(&api, &params, Wanted::Values(name)).await
}

/// What a label call asks for.
enum Wanted {
    Names,
    Values(String),
}

impl Wanted {
    fn path(&self) -> String {
        match self {
            Self::Names => "labels".into(),
            Self::Values(name) => format!("label/{name}/values"),
        }
    }
}

async fn label_strings(api: &Api, params: &Params, wanted: Wanted) -> Result<Response, Failure> {
    let limit = params.limit()?;
    let range = time_range(api, params)?;
    let options = &api.engine.options().parser;
    let sets = match api.options.dialect {
        Dialect::Prometheus => params.series_matchers(options),
        Dialect::Thanos { .. } => params.matcher_sets("match[]", options),
    };
    let mut sets = sets.map_err(Failure::bad_data)?;
    if sets.is_empty() {
        sets.push(Vec::new());
    }
    let path = wanted.path();
    // As in Thanos: the labels of replicas are labels, too.
    let source = SourceParams {
        dedup: Some(false),
        ..params.source(api)?
    };
    let found = work(api, params, source, &path, move |mut call| async move {
        let mut found = BTreeSet::new();
        for matchers in sets {
            let query = LabelQuery {
                matchers,
                range,
                limit: hint_limit(limit),
            };
            let strings = match &wanted {
                Wanted::Names => call.queryable.label_names(query).await?,
                Wanted::Values(name) => call.queryable.label_values(name, query).await?,
            };
            call.add_strings(strings, &mut found)?;
        }
        call.finish(found.into_iter().collect(), limit)
    });
    let found = found.await?;
    let pieces = array_pieces(found.items, |out, text: &String| write_string(out, text));
    Ok(stream_success(pieces, &found.remarks, found.lease))
}

/// What a call found, with the lease of its memory.
struct Found<T> {
    items: Vec<T>,
    remarks: Remarks,
    lease: Lease,
}

/// Runs `job` in a place, on a thread for blocking work.
async fn work<T, F>(
    api: &Api,
    params: &Params,
    source: SourceParams,
    path: &str,
    job: impl FnOnce(Call) -> F + Send + 'static,
) -> Result<Found<T>, Failure>
where
    T: Send + 'static,
    F: Future<Output = QueryOutcome<Found<T>>> + Send + 'static,
{
    let options = api.engine.options();
    let timeout = params.timeout()?.unwrap_or(options.timeout);
    let timeout = timeout.min(options.timeout);
    let ticket = api.places.ticket(&source.tenant);
    let budget = ticket.budget();
    let place = api.place(&text_of(path, params), timeout, ticket).await?;
    let call = Call {
        queryable: api.source.queryable(&source).await?,
        on_partial: api.on_partial(&source),
        warnings: BTreeSet::new(),
        completeness: Completeness::Complete,
        lease: budget.lease(0).map_err(Error::from)?,
    };
    Ok(place.run(async move { job(call).await }).await?)
}

/// Returns the call as the list of running queries shows it.
fn text_of(path: &str, params: &Params) -> String {
    let mut text = format!("/api/v1/{path}");
    for (i, selector) in params.all("match[]").enumerate() {
        text.push(if i == 0 { '?' } else { '&' });
        text.push_str("match[]=");
        text.push_str(selector);
    }
    text
}

/// A call in progress: the data it reads and what it learned beside it.
struct Call {
    queryable: Arc<dyn Queryable>,
    on_partial: OnPartial,
    /// A set because every `match[]` asks the same sources, which say the same about themselves.
    warnings: BTreeSet<String>,
    completeness: Completeness,
    lease: Lease,
}

impl Call {
    /// Appends the series that match, in order; no more than show that there are more than `limit`.
    async fn add_series(
        &mut self,
        matchers: Vec<Matcher>,
        range: TimeRange,
        limit: usize,
        found: &mut Vec<Labels>,
    ) -> QueryOutcome<()> {
        let select = Select {
            matchers,
            range,
            hints: SelectHints {
                func: Some("series".into()),
                limit: hint_limit(limit),
                skip_chunks: true,
                ..SelectHints::default()
            },
            log: None,
        };
        let first = found.len();
        let mut stream = self.queryable.select(select).await?;
        while let Some(event) = stream.next().await {
            match event? {
                SeriesEvent::Batch(batch) => {
                    for series in batch.iter() {
                        let last = found[first..].last();
                        if last.is_some_and(|last: &Labels| last.as_ref() == series.labels) {
                            continue;
                        }
                        if limit > 0 && found.len() - first > limit {
                            return Ok(());
                        }
                        let labels = series.labels.to_labels();
                        self.hold(labels.key().len())?;
                        found.push(labels);
                    }
                }
                SeriesEvent::Warning(text) => {
                    self.warnings.insert(text);
                }
                SeriesEvent::Missing(missing) => self.completeness.add(missing),
                SeriesEvent::Hints(_) => {}
            }
            // Here a request whose client is gone ends, even over data that is always at hand.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn add_strings(
        &mut self,
        strings: LabelStrings,
        found: &mut BTreeSet<String>,
    ) -> QueryOutcome<()> {
        self.warnings.extend(strings.warnings);
        self.completeness.merge(strings.completeness);
        self.hold(strings.values.iter().map(String::len).sum())?;
        self.hold(strings.values.len() * FOUND_BYTES)?;
        found.extend(strings.values);
        Ok(())
    }

    fn hold(&mut self, bytes: usize) -> QueryOutcome<()> {
        Ok(self.lease.grow((bytes + FOUND_BYTES) as u64)?)
    }

    fn finish<T>(self, mut items: Vec<T>, limit: usize) -> QueryOutcome<Found<T>> {
        if !self.completeness.is_complete() && self.on_partial == OnPartial::Fail {
            return Err(partial_error(&self.completeness));
        }
        let mut warnings = self.warnings;
        warnings.extend(missing_texts(&self.completeness));
        let mut warnings: Vec<String> = warnings.into_iter().collect();
        if limit > 0 && items.len() > limit {
            items.truncate(limit);
            warnings.push(TRUNCATED.into());
        }
        Ok(Found {
            items,
            remarks: Remarks::warnings(warnings),
            lease: self.lease,
        })
    }
}

fn time_range(api: &Api, params: &Params) -> Result<TimeRange, Failure> {
    let by_default = match api.options.metadata_range {
        None => TimeRange::ALL,
        Some(range) => {
            let now = api.engine.now();
            let ms = i64::try_from(range.as_millis()).unwrap_or(i64::MAX);
            TimeRange {
                min: now.saturating_add_millis(ms.saturating_neg()),
                max: now,
            }
        }
    };
    let range = TimeRange {
        min: params.time_or("start", by_default.min)?,
        max: params.time_or("end", by_default.max)?,
    };
    match api.options.dialect {
        Dialect::Thanos { .. } if range.max < range.min => {
            let text = "end timestamp must not be before start time";
            Err(Failure::bad_data(text))
        }
        Dialect::Thanos { .. } | Dialect::Prometheus => Ok(range),
    }
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
