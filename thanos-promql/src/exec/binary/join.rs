//! Arithmetic and comparisons between two vectors: series find each other by their matching labels.
//!
//! Both sides are held. Labels are hashed once for each series; then whole rows are joined. Prometheus joins
//! step by step and stops at the first step that fails, so failures are collected with their step and the
//! earliest one is reported.
//!
//! Source: Prometheus `promql/engine.go`, `VectorBinop`.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::{BoxFuture, FutureExt};
use hashbrown::HashMap;
use thanos_core::budget::Lease;
use thanos_core::labels::Labels;

use super::element::Operation;
use super::matching::{ManySide, Matching};
use super::one_side::{OneSide, Partners};
use super::output::{Output, Pair, Stage};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::bits;
use crate::exec::collect::{Block, HeldTiles};
use crate::exec::context::Context;
use crate::exec::grid::Grid;
use crate::exec::labels::{LabelChoice, LabelIndex};
use crate::exec::operator::{BoxOperator, Operator};
use crate::exec::tile::{Row, Tile};
use crate::parser::Span;

/// A join of two vectors.
#[derive(Debug)]
pub(crate) struct Join {
    lhs: BoxOperator,
    rhs: BoxOperator,
    how: How,
    results: Option<HeldTiles>,
}

/// How two vectors are joined.
#[derive(Debug)]
pub(crate) struct How {
    pub(crate) cx: Arc<Context>,
    pub(crate) operation: Operation,
    /// Where the operator stands, with both sides.
    pub(crate) span: Span,
    pub(crate) matching: Matching,
}

impl Join {
    pub(crate) fn new(lhs: BoxOperator, rhs: BoxOperator, how: How) -> Self {
        Self {
            lhs,
            rhs,
            how,
            results: None,
        }
    }

    async fn run(&mut self) -> Result<HeldTiles> {
        let cx = &self.how.cx;
        let rhs = Block::collect(cx, &mut self.rhs);
        // An error of the right side waits for the left side, whose error comes first.
        let (lhs, rhs) = futures::try_join!(Block::collect(cx, &mut self.lhs), rhs.map(Ok))?;
        let rhs = rhs?;
        let grid = self.lhs.grid();
        match self.how.matching.many {
            ManySide::Neither | ManySide::Left => self.how.join(grid, lhs, rhs).await,
            ManySide::Right => self.how.join(grid, rhs, lhs).await,
        }
    }
}

impl How {
    /// Joins the many side with the one side.
    ///
    /// Boxed, so that this takes no stack while what is below is evaluated.
    fn join(&self, grid: Grid, many: Block, one: Block) -> BoxFuture<'_, Result<HeldTiles>> {
        Box::pin(async move {
            let mut run = Run::new(self, grid, &many, &one)?;
            for series in 0..one.len() {
                self.rest(series).await?;
                run.enter(series)?;
            }
            run.find_duplicates();
            for series in 0..many.len() {
                self.rest(series).await?;
                run.join_series(series)?;
            }
            if let Some(fill) = self.matching.fill.many {
                for series in 0..one.len() {
                    self.rest(series).await?;
                    run.fill_many(series, fill)?;
                }
            }
            run.output.finish()
        })
    }

    /// Looks at the deadline now and then, and lets others run.
    async fn rest(&self, series: usize) -> Result<()> {
        if series.is_multiple_of(SERIES_PER_TURN) {
            self.cx.turn().await?;
        }
        Ok(())
    }
}

/// How many series are joined before the deadline is looked at.
const SERIES_PER_TURN: usize = 256;

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
    matching: &'a Matching,
    many: &'a Block,
    one: &'a Block,
    choice: LabelChoice,
    index: LabelIndex,
    partners: OneSide,
    /// The steps at which something can match at all; at the others nothing can fail.
    active: Vec<u64>,
    output: Output<'a>,
    lease: Lease,
}

impl<'a> Run<'a> {
    fn new(how: &'a How, grid: Grid, many: &'a Block, one: &'a Block) -> Result<Self> {
        let mut active = present_steps(one, grid);
        if how.matching.fill.is_some() {
            bits::or(&mut active, &present_steps(many, grid));
        } else {
            bits::and(&mut active, &present_steps(many, grid));
        }
        Ok(Self {
            matching: &how.matching,
            many,
            one,
            choice: how.matching.choice(),
            index: LabelIndex::default(),
            partners: OneSide::new(how.cx.lease(0)?),
            active,
            output: Output::new(&how.cx, grid, (how.operation, how.span), &how.matching),
            lease: how.cx.lease(0)?,
        })
    }

    /// Returns the match group of a series, a new one when there is none.
    fn group_of(&mut self, labels: &Labels) -> Result<usize> {
        let (group, new) = self.index.insert_chosen(&self.choice, labels.as_ref());
        if let Some(key) = new {
            let bytes = 2 * size_of::<(Labels, usize)>() + key.key().len();
            self.lease.grow(bytes as u64)?;
            self.output.add_group(&mut self.lease)?;
        }
        Ok(group)
    }

    /// Enters a series of the one side.
    fn enter(&mut self, series: usize) -> Result<()> {
        let one = self.one;
        let group = self.group_of(&one.id(series).labels)?;
        self.partners.add(group, (one, series), &self.active)
    }

    fn find_duplicates(&mut self) {
        if let Some(step) = self.partners.first_duplicate {
            let error = self.duplicate_error(step);
            self.output.fail((step, Stage::Entering), || error);
        }
    }

    /// Returns the error for the first duplicate at `step`.
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
                let side = match self.matching.many {
                    ManySide::Neither | ManySide::Left => "right",
                    ManySide::Right => "left",
                };
                let matched = self.choice.apply(labels.as_ref());
                let mut both = [labels, &self.one.id(first).labels].map(Labels::to_string);
                both.sort();
                let [a, b] = both;
                return Error::execution(format!(
                    "found duplicate series for the match group {matched} on the {side} hand-side of the \
                     operation: [{a}, {b}];many-to-many matching not allowed: matching labels must be \
                     unique on one side"
                ));
            }
        }
        let text = "a duplicate series was found and lost again";
        Error::new(ErrorKind::Internal, text)
    }

    /// Joins one series of the many side with its partners, and with what stands for one where it has none.
    fn join_series(&mut self, series: usize) -> Result<()> {
        let labels = &self.many.id(series).labels;
        let fill = self.matching.fill.one;
        let group = match fill {
            Some(_) => self.group_of(labels)?,
            None => match self.index.find_chosen(&self.choice, labels.as_ref()) {
                Some(group) => group,
                None => return Ok(()),
            },
        };
        let row = self.many.row(series);
        let mut alone = row.valid.to_vec();
        self.join_partners(group, (labels, row), &mut alone)?;
        let Some(fill) = fill.filter(|_| !bits::is_empty(&alone)) else {
            return Ok(());
        };
        let filled = vec![fill; row.values.len()];
        self.output.pair(&Pair {
            group,
            labels: (labels, &self.choice.apply(labels.as_ref())),
            rows: (row, Row::floats(&filled, &alone)),
            steps: &alone,
        })
    }

    /// Joins a series with its partners; leaves the steps in `alone` at which it has none.
    fn join_partners(
        &mut self,
        group: usize,
        (labels, row): (&Labels, Row<'_>),
        alone: &mut [u64],
    ) -> Result<()> {
        let (other, parts) = match self.partners.partners(group) {
            Partners::Nobody => return Ok(()),
            Partners::One(partner) => {
                let other = self.one.row(*partner);
                (other, vec![(*partner, common(row, other))])
            }
            Partners::Several(turns) => {
                let other = turns.row();
                (other, turns.split(&common(row, other)))
            }
        };
        bits::and_not(alone, other.valid);
        for (partner, steps) in parts {
            self.output.pair(&Pair {
                group,
                labels: (labels, &self.one.id(partner).labels),
                rows: (row, other),
                steps: &steps,
            })?;
        }
        Ok(())
    }

    /// Lets `fill` stand for the many side at the steps at which a series of the one side was not matched.
    fn fill_many(&mut self, series: usize, fill: f64) -> Result<()> {
        let labels = &self.one.id(series).labels;
        let row = self.one.row(series);
        let group = self.group_of(labels)?;
        let mut alone = row.valid.to_vec();
        bits::and_not(&mut alone, self.output.matched(group));
        let filled = vec![fill; row.values.len()];
        self.output.pair(&Pair {
            group,
            labels: (&self.choice.apply(labels.as_ref()), labels),
            rows: (Row::floats(&filled, &alone), row),
            steps: &alone,
        })
    }
}

fn common(a: Row<'_>, b: Row<'_>) -> Vec<u64> {
    let mut common = a.valid.to_vec();
    bits::and(&mut common, b.valid);
    common
}

/// Returns the steps at which any series has a value.
fn present_steps(block: &Block, grid: Grid) -> Vec<u64> {
    let mut steps = vec![0; bits::words(grid.len())];
    block
        .rows()
        .for_each(|(_, row)| bits::or(&mut steps, row.valid));
    steps
}
