//! Blocks of Prometheus into a bucket.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Args};
use thanos_bucket::compute::Compute;
use thanos_bucket::layers::BucketMetrics;
use thanos_bucket::ship::{Shipper, ShipperMetrics, ShipperOptions};
use thanos_bucket::transfer::{HashFunc, UploadOptions};
use thanos_core::time::SignedDuration;
use thanos_core::{Error, Result};
use thanos_storeapi::prometheus::{PrometheusFlags, PrometheusServer};
use tokio::time::{MissedTickBehavior, interval};

use crate::flags::{BucketFlags, duration};
use crate::shutdown::Shutdown;

/// How often the database directory is looked through (row SC-17 of the specification).
const SHIP_INTERVAL: Duration = Duration::from_secs(30);
/// The length of blocks that everything is made for.
const BLOCK_DURATION: SignedDuration = SignedDuration::from_millis(2 * 3_600_000);

/// Flags of uploads.
#[derive(Debug, Clone, Args)]
pub(super) struct UploadFlags {
    /// Maximum time to wait for the Prometheus instance to start up.
    #[arg(id = "prometheus.ready_timeout", long = "prometheus.ready_timeout", value_name = "DURATION", default_value = "10m", value_parser = duration)]
    ready_timeout: Duration,
    /// Data directory of TSDB.
    #[arg(
        id = "tsdb.path",
        long = "tsdb.path",
        value_name = "DIR",
        default_value = "./data"
    )]
    tsdb_path: PathBuf,
    #[command(flatten)]
    bucket: BucketFlags,
    /// If true shipper will try to upload compacted blocks as well. Useful for migration purposes. Works only if compaction
    /// is disabled on Prometheus. Do it once and then disable the flag when done.
    #[arg(id = "shipper.upload-compacted", long = "shipper.upload-compacted", action = ArgAction::SetTrue)]
    upload_compacted: bool,
    /// If true shipper will not require prometheus min and max block size flags to be set to the same value.
    #[arg(id = "shipper.ignore-unequal-block-size", long = "shipper.ignore-unequal-block-size", action = ArgAction::SetTrue, hide = true)]
    ignore_unequal_block_size: bool,
    /// If true, shipper will skip failed block uploads in the given iteration and retry later.
    #[arg(id = "shipper.allow-out-of-order-uploads", long = "shipper.allow-out-of-order-uploads", action = ArgAction::SetTrue, hide = true)]
    allow_out_of_order_uploads: bool,
    /// If true, shipper will skip corrupted blocks in the given iteration and retry later.
    #[arg(id = "shipper.skip-corrupted-blocks", long = "shipper.skip-corrupted-blocks", action = ArgAction::SetTrue, hide = true)]
    skip_corrupted_blocks: bool,
    /// Specify which hash function to use when calculating the hashes of produced files. If no function has been
    /// specified, it does not happen. Possible values are: "", "SHA256".
    #[arg(
        id = "hash-func",
        long = "hash-func",
        value_name = "NAME",
        default_value = "",
        value_parser = HashFunc::from_str
    )]
    hash_func: HashFunc,
    /// The file to store shipper metadata in.
    #[arg(
        id = "shipper.meta-file-name",
        long = "shipper.meta-file-name",
        value_name = "NAME",
        default_value = "thanos.shipper.json"
    )]
    meta_file_name: String,
    /// Number of files of a block that are uploaded at once; 0 means the default of the bucket.
    #[arg(
        id = "shipper.upload-concurrency",
        long = "shipper.upload-concurrency",
        value_name = "N",
        default_value_t = 0
    )]
    upload_concurrency: usize,
}

/// What uploads count.
#[derive(Debug, Clone, Default)]
pub(super) struct UploadMetrics {
    pub(super) bucket: BucketMetrics,
    pub(super) shipper: ShipperMetrics,
}

impl UploadFlags {
    /// Opens the bucket, if there is one.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bucket that cannot be used.
    pub(super) fn open(&self, metrics: &UploadMetrics) -> Result<Option<Uploads>> {
        let Some(config) = self.bucket.config_if_any()? else {
            tracing::info!("no supported bucket was configured, uploads will be disabled");
            return Ok(None);
        };
        let bucket = config.open_with(metrics.bucket.clone())?;
        let upload = UploadOptions {
            concurrency: self.upload_concurrency.max(1),
            hash: self.hash_func,
            compute: Compute::per_core(),
            ..UploadOptions::default()
        };
        let options = ShipperOptions {
            record_file: self.meta_file_name.clone(),
            upload_compacted: self.upload_compacted,
            out_of_order_allowed: self.allow_out_of_order_uploads,
            skip_corrupted: self.skip_corrupted_blocks,
            upload,
            metrics: metrics.shipper.clone(),
            ..ShipperOptions::default()
        };
        if let Err(error) = std::fs::read_dir(self.tsdb_path.join("wal")) {
            let path = self.tsdb_path.display();
            tracing::error!(%error, tsdb.path = %path, "no write-ahead log in the data directory; is it that of Prometheus?");
        }
        Ok(Some(Uploads {
            shipper: Shipper::new(bucket, &self.tsdb_path, options),
            record: self.tsdb_path.join(&self.meta_file_name),
            ignores_block_size: self.ignore_unequal_block_size,
            ready_timeout: self.ready_timeout,
        }))
    }
}

/// Blocks on their way into the bucket.
#[derive(Debug)]
pub(super) struct Uploads {
    shipper: Shipper,
    /// The file that says what was uploaded.
    record: PathBuf,
    ignores_block_size: bool,
    /// How long Prometheus may take to tell its external labels (row SC-24).
    pub(super) ready_timeout: Duration,
}

impl Uploads {
    /// Checks that Prometheus leaves its blocks alone until they are uploaded (row SC-16 of the specification).
    ///
    /// # Errors
    ///
    /// `Unavailable` when Prometheus cannot be reached, `Invalid` when its flags are not those that are needed.
    pub(super) async fn check(&self, server: &PrometheusServer) -> Result<()> {
        match server.client().flags().await? {
            Some(flags) => check_flags(&flags, &self.record, self.ignores_block_size),
            None => {
                tracing::warn!(
                    "failed to check Prometheus flags, due to potentially older Prometheus. No extra validation is done"
                );
                Ok(())
            }
        }
    }

    /// Looks through the database directory again and again until `shutdown`.
    ///
    /// # Errors
    ///
    /// None: what cannot be uploaded now is tried again.
    pub(super) async fn keep(self, server: PrometheusServer, shutdown: Shutdown) -> Result<()> {
        let mut ticks = interval(SHIP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.clone().wait() => return Ok(()),
                _ = ticks.tick() => {}
            }
            // The labels may have changed.
            let labels = server.facts().external_labels.clone();
            let shipped = tokio::select! {
                () = shutdown.clone().wait() => return Ok(()),
                shipped = self.shipper.sync(&labels) => shipped,
            };
            if let Err(error) = shipped {
                tracing::warn!(%error, "shipping blocks failed");
            }
        }
    }
}

/// Checks the flags of Prometheus against the file that says what was uploaded.
fn check_flags(flags: &PrometheusFlags, record: &Path, ignores_block_size: bool) -> Result<()> {
    let delay = &flags.delay_compact_file;
    if !delay.is_empty() && plain(Path::new(delay)) != plain(record) {
        return Err(Error::invalid(format!(
            "found that Prometheus and Thanos use different paths for tracking block uploads. Prometheus uses \
             --storage.tsdb.delay-compact-file.path={delay} while Thanos will write to {}, they must both use the same \
             path.",
            record.display()
        )));
    }
    let (min, max) = (flags.min_block_duration, flags.max_block_duration);
    if min != max && delay.is_empty() {
        if !ignores_block_size {
            return Err(Error::invalid(format!(
                "found that TSDB Max time is {} and Min time is {}. Compaction needs to be disabled \
                 (storage.tsdb.min-block-duration = storage.tsdb.max-block-duration)",
                max.prometheus(),
                min.prometheus()
            )));
        }
        tracing::warn!(
            "flag to ignore Prometheus min/max block duration flags differing is being used. If the upload of a 2h block \
             fails and a Prometheus compaction happens that block may be missing from your Thanos bucket storage"
        );
    }
    if min != BLOCK_DURATION {
        let block_time = min.prometheus();
        tracing::warn!(%block_time, "found that TSDB block time is not 2h. Only 2h block time is recommended");
    }
    Ok(())
}

/// Returns a path without `.` and with `..` resolved, by its text alone.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        let is_up = part == Component::ParentDir;
        if is_up && matches!(out.components().next_back(), Some(Component::Normal(_))) {
            out.pop();
        } else if part != Component::CurDir {
            out.push(part);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(min_hours: i64, max_hours: i64, delay_compact_file: &str) -> PrometheusFlags {
        PrometheusFlags {
            tsdb_path: "data".into(),
            min_block_duration: SignedDuration::from_millis(min_hours * 3_600_000),
            max_block_duration: SignedDuration::from_millis(max_hours * 3_600_000),
            delay_compact_file: delay_compact_file.into(),
            admin_api: false,
            lifecycle: false,
        }
    }

    /// SC-16.
    #[test]
    fn prometheus_must_leave_its_blocks_alone() {
        let record = Path::new("/data/./thanos.shipper.json");
        let check = |flags: &PrometheusFlags, ignores| check_flags(flags, record, ignores);
        assert!(check(&flags(2, 2, ""), false).is_ok());
        assert!(check(&flags(1, 1, ""), false).is_ok());
        let error = check(&flags(2, 36, ""), false).unwrap_err().to_string();
        assert!(
            error.contains("TSDB Max time is 1d12h and Min time is 2h"),
            "{error}"
        );
        assert!(check(&flags(2, 36, ""), true).is_ok());
        let same = "/data/x/../thanos.shipper.json";
        assert!(check(&flags(2, 36, same), false).is_ok());
        for ignores in [false, true] {
            let error = check(&flags(2, 2, "/other/thanos.shipper.json"), ignores).unwrap_err();
            assert!(
                error.to_string().contains("must both use the same path"),
                "{error}"
            );
        }
    }
}
