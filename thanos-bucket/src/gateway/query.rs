//! What all steps of one request share: on whose behalf, and what it may hold.

use thanos_core::budget::MemoryBudget;
use thanos_storeapi::tenant::TenantId;

/// One request to the gateway.
#[derive(Debug)]
pub(super) struct QueryContext {
    /// On whose behalf.
    pub(super) tenant: TenantId,
    /// What its buffers are leased from.
    pub(super) budget: MemoryBudget,
}

/// What a part of a block is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Item {
    /// Postings lists of the index.
    Postings,
    /// Series entries of the index.
    Series,
    /// Chunks.
    Chunks,
}
