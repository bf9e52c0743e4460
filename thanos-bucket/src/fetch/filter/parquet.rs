//! Blocks whose data was converted to Parquet.
//!
//! Other programs convert blocks and serve the result. They say so in the extensions of `meta.json`, or in a bucket of
//! their own whose `meta.pb` objects name the blocks that each was made from (row ST-32 of the specification).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use thanos_core::block::BlockId;
use thanos_core::encoding::Cursor;
use thanos_core::{ErrorKind, Result};
use tokio::sync::Mutex;

use super::{BlockFilter, Candidates};
use crate::Bucket;
use crate::fetch::stamp::Stamp;
use crate::fetch::{BlockEntry, BlockState};

/// The name of the objects.
const META_FILE: &str = "meta.pb";
/// The field with the id of a block that was converted.
const CONVERTED_FIELD: u64 = 6;
/// The largest object that is read.
const META_BYTES_MAX: u64 = 64 << 20;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// Takes out blocks whose `meta.json` says that they were migrated.
///
/// Source: Go pkg/block/fetcher.go ParquetMigratedMeta; whoever serves the Parquet form filters by it.
#[derive(Debug, Clone, Copy, Default)]
pub struct ParquetMigratedFilter;

#[async_trait]
impl BlockFilter for ParquetMigratedFilter {
    async fn filter(&self, candidates: &mut Candidates) -> Result<()> {
        candidates.exclude(BlockState::ParquetMigrated, |_, entry| is_migrated(entry));
        Ok(())
    }
}

fn is_migrated(entry: &BlockEntry) -> bool {
    let extensions = entry
        .meta
        .thanos
        .as_ref()
        .and_then(|thanos| thanos.extensions.as_ref());
    extensions.is_some_and(|extensions| extensions["parquet_migrated"] == true)
}

/// Takes out blocks that a Parquet bucket has (`--objstore-parquet.config`).
#[derive(Debug)]
pub struct ParquetConvertedFilter {
    bucket: Bucket,
    concurrency: usize,
    /// The objects that were read, which are not read again before they change.
    known: Mutex<HashMap<String, Known>>,
}

/// The blocks that an object of these contents names.
type Known = (Stamp, Arc<[BlockId]>);

impl ParquetConvertedFilter {
    /// Returns the filter by what `bucket` says, of which `concurrency` objects are read at once.
    pub fn new(bucket: Bucket, concurrency: usize) -> Self {
        Self {
            bucket,
            concurrency: concurrency.max(1),
            known: Mutex::default(),
        }
    }

    /// Returns the blocks that were converted.
    async fn converted(&self) -> Result<BTreeSet<BlockId>> {
        let mut known = self.known.lock().await;
        let mut listing = self.bucket.objects_after("");
        let (mut current, mut to_read) = (HashMap::new(), Vec::new());
        while let Some(object) = listing.try_next().await? {
            if object.name.rsplit('/').next() != Some(META_FILE) {
                continue;
            }
            let stamp = Stamp::of(&object);
            match known.remove(&object.name) {
                Some((read, blocks)) if read == stamp => {
                    current.insert(object.name, (stamp, blocks));
                }
                _ => to_read.push(self.read(object.name, stamp)),
            }
        }
        let mut read = futures::stream::iter(to_read).buffer_unordered(self.concurrency);
        while let Some((name, stamp, blocks)) = read.try_next().await? {
            current.insert(name, (stamp, blocks));
        }
        let blocks = current
            .values()
            .flat_map(|(_, blocks)| blocks.iter().copied())
            .collect();
        *known = current;
        Ok(blocks)
    }

    async fn read(&self, name: String, stamp: Stamp) -> Result<(String, Stamp, Arc<[BlockId]>)> {
        let blocks = match self.bucket.read(&name, META_BYTES_MAX).await {
            Ok(bytes) => converted_blocks(&bytes).map_err(|error| error.in_file(name.as_str()))?,
            // Removed since it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok((name, stamp, blocks.into()))
    }
}

#[async_trait]
impl BlockFilter for ParquetConvertedFilter {
    async fn filter(&self, candidates: &mut Candidates) -> Result<()> {
        let converted = self.converted().await?;
        let covered = covered_by_days(&converted, candidates.blocks());
        candidates.exclude(BlockState::ParquetConverted, |id, _| covered.contains(id));
        Ok(())
    }
}

/// Returns the blocks that a `meta.pb` names: the strings of field 6 of a protobuf message.
fn converted_blocks(bytes: &Bytes) -> Result<Vec<BlockId>> {
    let mut cursor = Cursor::new(bytes);
    let mut blocks = Vec::new();
    while !cursor.is_empty() {
        let key = cursor.uvarint("the key of a field")?;
        match (key >> 3, key & 7) {
            (CONVERTED_FIELD, 2) => {
                let text = cursor.uvarint_str("the id of a block")?;
                let id = text
                    .parse()
                    .map_err(|_| cursor.corrupt(format_args!("{text:?} is no block id")))?;
                blocks.push(id);
            }
            (CONVERTED_FIELD, _) => return Err(cursor.corrupt("the id of a block is no text")),
            (_, 0) => {
                cursor.uvarint("a number")?;
            }
            (_, 1) => {
                cursor.bytes(8, "a field of 8 bytes")?;
            }
            (_, 2) => {
                cursor.uvarint_bytes("a field")?;
            }
            (_, 5) => {
                cursor.bytes(4, "a field of 4 bytes")?;
            }
            (_, wire) => {
                return Err(cursor.corrupt(format_args!("fields have no wire type {wire}")));
            }
        }
    }
    Ok(blocks)
}

/// Returns those of the `converted` blocks that only hold days all of which converted blocks cover.
///
/// The converter cuts data at days, while blocks need not end there: a day that converted blocks cover in part may lack
/// the data of a block that is not converted yet. Source: Go pkg/block/fetcher.go filterMigratedBlocksByDayCoverage.
fn covered_by_days(
    converted: &BTreeSet<BlockId>,
    blocks: &BTreeMap<BlockId, Arc<BlockEntry>>,
) -> BTreeSet<BlockId> {
    let ranges = converted.iter().filter_map(|id| {
        let meta = &blocks.get(id)?.meta;
        Some((meta.min_time.as_millis(), meta.max_time.as_millis(), *id))
    });
    let mut ranges: Vec<(i64, i64, BlockId)> = ranges.collect();
    ranges.sort_unstable();
    let stretches = joined(&ranges);
    let is_covered = |(min, max, _): &&(i64, i64, BlockId)| {
        let first = min.div_euclid(DAY_MS).saturating_mul(DAY_MS);
        // The end of a block is not in it.
        let last = (max - 1)
            .max(*min)
            .div_euclid(DAY_MS)
            .saturating_add(1)
            .saturating_mul(DAY_MS);
        // COMPAT: a day counts as covered by blocks that reach its last millisecond.
        let place = stretches.partition_point(|(start, _)| *start <= first);
        place
            .checked_sub(1)
            .is_some_and(|place| stretches[place].1 >= last - 1)
    };
    ranges
        .iter()
        .filter(is_covered)
        .map(|(_, _, id)| *id)
        .collect()
}

/// Joins sorted ranges that touch or overlap.
fn joined(ranges: &[(i64, i64, BlockId)]) -> Vec<(i64, i64)> {
    let mut stretches: Vec<(i64, i64)> = Vec::new();
    for (min, max, _) in ranges {
        match stretches.last_mut() {
            Some((_, end)) if *min <= *end => *end = (*end).max(*max),
            _ => stretches.push((*min, *max)),
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use thanos_core::block::Meta;
    use thanos_core::time::Timestamp;

    use super::*;
    use crate::testkit::block_id;

    fn field(out: &mut Vec<u8>, number: u8, text: &str) {
        out.push(number << 3 | 2);
        out.push(u8::try_from(text.len()).unwrap());
        out.extend_from_slice(text.as_bytes());
    }

    #[test]
    fn only_field_six_names_blocks() {
        let mut message = vec![8, 150, 1];
        field(&mut message, 2, "tenant");
        field(&mut message, 6, &block_id(1).to_string());
        field(&mut message, 6, &block_id(2).to_string());
        assert_eq!(
            converted_blocks(&message.clone().into()).unwrap(),
            [block_id(1), block_id(2)]
        );
        for len in 0..message.len() {
            // Cut between fields it is a shorter message, and otherwise an error.
            let _ = converted_blocks(&Bytes::copy_from_slice(&message[..len]));
        }
        field(&mut message, 6, "no id");
        let error = converted_blocks(&message.into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    /// ST-32: a block goes when converted blocks cover all of its days.
    #[test]
    fn days_that_are_covered_in_part_keep_their_blocks() {
        let hour = 3_600_000;
        type Case<'a> = (&'a [(i64, i64)], &'a [u32]);
        let cases: [Case<'_>; 5] = [
            (&[(0, 24)], &[0]),
            (&[(0, 12)], &[]),
            (&[(0, 12), (12, 24)], &[0, 1]),
            (&[(0, 12), (13, 24)], &[]),
            (&[(0, 30), (48, 72)], &[2 - 1]),
        ];
        for (ranges, expected) in cases {
            let blocks: BTreeMap<BlockId, Arc<BlockEntry>> = (0..)
                .zip(ranges)
                .map(|(number, (min, max))| {
                    let meta = Meta {
                        ulid: block_id(number),
                        min_time: Timestamp::from_millis(min * hour),
                        max_time: Timestamp::from_millis(max * hour),
                        ..Meta::default()
                    };
                    (meta.ulid, Arc::new(BlockEntry::new(meta, None)))
                })
                .collect();
            let converted = blocks.keys().copied().collect();
            let expected: BTreeSet<BlockId> =
                expected.iter().map(|number| block_id(*number)).collect();
            assert_eq!(covered_by_days(&converted, &blocks), expected, "{ranges:?}");
        }
    }
}
