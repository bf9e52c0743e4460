#![expect(
    clippy::single_range_in_vec_init,
    reason = "lists of ranges, some of one"
)]

use proptest::prelude::*;

use super::*;

const KEY: &str = "SP:block:0";

/// Returns the bytes `range` of an object in which the byte at `i` is `i % 251`.
fn object(range: Range<u64>) -> Bytes {
    range.map(|i| u8::try_from(i % 251).unwrap()).collect()
}

fn piece(range: Range<u64>) -> (u64, Bytes) {
    (range.start, object(range))
}

fn page(number: u64, ranges: &[Range<u64>]) -> Page {
    let pieces: Vec<_> = ranges.iter().cloned().map(piece).collect();
    Page::of(number, &pieces, false).unwrap()
}

fn runs_of(page: &Page) -> Vec<Range<usize>> {
    page.all_runs().map(|run| run.in_page).collect()
}

#[test]
fn a_page_takes_its_part_of_a_read() {
    let read = 100..3 * PAGE_BYTES + 5;
    assert_eq!(
        runs_of(&page(0, std::slice::from_ref(&read))),
        [100..PAGE_LEN]
    );
    assert_eq!(
        runs_of(&page(1, std::slice::from_ref(&read))),
        [0..PAGE_LEN]
    );
    assert_eq!(runs_of(&page(3, std::slice::from_ref(&read))), [0..5]);
    assert_eq!(Page::of(4, &[piece(read)], false), None);
    assert_eq!(pages_of(&(0..PAGE_BYTES)), 0..1);
    assert_eq!(pages_of(&(PAGE_BYTES - 1..PAGE_BYTES + 1)), 0..2);
    assert_eq!(pages_of(&(7..7)), 0..0);
}

#[test]
fn runs_that_touch_become_one_and_others_stay_beside_each_other() {
    let merged = |new: &[Range<u64>], older: &[Range<u64>]| page(0, new).merged(&page(0, older));
    assert_eq!(merged(&[10..20], &[20..30]), Some(page(0, &[10..30])));
    assert_eq!(merged(&[15..40], &[10..30]), Some(page(0, &[10..40])));
    assert_eq!(merged(&[12..18], &[10..30]), None);
    assert_eq!(
        merged(&[50..60], &[10..30]),
        Some(page(0, &[10..30, 50..60]))
    );
    let all = page(0, &[1..2, 5..9, 9..12, 100..200]);
    assert_eq!(runs_of(&all), [1..2, 5..12, 100..200]);
}

#[test]
fn the_newer_bytes_win() {
    let newer = Page::of(0, &[(10, Bytes::from_static(b"new"))], false).unwrap();
    let older = Page::of(0, &[(8, Bytes::from_static(b"old bytes"))], false).unwrap();
    let merged = newer.merged(&older).unwrap();
    assert_eq!(merged.get(&(8..17)).unwrap(), "olnewytes");
}

#[test]
fn a_read_past_the_end_of_the_object_is_known_to_be_short() {
    let known = Page::of(0, &[piece(2..4), piece(10..30)], true).unwrap();
    assert_eq!(known.get(&(20..500)), Some(object(20..30)));
    assert_eq!(known.get(&(3..500)), None);
    assert_eq!(known.get(&(2..4)), Some(object(2..4)));
    assert_eq!(page(0, &[10..30]).get(&(20..31)), None);
    assert_eq!(page(0, &[10..30]).get(&(20..30)), Some(object(20..30)));
    // What lies behind shows that it does not end there.
    let longer = page(0, &[30..31]).merged(&known).unwrap();
    assert!(!longer.ends_object());
}

#[test]
fn of_too_many_runs_the_longest_stay() {
    let ranges: Vec<Range<u64>> = (0..=RUNS_MAX as u64)
        .map(|i| i * 20..i * 20 + 2 + i % 3)
        .collect();
    let known = page(0, &ranges);
    assert_eq!(known.run_count(), RUNS_MAX);
    assert_eq!(known.get(&(41..44)), Some(object(41..44)));
    assert_eq!(Page::decode(0, KEY, &known.encode(KEY)).unwrap(), known);
}

/// The layout is what other gateways read, until its version changes.
#[test]
fn the_bytes_of_a_page_stay_as_they_are() {
    let pieces = [
        (3, Bytes::from_static(b"abc")),
        (40, Bytes::from_static(b"z")),
    ];
    let known = Page::of(0, &pieces, true).unwrap();
    let encoded = known.encode("SP:01M81JDC7R8JKP7SEW1VN2HAQ9:0");
    let hex: String = encoded.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "02010200dc988b7e03000300280004006162637a");
}

fn ranges(max: usize) -> impl Strategy<Value = Vec<Range<u64>>> {
    let range =
        (0..PAGE_BYTES, 1_u64..300).prop_map(|(start, len)| start..(start + len).min(PAGE_BYTES));
    proptest::collection::vec(range, 1..max)
}

proptest! {
    #[test]
    fn pages_survive_and_damage_is_found(
        number in 0_u64..1000, ranges in ranges(20), ends: bool, at in any::<prop::sample::Index>(), bit in 0_u8..8
    ) {
        let base = number * PAGE_BYTES;
        let pieces: Vec<_> = ranges.iter().map(|range| piece(base + range.start..base + range.end)).collect();
        let page = Page::of(number, &pieces, ends).unwrap();
        let encoded = page.encode(KEY);
        prop_assert_eq!(&Page::decode(number, KEY, &encoded).unwrap(), &page);
        prop_assert!(Page::decode(number, "SP:block:1", &encoded).is_err(), "the page of another key");
        let at = at.index(encoded.len());
        prop_assert!(Page::decode(number, KEY, &encoded.slice(..at)).is_err());
        let mut damaged = encoded.to_vec();
        damaged[at] ^= 1 << bit;
        prop_assert!(Page::decode(number, KEY, &damaged.into()).is_err());
    }

    #[test]
    fn a_page_knows_what_it_was_told(told in proptest::collection::vec(ranges(8), 1..8), asked in ranges(30)) {
        let mut known: Option<Page> = None;
        let mut is_known = vec![false; PAGE_LEN];
        for ranges in told {
            for range in &ranges {
                is_known[position(range.start)..position(range.end)].fill(true);
            }
            let new = page(0, &ranges);
            known = match known {
                Some(older) => Some(new.merged(&older).unwrap_or(older)),
                None => Some(new),
            };
        }
        let known = known.unwrap();
        for range in asked {
            let all = is_known[position(range.start)..position(range.end)].iter().all(|known| *known);
            prop_assert_eq!(known.get(&range), all.then(|| object(range)));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        head in (1_u8..3, 0_u8..2, 0_u16..4), bytes in proptest::collection::vec(any::<u8>(), 0..64),
        small in proptest::collection::vec(0_u8..3, 0..64),
    ) {
        let (version, flags, count) = head;
        for rest in [bytes, small] {
            let [low, high] = count.to_le_bytes();
            fuzz_page(&[&[version, flags, low, high, 0, 0, 0, 0][..], &rest].concat());
            fuzz_page(&rest);
        }
    }
}
