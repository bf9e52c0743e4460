//! A cache that damages, loses, confuses and delays what it keeps.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use thanos_core::testkit::TestRandom;

use crate::cache::Backend;

/// How many values are remembered, to be returned under other keys.
const REMEMBERED: usize = 64;

/// What goes wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheFault {
    /// One of its bits is another one.
    FlippedBit,
    /// Its end is missing.
    Truncated,
    /// It is that of another key.
    OtherKey,
    /// It is not there.
    Lost,
    /// It is not kept.
    NotKept,
    /// All values that are asked for together come late.
    Late,
}

impl CacheFault {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::FlippedBit,
        Self::Truncated,
        Self::OtherKey,
        Self::Lost,
        Self::NotKept,
        Self::Late,
    ];
}

/// A [`Backend`] that keeps its values in another one and returns what it likes.
pub struct FaultyCache {
    inner: Arc<dyn Backend>,
    per_mille: u64,
    late_max: Duration,
    state: Mutex<State>,
}

struct State {
    random: TestRandom,
    remembered: Vec<Bytes>,
    injected: BTreeMap<CacheFault, usize>,
}

impl FaultyCache {
    /// Returns a cache in which each fault comes with `per_mille` of all values, decided by `seed`; what is late is so by
    /// at most `late_max`.
    pub fn new(inner: Arc<dyn Backend>, seed: u64, per_mille: u64, late_max: Duration) -> Self {
        Self {
            inner,
            per_mille,
            late_max,
            state: Mutex::new(State {
                random: TestRandom::new(seed),
                remembered: Vec::new(),
                injected: BTreeMap::new(),
            }),
        }
    }

    /// Returns how often each fault came.
    pub fn injected(&self) -> BTreeMap<CacheFault, usize> {
        self.state.lock().injected.clone()
    }

    fn late(&self) -> Option<Duration> {
        let late = self.state.lock().comes(CacheFault::Late, self.per_mille);
        let late_ms = u64::try_from(self.late_max.as_millis()).unwrap_or(u64::MAX);
        late.then(|| Duration::from_millis(self.state.lock().random.below(late_ms.max(1))))
    }
}

impl State {
    fn comes(&mut self, fault: CacheFault, per_mille: u64) -> bool {
        let comes = self.random.below(1000) < per_mille;
        if comes {
            *self.injected.entry(fault).or_default() += 1;
        }
        comes
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound.max(1) as u64)).unwrap_or(0)
    }

    fn spoiled(&mut self, value: Bytes, per_mille: u64) -> Option<Bytes> {
        if self.comes(CacheFault::Lost, per_mille) {
            return None;
        }
        if !self.remembered.is_empty() && self.comes(CacheFault::OtherKey, per_mille) {
            let at = self.below(self.remembered.len());
            return self.remembered.get(at).cloned();
        }
        if !value.is_empty() && self.comes(CacheFault::Truncated, per_mille) {
            let end = self.below(value.len());
            return Some(value.slice(..end));
        }
        if !value.is_empty() && self.comes(CacheFault::FlippedBit, per_mille) {
            let (at, bit) = (self.below(value.len()), self.below(8));
            let mut damaged = value.to_vec();
            damaged[at] ^= 1 << bit;
            return Some(damaged.into());
        }
        Some(value)
    }
}

#[async_trait]
impl Backend for FaultyCache {
    async fn get_many(&self, keys: &[String]) -> Vec<Option<Bytes>> {
        if let Some(late) = self.late() {
            tokio::time::sleep(late).await;
        }
        let values = self.inner.get_many(keys).await;
        let mut state = self.state.lock();
        values
            .into_iter()
            .map(|value| state.spoiled(value?, self.per_mille))
            .collect()
    }

    fn put(&self, key: String, value: Bytes, ttl: Duration) {
        let mut state = self.state.lock();
        if state.comes(CacheFault::NotKept, self.per_mille) {
            return;
        }
        if state.remembered.len() < REMEMBERED {
            state.remembered.push(value.clone());
        } else {
            let at = state.below(REMEMBERED);
            state.remembered[at] = value.clone();
        }
        drop(state);
        self.inner.put(key, value, ttl);
    }
}

impl fmt::Debug for FaultyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyCache")
            .field("inner", &self.inner)
            .field("per_mille", &self.per_mille)
            .finish_non_exhaustive()
    }
}
