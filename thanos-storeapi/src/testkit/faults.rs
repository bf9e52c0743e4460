//! Ways in which a fake store can misbehave.

use std::time::Duration;

use thanos_core::error::{Error, ErrorKind, Result};

/// One way in which a [`MemStore`](super::MemStore) misbehaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// `info` fails.
    FailInfo,
    /// `info` never answers.
    HangInfo,
    /// Series and label calls fail at once.
    FailStart,
    /// Series and label calls never answer.
    HangStart,
    /// The series stream fails after so many events.
    FailAfter(usize),
    /// The series stream stops moving after so many events.
    HangAfter(usize),
    /// The series stream panics after so many events.
    PanicAfter(usize),
    /// Every call and every event takes so long (needs a tokio runtime).
    Slow(Duration),
    /// Errors have this kind instead of `Unavailable`.
    Kind(ErrorKind),
    /// Series are sent in the reverse of the promised order.
    Unsorted,
}

/// The faults of one call.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(pub(super) Vec<Fault>);

impl Faults {
    pub(super) fn has(&self, fault: &Fault) -> bool {
        self.0.contains(fault)
    }

    fn error(&self) -> Error {
        let kind = self.0.iter().find_map(|fault| match fault {
            Fault::Kind(kind) => Some(*kind),
            _ => None,
        });
        Error::new(kind.unwrap_or(ErrorKind::Unavailable), "injected failure")
    }

    async fn delay(&self) {
        for fault in &self.0 {
            if let Fault::Slow(time) = fault {
                tokio::time::sleep(*time).await;
            }
        }
    }

    pub(super) async fn on_info(&self) -> Result<()> {
        self.delay().await;
        self.on_call(&Fault::FailInfo, &Fault::HangInfo).await
    }

    pub(super) async fn on_start(&self) -> Result<()> {
        self.delay().await;
        self.on_call(&Fault::FailStart, &Fault::HangStart).await
    }

    async fn on_call(&self, fail: &Fault, hang: &Fault) -> Result<()> {
        if self.has(hang) {
            futures::future::pending::<()>().await;
        }
        if self.has(fail) {
            return Err(self.error());
        }
        Ok(())
    }

    /// What happens instead of sending event number `event`.
    pub(super) async fn on_event(&self, event: usize) -> Result<()> {
        self.delay().await;
        assert!(!self.has(&Fault::PanicAfter(event)), "injected panic");
        self.on_call(&Fault::FailAfter(event), &Fault::HangAfter(event))
            .await
    }
}
