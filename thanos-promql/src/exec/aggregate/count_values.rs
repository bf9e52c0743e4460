//! `count_values`: how many series of a group have each value.

use std::sync::Arc;

use async_trait::async_trait;
use hashbrown::HashMap;
use thanos_core::budget::Lease;
use thanos_core::labels::LabelsBuilder;
use thanos_core::text::{FloatFormat, GoFloat};

use super::Groups;
use crate::error::Result;
use crate::exec::bits;
use crate::exec::collect::{HeldTiles, TileCutter};
use crate::exec::context::Context;
use crate::exec::grid::Grid;
use crate::exec::labels::LabelChoice;
use crate::exec::operator::{BoxOperator, Operator};
use crate::exec::tile::{Row, SeriesId, Tile};

/// The number of series for each value, which becomes a label.
#[derive(Debug)]
pub(crate) struct CountValues {
    cx: Arc<Context>,
    input: BoxOperator,
    groups: Groups,
    label: String,
    results: Option<HeldTiles>,
}

/// The counts of one value of one group.
struct Counts {
    values: Vec<f64>,
    valid: Vec<u64>,
}

impl CountValues {
    /// Returns the operator; `choice` applies to the labels with `label` set.
    pub(crate) fn new(
        cx: Arc<Context>,
        input: BoxOperator,
        choice: LabelChoice,
        label: String,
    ) -> Self {
        Self {
            cx,
            input,
            groups: Groups::new(choice),
            label,
            results: None,
        }
    }

    fn add(
        &mut self,
        id: &SeriesId,
        row: Row<'_>,
        counts: &mut Vec<Counts>,
        lease: &mut Lease,
    ) -> Result<()> {
        let mut builder = LabelsBuilder::from_labels(id.labels.as_ref());
        let mut known: HashMap<u64, usize> = HashMap::new();
        for (step, value) in row.iter() {
            let group = if let Some(group) = known.get(&value.to_bits()) {
                *group
            } else {
                let text = GoFloat(value, FloatFormat::Fixed).to_string();
                builder.set(&self.label, &text);
                let with_value = SeriesId {
                    labels: builder.build(),
                    drop_name: id.drop_name,
                };
                let (group, is_new) = self.groups.of(&with_value);
                if is_new {
                    let steps = row.values.len();
                    lease.grow((steps * 9 + self.groups.label_bytes(group)) as u64)?;
                    counts.push(Counts {
                        values: vec![0.0; steps],
                        valid: vec![0; bits::words(steps)],
                    });
                }
                known.insert(value.to_bits(), group);
                group
            };
            counts[group].values[step] += 1.0;
            bits::set(&mut counts[group].valid, step);
        }
        Ok(())
    }

    async fn run(&mut self) -> Result<HeldTiles> {
        let mut counts = Vec::new();
        let mut lease = self.cx.lease(0)?;
        while let Some(tile) = self.input.next().await? {
            for (id, row) in tile.rows() {
                self.add(id, row, &mut counts, &mut lease)?;
            }
        }
        let mut cutter = TileCutter::new(self.input.grid());
        for (id, counts) in std::mem::take(&mut self.groups.ids).into_iter().zip(counts) {
            let row = Row {
                values: &counts.values,
                valid: &counts.valid,
            };
            cutter.push(id, row);
        }
        Ok(HeldTiles::new(cutter.finish(), Some(lease)))
    }
}

#[async_trait]
impl Operator for CountValues {
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
