//! Blocks of some external labels: how gateways share the blocks of a bucket.

use std::collections::BTreeMap;
use std::collections::HashMap;

use async_trait::async_trait;
use parking_lot::Mutex;
use thanos_core::block::BlockId;
use thanos_core::labels::LabelsBuilder;
use thanos_core::labels::relabel::{RelabelAction, RelabelConfig, Relabeler};
use thanos_core::{Error, Result};

use super::{BlockFilter, Candidates};
use crate::fetch::{BlockEntry, BlockState};

/// The label that rules see beside the external labels: the block's id.
pub const BLOCK_ID_LABEL: &str = "__block_id";

/// The actions that choose; others would change labels, which means nothing here.
pub const SELECTOR_ACTIONS: [RelabelAction; 3] = [
    RelabelAction::Keep,
    RelabelAction::Drop,
    RelabelAction::HashMod,
];

/// Takes out blocks that relabelling drops, or leaves without labels (`--selector.relabel-config`).
#[derive(Debug, Default)]
pub struct RelabelFilter {
    relabeler: Relabeler,
    /// Not shown to the rules: replicas that are going to be merged belong to one shard.
    replica_labels: Vec<String>,
    /// What the rules said of each block, which cannot change while its labels do not.
    known: Mutex<HashMap<BlockId, Known>>,
}

/// Labels, and whether a block with them is kept.
type Known = (BTreeMap<String, String>, bool);

impl RelabelFilter {
    /// Returns the filter of these rules.
    pub fn new(relabeler: Relabeler) -> Self {
        Self {
            relabeler,
            ..Self::default()
        }
    }

    /// Returns the same filter whose rules do not see `replica_labels`.
    #[must_use]
    pub fn without_replica_labels(mut self, replica_labels: Vec<String>) -> Self {
        self.replica_labels = replica_labels;
        self
    }

    /// Returns the filter that `yaml` describes; an empty text has no rules.
    ///
    /// # Errors
    ///
    /// `Invalid` in Thanos' words; any action but `keep`, `drop` and `hashmod` is refused.
    pub fn from_yaml(yaml: &str) -> Result<Self> {
        Ok(Self::new(parse_relabel_config(yaml, &SELECTOR_ACTIONS)?))
    }

    fn keeps(&self, id: BlockId, labels: &BTreeMap<String, String>) -> bool {
        let mut builder = LabelsBuilder::new();
        builder.set(BLOCK_ID_LABEL, &id.to_string());
        for (name, value) in labels {
            if !self.replica_labels.contains(name) {
                builder.set(name, value);
            }
        }
        self.relabeler.process_builder(&mut builder) && builder.iter().next().is_some()
    }
}

/// Returns the rules in `yaml`, none of which may have another action than `supported`.
///
/// # Errors
///
/// `Invalid` in the words of Thanos and Prometheus.
pub fn parse_relabel_config(yaml: &str, supported: &[RelabelAction]) -> Result<Relabeler> {
    let configs: Option<Vec<RelabelConfig>> = serde_saphyr::from_str(yaml).map_err(|error| {
        Error::invalid(format!("parsing relabel configuration: {error}")).with_source(error)
    })?;
    Relabeler::with_actions(configs.unwrap_or_default(), supported)
}

#[async_trait]
impl BlockFilter for RelabelFilter {
    async fn filter(&self, candidates: &mut Candidates) -> Result<()> {
        if self.relabeler.is_empty() {
            return Ok(());
        }
        let mut before = std::mem::take(&mut *self.known.lock());
        let mut known = HashMap::with_capacity(candidates.blocks().len());
        let none = BTreeMap::new();
        candidates.exclude(BlockState::LabelExcluded, |id, entry: &BlockEntry| {
            let labels = entry
                .meta
                .thanos
                .as_ref()
                .map_or(&none, |thanos| &thanos.labels);
            let (labels, keeps) = match before.remove(id) {
                Some((known, keeps)) if known == *labels => (known, keeps),
                _ => (labels.clone(), self.keeps(*id, labels)),
            };
            known.insert(*id, (labels, keeps));
            !keeps
        });
        *self.known.lock() = known;
        Ok(())
    }
}
