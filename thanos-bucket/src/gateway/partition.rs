//! Joining many small byte ranges of an object into few requests.
//!
//! Two neighbouring ranges are joined when the gap between them is small, the smallest gaps first:
//!
//! 1. as long as all gaps together stay within an eighth of the wanted bytes (and 4 KiB, which are never worth a
//!    request): what is read is not much more than what is needed;
//! 2. beyond that, only while there would be more requests than this read may make, and within 8 MiB;
//! 3. never over a gap of more than the limit (512 KiB in Thanos, which joins over every smaller one).

use std::ops::Range;

/// Gaps may take one byte for so many wanted ones.
const WASTE_SHARE: u64 = 8;
/// Gaps may take so many bytes however few are wanted.
const WASTE_BYTES_FREE: u64 = 4 << 10;
/// How many bytes of gaps are read for that.
const WASTE_BYTES_MAX: u64 = 8 << 20;

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
    /// Ranges with more unwanted bytes between them are not fetched together.
    pub(crate) gap_bytes_max: u64,
    /// A request is not made longer than this by joining; a single longer range stays whole.
    pub(crate) part_bytes_max: u64,
    /// More requests than this are avoided by reading more.
    pub(crate) parts_max: usize,
}

/// Joins `ranges`, which are sorted by start and may overlap.
pub(crate) fn partition(ranges: &[Range<u64>], options: PartitionOptions) -> Vec<Part> {
    debug_assert!(
        ranges.is_sorted_by_key(|range| range.start),
        "ranges are sorted by start"
    );
    let gap_bytes_max = joined_gap(ranges, options);
    let mut parts: Vec<Part> = Vec::new();
    for (index, range) in ranges.iter().enumerate() {
        if let Some(last) = parts.last_mut() {
            let end = last.range.end.max(range.end);
            let is_near = range.start <= last.range.end.saturating_add(gap_bytes_max);
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

/// Returns the largest gap that is read over.
fn joined_gap(ranges: &[Range<u64>], options: PartitionOptions) -> u64 {
    let (mut gaps, mut wanted, mut end) = (Vec::new(), 0, 0);
    for (index, range) in ranges.iter().enumerate() {
        if index > 0 && range.start > end {
            gaps.push(range.start - end);
        }
        wanted += range.end.saturating_sub(range.start.max(end));
        end = end.max(range.end);
    }
    gaps.sort_unstable();
    let waste_max = (wanted / WASTE_SHARE).max(WASTE_BYTES_FREE);
    let (mut joined, mut waste, mut left) = (0, 0_u64, gaps.len() + 1);
    // Gaps of one length are joined all or none, because the answer is a length.
    for same in gaps.chunk_by(|a, b| a == b) {
        let gap = same[0];
        waste = waste.saturating_add(gap.saturating_mul(same.len() as u64));
        let is_cheap = waste <= waste_max;
        let is_crowded = left > options.parts_max && waste <= WASTE_BYTES_MAX;
        if gap > options.gap_bytes_max || !(is_cheap || is_crowded) {
            break;
        }
        left -= same.len();
        joined = gap;
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPTIONS: PartitionOptions = PartitionOptions {
        gap_bytes_max: 10,
        part_bytes_max: 100,
        parts_max: 128,
    };

    /// ST-19.
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

    const THANOS: PartitionOptions = PartitionOptions {
        gap_bytes_max: 512 << 10,
        part_bytes_max: 16 << 20,
        parts_max: 128,
    };

    fn scattered(count: u64, len: u64, gap: u64) -> Vec<Range<u64>> {
        let starts = (0..count).map(|index| index * (len + gap));
        starts.map(|start| start..start + len).collect()
    }

    fn cost(ranges: &[Range<u64>]) -> (usize, u64) {
        let parts = partition(ranges, THANOS);
        let bytes = parts.iter().map(|part| part.range.end - part.range.start);
        (parts.len(), bytes.sum())
    }

    /// ST-19: gaps are read as far as they are a small share, or save many requests.
    #[test]
    fn waste_is_a_small_share_unless_requests_are_many() {
        assert_eq!(cost(&scattered(100, 200, 15_000)), (100, 100 * 200));
        assert_eq!(cost(&scattered(10, 200, 90)), (1, 10 * 200 + 9 * 90));
        let (parts, bytes) = cost(&scattered(2000, 200, 1000));
        assert!(parts <= 128 && bytes < 2_400_000, "{parts} {bytes}");
        let far = scattered(1000, 200, 600 << 10);
        assert_eq!(cost(&far), (1000, 200_000), "beyond the limit");
        let huge = scattered(10_000, 200, 200 << 10);
        assert_eq!(cost(&huge).1, 2_000_000, "not over too much in sum");
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

        /// What is read is at most 9/8 of what is wanted while there are few ranges.
        #[test]
        fn few_ranges_waste_little(
            steps in proptest::collection::vec((0_u64..100_000, 1_u64..5000), 1..100)
        ) {
            let mut ranges = Vec::new();
            let mut end = 0;
            for (gap, len) in steps {
                ranges.push(end + gap..end + gap + len);
                end += gap + len;
            }
            let wanted: u64 = ranges.iter().map(|range| range.end - range.start).sum();
            let (_, bytes) = cost(&ranges);
            prop_assert!(bytes <= wanted + (wanted / WASTE_SHARE).max(WASTE_BYTES_FREE));
        }
    }
}
