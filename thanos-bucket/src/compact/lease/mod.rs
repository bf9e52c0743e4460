//! Who works on what: leases of jobs, kept in the bucket by conditional writes.
//!
//! Every job has a *journal*, a row of numbered slots each of which is written once, by whoever creates its object first:
//!
//! ```text
//! 1 lease of a      a works
//! 2 lease of b      a's lease ran out, b works
//! 3 commit of b     b's blocks are the result; they are published, and their sources are marked
//! ```
//!
//! The number of a lease's slot is its fencing token. The result of a lease in slot n is a commit in slot n + 1, and so is
//! every later lease: whoever has lost a lease finds that slot taken, and can publish nothing. That holds whatever the
//! clocks say; a clock that is wrong makes two do the same work, and one of them throws it away. A commit holds the
//! `meta.json` of the new blocks, so that whoever comes next can carry out what was decided if its owner died, or does not
//! know yet that it is decided. A lease names the decision that it comes after.
//!
//! Blocks get the names of their attempt ([`Lease::block_id`]): what a late worker uploads falls upon nobody else's objects.
//!
//! A store without conditional writes cannot do this. There one worker works alone, which [`Leases::open`] finds out.

mod format;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use thanos_core::block::BlockId;
use thanos_core::time::{Clock, SystemClock};
use thanos_core::{Error, ErrorKind, Result};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub use format::Commit;
#[cfg(any(test, feature = "testkit"))]
pub(crate) use format::fuzz_slot;
use format::{Entry, EntryKind, JOURNALS, LeaseEntry};

use crate::Bucket;
use crate::bucket::{ObjectInfo, PutCondition};

/// A commit holds a `meta.json` for each new block, and these name all their sources.
const ENTRY_BYTES_MAX: u64 = 64 << 20;
/// Slots are kept this long after the last word in their journal: longer than any view of a bucket is used, and than any
/// worker sleeps.
const KEPT_MS: i64 = 24 * 3600 * 1000;

/// How leases are taken.
#[derive(Debug, Clone)]
pub struct LeaseOptions {
    /// Who takes them, different for every process.
    pub owner: String,
    /// How long a lease lasts that is not renewed, in milliseconds. It is renewed three times in this time.
    pub ttl_ms: i64,
    /// How far the clocks of two workers may differ, in milliseconds.
    pub clock_skew_ms: i64,
    /// What tells the time.
    pub clock: Arc<dyn Clock>,
}

impl Default for LeaseOptions {
    fn default() -> Self {
        let process = std::process::id();
        Self {
            owner: format!("{process}-{:016x}", random_word()),
            ttl_ms: 5 * 60 * 1000,
            clock_skew_ms: 30 * 1000,
            clock: Arc::new(SystemClock),
        }
    }
}

/// The keys of the standard library's hash maps are the randomness that there is without a dependency.
fn random_word() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Whether several workers can share the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coordination {
    /// They can: the store has conditional writes.
    Shared,
    /// They cannot: only one worker may work on the bucket.
    Alone,
}

/// The leases of a bucket.
#[derive(Debug, Clone)]
pub struct Leases {
    bucket: Bucket,
    options: LeaseOptions,
    coordination: Coordination,
}

/// What came of asking for a lease.
#[derive(Debug)]
pub enum Acquired {
    /// The job is ours.
    Held(Box<Lease>),
    /// Somebody else works on it.
    Elsewhere,
}

impl Leases {
    /// Finds out whether several workers can share `bucket`, by two small writes.
    ///
    /// # Errors
    ///
    /// What the bucket reports, other than that it knows no conditions.
    pub async fn open(bucket: Bucket, options: LeaseOptions) -> Result<Self> {
        let probe = format!("{JOURNALS}/probe-{}-{:016x}", options.owner, random_word());
        let create = || bucket.put_if(&probe, Bytes::from_static(b"{}"), PutCondition::Absent);
        let coordination = match create().await {
            Err(error) if error.kind() == ErrorKind::Invalid => Coordination::Alone,
            // Some stores take the condition and do not look at it.
            first => match first.and(create().await)? {
                Some(_) => Coordination::Alone,
                None => Coordination::Shared,
            },
        };
        bucket.delete(&probe).await?;
        if coordination == Coordination::Alone {
            tracing::warn!(
                "the object storage has no conditional writes: only one compactor may work on this bucket"
            );
        }
        Ok(Self {
            bucket,
            options,
            coordination,
        })
    }

    /// Returns leases for the only worker of `bucket`: they cost no request and bind nobody.
    pub fn alone(bucket: Bucket, options: LeaseOptions) -> Self {
        Self {
            bucket,
            options,
            coordination: Coordination::Alone,
        }
    }

    /// Tells whether several workers can share the bucket.
    pub fn coordination(&self) -> Coordination {
        self.coordination
    }

    /// Asks for the lease of `job`, a path of names; it is renewed until it is dropped.
    ///
    /// # Errors
    ///
    /// What the bucket reports, and `Invalid` for a journal of a newer version.
    pub async fn acquire(&self, job: &str) -> Result<Acquired> {
        let attempt = format!("{:016x}{:016x}", random_word(), random_word());
        let journal = Journal {
            bucket: self.bucket.clone().expecting_missing().past_caches(),
            directory: format!("{JOURNALS}/{job}"),
        };
        if self.coordination == Coordination::Alone {
            return Ok(Acquired::Held(self.held(journal, 0, attempt, None)));
        }
        let slots = journal.slots().await?;
        let last = slots.last().map_or(0, |(slot, _)| *slot);
        let mut previous = None;
        for (slot, _) in slots.iter().rev() {
            let lease = match journal.read(*slot).await? {
                Slot::Entry(EntryKind::Commit(commit)) => {
                    previous = Some((*slot, commit));
                    break;
                }
                // Somebody has just released it. What it was must not be guessed.
                Slot::Missing => return Ok(Acquired::Elsewhere),
                Slot::Entry(EntryKind::Lease(lease)) => lease,
                Slot::Damaged => continue,
            };
            // Before a lease that ran out there may be a decision that is not carried out yet.
            if *slot == last && self.is_held(&lease) {
                return Ok(Acquired::Elsewhere);
            }
        }
        let slot = last + 1;
        let entry = self.lease_entry(&attempt, after(previous.as_ref()));
        if !journal.create(slot, &entry).await? {
            return Ok(Acquired::Elsewhere);
        }
        let unfinished = previous.as_ref().filter(|(_, commit)| !commit.is_finished);
        let needed_from = unfinished.map_or(last, |(slot, _)| *slot);
        self.forget_old(&journal, &slots, needed_from).await;
        Ok(Acquired::Held(self.held(journal, slot, attempt, previous)))
    }

    fn held(
        &self,
        journal: Journal,
        slot: u64,
        attempt: String,
        previous: Option<(u64, Commit)>,
    ) -> Box<Lease> {
        let mut lease = Box::new(Lease {
            leases: self.clone(),
            journal,
            slot,
            attempt,
            previous,
            lost: Arc::default(),
            renewal: None,
        });
        if self.coordination == Coordination::Shared {
            lease.renewal = Some(tokio::spawn(lease.renew()));
        }
        lease
    }

    fn is_held(&self, lease: &LeaseEntry) -> bool {
        let now = self.options.clock.now().as_millis();
        let expires_ms = lease.expires_ms.saturating_add(self.options.clock_skew_ms);
        // Our own lease that nobody holds any more is left from work that was dropped.
        lease.owner != self.options.owner && now <= expires_ms
    }

    fn lease_entry(&self, attempt: &str, after: &str) -> Entry {
        let now = self.options.clock.now().as_millis();
        Entry::new(EntryKind::Lease(LeaseEntry {
            owner: self.options.owner.clone(),
            expires_ms: now.saturating_add(self.options.ttl_ms),
            attempt: attempt.to_owned(),
            after: Some(after.to_owned()),
        }))
    }

    /// Removes slots before `needed_from` that nobody can ask for any more; what stays is removed the next time.
    async fn forget_old(&self, journal: &Journal, slots: &[(u64, ObjectInfo)], needed_from: u64) {
        let before = slots.iter().filter(|(slot, _)| *slot < needed_from);
        for (_, info) in before.filter(|(_, info)| self.is_old(info)) {
            let _ = journal.bucket.delete(&info.name).await;
        }
    }

    fn is_old(&self, info: &ObjectInfo) -> bool {
        let now = self.options.clock.now().as_millis();
        now.saturating_sub(info.modified.as_millis()) > KEPT_MS
    }

    /// Removes the journals in which nothing has been written for a day, but for those with a decision that nobody has
    /// carried out to its end: of its blocks some may be visible, and only it knows of the others.
    ///
    /// # Errors
    ///
    /// What the bucket reports.
    pub async fn sweep(&self) -> Result<()> {
        if self.coordination == Coordination::Alone {
            return Ok(());
        }
        let found = self.bucket.objects_in(JOURNALS).await?;
        let directory = |info: &ObjectInfo| {
            let (directory, _) = info.name.rsplit_once('/').unwrap_or_default();
            directory.to_owned()
        };
        for journal in found.chunk_by(|a, b| directory(a) == directory(b)) {
            let is_old = journal.iter().all(|info| self.is_old(info));
            if is_old && !self.is_unfinished(journal).await? {
                for info in journal {
                    self.bucket.delete(&info.name).await?;
                }
            }
        }
        Ok(())
    }

    /// Reports whether the last decision among these slots, which are those of one journal, is to be carried out yet.
    async fn is_unfinished(&self, slots: &[ObjectInfo]) -> Result<bool> {
        let Some(directory) = slots.first().and_then(|info| info.name.rsplit_once('/')) else {
            return Ok(false);
        };
        let journal = Journal {
            bucket: self.bucket.clone().expecting_missing().past_caches(),
            directory: directory.0.to_owned(),
        };
        let mut numbers: Vec<u64> = slots
            .iter()
            .filter_map(|info| journal.number(info))
            .collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        for slot in numbers {
            match journal.read(slot).await? {
                Slot::Entry(EntryKind::Commit(commit)) => return Ok(!commit.is_finished),
                Slot::Missing | Slot::Damaged | Slot::Entry(EntryKind::Lease(_)) => {}
            }
        }
        Ok(false)
    }
}

/// What became of a commit.
#[derive(Debug)]
pub enum Committed {
    /// It is decided: carry it out, and then say so with [`Lease::finish`].
    Yes(Box<Commit>),
    /// The lease was lost, and the result is void: what was uploaded may be removed.
    Lost,
}

/// The right to work on a job. Dropping it ends its renewal; others take over when it runs out.
#[derive(Debug)]
pub struct Lease {
    leases: Leases,
    journal: Journal,
    /// The fencing token; 0 for the only worker.
    slot: u64,
    attempt: String,
    /// The last decision about the job, and its slot.
    previous: Option<(u64, Commit)>,
    lost: Arc<Lost>,
    renewal: Option<JoinHandle<()>>,
}

/// Whether somebody else has taken over.
#[derive(Debug, Default)]
struct Lost {
    /// The next slot may be taken by us.
    is_deciding: AtomicBool,
    is_lost: AtomicBool,
    told: Notify,
}

impl Lease {
    /// Returns the decision of a predecessor that nobody has carried out to its end: it comes before any other work.
    pub fn unfinished(&self) -> Option<&Commit> {
        self.previous().filter(|commit| !commit.is_finished)
    }

    /// Returns the last decision about the job, if it is still known.
    pub fn previous(&self) -> Option<&Commit> {
        self.previous.as_ref().map(|(_, commit)| commit)
    }

    /// Returns the name of this attempt's new block number `number`.
    pub fn block_id(&self, number: u32) -> BlockId {
        let mut hasher = Sha256::new();
        hasher.update(self.journal.directory.as_bytes());
        hasher.update(self.attempt.as_bytes());
        hasher.update(number.to_be_bytes());
        let hash = hasher.finalize();
        let word = hash.iter().take(10);
        let random = word.fold(0_u128, |word, byte| word << 8 | u128::from(*byte));
        BlockId::from_parts(self.leases.options.clock.now(), random)
    }

    /// Waits until the lease is known to be lost.
    pub async fn lost(&self) {
        loop {
            let told = self.lost.told.notified();
            if self.lost.is_lost.load(Ordering::Acquire) {
                return;
            }
            told.await;
        }
    }

    /// Returns a commit of this attempt.
    pub fn decision(&self) -> Commit {
        Commit {
            owner: self.leases.options.owner.clone(),
            attempt: self.attempt.clone(),
            is_finished: false,
            blocks: Vec::new(),
            no_compact: String::new(),
            sources: Vec::new(),
            details: String::new(),
        }
    }

    /// Decides that `commit` is the result of the job, if the lease still holds.
    ///
    /// # Errors
    ///
    /// When nobody knows whether it is decided: then nothing may be published or removed, the next lease finds out.
    pub async fn commit(&self, commit: Commit) -> Result<Committed> {
        if self.slot > 0 {
            self.lost.is_deciding.store(true, Ordering::Release);
            let slot = self.slot + 1;
            let entry = Entry::new(EntryKind::Commit(commit.clone()));
            if !self.journal.create(slot, &entry).await? {
                return Ok(Committed::Lost);
            }
            self.check_stands(&commit).await?;
        }
        Ok(Committed::Yes(Box::new(commit)))
    }

    /// Checks that whoever came after `commit`, which has just been written, knew of it.
    ///
    /// A slot that was forgotten looks free, but then there are later ones. There also are when somebody has read the
    /// decision before this looks: that one carries it out, and so may we. The next lease tells which it is.
    async fn check_stands(&self, commit: &Commit) -> Result<()> {
        let (slot, job) = (self.slot + 1, &self.journal.directory);
        let slots = self.journal.slots().await?;
        let Some((later, _)) = slots.iter().find(|(later, _)| *later > slot) else {
            return Ok(());
        };
        let after = match self.journal.read(*later).await? {
            Slot::Entry(EntryKind::Lease(lease)) => lease.after,
            // Its lease was in our slot, or later ones are forgotten: others have decided long ago.
            Slot::Entry(EntryKind::Commit(_)) => Some(String::new()),
            Slot::Damaged | Slot::Missing => None,
        };
        match after {
            Some(after) if after == commit.attempt => Ok(()),
            Some(_) => {
                // Void, or carried out and followed by another: in both cases there is nothing left to do.
                self.journal.write(slot, &finished(commit.clone())).await?;
                let message = format!("{job}: others have decided while this worker slept");
                Err(Error::unavailable(message))
            }
            None => {
                let message = format!("{job}: it is unknown whether the decision stands");
                Err(Error::unavailable(message))
            }
        }
    }

    /// Notes that `commit` has been carried out, whoever's it was, and lets the next one work.
    ///
    /// # Errors
    ///
    /// What the bucket reports: it will be carried out again then, which is no harm.
    pub async fn finish(&self, commit: Commit) -> Result<()> {
        if self.slot == 0 {
            return Ok(());
        }
        let slot = match &self.previous {
            Some((slot, previous)) if previous.attempt == commit.attempt => *slot,
            _ => self.slot + 1,
        };
        self.journal.write(slot, &finished(commit)).await
    }

    /// Lets others take over at once, without a result.
    pub async fn release(mut self) {
        self.stop_renewal();
        if self.slot == 0 || self.lost.is_lost.load(Ordering::Acquire) {
            return;
        }
        let object = self.journal.object(self.slot);
        if let Err(error) = self.journal.bucket.delete(&object).await {
            tracing::debug!(object, %error, "a lease was not released and will run out");
        }
    }

    fn stop_renewal(&mut self) {
        if let Some(renewal) = self.renewal.take() {
            renewal.abort();
        }
    }

    /// Renews the lease for as long as it is polled.
    fn renew(&self) -> impl Future<Output = ()> + use<> {
        let (leases, journal) = (self.leases.clone(), self.journal.clone());
        let (slot, attempt) = (self.slot, self.attempt.clone());
        let after = after(self.previous.as_ref()).to_owned();
        let lost = Arc::clone(&self.lost);
        let ttl_ms = leases.options.ttl_ms.max(3);
        let every = Duration::from_millis(u64::try_from(ttl_ms / 3).unwrap_or(1));
        async move {
            loop {
                tokio::time::sleep(every).await;
                let is_taken = journal.bucket.exists(&journal.object(slot + 1)).await;
                if lost.is_deciding.load(Ordering::Acquire) {
                    return;
                }
                match is_taken {
                    Ok(true) => break,
                    Ok(false) => {}
                    // It may still be ours; deciding finds out.
                    Err(_) => continue,
                }
                let entry = leases.lease_entry(&attempt, &after);
                if let Err(error) = journal.write(slot, &entry).await {
                    let job = &journal.directory;
                    tracing::warn!(job, %error, "a lease could not be renewed, will retry");
                }
            }
            lost.is_lost.store(true, Ordering::Release);
            lost.told.notify_waiters();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.stop_renewal();
    }
}

/// The attempt of the last decision, if there is one.
fn after(previous: Option<&(u64, Commit)>) -> &str {
    previous.map_or("", |(_, commit)| &commit.attempt)
}

fn finished(commit: Commit) -> Entry {
    Entry::new(EntryKind::Commit(Commit {
        is_finished: true,
        ..commit
    }))
}

/// What a slot holds.
enum Slot {
    Entry(EntryKind),
    /// What is there is no entry. Safety needs no more than its number.
    Damaged,
    Missing,
}

/// The slots of one job.
#[derive(Debug, Clone)]
struct Journal {
    bucket: Bucket,
    directory: String,
}

impl Journal {
    fn object(&self, slot: u64) -> String {
        format!("{}/{slot:010}.json", self.directory)
    }

    /// Returns the number of the slot that an object of the journal is.
    fn number(&self, info: &ObjectInfo) -> Option<u64> {
        let name = info.name.strip_prefix(&self.directory)?;
        let name = name.strip_prefix('/')?.strip_suffix(".json")?;
        name.parse().ok()
    }

    /// Returns the slots that are written, in their order.
    async fn slots(&self) -> Result<Vec<(u64, ObjectInfo)>> {
        let found = self.bucket.objects_in(&self.directory).await?;
        let slots = found
            .into_iter()
            .filter_map(|info| Some((self.number(&info)?, info)));
        let mut slots: Vec<_> = slots.collect();
        slots.sort_unstable_by_key(|(slot, _)| *slot);
        Ok(slots)
    }

    /// Returns what a slot holds.
    async fn read(&self, slot: u64) -> Result<Slot> {
        let object = self.object(slot);
        let text = match self.bucket.read(&object, ENTRY_BYTES_MAX).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Slot::Missing),
            text => text?,
        };
        match Entry::parse(&text) {
            Ok(entry) => Ok(Slot::Entry(entry.kind)),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                tracing::warn!(object, %error, "slot of a journal is damaged");
                Ok(Slot::Damaged)
            }
            Err(error) => Err(error.in_file(object)),
        }
    }

    /// Writes a slot if nobody has; returns whether it holds `entry` now.
    async fn create(&self, slot: u64, entry: &Entry) -> Result<bool> {
        let object = self.object(slot);
        let text = Bytes::from(entry.to_json());
        let created = self
            .bucket
            .put_if(&object, text, PutCondition::Absent)
            .await;
        if let Ok(Some(_)) = created {
            return Ok(true);
        }
        // An answer that got lost is no write that got lost.
        match (self.read(slot).await?, created) {
            (Slot::Entry(found), _) => Ok(found.is_same_attempt(&entry.kind)),
            (Slot::Damaged, _) | (_, Ok(_)) => Ok(false),
            (Slot::Missing, Err(error)) => Err(error),
        }
    }

    /// Writes a slot that is ours again.
    async fn write(&self, slot: u64, entry: &Entry) -> Result<()> {
        let object = self.object(slot);
        self.bucket.put(&object, entry.to_json().into()).await
    }
}
