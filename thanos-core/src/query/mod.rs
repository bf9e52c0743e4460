//! The traits that PromQL evaluates against, and the batches that flow through them.
//!
//! A [`Queryable`] answers a [`Select`] with a [`SeriesStream`]: batches in label order, warnings, and notices
//! of missing data. The traits are async but belong to no runtime: a local block answers under
//! `futures::executor::block_on`. Dropping a stream stops the work behind it.

mod batch;
mod completeness;
mod merge;
mod reading;
mod sources;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;

pub use batch::{BATCH_SERIES_TARGET, SeriesBatch, SeriesBatchBuilder, SeriesView};
pub use completeness::{Completeness, Missing};
pub use merge::{MergeSource, MergeStep, SeriesMerge, merge};
pub use reading::{Reading, SeriesReader, WindowValue};
pub use sources::{Cost, SourceLog, SourcePlan, SourceUse, known_cost};

use crate::error::Result;
use crate::labels::Matcher;
use crate::time::TimeRange;

/// A pull stream of batches, warnings and missing-data notices.
///
/// An `Err` ends the stream: what came before it must not be used as an answer.
pub type SeriesStream = Pin<Box<dyn Stream<Item = Result<SeriesEvent>> + Send>>;

/// One item of a [`SeriesStream`].
#[derive(Debug, Clone)]
pub enum SeriesEvent {
    /// Series, in label order across all batches of the stream.
    Batch(SeriesBatch),
    /// Something the user should see; the data is complete all the same.
    Warning(String),
    /// A source failed or was left out: the answer is partial from here on.
    Missing(Missing),
    /// An opaque message of the store about how it answered (a serialised `google.protobuf.Any`).
    Hints(Bytes),
}

/// What a selector of a query asks for.
#[derive(Debug, Clone, Default)]
pub struct Select {
    /// All must match.
    pub matchers: Vec<Matcher>,
    /// The samples that are needed, both ends inclusive.
    pub range: TimeRange,
    /// What the query is going to do with the samples; advice only.
    pub hints: SelectHints,
    /// Is told what each source has given, when somebody wants to know.
    pub log: Option<Arc<SourceLog>>,
}

/// Advice for whoever answers a [`Select`]; ignoring it never changes the result of the query.
///
/// The fields are those of Prometheus' `storage.SelectHints`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelectHints {
    /// The step of the query, in milliseconds; 0 for an instant query.
    pub step_ms: i64,
    /// The width of the range selector, in milliseconds; 0 without one.
    pub range_ms: i64,
    /// The function or aggregation that reads the samples, lowercase.
    pub func: Option<String>,
    /// The grouping labels of the aggregation around the selector.
    pub grouping: Vec<String>,
    /// Whether `grouping` lists the labels to keep (`by`) or to drop (`without`).
    pub grouping_by: bool,
    /// The most series wanted; 0 means all.
    pub limit: usize,
    /// Only the labels are wanted: chunk tables may be empty.
    pub skip_chunks: bool,
}

/// Label names or values, with what was missing while they were collected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelStrings {
    /// Sorted, without duplicates.
    pub values: Vec<String>,
    /// Something the user should see.
    pub warnings: Vec<String>,
    /// Whether every source answered.
    pub completeness: Completeness,
}

/// What the label calls of a [`Queryable`] take.
#[derive(Debug, Clone, Default)]
pub struct LabelQuery {
    /// Only series that match all of them count.
    pub matchers: Vec<Matcher>,
    /// Only series with samples here count; sources may be coarser than that.
    pub range: TimeRange,
    /// The most strings wanted; 0 means all.
    pub limit: usize,
}

/// Anything PromQL can be evaluated over: a block, a database, a fan-out of stores.
#[async_trait]
pub trait Queryable: fmt::Debug + Send + Sync + 'static {
    /// Returns the series that match, in label order.
    ///
    /// # Errors
    ///
    /// An error here or in the stream fails the query.
    async fn select(&self, select: Select) -> Result<SeriesStream>;

    /// Returns whom [`Queryable::select`] would ask for what, as far as that is known without reading data; nothing when
    /// nothing is known.
    ///
    /// # Errors
    ///
    /// Those of what has to be looked at to tell.
    async fn sources(&self, select: &Select) -> Result<Vec<SourcePlan>> {
        let _ = select;
        Ok(Vec::new())
    }

    /// Returns the names of the labels of all matching series.
    async fn label_names(&self, query: LabelQuery) -> Result<LabelStrings>;

    /// Returns the values that the label `name` has in the matching series.
    async fn label_values(&self, name: &str, query: LabelQuery) -> Result<LabelStrings>;
}
