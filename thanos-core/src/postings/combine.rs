//! Set operations on lists as an index stores them, without decoding more of them than the answer needs.
//!
//! ```text
//! stretch:    where all lists that are alone in their group have references
//! candidates: one list, still encoded, or the union of the smallest group, as far as they lie in the stretch
//! every other group only says which candidates stay: by a bitmap over their stretch, or by looking them up
//! ```
//!
//! So the memory of an answer is that of about its smallest group, however many lists a regex over a million values has.

use super::bitset::Bitset;
use super::decode::{Block, Checked, Entries, ascends, empty_block, ends, within};
use super::search::{LOOK_UP_RATIO, Reference, mark_found, retain_found, retain_merged, skip_to};
use super::split_postings;
use crate::budget::{Lease, MemoryBudget};
use crate::error::Result;

/// A reference of a group of several lists costs about so much more to unite than one of a single list to filter.
const UNION_COST: usize = 8;
/// How many lists of a group say how many references it has.
const SAMPLED_LISTS: usize = 8;

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

    /// Returns the references that there may be, without a check of anything.
    fn unchecked(self) -> &'a [[u8; 4]] {
        const HEAD_BYTES: usize = 8;
        let bytes = self.bytes.get(HEAD_BYTES..).unwrap_or_default();
        let references = bytes.as_chunks().0;
        // The length covers the number of references too.
        let count = self.references_max().saturating_sub(1);
        &references[..count.min(references.len())]
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
/// Groups of several lists are looked at while there are candidates left; what is looked at is checked.
///
/// # Errors
///
/// `Corrupt` when a list is damaged; `LimitExceeded` when `budget` has no room for the candidates.
pub fn combine(
    keep: &[StoredGroup<'_>],
    drop: &[StoredGroup<'_>],
    budget: &MemoryBudget,
) -> Result<Combined> {
    let mut work = Work::new(budget.lease(0)?);
    let mut groups = Vec::with_capacity(keep.len());
    for group in keep {
        groups.push(Group::open(group, &mut work.block)?);
    }
    let stretch = groups.iter().filter_map(Group::stretch);
    let stretch = stretch.fold((0, u32::MAX), |a, b| (a.0.max(b.0), a.1.min(b.1)));
    groups.iter_mut().for_each(|group| group.cut_to(stretch));
    groups.sort_by_cached_key(|group| group.cost(stretch));
    let mut groups = groups.into_iter();
    if let Some(base) = groups.next() {
        work.begin_with(base, stretch)?;
    }
    for group in groups {
        work.retain(group, Side::Keep)?;
    }
    for group in drop {
        if work.candidates.is_empty() {
            break;
        }
        let group = Group::open(group, &mut work.block)?;
        work.retain(group, Side::Drop)?;
    }
    work.finish()
}

/// Lists of one label.
enum Group<'g> {
    /// The references of one list that may be of use.
    One(Checked<'g>),
    /// Several lists, which are opened when it is their turn.
    Many(&'g [StoredList<'g>]),
}

impl<'g> Group<'g> {
    /// Checks a list that is alone.
    fn open(lists: &'g [StoredList<'g>], block: &mut Block) -> Result<Self> {
        match lists {
            [list] => Ok(Self::One(list.open()?.checked(block)?)),
            lists => Ok(Self::Many(lists)),
        }
    }

    /// Returns the stretch outside of which it has no references, if that is known; that of no references is empty.
    fn stretch(&self) -> Option<(u32, u32)> {
        match self {
            Self::One(list) => Some(ends(list).unwrap_or((u32::MAX, 0))),
            Self::Many(_) => None,
        }
    }

    fn cut_to(&mut self, stretch: (u32, u32)) {
        match self {
            Self::One(list) => *list = within(list, stretch),
            Self::Many(_) => {}
        }
    }

    /// Returns what it costs to begin with it, in references of a single list.
    fn cost(&self, stretch: (u32, u32)) -> usize {
        match self {
            Self::One(list) => list.len(),
            Self::Many(lists) => references_about(lists, stretch).saturating_mul(UNION_COST),
        }
    }
}

/// Estimates how many references `lists` have within `stretch` by a few of them. They are not checked yet, so that this
/// may be far off.
fn references_about(lists: &[StoredList<'_>], (first, last): (u32, u32)) -> usize {
    let stride = lists.len().div_ceil(SAMPLED_LISTS).max(1);
    let (mut all, mut inside) = (0_usize, 0_usize);
    for list in lists.iter().step_by(stride) {
        let references = list.unchecked();
        let below = references.partition_point(|one| one.get() < first);
        let up_to = references.partition_point(|one| one.get() <= last);
        all += references.len();
        inside += up_to.saturating_sub(below);
    }
    let total: usize = lists.iter().map(|list| list.references_max()).sum();
    match all {
        0 => total,
        all => total.saturating_mul(inside).div_ceil(all),
    }
}

/// Whether those that are in a group stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Keep,
    Drop,
}

/// Candidates, and the lease of what they and the operations on them take.
struct Work {
    candidates: Vec<u32>,
    lease: Lease,
    block: Block,
}

impl Work {
    fn new(lease: Lease) -> Self {
        Self {
            candidates: Vec::new(),
            lease,
            block: empty_block(),
        }
    }

    /// Begins with all series of `group` that lie in `stretch`.
    fn begin_with(&mut self, group: Group<'_>, stretch: (u32, u32)) -> Result<()> {
        self.candidates = match group {
            Group::One(list) => {
                self.lease.grow(bytes_of(list.len()))?;
                list.iter().map(|one| one.get()).collect()
            }
            Group::Many(lists) => self.union(lists, stretch)?,
        };
        self.lease.resize(bytes_of(self.candidates.capacity()))
    }

    /// Returns the references of all lists that lie in `stretch`.
    fn union(&mut self, group: &[StoredList<'_>], stretch: (u32, u32)) -> Result<Vec<u32>> {
        self.lease.grow(size_of_val(group) as u64)?;
        let mut lists: Vec<Checked<'_>> = Vec::with_capacity(group.len());
        let (mut bounds, mut count): (Option<(u32, u32)>, usize) = (None, 0);
        for list in group {
            let list = within(list.open()?.checked(&mut self.block)?, stretch);
            if let Some((first, last)) = ends(list) {
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
                self.lease.grow(bytes)?;
                let mut bits = Bitset::between(first, last);
                lists.iter().for_each(|list| bits.insert_all(list));
                self.lease.grow(bytes_of(bits.count()))?;
                Ok(bits.to_list())
            }
            None => {
                self.lease.grow(bytes_of(count))?;
                Ok(united_by_sorting(&lists, count))
            }
        }
    }

    /// Keeps the candidates that are in `group`, or that are not.
    fn retain(&mut self, group: Group<'_>, side: Side) -> Result<()> {
        let before = self.lease.bytes();
        if let Some(stretch) = ends(&self.candidates) {
            match group {
                Group::One(list) => self.retain_one(within(list, stretch), side)?,
                Group::Many(lists) => self.retain_many(lists, stretch, side)?,
            }
        }
        self.lease.resize(before)
    }

    fn retain_one(&mut self, list: Checked<'_>, side: Side) -> Result<()> {
        let keep_found = side == Side::Keep;
        let candidates = &mut self.candidates;
        let Some((first, last)) = ends(list) else {
            candidates.truncate(if keep_found { 0 } else { candidates.len() });
            return Ok(());
        };
        let words = Bitset::words_between(first, last);
        if candidates.len().saturating_mul(LOOK_UP_RATIO) < list.len() {
            retain_found(candidates, list, keep_found);
        } else if words <= list.len() + candidates.len() {
            self.lease.grow((words * size_of::<u64>()) as u64)?;
            let mut bits = Bitset::between(first, last);
            bits.insert_all(list);
            filter(candidates, |_, one| bits.contains(one) == keep_found);
        } else {
            retain_merged(candidates, list, keep_found);
        }
        Ok(())
    }

    /// Keeps the candidates, which lie in `stretch`, that are in any of `lists`, or that are not.
    fn retain_many(
        &mut self,
        lists: &[StoredList<'_>],
        stretch: (u32, u32),
        side: Side,
    ) -> Result<()> {
        let wanted = side == Side::Keep;
        let words = Bitset::words_between(stretch.0, stretch.1);
        let references: usize = lists.iter().map(|list| list.references_max()).sum();
        let candidates = &mut self.candidates;
        let searched = lists.len().saturating_mul(candidates.len());
        let is_long = searched.saturating_mul(LOOK_UP_RATIO) < references;
        if !is_long && words <= references + candidates.len() {
            self.lease.grow((words * size_of::<u64>()) as u64)?;
            let mut bits = Bitset::between(stretch.0, stretch.1);
            for list in lists {
                bits.insert_within(list.open()?.checked(&mut self.block)?);
            }
            filter(candidates, |_, one| bits.contains(one) == wanted);
            return Ok(());
        }
        self.lease.grow(candidates.len() as u64)?;
        let mut is_hit = vec![false; candidates.len()];
        for list in lists {
            let list = within(list.open()?.checked(&mut self.block)?, stretch);
            match is_long {
                true => mark_found(candidates, list, &mut is_hit),
                false => mark_walked(candidates, list, &mut is_hit),
            }
        }
        filter(candidates, |at, _| is_hit[at] == wanted);
        Ok(())
    }

    fn finish(mut self) -> Result<Combined> {
        let mut series = self.candidates;
        series.shrink_to_fit();
        self.lease.resize(bytes_of(series.capacity()))?;
        let lease = self.lease;
        Ok(Combined { series, lease })
    }
}

fn bytes_of(references: usize) -> u64 {
    (references * size_of::<u32>()) as u64
}

fn united_by_sorting(lists: &[Checked<'_>], count: usize) -> Vec<u32> {
    let mut all = Vec::with_capacity(count);
    for list in lists {
        all.extend(list.iter().map(|one| one.get()));
    }
    if !ascends(&all) {
        all.sort_unstable();
        all.dedup();
    }
    all
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

/// Marks the candidates that are in `list`, which is walked.
fn mark_walked(candidates: &[u32], list: Checked<'_>, is_hit: &mut [bool]) {
    let mut rest = candidates;
    for reference in list {
        let reference = reference.get();
        rest = skip_to(rest, reference);
        if rest.first() == Some(&reference) {
            is_hit[candidates.len() - rest.len()] = true;
        }
    }
}

#[cfg(test)]
mod tests;
