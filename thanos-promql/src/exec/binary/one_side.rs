//! The side of a join that may have only one series for each match, by match group.
//!
//! Several series may share a group as long as they take turns, like those of a restarted process; then they
//! are put together, so that joining costs the same however many there are.

use thanos_core::budget::Lease;

use crate::error::Result;
use crate::exec::bits;
use crate::exec::collect::Block;
use crate::exec::tile::{HistogramRow, Row, RowMut, histogram_bytes};

/// The series of one match group.
#[derive(Debug)]
pub(crate) enum Partners {
    Nobody,
    One(usize),
    Several(Box<Turns>),
}

/// Series that take turns.
#[derive(Debug)]
pub(crate) struct Turns {
    values: Vec<f64>,
    valid: Vec<u64>,
    histograms: HistogramRow,
    /// Whose value it is, where there is one.
    owners: Vec<usize>,
}

impl Turns {
    fn new(series: usize, row: Row<'_>) -> Self {
        Self {
            values: row.values.to_vec(),
            valid: row.valid.to_vec(),
            histograms: row.histograms.to_vec(),
            owners: vec![series; row.values.len()],
        }
    }

    /// Puts in the values of a series where there are none yet.
    fn add(&mut self, series: usize, row: Row<'_>) {
        let mut new = row.valid.to_vec();
        bits::and_not(&mut new, &self.valid);
        bits::ones(&new).for_each(|step| self.owners[step] = series);
        let mut target = RowMut {
            values: &mut self.values,
            valid: &mut self.valid,
            histograms: &mut self.histograms,
        };
        target.merge(Row { valid: &new, ..row });
    }

    pub(crate) fn row(&self) -> Row<'_> {
        Row {
            values: &self.values,
            valid: &self.valid,
            histograms: &self.histograms,
        }
    }

    /// Splits `steps`, at which there is a value, by whose value it is; in the order of the first step.
    pub(crate) fn split(&self, steps: &[u64]) -> Vec<(usize, Vec<u64>)> {
        let mut parts: Vec<(usize, Vec<u64>)> = Vec::new();
        let mut last = 0;
        for step in bits::ones(steps) {
            let owner = self.owners[step];
            if parts.get(last).is_none_or(|part| part.0 != owner) {
                let known = parts.iter().position(|part| part.0 == owner);
                last = known.unwrap_or_else(|| {
                    parts.push((owner, vec![0; steps.len()]));
                    parts.len() - 1
                });
            }
            bits::set(&mut parts[last].1, step);
        }
        parts
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + size_of_val(&*self.values)
            + size_of_val(&*self.valid)
            + size_of_val(&*self.owners)
            + histogram_bytes(&self.histograms)
    }
}

/// The series of the one side by match group.
#[derive(Debug)]
pub(crate) struct OneSide {
    groups: Vec<Partners>,
    /// The first step at which a group has two series.
    pub(crate) first_duplicate: Option<usize>,
    lease: Lease,
}

impl OneSide {
    pub(crate) fn new(lease: Lease) -> Self {
        Self {
            groups: Vec::new(),
            first_duplicate: None,
            lease,
        }
    }

    /// Enters a series; only the steps of `active` matter.
    pub(crate) fn add(
        &mut self,
        group: usize,
        (block, series): (&Block, usize),
        active: &[u64],
    ) -> Result<()> {
        if group >= self.groups.len() {
            self.groups.resize_with(group + 1, || Partners::Nobody);
            self.lease.grow(2 * size_of::<Partners>() as u64)?;
        }
        let row = block.row(series);
        match &mut self.groups[group] {
            Partners::Nobody => self.groups[group] = Partners::One(series),
            Partners::One(first) => {
                let known = block.row(*first);
                note_first(
                    &mut self.first_duplicate,
                    first_common(known.valid, row.valid, active),
                );
                let mut turns = Turns::new(*first, known);
                turns.add(series, row);
                self.lease.grow(turns.memory_bytes() as u64)?;
                self.groups[group] = Partners::Several(Box::new(turns));
            }
            Partners::Several(turns) => {
                note_first(
                    &mut self.first_duplicate,
                    first_common(&turns.valid, row.valid, active),
                );
                turns.add(series, row);
            }
        }
        Ok(())
    }

    /// Returns the series of a group.
    pub(crate) fn partners(&self, group: usize) -> &Partners {
        self.groups.get(group).unwrap_or(&Partners::Nobody)
    }
}

fn note_first(known: &mut Option<usize>, step: Option<usize>) {
    if let Some(step) = step {
        *known = Some(known.map_or(step, |known| known.min(step)));
    }
}

/// Returns the first bit that is set in all three.
fn first_common(a: &[u64], b: &[u64], c: &[u64]) -> Option<usize> {
    let words = a.iter().zip(b).zip(c).map(|((a, b), c)| a & b & c);
    let (index, word) = words.enumerate().find(|(_, word)| *word != 0)?;
    Some(index * 64 + word.trailing_zeros() as usize)
}
