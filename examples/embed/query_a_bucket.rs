//! PromQL over a bucket: `cargo run --release --example query_a_bucket -- bucket.yaml 'sum(up)' 2026-11-01T01:30:00Z`
#![expect(clippy::print_stdout, reason = "an example shows what it found")]
use std::{error::Error, sync::Arc};

use thanos_bucket::config::BucketConfig;
use thanos_bucket::gateway::{Gateway, GatewayOptions};
use thanos_core::{query::Queryable, time::UtcTime};
use thanos_promql::{Engine, Value};
use thanos_storeapi::queryable::{StoreQueryable, StoreQueryableOptions};

pub(crate) async fn answer(yaml: &str, query: &str, time: &str) -> Result<Value, Box<dyn Error>> {
    let bucket = BucketConfig::from_yaml(yaml)?.open()?;
    let gateway = Gateway::new(bucket, GatewayOptions::default());
    gateway.sync().await?;
    let source = StoreQueryable::new(Arc::new(gateway), StoreQueryableOptions::default());
    let source: Arc<dyn Queryable> = Arc::new(source);
    let time = UtcTime::parse_rfc3339(time)?.timestamp();
    Ok(Engine::default().instant(&source, query, time).await?.value)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [file, query, time] = [1, 2, 3].map(|at| std::env::args().nth(at).unwrap_or_default());
    let yaml = std::fs::read_to_string(file)?;
    println!("{:#?}", answer(&yaml, &query, &time).await?);
    Ok(())
}
