//! meta.json: what a block is, in Prometheus' words and, when Thanos knows the block, in Thanos' section too.
//!
//! ```text
//! { ulid, minTime, maxTime, stats {..}, compaction {..}, version: 1, thanos {..}? }
//! ```
//!
//! A block exists for readers when this file exists, so it is written last. Fields that this crate does not know
//! are kept and written back after the known ones. The file has no checksum: a damaged number may still be a
//! number, and nothing here can tell.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::files::{read_capped, write_file_atomic};
use super::{BlockId, UploadTime, json};
use crate::error::{Error, Result};
use crate::labels::Labels;
use crate::time::{TimeRange, Timestamp};

/// The name of the file in its block directory.
pub const META_FILE: &str = "meta.json";
/// The only version there is, of the file and of its Thanos section.
const VERSION: u32 = 1;
/// A block of ten thousand sources has a meta.json of about 300 KB; beyond this it is no meta.json.
const META_BYTES_MAX: u64 = 64 << 20;

/// The contents of meta.json.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// The block's id.
    pub ulid: BlockId,
    /// The first time of the block.
    #[serde(rename = "minTime", with = "millis")]
    pub min_time: Timestamp,
    /// The first time after the block: the range is half-open, see [`Meta::time_range`].
    #[serde(rename = "maxTime", with = "millis")]
    pub max_time: Timestamp,
    /// How much is in it.
    #[serde(default)]
    pub stats: Stats,
    /// Which blocks it was made from.
    #[serde(default)]
    pub compaction: Compaction,
    /// The version of the format.
    pub version: u32,
    /// What Thanos added; `None` in a block that no uploader has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thanos: Option<ThanosMeta>,
    /// Fields that this crate does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Counts of what a block holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stats {
    /// All samples.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_samples: u64,
    /// Float samples; older writers leave the split out.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_float_samples: u64,
    /// Native histogram samples.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_histogram_samples: u64,
    /// Series.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_series: u64,
    /// Chunks.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_chunks: u64,
    /// Deleted intervals in the tombstones file.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_tombstones: u64,
    /// Fields that this crate does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The compactions that led to a block.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Compaction {
    /// 1 for a block cut from a head, one more than the highest input otherwise.
    pub level: u32,
    /// All level-1 blocks whose samples are in here.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub sources: Vec<BlockId>,
    /// The block has no samples and may be deleted.
    #[serde(skip_serializing_if = "is_false")]
    pub deletable: bool,
    /// The direct inputs.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub parents: Vec<ParentBlock>,
    /// A compaction of this block failed; Prometheus leaves it alone afterwards.
    #[serde(skip_serializing_if = "is_false")]
    pub failed: bool,
    /// How the block came about, for example `from-out-of-order`.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub hints: Vec<String>,
    /// Fields that this crate does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A direct input of a compaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParentBlock {
    /// Its id.
    pub ulid: BlockId,
    /// Its first time.
    #[serde(rename = "minTime", with = "millis")]
    pub min_time: Timestamp,
    /// The first time after it.
    #[serde(rename = "maxTime", with = "millis")]
    pub max_time: Timestamp,
}

/// The `thanos` object of meta.json (row 2.2 of the specification).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThanosMeta {
    /// The version of this section; left out it is 0 and means 1, and Thanos leaves it out.
    #[serde(skip_serializing_if = "is_zero_u32")]
    pub version: u32,
    /// The external labels: who produced the block, and for which tenant.
    #[serde(deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
    /// How coarse its samples are.
    pub downsample: Downsample,
    /// What uploaded or wrote it: `sidecar`, `receive`, `compactor`, `ruler`, ...
    pub source: String,
    /// The chunk files; deprecated but still written.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub segment_files: Vec<String>,
    /// All files of the block, sorted by path.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub files: Vec<BlockFile>,
    /// Deletions and relabelings that were applied to the block.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub rewrites: Vec<Rewrite>,
    /// Sizes that help a reader to fetch in the right amounts; always written, even when empty.
    pub index_stats: IndexStats,
    /// Anything that other programs attach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Value>,
    /// When the file was uploaded.
    pub upload_time: UploadTime,
    /// Fields that this crate does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The resolution of a block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Downsample {
    /// Milliseconds per window; 0 for raw samples.
    #[serde(rename = "resolution")]
    pub resolution_ms: i64,
}

/// One file of a block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockFile {
    /// Its path under the block directory.
    pub rel_path: String,
    /// Its length; 0 where the writer could not know it (meta.json itself).
    #[serde(skip_serializing_if = "is_zero")]
    pub size_bytes: u64,
    /// Its checksum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<FileHash>,
}

/// The checksum of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileHash {
    /// `SHA256`.
    #[serde(rename = "hashFunc")]
    pub func: String,
    /// The checksum in hexadecimal.
    pub value: String,
}

/// One rewrite of a block; the deletions and relabelings themselves are kept as they were written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rewrite {
    /// The blocks that were rewritten.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub sources: Vec<BlockId>,
    /// Deletion requests, in the order of their application.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub deletions_applied: Vec<Value>,
    /// Relabel configurations.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub relabels_applied: Vec<Value>,
}

/// The largest entries of a block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IndexStats {
    /// The longest series entry of the index, in bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub series_max_size: u64,
    /// The longest chunk, in bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub chunk_max_size: u64,
}

impl Meta {
    /// Parses the bytes of a meta.json.
    ///
    /// # Errors
    ///
    /// `Corrupt` when they are not a meta.json, `Invalid` when it is of another version than 1: it may be sound, but
    /// this crate cannot tell. What the file as a whole says wrongly is reported at offset 0.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let meta: Self = json::parse(text)?;
        if meta.version != VERSION {
            return Err(
                Error::invalid(format!("unexpected meta file version {}", meta.version)).at(0),
            );
        }
        let section = meta.thanos.as_ref().map_or(0, |thanos| thanos.version);
        if section > VERSION {
            return Err(Error::invalid(format!(
                "unexpected meta file Thanos section version {section}"
            ))
            .at(0));
        }
        if meta.max_time < meta.min_time {
            return Err(Error::corrupt(format!(
                "block ends at {} before it begins at {}",
                meta.max_time, meta.min_time
            ))
            .at(0));
        }
        Ok(meta)
    }

    /// Returns the bytes of the file, as Thanos writes them when there is a Thanos section and as Prometheus
    /// writes them when there is none (they differ in the final newline).
    pub fn to_json(&self) -> Vec<u8> {
        let mut text = json::to_indented(self);
        if self.thanos.is_some() {
            text.push(b'\n');
        }
        text
    }

    /// Reads the meta.json of the block directory `dir`.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is none, otherwise as [`Meta::parse`], with the name of the file.
    pub fn read_dir(dir: &Path) -> Result<Self> {
        let path = dir.join(META_FILE);
        let text = read_capped(&path, META_BYTES_MAX)?;
        Self::parse(&text).map_err(|error| error.in_file(path.display().to_string()))
    }

    /// Writes the meta.json of the block directory `dir`, atomically.
    ///
    /// # Errors
    ///
    /// What the file system reports.
    pub fn write_dir(&self, dir: &Path) -> Result<()> {
        write_file_atomic(&dir.join(META_FILE), &self.to_json())
    }

    /// Returns the times of the block with both ends inclusive; empty when the block has no length.
    pub fn time_range(&self) -> TimeRange {
        TimeRange {
            min: self.min_time,
            max: self.max_time + (-1),
        }
    }

    /// Returns the external labels; empty without a Thanos section.
    pub fn external_labels(&self) -> Labels {
        self.thanos.as_ref().map_or_else(Labels::empty, |thanos| {
            Labels::from_pairs(thanos.labels.iter())
        })
    }

    /// Returns the milliseconds per downsampled window; 0 for raw samples.
    pub fn resolution_ms(&self) -> i64 {
        self.thanos
            .as_ref()
            .map_or(0, |thanos| thanos.downsample.resolution_ms)
    }
}

/// Reads `null` as the default: Go writes a nil slice or map that way.
fn null_as_default<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_zero_u32(number: &u32) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// [`Timestamp`] as milliseconds.
mod millis {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::time::Timestamp;

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_i64(time.as_millis())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(from).map(Timestamp::from_millis)
    }
}

#[cfg(test)]
mod tests;
