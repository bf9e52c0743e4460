//! An object store that fails as its plan says.
//!
//! What becomes of a request depends on the seed, the question and how often the same question was asked before, not
//! on the order in which questions meet: a failing schedule fails again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result, coalesce_ranges,
};
use parking_lot::Mutex;
use thanos_core::testkit::TestRandom;

/// One way in which a request goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoreFault {
    /// The answer takes longer, up to [`FaultPlan::spike_max`].
    Spike,
    /// The store answers 429, and the client has given up repeating the question.
    Throttled,
    /// The store answers 503, and the client has given up repeating the question.
    Unavailable,
    /// The connection breaks before there is an answer.
    ResetBeforeBody,
    /// The connection breaks inside of the body.
    ResetInBody,
    /// The body ends early, and the client compares it with the announced length.
    ShortBody,
    /// The body ends early, and the client does not care.
    SilentlyShortBody,
    /// One bit of the body is wrong.
    FlippedBit,
    /// The object does not exist, for this one request.
    NotFound,
    /// A write is done, and the connection breaks before the answer is there.
    LostAnswer,
}

impl StoreFault {
    /// Reports whether a listing or a write can meet it: a client sees when their text is damaged.
    fn meets_listings(self) -> bool {
        match self {
            Self::Spike
            | Self::Throttled
            | Self::Unavailable
            | Self::ResetBeforeBody
            | Self::ResetInBody
            | Self::ShortBody => true,
            Self::SilentlyShortBody | Self::FlippedBit | Self::NotFound | Self::LostAnswer => false,
        }
    }
}

/// What a [`FaultyStore`] does, and how often.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan {
    /// What decides which requests fail.
    pub seed: u64,
    /// How many of a thousand requests meet each fault; the sum is at most 1000.
    pub per_mille: Vec<(StoreFault, u32)>,
    /// The longest spike.
    pub spike_max: Duration,
    /// Faults that objects with names of this end never meet.
    pub spared: Vec<(StoreFault, &'static str)>,
}

impl FaultPlan {
    /// Returns what happens to the request with this `question` (what is asked of which object) when it is asked for
    /// the time number `turn`, and the random numbers for it.
    fn decide(&self, question: &Question, turn: u64) -> (Option<StoreFault>, TestRandom) {
        let mut hasher = DefaultHasher::new();
        (self.seed, question, turn).hash(&mut hasher);
        let mut random = TestRandom::new(hasher.finish());
        let mut draw = random.below(1000);
        for (fault, per_mille) in &self.per_mille {
            if draw < u64::from(*per_mille) {
                let spares = |(spared, suffix): &(StoreFault, &str)| {
                    spared == fault && question.object.ends_with(suffix)
                };
                let fault = (!self.spared.iter().any(spares)).then_some(*fault);
                return (fault, random);
            }
            draw -= u64::from(*per_mille);
        }
        (None, random)
    }
}

/// What becomes of the answer to a write that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Comes,
    IsLost,
}

/// What is asked of which object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    what: &'static str,
    object: String,
    range: Option<(u64, u64)>,
}

#[derive(Debug, Default)]
struct State {
    /// `None` while the store is well.
    plan: Option<FaultPlan>,
    /// How many more requests get an answer; `None` for all.
    dies_after: Option<u64>,
    turns: HashMap<Question, u64>,
    injected: BTreeMap<StoreFault, usize>,
    /// Directories that listings leave out.
    hidden: BTreeSet<String>,
    /// Objects that listings show although they are gone.
    ghosts: Vec<ObjectMeta>,
}

impl State {
    fn draw(&mut self, question: Question) -> Option<(StoreFault, TestRandom, Duration)> {
        if let Some(left) = &mut self.dies_after {
            let last = match *left {
                0 => Some(StoreFault::Unavailable),
                1 => Some(StoreFault::LostAnswer),
                _ => None,
            };
            *left = left.saturating_sub(1);
            if let Some(fault) = last {
                return Some((fault, TestRandom::new(0), Duration::ZERO));
            }
        }
        let plan = self.plan.as_ref()?;
        let turn = self.turns.entry(question.clone()).or_default();
        *turn += 1;
        let (fault, mut random) = plan.decide(&question, *turn);
        let fault = fault?;
        *self.injected.entry(fault).or_default() += 1;
        let spike_ms = u64::try_from(plan.spike_max.as_millis()).unwrap_or(u64::MAX);
        let spike = Duration::from_millis(random.below(spike_ms.saturating_add(1)));
        Some((fault, random, spike))
    }
}

/// An [`ObjectStore`] that fails now and then, and whose listings can be stale.
///
/// Its place is right above the store that keeps the objects, as if it were the network. Errors are those of a client
/// that has repeated the question in vain. Writes and deletions are refused or done, never half done; of some that are done
/// the answer is lost.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    state: Arc<Mutex<State>>,
}

impl FaultyStore {
    /// Returns `inner`, which is well until it gets a plan.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self {
            inner,
            state: Arc::default(),
        }
    }

    /// Makes requests fail as `plan` says from now on.
    pub fn start(&self, plan: FaultPlan) {
        let mut state = self.state.lock();
        state.plan = Some(plan);
        state.turns.clear();
    }

    /// Lets `requests` more requests through, as if the process died then: of the last one, if it is a write, the answer
    /// is lost, and all later ones fail.
    pub fn die_after(&self, requests: u64) {
        self.state.lock().dies_after = Some(requests);
    }

    /// Makes the store well again, and its listings up to date. Bodies that are under way fail as they were planned to.
    pub fn stop(&self) {
        let mut state = self.state.lock();
        state.plan = None;
        state.dies_after = None;
        state.hidden.clear();
        state.ghosts.clear();
    }

    /// Leaves everything under the top-level `directory` out of listings, as one that is older than the directory.
    pub fn hide(&self, directory: &str) {
        self.state.lock().hidden.insert(directory.to_owned());
    }

    /// Keeps what is under the top-level `directory` now in listings, even when it is deleted later.
    ///
    /// # Errors
    ///
    /// When the store below cannot be listed.
    pub async fn keep_listed(&self, directory: &str) -> Result<()> {
        let mut listing = self.inner.list(Some(&Path::from(directory)));
        while let Some(meta) = listing.next().await {
            self.state.lock().ghosts.push(meta?);
        }
        Ok(())
    }

    /// Returns how many requests met each fault so far.
    pub fn injected(&self) -> BTreeMap<StoreFault, usize> {
        self.state.lock().injected.clone()
    }

    fn draw(&self, question: Question) -> Option<(StoreFault, TestRandom, Duration)> {
        self.state.lock().draw(question)
    }

    /// Returns the same store.
    fn sharing(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            state: Arc::clone(&self.state),
        }
    }

    /// What happens to a request without a body in its answer: nothing, a delay, or an error.
    async fn on_request(&self, what: &'static str, object: &str) -> Result<()> {
        let question = Question {
            what,
            object: object.to_owned(),
            range: None,
        };
        match self.draw(question) {
            None => Ok(()),
            Some((StoreFault::Spike, _, spike)) => {
                tokio::time::sleep(spike).await;
                Ok(())
            }
            Some((StoreFault::NotFound, ..)) if what == "head" => Err(not_found(object)),
            Some((fault, ..)) if fault.meets_listings() => Err(generic(object, fault)),
            Some(_) => Ok(()),
        }
    }

    /// What happens to a write: nothing, a delay, an error before it, or one after it.
    async fn on_write(&self, what: &'static str, object: &str) -> Result<Answer> {
        let question = Question {
            what,
            object: object.to_owned(),
            range: None,
        };
        match self.draw(question) {
            None => Ok(Answer::Comes),
            Some((StoreFault::LostAnswer, ..)) => Ok(Answer::IsLost),
            Some((StoreFault::Spike, _, spike)) => {
                tokio::time::sleep(spike).await;
                Ok(Answer::Comes)
            }
            Some((fault, ..)) if fault.meets_listings() => Err(generic(object, fault)),
            Some(_) => Ok(Answer::Comes),
        }
    }

    /// Applies what makes listings stale.
    fn is_hidden(&self, location: &Path) -> bool {
        let state = self.state.lock();
        let first = location.parts().next();
        first.is_some_and(|first| state.hidden.contains(first.as_ref()))
    }

    /// Returns `listing` as an older one: without what is hidden, with what is gone, and perhaps with an error.
    fn stale_listing(
        &self,
        what: &'static str,
        prefix: Option<&Path>,
        offset: Option<&Path>,
        listing: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let under = |meta: &ObjectMeta| {
            prefix.is_none_or(|prefix| meta.location.prefix_matches(prefix))
                && offset.is_none_or(|offset| meta.location > *offset)
        };
        let (hidden, ghosts) = {
            let state = self.state.lock();
            let ghosts: Vec<_> = state
                .ghosts
                .iter()
                .filter(|meta| under(meta))
                .cloned()
                .collect();
            (state.hidden.clone(), ghosts)
        };
        let question = Question {
            what,
            object: prefix.map(Path::to_string).unwrap_or_default(),
            range: None,
        };
        let name = question.object.clone();
        let fault = self.draw(question);
        let answer = async move {
            let mut fails_after = None;
            match fault {
                None => {}
                Some((StoreFault::Spike, _, spike)) => tokio::time::sleep(spike).await,
                Some((fault, ..)) if !fault.meets_listings() => {}
                Some((fault, mut random, _)) => fails_after = Some((fault, random.below(20))),
            }
            let found: Vec<Result<ObjectMeta>> = listing.collect().await;
            let mut found: Vec<ObjectMeta> = match found.into_iter().collect() {
                Ok(found) => found,
                Err(error) => return vec![Err(error)],
            };
            let known: BTreeSet<Path> = found.iter().map(|meta| meta.location.clone()).collect();
            found.extend(
                ghosts
                    .into_iter()
                    .filter(|meta| !known.contains(&meta.location)),
            );
            found.retain(|meta| {
                let first = meta.location.parts().next();
                first.is_none_or(|first| !hidden.contains(first.as_ref()))
            });
            found.sort_by(|a, b| a.location.cmp(&b.location));
            let mut events: Vec<Result<ObjectMeta>> = found.into_iter().map(Ok).collect();
            if let Some((fault, after)) = fails_after {
                events.truncate(usize::try_from(after).unwrap_or(0));
                events.push(Err(generic(&name, fault)));
            }
            events
        };
        answer.map(stream::iter).flatten_stream().boxed()
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.inner)
    }
}

fn generic(object: &str, fault: StoreFault) -> object_store::Error {
    let reset = || std::io::Error::from(std::io::ErrorKind::ConnectionReset).to_string();
    let what = match fault {
        StoreFault::Throttled => "server returned 429 Too Many Requests".to_owned(),
        StoreFault::Spike | StoreFault::Unavailable => {
            "server returned 503 Service Unavailable".to_owned()
        }
        StoreFault::ShortBody | StoreFault::SilentlyShortBody => {
            "end of file before message length reached".to_owned()
        }
        StoreFault::ResetBeforeBody
        | StoreFault::ResetInBody
        | StoreFault::FlippedBit
        | StoreFault::NotFound
        | StoreFault::LostAnswer => reset(),
    };
    object_store::Error::Generic {
        store: "FaultyStore",
        source: format!("{object}: {what}").into(),
    }
}

fn not_found(object: &str) -> object_store::Error {
    object_store::Error::NotFound {
        path: object.to_owned(),
        source: "injected".into(),
    }
}

/// Returns the body of `answer`, damaged by `fault`.
async fn damaged(
    object: String,
    answer: GetResult,
    fault: StoreFault,
    mut random: TestRandom,
) -> BoxStream<'static, Result<Bytes>> {
    let body = match answer.bytes().await {
        Ok(body) => body,
        Err(error) => return stream::once(async { Err(error) }).boxed(),
    };
    let place = |random: &mut TestRandom| {
        usize::try_from(random.below(body.len() as u64)).expect("below a length")
    };
    let cut = place(&mut random);
    match fault {
        StoreFault::ResetInBody | StoreFault::ShortBody => {
            let (head, error) = (body.slice(..cut), generic(&object, fault));
            stream::iter([Ok(head), Err(error)]).boxed()
        }
        StoreFault::SilentlyShortBody => {
            let head = body.slice(..cut);
            stream::once(async { Ok(head) }).boxed()
        }
        StoreFault::FlippedBit => {
            let mut bytes = BytesMut::from(&body[..]);
            if let Some(byte) = bytes.get_mut(cut) {
                *byte ^= 1 << random.below(8);
            }
            stream::once(async { Ok(bytes.freeze()) }).boxed()
        }
        StoreFault::Spike
        | StoreFault::Throttled
        | StoreFault::Unavailable
        | StoreFault::ResetBeforeBody
        | StoreFault::NotFound
        | StoreFault::LostAnswer => stream::once(async { Ok(body) }).boxed(),
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let answer = self.on_write("put", location.as_ref()).await?;
        let written = self.inner.put_opts(location, payload, opts).await;
        match answer {
            Answer::Comes => written,
            Answer::IsLost => Err(generic(location.as_ref(), StoreFault::LostAnswer)),
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.on_request("multipart", location.as_ref()).await?;
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if options.head {
            self.on_request("head", location.as_ref()).await?;
            return self.inner.get_opts(location, options).await;
        }
        let question = Question {
            what: "get",
            object: location.to_string(),
            range: match &options.range {
                Some(object_store::GetRange::Bounded(range)) => Some((range.start, range.end)),
                Some(
                    object_store::GetRange::Offset(place) | object_store::GetRange::Suffix(place),
                ) => Some((*place, u64::MAX)),
                None => None,
            },
        };
        let fault = self.draw(question);
        match fault {
            Some((StoreFault::Spike, _, spike)) => tokio::time::sleep(spike).await,
            Some((StoreFault::NotFound, ..)) => return Err(not_found(location.as_ref())),
            Some((
                fault @ (StoreFault::Throttled
                | StoreFault::Unavailable
                | StoreFault::ResetBeforeBody),
                ..,
            )) => return Err(generic(location.as_ref(), fault)),
            _ => {}
        }
        let answer = self.inner.get_opts(location, options).await?;
        let Some((fault, random, _)) = fault else {
            return Ok(answer);
        };
        let (meta, range) = (answer.meta.clone(), answer.range.clone());
        let (attributes, extensions) = (answer.attributes.clone(), answer.extensions.clone());
        let body = damaged(location.to_string(), answer, fault, random);
        Ok(GetResult {
            payload: GetResultPayload::Stream(body.flatten_stream().boxed()),
            meta,
            range,
            attributes,
            extensions,
        })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let read = |range| self.get_range(location, range);
        coalesce_ranges(ranges, read, OBJECT_STORE_COALESCE_DEFAULT).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (store, inner) = (self.sharing(), Arc::clone(&self.inner));
        let delete = move |location: Result<Path>| {
            let (store, inner) = (store.sharing(), Arc::clone(&inner));
            async move {
                let location = location?;
                let answer = store.on_write("delete", location.as_ref()).await?;
                inner.delete(&location).await?;
                match answer {
                    Answer::Comes => Ok(location),
                    Answer::IsLost => Err(generic(location.as_ref(), StoreFault::LostAnswer)),
                }
            }
        };
        locations.map(delete).buffered(1).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.stale_listing("list", prefix, None, self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let listing = self.inner.list_with_offset(prefix, offset);
        self.stale_listing("list", prefix, Some(offset), listing)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let whole = Path::default();
        let place = prefix.unwrap_or(&whole);
        self.on_request("list", place.as_ref()).await?;
        let mut listing = self.inner.list_with_delimiter(prefix).await?;
        let ghosts = self.state.lock().ghosts.clone();
        let depth = place.parts().count();
        for ghost in ghosts {
            if !ghost.location.prefix_matches(place) {
                continue;
            }
            let child: Path = ghost.location.parts().take(depth + 1).collect();
            if child == ghost.location {
                listing.objects.push(ghost);
            } else {
                listing.common_prefixes.push(child);
            }
        }
        listing.common_prefixes.sort_unstable();
        listing.common_prefixes.dedup();
        listing.common_prefixes.retain(|path| !self.is_hidden(path));
        listing.objects.sort_by(|a, b| a.location.cmp(&b.location));
        listing.objects.dedup_by(|a, b| a.location == b.location);
        listing
            .objects
            .retain(|meta| !self.is_hidden(&meta.location));
        Ok(listing)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.on_request("copy", from.as_ref()).await?;
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.on_request("rename", from.as_ref()).await?;
        self.inner.rename_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use thanos_core::ErrorKind;

    use super::*;
    use crate::Bucket;

    async fn faulty_bucket(fault: StoreFault) -> (Arc<FaultyStore>, Bucket) {
        let store = Arc::new(FaultyStore::new(Arc::new(InMemory::new())));
        let bucket = Bucket::new(store.clone());
        for name in ["a/x", "a/y", "b/x"] {
            bucket.put(name, vec![7; 100].into()).await.unwrap();
        }
        store.start(FaultPlan {
            seed: 1,
            per_mille: vec![(fault, 1000)],
            spike_max: Duration::from_secs(1),
            spared: vec![(fault, "b/x")],
        });
        (store, bucket)
    }

    #[tokio::test(start_paused = true)]
    async fn each_fault_fails_a_read_and_names_the_object() {
        for (fault, kind) in [
            (StoreFault::Throttled, ErrorKind::Unavailable),
            (StoreFault::Unavailable, ErrorKind::Unavailable),
            (StoreFault::ResetBeforeBody, ErrorKind::Unavailable),
            (StoreFault::ResetInBody, ErrorKind::Unavailable),
            (StoreFault::ShortBody, ErrorKind::Unavailable),
            (StoreFault::NotFound, ErrorKind::NotFound),
        ] {
            let (store, bucket) = faulty_bucket(fault).await;
            let error = bucket.read_range("a/x", 10..90).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.file()),
                (kind, Some("a/x")),
                "{fault:?}: {error}"
            );
            assert!(store.injected()[&fault] >= 1);
            assert_eq!(bucket.read("b/x", 100).await.unwrap().len(), 100, "spared");
            store.stop();
            assert_eq!(
                bucket.read("a/x", 100).await.unwrap().len(),
                100,
                "well again"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flipped_bit_is_one_bit_and_a_spike_is_a_delay() {
        let (_, bucket) = faulty_bucket(StoreFault::FlippedBit).await;
        let body = bucket.read_range("a/x", 0..100).await.unwrap();
        let wrong: u32 = body.iter().map(|byte| (byte ^ 7).count_ones()).sum();
        assert_eq!((body.len(), wrong), (100, 1));

        let (_, bucket) = faulty_bucket(StoreFault::Spike).await;
        let start = tokio::time::Instant::now();
        for _ in 0..10 {
            assert_eq!(
                bucket.read_range("a/x", 0..100).await.unwrap(),
                vec![7; 100]
            );
        }
        assert!(
            start.elapsed() > Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test]
    async fn listings_can_be_older_than_the_bucket() {
        let (store, bucket) = faulty_bucket(StoreFault::NotFound).await;
        store.start(FaultPlan::default());
        store.hide("a");
        store.keep_listed("b").await.unwrap();
        bucket.delete("b/x").await.unwrap();
        assert_eq!(bucket.top_directories().await.unwrap(), ["b"]);
        let names = |objects: Vec<(String, u64)>| {
            objects
                .into_iter()
                .map(|object| object.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(bucket.objects_under("a").await.unwrap()), [""; 0]);
        assert_eq!(names(bucket.objects_under("b").await.unwrap()), ["b/x"]);
        store.stop();
        assert_eq!(bucket.top_directories().await.unwrap(), ["a"]);
        assert_eq!(
            names(bucket.objects_under("a").await.unwrap()),
            ["a/x", "a/y"]
        );
    }

    #[tokio::test]
    async fn a_listing_that_fails_says_so() {
        let (_, bucket) = faulty_bucket(StoreFault::Unavailable).await;
        assert!(bucket.top_directories().await.is_err());
        assert!(bucket.objects_under("a").await.is_err());
    }
}
