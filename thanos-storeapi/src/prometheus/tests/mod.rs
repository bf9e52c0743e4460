//! The store over a fake that notes what it is asked, and over a real Prometheus.

/// Lets what keeps a server alive be its store.
macro_rules! delegate {
    ($kept:ty) => {
        #[async_trait::async_trait]
        impl crate::store::Store for $kept {
            async fn info(&self) -> thanos_core::Result<crate::store::StoreInfo> {
                self.store.info().await
            }

            async fn series(
                &self,
                request: crate::store::SeriesRequest,
            ) -> thanos_core::Result<crate::store::SeriesStream> {
                self.store.series(request).await
            }

            async fn label_names(
                &self,
                request: crate::store::LabelNamesRequest,
            ) -> thanos_core::Result<crate::store::LabelsResponse> {
                self.store.label_names(request).await
            }

            async fn label_values(
                &self,
                request: crate::store::LabelValuesRequest,
            ) -> thanos_core::Result<crate::store::LabelsResponse> {
                self.store.label_values(request).await
            }
        }
    };
}

mod fake;
mod peer;
mod rows;

use std::sync::Arc;

use fake::FakePrometheus;

use super::{ExternalOnly, PrometheusStore, PrometheusStoreOptions};
use crate::store::Store;
use crate::testkit::{Dataset, conformance};

fn answering() -> PrometheusStoreOptions {
    PrometheusStoreOptions {
        external_only: ExternalOnly::Answer,
        ..PrometheusStoreOptions::default()
    }
}

/// A store that keeps its fake alive.
#[derive(Debug)]
struct Kept {
    store: PrometheusStore,
    _fake: Debugless<FakePrometheus>,
}

struct Debugless<T>(T);

impl<T> std::fmt::Debug for Debugless<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("...")
    }
}

delegate!(Kept);

async fn kept(data: Dataset, manners: impl FnOnce(&mut fake::Manners)) -> Arc<dyn Store> {
    let fake = FakePrometheus::start(data).await;
    fake.change(manners);
    let store = PrometheusStore::new(fake.server().await, answering());
    Arc::new(Kept {
        store,
        _fake: Debugless(fake),
    })
}

/// A-01, SC-08, SC-09: the suite that every store passes.
#[tokio::test]
async fn the_store_passes_the_conformance_suite() {
    conformance::run(async |data| kept(data, |_| {}).await).await;
}

/// the same when each series comes in several frames.
#[tokio::test]
async fn series_in_several_frames_pass_the_conformance_suite() {
    conformance::run(async |data| kept(data, |manners| manners.splits = true).await).await;
}

/// A-01, SC-03: the same with the older form of answers, of a server whose label calls take no matchers (SC-05).
#[tokio::test]
async fn an_old_server_passes_the_conformance_suite() {
    let old = |manners: &mut fake::Manners| {
        manners.streams = false;
        manners.version = "2.12.0";
        manners.reversed = true;
    };
    conformance::run(async |data| kept(data, old).await).await;
}
