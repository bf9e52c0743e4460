//! Aggregations that pick series: `topk`, `bottomk`, `limitk`, `limit_ratio`.

use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::labels::LabelHasher;
use thanos_core::text::{FloatFormat, GoFloat};

use super::heap::{Member, heaped, largest, smallest};
use super::remarks::Remarks;
use super::{Groups, STEPS_PER_CHECK};
use crate::annotations::Annotation;
use crate::error::{Error, Result};
use crate::exec::bits;
use crate::exec::collect::{Block, HeldTiles, TileCutter};
use crate::exec::context::Context;
use crate::exec::grid::Grid;
use crate::exec::labels::LabelChoice;
use crate::exec::operator::{BoxOperator, Operator};
use crate::exec::scalar::{Scalar, Scalars};
use crate::exec::tile::{Cell, Row, Tile};
use crate::parser::Span;

/// How series are picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pick {
    Top,
    Bottom,
    First,
    Ratio,
}

/// Picks series of each group at each step; values and labels stay.
#[derive(Debug)]
pub(crate) struct PickAggregate {
    cx: Arc<Context>,
    input: BoxOperator,
    groups: Groups,
    pick: Pick,
    param: Scalar,
    param_span: Span,
    remarks: Remarks,
    results: Option<HeldTiles>,
}

impl PickAggregate {
    pub(crate) fn new(
        cx: Arc<Context>,
        input: BoxOperator,
        choice: LabelChoice,
        pick: Pick,
        param: (Scalar, Span),
        remarks: Remarks,
    ) -> Self {
        Self {
            cx,
            input,
            groups: Groups::new(choice),
            pick,
            param: param.0,
            param_span: param.1,
            remarks,
            results: None,
        }
    }

    async fn run(&mut self) -> Result<HeldTiles> {
        let grid = self.input.grid();
        let params = self.param.eval(&self.cx, grid).await?;
        let mut block = Block::collect(&self.cx, &mut self.input).await?;
        let picker = match self.pick {
            Pick::Ratio => self.ratio_picker(&block, params)?,
            Pick::Top | Pick::Bottom | Pick::First => self.count_picker(params)?,
        };
        let words = bits::words(grid.len());
        // A group, a place in it, an offset of the ratio and the bits of what is picked.
        let lease = self.cx.lease((block.len() * (32 + 8 * words)) as u64)?;
        let members = self.members(&block);
        if grid.len() == 1 {
            block.lease_copy()?;
            let mut cutter = TileCutter::new(grid);
            for group in &members {
                let rows = rows_of(&block, group);
                for (at, _) in picker.pick_of(0, (group, &rows), &mut self.remarks) {
                    cutter.push(block.id(group[at]).clone(), rows[at]);
                }
            }
            return Ok(HeldTiles::new(cutter.finish(), Some(block.into_lease())));
        }
        let mut picked = vec![0; words * block.len()];
        for group in &members {
            self.cx.turn().await?;
            let rows = rows_of(&block, group);
            for step in 0..grid.len() {
                if step.is_multiple_of(STEPS_PER_CHECK) {
                    self.cx.check()?;
                }
                for (at, _) in picker.pick_of(step, (group, &rows), &mut self.remarks) {
                    bits::set(&mut picked[group[at] * words..][..words], step);
                }
            }
        }
        drop(lease);
        Ok(block.keep(&picked))
    }

    /// Returns the series of each group.
    fn members(&mut self, block: &Block) -> Vec<Vec<usize>> {
        let mut members: Vec<Vec<usize>> = Vec::new();
        for series in 0..block.len() {
            let (group, is_new) = self.groups.of(block.id(series));
            if is_new {
                members.push(Vec::new());
            }
            members[group].push(series);
        }
        members
    }

    /// Checks the counts; also when there is nothing to pick from.
    fn count_picker(&self, params: Scalars) -> Result<Picker> {
        let bounds = params.bounds();
        let text = |value: f64| GoFloat(value, FloatFormat::General).to_string();
        if bounds.max < 1.0 {
            return Ok(Picker::Nothing);
        }
        if bounds.has_nan {
            return Err(Error::execution("Parameter value is NaN"));
        }
        if bounds.min <= INT64_MIN {
            let text = text(bounds.min);
            return Err(Error::execution(format!(
                "Scalar value {text} underflows int64"
            )));
        }
        if bounds.max >= INT64_MAX {
            let text = text(bounds.max);
            return Err(Error::execution(format!(
                "Scalar value {text} overflows int64"
            )));
        }
        Ok(Picker::Count(self.pick, params))
    }

    /// Checks the ratios; also when there is nothing to pick from.
    fn ratio_picker(&self, block: &Block, params: Scalars) -> Result<Picker> {
        let bounds = params.bounds();
        if bounds.max == 0.0 && bounds.min == 0.0 {
            return Ok(Picker::Nothing);
        }
        if bounds.has_nan {
            return Err(Error::execution("Ratio value is NaN"));
        }
        for (ratio, cap, is_outside) in [
            (bounds.max, 1.0, bounds.max > 1.0),
            (bounds.min, -1.0, bounds.min < -1.0),
        ] {
            if is_outside {
                self.cx
                    .annotate(Annotation::invalid_ratio(ratio, cap, self.param_span));
            }
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "the same rounding as in Prometheus' HashRatioSampler"
        )]
        let offset = |hash: u64| hash as f64 / u64::MAX as f64;
        let mut hasher = LabelHasher::new();
        let offsets = (0..block.len())
            .map(|series| offset(hasher.sized(block.id(series).labels.as_ref())))
            .collect();
        Ok(Picker::Ratio(offsets, params))
    }
}

/// What is too small for an `int64` of Go.
const INT64_MIN: f64 = -9_223_372_036_854_775_808.0;
/// What is too large; the largest float below 2^63 is among it.
const INT64_MAX: f64 = 9_223_372_036_854_774_784.0;

/// What picks the series of a group at a step.
enum Picker {
    Nothing,
    Count(Pick, Scalars),
    /// The place of each series in 0 to 1, and the ratio.
    Ratio(Vec<f64>, Scalars),
}

impl Picker {
    /// Reports whether nothing is picked at `step`, and so nothing looked at.
    fn is_idle(&self, step: usize) -> bool {
        match self {
            Self::Nothing => true,
            Self::Ratio(_, ratios) => ratios.get(step) == 0.0,
            Self::Count(_, counts) => to_count(counts.get(step)) == 0,
        }
    }

    /// Reports whether histograms are left out.
    fn orders_by_value(&self) -> bool {
        matches!(self, Self::Count(Pick::Top | Pick::Bottom, _))
    }

    /// Returns the picked ones of `members`, (series, value), in the order of the result.
    fn pick(
        &self,
        step: usize,
        group: &[usize],
        members: impl Iterator<Item = Member>,
    ) -> Vec<Member> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Ratio(offsets, ratios) => {
                let ratio = ratios.get(step).clamp(-1.0, 1.0);
                heaped(members.filter(|(at, _)| is_sampled(ratio, offsets[group[*at]])))
            }
            Self::Count(pick, counts) => {
                let count = to_count(counts.get(step));
                match pick {
                    Pick::Top => largest(count, members),
                    Pick::Bottom => smallest(count, members),
                    Pick::First | Pick::Ratio => heaped(members.take(count)),
                }
            }
        }
    }

    /// Returns the picked ones of a group at a step, by their place in the group.
    fn pick_of(
        &self,
        step: usize,
        (group, rows): (&[usize], &[Row<'_>]),
        remarks: &mut Remarks,
    ) -> Vec<Member> {
        if self.is_idle(step) {
            return Vec::new();
        }
        let values = rows
            .iter()
            .enumerate()
            .filter_map(|(at, row)| match row.get(step)? {
                Cell::Float(value) => Some((at, value)),
                Cell::Histogram(_) if self.orders_by_value() => {
                    remarks.ignored();
                    None
                }
                // Histograms stand among the floats as zero, which only matters for the order.
                Cell::Histogram(_) => Some((at, 0.0)),
            });
        self.pick(step, group, values)
    }
}

/// Source: Prometheus `promql/engine.go`, `AddRatioSampleWithOffset`.
fn is_sampled(ratio: f64, offset: f64) -> bool {
    (ratio > 0.0 && offset < ratio) || (ratio < 0.0 && offset >= 1.0 + ratio)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range was checked for the whole query; below one means none"
)]
fn to_count(value: f64) -> usize {
    if value < 1.0 { 0 } else { value as usize }
}

fn rows_of<'a>(block: &'a Block, group: &[usize]) -> Vec<Row<'a>> {
    group.iter().map(|&series| block.row(series)).collect()
}

#[async_trait]
impl Operator for PickAggregate {
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
mod tests {
    use super::*;

    #[test]
    fn a_ratio_and_its_complement_cover_all() {
        for offset in [0.0, 0.15, 0.35, 0.75, 0.999] {
            for ratio in [0.1, 0.3, 0.5, 0.9] {
                let both = [is_sampled(ratio, offset), is_sampled(ratio - 1.0, offset)];
                assert_eq!(
                    both.iter().filter(|one| **one).count(),
                    1,
                    "{ratio} {offset}"
                );
            }
        }
    }
}
