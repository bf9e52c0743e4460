//! Building an index-header from ranges of an index in the bucket.
//!
//! ```text
//! short index: all of it                                                      one round trip
//! long index:  head and tail at once -> what they lack, in parts, several at once    two round trips
//! ```
//!
//! The head holds magic, version and the first symbols; the tail holds the contents and, often, the whole postings
//! table. Source of the length of parts: Thanos' `pkg/block/indexheader`, which downloads 16 MiB at a time.

use std::ops::Range;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use thanos_core::indexheader::{HeaderSource, HeaderWriter, build_header};
use thanos_core::{Error, Result};

use crate::Bucket;

/// How much is read at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadLengths {
    /// An index up to this length is read whole: the bytes take less time than a second round trip.
    pub(super) whole_max: u64,
    /// What is read of a longer one before it is known where its parts lie, at either end; no more than the index has,
    /// no less than its contents take.
    pub(super) end: u64,
    /// The length of one download; several go on at once.
    pub(super) part: u64,
}

/// What is read at once.
pub(super) const READ_LENGTHS: ReadLengths = ReadLengths {
    whole_max: 512 << 10,
    end: 64 << 10,
    part: 16 << 20,
};
/// How many downloads of one header go on at once.
const PARTS_AT_ONCE: usize = 4;

/// Returns the header of the index `object`, which has `index_len` bytes. It is not checked.
pub(super) async fn build(
    bucket: &Bucket,
    object: &str,
    index_len: u64,
    lengths: ReadLengths,
) -> Result<Vec<u8>> {
    let in_index = |error: Error| error.in_file(object);
    let tail_range = HeaderSource::toc_range(index_len).map_err(in_index)?;
    if index_len <= lengths.whole_max {
        let index = bucket.read_range(object, 0..index_len).await?;
        return build_header(&index).map_err(in_index);
    }
    let tail_start = tail_range.end - lengths.end;
    let (head, tail) = futures::future::try_join(
        bucket.read_range(object, 0..lengths.end),
        bucket.read_range(object, tail_start..index_len),
    )
    .await?;
    let ends = Ends {
        head,
        tail,
        tail_start,
        part_bytes: lengths.part,
    };
    let source = ends.source(index_len).map_err(in_index)?;
    let capacity = usize::try_from(source.header_len())
        .map_err(|_| Error::limit_exceeded("index-header is too long"))?;
    let mut writer = HeaderWriter::new(Vec::with_capacity(capacity), source).map_err(in_index)?;
    let mut parts = parts(bucket, object, &ends, &source);
    while let Some((section, part)) = parts.try_next().await? {
        match section {
            Section::Symbols => writer.write_symbols(&part),
            Section::PostingsTable => writer.write_postings_table(&part),
        }
        .map_err(in_index)?;
    }
    writer.finish().map_err(in_index)
}

/// The two ends of an index, and how the rest is read.
struct Ends {
    head: Bytes,
    tail: Bytes,
    tail_start: u64,
    part_bytes: u64,
}

impl Ends {
    fn source(&self, index_len: u64) -> Result<HeaderSource> {
        let part = |range: Range<u64>| self.slice(range).unwrap_or_default();
        let head = part(HeaderSource::head_range());
        HeaderSource::decode(&head, &part(HeaderSource::toc_range(index_len)?), index_len)
    }

    /// Returns `range` if it lies in one of the ends.
    fn slice(&self, range: Range<u64>) -> Option<Bytes> {
        let of = |end: &Bytes, start: u64| {
            let from = usize::try_from(range.start.checked_sub(start)?).ok()?;
            let to = usize::try_from(range.end.checked_sub(start)?).ok()?;
            (from <= to && to <= end.len()).then(|| end.slice(from..to))
        };
        of(&self.head, 0).or_else(|| of(&self.tail, self.tail_start))
    }

    /// Cuts `range` where an end begins or stops and into pieces of at most a part.
    fn cut(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut cuts = Vec::new();
        let mut start = range.start;
        while start < range.end {
            let borders = [
                self.head.len() as u64,
                self.tail_start,
                start + self.part_bytes,
                range.end,
            ];
            let ahead = borders.into_iter().filter(|border| *border > start);
            let end = ahead.min().unwrap_or(range.end);
            cuts.push(start..end);
            start = end;
        }
        cuts
    }
}

#[derive(Debug, Clone, Copy)]
enum Section {
    Symbols,
    PostingsTable,
}

/// Downloads both sections in parts, in order, some ahead of the one that is wanted.
fn parts<'a>(
    bucket: &'a Bucket,
    object: &'a str,
    ends: &'a Ends,
    source: &HeaderSource,
) -> impl futures::Stream<Item = Result<(Section, Bytes)>> + Unpin + 'a {
    let of = |section, range| {
        let cuts = ends.cut(range).into_iter();
        cuts.map(move |range| (section, range))
    };
    let mut wanted: Vec<(Section, Range<u64>)> = Vec::new();
    wanted.extend(of(Section::Symbols, source.symbols()));
    wanted.extend(of(Section::PostingsTable, source.postings_table()));
    let reads = wanted.into_iter().map(move |(section, range)| async move {
        let part = match ends.slice(range.clone()) {
            Some(part) => part,
            None => bucket.read_range(object, range).await?,
        };
        Ok::<_, Error>((section, part))
    });
    Box::pin(futures::stream::iter(reads).buffered(PARTS_AT_ONCE))
}
