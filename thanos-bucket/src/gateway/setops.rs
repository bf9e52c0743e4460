//! Set operations on postings lists as the index stores them, without decoding more of them than the answer needs.
//!
//! The smallest group of lists is decoded; all others only say which of its series stay. So the memory of an answer is
//! that of its smallest group, however many lists a regex over a million values has.

use bytes::Bytes;
use thanos_core::Result;
use thanos_core::encoding::Cursor;
use thanos_core::postings::{decode_postings, split_postings};

/// A bitmap is used when it takes at most a word for so many references.
const REFERENCES_PER_WORD: usize = 8;
/// How much longer than the candidates a list must be for searching it to beat walking it.
const GALLOP_RATIO: usize = 16;

/// A fetched list and where it lies in the index.
#[derive(Debug, Clone)]
pub(super) struct ListBytes {
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
}

/// Fetched lists of one label: a series belongs to the group when it is in any of them.
#[derive(Debug, Clone, Default)]
pub(super) struct GroupBytes {
    pub(super) lists: Vec<ListBytes>,
}

impl GroupBytes {
    /// Returns how many references there are at most, lists that share series counted twice.
    fn references_max(&self) -> usize {
        let bytes: usize = self.lists.iter().map(|list| list.bytes.len()).sum();
        bytes / size_of::<u32>()
    }

    /// Returns the references of all lists.
    fn decode(&self) -> Result<Vec<u32>> {
        if let [list] = &self.lists[..] {
            let list = split_postings(&list.bytes, list.offset)?;
            return Ok(decode_postings(list)?.into_vec());
        }
        let mut all: Vec<u32> = Vec::with_capacity(self.references_max());
        for list in &self.lists {
            all.extend(Encoded::open(list)?.iter());
        }
        if !all.is_sorted_by(|a, b| a < b) {
            all.sort_unstable();
            all.dedup();
        }
        Ok(all)
    }
}

/// Returns the bytes of memory that [`combine`] takes beside the lists, at most.
pub(super) fn memory_bytes(keep: &[GroupBytes], drop: &[GroupBytes]) -> u64 {
    let smallest = keep.iter().map(GroupBytes::references_max).min();
    let largest = keep.iter().chain(drop).map(GroupBytes::references_max);
    let smallest = smallest.unwrap_or_default();
    // The candidates, a mark for each, and two bitmaps.
    let bitmaps = 2 * 8 * (largest.max().unwrap_or_default() + smallest) / REFERENCES_PER_WORD;
    (smallest * (size_of::<u32>() + 1) + bitmaps) as u64
}

/// Returns the series that are in all groups of `keep` and in none of `drop`; of no groups to keep, none.
///
/// # Errors
///
/// `Corrupt` when a list is damaged.
pub(super) fn combine(mut keep: Vec<GroupBytes>, drop: &[GroupBytes]) -> Result<Vec<u32>> {
    keep.sort_by_key(GroupBytes::references_max);
    let mut groups = keep.iter();
    let Some(smallest) = groups.next() else {
        return Ok(Vec::new());
    };
    let mut candidates = smallest.decode()?;
    for group in groups {
        retain(&mut candidates, group, Side::Keep)?;
    }
    for group in drop {
        retain(&mut candidates, group, Side::Drop)?;
    }
    candidates.shrink_to_fit();
    Ok(candidates)
}

/// Whether those that are in a group stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Keep,
    Drop,
}

/// Keeps the candidates that are in `group`, or that are not.
fn retain(candidates: &mut Vec<u32>, group: &GroupBytes, side: Side) -> Result<()> {
    let (Some(first), Some(last)) = (candidates.first(), candidates.last()) else {
        return Ok(());
    };
    let words = ((last - first) / 64) as usize + 1;
    let references = group.references_max() + candidates.len();
    let is_long = group.lists.len() * candidates.len() * GALLOP_RATIO < group.references_max();
    if !is_long && words <= references / REFERENCES_PER_WORD {
        return retain_by_bitmap(candidates, group, (*first, words), side);
    }
    let mut is_hit = vec![false; candidates.len()];
    for list in &group.lists {
        let list = Encoded::open(list)?;
        if is_long {
            list.mark_by_search(candidates, &mut is_hit);
        } else {
            list.mark_by_walk(candidates, &mut is_hit);
        }
    }
    let mut hits = is_hit.into_iter();
    candidates.retain(|_| hits.next().unwrap_or_default() == (side == Side::Keep));
    Ok(())
}

fn retain_by_bitmap(
    candidates: &mut Vec<u32>,
    group: &GroupBytes,
    (first, words): (u32, usize),
    side: Side,
) -> Result<()> {
    let mut hits = vec![0_u64; words];
    for list in &group.lists {
        for reference in Encoded::open(list)?.iter() {
            // One below the first wraps around to beyond the last.
            let bit = reference.wrapping_sub(first);
            if let Some(word) = hits.get_mut((bit / 64) as usize) {
                *word |= 1 << (bit % 64);
            }
        }
    }
    candidates.retain(|candidate| {
        let bit = candidate - first;
        let is_hit = hits[(bit / 64) as usize] >> (bit % 64) & 1 == 1;
        is_hit == (side == Side::Keep)
    });
    Ok(())
}

/// A list as stored: checked, not decoded.
#[derive(Debug, Clone, Copy)]
struct Encoded<'a> {
    /// Big-endian and strictly ascending.
    references: &'a [[u8; 4]],
}

impl<'a> Encoded<'a> {
    /// Checks what [`decode_postings`] checks.
    fn open(list: &'a ListBytes) -> Result<Self> {
        let section = split_postings(&list.bytes, list.offset)?;
        let mut cursor: Cursor<'a> = section.cursor();
        let count = cursor.be32("number of postings")?;
        let (references, rest) = cursor.rest().as_chunks::<4>();
        if !rest.is_empty() || u32::try_from(references.len()) != Ok(count) {
            return Err(cursor.corrupt(format_args!(
                "postings list of {count} entries has {} bytes",
                cursor.remaining()
            )));
        }
        let next = references.get(1..).unwrap_or_default();
        let pairs = references.iter().zip(next);
        // Big-endian bytes have the order of the numbers. No early exit, so that the compiler can use wide registers.
        let ascends = |ascends: bool, (a, b): (&[u8; 4], &[u8; 4])| {
            ascends & (u32::from_be_bytes(*a) < u32::from_be_bytes(*b))
        };
        if !pairs.fold(true, ascends) {
            return Err(cursor.corrupt("postings do not ascend strictly"));
        }
        Ok(Self { references })
    }

    fn iter(self) -> impl Iterator<Item = u32> + 'a {
        self.references
            .iter()
            .map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// Marks the candidates that are in the list by looking each up, with steps that double.
    fn mark_by_search(self, candidates: &[u32], is_hit: &mut [bool]) {
        let mut rest = self.references;
        for (candidate, is_hit) in candidates.iter().zip(is_hit) {
            let below = |bytes: &[u8; 4]| u32::from_be_bytes(*bytes) < *candidate;
            rest = skip_while(rest, below);
            *is_hit |= rest.first() == Some(&candidate.to_be_bytes());
        }
    }

    /// Marks the candidates that are in the list by walking the list.
    fn mark_by_walk(self, candidates: &[u32], is_hit: &mut [bool]) {
        let mut rest = candidates;
        for reference in self.iter() {
            rest = skip_while(rest, |candidate| *candidate < reference);
            if rest.first() == Some(&reference) {
                is_hit[candidates.len() - rest.len()] = true;
            }
        }
    }
}

/// Drops the items from the front of `list` that satisfy `below`, which none does behind the first that does not.
fn skip_while<T>(list: &[T], below: impl Fn(&T) -> bool) -> &[T] {
    let mut step = 1;
    while list.get(step).is_some_and(&below) {
        step *= 2;
    }
    // The answer lies behind the step before and not behind this one.
    let (low, high) = (step / 2, list.len().min(step + 1));
    let window = list.get(low..high).unwrap_or_default();
    let start = low + window.partition_point(below);
    list.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use thanos_core::encoding::crc;

    use super::*;

    fn encoded(references: &[u32]) -> ListBytes {
        let mut content = u32::try_from(references.len())
            .unwrap()
            .to_be_bytes()
            .to_vec();
        references
            .iter()
            .for_each(|reference| content.extend(reference.to_be_bytes()));
        let mut bytes = u32::try_from(content.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(&content);
        bytes.extend(crc::checksum(&content).to_be_bytes());
        ListBytes {
            offset: 100,
            bytes: bytes.into(),
        }
    }

    fn group(lists: &[BTreeSet<u32>]) -> GroupBytes {
        let list = |set: &BTreeSet<u32>| encoded(&set.iter().copied().collect::<Vec<_>>());
        GroupBytes {
            lists: lists.iter().map(list).collect(),
        }
    }

    /// Dense and scattered, short and long lists, so that every way to combine them is taken.
    fn group_sets() -> impl Strategy<Value = Vec<BTreeSet<u32>>> {
        let list = prop_oneof![
            proptest::collection::btree_set(0_u32..60, 0..40),
            proptest::collection::btree_set(0_u32..3000, 0..400),
            proptest::collection::btree_set(prop_oneof![0_u32..100, any::<u32>()], 0..20),
        ];
        proptest::collection::vec(list, 1..5)
    }

    proptest! {
        #[test]
        fn combining_is_what_sets_do(
            keep in proptest::collection::vec(group_sets(), 0..4),
            drop in proptest::collection::vec(group_sets(), 0..3),
        ) {
            let all = |lists: &[BTreeSet<u32>]| -> BTreeSet<u32> { lists.iter().flatten().copied().collect() };
            let mut expected = keep.first().map(|lists| all(lists)).unwrap_or_default();
            for lists in &keep {
                expected = &expected & &all(lists);
            }
            for lists in &drop {
                expected = &expected - &all(lists);
            }
            let groups = |sets: &[Vec<BTreeSet<u32>>]| -> Vec<GroupBytes> { sets.iter().map(|lists| group(lists)).collect() };
            let (keep, drop) = (groups(&keep), groups(&drop));
            prop_assert!(memory_bytes(&keep, &drop) >= 4 * expected.len() as u64);
            let combined = combine(keep, &drop).unwrap();
            prop_assert_eq!(combined, expected.into_iter().collect::<Vec<_>>());
        }

        /// A damaged list is an error, wherever it is used.
        #[test]
        fn damage_is_an_error(position in 0_usize..40, bit in 0_u8..8, place in 0_usize..3) {
            let lists = [vec![1, 2, 3, 4, 9, 11, 12], vec![1, 2, 3], vec![2, 5, 7]];
            let mut lists: Vec<ListBytes> = lists.iter().map(|list| encoded(list)).collect();
            let mut bytes = lists[place].bytes.to_vec();
            let position = position % bytes.len();
            bytes[position] ^= 1 << bit;
            lists[place].bytes = bytes.into();
            let groups: Vec<GroupBytes> = lists.into_iter().map(|list| GroupBytes { lists: vec![list] }).collect();
            prop_assert!(combine(groups[..2].to_vec(), &groups[2..]).is_err());
        }
    }

    #[test]
    fn a_list_out_of_order_is_an_error() {
        let group = |references: &[u32]| GroupBytes {
            lists: vec![encoded(references)],
        };
        let error = combine(vec![group(&[1]), group(&[2, 1, 5])], &[]).unwrap_err();
        assert!(error.to_string().contains("ascend"), "{error}");
    }
}
