//! Evaluation: operators that pull tiles of series from each other.
//!
//! ```text
//! SeriesStream -> SeriesSource -> InstantSelect / RangeOverSelect -> Map, WithScalar, Aggregate, Join ... -> result
//! ```
//!
//! A [`tile::Tile`] holds up to 64 series with their values at all steps. Operators that can stream hold one
//! tile; joins, sorting and picking hold their inputs and lease the memory. Decoding, windows and folds are
//! plain code on slices; only pulling a tile or a batch is async.

pub(crate) mod absent;
pub(crate) mod aggregate;
pub(crate) mod arith;
pub(crate) mod binary;
pub(crate) mod bits;
pub(crate) mod collect;
pub(crate) mod context;
pub(crate) mod grid;
pub(crate) mod histogram;
pub(crate) mod info;
pub(crate) mod labels;
pub(crate) mod map;
pub(crate) mod meter;
pub(crate) mod names;
pub(crate) mod native;
pub(crate) mod operator;
pub(crate) mod pool;
pub(crate) mod range;
pub(crate) mod relabel;
pub(crate) mod remote;
pub(crate) mod result;
pub(crate) mod rows;
pub(crate) mod samples;
pub(crate) mod scalar;
pub(crate) mod select;
pub(crate) mod shared;
pub(crate) mod sort;
pub(crate) mod source;
pub(crate) mod tally;
pub(crate) mod tile;
