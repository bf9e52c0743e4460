//! What a gateway says about itself (row ST-31 of the specification).

use thanos_core::time::TimeRange;
use thanos_storeapi::apis::Offers;
use thanos_storeapi::store::{StoreInfo, TsdbInfo};

use super::Loaded;

/// Returns what the blocks hold of the time in `window`.
pub(super) fn info(loaded: &Loaded, window: TimeRange) -> StoreInfo {
    let served = loaded.blocks.values().map(|block| TsdbInfo {
        external_labels: block.external_labels().clone(),
        range: block.announced_range(),
    });
    // Blocks that cannot be served count, so that a proxy asks and learns that they are missing.
    let failed = loaded.failed.iter().map(|failed| failed.tsdb.clone());
    let clamped = served.chain(failed).filter_map(|tsdb| {
        let range = TimeRange {
            min: tsdb.range.min.max(window.min),
            max: tsdb.range.max.min(window.max),
        };
        (!range.is_empty()).then_some(TsdbInfo { range, ..tsdb })
    });
    StoreInfo {
        component: "store".to_owned(),
        tsdbs: joined(clamped.collect()),
        supports_sharding: true,
        supports_without_replica_labels: true,
        supports_projections: false,
        offers: Offers::default(),
    }
}

/// Joins adjacent and overlapping ranges of the same labels.
fn joined(mut all: Vec<TsdbInfo>) -> Vec<TsdbInfo> {
    all.sort_by(|a, b| {
        a.external_labels
            .cmp(&b.external_labels)
            .then(a.range.min.cmp(&b.range.min))
    });
    let mut tsdbs: Vec<TsdbInfo> = Vec::new();
    for tsdb in all {
        match tsdbs.last_mut() {
            Some(last)
                if last.external_labels == tsdb.external_labels
                    && tsdb.range.min <= last.range.max =>
            {
                last.range.max = last.range.max.max(tsdb.range.max);
            }
            _ => tsdbs.push(tsdb),
        }
    }
    tsdbs
}

#[cfg(test)]
mod tests {
    use thanos_core::labels::Labels;

    use super::*;

    fn tsdb(region: &str, min_ms: i64, max_ms: i64) -> TsdbInfo {
        TsdbInfo {
            external_labels: Labels::from_pairs([("region", region)]),
            range: TimeRange::from_millis(min_ms, max_ms),
        }
    }

    /// ST-31.
    #[test]
    fn ranges_that_touch_are_one_database_and_a_short_one_inside_does_not_end_it() {
        let all = vec![
            tsdb("b", 0, 10),
            tsdb("a", 20, 30),
            tsdb("a", 0, 10),
            tsdb("a", 10, 20),
            tsdb("a", 12, 15),
            tsdb("a", 31, 40),
            tsdb("b", 10, 11),
        ];
        assert_eq!(
            joined(all),
            [tsdb("a", 0, 30), tsdb("a", 31, 40), tsdb("b", 0, 11)]
        );
    }
}
