//! Label names and values (row ST-29 of the specification).
//!
//! A block whose series all match answers from its index-header and its external labels: every series of a block that
//! overlaps the wanted time counts, as in Thanos. Of the other blocks the matching series with samples in the wanted
//! time are read, without chunks.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use thanos_core::block::BlockId;
use thanos_core::indexheader::IndexHeader;
use thanos_core::labels::{MatchOp, Matcher};
use thanos_core::query::{Completeness, Missing, SeriesBatch, SeriesEvent};
use thanos_core::time::TimeRange;
use thanos_core::{Error, ErrorKind, Result};
use thanos_storeapi::gate::Gate;
use thanos_storeapi::hints::{LabelCall, LabelsResponseHints};
use thanos_storeapi::label_edit::strip_matchers;
use thanos_storeapi::store::{
    LabelNamesRequest, LabelValuesRequest, LabelsResponse, PartialResponse,
};
use tokio::sync::Semaphore;

use super::Loaded;
use super::ahead::ReadAhead;
use super::block::GatewayBlock;
use super::masks::Mask;
use super::query::QueryContext;
use super::resumed::{is_of_header, resumed_series};
use super::select::Resolutions;
use super::stream::BlockQuery;
use super::values::{Merge, Seen, Values};

/// How many index-headers are opened at once.
const HEADERS_AT_ONCE: usize = 32;
/// How many blocks one piece of work for the processor looks at.
const HEADERS_PER_STEP: usize = 32;
/// Of how many blocks the first series are read at once: these are few, and of most blocks they are all.
const WALKS_AT_ONCE: usize = 128;
/// How many of these blocks go on at once beyond that.
const LONG_WALKS_AT_ONCE: usize = 8;

/// A request for label names or values.
#[derive(Debug, Clone)]
pub(super) struct LabelsQuery {
    wanted: Arc<Wanted>,
    range: TimeRange,
    matchers: Vec<Matcher>,
    partial_response: PartialResponse,
    /// 0 means all.
    limit: u64,
}

#[derive(Debug)]
enum Wanted {
    /// All names but those that are left out.
    Names { without: Vec<String> },
    /// The values of a label.
    Values { label: String },
}

impl LabelsQuery {
    pub(super) fn names(request: LabelNamesRequest, range: TimeRange) -> Self {
        Self {
            wanted: Arc::new(Wanted::Names {
                without: request.without_replica_labels,
            }),
            range,
            matchers: request.matchers,
            partial_response: request.partial_response,
            limit: request.limit,
        }
    }

    /// Returns `None` when the label is one of those that are left out.
    ///
    /// # Errors
    ///
    /// `Invalid` without a label.
    pub(super) fn values(request: LabelValuesRequest, range: TimeRange) -> Result<Option<Self>> {
        if request.label.is_empty() {
            return Err(Error::invalid("label name parameter cannot be empty"));
        }
        if request.without_replica_labels.contains(&request.label) {
            return Ok(None);
        }
        Ok(Some(Self {
            wanted: Arc::new(Wanted::Values {
                label: request.label,
            }),
            range,
            matchers: request.matchers,
            partial_response: request.partial_response,
            limit: request.limit,
        }))
    }

    fn call(&self) -> LabelCall {
        match &*self.wanted {
            Wanted::Names { .. } => LabelCall::Names,
            Wanted::Values { .. } => LabelCall::Values,
        }
    }

    /// Sorts the blocks that may know something by how they are asked.
    fn select(&self, loaded: &Loaded, query: &QueryContext) -> Selected {
        let mut selected = Selected::default();
        for block in loaded.blocks.values() {
            let external_labels = block.external_labels();
            let is_wanted = !self.range.is_empty()
                && block.time_range().overlaps(self.range)
                && query.wants_block(block.id(), external_labels);
            let rest = is_wanted.then(|| strip_matchers(&self.matchers, external_labels));
            match rest.flatten() {
                None => {}
                Some(matchers) => {
                    let mask = Mask::of(&loaded.tombstones, block, self.range);
                    // The header does not know which series are hidden.
                    let hides_series = mask.as_ref().is_some_and(Mask::hides_series);
                    if matchers.is_empty() && !hides_series {
                        selected.whole.push(Arc::clone(block));
                    } else {
                        selected.walked.push(Walk {
                            block: Arc::clone(block),
                            matchers: self.narrowed(matchers, block),
                            mask,
                        });
                    }
                }
            }
        }
        selected
    }

    /// Adds that the label must be there, where no other matcher says which series to read.
    fn narrowed(&self, mut matchers: Vec<Matcher>, block: &GatewayBlock) -> Vec<Matcher> {
        if let Wanted::Values { label } = &*self.wanted
            && block.external_labels().get(label).is_none()
            && matchers.iter().all(|matcher| matcher.matches(""))
        {
            matchers.extend(Matcher::new(MatchOp::NotEqual, label, ""));
        }
        matchers
    }
}

/// The blocks that are asked.
#[derive(Debug, Default)]
struct Selected {
    /// All of whose series match.
    whole: Vec<Arc<GatewayBlock>>,
    walked: Vec<Walk>,
}

/// A block of which some series match.
#[derive(Debug)]
struct Walk {
    block: Arc<GatewayBlock>,
    /// What is left for its own labels.
    matchers: Vec<Matcher>,
    /// What tombstones hide.
    mask: Option<Mask>,
}

/// Answers a request.
pub(super) async fn labels(
    loaded: &Loaded,
    wanted: LabelsQuery,
    query: &Arc<QueryContext>,
    gate: &Gate,
) -> Result<LabelsResponse> {
    let policy = wanted.partial_response;
    let mut missing = loaded.missing(
        wanted.range,
        &wanted.matchers,
        Resolutions::All,
        policy,
        query,
    )?;
    let Selected { whole, walked } = wanted.select(loaded, query);
    let walked_ids = walked.iter().map(|walk| walk.block.id());
    query.asks(whole.iter().map(|block| block.id()).chain(walked_ids));

    let values = Values::new(wanted.limit, &query.budget)?;
    let (mut values, failed) = from_headers(whole, &wanted, values).await?;
    missing.extend(failed);
    if !walked.is_empty() {
        let _place = gate.enter().await?;
        let (seen, failed) = from_series(walked, &wanted, query).await?;
        missing.extend(failed);
        values.merge(|merge| merge_all(merge, seen.iter()))?;
    }
    let hints = LabelsResponseHints {
        queried_blocks: query.asked().iter().map(BlockId::to_string).collect(),
    };
    let mut completeness = Completeness::Complete;
    missing
        .into_iter()
        .for_each(|missing| completeness.add(missing));
    Ok(LabelsResponse {
        values: values.into_strings(),
        completeness,
        hints: Some(hints.encode(wanted.call())),
        ..Default::default()
    })
}

/// A block and its index-header, or why it cannot be had.
type Opened = (Arc<GatewayBlock>, Result<Arc<IndexHeader>>);

/// Adds what the blocks hold, all of whose series match; returns what is missing. A header that turns out damaged is
/// made anew, once.
async fn from_headers(
    blocks: Vec<Arc<GatewayBlock>>,
    wanted: &LabelsQuery,
    values: Values,
) -> Result<(Values, Vec<Missing>)> {
    let (values, failed) = visit_headers(blocks, wanted, values).await?;
    let (damaged, mut failed): (Vec<Failed>, Vec<Failed>) =
        failed.into_iter().partition(|failed| failed.is_of_header);
    let again = damaged.into_iter().map(|failed| {
        let error = &failed.error;
        tracing::warn!(%error, "index-header is damaged, making it anew");
        failed.block
    });
    let (values, again) = visit_headers(again.collect(), wanted, values).await?;
    failed.extend(again);
    let policy = wanted.partial_response;
    let missing = failed
        .into_iter()
        .map(|failed| excuse(failed.error, &failed.block, policy));
    Ok((values, missing.collect::<Result<_>>()?))
}

/// A block that could not answer.
struct Failed {
    block: Arc<GatewayBlock>,
    error: Error,
    /// Whether the block may answer when its header is made anew.
    is_of_header: bool,
}

/// Adds what the blocks hold; returns those that could not answer.
async fn visit_headers(
    blocks: Vec<Arc<GatewayBlock>>,
    wanted: &LabelsQuery,
    mut values: Values,
) -> Result<(Values, Vec<Failed>)> {
    let Some(compute) = blocks.first().map(|block| block.compute().clone()) else {
        return Ok((values, Vec::new()));
    };
    // The futures are collected first: a closure over references here would keep the call from being `Send`.
    let opening: Vec<_> = blocks.into_iter().map(open).collect();
    let mut opened = futures::stream::iter(opening)
        .buffer_unordered(HEADERS_AT_ONCE)
        .ready_chunks(HEADERS_PER_STEP);
    let mut all_failed = Vec::new();
    while let Some(blocks) = opened.next().await {
        let what = Arc::clone(&wanted.wanted);
        let step = move || {
            let mut all_failed = Vec::new();
            for (block, header) in blocks {
                all_failed.extend(visit_block(block, header, &what, &mut values)?);
            }
            Ok::<_, Error>((values, all_failed))
        };
        let (merged, failed) = compute.run(step).await??;
        values = merged;
        all_failed.extend(failed);
    }
    Ok((values, all_failed))
}

/// Adds what a block holds, unless it cannot answer; that a limit is hit concerns the whole request.
fn visit_block(
    block: Arc<GatewayBlock>,
    header: Result<Arc<IndexHeader>>,
    what: &Wanted,
    values: &mut Values,
) -> Result<Option<Failed>> {
    let header = match header {
        Ok(header) => header,
        Err(error) => {
            return Ok(Some(Failed {
                block,
                error,
                is_of_header: false,
            }));
        }
    };
    let merged = values
        .merge(|merge| visit_header(&block, &header, what, merge))
        .and_then(|()| values.merge(|merge| visit_external_labels(&block, what, merge)));
    match merged {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == ErrorKind::LimitExceeded => Err(error),
        Err(error) => Ok(Some(Failed {
            is_of_header: is_of_header(&error, &header),
            block,
            error,
        })),
    }
}

async fn open(block: Arc<GatewayBlock>) -> Opened {
    let header = block.header().await;
    (block, header)
}

/// Hands over what the series of a block have; external labels are left out, because they win.
fn visit_header(
    block: &GatewayBlock,
    header: &IndexHeader,
    wanted: &Wanted,
    merge: &mut Merge<'_>,
) -> Result<()> {
    let table = header.postings_table();
    match wanted {
        Wanted::Names { without } => {
            let names = table
                .label_names()
                .filter(|name| !without.iter().any(|gone| gone == name));
            merge_all(merge, names)
        }
        Wanted::Values { label } if block.external_labels().get(label).is_some() => Ok(()),
        Wanted::Values { label } => {
            let visited = table.visit(label, |entry| {
                if entry.value.is_empty() {
                    return Ok(std::ops::ControlFlow::Continue(()));
                }
                merge.push(entry.value)
            });
            visited.map_err(|error| match error.kind() {
                ErrorKind::Corrupt => error.in_file(block.index_object()),
                _ => error,
            })
        }
    }
}

fn visit_external_labels(
    block: &GatewayBlock,
    wanted: &Wanted,
    merge: &mut Merge<'_>,
) -> Result<()> {
    external_values(block, wanted)
        .iter()
        .try_for_each(|value| merge.push(value).map(drop))
}

/// Returns what the external labels of a block add to an answer.
fn external_values(block: &GatewayBlock, wanted: &Wanted) -> BTreeSet<String> {
    let labels = block.external_labels();
    match wanted {
        Wanted::Names { without } => {
            let names = labels.iter().map(|(name, _)| name.into_owned());
            names.filter(|name| !without.contains(name)).collect()
        }
        Wanted::Values { label } => {
            let value = labels.get(label);
            value.map(|value| value.into_owned()).into_iter().collect()
        }
    }
}

fn merge_all<'a>(merge: &mut Merge<'_>, values: impl Iterator<Item = &'a str>) -> Result<()> {
    for value in values {
        if merge.push(value)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Returns what the matching series of the blocks have, and what is missing.
async fn from_series(
    walks: Vec<Walk>,
    wanted: &LabelsQuery,
    query: &Arc<QueryContext>,
) -> Result<(Seen, Vec<Missing>)> {
    let seen = Arc::new(Mutex::new(Seen::new(wanted.limit, &query.budget)?));
    let policy = wanted.partial_response;
    // One driver for all: a walk that waits for another one must not keep what that one needs.
    let (ahead, driver) = ReadAhead::new();
    let long_walks = Arc::new(Semaphore::new(LONG_WALKS_AT_ONCE));
    let walking: Vec<_> = walks
        .into_iter()
        .map(|walk| {
            let (wanted, seen) = (wanted.clone(), Arc::clone(&seen));
            let reading = Reading {
                query: Arc::clone(query),
                ahead: ahead.clone(),
                long_walks: Arc::clone(&long_walks),
            };
            async move {
                let block = Arc::clone(&walk.block);
                match walk_block(walk, wanted, reading, &seen).await {
                    Ok(()) => Ok(None),
                    Err(error) => excuse(error, &block, policy).map(Some),
                }
            }
        })
        .collect();
    drop(ahead);
    let missing = futures::stream::iter(walking)
        .buffer_unordered(WALKS_AT_ONCE)
        .try_filter_map(|missing| std::future::ready(Ok(missing.map(SeriesEvent::Missing))));
    let mut events = driver.drive(missing.boxed());
    let mut all_missing = Vec::new();
    while let Some(event) = events.try_next().await? {
        if let SeriesEvent::Missing(missing) = event {
            all_missing.push(missing);
        }
    }
    drop(events);
    let seen = Arc::into_inner(seen).expect("the walks are over and gone");
    Ok((seen.into_inner(), all_missing))
}

/// What the walks of a request share.
#[derive(Debug)]
struct Reading {
    query: Arc<QueryContext>,
    ahead: ReadAhead,
    /// What a walk that does not end with its first series waits for.
    long_walks: Arc<Semaphore>,
}

async fn walk_block(
    walk: Walk,
    wanted: LabelsQuery,
    reading: Reading,
    seen: &Mutex<Seen>,
) -> Result<()> {
    let Walk {
        block,
        matchers,
        mask,
    } = walk;
    let external = external_values(&block, &wanted.wanted);
    let header = block.header().await?;
    let of_series = BlockQuery {
        matchers,
        range: wanted.range,
        skip_chunks: true,
        aggregates: Arc::default(),
        shard: None,
        limit: 0,
        mask,
    };
    let is_external = matches!(&*wanted.wanted, Wanted::Values { .. }) && !external.is_empty();
    let Reading {
        query,
        ahead,
        long_walks,
    } = reading;
    let mut series = resumed_series(block, header, of_series, query, ahead);
    let mut place = None;
    while let Some(event) = series.try_next().await? {
        let SeriesEvent::Batch(batch) = event else {
            continue;
        };
        if place.is_none() {
            let mut seen = seen.lock();
            external.iter().try_for_each(|value| seen.insert(value))?;
        }
        if is_external {
            // One series that matches is enough to know that the value exists.
            return Ok(());
        }
        insert_labels(&batch, &wanted.wanted, &mut seen.lock())?;
        drop(batch);
        if place.is_none() {
            let closed = |_| Error::cancelled("the request is over");
            place = Some(long_walks.acquire().await.map_err(closed)?);
        }
    }
    Ok(())
}

fn insert_labels(batch: &SeriesBatch, wanted: &Wanted, seen: &mut Seen) -> Result<()> {
    for series in batch.iter() {
        match wanted {
            Wanted::Names { without } => {
                for (name, _) in series.labels.iter() {
                    if !without.iter().any(|gone| **gone == *name) {
                        seen.insert(&name)?;
                    }
                }
            }
            Wanted::Values { label } => {
                if let Some(value) = series.labels.get(label) {
                    seen.insert(&value)?;
                }
            }
        }
    }
    Ok(())
}

/// Turns the failure of a block into a notice, where the request allows that; a limit that is hit concerns all of it.
fn excuse(error: Error, block: &GatewayBlock, policy: PartialResponse) -> Result<Missing> {
    if policy == PartialResponse::Abort || error.kind() == ErrorKind::LimitExceeded {
        return Err(error);
    }
    Ok(Missing {
        source: format!("block {}", block.id()),
        reason: error.to_string(),
    })
}
