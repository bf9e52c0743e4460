//! Set operations on lists as an index stores them, without decoding more of them than the answer needs.
//!
//! ```text
//! candidates: one list, still encoded, or the union of the smallest group
//! every other group only says which candidates stay: by a bitmap over their stretch, or by looking them up
//! ```
//!
//! So the memory of an answer is that of about its smallest group, however many lists a regex over a million values has.

use super::bitset::Bitset;
use super::decode::{Entries, ascends};
use super::search::{mark_found, skip_to};
use super::split_postings;
use crate::budget::{Lease, MemoryBudget};
use crate::error::Result;

/// How much longer than the candidates a list must be for searching it to beat walking it.
const GALLOP_RATIO: usize = 16;
/// A reference of a group of several lists costs about so much more to unite than one of a single list to filter.
const UNION_COST: usize = 8;

/// A list as an index stores it, with its length and its checksum, and where it lies; not checked yet.
///
/// What comes after the checksum is ignored.
#[derive(Debug, Clone, Copy)]
pub struct StoredList<'a> {
    /// From the length on.
    pub bytes: &'a [u8],
    /// Where in the index they lie.
    pub offset: u64,
}

impl<'a> StoredList<'a> {
    /// Checks the list as [`super::decode_postings`] does and returns its entries, but leaves
    /// their order to whoever reads them.
    pub(super) fn open(self) -> Result<Entries<'a>> {
        Entries::of(split_postings(self.bytes, self.offset)?)
    }

    /// Returns how many references there are, by what the list says and at most what its bytes have room for.
    fn references_max(self) -> usize {
        let len = self.bytes.first_chunk::<4>();
        let len = len.map_or(0, |len| u32::from_be_bytes(*len) as usize);
        len.min(self.bytes.len()) / size_of::<u32>()
    }
}

/// Lists of one label; a series belongs to the group when it is in any of them.
pub type StoredGroup<'a> = Vec<StoredList<'a>>;

fn references_max(group: &StoredGroup<'_>) -> usize {
    group.iter().map(|list| list.references_max()).sum()
}

/// Series that satisfy something, and the lease of their list.
#[derive(Debug)]
pub struct Combined {
    /// Strictly ascending.
    pub series: Vec<u32>,
    /// Of the bytes of `series`.
    pub lease: Lease,
}

/// Returns the series that are in all groups of `keep` and in none of `drop`; of no groups to keep, none.
///
/// Groups are looked at while there are candidates left; what is looked at is checked.
///
/// # Errors
///
/// `Corrupt` when a list is damaged; `LimitExceeded` when `budget` has no room for the candidates.
pub fn combine(
    keep: &[StoredGroup<'_>],
    drop: &[StoredGroup<'_>],
    budget: &MemoryBudget,
) -> Result<Combined> {
    let lease = budget.lease(0)?;
    let cost = |group: &&StoredGroup<'_>| match group.len() {
        1 => references_max(group),
        _ => references_max(group).saturating_mul(UNION_COST),
    };
    let mut keep: Vec<&StoredGroup<'_>> = keep.iter().collect();
    keep.sort_by_key(|group| references_max(group));
    let Some(base) = (0..keep.len()).min_by_key(|at| cost(&keep[*at])) else {
        let series = Vec::new();
        return Ok(Combined { series, lease });
    };
    let mut work = Work::of(keep.remove(base), lease)?;
    for group in keep {
        work.retain(group, Side::Keep)?;
    }
    for group in drop {
        work.retain(group, Side::Drop)?;
    }
    work.finish()
}

/// Whether those that are in a group stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Keep,
    Drop,
}

/// Candidates, and the lease of what they and the operations on them take.
#[derive(Debug)]
struct Work {
    candidates: Vec<u32>,
    lease: Lease,
}

impl Work {
    /// Begins with all series of `group`.
    fn of(group: &StoredGroup<'_>, mut lease: Lease) -> Result<Self> {
        let candidates = match &group[..] {
            [list] => {
                let list = list.open()?;
                lease.grow((list.len() * size_of::<u32>()) as u64)?;
                list.decode()?
            }
            _ => union(group, &mut lease)?,
        };
        lease.resize((candidates.capacity() * size_of::<u32>()) as u64)?;
        Ok(Self { candidates, lease })
    }

    /// Keeps the candidates that are in `group`, or that are not.
    fn retain(&mut self, group: &StoredGroup<'_>, side: Side) -> Result<()> {
        let before = self.lease.bytes();
        if let (Some(first), Some(last)) = (self.candidates.first(), self.candidates.last()) {
            let hits = Hits::of(&self.candidates, (*first, *last), group, &mut self.lease)?;
            hits.filter(&mut self.candidates, side);
        }
        self.lease.resize(before)
    }

    fn finish(mut self) -> Result<Combined> {
        let mut series = self.candidates;
        series.shrink_to_fit();
        let bytes = series.capacity() * size_of::<u32>();
        self.lease.resize(bytes as u64)?;
        let lease = self.lease;
        Ok(Combined { series, lease })
    }
}

/// Returns the references of all lists.
fn union(group: &StoredGroup<'_>, lease: &mut Lease) -> Result<Vec<u32>> {
    lease.grow((group.len() * size_of::<Entries<'_>>()) as u64)?;
    let mut lists = Vec::with_capacity(group.len());
    let (mut bounds, mut count): (Option<(u32, u32)>, usize) = (None, 0);
    for list in group {
        let list = list.open()?;
        if let Some((first, last)) = list.ends()? {
            let (least, most) = bounds.unwrap_or((first, last));
            bounds = Some((least.min(first), most.max(last)));
            count += list.len();
            lists.push(list);
        }
    }
    let Some((first, last)) = bounds else {
        return Ok(Vec::new());
    };
    match Bitset::bytes_if_smaller_than_sorting(first, last, count) {
        Some(bytes) => {
            lease.grow(bytes)?;
            let mut bits = Bitset::between(first, last);
            for list in lists {
                list.for_each_block(|block| bits.insert_within(block))?;
            }
            lease.grow((bits.count() * size_of::<u32>()) as u64)?;
            Ok(bits.to_list())
        }
        None => {
            lease.grow((count * size_of::<u32>()) as u64)?;
            united_by_sorting(&lists, count)
        }
    }
}

fn united_by_sorting(lists: &[Entries<'_>], count: usize) -> Result<Vec<u32>> {
    let mut all = Vec::with_capacity(count);
    for list in lists {
        list.for_each_block(|block| all.extend_from_slice(block))?;
    }
    if !ascends(&all) {
        all.sort_unstable();
        all.dedup();
    }
    Ok(all)
}

/// Which candidates are in a group.
enum Hits {
    /// By their number.
    Bits(Bitset),
    /// By their position.
    Marks(Vec<bool>),
}

impl Hits {
    /// Finds the `candidates`, which lie between `first` and `last`, in `group`.
    fn of(
        candidates: &[u32],
        (first, last): (u32, u32),
        group: &StoredGroup<'_>,
        lease: &mut Lease,
    ) -> Result<Self> {
        let words = Bitset::words_between(first, last);
        let references = references_max(group);
        let searched = group.len().saturating_mul(candidates.len());
        let is_long = searched.saturating_mul(GALLOP_RATIO) < references;
        if !is_long && words <= references + candidates.len() {
            lease.grow((words * size_of::<u64>()) as u64)?;
            let mut bits = Bitset::between(first, last);
            for list in group {
                let list = list.open()?;
                list.for_each_block(|block| bits.insert_within(block))?;
            }
            return Ok(Self::Bits(bits));
        }
        lease.grow(candidates.len() as u64)?;
        let mut is_hit = vec![false; candidates.len()];
        for list in group {
            let list = list.open()?;
            if is_long {
                mark_found(candidates, list.checked()?, &mut is_hit);
            } else {
                let mut rest = Rest::of(candidates);
                list.for_each_block(|block| rest.mark(block, &mut is_hit))?;
            }
        }
        Ok(Self::Marks(is_hit))
    }

    fn filter(&self, candidates: &mut Vec<u32>, side: Side) {
        let wanted = side == Side::Keep;
        match self {
            Self::Bits(bits) => filter(candidates, |_, one| bits.contains(one) == wanted),
            Self::Marks(marks) => filter(candidates, |at, _| marks[at] == wanted),
        }
    }
}

/// Keeps what satisfies `keep`, which gets position and reference, without a branch for each.
fn filter(list: &mut Vec<u32>, keep: impl Fn(usize, u32) -> bool) {
    let mut count = 0;
    for at in 0..list.len() {
        let reference = list[at];
        // Not more are kept than were read, so that nothing unread is overwritten.
        list[count] = reference;
        count += usize::from(keep(at, reference));
    }
    list.truncate(count);
}

/// The candidates that are not below what was walked of a list.
struct Rest<'c> {
    all: usize,
    rest: &'c [u32],
}

impl<'c> Rest<'c> {
    fn of(candidates: &'c [u32]) -> Self {
        Self {
            all: candidates.len(),
            rest: candidates,
        }
    }

    /// Marks the candidates that are in the next `block` of the list.
    fn mark(&mut self, block: &[u32], is_hit: &mut [bool]) {
        for reference in block {
            self.rest = skip_to(self.rest, *reference);
            if self.rest.first() == Some(reference) {
                is_hit[self.all - self.rest.len()] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests;
