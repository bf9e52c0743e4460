//! What is known of a Prometheus server, and changes while it runs.

use std::sync::Arc;

use parking_lot::RwLock;
use thanos_core::Result;
use thanos_core::labels::Labels;
use thanos_core::time::Timestamp;

use super::client::PrometheusClient;

/// The first three numbers of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrometheusVersion(u32, u32, u32);

impl PrometheusVersion {
    /// That of a server that does not tell: it is older than all that do.
    pub const UNKNOWN: Self = Self(0, 0, 0);
    /// The first whose label calls take matchers.
    const LABELS_WITH_MATCHERS: Self = Self(2, 24, 0);

    /// Returns the version that `text` says, such as `2.42.0+ds`.
    pub fn new(text: &str) -> Self {
        let numbers = text.split(['-', '+']).next().unwrap_or_default();
        let mut numbers = numbers.split('.').map_while(|number| number.parse().ok());
        let mut next = || numbers.next().unwrap_or_default();
        Self(next(), next(), next())
    }

    /// Reports whether label names and values can be asked for some series only.
    pub fn has_label_matchers(self) -> bool {
        self >= Self::LABELS_WITH_MATCHERS
    }
}

/// What is known of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The labels that tell it from others.
    pub external_labels: Labels,
    /// Since when it has data; the earliest time when that is not known.
    pub lowest_timestamp: Timestamp,
    /// Its version.
    pub version: PrometheusVersion,
    /// Whether it answered when it was asked last.
    pub is_up: bool,
}

/// A server with what is known of it; clones share that.
#[derive(Debug, Clone)]
pub struct PrometheusServer {
    client: PrometheusClient,
    facts: Arc<RwLock<Arc<Facts>>>,
}

impl PrometheusServer {
    /// Returns a server of which nothing is known yet.
    pub fn new(client: PrometheusClient) -> Self {
        let facts = Facts {
            external_labels: Labels::empty(),
            lowest_timestamp: Timestamp::MIN,
            version: PrometheusVersion::UNKNOWN,
            is_up: false,
        };
        Self {
            client,
            facts: Arc::new(RwLock::new(Arc::new(facts))),
        }
    }

    /// Returns the same server, asked through `client`.
    pub(super) fn with_client(self, client: PrometheusClient) -> Self {
        Self { client, ..self }
    }

    /// Returns its API.
    pub fn client(&self) -> &PrometheusClient {
        &self.client
    }

    /// Returns what was known of it last.
    pub fn facts(&self) -> Arc<Facts> {
        Arc::clone(&self.facts.read())
    }

    /// Asks for the version, which does not change while the process runs that has it.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the server cannot be reached.
    pub async fn read_version(&self) -> Result<()> {
        let version = self.client.version().await?;
        self.change(|facts| facts.version = version);
        Ok(())
    }

    /// Asks for external labels and the beginning of the data. When that fails, what was known stays, but for the server
    /// being up.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the server cannot be reached.
    pub async fn refresh(&self) -> Result<()> {
        let answer = self.ask().await;
        match answer {
            Ok((lowest_timestamp, external_labels)) => {
                self.change(|facts| {
                    facts.external_labels = external_labels;
                    facts.lowest_timestamp = lowest_timestamp;
                    facts.is_up = true;
                });
                Ok(())
            }
            Err(error) => {
                self.set_down();
                Err(error)
            }
        }
    }

    /// Says that the server did not answer in time.
    pub fn set_down(&self) {
        self.change(|facts| facts.is_up = false);
    }

    async fn ask(&self) -> Result<(Timestamp, Labels)> {
        let lowest = self.client.lowest_timestamp().await?;
        Ok((lowest, self.client.external_labels().await?))
    }

    fn change(&self, change: impl FnOnce(&mut Facts)) {
        let mut facts = self.facts.write();
        change(Arc::make_mut(&mut facts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SC-05: which servers take matchers in label calls.
    #[test]
    fn versions_are_compared_by_number() {
        for (text, has_label_matchers) in [
            ("2.24.0", true),
            ("2.42.0+ds", true),
            ("3.0.0-rc.1", true),
            ("10.1", true),
            ("2.23.9", false),
            ("2.9.0", false),
            ("0", false),
            ("", false),
            ("main", false),
        ] {
            let version = PrometheusVersion::new(text);
            assert_eq!(version.has_label_matchers(), has_label_matchers, "{text}");
        }
    }
}
