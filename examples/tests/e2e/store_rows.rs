//! What the flags and the YAML of the store gateway do, seen from outside of the process.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use thanos_bucket::testkit::servers::ObjectServer;
use thanos_core::block::BlockId;
use thanos_core::index::{IndexReader, SeriesScratch};
use thanos_core::labels::{MatchOp, Matcher};
use thanos_core::query::SeriesEvent;
use thanos_core::testkit::{TempDir, v1_index};
use thanos_storeapi::client::{ClientSettings, RemoteStore};
use thanos_storeapi::hints::{
    BLOCK_ID_LABEL, LabelCall, LabelsRequestHints, LabelsResponseHints, SeriesRequestHints,
};
use thanos_storeapi::store::{LabelValuesRequest, SeriesRequest, Store as _};

use crate::blocks::{Kind, OLD_MS, Outside};
use crate::metrics;
use crate::programs::{Store, directory_bucket, thanos};

const SYNCED: &str = "thanos_blocks_meta_synced";

/// A directory with one block.
struct OneBlock {
    directory: TempDir,
    yaml: String,
    outside: Outside,
    id: BlockId,
}

impl OneBlock {
    fn new() -> Self {
        let directory = TempDir::new("e2e-rows");
        let yaml = directory_bucket(directory.path());
        let outside = Outside::open(&yaml);
        let series = [("a", "1"), ("b", "2")];
        let id = outside.upload(&series, Kind::Float, &[("replica", "1")], OLD_MS);
        Self {
            directory,
            yaml,
            outside,
            id,
        }
    }
}

fn client(outside: &Outside, store: &Store) -> Arc<RemoteStore> {
    let _runtime = outside.runtime.enter();
    let settings = ClientSettings::default();
    Arc::new(RemoteStore::new(&store.grpc_address, settings).unwrap())
}

/// How many series the gateway has for `request`, and whether it sends hints.
fn series(outside: &Outside, store: &Store, request: SeriesRequest) -> (usize, bool) {
    let remote = client(outside, store);
    outside.runtime.block_on(async {
        let stream = remote.series(request).await.unwrap();
        let events: Vec<SeriesEvent> = stream.try_collect().await.unwrap();
        let mut found = (0, false);
        for event in events {
            match event {
                SeriesEvent::Batch(batch) => found.0 += batch.len(),
                SeriesEvent::Hints(_) => found.1 = true,
                other => panic!("{other:?}"),
            }
        }
        found
    })
}

fn regex(name: &str, value: &str) -> SeriesRequest {
    SeriesRequest {
        matchers: vec![Matcher::new(MatchOp::Regex, name, value).unwrap()],
        ..SeriesRequest::default()
    }
}

fn gets(store: &Store) -> f64 {
    let name = "thanos_objstore_bucket_operations_total";
    metrics::sum(&store.http, name, &["operation=\"get_range\""])
}

/// ST-04, ST-07: index-headers lie in the data directory, a restart over it reads no index, a file that is no header is
/// made anew, and every sampling finds the series. What is done with sparse headers is as the flag says.
#[test]
fn index_headers_are_kept_as_the_flags_say() {
    let one = OneBlock::new();
    let object = format!("{}/sparse-index-header", one.id);
    let in_bucket = one.directory.path().join(&object);
    for (mode, is_kept, is_published) in [
        ("off", false, false),
        ("use", true, false),
        ("publish", true, true),
    ] {
        let sampling = if mode == "off" { 1 } else { 7 };
        let flags = [
            format!("--store.sparse-header={mode}"),
            format!("--store.index-header-posting-offsets-in-mem-sampling={sampling}"),
        ];
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let store = Store::over(&one.yaml, &flags);
        let folder = store.data_dir.path().join(one.id.to_string());
        let header = folder.join("index-header");
        assert!(header.exists(), "{mode}");
        assert_eq!(
            folder.join("sparse-index-header").exists(),
            is_kept,
            "{mode}"
        );
        assert_eq!(in_bucket.exists(), is_published, "{mode}");
        assert_eq!(series(&one.outside, &store, regex("a", ".+")), (1, false));

        let kept = std::fs::read(&header).unwrap();
        let again = store.restarted(&one.yaml, &flags);
        assert_eq!(gets(&again), 0.0, "{mode}");
        std::fs::write(&header, b"no header").unwrap();
        let _ = std::fs::remove_file(folder.join("sparse-index-header"));
        let _ = std::fs::remove_file(&in_bucket);
        let anew = again.restarted(&one.yaml, &flags);
        assert!(gets(&anew) > 0.0, "{mode}");
        assert!(std::fs::read(&header).unwrap() == kept, "{mode}");
    }
    let refused = run(&["--store.sparse-header=maybe"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && text.contains("off, use, publish"),
        "{text}"
    );
}

fn run(flags: &[&str]) -> Output {
    thanos(&["store"]).args(flags).output().unwrap()
}

/// ST-08: both strategies serve the same blocks; only the recursive one sees a meta.json that was written again.
/// ST-13: a block whose mark is old goes, one with a young or a broken mark stays. ST-09: each exclusion is counted.
#[test]
fn strategies_agree_and_exclusions_are_counted() {
    let one = OneBlock::new();
    let upload = |replica: &str, age_ms| {
        let external = [("replica", replica)];
        one.outside
            .upload(&[("a", "1")], Kind::Float, &external, age_ms)
    };
    let [old, young, broken] = ["2", "3", "4"].map(|replica| upload(replica, OLD_MS));
    upload("5", OLD_MS);
    upload("6", 0);
    let put = |object: String, text: String| {
        let put = one.outside.bucket.put(&object, text.into());
        one.outside.runtime.block_on(put).unwrap();
    };
    let mark = |id: BlockId, age_secs: i64| {
        let time = one.outside.now.as_millis() / 1000 - age_secs;
        let text = format!("{{\"id\":\"{id}\",\"deletion_time\":{time},\"version\":1}}");
        put(format!("{id}/deletion-mark.json"), text);
    };
    mark(old, 25 * 3600);
    mark(young, 3600);
    put(format!("{broken}/deletion-mark.json"), "{".to_owned());
    let no_meta = BlockId::from_parts(one.outside.now, 77);
    put(format!("{no_meta}/index"), "half".to_owned());
    for strategy in ["concurrent", "recursive"] {
        let store = Store::over(
            &one.yaml,
            &[
                &format!("--block-discovery-strategy={strategy}"),
                "--consistency-delay=10m",
                "--selector.relabel-config=- action: drop\n  regex: \"5\"\n  source_labels: [replica]\n",
            ],
        );
        for (state, count) in [
            ("loaded", 3.0),
            ("marked-for-deletion", 1.0),
            ("too-fresh", 1.0),
            ("label-excluded", 1.0),
            ("no-meta-json", 1.0),
            ("time-excluded", 0.0),
        ] {
            let label = format!("state=\"{state}\"");
            metrics::wait_for(&store.http, SYNCED, &[&label], count);
        }
        let busts = "thanos_blocks_meta_base_cache_busts_total";
        let before = metrics::sum(&store.http, busts, &[]);
        let meta = one.directory.path().join(format!("{young}/meta.json"));
        std::fs::write(&meta, std::fs::read(&meta).unwrap()).unwrap();
        if strategy == "recursive" {
            metrics::wait_until(&store.http, busts, &[], |now| now > before);
        } else {
            let syncs = "thanos_blocks_meta_base_syncs_total";
            let done = metrics::sum(&store.http, syncs, &[]);
            metrics::wait_until(&store.http, syncs, &[], |now| now >= done + 2.0);
            assert_eq!(metrics::sum(&store.http, busts, &[]), before);
        }
    }
}

/// ST-21, ST-28, ST-30, ST-36: the gate and the matcher cache count; request hints choose blocks, Series sends no hints and
/// label calls do; matchers on external labels alone select all series of their blocks.
#[test]
fn a_gateway_answers_by_hints_and_counts_its_gate_and_matchers() {
    let one = OneBlock::new();
    let series_of_second = [("a", "1")];
    let second = one
        .outside
        .upload(&series_of_second, Kind::Float, &[("replica", "2")], OLD_MS);
    let flags = [
        "--store.grpc.series-max-concurrency=3",
        "--matcher-cache-size=10",
    ];
    let store = Store::over(&one.yaml, &flags);
    for _ in 0..2 {
        assert_eq!(series(&one.outside, &store, regex("a", "1|2")), (2, false));
    }
    assert_eq!(
        series(&one.outside, &store, regex("replica", "2")),
        (1, false)
    );
    for (name, expected) in [
        ("thanos_bucket_store_series_gate_queries_max", 3.0),
        ("thanos_bucket_store_series_gate_queries_total", 3.0),
        ("thanos_bucket_store_series_gate_queries_in_flight", 0.0),
        ("thanos_matchers_cache_requests_total", 3.0),
        ("thanos_matchers_cache_hits_total", 1.0),
        ("thanos_matchers_cache_max_items", 10.0),
    ] {
        metrics::wait_for(&store.http, name, &[], expected);
    }

    let of_second = vec![Matcher::equal(BLOCK_ID_LABEL, &second.to_string())];
    let hints = SeriesRequestHints {
        block_matchers: of_second.clone(),
        enable_query_stats: true,
    };
    let request = SeriesRequest {
        hints: Some(hints.encode()),
        ..regex("a", ".+")
    };
    assert_eq!(series(&one.outside, &store, request), (1, false));
    let hints = LabelsRequestHints {
        block_matchers: of_second,
    };
    let request = LabelValuesRequest {
        label: "replica".to_owned(),
        hints: Some(hints.encode(LabelCall::Values)),
        ..LabelValuesRequest::default()
    };
    let remote = client(&one.outside, &store);
    let answer = one.outside.runtime.block_on(remote.label_values(request));
    let answer = answer.unwrap();
    assert_eq!(answer.values, ["2"]);
    let hints = LabelsResponseHints::decode(&answer.hints.unwrap(), LabelCall::Values).unwrap();
    let queried: BTreeSet<String> = hints.queried_blocks.into_iter().collect();
    assert_eq!(queried, BTreeSet::from([second.to_string()]));
}

/// a bucket that there is no client for ends the process with an error that says what to do. X-33, ST-27: wrong
/// settings are refused.
#[test]
fn bucket_settings_are_read_or_refused() {
    for (yaml, message) in [
        ("type: SWIFT\nconfig: {}\n", "SWIFT are not supported"),
        ("type: OCI\nconfig: {}\n", "OCI are not supported"),
        ("type: FLOPPY\nconfig: {}\n", "FLOPPY is not supported"),
        (
            "type: S3\nconfig: {bucket: b, endpoint: e, no_such: 1}\n",
            "no_such",
        ),
    ] {
        let flag = format!("--objstore.config={yaml}");
        let refused = run(&[
            &flag,
            "--http-address=127.0.0.1:0",
            "--grpc-address=127.0.0.1:0",
        ]);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            !refused.status.success() && text.contains(message),
            "{yaml}: {text}"
        );
    }
    // Ended in a panic once the first sync was done.
    let refused = run(&[
        "--objstore.config=type: MEMORY\n",
        "--sync-block-duration=0s",
    ]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && text.contains("--sync-block-duration must be"),
        "{text}"
    );
    for (setting, message) in [
        ("hedging_config: {enabled: true, up_to: 0}", "up_to"),
        ("hedging_config: {enabled: true, quantile: 2}", "quantile"),
    ] {
        let flag = format!("--objstore.config=type: MEMORY\n{setting}\n");
        let refused = run(&[&flag]);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            !refused.status.success() && text.contains(message),
            "{setting}: {text}"
        );
    }
}

/// ST-27: a read of chunks that is late is asked for once more when requests are hedged, and X-33: it is given up and
/// asked for again when its answer does not begin in `response_header_timeout`. Without either it is waited for.
#[test]
fn late_answers_are_asked_for_again_as_the_settings_say() {
    let server = ObjectServer::s3();
    let outside = Outside::open(&server.config("blocks", ""));
    outside.upload(&[("a", "1")], Kind::Float, &[("replica", "1")], OLD_MS);
    for (settings, asked) in [
        ("", 1),
        (
            "hedging_config: {enabled: true, up_to: 2, quantile: 1}\n",
            2,
        ),
        ("  http_config: {response_header_timeout: 500ms}\n", 2),
    ] {
        let between = LateProxy::start(server.address());
        let yaml = server.config("blocks", "");
        let yaml = yaml.replace(server.address(), &between.address);
        // Settings of the client are the last ones of its part.
        let yaml = match settings.strip_prefix("  ") {
            Some(_) => yaml.replace("prefix:", &format!("{settings}prefix:")),
            None => format!("{yaml}{settings}"),
        };
        let store = Store::over(&yaml, &[]);
        // What is late is known when some requests have been answered.
        for _ in 0..25 {
            assert_eq!(series(&outside, &store, regex("a", ".+")), (1, false));
        }
        let before = between.chunk_reads();
        between.delay_next();
        assert_eq!(series(&outside, &store, regex("a", ".+")), (1, false));
        assert_eq!(between.chunk_reads() - before, asked, "{settings}");
    }
}

/// ST-35: a block with an index of version 1, as Prometheus 2.0 to 2.2 wrote it, is served like any other.
#[test]
fn blocks_with_an_index_of_version_1_are_served() {
    let one = OneBlock::new();
    let second = one.outside.upload(
        &[("a", "1"), ("c", "3")],
        Kind::Float,
        &[("replica", "2")],
        OLD_MS,
    );
    let object = format!("{second}/index");
    one.outside.runtime.block_on(async {
        let bucket = &one.outside.bucket;
        let index = bucket.read(&object, 1 << 20).await.unwrap();
        let reader = IndexReader::open("index", index).unwrap();
        let mut scratch = SeriesScratch::default();
        let mut all = Vec::new();
        for reference in &reader.all_postings().unwrap() {
            reader.series(reference.into(), &mut scratch).unwrap();
            all.push((scratch.labels().to_labels(), scratch.chunks().to_vec()));
        }
        let index = v1_index(&all);
        assert_eq!(index[4], 1, "its version");
        bucket.put(&object, index).await.unwrap();
    });
    for mode in ["off", "use"] {
        let store = Store::over(&one.yaml, &[&format!("--store.sparse-header={mode}")]);
        for (request, count) in [
            (regex("a", "1"), 2),
            (regex("c", ".+"), 1),
            (regex("c", "4"), 0),
        ] {
            assert_eq!(
                series(&one.outside, &store, request),
                (count, false),
                "{mode}"
            );
        }
        let remote = client(&one.outside, &store);
        let request = LabelValuesRequest {
            label: "c".to_owned(),
            ..LabelValuesRequest::default()
        };
        let answer = one.outside.runtime.block_on(remote.label_values(request));
        assert_eq!(answer.unwrap().values, ["3"], "{mode}");
    }
}

/// `--version` and `--help` are known to every role, as in Thanos.
#[test]
fn roles_say_their_version() {
    for arguments in [
        &["--version"][..],
        &["store", "--version"],
        &["tools", "bucket", "--version"],
    ] {
        let said = thanos(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(
            said.status.success() && text.contains(env!("CARGO_PKG_VERSION")),
            "{arguments:?}: {text}"
        );
    }
}

/// Stands between a client and an object store, and lets one read of chunks wait when it is told to.
struct LateProxy {
    address: String,
    state: Arc<LateState>,
}

#[derive(Default)]
struct LateState {
    chunk_reads: AtomicUsize,
    delays_next: AtomicBool,
}

impl LateProxy {
    /// How late an answer is.
    const DELAY: Duration = Duration::from_secs(4);

    fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (state, upstream) = (Arc::<LateState>::default(), upstream.to_owned());
        let shared = Arc::clone(&state);
        // The threads end with the process of the test.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&upstream).unwrap());
                let (from_client, to_server) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap());
                let state = Arc::clone(&shared);
                std::thread::spawn(move || state.pass(from_client, to_server));
                std::thread::spawn(move || {
                    let (mut server, mut client) = (server, client);
                    let _ = std::io::copy(&mut server, &mut client);
                    let _ = client.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        Self { address, state }
    }

    fn chunk_reads(&self) -> usize {
        self.state.chunk_reads.load(Ordering::SeqCst)
    }

    fn delay_next(&self) {
        self.state.delays_next.store(true, Ordering::SeqCst);
    }
}

impl LateState {
    /// Passes requests on, each of which comes in one piece: reads have no bodies.
    fn pass(&self, mut client: TcpStream, mut server: TcpStream) {
        let mut piece = [0; 16 << 10];
        while let Ok(len @ 1..) = client.read(&mut piece) {
            let head = String::from_utf8_lossy(&piece[..len]);
            let line = head.lines().next().unwrap_or_default();
            if line.starts_with("GET ") && line.contains("/chunks/") {
                self.chunk_reads.fetch_add(1, Ordering::SeqCst);
                if self.delays_next.swap(false, Ordering::SeqCst) {
                    std::thread::sleep(LateProxy::DELAY);
                }
            }
            if server.write_all(&piece[..len]).is_err() {
                break;
            }
        }
        let _ = server.shutdown(std::net::Shutdown::Both);
    }
}
