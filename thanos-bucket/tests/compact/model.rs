//! The naive model: all samples as a set, and what a bucket must be at any moment.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use thanos_bucket::Bucket;
use thanos_bucket::testkit::{BlockData, BlockSpec, block_id};
use thanos_bucket::transfer::{DownloadOptions, download_block};
use thanos_core::block::{Block, BlockId, META_FILE, Meta, dump};
use thanos_core::chunk::{SampleRef, Samples, encode};
use thanos_core::labels::Labels;
use thanos_core::testkit::TempDir;
use thanos_core::time::Timestamp;

pub(crate) const HOUR_MS: i64 = 3_600_000;

/// Every sample of a bucket as a line of text.
pub(crate) type Lines = BTreeSet<String>;

/// The data of the five blocks of two hours that each group starts with: four that fill a range, and the newest.
pub(crate) struct Model {
    data: Vec<BlockData>,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            data: (0..5).map(data_of).collect(),
        }
    }

    /// Uploads the blocks of group `group`; returns their ids.
    pub(crate) async fn upload(&self, bucket: &Bucket, group: u32) -> Vec<BlockId> {
        let mut ids = Vec::new();
        for (number, data) in (0..).zip(&self.data) {
            let (start, end) = (2 * i64::from(number) * HOUR_MS, 2 * HOUR_MS);
            let spec = BlockSpec {
                id: block_id(group * 10 + number),
                labels: vec![("group".to_owned(), format!("{group:03}"))],
                time: Some((
                    Timestamp::from_millis(start),
                    Timestamp::from_millis(start + end),
                )),
                ..BlockSpec::default()
            };
            data.upload(bucket, &spec).await.unwrap();
            ids.push(spec.id);
        }
        ids
    }
}

fn data_of(number: i64) -> BlockData {
    let series: Vec<_> = (0..3)
        .map(|series| {
            let name = format!("{series}");
            let labels = Labels::from_pairs([("__name__", "up"), ("series", &name)]);
            let mut samples = Samples::new();
            for minute in [0, 30, 60, 119] {
                let time = Timestamp::from_millis(2 * number * HOUR_MS + minute * 60_000);
                let value = (series * 1000 + minute) as f64;
                samples.push(time, SampleRef::Float(value));
            }
            (labels, encode(&samples))
        })
        .collect();
    BlockData::of_series(&series).unwrap()
}

/// What a bucket holds, as far as readers see it.
#[derive(Default)]
pub(crate) struct Seen {
    /// The samples of blocks that were read, which never change.
    read: BTreeMap<BlockId, Lines>,
}

/// The visible blocks of a bucket, with whether they are marked for deletion.
pub(crate) async fn visible(bucket: &Bucket) -> BTreeMap<BlockId, (Meta, bool)> {
    let mut found = BTreeMap::new();
    for directory in bucket.top_directories().await.unwrap() {
        let Ok(id) = directory.parse::<BlockId>() else {
            continue;
        };
        let Ok(text) = bucket.read(&format!("{id}/{META_FILE}"), 1 << 20).await else {
            continue;
        };
        let Ok(meta) = Meta::parse(&text) else {
            continue;
        };
        let mark = format!("{id}/deletion-mark.json");
        let is_marked = bucket.exists(&mark).await.unwrap();
        found.insert(id, (meta, is_marked));
    }
    found
}

impl Seen {
    /// Checks what must hold at any moment: visible blocks are whole, those that stay have all samples, and nothing was
    /// published twice. Returns all samples.
    pub(crate) async fn check(&mut self, bucket: &Bucket, what: &str) -> Lines {
        let blocks = visible(bucket).await;
        let mut replaced_by: BTreeMap<BlockId, BlockId> = BTreeMap::new();
        for (id, (meta, _)) in &blocks {
            for parent in &meta.compaction.parents {
                let before = replaced_by.insert(parent.ulid, *id);
                assert_eq!(before, None, "{what}: {} is in two blocks", parent.ulid);
            }
        }
        let mut all = Lines::new();
        let staying = blocks.iter().filter(|(_, (_, is_marked))| !is_marked);
        // What readers drop because another block has its sources.
        let is_covered = |id: &BlockId, meta: &Meta| {
            blocks.iter().any(|(other, (by, _))| {
                other != id
                    && by.external_labels() == meta.external_labels()
                    && by.compaction.sources.len() > meta.compaction.sources.len()
                    && (meta.compaction.sources.iter())
                        .all(|source| by.compaction.sources.contains(source))
            })
        };
        for (id, (meta, _)) in staying.filter(|(id, (meta, _))| !is_covered(id, meta)) {
            all.extend(self.samples(bucket, *id, meta, what).await.iter().cloned());
        }
        all
    }

    /// Returns the samples of one visible block.
    pub(crate) async fn block(&mut self, bucket: &Bucket, id: BlockId, what: &str) -> Lines {
        let blocks = visible(bucket).await;
        self.samples(bucket, id, &blocks[&id].0, what).await.clone()
    }

    async fn samples(&mut self, bucket: &Bucket, id: BlockId, meta: &Meta, what: &str) -> &Lines {
        let place = match self.read.entry(id) {
            Entry::Occupied(known) => return known.into_mut(),
            Entry::Vacant(place) => place,
        };
        let dir = TempDir::new("seen");
        let options = DownloadOptions::default();
        let whole = download_block(bucket, id, dir.path(), &options).await;
        whole.unwrap_or_else(|error| panic!("{what}: {id} is visible and not whole: {error}"));
        let block = Block::open(dir.path()).unwrap();
        let mut text = Vec::new();
        dump(&[block], &mut text).unwrap();
        let labels = meta.external_labels();
        let lines = String::from_utf8(text).unwrap();
        let lines = lines.lines().map(|line| format!("{labels} {line}"));
        place.insert(lines.collect())
    }
}
