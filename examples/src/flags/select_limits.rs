//! How much one answer of a component may hold.

use clap::Args;
use thanos_storeapi::limits::SelectLimits;

/// Flags of the limits of a `Series` call.
#[derive(Debug, Clone, Args)]
pub struct SelectLimitFlags {
    /// The maximum series allowed for a single Series request. The Series call fails if this limit is exceeded. 0 means no
    /// limit.
    #[arg(
        id = "store.limits.request-series",
        long = "store.limits.request-series",
        value_name = "N",
        default_value_t = 0
    )]
    series: u64,
    /// The maximum samples allowed for a single Series request, The Series call fails if this limit is exceeded. 0 means no
    /// limit. NOTE: For efficiency the limit is internally implemented as 'chunks limit' considering each chunk contains a
    /// maximum of 120 samples.
    #[arg(
        id = "store.limits.request-samples",
        long = "store.limits.request-samples",
        value_name = "N",
        default_value_t = 0
    )]
    samples: u64,
}

impl SelectLimitFlags {
    /// Returns the limits.
    pub fn limits(&self) -> SelectLimits {
        SelectLimits {
            series: self.series,
            samples: self.samples,
        }
    }
}
