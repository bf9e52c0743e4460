//! Joining many small byte ranges of an object into few requests.

use std::ops::Range;

/// Neighbouring ranges that one request fetches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The bytes of the request.
    pub(crate) range: Range<u64>,
    /// Which of the given ranges lie in it.
    pub(crate) items: Range<usize>,
}

/// How ranges are joined.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PartitionOptions {
    /// Ranges with at most this many unwanted bytes between them are fetched together.
    pub(crate) gap_bytes_max: u64,
    /// A request is not made longer than this by joining; a single longer range stays whole.
    pub(crate) part_bytes_max: u64,
}

/// Joins `ranges`, which are sorted by start and may overlap.
pub(crate) fn partition(ranges: &[Range<u64>], options: PartitionOptions) -> Vec<Part> {
    debug_assert!(
        ranges.is_sorted_by_key(|range| range.start),
        "ranges are sorted by start"
    );
    let mut parts: Vec<Part> = Vec::new();
    for (index, range) in ranges.iter().enumerate() {
        if let Some(last) = parts.last_mut() {
            let end = last.range.end.max(range.end);
            let is_near = range.start <= last.range.end.saturating_add(options.gap_bytes_max);
            if is_near && end - last.range.start <= options.part_bytes_max {
                last.range.end = end;
                last.items.end = index + 1;
                continue;
            }
        }
        parts.push(Part {
            range: range.clone(),
            items: index..index + 1,
        });
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPTIONS: PartitionOptions = PartitionOptions {
        gap_bytes_max: 10,
        part_bytes_max: 100,
    };

    #[test]
    fn near_ranges_are_joined_up_to_the_limit() {
        let ranges = [0..5, 15..20, 31..40, 41..90, 95..105, 300..900, 905..910];
        let parts = partition(&ranges, OPTIONS);
        let shape: Vec<_> = parts
            .iter()
            .map(|part| (part.range.clone(), part.items.clone()))
            .collect();
        assert_eq!(
            shape,
            [
                (0..20, 0..2),
                (31..105, 2..5),
                (300..900, 5..6),
                (905..910, 6..7)
            ]
        );
    }

    proptest! {
        #[test]
        fn every_range_lies_in_its_part(
            mut ranges in proptest::collection::vec((0_u64..500, 0_u64..60), 0..40)
        ) {
            ranges.sort_unstable();
            let ranges: Vec<_> = ranges.into_iter().map(|(start, len)| start..start + len).collect();
            let parts = partition(&ranges, OPTIONS);
            let mut next = 0;
            for part in parts {
                prop_assert_eq!(part.items.start, next);
                next = part.items.end;
                for range in &ranges[part.items.clone()] {
                    prop_assert!(part.range.start <= range.start && range.end <= part.range.end);
                }
                let is_single = part.items.len() == 1;
                prop_assert!(is_single || part.range.end - part.range.start <= OPTIONS.part_bytes_max);
            }
            prop_assert_eq!(next, ranges.len());
        }
    }
}
