//! Flags of the block viewer.

use clap::{ArgAction, Args};
use thanos_bucket::Bucket;
use thanos_bucket::compute::Compute;
use thanos_bucket::http::{AdminOperations, BlockViewer, Cors, View, ViewerOptions};

/// The block viewer of a role.
#[derive(Debug, Clone, Args)]
pub struct ViewerFlags {
    /// Serve neither the block viewer's page nor its API.
    #[arg(id = "web.disable", long = "web.disable", action = ArgAction::SetTrue)]
    disable: bool,
    /// What stands before all links of the block viewer, for reverse proxies that strip a path. The page itself is still
    /// served at /.
    #[arg(
        id = "web.external-prefix",
        long = "web.external-prefix",
        value_name = "PATH",
        default_value = ""
    )]
    external_prefix: String,
    /// The request header that says what stands before the links; ignored with --web.external-prefix. Name one only if the
    /// proxy in front sets it anew, such as X-Forwarded-Prefix of Traefik.
    #[arg(
        id = "web.prefix-header",
        long = "web.prefix-header",
        value_name = "HEADER",
        default_value = ""
    )]
    prefix_header: String,
    /// Send no CORS headers; by default pages of every origin may ask.
    #[arg(id = "web.disable-cors", long = "web.disable-cors", action = ArgAction::SetTrue)]
    disable_cors: bool,
    /// The external label by which the block viewer groups blocks.
    #[arg(
        id = "bucket-web-label",
        long = "bucket-web-label",
        value_name = "LABEL",
        default_value = ""
    )]
    label: String,
    /// Refuse to mark blocks through the block viewer.
    #[arg(id = "disable-admin-operations", long = "disable-admin-operations", action = ArgAction::SetTrue)]
    disable_admin_operations: bool,
}

impl ViewerFlags {
    /// Returns who may ask from pages of other origins.
    pub fn cors(&self) -> thanos_promql::http::Cors {
        match self.disable_cors {
            true => thanos_promql::http::Cors::Off,
            false => thanos_promql::http::Cors::Any,
        }
    }

    /// Returns the block viewer over `bucket`, unless it is disabled.
    pub fn viewer(&self, bucket: Bucket, compute: Compute) -> Option<BlockViewer> {
        self.viewer_at(bucket, compute, View::Loaded)
    }

    /// Returns the same with a page at `/` that shows `home`.
    pub fn viewer_at(&self, bucket: Bucket, compute: Compute, home: View) -> Option<BlockViewer> {
        let options = ViewerOptions {
            label: self.label.clone(),
            admin_operations: if self.disable_admin_operations {
                AdminOperations::Refused
            } else {
                AdminOperations::Allowed
            },
            cors: if self.disable_cors {
                Cors::Off
            } else {
                Cors::Any
            },
            external_prefix: self.external_prefix.clone(),
            prefix_header: self.prefix_header.clone(),
            home,
            compute,
            ..ViewerOptions::default()
        };
        (!self.disable).then(|| BlockViewer::new(bucket, options))
    }
}
