//! Postings: the same series however they are read, in memory that does not grow with the lists.

use object_store::memory::InMemory;
use thanos_core::chunk::{SeriesChunk, XorEncoder};
use thanos_core::testkit::K8sSpec;
use thanos_core::time::Timestamp;

use super::*;
use crate::gateway::postings::matching_series;
use crate::gateway::query::{Item, get};
use crate::testkit::{BlockData, BlockSpec, Sizes, block_id};

const STORE_BYTES: u64 = 1 << 30;

async fn gateway_with(data: &BlockData, sizes: Sizes, options: GatewayOptions) -> Gateway {
    let bucket = Bucket::new(Arc::new(InMemory::new()));
    let spec = BlockSpec {
        id: block_id(1),
        labels: vec![("ext".to_owned(), "1".to_owned())],
        sizes,
        ..BlockSpec::default()
    };
    data.upload(&bucket, &spec).await.unwrap();
    let gateway = Gateway::new(bucket, options);
    assert!(gateway.sync().await.unwrap().failed.is_empty());
    gateway
}

fn wide(series: usize) -> BlockData {
    let spec = K8sSpec {
        series,
        samples: 2,
        ..K8sSpec::default()
    };
    BlockData::wide(&spec).unwrap()
}

fn regex(name: &str, value: &str) -> Matcher {
    Matcher::new(MatchOp::Regex, name, value).unwrap()
}

/// The context of a request that may hold so many bytes.
fn within(gateway: &Gateway, bytes: u64) -> Arc<QueryContext> {
    let limits = QueryLimits {
        request: RequestLimits::default(),
        budget: MemoryBudget::new("store memory", STORE_BYTES),
        request_memory_bytes: bytes,
        chunk_pool: MemoryBudget::unlimited(),
    };
    let metrics = &gateway.options.metrics;
    let (tenant, none) = (TenantId::default(), Vec::new());
    Arc::new(QueryContext::new(
        Call::Series,
        tenant,
        0,
        none,
        &limits,
        metrics,
    ))
}

/// Postings that would not fit into the memory of the request are read in parts, into a bit for each series: the
/// answer is the same, the memory is not.
#[tokio::test]
async fn postings_larger_than_memory_are_read_in_parts() {
    let series = 20_000;
    let gateway = gateway_with(&wide(series), Sizes::Known, GatewayOptions::default()).await;
    let loaded = gateway.loaded();
    let block = loaded.blocks.values().next().unwrap();
    let header = block.header().await.unwrap();
    let every = ["__name__", "container", "namespace", "node", "pod"];
    let every: Vec<Matcher> = every.iter().map(|name| regex(name, ".+")).collect();
    let list_bytes = 4 * series as u64;
    // None of these only wants its label to be there, which is looked up in the series.
    let some = vec![
        regex("__name__", "[a-z_]+"),
        regex("container", "container-[0-9]+"),
        regex("namespace", "[a-z-]+"),
        regex("pod", "[a-z].*"),
        Matcher::new(MatchOp::NotRegex, "pod", "web-.*|search-app-1.*").unwrap(),
    ];
    for matchers in [&every, &some] {
        let mut found = Vec::new();
        let mut peaks = Vec::new();
        for memory_bytes in [STORE_BYTES, 5 * list_bytes] {
            let query = within(&gateway, memory_bytes);
            let selection = matching_series(block, &header, matchers, &query)
                .await
                .unwrap();
            found.push(selection.series);
            peaks.push(query.budget.peak_bytes());
        }
        assert_eq!(found[0], found[1]);
        assert!(!found[0].is_empty());
        assert!(peaks[0] > 4 * list_bytes, "{peaks:?}");
        assert!(peaks[1] < peaks[0], "{peaks:?}");
    }
    let query = within(&gateway, list_bytes);
    let error = matching_series(block, &header, &every, &query)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    let message = error.to_string();
    assert!(
        message.contains("--store.memory-limit-per-request"),
        "{message}"
    );
    assert_eq!(query.budget.used_bytes(), 0);
}

/// ST-20: series are read in windows of at most 10,000, so that memory does not grow with the selection but for four
/// bytes of postings for each series.
#[tokio::test]
async fn a_huge_selection_takes_the_memory_of_its_windows() {
    let mut peaks = Vec::new();
    let sizes = [15_000, 30_000];
    for series in sizes {
        let budget = MemoryBudget::new("store memory", 12 << 20);
        let options = GatewayOptions {
            budget: budget.clone(),
            ..GatewayOptions::default()
        };
        let gateway = gateway_with(&wide(series), Sizes::Known, options).await;
        let request = SeriesRequest {
            skip_chunks: true,
            ..all_series()
        };
        let mut stream = gateway.series(request).await.unwrap();
        let mut count = 0;
        while let Some(event) = stream.try_next().await.unwrap() {
            if let SeriesEvent::Batch(batch) = event {
                count += batch.len();
            }
        }
        assert_eq!(count, series);
        peaks.push(budget.peak_bytes());
    }
    let postings = 4 * (sizes[1] - sizes[0]) as u64;
    // Lists and their union are both there for a moment; of the small selection not all windows are of full size.
    assert!(peaks[1] <= peaks[0] * 3 / 2 + 3 * postings, "{peaks:?}");
}

/// ST-18, E-91: with lazy postings the answer is the same and fewer bytes of postings are read; a request that gains
/// nothing reads what it read before.
#[tokio::test]
async fn lazy_postings_read_less() {
    let data = wide(10_000);
    let lazy = GatewayOptions {
        lazy_postings: Some(LazyPostings::default()),
        ..GatewayOptions::default()
    };
    let eager = gateway_with(&data, Sizes::Known, GatewayOptions::default()).await;
    let lazy = gateway_with(&data, Sizes::Known, lazy).await;
    let pods = eager.label_values(LabelValuesRequest {
        label: "pod".to_owned(),
        ..Default::default()
    });
    let pod = Matcher::equal("pod", &pods.await.unwrap().values[7]);
    let selective = vec![pod.clone(), regex("__name__", "container_.*")];
    for (matchers, is_cheaper) in [(selective, true), (vec![pod], false)] {
        let mut costs = Vec::new();
        for gateway in [&eager, &lazy] {
            let before = gateway.shared.bucket.requests().bytes_read;
            let request = SeriesRequest {
                matchers: matchers.clone(),
                ..SeriesRequest::default()
            };
            let shape = shape_of(gateway.series(request).await.unwrap())
                .await
                .unwrap();
            assert!(!shape.is_empty());
            let bytes = gateway.shared.bucket.requests().bytes_read - before;
            costs.push((shape, bytes));
        }
        assert_eq!(costs[0].0, costs[1].0);
        let (eager, lazy) = (costs[0].1, costs[1].1);
        assert_eq!(lazy < eager / 2, is_cheaper, "{lazy} of {eager}");
        assert!(lazy <= eager);
    }
}

/// ST-19: a series whose entry and chunks are far longer than those of the others is fetched again, once.
#[tokio::test]
async fn what_is_longer_than_assumed_is_fetched_again() {
    let start = Timestamp::from_millis(1_700_000_000_000);
    let chunk = |first: i64, samples: i64| {
        let mut encoder = XorEncoder::new();
        let at = |i: i64| start + first + i * 15_000;
        for i in 0..samples {
            // Values with nothing in common take nine bytes each.
            let noise = (i.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64.cast_signed())).cast_unsigned();
            encoder.append(at(i), f64::from_bits(noise >> 2));
        }
        SeriesChunk::raw(at(0), at(samples - 1), encoder.finish())
    };
    let series: Vec<_> = (0..60)
        .map(|number| {
            let labels = Labels::from_pairs([("__name__", format!("m{number:02}"))]);
            let (count, samples) = if number == 30 { (3000, 2) } else { (1, 2) };
            let mut chunks: Vec<_> = (0..count).map(|i| chunk(i * 60_000, samples)).collect();
            if number == 31 {
                chunks = vec![chunk(0, 5000)];
            }
            (labels, chunks)
        })
        .collect();
    let data = BlockData::of_series(&series).unwrap();
    for sizes in [Sizes::Known, Sizes::Unknown] {
        let gateway = gateway_with(&data, sizes, GatewayOptions::default()).await;
        let mut refetched = Vec::new();
        for name in ["m29", "m30", "m31"] {
            let query = within(&gateway, STORE_BYTES);
            let request = SeriesRequest {
                matchers: vec![Matcher::equal("__name__", name)],
                ..SeriesRequest::default()
            };
            let resolutions = Resolutions::CoarsestUpTo(0);
            let loaded = gateway.loaded();
            let stream = select::series(&loaded, request, resolutions, &query);
            let shape = shape_of(stream.unwrap()).await.unwrap();
            let number: usize = name[1..].parse().unwrap();
            assert_eq!(shape[0].1, series[number].1.len(), "chunks of {name}");
            let of = |item| get(&query.stats.of(item).refetches);
            refetched.push((of(Item::Series), of(Item::Chunks)));
        }
        assert_eq!(refetched, [(0, 0), (1, 0), (0, 1)], "{sizes:?}");
    }
}

/// ST-19: a block whose meta.json says that its series and chunks are shorter than they are costs no request for each of
/// them: what is fetched again is fetched with its neighbours.
#[tokio::test]
async fn what_is_fetched_again_is_fetched_with_its_neighbours() {
    let data = wide(400);
    let bucket = Bucket::new(Arc::new(InMemory::new()));
    let id = block_id(1);
    let spec = BlockSpec {
        id,
        ..BlockSpec::default()
    };
    data.upload(&bucket, &spec).await.unwrap();
    let object = format!("{id}/meta.json");
    let text = bucket.read(&object, 1 << 20).await.unwrap();
    let mut meta: serde_json::Value = serde_json::from_slice(&text).unwrap();
    meta["thanos"]["index_stats"] = serde_json::json!({"series_max_size": 9, "chunk_max_size": 1});
    let text = serde_json::to_vec(&meta).unwrap();
    bucket.put(&object, text.into()).await.unwrap();
    let gateway = Gateway::new(bucket.clone(), GatewayOptions::default());
    gateway.sync().await.unwrap();

    let ask = async |matchers: Vec<Matcher>| {
        let query = within(&gateway, STORE_BYTES);
        let request = SeriesRequest {
            matchers,
            ..SeriesRequest::default()
        };
        let resolutions = Resolutions::CoarsestUpTo(0);
        let stream = select::series(&gateway.loaded(), request, resolutions, &query);
        let shape = shape_of(stream.unwrap()).await.unwrap();
        (query, shape)
    };
    let (_, all) = ask(vec![regex("__name__", ".+")]).await;
    // Every other series, so that no entry and no chunk ends where the next wanted one starts.
    let labels: Vec<String> = all
        .iter()
        .map(|(labels, ..)| labels.get("pod").unwrap_or_default().into_owned())
        .collect();
    let every_other: Vec<&str> = labels.iter().step_by(2).map(String::as_str).collect();
    let pods = every_other.join("|");
    let (query, some) = ask(vec![regex("pod", &pods)]).await;
    let wanted = all.iter().filter(|(labels, ..)| {
        let pod = labels.get("pod").unwrap_or_default();
        every_other.contains(&pod.as_ref())
    });
    assert_eq!(some, wanted.cloned().collect::<Vec<_>>());
    for item in [Item::Series, Item::Chunks] {
        let stats = query.stats.of(item);
        let (again, requests) = (get(&stats.refetches), get(&stats.fetch_count));
        assert!(again > 50, "{item:?}: {again} fetched again");
        assert!(requests < again / 4, "{item:?}: {requests} for {again}");
    }
}

/// Asks for series, for values from the header, or for names from series.
async fn ask(gateway: &Gateway, which: usize) -> Result<String> {
    let label = "pod".to_owned();
    let matchers = vec![regex("pod", ".*1.*")];
    Ok(match which {
        0 => format!("{:?}", shape_of(gateway.series(all_series()).await?).await?),
        1 => {
            let request = LabelValuesRequest {
                label,
                ..Default::default()
            };
            format!("{:?}", gateway.label_values(request).await?.values)
        }
        _ => {
            let request = LabelNamesRequest {
                matchers,
                ..Default::default()
            };
            format!("{:?}", gateway.label_names(request).await?.values)
        }
    })
}

/// Damage in a kept header, wherever it is, shows when that page is needed, and costs no answer: the header is made
/// anew, and what has left already does not come twice.
#[tokio::test]
async fn damage_of_a_kept_header_costs_no_answer() {
    let data = wide(2000);
    let bucket = Bucket::new(Arc::new(InMemory::new()));
    let spec = BlockSpec {
        id: block_id(1),
        ..BlockSpec::default()
    };
    data.upload(&bucket, &spec).await.unwrap();
    let dir = TempDir::new("damaged-headers");
    let file = dir
        .path()
        .join(format!("{}/sparse-index-header", block_id(1)));
    let open = async || {
        let options = GatewayOptions {
            data_dir: Some(dir.path().to_owned()),
            ..GatewayOptions::default()
        };
        let gateway = Gateway::new(bucket.clone(), options);
        assert!(gateway.sync().await.unwrap().failed.is_empty());
        gateway
    };
    let whole = open().await;
    let mut wanted = Vec::new();
    for which in 0..3 {
        wanted.push(ask(&whole, which).await.unwrap());
    }
    drop(whole);
    let kept = std::fs::read(&file).unwrap();
    let mut made_anew = 0;
    for part in 1..12 {
        for (which, wanted) in wanted.iter().enumerate() {
            let mut damaged = kept.clone();
            damaged[kept.len() * part / 12] ^= 0xFF;
            std::fs::remove_file(&file).unwrap();
            std::fs::write(&file, damaged).unwrap();
            let gateway = open().await;
            assert!(
                ask(&gateway, which).await.unwrap() == *wanted,
                "{part} {which}"
            );
            made_anew += usize::from(std::fs::read(&file).unwrap() == kept);
            drop(gateway);
            std::fs::write(&file, &kept).unwrap();
        }
    }
    assert!(made_anew > 10, "{made_anew}");
}

/// ST-23: what is cut out of long reads holds on to all of them, and so does its lease.
#[tokio::test]
async fn gaps_between_chunks_are_on_lease_as_long_as_the_chunks() {
    let start = Timestamp::from_millis(1_700_000_000_000);
    let mut encoder = XorEncoder::new();
    for i in 0..60_u64 {
        let noise = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let at = start + i64::try_from(i).unwrap() * 15_000;
        encoder.append(at, f64::from_bits(noise >> 2));
    }
    let chunk = SeriesChunk::raw(start, start + 59 * 15_000, encoder.finish());
    let series: Vec<_> = (0..2000)
        .map(|number| {
            let labels = Labels::from_pairs([("__name__", format!("m{number:04}"))]);
            (labels, vec![chunk.clone()])
        })
        .collect();
    let data = BlockData::of_series(&series).unwrap();
    let gateway = gateway_with(&data, Sizes::Known, GatewayOptions::default()).await;
    let query = within(&gateway, STORE_BYTES);
    let request = SeriesRequest {
        matchers: vec![regex("__name__", "m...5")],
        ..SeriesRequest::default()
    };
    let resolutions = Resolutions::CoarsestUpTo(0);
    let loaded = gateway.loaded();
    let mut stream = select::series(&loaded, request, resolutions, &query).unwrap();
    let mut held_most = 0;
    while let Some(event) = stream.try_next().await.unwrap() {
        drop(event);
        held_most = held_most.max(query.budget.used_bytes());
    }
    let chunks = query.stats.of(Item::Chunks);
    let (read, used) = (get(&chunks.fetched_bytes), get(&chunks.touched_bytes));
    assert!(read > 5 * used, "{read} read for {used}");
    assert!(held_most > read, "{held_most} held of {read}");
}

/// ST-29: values of many series: as many as fit, and no more are held than the limit wants.
#[tokio::test]
async fn label_values_hold_no_more_than_is_wanted() {
    let chunk = K8sSpec {
        samples: 1,
        ..K8sSpec::default()
    };
    let chunks = chunk.chunks(0);
    let values: Vec<String> = (0..4000)
        .map(|number| format!("instance-{number:05}"))
        .collect();
    let labels = |value: &String| Labels::from_pairs([("__name__", "up"), ("instance", value)]);
    let series: Vec<_> = values
        .iter()
        .map(|value| (labels(value), chunks.clone()))
        .collect();
    let data = BlockData::of_series(&series).unwrap();
    let budget = MemoryBudget::new("store memory", 160 << 10);
    let options = GatewayOptions {
        budget: budget.clone(),
        ..GatewayOptions::default()
    };
    let gateway = gateway_with(&data, Sizes::Known, options).await;
    let request = |limit, matchers: &[Matcher]| LabelValuesRequest {
        label: "instance".to_owned(),
        limit,
        matchers: matchers.to_vec(),
        ..Default::default()
    };
    let before = gateway.shared.bucket.requests();
    for limit in [1, 10, 1000] {
        let found = gateway.label_values(request(limit, &[])).await.unwrap();
        assert_eq!(found.values, values[..usize::try_from(limit).unwrap()]);
    }
    let error = gateway.label_values(request(0, &[])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.to_string().contains("store memory"), "{error}");
    assert_eq!(
        gateway.shared.bucket.requests(),
        before,
        "nothing is read for it"
    );

    let few = [regex("instance", "instance-0000.")];
    let found = gateway.label_values(request(3, &few)).await.unwrap();
    assert_eq!(found.values, values[..3]);
    assert_eq!(budget.used_bytes(), 0);
}
