//! An own source of series as a StoreAPI server that any Thanos or Prometheus-compatible querier can use.
//!
//! Run it and ask it:
//!
//! ```sh
//! cargo run --release --example own_store -- 127.0.0.1:10901 &
//! cargo run --release --bin thanos -- query --endpoint 127.0.0.1:10901 --http-address 127.0.0.1:10902 --grpc-address 127.0.0.1:0 &
//! curl -sG http://127.0.0.1:10902/api/v1/query --data-urlencode 'query=tide_meters'
//! ```

use std::net::TcpListener;
use std::sync::Arc;

use thanos_core::chunk::{SeriesChunk, XorEncoder};
use thanos_core::labels::Labels;
use thanos_core::query::{SeriesBatchBuilder, SeriesEvent, SeriesStream};
use thanos_core::time::{TimeRange, Timestamp};
use thanos_core::{Error, Result};
use thanos_storeapi::server::{ServerSettings, StoreServer, serve};
use thanos_storeapi::store::{
    LabelNamesRequest, LabelValuesRequest, LabelsResponse, SeriesRequest, Store, StoreInfo,
    TsdbInfo,
};

/// The tide in three ports, computed when asked: one sample a minute for all of time.
#[derive(Debug)]
struct Tides;

const PORTS: [(&str, f64); 3] = [("brest", 3.1), ("dover", 2.7), ("saint-malo", 5.4)];
const STEP_MS: i64 = 60_000;
const TIDE_PERIOD_MS: f64 = 44_714_000.0;
const SAMPLES_PER_CHUNK: usize = 120;
const SAMPLES_MAX: i64 = 100_000;

fn labels_of(port: &str) -> Labels {
    Labels::from_pairs([("__name__", "tide_meters"), ("port", port)])
}

fn chunks_of(height: f64, range: TimeRange) -> Vec<SeriesChunk> {
    // The first step at or after the start: both ends of the range are inclusive.
    let first = range.min.as_millis().saturating_sub(1).div_euclid(STEP_MS) + 1;
    let times: Vec<i64> = (first..=range.max.as_millis().div_euclid(STEP_MS))
        .map(|step| step * STEP_MS)
        .collect();
    let chunk_of = |times: &[i64]| {
        let mut encoder = XorEncoder::new();
        for time in times {
            encoder.append(
                Timestamp::from_millis(*time),
                height * (*time as f64 / TIDE_PERIOD_MS * std::f64::consts::TAU).sin(),
            );
        }
        let bound = |time: Option<&i64>| Timestamp::from_millis(time.copied().unwrap_or_default());
        SeriesChunk::raw(bound(times.first()), bound(times.last()), encoder.finish())
    };
    times.chunks(SAMPLES_PER_CHUNK).map(chunk_of).collect()
}

#[async_trait::async_trait]
impl Store for Tides {
    async fn info(&self) -> Result<StoreInfo> {
        let tsdbs = vec![TsdbInfo {
            external_labels: Labels::empty(),
            range: TimeRange::ALL,
        }];
        Ok(StoreInfo {
            component: "store".into(),
            tsdbs,
            ..StoreInfo::default()
        })
    }

    async fn series(&self, request: SeriesRequest) -> Result<SeriesStream> {
        if !request.skip_chunks && (request.range.max - request.range.min) / STEP_MS > SAMPLES_MAX {
            return Err(Error::limit_exceeded(format!(
                "at most {SAMPLES_MAX} samples for each series"
            )));
        }
        let mut batch = SeriesBatchBuilder::new();
        for (port, height) in PORTS {
            let labels = labels_of(port);
            if request
                .matchers
                .iter()
                .all(|matcher| matcher.matches_labels(labels.as_ref()))
            {
                let chunks = if request.skip_chunks {
                    Vec::new()
                } else {
                    chunks_of(height, request.range)
                };
                if request.skip_chunks || !chunks.is_empty() {
                    batch.push(labels.as_ref(), chunks);
                }
            }
        }
        Ok(Box::pin(futures::stream::iter([Ok(SeriesEvent::Batch(
            batch.finish(),
        ))])))
    }

    async fn label_names(&self, _request: LabelNamesRequest) -> Result<LabelsResponse> {
        Ok(LabelsResponse {
            values: vec!["__name__".into(), "port".into()],
            ..LabelsResponse::default()
        })
    }

    async fn label_values(&self, request: LabelValuesRequest) -> Result<LabelsResponse> {
        let values = match request.label.as_str() {
            "__name__" => vec!["tide_meters".into()],
            "port" => PORTS.iter().map(|(port, _)| (*port).to_owned()).collect(),
            _ => Vec::new(),
        };
        Ok(LabelsResponse {
            values,
            ..LabelsResponse::default()
        })
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:10901".into());
    let settings = ServerSettings::default();
    let server = StoreServer::new(Arc::new(Tides), settings.clone());
    server.readiness().set_ready().await;
    let ctrl_c = async { drop(tokio::signal::ctrl_c().await) };
    serve(
        TcpListener::bind(address)?,
        server.router(),
        &settings,
        ctrl_c,
    )
    .await
}
