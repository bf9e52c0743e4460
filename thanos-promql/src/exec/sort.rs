//! The sorting functions; only the order of an instant result can show them.

use std::cmp::Ordering;
use std::sync::Arc;

use async_trait::async_trait;

use super::arith::sort_order;
use super::collect::{Block, HeldTiles, TileCutter};
use super::context::Context;
use super::grid::Grid;
use super::operator::{BoxOperator, Operator};
use super::tile::Tile;
use crate::error::Result;
use crate::functions::order::natural;

/// What to sort by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SortKey {
    Value,
    Labels(Vec<String>),
}

/// Sorts the series of an instant vector.
#[derive(Debug)]
pub(crate) struct Sort {
    cx: Arc<Context>,
    input: BoxOperator,
    key: SortKey,
    descending: bool,
    sorted: Option<HeldTiles>,
}

impl Sort {
    pub(crate) fn new(
        cx: Arc<Context>,
        input: BoxOperator,
        key: SortKey,
        descending: bool,
    ) -> Self {
        Self {
            cx,
            input,
            key,
            descending,
            sorted: None,
        }
    }

    fn compare(&self, block: &Block, a: usize, b: usize) -> Ordering {
        match &self.key {
            SortKey::Value => {
                let [a, b] = [a, b].map(|series| block.row(series).values[0]);
                sort_order(self.descending)(a, b)
            }
            SortKey::Labels(names) => {
                let [a, b] = [a, b].map(|series| &block.id(series).labels);
                let by_name = |name: &String| {
                    let [a, b] = [a, b].map(|labels| labels.get(name).unwrap_or_default());
                    natural(&a, &b)
                };
                let order = names
                    .iter()
                    .map(by_name)
                    .find(|order| order.is_ne())
                    .unwrap_or_else(|| a.cmp(b));
                if self.descending {
                    order.reverse()
                } else {
                    order
                }
            }
        }
    }
}

/// Sorts; ties keep their place.
///
/// The natural order of labels has cycles where numbers are long, for which the standard library's sort may panic.
fn merge_sorted(mut items: Vec<usize>, compare: &impl Fn(usize, usize) -> Ordering) -> Vec<usize> {
    if items.len() < 2 {
        return items;
    }
    let later = items.split_off(items.len() / 2);
    let mut later = merge_sorted(later, compare).into_iter().peekable();
    let mut sorted = Vec::with_capacity(items.len() + later.len());
    for item in merge_sorted(items, compare) {
        while let Some(first) = later.next_if(|first| compare(*first, item).is_lt()) {
            sorted.push(first);
        }
        sorted.push(item);
    }
    sorted.extend(later);
    sorted
}

/// Leaves out native histograms, as sorting by value does even where it has no order to give.
#[derive(Debug)]
pub(crate) struct OnlyFloats(pub(crate) BoxOperator);

#[async_trait]
impl Operator for OnlyFloats {
    fn grid(&self) -> Grid {
        self.0.grid()
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        while let Some(mut tile) = self.0.next().await? {
            for index in 0..tile.len() {
                tile.row_mut(index).drop_histograms();
            }
            tile.drop_empty();
            if !tile.is_empty() {
                return Ok(Some(tile));
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl Operator for Sort {
    fn grid(&self) -> Grid {
        self.input.grid()
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        if self.sorted.is_none() {
            let mut block = Block::collect(&self.cx, &mut self.input).await?;
            block.lease_copy()?;
            let mut order: Vec<usize> = (0..block.len()).collect();
            if self.key == SortKey::Value {
                order.retain(|series| block.row(*series).is_float_only());
            }
            let order = merge_sorted(order, &|a, b| self.compare(&block, a, b));
            let mut cutter = TileCutter::new(self.input.grid());
            for series in order {
                cutter.push(block.id(series).clone(), block.row(series));
            }
            self.sorted = Some(HeldTiles::new(cutter.finish(), Some(block.into_lease())));
        }
        Ok(self.sorted.as_mut().and_then(HeldTiles::next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_with_cycles_is_no_reason_to_panic() {
        let texts = ["9", "10", "12345678901234567890"];
        let compare = |a: usize, b: usize| natural(texts[a % 3], texts[b % 3]);
        assert_eq!(
            [compare(0, 1), compare(1, 2), compare(2, 0)],
            [Ordering::Less; 3]
        );
        let mut sorted = merge_sorted((0..1000).map(|n| n * 7 % 1000).collect(), &compare);
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..1000));
    }

    #[test]
    fn ties_keep_their_place() {
        let sorted = merge_sorted(vec![5, 2, 14, 8, 11, 3], &|a, b| (a % 3).cmp(&(b % 3)));
        assert_eq!(sorted, [3, 5, 2, 14, 8, 11]);
    }
}
