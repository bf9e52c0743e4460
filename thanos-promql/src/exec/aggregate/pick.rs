//! Aggregations that pick series: `topk`, `bottomk`, `limitk`, `limit_ratio`.

use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::labels::LabelHasher;
use thanos_core::text::{FloatFormat, GoFloat};

use super::Groups;
use super::remarks::Remarks;
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
use crate::functions::order::{descending_nan_last, nan_last};
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
        let block = Block::collect(&self.cx, &mut self.input).await?;
        let picker = match self.pick {
            Pick::Ratio => self.ratio_picker(&block, params)?,
            Pick::Top | Pick::Bottom | Pick::First => self.count_picker(params)?,
        };
        let mut members: Vec<Vec<usize>> = Vec::new();
        for series in 0..block.len() {
            let (group, is_new) = self.groups.of(block.id(series));
            if is_new {
                members.push(Vec::new());
            }
            members[group].push(series);
        }
        let remarks = &mut self.remarks;
        let tiles = if grid.len() == 1 {
            pick_instant(&block, &members, &picker, (grid, remarks))
        } else {
            pick_range(&block, &members, &picker, (grid, remarks))
        };
        Ok(HeldTiles::new(tiles, Some(block.into_lease())))
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
    fn pick(&self, step: usize, members: impl Iterator<Item = (usize, f64)>) -> Vec<(usize, f64)> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Ratio(offsets, ratios) => {
                let ratio = ratios.get(step).clamp(-1.0, 1.0);
                members
                    .filter(|(series, _)| is_sampled(ratio, offsets[*series]))
                    .collect()
            }
            Self::Count(pick, counts) => {
                let count = to_count(counts.get(step));
                match pick {
                    Pick::Top => best(count, members, |a, b| a < b || a.is_nan()),
                    Pick::Bottom => best(count, members, |a, b| a > b || a.is_nan()),
                    Pick::First | Pick::Ratio => members.take(count).collect(),
                }
            }
        }
    }

    /// Returns the picked ones of a group at a step.
    fn pick_of(
        &self,
        step: usize,
        (block, group): (&Block, &[usize]),
        remarks: &mut Remarks,
    ) -> Vec<(usize, f64)> {
        if self.is_idle(step) {
            return Vec::new();
        }
        let values = group.iter().filter_map(|&series| {
            match block.row(series).get(step)? {
                Cell::Float(value) => Some((series, value)),
                Cell::Histogram(_) if self.orders_by_value() => {
                    remarks.ignored();
                    None
                }
                // Histograms stand among the floats as zero, which only matters for the order.
                Cell::Histogram(_) => Some((series, 0.0)),
            }
        });
        self.pick(step, values)
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

/// Returns the `count` best members, the best first; `is_worse(a, b)` is the order of the heap.
///
/// Which of several equal members stay is decided by the heap, so it is Go's `container/heap`.
fn best(
    count: usize,
    members: impl Iterator<Item = (usize, f64)>,
    is_worse: impl Fn(f64, f64) -> bool,
) -> Vec<(usize, f64)> {
    let mut heap: Vec<(usize, f64)> = Vec::new();
    if count == 0 {
        return heap;
    }
    for member in members {
        if heap.len() < count {
            heap.push(member);
            sift_up(&mut heap, &is_worse);
        } else if is_replaced(heap[0].1, member.1, &is_worse) {
            heap[0] = member;
            sift_down(&mut heap, &is_worse);
        }
    }
    sort_best_first(&mut heap, &is_worse);
    heap
}

fn is_replaced(root: f64, value: f64, is_worse: impl Fn(f64, f64) -> bool) -> bool {
    if root.is_nan() {
        return !value.is_nan();
    }
    is_worse(root, value)
}

fn sift_up(heap: &mut [(usize, f64)], is_worse: impl Fn(f64, f64) -> bool) {
    let mut at = heap.len() - 1;
    while at > 0 {
        let parent = (at - 1) / 2;
        if !is_worse(heap[at].1, heap[parent].1) {
            return;
        }
        heap.swap(at, parent);
        at = parent;
    }
}

fn sift_down(heap: &mut [(usize, f64)], is_worse: impl Fn(f64, f64) -> bool) {
    let mut at = 0;
    loop {
        let left = 2 * at + 1;
        if left >= heap.len() {
            return;
        }
        let mut child = left;
        if left + 1 < heap.len() && is_worse(heap[left + 1].1, heap[left].1) {
            child = left + 1;
        }
        if !is_worse(heap[child].1, heap[at].1) {
            return;
        }
        heap.swap(at, child);
        at = child;
    }
}

/// Sorts as Go's `sort.Sort` does up to 12 elements, by insertion; longer ones keep ties in place.
fn sort_best_first(heap: &mut [(usize, f64)], is_worse: impl Fn(f64, f64) -> bool) {
    if heap.len() > 12 {
        let is_top = is_worse(0.0, 1.0);
        let order = if is_top {
            descending_nan_last
        } else {
            nan_last
        };
        heap.sort_by(|a, b| order(a.1, b.1));
        return;
    }
    for i in 1..heap.len() {
        let mut at = i;
        while at > 0 && is_worse(heap[at - 1].1, heap[at].1) {
            heap.swap(at - 1, at);
            at -= 1;
        }
    }
}

/// Picks for one step: groups in order, in each the order of the pick.
fn pick_instant(
    block: &Block,
    members: &[Vec<usize>],
    picker: &Picker,
    (grid, remarks): (Grid, &mut Remarks),
) -> Vec<Tile> {
    let mut cutter = TileCutter::new(grid);
    for group in members {
        for (series, _) in picker.pick_of(0, (block, group), remarks) {
            cutter.push(block.id(series).clone(), block.row(series));
        }
    }
    cutter.finish()
}

/// Picks for each step; series stay in the order of the input.
fn pick_range(
    block: &Block,
    members: &[Vec<usize>],
    picker: &Picker,
    (grid, remarks): (Grid, &mut Remarks),
) -> Vec<Tile> {
    let words = bits::words(grid.len());
    let mut picked = vec![0; words * block.len()];
    for group in members {
        for step in 0..grid.len() {
            for (series, _) in picker.pick_of(step, (block, group), remarks) {
                bits::set(&mut picked[series * words..][..words], step);
            }
        }
    }
    let mut cutter = TileCutter::new(grid);
    for series in 0..block.len() {
        let row = Row {
            valid: &picked[series * words..][..words],
            ..block.row(series)
        };
        cutter.push(block.id(series).clone(), row);
    }
    cutter.finish()
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

    fn top(count: usize, values: &[f64]) -> Vec<usize> {
        let members = values.iter().copied().enumerate();
        let picked = best(count, members, |a, b| a < b || a.is_nan());
        picked.into_iter().map(|(series, _)| series).collect()
    }

    #[test]
    fn the_best_come_first() {
        assert_eq!(top(2, &[1.0, 3.0, 2.0]), [1, 2]);
        assert_eq!(top(5, &[1.0, 3.0, 2.0]), [1, 2, 0]);
        assert_eq!(top(0, &[1.0]), [0; 0]);
    }

    #[test]
    fn ties_are_broken_as_by_gos_heap() {
        // The root of the heap, the first of the equal ones, makes place.
        assert_eq!(top(2, &[1.0, 1.0, 2.0]), [2, 1]);
        assert_eq!(top(2, &[1.0, 1.0, 1.0]), [0, 1]);
    }

    #[test]
    fn nan_is_worse_than_anything() {
        assert_eq!(top(1, &[f64::NAN, f64::NEG_INFINITY]), [1]);
        assert_eq!(top(2, &[f64::NAN, 1.0, 2.0]), [2, 1]);
        assert_eq!(top(2, &[1.0, f64::NAN]), [0, 1]);
    }

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
