//! `/-/healthy` and `/-/ready`, the gauge `thanos_status`, and `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;

use crate::metrics::{Format, Metrics};

/// Whether the process is up and whether it can serve.
#[derive(Debug, Clone, Default)]
pub struct Probe {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    healthy: AtomicBool,
    ready: AtomicBool,
}

impl Probe {
    /// Says that the process is up.
    pub fn healthy(&self) {
        self.state.healthy.store(true, Ordering::Release);
    }

    /// Says whether the process can serve.
    pub fn ready(&self, ready: bool) {
        self.state.ready.store(ready, Ordering::Release);
    }

    /// Reports whether the process is up.
    pub fn is_healthy(&self) -> bool {
        self.state.healthy.load(Ordering::Acquire)
    }

    /// Reports whether the process can serve.
    pub fn is_ready(&self) -> bool {
        self.state.ready.load(Ordering::Acquire)
    }
}

fn answer(ok: bool) -> (StatusCode, &'static str) {
    if ok {
        (StatusCode::OK, "OK")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "NOT OK")
    }
}

/// Returns the routes that every role serves.
pub fn routes(probe: Probe, metrics: Metrics) -> Router {
    let (healthy, ready) = (probe.clone(), probe.clone());
    Router::new()
        .route(
            "/-/healthy",
            get(move || std::future::ready(answer(healthy.is_healthy()))),
        )
        .route(
            "/-/ready",
            get(move || std::future::ready(answer(ready.is_ready()))),
        )
        .route(
            "/metrics",
            get(move |headers: HeaderMap| {
                let format = Format::accepted_by(&headers);
                std::future::ready((
                    [(header::CONTENT_TYPE, format.content_type())],
                    metrics.render(&probe, format),
                ))
            }),
        )
}
