//! `count_values`: how many series of a group have each value.

use std::sync::Arc;

use async_trait::async_trait;
use hashbrown::HashMap;
use thanos_core::budget::Lease;
use thanos_core::histogram::FloatHistogram;
use thanos_core::labels::LabelsBuilder;
use thanos_core::text::{FloatFormat, GoFloat};

use super::Groups;
use crate::error::Result;
use crate::exec::bits;
use crate::exec::context::Context;
use crate::exec::grid::Grid;
use crate::exec::labels::LabelChoice;
use crate::exec::operator::{BoxOperator, Operator};
use crate::exec::tile::{Cell, Row, SeriesId, Tile};

/// The number of series for each value, which becomes a label.
#[derive(Debug)]
pub(crate) struct CountValues {
    cx: Arc<Context>,
    input: BoxOperator,
    groups: Groups,
    label: String,
    results: Option<Results>,
}

/// The results that are not handed on yet.
#[derive(Debug)]
struct Results {
    groups: std::iter::Zip<std::vec::IntoIter<SeriesId>, std::vec::IntoIter<Counts>>,
    _lease: Lease,
}

/// The counts of one value of one group.
#[derive(Debug)]
enum Counts {
    /// (step, count), ascending; many values come at few of the steps only.
    Sparse(Vec<(usize, f64)>),
    Dense {
        values: Vec<f64>,
        valid: Vec<u64>,
    },
}

impl Counts {
    /// Counts one more at `step` of `steps`.
    fn add(&mut self, step: usize, steps: usize) {
        match self {
            Self::Dense { values, valid } => {
                values[step] += 1.0;
                bits::set(valid, step);
            }
            Self::Sparse(pairs) => match pairs.binary_search_by_key(&step, |pair| pair.0) {
                Ok(at) => pairs[at].1 += 1.0,
                Err(at) => {
                    pairs.insert(at, (step, 1.0));
                    if pairs.len() * 2 > steps {
                        *self = Self::dense(pairs, steps);
                    }
                }
            },
        }
    }

    fn dense(pairs: &[(usize, f64)], steps: usize) -> Self {
        let mut values = vec![0.0; steps];
        let mut valid = vec![0; bits::words(steps)];
        for &(step, count) in pairs {
            values[step] = count;
            bits::set(&mut valid, step);
        }
        Self::Dense { values, valid }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Sparse(pairs) => pairs.capacity() * size_of::<(usize, f64)>(),
            Self::Dense { values, valid } => size_of_val(&**values) + size_of_val(&**valid),
        }
    }

    fn append_to(&self, tile: &mut Tile, id: SeriesId) {
        match self {
            Self::Sparse(pairs) => {
                let mut row = tile.push(id);
                pairs.iter().for_each(|&(step, count)| row.set(step, count));
            }
            Self::Dense { values, valid } => tile.push_row(id, Row::floats(values, valid)),
        }
    }
}

/// The counts of all groups, with the lease of their memory.
struct Held {
    counts: Vec<Counts>,
    bytes: usize,
    lease: Lease,
}

impl Held {
    /// How far the lease may lag behind while a row is counted.
    const SLACK_BYTES: usize = 64 * 1024;

    fn add_group(&mut self, label_bytes: usize) {
        // The list of groups may hold twice what it needs.
        self.bytes += label_bytes + 2 * size_of::<Counts>();
        self.counts.push(Counts::Sparse(Vec::new()));
    }

    fn add(&mut self, group: usize, step: usize, steps: usize) -> Result<()> {
        let counts = &mut self.counts[group];
        let before = counts.heap_bytes();
        counts.add(step, steps);
        self.bytes = self.bytes + counts.heap_bytes() - before;
        if (self.bytes as u64).abs_diff(self.lease.bytes()) > Self::SLACK_BYTES as u64 {
            self.settle()?;
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        Ok(self.lease.resize(self.bytes as u64)?)
    }
}

/// What tells values apart inside one row: neighbouring steps often share a histogram.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key {
    Float(u64),
    Histogram(*const FloatHistogram),
}

impl Key {
    fn of(value: Cell<'_>) -> Self {
        match value {
            Cell::Float(value) => Self::Float(value.to_bits()),
            Cell::Histogram(histogram) => Self::Histogram(Arc::as_ptr(histogram)),
        }
    }
}

fn text_of(value: Cell<'_>) -> String {
    match value {
        Cell::Float(value) => GoFloat(value, FloatFormat::Fixed).to_string(),
        Cell::Histogram(histogram) => histogram.to_string(),
    }
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

    fn add(&mut self, id: &SeriesId, row: Row<'_>, held: &mut Held) -> Result<()> {
        let mut builder = LabelsBuilder::from_labels(id.labels.as_ref());
        let mut known: HashMap<Key, usize> = HashMap::new();
        for (step, value) in row.iter() {
            let key = Key::of(value);
            let group = if let Some(group) = known.get(&key) {
                *group
            } else {
                builder.set(&self.label, &text_of(value));
                let (group, is_new) = self.groups.of(&SeriesId::new(builder.build()));
                if is_new {
                    held.add_group(self.groups.label_bytes(group));
                }
                known.insert(key, group);
                group
            };
            held.add(group, step, row.values.len())?;
        }
        held.settle()
    }

    async fn run(&mut self) -> Result<Results> {
        let mut held = Held {
            counts: Vec::new(),
            bytes: 0,
            lease: self.cx.lease(0)?,
        };
        while let Some(tile) = self.input.next().await? {
            for (id, row) in tile.rows() {
                self.add(id, row, &mut held)?;
            }
        }
        let ids = std::mem::take(&mut self.groups.ids);
        Ok(Results {
            groups: ids.into_iter().zip(held.counts),
            _lease: held.lease,
        })
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
        let mut tile = Tile::new(self.grid());
        let groups = self.results.as_mut().map(|results| &mut results.groups);
        for (id, counts) in groups.into_iter().flatten() {
            counts.append_to(&mut tile, id);
            if tile.is_full() {
                break;
            }
        }
        Ok((!tile.is_empty()).then_some(tile))
    }
}
