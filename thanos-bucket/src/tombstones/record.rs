//! What remains of a tombstone that is done: who asked for what, and which blocks were written anew for it.

use serde::Serialize;
use thanos_core::block::BlockId;
use thanos_core::time::Timestamp;

use super::Tombstone;
use super::format::Body;

/// The record of a request that was carried out.
#[derive(Debug, Clone)]
pub struct AppliedRecord {
    /// The request.
    pub tombstone: Tombstone,
    /// When nothing was left to delete.
    pub finished: Timestamp,
    /// The blocks that were written without the samples.
    pub blocks: Vec<BlockId>,
}

#[derive(Serialize)]
struct Object {
    request: Body,
    finish_time: i64,
    blocks: Vec<String>,
}

impl AppliedRecord {
    /// Returns the bytes of the object, for people to read.
    pub fn to_json(&self) -> Vec<u8> {
        let object = Object {
            request: Body::of(&self.tombstone),
            finish_time: self.finished.as_millis().div_euclid(1000),
            blocks: self.blocks.iter().map(ToString::to_string).collect(),
        };
        serde_json::to_vec_pretty(&object).expect("numbers and texts are JSON")
    }
}
