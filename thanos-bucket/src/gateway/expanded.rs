//! The series that satisfied the matchers of a request before, out of the index cache.
//!
//! Whoever expands postings asks here first and gives what it found, provided that it is all: what a limit cut off or
//! what is left to be filtered by labels is not to be kept.

use std::sync::Arc;

use thanos_core::Result;
use thanos_core::index::IndexVersion;
use thanos_core::labels::Matcher;
use thanos_core::postings::Postings;

use super::block::GatewayBlock;
use super::metrics::CompressionOp;
use super::query::{Item, QueryContext};
use crate::cache::{Compressed, Expanded};

/// How many bytes of an index of version 2 one reference stands for.
const BYTES_PER_REFERENCE: u64 = 16;

/// Returns the series of `block` that satisfy `matchers`, if they are known.
pub(super) async fn known_series(
    block: &GatewayBlock,
    version: IndexVersion,
    matchers: &[Matcher],
    query: &QueryContext,
) -> Result<Option<Postings>> {
    let Some(cache) = &block.reads().cache else {
        return Ok(None);
    };
    let end = match version {
        IndexVersion::V1 => block.index_bytes(),
        IndexVersion::V2 => block.index_bytes().div_ceil(BYTES_PER_REFERENCE),
    };
    let (tenant, compute) = (query.tenant.as_str(), block.compute());
    let expanded = cache
        .expanded(block.id(), matchers, end, tenant, compute)
        .await?;
    let (metrics, tenant) = (query.metrics(), query.tenant_label());
    let (postings, bytes) = match expanded {
        Expanded::Unknown => return Ok(None),
        Expanded::Unreadable => {
            metrics.postings_compression_failed(CompressionOp::Decode, tenant);
            return Ok(None);
        }
        Expanded::Known {
            postings,
            bytes,
            took,
        } => {
            metrics.postings_compressed(CompressionOp::Decode, tenant, 1, took);
            (postings, bytes)
        }
    };
    query.reserve_cached(Item::Postings, bytes)?;
    query.cache_hits(Item::Postings, 1);
    query.touched(Item::Postings, 1, bytes);
    Ok(Some(postings))
}

/// Keeps the series of `block` that satisfy `matchers`, and returns them.
pub(super) async fn keep_series(
    block: &GatewayBlock,
    matchers: &[Matcher],
    postings: Postings,
    query: &QueryContext,
) -> Result<Postings> {
    let Some(cache) = &block.reads().cache else {
        return Ok(postings);
    };
    let postings = Arc::new(postings);
    let (tenant, compute) = (query.tenant.as_str(), block.compute());
    let kept = cache
        .store_expanded(block.id(), matchers, Arc::clone(&postings), tenant, compute)
        .await?;
    if let Some(Compressed { bytes, took }) = kept {
        let (metrics, tenant) = (query.metrics(), query.tenant_label());
        metrics.postings_compressed(CompressionOp::Encode, tenant, 1, took);
        // Of a list of an index, a reference takes four bytes.
        metrics.postings_cached(tenant, 4 * postings.len() as u64, bytes);
    }
    Ok(Arc::unwrap_or_clone(postings))
}
