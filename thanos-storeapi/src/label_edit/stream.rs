//! The edits over a stream of events.

use std::collections::VecDeque;

use futures::{StreamExt, TryStreamExt, stream};
use thanos_core::budget::{Lease, MemoryBudget};
use thanos_core::error::{Error, Result};
use thanos_core::query::{SeriesEvent, SeriesStream};

use super::LabelEdit;
use super::hold::{PrefixHold, SortAll};

/// Adds the labels of `edit` to every series of a sorted stream, which stays sorted, without holding it up.
///
/// Right only when [`LabelEdit::only_adds`] holds for the label names of the source: a series that has one of the
/// names after all ends the stream with an `Internal` error.
pub fn add_labels(input: SeriesStream, edit: LabelEdit) -> SeriesStream {
    if edit.is_empty() {
        return input;
    }
    let state = (input, Some(PrefixHold::new(edit)));
    Box::pin(stream::try_unfold(
        state,
        |(mut input, mut hold)| async move {
            while let Some(held) = &mut hold {
                let event = match input.try_next().await? {
                    Some(SeriesEvent::Batch(batch)) => {
                        held.push(&batch).map_err(|_| {
                            Error::internal(
                                "a series has a label that the source said no series has",
                            )
                        })?;
                        held.take()
                    }
                    Some(other) => return Ok(Some((other, (input, hold)))),
                    None => {
                        let rest = held.finish();
                        hold = None;
                        rest
                    }
                };
                if !event.is_empty() {
                    return Ok(Some((SeriesEvent::Batch(event), (input, hold))));
                }
            }
            Ok(None)
        },
    ))
}

/// Applies `edit` to every series of a stream in any order and sorts the result.
///
/// Holds all series until the input ends, leased from `budget`; a budget that is too small ends the stream with
/// `LimitExceeded`. Warnings and notices of missing data pass at once.
pub fn edit_and_sort(input: SeriesStream, edit: LabelEdit, budget: MemoryBudget) -> SeriesStream {
    let collecting = Collecting {
        input,
        all: SortAll::new(edit),
        leases: Vec::new(),
        budget,
    };
    Box::pin(
        stream::try_unfold(State::Collecting(Box::new(collecting)), State::next).filter(|event| {
            std::future::ready(!matches!(event, Ok(SeriesEvent::Batch(batch)) if batch.is_empty()))
        }),
    )
}

enum State {
    Collecting(Box<Collecting>),
    /// The sorted batches, and what was leased for them.
    Sorted(
        Box<dyn Iterator<Item = SeriesEvent> + Send>,
        VecDeque<Lease>,
    ),
}

struct Collecting {
    input: SeriesStream,
    all: SortAll,
    leases: Vec<Lease>,
    budget: MemoryBudget,
}

impl State {
    async fn next(self) -> Result<Option<(SeriesEvent, Self)>> {
        match self {
            Self::Collecting(collecting) => collecting.next().await,
            Self::Sorted(mut batches, mut leases) => {
                let Some(event) = batches.next() else {
                    return Ok(None);
                };
                // Each batch that leaves takes about one lease with it.
                leases.pop_front();
                Ok(Some((event, Self::Sorted(batches, leases))))
            }
        }
    }
}

impl Collecting {
    async fn next(mut self: Box<Self>) -> Result<Option<(SeriesEvent, State)>> {
        while let Some(event) = self.input.try_next().await? {
            match event {
                SeriesEvent::Batch(batch) => {
                    let bytes = self.all.push(&batch);
                    self.leases.push(self.budget.lease(bytes)?);
                }
                other => return Ok(Some((other, State::Collecting(self)))),
            }
        }
        let mut batches = self.all.finish().map(SeriesEvent::Batch);
        let leases = self.leases.into();
        Ok(batches
            .next()
            .map(|first| (first, State::Sorted(Box::new(batches), leases))))
    }
}
