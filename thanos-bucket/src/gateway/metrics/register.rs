//! The names and helps of the metrics: those of Thanos (pkg/store/bucket.go newBucketStoreMetrics), where there are.

use prometheus_client::registry::{Metric, Registry};

use super::{
    BlockMetrics, CompressionMetrics, FetchMetrics, GatewayMetrics, LazyMetrics, SeriesMetrics,
};

impl GatewayMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let gate = "thanos_bucket_store_series_gate_queries";
        self.gate.register(registry, gate, "queries");
        self.start_counting();
        let store = registry.sub_registry_with_prefix("thanos_bucket_store");
        self.blocks.register(store);
        self.series.register(store);
        self.fetches.register(store);
        self.lazy.register(store);
        self.compression.register(store);
    }
}

fn add(store: &mut Registry, name: &str, help: &str, metric: &(impl Metric + Clone)) {
    store.register(name, help, metric.clone());
}

impl BlockMetrics {
    fn register(&self, store: &mut Registry) {
        let help = "Total number of remote block loading attempts";
        add(store, "block_loads", help, &self.loads);
        let help = "Total number of failed remote block loading attempts";
        add(store, "block_load_failures", help, &self.load_failures);
        let help = "Total number of local blocks that were dropped";
        add(store, "block_drops", help, &self.drops);
        let help = "Total number of local blocks that failed to be dropped";
        add(store, "block_drop_failures", help, &self.drop_failures);
        let help = "Number of currently loaded blocks";
        add(store, "blocks_loaded", help, &self.loaded);
        let (name, help) = (
            "blocks_last_loaded_timestamp_seconds",
            "Timestamp when last block got loaded",
        );
        add(store, name, help, &self.last_loaded);
        let help = "The total time taken to load a block in seconds";
        let name = "block_load_duration_seconds";
        add(store, name, help, &self.load_seconds);
    }
}

impl SeriesMetrics {
    fn register(&self, store: &mut Registry) {
        let help =
            "Number of items of a data type touched to fulfill a single Store API series request";
        add(store, "series_data_touched", help, &self.touched);
        let help =
            "Number of items of a data type retrieved to fulfill a single Store API series request";
        add(store, "series_data_fetched", help, &self.fetched);
        let (name, help) = (
            "series_data_size_touched_bytes",
            "Total size of items of a data type touched to fulfill a single Store API series request in Bytes",
        );
        add(store, name, help, &self.touched_bytes);
        let (name, help) = (
            "series_data_size_fetched_bytes",
            "Total size of items of a data type fetched to fulfill a single Store API series request in Bytes",
        );
        add(store, name, help, &self.fetched_bytes);
        let help = "Number of blocks in a bucket store that were touched to satisfy a query";
        add(store, "series_blocks_queried", help, &self.blocks_queried);
        let (name, help) = (
            "series_get_all_duration_seconds",
            "Time it takes until all per-block prepares and loads for a query are finished",
        );
        add(store, name, help, &self.get_all_seconds);
        let (name, help) = (
            "series_merge_duration_seconds",
            "Time it takes to merge sub-results from all queried blocks into a single result",
        );
        add(store, name, help, &self.merge_seconds);
        let help = "Number of series observed in the final result of a query";
        add(store, "series_result_series", help, &self.result_series);
        let help = "Size in bytes of the chunks for the single series, which is adequate to the gRPC message size sent to querier";
        add(store, "sent_chunk_size_bytes", help, &self.sent_chunk_bytes);
        let help = "Size in bytes of the postings for a single series call";
        add(store, "postings_size_bytes", help, &self.postings_bytes);
        let help = "Number of queries that were dropped due to the limit";
        add(store, "queries_dropped", help, &self.dropped);
        let help = "Total number of empty postings when fetching block series";
        add(store, "empty_postings", help, &self.empty_postings);
    }
}

impl FetchMetrics {
    fn register(&self, store: &mut Registry) {
        let help = "Total number of series that were longer than assumed and were fetched again";
        add(store, "series_refetches", help, &self.series_refetches);
        let help = "Total number of chunks that were longer than assumed and were fetched again";
        add(store, "chunk_refetches", help, &self.chunk_refetches);
        let help =
            "Total number of reads that found damaged data and read it again, past all caches";
        add(store, "damaged_reads", help, &self.damaged);
        for (name, family) in [
            ("postings_fetch_duration_seconds", &self.postings_seconds),
            ("series_fetch_duration_seconds", &self.series_seconds),
            ("chunks_fetch_duration_seconds", &self.chunks_seconds),
        ] {
            add(store, name, "The time of one request to the bucket", family);
        }
        for (name, family) in [
            (
                "series_fetch_duration_sum_seconds",
                &self.series_sum_seconds,
            ),
            (
                "chunks_fetch_duration_sum_seconds",
                &self.chunks_sum_seconds,
            ),
        ] {
            let help = "The time of all requests to the bucket of one Store API series request";
            add(store, name, help, family);
        }
    }
}

impl LazyMetrics {
    fn register(&self, store: &mut Registry) {
        let help = "Total number of times when lazy expanded posting optimization applies";
        add(store, "lazy_expanded_postings", help, &self.expanded);
        let help =
            "Total number of posting groups that are marked as lazy and corresponding reason";
        add(store, "lazy_expanded_posting_groups", help, &self.groups);
        let (name, help) = (
            "lazy_expanded_posting_size_bytes",
            "Total number of lazy posting group size in bytes",
        );
        add(store, name, help, &self.group_bytes);
        let (name, help) = (
            "lazy_expanded_posting_series_overfetched_size_bytes",
            "Total number of series size in bytes overfetched due to posting lazy expansion",
        );
        add(store, name, help, &self.overfetched_bytes);
    }
}

impl CompressionMetrics {
    fn register(&self, store: &mut Registry) {
        let help = "Number of postings compressions before storing to index cache";
        add(store, "cached_postings_compressions", help, &self.count);
        let (name, help) = (
            "cached_postings_compression_errors",
            "Number of postings compression errors",
        );
        add(store, name, help, &self.errors);
        let (name, help) = (
            "cached_postings_compression_time_seconds",
            "Time spent compressing postings before storing them into postings cache",
        );
        add(store, name, help, &self.seconds);
        let (name, help) = (
            "cached_postings_original_size_bytes",
            "Original size of postings stored into cache",
        );
        add(store, name, help, &self.original_bytes);
        let (name, help) = (
            "cached_postings_compressed_size_bytes",
            "Compressed size of postings stored into cache",
        );
        add(store, name, help, &self.compressed_bytes);
    }
}
