//! Stopping on SIGINT or SIGTERM.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// A switch that many tasks wait on; it turns once.
#[derive(Debug, Clone)]
pub struct Shutdown {
    receiver: watch::Receiver<bool>,
}

/// Turns the [`Shutdown`] when told to or when dropped.
#[derive(Debug)]
pub struct ShutdownTrigger {
    sender: watch::Sender<bool>,
}

/// Returns a switch and its trigger.
pub fn channel() -> (ShutdownTrigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (ShutdownTrigger { sender }, Shutdown { receiver })
}

impl ShutdownTrigger {
    /// Tells everyone who waits to stop.
    pub fn stop(&self) {
        self.sender.send_replace(true);
    }

    /// Waits for SIGINT or SIGTERM, then stops.
    ///
    /// # Errors
    ///
    /// When the process cannot listen for signals.
    pub async fn stop_on_signal(&self) -> std::io::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let name = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        };
        tracing::info!(signal = name, "caught signal, exiting");
        self.stop();
        Ok(())
    }
}

impl Shutdown {
    /// Waits until the switch turns.
    pub async fn wait(mut self) {
        // An error means that the trigger is gone, which also means stop.
        let _ = self.receiver.wait_for(|stopped| *stopped).await;
    }
}
