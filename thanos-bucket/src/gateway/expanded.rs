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
use super::query::{Item, QueryContext};

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
    let known = cache
        .expanded(block.id(), matchers, end, tenant, compute)
        .await?;
    let Some((postings, bytes)) = known else {
        return Ok(None);
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
    cache
        .store_expanded(block.id(), matchers, Arc::clone(&postings), tenant, compute)
        .await?;
    Ok(Arc::unwrap_or_clone(postings))
}
