//! Flags of the admission of queries.

use clap::Args;
use clap::value_parser;
use thanos_promql::admission::AdmissionLimits;

/// What heavy queries and single tenants may take.
#[derive(Debug, Clone, Args)]
pub struct AdmissionFlags {
    /// Maximum number of heavy queries processed concurrently, beside --query.max-concurrent light ones; 0 is the number
    /// of processors. A query is heavy once it needs more memory than its allowance.
    #[arg(
        id = "query.max-concurrent-heavy",
        long = "query.max-concurrent-heavy",
        value_name = "N",
        default_value_t = 0
    )]
    heavy_max: usize,
    /// Maximum number of heavy queries that wait; more are refused.
    #[arg(
        id = "query.heavy-queue",
        long = "query.heavy-queue",
        value_name = "N",
        default_value_t = 64
    )]
    heavy_queue: usize,
    /// Percentage of --query.memory-limit that is set aside for the allowances of queries, so that light ones are never
    /// refused because of heavy ones.
    #[arg(
        id = "query.memory-allowance",
        long = "query.memory-allowance",
        value_name = "PERCENT",
        default_value_t = 25,
        value_parser = value_parser!(u8).range(0..=100)
    )]
    allowance: u8,
    /// Percentage of the places and of the memory of queries that one tenant may have at once.
    #[arg(
        id = "query.tenant-share",
        long = "query.tenant-share",
        value_name = "PERCENT",
        default_value_t = 100,
        value_parser = value_parser!(u8).range(1..=100)
    )]
    tenant_share: u8,
}

impl AdmissionFlags {
    /// Returns the limits.
    pub fn limits(&self) -> AdmissionLimits {
        let limits = AdmissionLimits::default();
        AdmissionLimits {
            heavy_max: match self.heavy_max {
                0 => limits.heavy_max,
                heavy_max => heavy_max,
            },
            heavy_queue_max: self.heavy_queue,
            allowance_percent: self.allowance,
            tenant_percent: self.tenant_share,
        }
    }
}
