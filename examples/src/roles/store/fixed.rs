//! Hidden flags of Thanos for sizes that are fixed here.

use clap::Args;
use thanos_core::{Error, Result};

/// Sizes that the reader assumes where a block does not tell, which Thanos lets one tune.
///
/// Here reading adapts to what was found: windows of series grow while they are read, and what was longer than assumed is
/// fetched again and counted. Another value than the default would change nothing, so it is refused.
#[derive(Debug, Clone, Args)]
pub(super) struct FixedFlags {
    /// How many series of a block are fetched at once at most.
    #[arg(
        id = "debug.series-batch-size",
        long = "debug.series-batch-size",
        value_name = "N",
        default_value_t = 10_000,
        hide = true
    )]
    series_batch_size: u64,
    /// How long a series entry is assumed to be where the block does not say.
    #[arg(
        id = "debug.estimated-max-series-size",
        long = "debug.estimated-max-series-size",
        value_name = "BYTES",
        default_value_t = 64 << 10,
        hide = true
    )]
    max_series_size: u64,
    /// How long a chunk is assumed to be where the block does not say.
    #[arg(
        id = "debug.estimated-max-chunk-size",
        long = "debug.estimated-max-chunk-size",
        value_name = "BYTES",
        default_value_t = 16_000,
        hide = true
    )]
    max_chunk_size: u64,
}

impl FixedFlags {
    /// Checks that nothing is asked for that cannot be.
    ///
    /// # Errors
    ///
    /// `Invalid` for another value than the default.
    pub(super) fn validate(&self) -> Result<()> {
        for (flag, value, fixed) in [
            ("debug.series-batch-size", self.series_batch_size, 10_000),
            (
                "debug.estimated-max-series-size",
                self.max_series_size,
                64 << 10,
            ),
            (
                "debug.estimated-max-chunk-size",
                self.max_chunk_size,
                16_000,
            ),
        ] {
            if value != fixed {
                return Err(Error::invalid(format!(
                    "--{flag} {value} is not supported: it is fixed to {fixed}"
                )));
            }
        }
        Ok(())
    }
}
