//! How many of something are under way at once: calls, queries, selections of a query.
//!
//! Who comes when all places are taken waits for its turn, first come first served. Dropping the wait gives up the turn.

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

/// What is known about a gate, or about several that are counted together.
#[derive(Debug, Clone)]
pub struct GateMetrics {
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
    /// Registers the metrics of the gate `name`, as `thanos_query_concurrent_gate_queries`, before which `what` wait, as
    /// `queries`.
    pub fn register(&self, registry: &mut Registry, name: &'static str, what: &str) {
        let gate = registry.sub_registry_with_prefix(name);
        let max = format!("Maximum number of concurrent {what}");
        gate.register("max", max, self.max.clone());
        let in_flight = format!("Number of {what} that are currently in flight");
        gate.register("in_flight", in_flight, self.in_flight.clone());
        let wait = format!("How many seconds it took for {what} to wait at the gate");
        gate.register("duration_seconds", wait, self.wait_seconds.clone());
        // The counter gets its suffix from the registry, and its name has none before it.
        let total = format!("Total number of {what}");
        registry.register(name, total, self.total.clone());
    }

    /// Says how many may pass at once.
    pub fn set_max(&self, max: usize) {
        self.max.set(i64::try_from(max).unwrap_or(i64::MAX));
    }

    /// Counts one that has waited since `arrived` and is in flight from now on, until the result is dropped.
    pub fn pass(&self, arrived: Instant) -> InFlight {
        self.wait_seconds.observe(arrived.elapsed().as_secs_f64());
        self.total.inc();
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }
}

/// One that has passed a gate.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Lets so many through at once.
#[derive(Debug)]
pub struct Gate {
    /// `None` lets everybody through.
    places: Option<Arc<Semaphore>>,
    metrics: GateMetrics,
}

/// A place behind the gate; dropping it lets the next one through.
#[derive(Debug)]
pub struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    _in_flight: InFlight,
}

impl Gate {
    /// Returns a gate with `concurrency` places; 0 lets everybody through, as in Thanos.
    pub fn new(concurrency: usize, metrics: GateMetrics) -> Self {
        metrics.set_max(concurrency);
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
    pub async fn enter(&self) -> Result<Place> {
        let started = Instant::now();
        let permit = match &self.places {
            Some(places) => {
                let closed = |_| Error::cancelled("the gate is closed");
                Some(Arc::clone(places).acquire_owned().await.map_err(closed)?)
            }
            None => None,
        };
        Ok(Place {
            _permit: permit,
            _in_flight: self.metrics.pass(started),
        })
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
