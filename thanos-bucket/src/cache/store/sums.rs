//! Checksums beside the values that servers keep.
//!
//! The values are those of Thanos, without a checksum, and a server may have damaged one or hold another under its key.
//! Chunks show that when they are decoded, unless a whole chunk of another file lies at their place; names and metadata
//! never show it. So every value in a server has a checksum of key and value beside it, under `sum:<key>`, which Thanos
//! does not know. A value without one was put by another gateway, or has lost it; options say what becomes of it.

use std::time::Duration;

use bytes::Bytes;
use xxhash_rust::xxh64::Xxh64;

use super::{Shared, Unsummed};

const PREFIX: &str = "sum:";

/// Returns what lies beside `value` under `key`.
fn sum_of(key: &str, value: &[u8]) -> String {
    let mut hash = Xxh64::new(0);
    hash.update(key.as_bytes());
    // No key has such a byte: where the value starts is part of what is summed.
    hash.update(&[0]);
    hash.update(value);
    format!("{:016x}", hash.digest())
}

impl Shared {
    /// Returns the value of each of `keys`, `None` for what is not known or cannot be right.
    pub(super) async fn values(&self, mut keys: Vec<String>) -> Vec<Option<Bytes>> {
        if !self.backend.is_remote() {
            return self.backend.get_many(&keys).await;
        }
        let count = keys.len();
        keys.extend_from_within(..);
        for key in &mut keys[count..] {
            key.insert_str(0, PREFIX);
        }
        let mut values = self.backend.get_many(&keys).await;
        let sums = values.split_off(count.min(values.len()));
        let checked = values.into_iter().zip(sums).zip(&keys);
        checked
            .map(|((value, sum), key)| value.filter(|value| self.believes(key, value, sum)))
            .collect()
    }

    fn believes(&self, key: &str, value: &[u8], sum: Option<Bytes>) -> bool {
        let Some(sum) = sum else {
            return self.options.unsummed == Unsummed::Believed;
        };
        let is_right = sum == sum_of(key, value);
        if !is_right {
            self.metrics.damaged();
        }
        is_right
    }

    /// Keeps `value` for `ttl`.
    pub(super) fn put_value(&self, key: String, value: Bytes, ttl: Duration) {
        if self.backend.is_remote() {
            let sum = sum_of(&key, &value).into();
            self.backend.put(format!("{PREFIX}{key}"), sum, ttl);
        }
        self.backend.put(key, value, ttl);
    }
}
