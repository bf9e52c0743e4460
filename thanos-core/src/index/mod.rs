//! The index of a block: which series there are, and where their chunks lie.
//!
//! [`IndexReader`] opens a whole index of version 1 or 2 that lies in memory or is mapped, [`IndexWriter`] writes
//! version 2; neither knows chunks.
//! The parts work on slices, so that a gateway which fetches ranges of a remote index shares them:
//! [`decode_series`], [`decode_postings`](crate::postings::decode_postings), [`Symbols`], [`PostingsTable`], [`PostingsPlan`].

mod ending;
mod entry;
mod format;
mod key_buffer;
mod labels;
pub(crate) mod pages;
mod plan;
mod postings_builder;
mod postings_table;
mod reader;
mod series;
mod series_keys;
mod sink;
mod symbol_ids;
mod symbol_places;
mod symbols;
mod writer;

#[cfg(any(test, feature = "testkit"))]
pub(crate) use entry::{append_entry, append_framed};
pub use format::{
    ChunkMeta, ChunkRef, INDEX_HEADER_LEN, INDEX_LEN_MAX, INDEX_MAGIC, IndexVersion,
    POSTINGS_ALIGN, SAMPLING, SERIES_ALIGN, SeriesRef, SymbolRef, TOC_LEN, Toc,
    decode_index_header,
};
pub use labels::LabelDecoder;
pub use plan::{ListGroup, PlannedList, PostingsPlan};
pub use postings_table::{EntryId, ListLocation, PostingsTable, TableEntry};
pub(crate) use postings_table::{SparseLabel, SparseTable};
pub use reader::{IndexReader, SeriesScratch};
pub use series::{RawSeries, decode_series, decode_series_within, series_entry_len, split_series};
pub use series_keys::SeriesKeys;
pub(crate) use symbol_ids::{SymbolTable, UsedSymbols};
pub use symbol_places::SymbolPlaces;
pub(crate) use symbols::{SparseSymbols, SymbolFinder};
pub use symbols::{SymbolIter, Symbols};
pub use writer::{IndexSummary, IndexWriter, LabelIndices};

#[cfg(test)]
pub(crate) mod tests;
