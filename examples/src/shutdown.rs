//! Stopping on SIGINT or SIGTERM.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// A switch that many tasks wait on; it turns once.
#[derive(Debug, Clone)]
pub struct Shutdown {
    receiver: watch::Receiver<bool>,
}

/// Turns the [`Shutdown`] when told to or when all its clones are dropped.
#[derive(Debug, Clone)]
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

    /// Stops at the first SIGINT or SIGTERM from now on. SIGHUP, which would end the process, is ignored, as in Thanos.
    ///
    /// # Errors
    ///
    /// When the process cannot listen for signals.
    pub fn stop_on_signal(&self) -> std::io::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let trigger = self.clone();
        // The task ends with the runtime; nothing waits for a signal that never comes.
        tokio::spawn(async move {
            let name = loop {
                tokio::select! {
                    _ = interrupt.recv() => break "SIGINT",
                    _ = terminate.recv() => break "SIGTERM",
                    // What can change while a process runs is read again by itself.
                    _ = hangup.recv() => tracing::debug!("SIGHUP is ignored"),
                }
            };
            tracing::info!(signal = name, "caught signal, exiting");
            trigger.stop();
        });
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
