//! How many `Series` calls are answered at once (row ST-21 of the specification).
//!
//! A call over the number waits for its turn, first come first served. Dropping the call gives up its place.

use std::sync::Arc;
use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use thanos_core::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The buckets of Thanos.
const WAIT_SECONDS: [f64; 16] = [
    0.01, 0.1, 0.3, 0.6, 1.0, 3.0, 6.0, 9.0, 20.0, 30.0, 60.0, 90.0, 120.0, 240.0, 360.0, 720.0,
];

/// What is known about a gate.
#[derive(Debug, Clone)]
pub(super) struct GateMetrics {
    max: Gauge,
    in_flight: Gauge,
    total: Counter,
    wait_seconds: Histogram,
}

impl Default for GateMetrics {
    fn default() -> Self {
        Self {
            max: Gauge::default(),
            in_flight: Gauge::default(),
            total: Counter::default(),
            wait_seconds: Histogram::new(WAIT_SECONDS),
        }
    }
}

impl GateMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let gate = registry.sub_registry_with_prefix("thanos_bucket_store_series_gate_queries");
        let max = "Maximum number of concurrent queries";
        gate.register("max", max, self.max.clone());
        let in_flight = "Number of queries that are currently in flight";
        gate.register("in_flight", in_flight, self.in_flight.clone());
        let wait = "How many seconds it took for queries to wait at the gate";
        gate.register("duration_seconds", wait, self.wait_seconds.clone());
        // The counter gets its suffix from the registry, and its name has none before it.
        let total = "Total number of queries";
        let name = "thanos_bucket_store_series_gate_queries";
        registry.register(name, total, self.total.clone());
    }
}

/// Lets so many calls through at once.
#[derive(Debug)]
pub(super) struct Gate {
    /// `None` lets everybody through.
    places: Option<Arc<Semaphore>>,
    metrics: GateMetrics,
}

/// A place behind the gate; dropping it lets the next one through.
#[derive(Debug)]
pub(super) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    in_flight: Gauge,
}

impl Gate {
    /// Returns a gate for `concurrency` calls; 0 lets everybody through, as in Thanos.
    pub(super) fn new(concurrency: usize, metrics: GateMetrics) -> Self {
        metrics
            .max
            .set(i64::try_from(concurrency).unwrap_or(i64::MAX));
        let places = concurrency.min(Semaphore::MAX_PERMITS);
        Self {
            places: (concurrency > 0).then(|| Arc::new(Semaphore::new(places))),
            metrics,
        }
    }

    /// Waits for a place.
    ///
    /// # Errors
    ///
    /// None while the gate exists.
    pub(super) async fn enter(&self) -> Result<Place> {
        let started = Instant::now();
        let permit = match &self.places {
            Some(places) => {
                let closed = |_| Error::cancelled("the gate of series calls is closed");
                Some(Arc::clone(places).acquire_owned().await.map_err(closed)?)
            }
            None => None,
        };
        self.metrics
            .wait_seconds
            .observe(started.elapsed().as_secs_f64());
        self.metrics.total.inc();
        self.metrics.in_flight.inc();
        Ok(Place {
            _permit: permit,
            in_flight: self.metrics.in_flight.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn gate(concurrency: usize) -> Gate {
        Gate::new(concurrency, GateMetrics::default())
    }

    /// ST-21.
    #[tokio::test]
    async fn calls_over_the_number_wait_in_order_and_a_dropped_one_gives_up_its_place() {
        let gate = gate(1);
        let first = gate.enter().await.unwrap();
        let mut second = Box::pin(gate.enter());
        let mut third = Box::pin(gate.enter());
        let mut fourth = Box::pin(gate.enter());
        for waiting in [&mut second, &mut third, &mut fourth] {
            assert!(waiting.now_or_never().is_none());
        }
        assert_eq!(gate.metrics.in_flight.get(), 1);
        drop(second);
        drop(first);
        assert!(
            (&mut fourth).now_or_never().is_none(),
            "the third came first"
        );
        let place = (&mut third).now_or_never().unwrap().unwrap();
        drop(place);
        let _place = fourth.now_or_never().unwrap().unwrap();
        assert_eq!(gate.metrics.total.get(), 3);
        assert_eq!(gate.metrics.in_flight.get(), 1);
    }

    #[tokio::test]
    async fn zero_lets_everybody_through() {
        let gate = gate(0);
        let mut places = Vec::new();
        for _ in 0..1000 {
            places.push(gate.enter().now_or_never().unwrap().unwrap());
        }
        assert_eq!(gate.metrics.in_flight.get(), 1000);
        places.clear();
        assert_eq!(gate.metrics.in_flight.get(), 0);
    }
}
