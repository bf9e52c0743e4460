//! Queries over downsampled blocks: answered as Thanos' querier answered them, near to those over raw blocks, and never
//! empty.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

mod bounds;
mod history;
mod never_empty;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use serde_json::Value as Json;
use thanos_core::query::Queryable;
use thanos_core::time::Timestamp;
use thanos_promql::engine::{Engine, EngineOptions, Query};
use thanos_promql::value::Value;
use thanos_storeapi::queryable::{StoreQueryable, StoreQueryableOptions};
use thanos_storeapi::stores::{LocalStore, LocalStoreOptions};

/// The blocks end before the last moment of the queries, for which Thanos had another block.
const BLOCKS_END_MS: i64 = 1_792_627_096_057;

fn number(value: &Json) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

/// The only series of an answer: values by time in milliseconds.
fn recorded(answer: &Json) -> BTreeMap<i64, f64> {
    let series = answer["answer"]["data"]["result"].as_array().unwrap();
    assert_eq!(series.len(), 1);
    let points = series[0]["values"].as_array().unwrap().iter();
    points
        .map(|point| (point[0].as_i64().unwrap() * 1000, number(&point[1])))
        .filter(|(time_ms, _)| *time_ms < BLOCKS_END_MS)
        .collect()
}

fn answered(
    queryable: &Arc<dyn Queryable>,
    answer: &Json,
    lookback: Duration,
) -> BTreeMap<i64, f64> {
    let time = |name: &str| Timestamp::from_millis(answer["params"][name].as_i64().unwrap() * 1000);
    let step = Duration::from_secs(answer["params"]["step"].as_u64().unwrap());
    let text = answer["query"].as_str().unwrap();
    let mut query = Query::range(text, time("start"), time("end"), step);
    query.lookback = Some(lookback);
    let engine = Engine::new(EngineOptions::default());
    let result = block_on(engine.query(queryable, query)).unwrap();
    let Value::Matrix(series) = result.value else {
        panic!("{:?}", result.value)
    };
    assert_eq!(series.len(), 1);
    let points = series[0].points.iter();
    points
        .map(|point| (point.time.as_millis(), point.value))
        .filter(|(time_ms, _)| *time_ms < BLOCKS_END_MS)
        .collect()
}

#[test]
fn averages_and_counters_of_every_resolution_are_those_of_thanos() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let blocks = root.join("../thanos-storeapi/testdata/downsampled");
    let store = Arc::new(LocalStore::open(&blocks, LocalStoreOptions::default()).unwrap());
    // The querier looks back at least as far as the resolution wants (row Q-22 of the specification).
    let resolutions = [
        ("0s", 0, 300),
        ("5m", 300_000, 300),
        ("1h", 3_600_000, 3600),
    ];
    for (resolution, max_resolution_ms, lookback_secs) in resolutions {
        for query in ["d01", "d06"] {
            let name = format!("testdata/downsampled/{query}-{resolution}.json");
            let answer = serde_json::from_slice(&std::fs::read(root.join(&name)).unwrap()).unwrap();
            let options = StoreQueryableOptions {
                max_resolution_ms,
                ..StoreQueryableOptions::default()
            };
            let queryable: Arc<dyn Queryable> =
                Arc::new(StoreQueryable::new(store.clone(), options));
            let found = answered(&queryable, &answer, Duration::from_secs(lookback_secs));
            let wanted = recorded(&answer);
            assert!(wanted.len() > 300, "{name}");
            assert!(found.keys().eq(wanted.keys()), "{name}");
            for (time_ms, wanted) in wanted {
                let found = found[&time_ms];
                let is_close = (found - wanted).abs() <= wanted.abs() * 1e-12;
                assert!(is_close, "{name} at {time_ms}: {found} for {wanted}");
            }
        }
    }
}
