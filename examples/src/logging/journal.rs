//! The journal of systemd, in its own protocol: one datagram for each event.
//!
//! Source: systemd's "Native Journal Protocol". Thanos needs a journal for `--log.format=journald`, and so do we.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use thanos_core::{Error, Result};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::format::{Said, level_of};
use crate::traces::RequestId;

const SOCKET: &str = "/run/systemd/journal/socket";

/// A layer that writes events to the journal.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    name: String,
}

impl Journal {
    /// Opens the journal; `name` is what `--debug.name` says.
    ///
    /// # Errors
    ///
    /// `Unavailable` when there is none.
    pub(super) fn open(name: &str) -> Result<Self> {
        Self::at(Path::new(SOCKET), name)
    }

    fn at(path: &Path, name: &str) -> Result<Self> {
        let connect = || {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            Ok::<_, std::io::Error>(socket)
        };
        let socket = connect().map_err(|error| {
            let what = "--log.format=journald needs the journal of systemd";
            Error::unavailable(format!("{what}: {}: {error}", path.display())).with_source(error)
        })?;
        let name = name.to_owned();
        Ok(Self { socket, name })
    }

    fn message(&self, event: &Event<'_>, request: Option<&RequestId>) -> Vec<u8> {
        let mut said = Said::default();
        event.record(&mut said);
        let priority = match *event.metadata().level() {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            Level::DEBUG | Level::TRACE => "7",
        };
        let mut message = Vec::new();
        add(&mut message, "PRIORITY", priority);
        add(&mut message, "SYSLOG_IDENTIFIER", "thanos");
        add(&mut message, "MESSAGE", &said.message);
        add(&mut message, "LEVEL", level_of(event.metadata()));
        add(&mut message, "CALLER", event.metadata().target());
        if !self.name.is_empty() {
            add(&mut message, "NAME", &self.name);
        }
        if let Some(RequestId(id)) = request {
            add(&mut message, "REQUEST_ID", id);
        }
        for (name, value) in &said.fields {
            add(&mut message, name, value);
        }
        message
    }
}

/// Adds a field: a line, or the length before a value that is none.
fn add(message: &mut Vec<u8>, name: &str, value: &str) {
    let allowed = |c: char| match c.to_ascii_uppercase() {
        c if c.is_ascii_alphanumeric() => c,
        _ => '_',
    };
    let name: String = name.chars().map(allowed).collect();
    message.extend_from_slice(name.trim_start_matches('_').as_bytes());
    if value.contains('\n') {
        message.push(b'\n');
        message.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        message.push(b'=');
    }
    message.extend_from_slice(value.as_bytes());
    message.push(b'\n');
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut scope = context.event_scope(event).into_iter().flatten();
        let request = scope.find_map(|span| span.extensions().get::<RequestId>().cloned());
        // A log that cannot be written has nowhere to say so.
        let _ = self.socket.send(&self.message(event, request.as_ref()));
    }
}

#[cfg(test)]
mod tests {
    use thanos_core::testkit::TempDir;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::registry::Registry;

    use super::*;

    ///
    #[test]
    fn events_are_datagrams_with_fields() {
        let directory = TempDir::new("journal");
        let path = directory.path().join("socket");
        let error = Journal::at(&path, "").unwrap_err().to_string();
        assert!(error.contains("journald needs the journal"), "{error}");

        let receiver = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::at(&path, "me").unwrap();
        tracing::subscriber::with_default(Registry::default().with(journal), || {
            tracing::error!(a.b = 1, text = "x\ny", "went wrong");
        });
        let mut bytes = [0; 1024];
        let len = receiver.recv(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..len]);
        assert!(text.starts_with("PRIORITY=3\n"), "{text}");
        assert!(text.contains("MESSAGE=went wrong\n"), "{text}");
        assert!(
            text.contains("NAME=me\n") && text.contains("A_B=1\n"),
            "{text}"
        );
        assert!(text.contains("TEXT\n\u{3}\0\0\0\0\0\0\0x\ny\n"), "{text:?}");
    }
}
