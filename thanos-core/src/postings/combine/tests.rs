use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::DenseSet;
use super::*;
use crate::encoding::crc;
use crate::error::ErrorKind;

/// A list with its length and its checksum, and some bytes behind it that mean nothing.
fn encoded(references: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let references: Vec<u32> = references.into_iter().collect();
    let count = u32::try_from(references.len()).unwrap();
    let mut content = count.to_be_bytes().to_vec();
    for reference in &references {
        content.extend(reference.to_be_bytes());
    }
    let mut bytes = u32::try_from(content.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(&content);
    bytes.extend(crc::checksum(&content).to_be_bytes());
    bytes.extend([0xAA; 3]);
    bytes
}

type Sets = Vec<Vec<BTreeSet<u32>>>;
type Bytes = Vec<Vec<Vec<u8>>>;

fn encode(groups: &Sets) -> Bytes {
    let list = |set: &BTreeSet<u32>| encoded(set.iter().copied());
    let group = |sets: &Vec<BTreeSet<u32>>| sets.iter().map(list).collect();
    groups.iter().map(group).collect()
}

fn stored<'a>(groups: &'a Bytes) -> Vec<StoredGroup<'a>> {
    let list = |bytes: &'a Vec<u8>| StoredList { bytes, offset: 100 };
    let group = |lists: &'a Vec<Vec<u8>>| lists.iter().map(list).collect();
    groups.iter().map(group).collect()
}

/// Dense and scattered, short and long lists, so that every way to combine them is taken.
fn group_sets() -> impl Strategy<Value = Vec<BTreeSet<u32>>> {
    let list = prop_oneof![
        proptest::collection::btree_set(0_u32..60, 0..40),
        proptest::collection::btree_set(0_u32..3000, 0..400),
        proptest::collection::btree_set(prop_oneof![0_u32..100, any::<u32>()], 0..20),
        (0_u32..200, 1_u32..9, 0_u32..2000)
            .prop_map(|(start, stride, len)| (0..len).map(|at| start + at * stride).collect()),
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
        let (keep, drop) = (encode(&keep), encode(&drop));
        let budget = MemoryBudget::unlimited();
        let combined = combine(&stored(&keep), &stored(&drop), &budget).unwrap();
        prop_assert_eq!(combined.lease.bytes(), 4 * expected.len() as u64);
        prop_assert_eq!(budget.used_bytes(), combined.lease.bytes());
        prop_assert_eq!(combined.series, expected.into_iter().collect::<Vec<_>>());
    }

    /// A set of bits gives what combining the lists gives, in memory that does not depend on them.
    #[test]
    fn dense_sets_are_what_sets_do(
        keep in proptest::collection::btree_set(5_u32..700, 0..300),
        also in proptest::collection::btree_set(5_u32..700, 0..300),
        other in proptest::collection::btree_set(5_u32..700, 0..300),
    ) {
        let budget = MemoryBudget::unlimited();
        let dense = |sets: &[&BTreeSet<u32>]| {
            let mut dense = DenseSet::new(5..=699, &budget).unwrap();
            for set in sets {
                let bytes = encoded(set.iter().copied());
                dense.insert(StoredList { bytes: &bytes, offset: 3 }).unwrap();
            }
            dense
        };
        let mut both = dense(&[&keep]);
        both.intersect(&dense(&[&also, &other]));
        prop_assert_eq!(both.into_series(&budget).unwrap().series, Vec::from_iter(&keep & &(&also | &other)));
        let mut rest = dense(&[&keep, &also]);
        prop_assert_eq!(budget.used_bytes(), DenseSet::bytes_of(&(5..=699)));
        rest.subtract(&dense(&[&other]));
        prop_assert_eq!(rest.into_series(&budget).unwrap().series, Vec::from_iter(&(&keep | &also) - &other));
        prop_assert_eq!(budget.used_bytes(), 0);
    }

    /// A damaged list is an error, wherever it is used.
    #[test]
    fn damage_is_an_error(position in 0_usize..40, bit in 0_u8..8, place in 0_usize..3, others in 1_usize..3) {
        let lists = [vec![1, 2, 3, 4, 9, 11, 12], vec![1, 2, 3], vec![2, 5, 7]];
        let mut groups: Bytes = lists.iter().map(|list| vec![encoded(list.iter().copied()); others]).collect();
        let bytes = &mut groups[place][0];
        let position = position % (bytes.len() - 3);
        bytes[position] ^= 1 << bit;
        let groups = stored(&groups);
        let error = combine(&groups[..2], &groups[2..], &MemoryBudget::unlimited()).unwrap_err();
        prop_assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    /// Whatever is short, the error names the budget and everything is given back.
    #[test]
    fn a_budget_that_is_too_small_is_named(
        keep in proptest::collection::vec(group_sets(), 1..4),
        limit in 0_u64..4000,
    ) {
        let keep = encode(&keep);
        let budget = MemoryBudget::new("request", limit);
        match combine(&stored(&keep), &[], &budget) {
            Ok(combined) => prop_assert!(combined.lease.bytes() <= limit),
            Err(error) => {
                prop_assert_eq!(error.kind(), ErrorKind::LimitExceeded);
                prop_assert!(error.to_string().contains("request limit"), "{}", error);
            }
        }
        prop_assert_eq!(budget.used_bytes(), 0);
    }
}

#[test]
fn a_list_out_of_order_is_an_error() {
    let groups = vec![vec![encoded([1])], vec![encoded([2, 1, 5])]];
    let error = combine(&stored(&groups), &[], &MemoryBudget::unlimited()).unwrap_err();
    assert!(error.to_string().contains("ascend"), "{error}");
}

/// A regex over many values of which each series has one: what it takes is a bitmap, not a sorted copy of all.
#[test]
fn a_union_of_many_dense_lists_takes_little_memory() {
    let lists = 2000_u32;
    let group: Vec<Vec<u8>> = (0..lists)
        .map(|list| encoded((0..100).map(|at| at * lists + list)))
        .collect();
    let budget = MemoryBudget::unlimited();
    let combined = combine(&stored(&vec![group]), &[], &budget).unwrap();
    let count = u64::from(lists) * 100;
    assert_eq!(combined.series.len() as u64, count);
    let (answer, slices, bitmap) = (4 * count, 24 * u64::from(lists), count / 8 + 8);
    assert!(
        budget.peak_bytes() <= answer + slices + bitmap,
        "{} bytes",
        budget.peak_bytes()
    );
}

#[test]
fn a_dense_set_refuses_series_that_cannot_be() {
    let budget = MemoryBudget::new("request", 64);
    let mut set = DenseSet::new(10..=100, &budget).unwrap();
    for references in [[9, 50], [50, 101]] {
        let bytes = encoded(references);
        let list = StoredList {
            bytes: &bytes,
            offset: 7,
        };
        let error = set.insert(list).unwrap_err();
        assert_eq!(
            (error.kind(), error.offset()),
            (ErrorKind::Corrupt, Some(7))
        );
    }
    let error = DenseSet::new(0..=u32::MAX, &budget).unwrap_err();
    assert!(error.to_string().contains("request limit"), "{error}");
}

#[test]
fn the_last_reference_is_no_special_case() {
    let high = || vec![encoded(u32::MAX - 500..=u32::MAX)];
    let pairs = || vec![encoded([0, u32::MAX - 1]), encoded([7, u32::MAX])];
    for groups in [vec![high(), pairs()], vec![pairs(), high()]] {
        let combined = combine(&stored(&groups), &[], &MemoryBudget::unlimited()).unwrap();
        assert_eq!(combined.series, [u32::MAX - 1, u32::MAX]);
    }
}
