//! What the compactor counts, under Thanos' names (row C-32 of the specification).

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use thanos_core::block::{DeletionMark, Marker, NoCompactMark, no_compact_reason};

use super::group::{GroupKey, Resolution};

/// The buckets of Thanos for the duration of a garbage collection.
const GARBAGE_SECONDS: [f64; 16] = [
    0.01, 0.1, 0.3, 0.6, 1.0, 3.0, 6.0, 9.0, 20.0, 30.0, 60.0, 90.0, 120.0, 240.0, 360.0, 720.0,
];
/// The buckets of Thanos for the duration of a downsampling.
const DOWNSAMPLE_SECONDS: [f64; 7] = [60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0];

type FloatGauge = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResolutionLabel {
    resolution: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MarkLabels {
    marker: &'static str,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GroupLabels {
    group: String,
    resolution: String,
}

/// The metrics.
#[derive(Debug, Clone)]
pub struct CompactMetrics {
    pub(super) halted: Gauge,
    pub(super) retries: Counter,
    pub(super) iterations: Counter,
    pub(super) cleanups: Counter,
    pub(super) partial_deletions: Counter,
    pub(super) blocks_cleaned: Counter,
    pub(super) cleanup_failures: Counter,
    marked: Family<MarkLabels, Counter>,
    pub(super) garbage_blocks: Counter,
    pub(super) garbage_collections: Counter,
    pub(super) garbage_failures: Counter,
    pub(super) garbage_seconds: Histogram,
    compactions: Family<ResolutionLabel, Counter>,
    runs_started: Family<ResolutionLabel, Counter>,
    runs_completed: Family<ResolutionLabel, Counter>,
    failures: Family<ResolutionLabel, Counter>,
    vertical: Family<ResolutionLabel, Counter>,
    downsamples: Family<ResolutionLabel, Counter>,
    downsample_failures: Family<ResolutionLabel, Counter>,
    downsample_seconds: Family<ResolutionLabel, Histogram, fn() -> Histogram>,
    pub(super) todo: TodoGauges,
    /// Blocks past their retention that are the only copy of data that is still to be kept.
    pub(super) retention_kept: Gauge,
    /// `--delete-delay`, in seconds.
    pub delete_delay_seconds: FloatGauge,
    /// `--consistency-delay`, in seconds.
    pub consistency_delay_seconds: FloatGauge,
}

/// How much there is to do.
#[derive(Debug, Clone, Default)]
pub(super) struct TodoGauges {
    pub(super) compactions: Gauge,
    pub(super) compaction_blocks: Gauge,
    pub(super) downsample_blocks: Gauge,
    pub(super) deletion_blocks: Gauge,
    oldest_seconds: FloatGauge,
    group_oldest_seconds: Family<GroupLabels, FloatGauge>,
}

/// What is counted of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GroupEvent {
    /// Somebody began to look at it.
    RunStarted,
    /// That ended without an error, with or without a compaction.
    RunCompleted,
    /// That ended with an error.
    Failed,
    /// Blocks became one.
    Compacted,
    /// Blocks that overlapped became one.
    CompactedVertically,
}

impl Default for CompactMetrics {
    fn default() -> Self {
        let metrics = Self {
            halted: Gauge::default(),
            retries: Counter::default(),
            iterations: Counter::default(),
            cleanups: Counter::default(),
            partial_deletions: Counter::default(),
            blocks_cleaned: Counter::default(),
            cleanup_failures: Counter::default(),
            marked: Family::default(),
            garbage_blocks: Counter::default(),
            garbage_collections: Counter::default(),
            garbage_failures: Counter::default(),
            garbage_seconds: Histogram::new(GARBAGE_SECONDS),
            compactions: Family::default(),
            runs_started: Family::default(),
            runs_completed: Family::default(),
            failures: Family::default(),
            vertical: Family::default(),
            downsamples: Family::default(),
            downsample_failures: Family::default(),
            downsample_seconds: Family::new_with_constructor(|| Histogram::new(DOWNSAMPLE_SECONDS)),
            todo: TodoGauges::default(),
            retention_kept: Gauge::default(),
            delete_delay_seconds: FloatGauge::default(),
            consistency_delay_seconds: FloatGauge::default(),
        };
        for reason in [
            no_compact_reason::OUT_OF_ORDER_CHUNK,
            no_compact_reason::INDEX_SIZE_EXCEEDING,
        ] {
            metrics.marked(NoCompactMark::FILE, reason, 0);
        }
        metrics.marked(DeletionMark::FILE, "", 0);
        metrics
    }
}

impl CompactMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        self.register_settings(registry);
        let registry = registry.sub_registry_with_prefix("thanos_compact");
        self.register_loop(registry);
        self.register_cleaning(registry);
        self.register_groups(registry);
        self.register_downsampling(registry);
        self.todo.register(registry);
    }

    fn register_settings(&self, registry: &mut Registry) {
        registry.register(
            "thanos_delete_delay_seconds",
            "Configured delete delay in seconds",
            self.delete_delay_seconds.clone(),
        );
        registry.register(
            "thanos_consistency_delay_seconds",
            "Configured consistency delay in seconds",
            self.consistency_delay_seconds.clone(),
        );
    }

    fn register_loop(&self, registry: &mut Registry) {
        let help = "Set to 1 if the compactor halted due to an unexpected error; stays 0, since bad blocks are put aside";
        registry.register("halted", help, self.halted.clone());
        let help = "Total number of retries after retriable compactor error";
        registry.register("retries", help, self.retries.clone());
        let help = "Total number of iterations that were executed successfully";
        registry.register("iterations", help, self.iterations.clone());
    }

    fn register_cleaning(&self, registry: &mut Registry) {
        let help = "Total number of concurrent cleanup loops of partially uploaded blocks and marked blocks that were executed successfully";
        registry.register("block_cleanup_loops", help, self.cleanups.clone());
        let help = "Total number of started deletions of blocks that are assumed aborted and only partially uploaded";
        let name = "aborted_partial_uploads_deletion_attempts";
        registry.register(name, help, self.partial_deletions.clone());
        let help = "Total number of blocks deleted in compactor";
        registry.register("blocks_cleaned", help, self.blocks_cleaned.clone());
        let help = "Failures encountered while deleting blocks in compactor";
        registry.register(
            "block_cleanup_failures",
            help,
            self.cleanup_failures.clone(),
        );
        let help = "Total number of blocks marked in compactor";
        registry.register("blocks_marked", help, self.marked.clone());
        let help = "Total number of blocks marked for deletion by compactor";
        registry.register(
            "garbage_collected_blocks",
            help,
            self.garbage_blocks.clone(),
        );
        let help = "Total number of garbage collection operations";
        registry.register("garbage_collection", help, self.garbage_collections.clone());
        let help = "Total number of failed garbage collection operations";
        let failures = self.garbage_failures.clone();
        registry.register("garbage_collection_failures", help, failures);
        let help = "Time it took to perform garbage collection iteration";
        let seconds = self.garbage_seconds.clone();
        registry.register("garbage_collection_duration_seconds", help, seconds);
        let help = "Number of blocks past their retention that are kept because no coarser block has their data yet";
        registry.register("retention_kept_blocks", help, self.retention_kept.clone());
    }

    fn register_groups(&self, registry: &mut Registry) {
        let help = "Total number of group compaction attempts that resulted in a new block";
        registry.register("group_compactions", help, self.compactions.clone());
        let help = "Total number of group compaction attempts";
        let name = "group_compaction_runs_started";
        registry.register(name, help, self.runs_started.clone());
        let help = "Total number of group completed compaction runs, also of those that resulted in no compaction";
        let name = "group_compaction_runs_completed";
        registry.register(name, help, self.runs_completed.clone());
        let help = "Total number of failed group compactions";
        registry.register("group_compactions_failures", help, self.failures.clone());
        let help = "Total number of group compaction attempts that resulted in a new block based on overlapping blocks";
        registry.register("group_vertical_compactions", help, self.vertical.clone());
    }

    fn register_downsampling(&self, registry: &mut Registry) {
        let help = "Total number of downsampling attempts";
        registry.register("downsample", help, self.downsamples.clone());
        let help = "Total number of failed downsampling attempts";
        registry.register(
            "downsample_failures",
            help,
            self.downsample_failures.clone(),
        );
        let help = "Duration of downsample runs";
        let seconds = self.downsample_seconds.clone();
        registry.register("downsample_duration_seconds", help, seconds);
    }

    /// Counts `blocks` that were given the marker `file`, for `reason` when it is not one of deletion.
    pub fn marked(&self, file: &'static str, reason: &str, blocks: u64) {
        let labels = MarkLabels {
            marker: file,
            reason: reason.to_owned(),
        };
        self.marked.get_or_create(&labels).inc_by(blocks);
    }

    /// Counts what happens to a group.
    pub(super) fn group(&self, key: GroupKey, event: GroupEvent) {
        let family = match event {
            GroupEvent::RunStarted => &self.runs_started,
            GroupEvent::RunCompleted => &self.runs_completed,
            GroupEvent::Failed => &self.failures,
            GroupEvent::Compacted => &self.compactions,
            GroupEvent::CompactedVertically => &self.vertical,
        };
        family.get_or_create(&resolution(key.resolution())).inc();
    }

    /// Shows all counters of groups of this resolution, before anything happens to one.
    pub(super) fn show_group(&self, key: GroupKey) {
        let label = resolution(key.resolution());
        for family in [
            &self.runs_started,
            &self.runs_completed,
            &self.failures,
            &self.compactions,
            &self.vertical,
        ] {
            drop(family.get_or_create(&label));
        }
    }

    /// Shows the counters of downsampling blocks of this resolution, before anything happens to one.
    pub(super) fn show_downsampling(&self, from: Resolution) {
        drop(self.downsamples.get_or_create(&resolution(from)));
        drop(self.downsample_failures.get_or_create(&resolution(from)));
    }

    /// Counts one downsampling of a block of resolution `from`, which took this long if it worked.
    pub(super) fn downsampled(&self, from: Resolution, seconds: Option<f64>) {
        let label = resolution(from);
        self.downsamples.get_or_create(&label).inc();
        match seconds {
            Some(seconds) => self
                .downsample_seconds
                .get_or_create(&label)
                .observe(seconds),
            None => {
                self.downsample_failures.get_or_create(&label).inc();
            }
        }
    }
}

impl TodoGauges {
    fn register(&self, registry: &mut Registry) {
        let help = "number of compactions to be done";
        registry.register("todo_compactions", help, self.compactions.clone());
        let help = "number of blocks planned to be compacted";
        registry.register(
            "todo_compaction_blocks",
            help,
            self.compaction_blocks.clone(),
        );
        let help = "number of blocks to be downsampled";
        registry.register(
            "todo_downsample_blocks",
            help,
            self.downsample_blocks.clone(),
        );
        let help = "number of blocks that have crossed their retention period";
        registry.register("todo_deletion_blocks", help, self.deletion_blocks.clone());
        let help = "Age of the oldest data that could be compacted and is not, in all groups; 0 when there is none";
        let name = "oldest_uncompacted_age_seconds";
        registry.register(name, help, self.oldest_seconds.clone());
        let help = "Age of the oldest data of a group that could be compacted and is not";
        let name = "group_oldest_uncompacted_age_seconds";
        registry.register(name, help, self.group_oldest_seconds.clone());
    }

    /// Shows for each group with work the age of its oldest data that waits, in seconds.
    pub(super) fn set_oldest(&self, ages: &[(GroupKey, f64)]) {
        self.group_oldest_seconds.clear();
        for (key, seconds) in ages {
            let labels = GroupLabels {
                group: key.to_string(),
                resolution: key.resolution().to_string(),
            };
            self.group_oldest_seconds
                .get_or_create(&labels)
                .set(*seconds);
        }
        let oldest = ages.iter().map(|(_, seconds)| *seconds);
        self.oldest_seconds.set(oldest.fold(0.0, f64::max));
    }
}

fn resolution(resolution: Resolution) -> ResolutionLabel {
    ResolutionLabel {
        resolution: resolution.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C-32: the names and labels of Thanos, shown before anything happened.
    #[test]
    fn metrics_have_the_names_of_thanos() {
        let metrics = CompactMetrics::default();
        let key = GroupKey {
            resolution_ms: 0,
            labels_hash: 7,
        };
        metrics.show_group(key);
        metrics.group(key, GroupEvent::CompactedVertically);
        metrics.show_downsampling(Resolution::FIVE_MINUTES);
        metrics.downsampled(Resolution::RAW, Some(61.0));
        metrics.downsampled(Resolution::RAW, None);
        metrics.todo.set_oldest(&[(key, 3.0), (key, 5.0)]);
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "thanos_compact_halted 0",
            "thanos_compact_retries_total 0",
            "thanos_compact_iterations_total 0",
            "thanos_compact_block_cleanup_loops_total 0",
            "thanos_compact_aborted_partial_uploads_deletion_attempts_total 0",
            "thanos_compact_blocks_cleaned_total 0",
            "thanos_compact_block_cleanup_failures_total 0",
            "thanos_compact_blocks_marked_total{marker=\"deletion-mark.json\",reason=\"\"} 0",
            "thanos_compact_blocks_marked_total{marker=\"no-compact-mark.json\",reason=\"index-size-exceeding\"} 0",
            "thanos_compact_garbage_collected_blocks_total 0",
            "thanos_compact_garbage_collection_total 0",
            "thanos_compact_garbage_collection_failures_total 0",
            "thanos_compact_garbage_collection_duration_seconds_count 0",
            "thanos_compact_group_compactions_total{resolution=\"0\"} 0",
            "thanos_compact_group_compactions_failures_total{resolution=\"0\"} 0",
            "thanos_compact_group_compaction_runs_started_total{resolution=\"0\"} 0",
            "thanos_compact_group_compaction_runs_completed_total{resolution=\"0\"} 0",
            "thanos_compact_group_vertical_compactions_total{resolution=\"0\"} 1",
            "thanos_compact_downsample_total{resolution=\"0\"} 2",
            "thanos_compact_downsample_total{resolution=\"300000\"} 0",
            "thanos_compact_downsample_failures_total{resolution=\"0\"} 1",
            "thanos_compact_downsample_duration_seconds_count{resolution=\"0\"} 1",
            "thanos_compact_todo_compactions 0",
            "thanos_compact_todo_compaction_blocks 0",
            "thanos_compact_todo_downsample_blocks 0",
            "thanos_compact_todo_deletion_blocks 0",
            "thanos_compact_oldest_uncompacted_age_seconds 5.0",
            "thanos_delete_delay_seconds 0.0",
            "thanos_consistency_delay_seconds 0.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
