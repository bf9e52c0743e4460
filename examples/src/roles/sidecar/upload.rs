//! Blocks of Prometheus into a bucket.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use thanos_core::{Error, Result};

use crate::flags::{content, duration};

/// Flags of uploads.
#[derive(Debug, Clone, Args)]
pub(super) struct UploadFlags {
    /// Maximum time to wait for the Prometheus instance to start up.
    #[arg(id = "prometheus.ready_timeout", long = "prometheus.ready_timeout", value_name = "DURATION", default_value = "10m", value_parser = duration)]
    _ready_timeout: Duration,
    /// Data directory of TSDB.
    #[arg(
        id = "tsdb.path",
        long = "tsdb.path",
        value_name = "DIR",
        default_value = "./data"
    )]
    _tsdb_path: PathBuf,
    /// Path to the YAML file that says which bucket to use and how: not supported.
    #[arg(
        id = "objstore.config-file",
        long = "objstore.config-file",
        value_name = "FILE"
    )]
    config_file: Option<PathBuf>,
    /// The same YAML itself: not supported.
    #[arg(
        id = "objstore.config",
        long = "objstore.config",
        value_name = "CONTENT"
    )]
    config: Option<String>,
    /// If true shipper will try to upload compacted blocks as well. Useful for migration purposes. Works only if compaction
    /// is disabled on Prometheus. Do it once and then disable the flag when done.
    #[arg(id = "shipper.upload-compacted", long = "shipper.upload-compacted", action = ArgAction::SetTrue)]
    _upload_compacted: bool,
    /// If true shipper will not require prometheus min and max block size flags to be set to the same value.
    #[arg(id = "shipper.ignore-unequal-block-size", long = "shipper.ignore-unequal-block-size", action = ArgAction::SetTrue, hide = true)]
    _ignore_unequal_block_size: bool,
    /// If true, shipper will skip failed block uploads in the given iteration and retry later.
    #[arg(id = "shipper.allow-out-of-order-uploads", long = "shipper.allow-out-of-order-uploads", action = ArgAction::SetTrue, hide = true)]
    _allow_out_of_order_uploads: bool,
    /// If true, shipper will skip corrupted blocks in the given iteration and retry later.
    #[arg(id = "shipper.skip-corrupted-blocks", long = "shipper.skip-corrupted-blocks", action = ArgAction::SetTrue, hide = true)]
    _skip_corrupted_blocks: bool,
    /// Specify which hash function to use when calculating the hashes of produced files. If no function has been
    /// specified, it does not happen. Possible values are: "", "SHA256".
    #[arg(
        id = "hash-func",
        long = "hash-func",
        value_name = "NAME",
        default_value = "",
        value_parser = ["", "SHA256"]
    )]
    _hash_func: String,
    /// The file to store shipper metadata in.
    #[arg(
        id = "shipper.meta-file-name",
        long = "shipper.meta-file-name",
        value_name = "NAME",
        default_value = "thanos.shipper.json"
    )]
    _meta_file_name: String,
    /// Number of files of a block that are uploaded at once; 0 means the default of the bucket.
    #[arg(
        id = "shipper.upload-concurrency",
        long = "shipper.upload-concurrency",
        value_name = "N",
        default_value_t = 0
    )]
    _upload_concurrency: usize,
}

impl UploadFlags {
    /// Checks that nothing is asked for that is not there.
    ///
    /// # Errors
    ///
    /// `Invalid` when there is a bucket.
    pub(super) fn validate(&self) -> Result<()> {
        match content("objstore.config", &self.config, &self.config_file)? {
            Some(_) => Err(Error::invalid(
                "--objstore.config: uploads are not supported",
            )),
            None => {
                tracing::info!("no supported bucket was configured, uploads will be disabled");
                Ok(())
            }
        }
    }
}
