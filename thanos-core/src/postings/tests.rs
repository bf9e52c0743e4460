use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::encoding::Section;
use crate::error::ErrorKind;

/// Sets of all densities: a stride of 1 gives dense lists, a large one sparse lists with gaps.
fn model() -> impl Strategy<Value = BTreeSet<u32>> {
    let dense = proptest::collection::btree_set(0_u32..600, 0..400);
    let runs = (0_u32..100_000, 1_u32..70, 0_u32..5000)
        .prop_map(|(start, stride, len)| (0..len).map(|i| start + i * stride).collect());
    let sparse = proptest::collection::btree_set(any::<u32>(), 0..80);
    prop_oneof![dense, runs, sparse]
}

/// The set in either form.
fn postings(model: &BTreeSet<u32>, as_bitmap: bool) -> Postings {
    if as_bitmap {
        return model.iter().copied().collect::<RoaringBitmap>().into();
    }
    Postings::from_sorted(model.iter().copied().collect())
}

fn forms() -> impl Strategy<Value = Vec<(BTreeSet<u32>, bool)>> {
    proptest::collection::vec((model(), any::<bool>()), 0..5)
}

fn build(forms: &[(BTreeSet<u32>, bool)]) -> Vec<Postings> {
    let built = forms
        .iter()
        .map(|(model, as_bitmap)| postings(model, *as_bitmap));
    built.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn intersection_equals_the_model(sets in forms()) {
        let expected = sets.iter().map(|(model, _)| model.clone()).reduce(|a, b| &a & &b);
        let found = Postings::intersect(&build(&sets)).into_vec();
        prop_assert_eq!(found, Vec::from_iter(expected.unwrap_or_default()));
    }

    #[test]
    fn union_equals_the_model(sets in forms()) {
        let expected: BTreeSet<u32> = sets.iter().flat_map(|(model, _)| model).copied().collect();
        let found = Postings::union(build(&sets));
        prop_assert_eq!(found.len(), expected.len());
        prop_assert_eq!(found.into_vec(), Vec::from_iter(expected));
    }

    #[test]
    fn difference_equals_the_model(a in model(), b in model(), forms in any::<[bool; 2]>()) {
        let disjoint = postings(&a, forms[0]).is_disjoint(&postings(&b, forms[1]));
        prop_assert_eq!(disjoint, a.is_disjoint(&b));
        let found = postings(&a, forms[0]).subtract(&postings(&b, forms[1]));
        prop_assert_eq!(found.into_vec(), Vec::from_iter(&a - &b));
    }

    /// A short set beside a long one takes the searching paths.
    #[test]
    fn short_sets_equal_the_model(
        picks in proptest::collection::btree_set(0_u32..200_000, 0..20),
        start in 0_u32..1000,
        stride in 1_u32..200,
        forms in any::<[bool; 2]>(),
    ) {
        let long: BTreeSet<u32> = (0..3000).map(|i| start + i * stride).collect();
        let (a, b) = (postings(&picks, forms[0]), postings(&long, forms[1]));
        let both = Postings::intersect([&a, &b]);
        prop_assert_eq!(both.into_vec(), Vec::from_iter(&picks & &long));
        prop_assert_eq!(a.clone().subtract(&b).into_vec(), Vec::from_iter(&picks - &long));
        prop_assert_eq!(b.subtract(&a).into_vec(), Vec::from_iter(&long - &picks));
    }

    #[test]
    fn the_form_does_not_show(model in model(), probe in any::<u32>()) {
        let (list, bitmap) = (postings(&model, false), postings(&model, true));
        prop_assert_eq!(&list, &bitmap);
        prop_assert_eq!(list.contains(probe), model.contains(&probe));
        prop_assert_eq!(bitmap.contains(probe), model.contains(&probe));
        let compacted = list.clone().compacted();
        prop_assert!(compacted.memory_bytes() <= model.len() * 4);
        prop_assert_eq!(compacted, bitmap);
    }

    #[test]
    fn lists_survive_the_file(model in model()) {
        let mut content = u32::try_from(model.len()).unwrap().to_be_bytes().to_vec();
        content.extend(model.iter().flat_map(|reference| reference.to_be_bytes()));
        let section = Section { content: &content, offset: 4 };
        prop_assert_eq!(decode_postings(section).unwrap(), postings(&model, false));
    }

    #[test]
    fn any_list_never_panics(content in proptest::collection::vec(any::<u8>(), 0..40)) {
        let _ = decode_postings(Section { content: &content, offset: 4 });
        let _ = split_postings(&content, 4);
    }
}

#[test]
fn lists_that_contradict_themselves_are_corrupt() {
    let table: [(&str, &[u8]); 5] = [
        ("no number", &[0, 0, 0]),
        ("one entry too few", &[0, 0, 0, 2, 0, 0, 0, 1]),
        ("half an entry", &[0, 0, 0, 1, 0, 0, 0, 1, 0]),
        ("a repeated entry", &[0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1]),
        ("a falling entry", &[0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 1]),
    ];
    for (what, content) in table {
        let error = decode_postings(Section { content, offset: 4 }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}");
        assert!(error.offset().is_some(), "{what}");
    }
}

#[test]
fn the_last_reference_is_no_special_case() {
    let high = Postings::from_sorted((u32::MAX - 100..=u32::MAX).collect());
    let both = Postings::intersect([&high, &high]);
    assert_eq!(both, high);
    assert_eq!(Postings::union(vec![high.clone(), both]), high);
    assert!(high.clone().subtract(&high).is_empty());
}

#[test]
#[should_panic(expected = "postings do not ascend strictly")]
fn an_unsorted_list_is_a_bug_of_the_caller() {
    let _ = Postings::from_sorted(vec![2, 1]);
}
