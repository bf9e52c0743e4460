//! Arithmetic and comparisons between two vectors: series find each other by their matching labels.
//!
//! Both sides are held. Labels are hashed once for each series; then whole rows are joined. Prometheus joins
//! step by step and stops at the first step that fails, so failures are collected with their step and the
//! earliest one is reported.
//!
//! Source: Prometheus `promql/engine.go`, `VectorBinop`.

use std::sync::Arc;

use async_trait::async_trait;
use hashbrown::HashMap;
use thanos_core::labels::{Labels, LabelsBuilder};

use crate::error::{Error, Result};
use crate::exec::arith::{drops_name, join_rows};
use crate::exec::bits;
use crate::exec::collect::{Block, HeldTiles, MergingCollector};
use crate::exec::context::Context;
use crate::exec::grid::Grid;
use crate::exec::labels::{LabelChoice, LabelIndex, keep, without_metadata};
use crate::exec::names::Overlap;
use crate::exec::operator::{BoxOperator, Operator};
use crate::exec::tile::{Row, SeriesId, Tile};
use crate::parser::BinaryOp;

/// How series find each other.
#[derive(Debug, Clone)]
pub(crate) struct Matching {
    /// Whether `labels` must be equal, or all others.
    pub(crate) on: bool,
    pub(crate) labels: Vec<String>,
    /// The side of which several series may match one of the other.
    pub(crate) many: ManySide,
    /// Labels to copy from the one side.
    pub(crate) include: Vec<String>,
}

/// The side of a join with several series for each match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ManySide {
    Neither,
    Left,
    Right,
}

impl Matching {
    /// Returns the labels that must be equal.
    pub(crate) fn choice(&self) -> LabelChoice {
        if self.on {
            LabelChoice::only(self.labels.clone())
        } else {
            LabelChoice::without(self.labels.clone())
        }
    }
}

/// A join of two vectors.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) cx: Arc<Context>,
    pub(crate) lhs: BoxOperator,
    pub(crate) rhs: BoxOperator,
    pub(crate) op: BinaryOp,
    pub(crate) return_bool: bool,
    pub(crate) matching: Matching,
    pub(crate) results: Option<HeldTiles>,
}

impl Join {
    async fn run(&mut self) -> Result<HeldTiles> {
        let (lhs, rhs) = futures::try_join!(
            Block::collect(&self.cx, &mut self.lhs),
            Block::collect(&self.cx, &mut self.rhs)
        )?;
        let (many, one) = match self.matching.many {
            ManySide::Neither | ManySide::Left => (lhs, rhs),
            ManySide::Right => (rhs, lhs),
        };
        let mut run = Run::new(self, &many, &one);
        for series in 0..many.len() {
            run.join_series(series)?;
        }
        run.finish()
    }

    fn result_labels(&self, many: &Labels, one: &Labels) -> Labels {
        let drops = drops_name(self.op) || (self.return_bool && !self.cx.delayed_name_removal);
        let mut labels = if drops {
            without_metadata(many)
        } else {
            many.clone()
        };
        let listed = |name: &[u8]| self.matching.labels.iter().any(|l| l.as_bytes() == name);
        if self.matching.many == ManySide::Neither {
            labels = keep(labels.as_ref(), |name| listed(name) == self.matching.on);
        }
        if self.matching.include.is_empty() {
            return labels;
        }
        let mut builder = LabelsBuilder::from_labels(labels.as_ref());
        for name in &self.matching.include {
            builder.set(name, one.get(name).as_deref().unwrap_or_default());
        }
        builder.build()
    }
}

#[async_trait]
impl Operator for Join {
    fn grid(&self) -> Grid {
        self.lhs.grid()
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        if self.results.is_none() {
            self.results = Some(self.run().await?);
        }
        Ok(self.results.as_mut().and_then(HeldTiles::next))
    }
}

/// The state of one join.
struct Run<'a> {
    join: &'a Join,
    many: &'a Block,
    one: &'a Block,
    choice: LabelChoice,
    index: LabelIndex,
    /// The series of the one side by match group.
    groups: Vec<Vec<usize>>,
    /// The steps at which both sides have a series at all; at the others nothing can fail.
    active: Vec<u64>,
    /// The steps at which a result was made already: by match group, or by it and the result's labels.
    matched: HashMap<(usize, Option<Labels>), Vec<u64>>,
    out: MergingCollector,
    failure: Option<(usize, Error)>,
    values: Vec<f64>,
    kept: Vec<u64>,
}

impl<'a> Run<'a> {
    fn new(join: &'a Join, many: &'a Block, one: &'a Block) -> Self {
        let grid = join.lhs.grid();
        let mut run = Self {
            join,
            many,
            one,
            choice: join.matching.choice(),
            index: LabelIndex::default(),
            groups: Vec::new(),
            active: present_steps(one, grid),
            matched: HashMap::new(),
            out: MergingCollector::new(Arc::clone(&join.cx), grid, Overlap::AtStep),
            failure: None,
            values: vec![0.0; grid.len()],
            kept: vec![0; bits::words(grid.len())],
        };
        bits::and(&mut run.active, &present_steps(many, grid));
        for series in 0..one.len() {
            let labels = one.id(series).labels.as_ref();
            let (group, _) = run.index.insert_chosen(&run.choice, labels);
            run.groups.resize_with(run.index.len(), Vec::new);
            run.groups[group].push(series);
        }
        run.find_duplicates();
        run
    }

    /// Remembers a failure unless an earlier step has failed.
    fn fail(&mut self, step: usize, error: impl FnOnce() -> Error) {
        if self.failure.as_ref().is_none_or(|(known, _)| step < *known) {
            self.failure = Some((step, error()));
        }
    }

    /// Looks for two series of one match group at the same step on the side that may have one only.
    fn find_duplicates(&mut self) {
        let mut earliest = usize::MAX;
        for group in self.groups.iter().filter(|group| group.len() > 1) {
            let mut seen = vec![0; self.active.len()];
            for series in group {
                let valid = self.one.row(*series).valid;
                let common = first_common(&seen, valid, &self.active);
                earliest = earliest.min(common.unwrap_or(usize::MAX));
                bits::or(&mut seen, valid);
            }
        }
        if earliest != usize::MAX {
            let error = self.duplicate_error(earliest);
            self.fail(earliest, || error);
        }
    }

    /// Returns the error for the first duplicate at `step`.
    ///
    /// COMPAT: the later series comes first in the text, as Prometheus 3.5 writes it (later versions sort them).
    fn duplicate_error(&mut self, step: usize) -> Error {
        let mut first_of_group: HashMap<usize, usize> = HashMap::new();
        for series in 0..self.one.len() {
            let labels = &self.one.id(series).labels;
            if !bits::get(self.one.row(series).valid, step) {
                continue;
            }
            let group = self.index.find_chosen(&self.choice, labels.as_ref());
            let group = group.expect("all series of this side were entered");
            if let Some(first) = first_of_group.insert(group, series) {
                let side = match self.join.matching.many {
                    ManySide::Neither | ManySide::Left => "right",
                    ManySide::Right => "left",
                };
                let matched = self.choice.apply(labels.as_ref());
                let first = &self.one.id(first).labels;
                return Error::execution(format!(
                    "found duplicate series for the match group {matched} on the {side} hand-side of the \
                     operation: [{labels}, {first}];many-to-many matching not allowed: matching labels must be \
                     unique on one side"
                ));
            }
        }
        Error::new(
            crate::error::ErrorKind::Internal,
            "a duplicate series was found and lost again",
        )
    }

    /// Joins one series of the many side with its partners.
    fn join_series(&mut self, series: usize) -> Result<()> {
        let many = self.many;
        let labels = &many.id(series).labels;
        let Some(group) = self.index.find_chosen(&self.choice, labels.as_ref()) else {
            return Ok(());
        };
        for partner in self.groups[group].clone() {
            self.join_pair(group, series, partner)?;
        }
        Ok(())
    }

    fn join_pair(&mut self, group: usize, series: usize, partner: usize) -> Result<()> {
        let (many, one) = (self.many.row(series), self.one.row(partner));
        let mut common = many.valid.to_vec();
        bits::and(&mut common, one.valid);
        if bits::is_empty(&common) {
            return Ok(());
        }
        let id = self.result_id(series, partner);
        self.mark_matched(group, &id.labels, &common);
        let (lhs, rhs) = match self.join.matching.many {
            ManySide::Neither | ManySide::Left => (many, one),
            ManySide::Right => (one, many),
        };
        self.kept.copy_from_slice(&common);
        join_rows(
            self.join.op,
            self.join.return_bool,
            (lhs.values, rhs.values),
            &mut self.values,
            &mut self.kept,
        );
        let row = Row::floats(&self.values, &self.kept);
        if bits::is_empty(row.valid) {
            return Ok(());
        }
        if let Some(step) = self.out.overlap(&id, row) {
            self.fail(step, Error::same_labelset);
            return Ok(());
        }
        self.out.add_row(&id, row)
    }

    fn result_id(&self, series: usize, partner: usize) -> SeriesId {
        let (many, one) = (self.many.id(series), self.one.id(partner));
        SeriesId {
            labels: self.join.result_labels(&many.labels, &one.labels),
            drop_name: self.join.return_bool,
        }
    }

    /// Notes that a match was made at the steps `common` and fails where it was made before.
    fn mark_matched(&mut self, group: usize, labels: &Labels, common: &[u64]) {
        let is_one_to_one = self.join.matching.many == ManySide::Neither;
        let key = (group, (!is_one_to_one).then(|| labels.clone()));
        let matched = self
            .matched
            .entry(key)
            .or_insert_with(|| vec![0; common.len()]);
        let again = first_common(matched, common, common);
        bits::or(matched, common);
        if let Some(step) = again {
            self.fail(step, || {
                Error::execution(if is_one_to_one {
                    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                } else {
                    "multiple matches for labels: grouping labels must ensure unique matches"
                })
            });
        }
    }

    fn finish(self) -> Result<HeldTiles> {
        match self.failure {
            Some((_, error)) => Err(error),
            None => Ok(self.out.finish()),
        }
    }
}

/// Returns the steps at which any series has a value.
fn present_steps(block: &Block, grid: Grid) -> Vec<u64> {
    let mut steps = vec![0; bits::words(grid.len())];
    block
        .rows()
        .for_each(|(_, row)| bits::or(&mut steps, row.valid));
    steps
}

fn first_common(a: &[u64], b: &[u64], c: &[u64]) -> Option<usize> {
    let words = a.iter().zip(b).zip(c).map(|((a, b), c)| a & b & c);
    let (index, word) = words.enumerate().find(|(_, word)| *word != 0)?;
    Some(index * 64 + word.trailing_zeros() as usize)
}
