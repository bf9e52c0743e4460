//! Ranges of chunk files, cut into aligned parts that are kept one by one.
//!
//! Thanos asks for the object's attributes first, because the key of the last part has the object's size in it. Here the
//! parts are looked up together with the attributes, as if the object went on, and an object of which nothing is known
//! costs no extra request: what is read says how long the object is. Reads that are much shorter than their parts are
//! kept under their own ranges ([`super::short`]).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectMeta};

use super::metrics::{Operation, Origin};
use super::short::{ShortReads, is_short};
use super::{Shared, answer, is_past_caches, keys};

/// The parts of one read that are known, by where they start.
type Parts = BTreeMap<u64, Bytes>;

/// What a cache knows of a read.
#[derive(Debug, Default)]
struct Found {
    meta: Option<ObjectMeta>,
    parts: Parts,
    /// All of it, as an earlier read has kept it.
    exact: Option<Bytes>,
}

/// A read that is kept as it is.
struct ShortRead {
    key: String,
    bytes: u64,
}

impl Shared {
    /// Returns the bytes of `range`, fewer where the object ends.
    pub(super) async fn read_subranges(
        &self,
        location: &Path,
        name: &str,
        range: Range<u64>,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.metrics.requested(Operation::GetRange);
        self.metrics.requested(Operation::Attributes);
        self.metrics.requested_bytes(range.end - range.start);
        let part_bytes = self.options.subrange_bytes.max(1);
        let first = range.start / part_bytes;
        let last = (range.end - 1) / part_bytes;
        let starts: Vec<u64> = (first..=last).map(|part| part * part_bytes).collect();

        let short = self.short_read(name, &range, starts.len());
        let mut found = Found::default();
        if !is_past_caches(&options) {
            found = self.look_up(location, name, &starts, short).await;
        }
        let Found {
            meta: known,
            mut parts,
            exact,
        } = found;
        if let Some(meta) = &known {
            self.metrics.hit(Operation::Attributes);
            self.look_up_last(name, &starts, meta.size, &mut parts)
                .await;
        }
        let mut known = known;
        if known.is_none() && !parts.is_empty() && parts.len() < starts.len() {
            // What is not known may lie behind the end, where nothing can be read.
            known = Some(self.attributes_below(location, name, &options).await?);
        }
        let size = known.as_ref().map_or(u64::MAX, |meta| meta.size);
        let wanted: Vec<u64> = starts.into_iter().filter(|start| *start < size).collect();
        let is_whole = wanted.iter().all(|start| parts.contains_key(start));
        if let Some(bytes) = exact.filter(|_| !is_whole && range.end <= size) {
            self.count_exact(&bytes);
            let meta = match known {
                Some(meta) => meta,
                None => self.attributes_below(location, name, &options).await?,
            };
            return Ok(answer(meta, range, vec![bytes]));
        }
        let unknown = wanted.iter().filter(|start| !parts.contains_key(start));
        let unknown: Vec<u64> = unknown.copied().collect();
        if !is_past_caches(&options) && self.is_read_exactly(name, &range, &unknown) {
            return self
                .read_exactly(location, name, range, known, options)
                .await;
        }
        self.count_known(&wanted, &parts);
        let read_meta = self
            .fetch_parts(location, name, &unknown, size, &options, &mut parts)
            .await?;
        let meta = match (known, read_meta) {
            (Some(meta), _) => meta,
            (None, Some(meta)) => {
                self.keep_attributes(name, &meta);
                meta
            }
            // All parts were there, but not how long the object is; or it starts where nothing is.
            (None, None) => self.attributes_below(location, name, &options).await?,
        };
        self.cut(location, meta, range, &parts, options).await
    }

    /// Fetches and keeps the parts that begin at `unknown`, and returns what is said of the object meanwhile.
    async fn fetch_parts(
        &self,
        location: &Path,
        name: &str,
        unknown: &[u64],
        size: u64,
        options: &GetOptions,
        parts: &mut Parts,
    ) -> object_store::Result<Option<ObjectMeta>> {
        let mut read_meta = None;
        let reads = self.requests_for(unknown.iter().copied());
        let reads = reads.into_iter().map(|missing| {
            let wanted = missing.start..missing.end.min(size);
            self.read_part(location, wanted, options)
        });
        let mut reads = stream::iter(reads).buffered(8);
        while let Some((meta, start, bytes)) = reads.try_next().await? {
            self.keep_parts(name, start, &bytes, meta.size, parts);
            read_meta = Some(meta);
        }
        Ok(read_meta)
    }

    async fn attributes_below(
        &self,
        location: &Path,
        name: &str,
        options: &GetOptions,
    ) -> object_store::Result<ObjectMeta> {
        let options = GetOptions {
            range: None,
            head: true,
            ..options.clone()
        };
        self.attributes(location, name, options).await
    }

    /// Returns under which key a read is kept that is much shorter than its parts.
    fn short_read(&self, name: &str, range: &Range<u64>, parts: usize) -> Option<ShortRead> {
        let part_bytes = self.options.subrange_bytes.max(1);
        let is_wanted = self.options.short_reads == ShortReads::Exact;
        (is_wanted && is_short(range.end - range.start, parts, part_bytes)).then(|| ShortRead {
            key: keys::subrange(name, range.start, range.end),
            bytes: range.end - range.start,
        })
    }

    /// Reports whether a read of which the parts `unknown` are not known fetches only what it wants.
    fn is_read_exactly(&self, name: &str, range: &Range<u64>, unknown: &[u64]) -> bool {
        let part_bytes = self.options.subrange_bytes.max(1);
        self.options.short_reads == ShortReads::Exact
            && self
                .short_reads
                .is_read_exactly(name, range, unknown, part_bytes)
    }

    /// Reads `range` and nothing else, and keeps it as it is.
    async fn read_exactly(
        &self,
        location: &Path,
        name: &str,
        range: Range<u64>,
        known: Option<ObjectMeta>,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        let (meta, start, bytes) = self.read_part(location, range.clone(), &options).await?;
        let len = bytes.len() as u64;
        self.metrics.hit_in_part(Operation::GetRange, 0.0);
        self.metrics.fetched_bytes(Origin::Bucket, len);
        if known.is_none() {
            self.keep_attributes(name, &meta);
        }
        let end = start + len;
        if end == range.end {
            let (key, ttl) = (keys::subrange(name, start, end), self.options.subrange_ttl);
            self.put_value(key, bytes.clone(), ttl);
        }
        Ok(answer(meta, start..end, vec![bytes]))
    }

    /// Counts a read that is known as it is.
    fn count_exact(&self, bytes: &Bytes) {
        self.metrics.hit_in_part(Operation::GetRange, 1.0);
        self.metrics
            .fetched_bytes(Origin::Cache, bytes.len() as u64);
    }

    /// Returns what is known of the object, of the whole parts that start at `starts`, and of the read with the key `short`.
    async fn look_up(
        &self,
        location: &Path,
        name: &str,
        starts: &[u64],
        short: Option<ShortRead>,
    ) -> Found {
        let part_bytes = self.options.subrange_bytes.max(1);
        let mut wanted = vec![keys::attributes(name)];
        let key = |start: &u64| keys::subrange(name, *start, start + part_bytes);
        wanted.extend(starts.iter().map(key));
        let short_bytes = short.as_ref().map(|short| short.bytes);
        wanted.extend(short.map(|short| short.key));
        let mut values = self.values(wanted).await.into_iter();
        let attributes = values.next().flatten();
        let meta = attributes.and_then(|value| keys::decode_attributes(location, &value));
        let mut parts = Parts::new();
        for (start, value) in starts.iter().zip(values.by_ref()) {
            // A value of another length is not what the key says.
            if let Some(value) = value.filter(|value| value.len() as u64 == part_bytes) {
                parts.insert(*start, value);
            }
        }
        let exact = values.next().flatten();
        let exact = exact.filter(|value| Some(value.len() as u64) == short_bytes);
        Found { meta, parts, exact }
    }

    /// Looks up the part in which the object ends, which is shorter than the others.
    async fn look_up_last(&self, name: &str, starts: &[u64], size: u64, parts: &mut Parts) {
        let part_bytes = self.options.subrange_bytes.max(1);
        let ends_in = |start: &u64| *start < size && size < start + part_bytes;
        let Some(start) = starts.iter().copied().find(ends_in) else {
            return;
        };
        let key = keys::subrange(name, start, size);
        let value = self.values(vec![key]).await.pop().flatten();
        match value.filter(|value| value.len() as u64 == size - start) {
            Some(value) => parts.insert(start, value),
            None => parts.remove(&start),
        };
    }

    #[expect(clippy::cast_precision_loss, reason = "a share of a few parts")]
    fn count_known(&self, wanted: &[u64], parts: &Parts) {
        let known = wanted.iter().filter(|start| parts.contains_key(start));
        let share = known.count() as f64 / wanted.len().max(1) as f64;
        self.metrics.hit_in_part(Operation::GetRange, share);
        let bytes: usize = parts.values().map(Bytes::len).sum();
        self.metrics.fetched_bytes(Origin::Cache, bytes as u64);
    }

    /// Returns what to ask the bucket for: neighbours together, and so much between them that the requests are as few as
    /// allowed. The gap that is read doubles until they are, as in Thanos.
    fn requests_for(&self, missing: impl Iterator<Item = u64>) -> Vec<Range<u64>> {
        let part_bytes = self.options.subrange_bytes.max(1);
        let ranges = missing.map(|start| start..start.saturating_add(part_bytes));
        let mut requests = merge(ranges, 0);
        let mut gap_bytes = part_bytes;
        while self.options.range_requests_max > 0
            && requests.len() > self.options.range_requests_max
        {
            requests = merge(requests.into_iter(), gap_bytes);
            gap_bytes = gap_bytes.saturating_mul(2);
        }
        requests
    }

    async fn read_part(
        &self,
        location: &Path,
        range: Range<u64>,
        options: &GetOptions,
    ) -> object_store::Result<(ObjectMeta, u64, Bytes)> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(range.clone())),
            ..options.clone()
        };
        let answer = self.inner.get_opts(location, options).await?;
        let (meta, found) = (answer.meta.clone(), answer.range.clone());
        let expected = range.start..range.end.min(meta.size);
        let bytes = answer.bytes().await?;
        // Bytes that are kept must be those of the key: an answer that was cut off must not become one.
        if found != expected || bytes.len() as u64 != expected.end - expected.start {
            let message = format!(
                "asked for bytes {expected:?}, got {} bytes of {found:?}",
                bytes.len()
            );
            return Err(object_store::Error::Generic {
                store: "caching bucket",
                source: message.into(),
            });
        }
        Ok((meta, range.start, bytes))
    }

    /// Keeps the parts of what was read at `start`.
    fn keep_parts(&self, name: &str, start: u64, bytes: &Bytes, size: u64, parts: &mut Parts) {
        let part_bytes = self.options.subrange_bytes.max(1);
        let length = usize::try_from(part_bytes).unwrap_or(usize::MAX);
        let mut from = start;
        for at in (0..bytes.len()).step_by(length) {
            let part = bytes.slice(at..bytes.len().min(at.saturating_add(length)));
            let end = (from + part_bytes).min(size);
            match parts.entry(from) {
                Entry::Occupied(_) => self.metrics.refetched_bytes(part.len() as u64),
                Entry::Vacant(vacant) => {
                    let len = part.len() as u64;
                    self.metrics.fetched_bytes(Origin::Bucket, len);
                    let (key, ttl) = (keys::subrange(name, from, end), self.options.subrange_ttl);
                    self.put_value(key, part.clone(), ttl);
                    vacant.insert(part);
                }
            }
            from = end;
        }
    }

    /// Returns the answer out of `parts`. What they do not hold is asked of the bucket, which knows best: the range starts
    /// where the object has ended, or has changed its size.
    async fn cut(
        &self,
        location: &Path,
        meta: ObjectMeta,
        range: Range<u64>,
        parts: &Parts,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        let end = range.end.min(meta.size);
        let mut pieces = Vec::with_capacity(parts.len());
        let mut at = range.start;
        for (start, part) in parts {
            let offset = |place: u64| {
                let place = place.saturating_sub(*start).min(part.len() as u64);
                usize::try_from(place).unwrap_or(part.len())
            };
            if *start > at || at >= end {
                break;
            }
            let piece = part.slice(offset(at)..offset(end));
            at += piece.len() as u64;
            pieces.push(piece);
        }
        if at != end || range.start >= end {
            return self.inner.get_opts(location, options).await;
        }
        Ok(answer(meta, range.start..end, pieces))
    }
}

/// Joins ranges with at most `gap_bytes` between them.
fn merge(ranges: impl Iterator<Item = Range<u64>>, gap_bytes: u64) -> Vec<Range<u64>> {
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start.saturating_sub(last.end) <= gap_bytes => last.end = range.end,
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_asked_for_together() {
        let parts = [0..10, 10..20, 40..50, 60..70].into_iter();
        assert_eq!(merge(parts.clone(), 0), [0..20, 40..50, 60..70]);
        assert_eq!(merge(parts.clone(), 10), [0..20, 40..70]);
        assert_eq!(merge(parts, 20).len(), 1);
    }
}
