//! Our own layout of an index-header, of which opening reads nothing but the label names.
//!
//! | part | bytes | what |
//! |---|---|---|
//! | head | 8 | magic 0x7A5EADE7 (big-endian), version 1, three zeros |
//! | text | | the texts of all symbols, sorted, one behind the other |
//! | starts | 4 each | where in the text each symbol starts, and where the last one ends |
//! | rows | 8 or 12 each | per label: symbol (4) and place of the list (4 or 8) of each value, sorted; one more row for the end of the last list |
//! | directory | | per label, sorted: place of its rows (8), of its first list in the index (8), number of values (4), length of a row (1), length of the name (4), name |
//! | checksums | 4 each | CRC-32C of every 16 KiB from the start of the file to the directory |
//! | tail | 124 | places of starts, directory and checksums (8 each), length of the index (8), start and end of the list of all series (8 each, 0 if there is none), number of symbols and of labels (4 each), number of pages (4), 4 zeros, the last 56 bytes of the index, CRC-32C of all from the directory on |
//!
//! All numbers are little-endian but the magic. The place of a list counts from the first list of its label.
//!
//! Opening checks head, directory, checksums and tail; a page is checked when it is first touched
//! ([`crate::index`] keeps a bit for each). Everything has a fixed width, so that a symbol by number is one step and a
//! value by text a binary search. Values are symbols: a file takes a little over half of what Thanos' takes, which has
//! each value twice, with its label's name.
//!
//! The last bytes of the index are the checksum of its postings offset table and its contents: two indexes that share
//! them have the same labels and values at the same places, and so whoever has the index can tell whether a header is
//! of it by one small read.
//!
//! Only an index of version 2 whose label names and values are all symbols has a sparse header: references of version
//! 1 are offsets. All known writers make the names and values symbols.

mod format;
#[cfg(any(test, feature = "testkit"))]
mod reseal;
mod writer;

pub(super) use format::{SparseParts, is_sparse};
#[cfg(any(test, feature = "testkit"))]
pub(crate) use reseal::reseal;
pub use writer::{build_sparse_header, write_sparse_header};

#[cfg(test)]
mod tests;
