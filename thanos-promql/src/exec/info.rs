//! `info`: adds the labels of info metrics such as `target_info` to the series that they speak of.
//!
//! The series are held, because which info series to read depends on their labels. Of the info series only which
//! one holds at which step is kept. Source: Prometheus `promql/info.go`.

mod matched;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures::channel::oneshot;
use hashbrown::HashMap;
use thanos_core::budget::Lease;
use thanos_core::labels::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher};
use thanos_core::query::{Queryable, Select, SelectHints};
use thanos_core::time::TimeRange;

use self::matched::{Conflict, InfoSeries, NOBODY};
use super::bits;
use super::collect::{HeldTiles, MergingCollector};
use super::context::Context;
use super::grid::Grid;
use super::names::{MetadataWatch, Overlap};
use super::operator::{BoxOperator, Operator};
use super::samples::SampleBuffer;
use super::select::Shift;
use super::source::{Popped, SeriesSource};
use super::tally::Tally;
use super::tile::{Row, SeriesId, Tile};
use crate::error::{Error, Result};

/// The labels by which a series and its info series belong together. COMPAT: fixed as in Prometheus.
pub(crate) const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// The bytes of values above which a label is compared here rather than by the storage.
const PATTERN_BYTES_MAX: usize = 64 << 10;

/// Which info series are wanted, and which of their labels.
#[derive(Debug)]
pub(crate) struct InfoSelection {
    /// The conditions on the name of the info metric.
    pub(crate) names: Vec<Matcher>,
    /// The conditions on other labels, which are also the labels to add; without any, all are added.
    pub(crate) data: Vec<Matcher>,
    /// When to look at the info series.
    pub(crate) shift: Shift,
    /// The distance of the steps, as advice for the storage.
    pub(crate) step_ms: i64,
}

impl InfoSelection {
    /// Returns the selection of the matchers in the second argument; there may be none.
    pub(crate) fn new(matchers: &[Matcher], shift: Shift, step_ms: i64) -> Result<Self> {
        let is_name = |matcher: &&Matcher| matcher.name() == METRIC_NAME;
        let mut names: Vec<Matcher> = matchers.iter().filter(is_name).cloned().collect();
        let is_positive =
            |matcher: &Matcher| matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex);
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, "target_info"));
        } else if !names.iter().any(is_positive) {
            names.push(Matcher::new(MatchOp::Regex, METRIC_NAME, ".+_info")?);
        }
        Ok(Self {
            names,
            data: matchers
                .iter()
                .filter(|one| !is_name(one))
                .cloned()
                .collect(),
            shift,
            step_ms,
        })
    }

    fn is_info(&self, labels: &Labels) -> bool {
        let name = labels.get(METRIC_NAME).unwrap_or_default();
        self.names.iter().all(|matcher| matcher.matches(&name))
    }

    /// Reports whether a series without info series stays.
    fn needs_nothing(&self) -> bool {
        self.data.iter().all(Matcher::matches_empty)
    }

    fn wants(&self, label: &str) -> bool {
        self.data.is_empty() || self.data.iter().any(|matcher| matcher.name() == label)
    }
}

/// The operator of `info(v, selection)`.
#[derive(Debug)]
pub(crate) struct Info {
    pub(crate) cx: Arc<Context>,
    pub(crate) input: BoxOperator,
    pub(crate) selection: InfoSelection,
    /// To be taken once, when it is known which info series to read.
    pub(crate) queryable: Option<oneshot::Receiver<Arc<dyn Queryable>>>,
    pub(crate) tally: Tally,
    pub(crate) results: Option<HeldTiles>,
}

/// The series to add labels to.
struct Base {
    tiles: Vec<Tile>,
    /// The steps at which there is any.
    present: Vec<u64>,
    /// The values of the identifying labels.
    values: [BTreeSet<String>; IDENTIFYING.len()],
    lease: Lease,
}

impl Info {
    async fn run(&mut self) -> Result<HeldTiles> {
        let mut base = self.base().await?;
        let info = self.info_series(&base).await?;
        let mut conflict = info.conflict();
        let grid = self.input.grid();
        let mut out = MergingCollector::new(Arc::clone(&self.cx), grid, Overlap::AtStep);
        for tile in std::mem::take(&mut base.tiles) {
            self.cx.turn().await?;
            for (id, row) in tile.rows() {
                if self.selection.is_info(&id.labels) {
                    out.add_row(id, row)?;
                } else {
                    self.enrich(id, row, (&info, &mut conflict), &mut out)?;
                }
            }
            let left = base.lease.bytes().saturating_sub(tile.memory_bytes());
            base.lease.resize(left)?;
        }
        match conflict {
            None => Ok(out.finish()),
            Some(conflict) => Err(Error::execution(conflict.text)),
        }
    }

    async fn base(&mut self) -> Result<Base> {
        let mut base = Base {
            tiles: Vec::new(),
            present: vec![0; bits::words(self.input.grid().len())],
            values: [BTreeSet::new(), BTreeSet::new()],
            lease: self.cx.lease(0)?,
        };
        while let Some(tile) = self.input.next().await? {
            base.lease.grow(tile.memory_bytes())?;
            for (id, row) in tile.rows() {
                bits::or(&mut base.present, row.valid);
                if self.selection.is_info(&id.labels) {
                    continue;
                }
                for (name, values) in IDENTIFYING.iter().zip(&mut base.values) {
                    let value = id.labels.get(name).unwrap_or_default();
                    if !value.is_empty() && !values.contains(&*value) {
                        values.insert(value.into_owned());
                    }
                }
            }
            base.tiles.push(tile);
        }
        Ok(base)
    }

    /// Reads the info series that could speak of a series of `base`.
    async fn info_series(&mut self, base: &Base) -> Result<InfoSeries> {
        let grid = self.input.grid();
        let mut info = InfoSeries::new(&self.cx, (grid, self.selection.shift), self.tally)?;
        if base.values.iter().all(BTreeSet::is_empty) {
            return Ok(info);
        }
        let select = self.select(&base.values)?;
        let Some(queryable) = self.queryable.take() else {
            return Ok(info);
        };
        let queryable = queryable
            .await
            .map_err(|_| Error::cancelled("query preparation"))?;
        let stream = queryable.select(select).await?;
        let (sender, receiver) = oneshot::channel();
        let _ = sender.send(stream);
        let watch = Arc::<MetadataWatch>::default();
        let mut source = SeriesSource::new(Arc::clone(&self.cx), receiver, None, watch);
        let mut buffer = SampleBuffer::default();
        loop {
            match source.pop() {
                Popped::Series(series) => {
                    if speaks_of(&series.labels, &base.values) {
                        self.cx.count_series(1);
                        info.add(&self.cx, &series, &mut buffer, &base.present)?;
                    }
                }
                Popped::Starved => source.fill().await?,
                Popped::End => break,
            }
        }
        Ok(info)
    }

    fn select(&self, values: &[BTreeSet<String>; IDENTIFYING.len()]) -> Result<Select> {
        let InfoSelection {
            names, data, shift, ..
        } = &self.selection;
        let mut matchers = [&names[..], &data[..]].concat();
        for (name, values) in IDENTIFYING.iter().zip(values) {
            let pattern = any_of(values);
            if !values.is_empty() && pattern.len() <= PATTERN_BYTES_MAX {
                matchers.push(Matcher::new(MatchOp::Regex, name, &pattern)?);
            }
        }
        let grid = self.input.grid();
        let first = shift.apply(grid.start_ms());
        let from = first.saturating_sub(self.cx.lookback_ms).saturating_add(1);
        Ok(Select {
            matchers,
            range: TimeRange::from_millis(from, shift.apply(grid.last_ms())),
            hints: SelectHints {
                step_ms: self.selection.step_ms,
                func: Some("info".to_owned()),
                ..SelectHints::default()
            },
            log: None,
        })
    }

    /// Appends a series once for each combination of info series that hold at its steps.
    fn enrich(
        &self,
        id: &SeriesId,
        row: Row<'_>,
        (info, conflict): (&InfoSeries, &mut Option<Conflict>),
        out: &mut MergingCollector,
    ) -> Result<()> {
        let slots = info.slots_of(&id.labels);
        let mut parts: HashMap<Vec<u32>, usize> = HashMap::new();
        let mut steps_of: Vec<(Vec<u32>, Vec<usize>)> = Vec::new();
        let mut holders: Vec<u32> = Vec::new();
        let mut last: Option<usize> = None;
        for step in bits::ones(row.valid) {
            holders.clear();
            holders.extend(slots.iter().map(|slot| slot.holder(step)));
            let number = match last {
                Some(last) if steps_of.get(last).is_some_and(|part| part.0 == holders) => last,
                _ => *parts.entry_ref(&holders[..]).or_insert(steps_of.len()),
            };
            if number == steps_of.len() {
                steps_of.push((holders.clone(), Vec::new()));
            }
            steps_of[number].1.push(step);
            last = Some(number);
        }
        let mut valid = vec![0; row.valid.len()];
        for (holders, steps) in steps_of {
            let labels = match self.enriched(&id.labels, &holders, info) {
                Ok(Some(labels)) => labels,
                Ok(None) => continue,
                Err(text) => {
                    Conflict::keep_first(conflict, steps[0], || text);
                    continue;
                }
            };
            valid.fill(0);
            steps.iter().for_each(|step| bits::set(&mut valid, *step));
            let id = SeriesId { labels, ..*id };
            let part = Row {
                valid: &valid,
                ..row
            };
            out.add_row(&id, part)?;
        }
        Ok(())
    }

    /// Returns `base` with the labels of the info series `holders`; nothing when a wanted label is missing, and
    /// what is wrong when they contradict each other.
    fn enriched(
        &self,
        base: &Labels,
        holders: &[u32],
        info: &InfoSeries,
    ) -> Result<Option<Labels>, String> {
        let mut added: HashMap<String, String> = HashMap::new();
        let mut builder = LabelsBuilder::from_labels(base.as_ref());
        let mut is_found = false;
        for holder in holders.iter().filter(|holder| **holder != NOBODY) {
            is_found = true;
            for (name, value) in info.labels(*holder).iter() {
                if name == METRIC_NAME || !self.selection.wants(&name) {
                    continue;
                }
                if added.get(&*name).is_some_and(|other| *other != *value) {
                    return Err(format!("conflicting label: {name}"));
                }
                if base.get(&name).is_none() {
                    builder.set(&name, &value);
                    added.insert(name.into_owned(), value.into_owned());
                }
            }
        }
        let stays = is_found || self.selection.needs_nothing();
        Ok(stays.then(|| builder.build()))
    }
}

fn speaks_of(labels: &Labels, values: &[BTreeSet<String>; IDENTIFYING.len()]) -> bool {
    let is_known = |(name, values): (&&str, &BTreeSet<String>)| {
        let value = labels.get(name).unwrap_or_default();
        values.is_empty() || values.contains(&*value)
    };
    IDENTIFYING.iter().zip(values).all(is_known)
}

/// Returns a pattern that matches `texts`, quoted as Go's `regexp.QuoteMeta` does.
fn any_of(texts: &BTreeSet<String>) -> String {
    let mut pattern = String::new();
    for text in texts {
        if !pattern.is_empty() {
            pattern.push('|');
        }
        for char in text.chars() {
            if r"\.+*?()|[]{}^$".contains(char) {
                pattern.push('\\');
            }
            pattern.push(char);
        }
    }
    pattern
}

#[async_trait]
impl Operator for Info {
    fn grid(&self) -> Grid {
        self.input.grid()
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        if self.results.is_none() {
            self.results = Some(self.run().await?);
        }
        Ok(self.results.as_mut().and_then(HeldTiles::next))
    }
}

#[cfg(test)]
mod tests;
