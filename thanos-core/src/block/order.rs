//! The series of a block in the order of labels that they are to have, which may not be the order of their index.
//!
//! Most series stay where they are: only those that move are remembered with their labels.

use std::cmp::Ordering;

use crate::budget::{Lease, MemoryBudget};
use crate::error::Result;
use crate::labels::{Labels, LabelsRef};

/// The bytes of a moved series beside its labels.
const MOVED_BYTES: u64 = 48;
/// The bytes of a series that stays in its place.
const IN_PLACE_BYTES: u64 = 4;
/// How many bytes are leased at once.
const LEASE_STEP_BYTES: u64 = 1 << 20;

/// Gathers the series with the labels that each is to have.
#[derive(Debug)]
pub(crate) struct SeriesOrder {
    /// Series whose new labels ascend.
    in_place: Vec<u32>,
    moved: Vec<(Labels, u32)>,
    /// The labels of the last series in its place.
    last: Vec<u8>,
    bytes: u64,
    lease: Lease,
}

/// The gathered series in their new order.
#[derive(Debug)]
pub(crate) struct OrderedSeries {
    in_place: std::vec::IntoIter<u32>,
    moved: std::iter::Peekable<std::vec::IntoIter<(Labels, u32)>>,
    /// The series in its place that comes next, and its labels.
    head: Option<u32>,
    head_key: Vec<u8>,
    key: Vec<u8>,
    group: Vec<u32>,
    _lease: Lease,
}

impl SeriesOrder {
    pub(crate) fn new(budget: &MemoryBudget) -> Result<Self> {
        Ok(Self {
            in_place: Vec::new(),
            moved: Vec::new(),
            last: Vec::new(),
            bytes: 0,
            lease: budget.lease(0)?,
        })
    }

    /// Adds the next series of the index, which is to have the labels of `key`.
    pub(crate) fn add(&mut self, series: u32, key: &[u8]) -> Result<()> {
        // The key of a label set is never empty, so that the first series comes after this.
        if key > &self.last[..] {
            self.last.clear();
            self.last.extend_from_slice(key);
            self.in_place.push(series);
            return self.take(IN_PLACE_BYTES);
        }
        self.take(MOVED_BYTES + key.len() as u64)?;
        self.moved
            .push((LabelsRef::from_trusted_key(key).to_labels(), series));
        Ok(())
    }

    fn take(&mut self, bytes: u64) -> Result<()> {
        self.bytes += bytes;
        if self.bytes > self.lease.bytes() {
            let wanted = self.bytes.next_multiple_of(LEASE_STEP_BYTES);
            self.lease.resize(wanted)?;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> OrderedSeries {
        self.moved.sort_unstable();
        OrderedSeries {
            in_place: self.in_place.into_iter(),
            moved: self.moved.into_iter().peekable(),
            head: None,
            head_key: Vec::new(),
            key: Vec::new(),
            group: Vec::new(),
            _lease: self.lease,
        }
    }
}

impl OrderedSeries {
    /// Goes to the next label set; `key_of` appends the labels that a series is to have, as they were given to
    /// [`SeriesOrder::add`]. Returns whether there is one.
    pub(crate) fn advance(
        &mut self,
        mut key_of: impl FnMut(u32, &mut Vec<u8>) -> Result<()>,
    ) -> Result<bool> {
        if self.head.is_none() {
            self.head = self.in_place.next();
            self.head_key.clear();
            if let Some(series) = self.head {
                key_of(series, &mut self.head_key)?;
            }
        }
        let order = match (self.head, self.moved.peek()) {
            (None, None) => return Ok(false),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), Some((labels, _))) => self.head_key[..].cmp(labels.key()),
        };
        self.group.clear();
        self.key.clear();
        if order.is_le() {
            std::mem::swap(&mut self.key, &mut self.head_key);
            self.group.extend(self.head.take());
        } else if let Some((labels, _)) = self.moved.peek() {
            self.key.extend_from_slice(labels.key());
        }
        while let Some((_, series)) = self.moved.next_if(|(labels, _)| labels.key() == &self.key) {
            self.group.push(series);
        }
        Ok(true)
    }

    /// Returns the label set.
    pub(crate) fn labels(&self) -> LabelsRef<'_> {
        LabelsRef::from_trusted_key(&self.key)
    }

    /// Returns the series that are to have it, in the order of the index.
    pub(crate) fn group(&self) -> &[u32] {
        &self.group
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;

    fn labels(number: u32) -> Labels {
        Labels::from_pairs([("n", number.to_string())])
    }

    proptest! {
        /// However the new labels lie, each set comes once, in order, with its series in the order of the index.
        #[test]
        fn series_come_in_the_order_of_their_new_labels(new in prop::collection::vec(0_u32..30, 0..60)) {
            let mut order = SeriesOrder::new(&MemoryBudget::unlimited()).unwrap();
            let mut expected: BTreeMap<Labels, Vec<u32>> = BTreeMap::new();
            for (series, number) in (0..).zip(&new) {
                order.add(series, labels(*number).key()).unwrap();
                expected.entry(labels(*number)).or_default().push(series);
            }
            let mut ordered = order.finish();
            let mut found = Vec::new();
            let key_of = |series: u32, key: &mut Vec<u8>| {
                key.extend_from_slice(labels(new[series as usize]).key());
                Ok(())
            };
            while ordered.advance(key_of).unwrap() {
                found.push((ordered.labels().to_labels(), ordered.group().to_vec()));
            }
            prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_memory_of_moved_series_is_leased() {
        let budget = MemoryBudget::new("a test", 1_000);
        let mut order = SeriesOrder::new(&budget).unwrap();
        let error = order.add(1, labels(1).key()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    }
}
