//! The series of a block in spite of damage in its index-header.
//!
//! A sparse header shows that a page of it is damaged when somebody needs that page. The header is then made anew, and
//! the walk begins again behind the series that have left already: a block does not change, and neither does the order
//! of its series. What the bucket itself has damaged is no matter of this: [`super::ranges`] looks twice at that.

use std::sync::Arc;

use futures::StreamExt;
use thanos_core::indexheader::IndexHeader;
use thanos_core::query::{SeriesEvent, SeriesStream};
use thanos_core::{Error, ErrorKind, Result};

use super::ahead::ReadAhead;
use super::block::GatewayBlock;
use super::query::QueryContext;
use super::stream::{BlockQuery, block_series};

/// Reports whether `error` comes of a damaged page of `header`, so that another header may do without it.
pub(super) fn is_of_header(error: &Error, header: &IndexHeader) -> bool {
    error.kind() == ErrorKind::Corrupt && header.is_damaged()
}

/// Returns the series of `block` as [`block_series`] does; a header that turns out damaged is made anew, once.
pub(super) fn resumed_series(
    block: Arc<GatewayBlock>,
    header: Arc<IndexHeader>,
    wanted: BlockQuery,
    query: Arc<QueryContext>,
    ahead: ReadAhead,
) -> SeriesStream {
    let walk = Resumed {
        series: block_series(
            Arc::clone(&block),
            Arc::clone(&header),
            wanted.clone(),
            Arc::clone(&query),
            ahead.clone(),
        ),
        again: Some(Again {
            block,
            header,
            wanted,
            query,
            ahead,
        }),
        left: 0,
        skipped: 0,
    };
    Box::pin(futures::stream::unfold(Some(walk), |walk| async {
        let mut walk = walk?;
        let event = walk.next().await?;
        let rest = event.is_ok().then_some(walk);
        Some((event, rest))
    }))
}

struct Resumed {
    series: SeriesStream,
    /// What is needed to begin again; `None` when that was done.
    again: Option<Again>,
    /// How many series have left.
    left: usize,
    /// How many of them are still to come a second time.
    skipped: usize,
}

struct Again {
    block: Arc<GatewayBlock>,
    header: Arc<IndexHeader>,
    wanted: BlockQuery,
    query: Arc<QueryContext>,
    ahead: ReadAhead,
}

impl Resumed {
    async fn next(&mut self) -> Option<Result<SeriesEvent>> {
        loop {
            match self.series.next().await? {
                Ok(SeriesEvent::Batch(mut batch)) => {
                    let known = self.skipped.min(batch.len());
                    if known > 0 {
                        self.skipped -= known;
                        batch = batch.slice(known..batch.len());
                    }
                    if !batch.is_empty() {
                        self.left += batch.len();
                        return Some(Ok(SeriesEvent::Batch(batch)));
                    }
                }
                Err(error) => match self.again.take() {
                    Some(again) if is_of_header(&error, &again.header) => {
                        tracing::warn!(%error, "index-header is damaged, making it anew");
                        if let Err(error) = self.begin_again(again).await {
                            return Some(Err(error));
                        }
                    }
                    _ => return Some(Err(error)),
                },
                event => return Some(event),
            }
        }
    }

    async fn begin_again(&mut self, again: Again) -> Result<()> {
        let Again {
            block,
            header: _,
            wanted,
            query,
            ahead,
        } = again;
        // What is under way of the first walk stops now.
        self.series = futures::stream::empty().boxed();
        let header = block.header().await?;
        self.series = block_series(block, header, wanted, query, ahead);
        self.skipped = self.left;
        Ok(())
    }
}
