//! Work on data: waits for a place, runs on a thread for blocking work, ends at the deadline or with the client.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{self, Either};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

use super::Api;
use crate::active::ActiveQuery;
use crate::admission::Ticket;
use crate::error::{Error, ErrorKind, Result};

/// A place among the requests that are worked on.
#[derive(Debug)]
pub(super) struct Place {
    _ticket: Arc<Ticket>,
    _active: ActiveQuery,
    deadline: Instant,
    /// How long the request waited for the place.
    pub(super) waited: Duration,
}

impl Api {
    /// Waits for a place for the work on `text`, which has to be done within `timeout`.
    pub(super) async fn place(
        &self,
        text: &str,
        timeout: Duration,
        ticket: Arc<Ticket>,
    ) -> Result<Place> {
        let now = Instant::now();
        // A deadline beyond the end of the clock is none.
        let deadline = now
            .checked_add(timeout)
            .unwrap_or_else(|| now + Duration::from_secs(u64::from(u32::MAX)));
        timeout_at(deadline, ticket.enter())
            .instrument(tracing::info_span!("query_gate_ismyturn"))
            .await
            .map_err(|_| Error::timeout("query queue"))??;
        Ok(Place {
            _ticket: ticket,
            _active: self.active.enter(text),
            deadline,
            waited: now.elapsed(),
        })
    }
}

impl Place {
    /// Runs `work` to its end; dropping this future stops it where it next awaits something.
    pub(super) async fn run<T: Send + 'static>(
        self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        // Dropped with this future, and then the work hears of it.
        let (_alive, abandoned) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Handle::current();
        let deadline = self.deadline;
        let span = tracing::info_span!("query_exec");
        let running = tokio::task::spawn_blocking(move || {
            // Work that goes on for a while after its request has ended counts as long as it does.
            let _place = self;
            let work = std::pin::pin!(work.instrument(span));
            match runtime.block_on(future::select(work, abandoned)) {
                Either::Left((result, _)) => result,
                Either::Right(_) => Err(Error::cancelled("expression evaluation")),
            }
        });
        match timeout_at(deadline, running).await {
            Err(_) => Err(Error::timeout("expression evaluation")),
            Ok(Err(_)) => Err(internal("the evaluation panicked")),
            Ok(Ok(result)) => result,
        }
    }
}

fn internal(what: &str) -> Error {
    Error::new(ErrorKind::Internal, what)
}
