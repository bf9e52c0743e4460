//! A part of a query that is wanted several times and evaluated once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::lock::Mutex;
use thanos_core::budget::Lease;

use super::context::Context;
use super::grid::Grid;
use super::operator::{BoxOperator, Operator};
use super::tile::Tile;
use crate::error::{Error, ErrorKind, Result};

/// An operator with several readers; a tile is held, under a lease, until the last one has read it.
#[derive(Debug)]
pub(crate) struct Shared {
    cx: Arc<Context>,
    grid: Grid,
    readers: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    input: BoxOperator,
    is_at_end: bool,
    /// What went wrong, for readers whose error is told in place of the one of the reader that met it.
    failure: Option<(ErrorKind, String)>,
    held: VecDeque<Held>,
    /// The number of the first tile that is held.
    first: usize,
}

#[derive(Debug)]
struct Held {
    tile: Tile,
    readers_left: usize,
    _lease: Lease,
}

impl Shared {
    pub(crate) fn new(cx: Arc<Context>, input: BoxOperator) -> Arc<Self> {
        Arc::new(Self {
            cx,
            grid: input.grid(),
            readers: AtomicUsize::new(0),
            state: Mutex::new(State {
                input,
                is_at_end: false,
                failure: None,
                held: VecDeque::new(),
                first: 0,
            }),
        })
    }

    /// Returns one more reader; all are to be made before the first one reads.
    pub(crate) fn reader(self: &Arc<Self>) -> SharedReader {
        self.readers.fetch_add(1, Ordering::Relaxed);
        SharedReader {
            shared: Arc::clone(self),
            next: 0,
        }
    }

    async fn read(&self, number: usize) -> Result<Option<Tile>> {
        let mut state = self.state.lock().await;
        while state.first + state.held.len() <= number {
            if let Some((kind, message)) = &state.failure {
                return Err(Error::new(*kind, message.as_str()));
            }
            if state.is_at_end || !self.pull(&mut state).await? {
                return Ok(None);
            }
        }
        Ok(Some(state.take(number)))
    }

    async fn pull(&self, state: &mut State) -> Result<bool> {
        let tile = match state.input.next().await {
            Ok(Some(tile)) => tile,
            Ok(None) => {
                state.is_at_end = true;
                return Ok(false);
            }
            Err(error) => {
                state.failure = Some((error.kind(), error.message().to_owned()));
                return Err(error);
            }
        };
        let lease = self.cx.lease(tile.memory_bytes())?;
        state.held.push_back(Held {
            tile,
            readers_left: self.readers.load(Ordering::Relaxed),
            _lease: lease,
        });
        Ok(true)
    }
}

impl State {
    /// Returns the tile `number`, which is held; the last reader gets it without a copy.
    fn take(&mut self, number: usize) -> Tile {
        let place = number - self.first;
        let held = &mut self.held[place];
        held.readers_left = held.readers_left.saturating_sub(1);
        // Readers read in order, so what the last one reads is the first that is held.
        if held.readers_left > 0 || place > 0 {
            return held.tile.clone();
        }
        self.first += 1;
        let held = self.held.pop_front();
        held.expect("the tile at this place was found").tile
    }
}

/// One of those that read a [`Shared`] operator.
#[derive(Debug)]
pub(crate) struct SharedReader {
    shared: Arc<Shared>,
    next: usize,
}

#[async_trait]
impl Operator for SharedReader {
    fn grid(&self) -> Grid {
        self.shared.grid
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        let tile = self.shared.read(self.next).await?;
        self.next += 1;
        Ok(tile)
    }
}
