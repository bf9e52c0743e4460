//! The bytes of a manifest.
//!
//! ```text
//! offset         size
//! 0              8     "thanosmf"
//! 8              4     version, 1
//! 12             8     when it was made: milliseconds since the epoch
//! 20             8     length of the body
//! 28             8     length of the packed body, p
//! 36             p     the body, packed with zstd
//! 36 + p         8     XXH64 of all bytes before
//!
//! body      strings: count { text }            the texts of labels and sources, sorted
//!           ids: count { 16 bytes }            of blocks and sources, sorted
//!           blocks: count { block }            in the order of their ids
//!           partial: count { id kind text }    kind: 0 no meta.json, 1 damaged
//! block     id flags min max-min stats[6] level sources: count { id, as difference }
//!           [section: version labels: count { name value } resolution source stats[2] upload time [extensions]]
//!           [objects: index length, segments: count { length } [sparse header length]]
//!           [deletion] [no compact] [no downsample]  stamps[4]
//! ```
//!
//! Fixed integers are big-endian. All others are varints, signed ones (times, differences, the resolution) in zigzag
//! form; texts and ids of the body are numbers of the tables, but for the upload time, extensions and reasons, which are
//! texts behind their lengths. Optional parts are there when their flag is set; `deletion` and its like are times in
//! milliseconds; stamps are 8 bytes each.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::sync::Arc;

use thanos_core::block::{BlockId, IndexStats, Meta, Stats, ThanosMeta, UploadTime};
use thanos_core::encoding::Cursor;
use thanos_core::encoding::varint::{put_uvarint, put_varint};
use thanos_core::time::{Timestamp, UtcTime};
use thanos_core::{Error, ErrorKind, Result};
use xxhash_rust::xxh64::xxh64;

use super::{MANIFEST_BYTES_MAX, MANIFEST_OBJECT, Manifest};
use crate::fetch::{BlockEntry, BlockObjects, BucketView, Marks, Stamp, Stamps};

/// The version of the format.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"thanosmf";
const HEAD_BYTES: usize = 36;
const CHECKSUM_BYTES: usize = 8;
const ID_BYTES: usize = 16;
/// The largest body. Hostile bytes that unpack to more are refused before.
const BODY_BYTES_MAX: u64 = 1 << 30;
/// Packed bytes become at most so many times as many before their length is believed.
const USUAL_RATIO: usize = 8;
const ZSTD_LEVEL: i32 = 3;

const HAS_SECTION: u64 = 1;
const HAS_EXTENSIONS: u64 = 1 << 1;
const HAS_OBJECTS: u64 = 1 << 2;
const HAS_SPARSE_HEADER: u64 = 1 << 3;
const HAS_DELETION: u64 = 1 << 4;
const HAS_NO_COMPACT: u64 = 1 << 5;
const HAS_NO_DOWNSAMPLE: u64 = 1 << 6;
const IS_DELETABLE: u64 = 1 << 7;
const IS_FAILED: u64 = 1 << 8;
const FLAGS_MAX: u64 = (1 << 9) - 1;

/// Returns the bytes of the manifest of `view`.
pub(super) fn encode(view: &BucketView, made: Timestamp) -> Result<Vec<u8>> {
    let body = Encoder::new(view).encode(view);
    if body.len() as u64 > BODY_BYTES_MAX {
        let message = format!(
            "a manifest of {} bytes is longer than readers take",
            body.len()
        );
        return Err(Error::limit_exceeded(message));
    }
    let packed = zstd::bulk::compress(&body, ZSTD_LEVEL)
        .map_err(|error| Error::internal("cannot pack a manifest").with_source(error))?;
    let mut out = Vec::with_capacity(HEAD_BYTES + packed.len() + CHECKSUM_BYTES);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FORMAT_VERSION.to_be_bytes());
    out.extend_from_slice(&made.as_millis().to_be_bytes());
    out.extend_from_slice(&(body.len() as u64).to_be_bytes());
    out.extend_from_slice(&(packed.len() as u64).to_be_bytes());
    out.extend_from_slice(&packed);
    out.extend_from_slice(&xxh64(&out, 0).to_be_bytes());
    if out.len() as u64 > MANIFEST_BYTES_MAX {
        let message = format!(
            "a manifest of {} bytes is longer than readers take",
            out.len()
        );
        return Err(Error::limit_exceeded(message));
    }
    Ok(out)
}

/// The tables that the body begins with.
struct Encoder<'a> {
    strings: HashMap<&'a str, u64>,
    ids: HashMap<BlockId, u64>,
    sorted_strings: Vec<&'a str>,
    sorted_ids: Vec<BlockId>,
}

impl<'a> Encoder<'a> {
    fn new(view: &'a BucketView) -> Self {
        let (mut strings, mut ids) = (BTreeSet::new(), Vec::new());
        ids.extend(view.partial.keys());
        for (id, entry) in &view.blocks {
            ids.push(*id);
            ids.extend_from_slice(&entry.meta.compaction.sources);
            if let Some(thanos) = &entry.meta.thanos {
                strings.insert(thanos.source.as_str());
                for (name, value) in &thanos.labels {
                    strings.extend([name.as_str(), value.as_str()]);
                }
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Self {
            strings: (0..)
                .zip(&strings)
                .map(|(number, text)| (*text, number))
                .collect(),
            ids: (0..).zip(&ids).map(|(number, id)| (*id, number)).collect(),
            sorted_strings: strings.into_iter().collect(),
            sorted_ids: ids,
        }
    }

    fn encode(&self, view: &BucketView) -> Vec<u8> {
        let mut out = Vec::new();
        put_uvarint(&mut out, self.sorted_strings.len() as u64);
        for text in &self.sorted_strings {
            put_text(&mut out, text);
        }
        put_uvarint(&mut out, self.sorted_ids.len() as u64);
        for id in &self.sorted_ids {
            out.extend_from_slice(&id.to_bytes());
        }
        put_uvarint(&mut out, view.blocks.len() as u64);
        for (id, entry) in &view.blocks {
            self.put_block(&mut out, *id, entry);
        }
        put_uvarint(&mut out, view.partial.len() as u64);
        for (id, error) in &view.partial {
            put_uvarint(&mut out, self.id(*id));
            put_uvarint(&mut out, u64::from(error.kind() != ErrorKind::NotFound));
            put_text(&mut out, error.message());
        }
        out
    }

    fn id(&self, id: BlockId) -> u64 {
        self.ids.get(&id).copied().unwrap_or_default()
    }

    fn string(&self, text: &str) -> u64 {
        self.strings.get(text).copied().unwrap_or_default()
    }

    fn put_block(&self, out: &mut Vec<u8>, id: BlockId, entry: &BlockEntry) {
        let meta = &entry.meta;
        put_uvarint(out, self.id(id));
        put_uvarint(out, flags(entry));
        put_varint(out, meta.min_time.as_millis());
        put_uvarint(
            out,
            meta.max_time
                .as_millis()
                .abs_diff(meta.min_time.as_millis()),
        );
        let stats = &meta.stats;
        for number in [
            stats.num_samples,
            stats.num_float_samples,
            stats.num_histogram_samples,
            stats.num_series,
            stats.num_chunks,
            stats.num_tombstones,
        ] {
            put_uvarint(out, number);
        }
        put_uvarint(out, u64::from(meta.compaction.level));
        put_uvarint(out, meta.compaction.sources.len() as u64);
        let mut last = 0;
        for source in &meta.compaction.sources {
            let number = i64::try_from(self.id(*source)).unwrap_or(i64::MAX);
            put_varint(out, number - last);
            last = number;
        }
        if let Some(thanos) = &meta.thanos {
            self.put_section(out, thanos);
        }
        if let Some(objects) = &entry.objects {
            put_objects(out, objects);
        }
        let marks = entry.marks;
        for time in [marks.deletion, marks.no_compact, marks.no_downsample]
            .into_iter()
            .flatten()
        {
            put_varint(out, time.as_millis());
        }
        let stamps = entry.stamps;
        for stamp in [
            stamps.meta,
            stamps.deletion,
            stamps.no_compact,
            stamps.no_downsample,
        ] {
            out.extend_from_slice(&Stamp::to_raw(stamp).to_be_bytes());
        }
    }

    fn put_section(&self, out: &mut Vec<u8>, thanos: &ThanosMeta) {
        put_uvarint(out, u64::from(thanos.version));
        put_uvarint(out, thanos.labels.len() as u64);
        for (name, value) in &thanos.labels {
            put_uvarint(out, self.string(name));
            put_uvarint(out, self.string(value));
        }
        put_varint(out, thanos.downsample.resolution_ms);
        put_uvarint(out, self.string(&thanos.source));
        put_uvarint(out, thanos.index_stats.series_max_size);
        put_uvarint(out, thanos.index_stats.chunk_max_size);
        put_text(out, &format!("{:?}", thanos.upload_time));
        if let Some(extensions) = &thanos.extensions {
            put_text(out, &extensions.to_string());
        }
    }
}

fn flags(entry: &BlockEntry) -> u64 {
    let thanos = entry.meta.thanos.as_ref();
    let objects = entry.objects.as_ref();
    let has = [
        (HAS_SECTION, thanos.is_some()),
        (
            HAS_EXTENSIONS,
            thanos.is_some_and(|thanos| thanos.extensions.is_some()),
        ),
        (HAS_OBJECTS, objects.is_some()),
        (
            HAS_SPARSE_HEADER,
            objects.is_some_and(|objects| objects.sparse_header_bytes.is_some()),
        ),
        (HAS_DELETION, entry.marks.deletion.is_some()),
        (HAS_NO_COMPACT, entry.marks.no_compact.is_some()),
        (HAS_NO_DOWNSAMPLE, entry.marks.no_downsample.is_some()),
        (IS_DELETABLE, entry.meta.compaction.deletable),
        (IS_FAILED, entry.meta.compaction.failed),
    ];
    has.iter()
        .filter(|(_, is_set)| *is_set)
        .map(|(flag, _)| flag)
        .sum()
}

fn put_objects(out: &mut Vec<u8>, objects: &BlockObjects) {
    put_uvarint(out, objects.index_bytes);
    put_uvarint(out, objects.segment_bytes.len() as u64);
    for bytes in &objects.segment_bytes {
        put_uvarint(out, *bytes);
    }
    if let Some(bytes) = objects.sparse_header_bytes {
        put_uvarint(out, bytes);
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_uvarint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// The fields at the start, after the checksum was found right.
struct Head {
    made: Timestamp,
    body_bytes: u64,
}

/// What a publisher has to know of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Summary {
    /// When it was made.
    pub(super) made: Timestamp,
    /// A hash of what it says: equal for equal views, whenever they were made.
    pub(super) content: u64,
}

/// Returns the summary of the manifest in `bytes`, whose body is not looked at.
pub(super) fn summary(bytes: &[u8]) -> Result<Summary> {
    let (head, packed) = open(bytes)?;
    Ok(Summary {
        made: head.made,
        content: xxh64(packed, head.body_bytes),
    })
}

/// Returns the manifest in `bytes`.
pub(super) fn decode(bytes: &[u8]) -> Result<Manifest> {
    let in_file = |error: Error| error.in_file(MANIFEST_OBJECT);
    let (head, packed) = open(bytes)?;
    let body = unpack(packed, head.body_bytes).map_err(in_file)?;
    let view = decode_body(&body).map_err(in_file)?;
    Ok(Manifest {
        made: head.made,
        view,
    })
}

/// Checks everything that can be checked without unpacking, and returns the packed body.
fn open(bytes: &[u8]) -> Result<(Head, &[u8])> {
    let corrupt = |message: &str, at: usize| {
        Error::corrupt(message)
            .at(at as u64)
            .in_file(MANIFEST_OBJECT)
    };
    let Some((checked, stored)) = bytes.split_last_chunk::<CHECKSUM_BYTES>() else {
        return Err(corrupt("it is too short for a manifest", 0));
    };
    if xxh64(checked, 0) != u64::from_be_bytes(*stored) {
        return Err(corrupt("the checksum does not match", checked.len()));
    }
    let in_file = |error: Error| error.in_file(MANIFEST_OBJECT);
    let mut cursor = Cursor::new(checked);
    if cursor
        .bytes(MAGIC.len(), "the magic number")
        .map_err(in_file)?
        != MAGIC
    {
        return Err(corrupt("it is no manifest", 0));
    }
    let version = cursor.be32("the version").map_err(in_file)?;
    if version != FORMAT_VERSION {
        let message = format!("manifest of version {version}, this program reads {FORMAT_VERSION}");
        return Err(Error::invalid(message).at(8).in_file(MANIFEST_OBJECT));
    }
    let made = cursor.be64("the time").map_err(in_file)?;
    let body_bytes = cursor.be64("the length of the body").map_err(in_file)?;
    let packed_bytes = cursor
        .be64("the length of the packed body")
        .map_err(in_file)?;
    let packed = checked.get(HEAD_BYTES..).unwrap_or_default();
    if packed.len() as u64 != packed_bytes {
        return Err(corrupt(
            "the packed body is not as long as it says",
            HEAD_BYTES,
        ));
    }
    if body_bytes > BODY_BYTES_MAX {
        return Err(corrupt("the body is longer than manifests are", HEAD_BYTES));
    }
    let made = Timestamp::from_millis(i64::from_be_bytes(made.to_be_bytes()));
    Ok((Head { made, body_bytes }, packed))
}

/// Unpacks a body of `body_bytes`. Memory is taken as bytes come, not as the length says.
fn unpack(packed: &[u8], body_bytes: u64) -> Result<Vec<u8>> {
    let corrupt = || Error::corrupt("the body cannot be unpacked").at(HEAD_BYTES as u64);
    let declared = usize::try_from(body_bytes).map_err(|_| corrupt())?;
    let mut body = Vec::with_capacity(declared.min(packed.len().saturating_mul(USUAL_RATIO)));
    let decoder = zstd::stream::read::Decoder::with_buffer(packed)
        .map_err(|error| corrupt().with_source(error))?;
    // One more than declared, so that a longer body is noticed.
    decoder
        .take(body_bytes + 1)
        .read_to_end(&mut body)
        .map_err(|error| corrupt().with_source(error))?;
    if body.len() != declared {
        let message = format!("the body is not {declared} bytes long as it says");
        return Err(Error::corrupt(message).at(HEAD_BYTES as u64));
    }
    Ok(body)
}

/// The tables of a body that is read.
struct Tables<'a> {
    strings: Vec<&'a str>,
    ids: Vec<BlockId>,
}

/// Offsets in errors count from the start of the unpacked body.
fn decode_body(body: &[u8]) -> Result<BucketView> {
    let mut cursor = Cursor::new(body);
    let count = cursor.uvarint_count(1, "the number of texts")?;
    let mut strings = Vec::with_capacity(count);
    for _ in 0..count {
        strings.push(cursor.uvarint_str("a text")?);
    }
    let count = cursor.uvarint_count(ID_BYTES, "the number of ids")?;
    let mut ids = Vec::with_capacity(count);
    for _ in 0..count {
        let bytes = cursor.bytes(ID_BYTES, "an id")?;
        ids.push(BlockId::from_bytes(
            bytes.try_into().map_err(|_| cursor.corrupt("an id"))?,
        ));
    }
    let tables = Tables { strings, ids };

    let mut view = BucketView::default();
    let count = cursor.uvarint_count(40, "the number of blocks")?;
    let mut blocks: Vec<(BlockId, Arc<BlockEntry>)> = Vec::with_capacity(count);
    for _ in 0..count {
        let entry = tables.block(&mut cursor)?;
        let id = entry.meta.ulid;
        if blocks.last().is_some_and(|(last, _)| *last >= id) {
            return Err(cursor.corrupt(format_args!("block {id} is not in order")));
        }
        blocks.push((id, Arc::new(entry)));
    }
    view.blocks = blocks.into_iter().collect();
    for _ in 0..cursor.uvarint_count(3, "the number of partial blocks")? {
        let id = tables.id(&mut cursor)?;
        let kind = match cursor.uvarint("the kind of a reason")? {
            0 => ErrorKind::NotFound,
            1 => ErrorKind::Corrupt,
            other => return Err(cursor.corrupt(format_args!("reasons have no kind {other}"))),
        };
        let reason = cursor.uvarint_str("a reason")?;
        let object = format!("{id}/{}", thanos_core::block::META_FILE);
        view.partial
            .insert(id, Arc::new(Error::new(kind, reason).in_file(object)));
    }
    if cursor.is_empty() {
        return Ok(view);
    }
    Err(cursor.corrupt("there is more than a manifest has"))
}

impl Tables<'_> {
    fn string(&self, cursor: &mut Cursor<'_>) -> Result<String> {
        let number = cursor.uvarint("the number of a text")?;
        let text = usize::try_from(number)
            .ok()
            .and_then(|number| self.strings.get(number));
        let text = text.ok_or_else(|| cursor.corrupt(format_args!("there is no text {number}")))?;
        Ok((*text).to_owned())
    }

    fn id(&self, cursor: &mut Cursor<'_>) -> Result<BlockId> {
        let number = cursor.uvarint("the number of an id")?;
        self.id_of(Some(number), cursor)
    }

    fn id_of(&self, number: Option<u64>, cursor: &Cursor<'_>) -> Result<BlockId> {
        let place = number.and_then(|number| usize::try_from(number).ok());
        let id = place.and_then(|place| self.ids.get(place)).copied();
        id.ok_or_else(|| cursor.corrupt(format_args!("there is no id {number:?}")))
    }

    fn block(&self, cursor: &mut Cursor<'_>) -> Result<BlockEntry> {
        let mut meta = Meta {
            ulid: self.id(cursor)?,
            version: 1,
            ..Meta::default()
        };
        let flags = cursor.uvarint("flags")?;
        if flags > FLAGS_MAX {
            return Err(cursor.corrupt(format_args!("there are no flags {flags:x}")));
        }
        let has = |flag| flags & flag != 0;
        let min_ms = cursor.varint("the first time")?;
        let length_ms = cursor.uvarint("the length in time")?;
        let max_ms = min_ms.checked_add_unsigned(length_ms);
        let max_ms = max_ms.ok_or_else(|| cursor.corrupt("a block ends after the end of time"))?;
        meta.min_time = Timestamp::from_millis(min_ms);
        meta.max_time = Timestamp::from_millis(max_ms);
        meta.stats = stats(cursor)?;
        meta.compaction.level = cursor.uvarint32("the level")?;
        meta.compaction.sources = self.sources(cursor)?;
        meta.compaction.deletable = has(IS_DELETABLE);
        meta.compaction.failed = has(IS_FAILED);
        if has(HAS_SECTION) {
            meta.thanos = Some(self.section(cursor, has(HAS_EXTENSIONS).into())?);
        }
        let objects = match has(HAS_OBJECTS) {
            true => Some(objects(cursor, has(HAS_SPARSE_HEADER).into())?),
            false => None,
        };
        let mut time = |flag| match has(flag) {
            true => cursor
                .varint("the time of a marker")
                .map(|ms| Some(Timestamp::from_millis(ms))),
            false => Ok(None),
        };
        let marks = Marks {
            deletion: time(HAS_DELETION)?,
            no_compact: time(HAS_NO_COMPACT)?,
            no_downsample: time(HAS_NO_DOWNSAMPLE)?,
        };
        let mut stamp = || cursor.be64("a stamp").map(Stamp::from_raw);
        let stamps = Stamps {
            meta: stamp()?,
            deletion: stamp()?,
            no_compact: stamp()?,
            no_downsample: stamp()?,
        };
        Ok(BlockEntry {
            meta,
            objects,
            marks,
            stamps,
        })
    }

    fn sources(&self, cursor: &mut Cursor<'_>) -> Result<Vec<BlockId>> {
        let count = cursor.uvarint_count(1, "the number of sources")?;
        let mut sources = Vec::with_capacity(count);
        let mut number = 0_i64;
        for _ in 0..count {
            let step = cursor.varint("a source")?;
            number = number.saturating_add(step);
            sources.push(self.id_of(u64::try_from(number).ok(), cursor)?);
        }
        Ok(sources)
    }

    fn section(&self, cursor: &mut Cursor<'_>, extensions: Optional) -> Result<ThanosMeta> {
        let mut thanos = ThanosMeta {
            version: cursor.uvarint32("the version of a section")?,
            ..ThanosMeta::default()
        };
        for _ in 0..cursor.uvarint_count(2, "the number of labels")? {
            let name = self.string(cursor)?;
            thanos.labels.insert(name, self.string(cursor)?);
        }
        thanos.downsample.resolution_ms = cursor.varint("the resolution")?;
        thanos.source = self.string(cursor)?;
        thanos.index_stats = IndexStats {
            series_max_size: cursor.uvarint("the longest entry")?,
            chunk_max_size: cursor.uvarint("the longest chunk")?,
        };
        let uploaded = cursor.uvarint_str("the upload time")?;
        let uploaded = UtcTime::parse_rfc3339(uploaded);
        thanos.upload_time = UploadTime(uploaded.map_err(|error| cursor.corrupt(error.message()))?);
        if extensions == Optional::There {
            let text = cursor.uvarint_str("extensions")?;
            let value = serde_json::from_str(text).map_err(|error| cursor.corrupt(error))?;
            thanos.extensions = Some(value);
        }
        Ok(thanos)
    }
}

/// Whether an optional part is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Optional {
    There,
    Absent,
}

impl From<bool> for Optional {
    fn from(is_there: bool) -> Self {
        match is_there {
            true => Self::There,
            false => Self::Absent,
        }
    }
}

fn stats(cursor: &mut Cursor<'_>) -> Result<Stats> {
    let mut number = || cursor.uvarint("a statistic");
    Ok(Stats {
        num_samples: number()?,
        num_float_samples: number()?,
        num_histogram_samples: number()?,
        num_series: number()?,
        num_chunks: number()?,
        num_tombstones: number()?,
        ..Stats::default()
    })
}

fn objects(cursor: &mut Cursor<'_>, sparse_header: Optional) -> Result<BlockObjects> {
    let mut objects = BlockObjects {
        index_bytes: cursor.uvarint("the length of the index")?,
        ..BlockObjects::default()
    };
    let count = cursor.uvarint_count(1, "the number of chunk files")?;
    objects.segment_bytes.reserve_exact(count);
    for _ in 0..count {
        objects
            .segment_bytes
            .push(cursor.uvarint("the length of a chunk file")?);
    }
    if sparse_header == Optional::There {
        objects.sparse_header_bytes = Some(cursor.uvarint("the length of the sparse header")?);
    }
    Ok(objects)
}

/// Returns `view` with the entries of `before` where nothing changed, so that they are in memory once.
pub(super) fn share(view: &mut BucketView, before: &BTreeMap<BlockId, Arc<BlockEntry>>) {
    for (id, entry) in &mut view.blocks {
        if let Some(known) = before.get(id).filter(|known| *known == entry) {
            *entry = Arc::clone(known);
        }
    }
}
