//! Postings: sets of series, and their algebra.
//!
//! A set is a sorted list of references or, when it is dense, a roaring bitmap; which one is chosen by the
//! operations and never changes a result. References are what the index stores: 32 bits, in label order.
//! It does not read files: [`decode_postings`] takes the bytes of a list.

mod bitset;
mod combine;
mod decode;
mod dense;
mod intersect;
mod search;
mod subtract;
mod union;

use std::fmt;

use roaring::RoaringBitmap;

pub use combine::{Combined, StoredGroup, StoredList, combine};
pub use decode::{decode_postings, split_postings};
pub use dense::DenseSet;

use bitset::Bitset;

/// A set of series references.
///
/// # Example
///
/// ```
/// use thanos_core::postings::Postings;
///
/// let jobs = Postings::union(vec![Postings::from_sorted(vec![1, 5]), Postings::from_sorted(vec![3])]);
/// let up = Postings::from_sorted(vec![3, 4, 5]);
/// let both = Postings::intersect([&jobs, &up]);
/// assert_eq!(both.iter().collect::<Vec<_>>(), [3, 5]);
/// assert_eq!(both.subtract(&Postings::from_sorted(vec![5])), Postings::from_sorted(vec![3]));
/// ```
#[derive(Clone)]
pub struct Postings(Repr);

#[derive(Clone)]
enum Repr {
    /// Strictly ascending.
    List(Vec<u32>),
    Bitmap(RoaringBitmap),
}

/// How much larger a set must be for searching it to beat walking it.
const GALLOP_RATIO: usize = 32;

/// The length below which a list is not worth turning into a bitmap.
const COMPACTION_LEN_MIN: usize = 64;

impl Postings {
    /// Returns the empty set.
    pub const fn empty() -> Self {
        Self(Repr::List(Vec::new()))
    }

    /// Returns the set of the references in `list`, which ascends strictly.
    ///
    /// # Panics
    ///
    /// When it does not: lists from outside are checked by [`decode_postings`].
    pub fn from_sorted(list: Vec<u32>) -> Self {
        assert!(decode::ascends(&list), "postings do not ascend strictly");
        Self(Repr::List(list))
    }

    /// Returns the set of the references in `list`, whose order the caller has made sure of.
    pub(crate) fn from_list(list: Vec<u32>) -> Self {
        debug_assert!(decode::ascends(&list), "postings do not ascend strictly");
        Self(Repr::List(list))
    }

    /// Returns the number of series.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::List(list) => list.len(),
            Repr::Bitmap(bitmap) => usize::try_from(bitmap.len()).unwrap_or(usize::MAX),
        }
    }

    /// Reports whether there is no series.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Repr::List(list) => list.is_empty(),
            Repr::Bitmap(bitmap) => bitmap.is_empty(),
        }
    }

    /// Reports whether `series` is in the set.
    pub fn contains(&self, series: u32) -> bool {
        match &self.0 {
            Repr::List(list) => list.binary_search(&series).is_ok(),
            Repr::Bitmap(bitmap) => bitmap.contains(series),
        }
    }

    /// Returns the references in ascending order.
    pub fn iter(&self) -> PostingsIter<'_> {
        PostingsIter(match &self.0 {
            Repr::List(list) => IterRepr::List(list.iter()),
            Repr::Bitmap(bitmap) => IterRepr::Bitmap(Box::new(bitmap.iter())),
        })
    }

    /// Returns the references in ascending order as a list.
    pub fn into_vec(self) -> Vec<u32> {
        match self.0 {
            Repr::List(list) => list,
            Repr::Bitmap(bitmap) => bitmap.iter().collect(),
        }
    }

    /// Returns the bytes of memory that the set takes.
    pub fn memory_bytes(&self) -> usize {
        match &self.0 {
            Repr::List(list) => list.capacity() * size_of::<u32>(),
            Repr::Bitmap(bitmap) => bitmap.serialized_size(),
        }
    }

    /// Returns the same set in the smaller of its two forms, for keeping it; a short list stays a list.
    #[must_use]
    pub fn compacted(self) -> Self {
        let bitmap = match self.0 {
            // Too short for the difference to pay for the attempt.
            Repr::List(mut list) if list.len() < COMPACTION_LEN_MIN => {
                list.shrink_to_fit();
                return Self(Repr::List(list));
            }
            Repr::List(list) => bitmap_of(&list),
            Repr::Bitmap(bitmap) => bitmap,
        };
        let len = usize::try_from(bitmap.len()).unwrap_or(usize::MAX);
        if bitmap.serialized_size() < len.saturating_mul(size_of::<u32>()) {
            return Self(Repr::Bitmap(bitmap));
        }
        let mut list = Vec::with_capacity(len);
        list.extend(bitmap.iter());
        Self(Repr::List(list))
    }

    /// Returns the series that are in all of `sets`; of no sets, the empty set.
    pub fn intersect<'p>(sets: impl IntoIterator<Item = &'p Self>) -> Self {
        intersect::intersect(sets)
    }

    /// Returns the series that are in any of `sets`.
    pub fn union(sets: Vec<Self>) -> Self {
        union::union(sets)
    }

    /// Returns the series that are in this set but not in `other`.
    #[must_use]
    pub fn subtract(self, other: &Self) -> Self {
        subtract::subtract(self, other)
    }

    /// Reports whether no series is in both sets.
    pub fn is_disjoint(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Repr::List(a), Repr::List(b)) => intersect::are_disjoint(a, b),
            (Repr::Bitmap(a), Repr::Bitmap(b)) => a.is_disjoint(b),
            (Repr::List(list), Repr::Bitmap(bitmap)) | (Repr::Bitmap(bitmap), Repr::List(list)) => {
                !list.iter().any(|reference| bitmap.contains(*reference))
            }
        }
    }

    /// Returns the smallest and the largest reference.
    fn bounds(&self) -> Option<(u32, u32)> {
        match &self.0 {
            Repr::List(list) => Some((*list.first()?, *list.last()?)),
            Repr::Bitmap(bitmap) => Some((bitmap.min()?, bitmap.max()?)),
        }
    }
}

/// Converts a list to a bitmap, by way of a plain one where the list is dense.
fn bitmap_of(list: &[u32]) -> RoaringBitmap {
    let (Some(first), Some(last)) = (list.first(), list.last()) else {
        return RoaringBitmap::new();
    };
    match Bitset::if_dense(*first, *last, list.len()) {
        Some(mut bits) => {
            bits.insert_all(list);
            bits.into_bitmap()
        }
        None => list.iter().copied().collect(),
    }
}

impl Default for Postings {
    fn default() -> Self {
        Self::empty()
    }
}

impl PartialEq for Postings {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Postings {}

impl fmt::Debug for Postings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 32;
        f.debug_list().entries(self.iter().take(SHOWN)).finish()?;
        if self.len() > SHOWN {
            write!(f, " and {} more", self.len() - SHOWN)?;
        }
        Ok(())
    }
}

impl From<RoaringBitmap> for Postings {
    fn from(bitmap: RoaringBitmap) -> Self {
        Self(Repr::Bitmap(bitmap))
    }
}

/// The references of a set in ascending order.
#[derive(Clone)]
pub struct PostingsIter<'a>(IterRepr<'a>);

#[derive(Clone)]
enum IterRepr<'a> {
    List(std::slice::Iter<'a, u32>),
    Bitmap(Box<roaring::bitmap::Iter<'a>>),
}

impl Iterator for PostingsIter<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        match &mut self.0 {
            IterRepr::List(list) => list.next().copied(),
            IterRepr::Bitmap(bitmap) => bitmap.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            IterRepr::List(list) => list.size_hint(),
            IterRepr::Bitmap(bitmap) => bitmap.size_hint(),
        }
    }
}

impl fmt::Debug for PostingsIter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostingsIter").finish_non_exhaustive()
    }
}

impl<'a> IntoIterator for &'a Postings {
    type Item = u32;
    type IntoIter = PostingsIter<'a>;

    fn into_iter(self) -> PostingsIter<'a> {
        self.iter()
    }
}

#[cfg(test)]
mod tests;
