//! What is counted about the view of a bucket, under Thanos' names (pkg/block/fetcher.go).

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The buckets of Thanos for the duration of a sync.
const SYNC_SECONDS: [f64; 7] = [0.01, 1.0, 10.0, 100.0, 300.0, 600.0, 1000.0];

/// What became of a block at a sync (row 2.4 of the specification).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlockState {
    /// Its `meta.json` is damaged.
    CorruptedMeta,
    /// It has no `meta.json`.
    NoMeta,
    /// It is wanted.
    Loaded,
    /// It is younger than the consistency delay.
    TooFresh,
    /// It could not be read.
    Failed,
    /// Relabelling left none of its labels.
    LabelExcluded,
    /// It lies outside of the time window.
    TimeExcluded,
    /// Other blocks hold its data.
    Duplicate,
    /// It was marked for deletion long enough ago.
    MarkedForDeletion,
    /// It is not to be compacted; such blocks count as loaded too.
    MarkedForNoCompact,
    /// It is not to be downsampled; such blocks count as loaded too.
    MarkedForNoDownsample,
    /// Its meta.json says that it was migrated to Parquet.
    ParquetMigrated,
    /// The Parquet bucket has its data.
    ParquetConverted,
}

impl BlockState {
    /// All states.
    pub const ALL: [Self; 13] = [
        Self::CorruptedMeta,
        Self::NoMeta,
        Self::Loaded,
        Self::TooFresh,
        Self::Failed,
        Self::LabelExcluded,
        Self::TimeExcluded,
        Self::Duplicate,
        Self::MarkedForDeletion,
        Self::MarkedForNoCompact,
        Self::MarkedForNoDownsample,
        Self::ParquetMigrated,
        Self::ParquetConverted,
    ];

    /// Returns the value of the label `state`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CorruptedMeta => "corrupted-meta-json",
            Self::NoMeta => "no-meta-json",
            Self::Loaded => "loaded",
            Self::TooFresh => "too-fresh",
            Self::Failed => "failed",
            Self::LabelExcluded => "label-excluded",
            Self::TimeExcluded => "time-excluded",
            Self::Duplicate => "duplicate",
            Self::MarkedForDeletion => "marked-for-deletion",
            Self::MarkedForNoCompact => "marked-for-no-compact",
            Self::MarkedForNoDownsample => "marked-for-no-downsample",
            Self::ParquetMigrated => "parquet-migrated",
            Self::ParquetConverted => "parquet-converted",
        }
    }
}

/// How many blocks are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateCounts([usize; BlockState::ALL.len()]);

impl StateCounts {
    /// Returns the number of blocks in `state`.
    pub fn get(&self, state: BlockState) -> usize {
        self.0[state as usize]
    }

    /// Counts `blocks` more in `state`.
    pub fn add(&mut self, state: BlockState, blocks: usize) {
        self.0[state as usize] += blocks;
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StateLabel {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ModifiedLabel {
    modified: &'static str,
}

/// The metrics.
#[derive(Debug, Clone)]
pub struct FetchMetrics {
    pub(crate) base_syncs: Counter,
    pub(crate) base_cache_busts: Counter,
    pub(crate) syncs: Counter,
    pub(crate) failures: Counter,
    pub(crate) seconds: Histogram,
    synced: Family<StateLabel, Gauge>,
    modified: Family<ModifiedLabel, Gauge>,
    pub(crate) manifest: Arc<ManifestUse>,
}

/// Whether views come from manifests; ours alone.
#[derive(Debug, Default)]
pub(crate) struct ManifestUse {
    pub(crate) used: Counter,
    pub(crate) ignored: Counter,
    pub(crate) written: Counter,
    pub(crate) write_failures: Counter,
}

impl Default for FetchMetrics {
    fn default() -> Self {
        let metrics = Self {
            base_syncs: Counter::default(),
            base_cache_busts: Counter::default(),
            syncs: Counter::default(),
            failures: Counter::default(),
            seconds: Histogram::new(SYNC_SECONDS),
            synced: Family::default(),
            modified: Family::default(),
            manifest: Arc::default(),
        };
        metrics.set(&StateCounts::default(), 0);
        metrics
    }
}

impl FetchMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let meta = registry.sub_registry_with_prefix("thanos_blocks_meta");
        let help = "Total blocks metadata synchronization attempts by base Fetcher";
        meta.register("base_syncs", help, self.base_syncs.clone());
        let help = "Total blocks metadata cache busts by base Fetcher";
        meta.register("base_cache_busts", help, self.base_cache_busts.clone());
        let help = "Total blocks metadata synchronization attempts";
        meta.register("syncs", help, self.syncs.clone());
        let help = "Total blocks metadata synchronization failures";
        meta.register("sync_failures", help, self.failures.clone());
        let help = "Duration of the blocks metadata synchronization in seconds";
        meta.register("sync_duration_seconds", help, self.seconds.clone());
        let help = "Number of block metadata synced";
        meta.register("synced", help, self.synced.clone());
        let help = "Number of blocks whose metadata changed";
        meta.register("modified", help, self.modified.clone());
        let help = "Total syncs that took the blocks from the bucket's manifest";
        meta.register("manifest_reads", help, self.manifest.used.clone());
        let help = "Total syncs that ignored a manifest because it was damaged or too old";
        meta.register("manifest_ignored", help, self.manifest.ignored.clone());
        let help = "Total manifests of the bucket that were written";
        meta.register("manifest_writes", help, self.manifest.written.clone());
        let help = "Total attempts to write the manifest of the bucket that failed";
        let failures = self.manifest.write_failures.clone();
        meta.register("manifest_write_failures", help, failures);
    }

    /// Shows the outcome of a sync.
    pub(crate) fn set(&self, states: &StateCounts, replica_labels_removed: usize) {
        let gauge = |blocks| i64::try_from(blocks).unwrap_or(i64::MAX);
        for state in BlockState::ALL {
            let label = StateLabel {
                state: state.as_str(),
            };
            self.synced
                .get_or_create(&label)
                .set(gauge(states.get(state)));
        }
        let label = ModifiedLabel {
            modified: "replica-label-removed",
        };
        self.modified
            .get_or_create(&label)
            .set(gauge(replica_labels_removed));
    }
}
