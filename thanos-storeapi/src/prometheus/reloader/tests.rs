//! A reloader over files that change, a fake server, and a real one.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use prometheus_client::registry::Registry;
use proptest::prelude::*;
use thanos_core::error::ErrorKind;
use thanos_core::testkit::TempDir;
use thanos_core::testkit::peer::{Peer, program};
use tokio::task::JoinHandle;

use super::content::{Expanded, expanded, unpacked};
use super::*;
use crate::net::http_client::{HttpClient, HttpClientConfig, HttpClientMetrics};
use crate::testkit::http::{HttpFake, Reply};

const SOON: Duration = Duration::from_secs(20);

fn client(url: &str) -> PrometheusClient {
    let config = HttpClientConfig::default();
    let http = HttpClient::new(&config, "test", HttpClientMetrics::default()).unwrap();
    PrometheusClient::new(http, url).unwrap()
}

/// A server that answers every request with a status that can change.
struct Fake {
    http: HttpFake,
    status: Arc<AtomicU16>,
}

impl Fake {
    async fn start() -> Self {
        let status = Arc::new(AtomicU16::new(200));
        let shared = Arc::clone(&status);
        let http = HttpFake::start(move |_| Reply::status(shared.load(Ordering::Relaxed), ""));
        Self {
            http: http.await,
            status,
        }
    }

    fn reloads(&self) -> usize {
        let asked = self.http.asked();
        let all = |asked: &crate::testkit::http::Asked| {
            asked.method == "POST" && asked.path == "/-/reload"
        };
        assert!(asked.iter().all(all), "{asked:?}");
        asked.len()
    }

    async fn wait_for_reload(&self) {
        wait_until(|| self.reloads() > 0).await;
    }
}

async fn wait_until(mut is_so: impl FnMut() -> bool) {
    let waited = timeout(SOON, async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("what was waited for happens");
}

/// Ends the watching with the test.
struct Watching(JoinHandle<()>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        Self {
            dir: TempDir::new("reloader"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of which nobody sees a part.
    fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let (path, new) = (self.path(name), self.path("new"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&new, content).unwrap();
        fs::rename(new, &path).unwrap();
        path
    }
}

fn quick() -> ReloaderOptions {
    ReloaderOptions {
        poll_interval: Duration::from_millis(10),
        retry_interval: Duration::from_millis(30),
        environment: [("HOST".to_owned(), b"h-1".to_vec())].into(),
        ..ReloaderOptions::default()
    }
}

async fn watching(fake: &Fake, options: &ReloaderOptions) -> Watching {
    let client = client(&fake.http.url());
    let mut reloader = Reloader::new(client, ReloadMethod::Http, options.clone()).unwrap();
    reloader.begin().await.unwrap();
    assert_eq!(fake.reloads(), 0, "the server may not be there yet");
    let watching = Watching(tokio::spawn(reloader.watch()));
    fake.wait_for_reload().await;
    watching
}

fn metric(options: &ReloaderOptions, name: &str) -> String {
    let mut registry = Registry::default();
    let sub = registry.sub_registry_with_prefix("thanos_sidecar");
    options.metrics.register(sub);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name} in {text}"))
        .trim()
        .to_owned()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(content).unwrap();
    writer.finish().unwrap()
}

/// SC-31: changed, new and deleted rule files, also in directories within, are told to the server; nothing else is.
#[tokio::test]
async fn changes_of_rules_reach_the_server() {
    let (fake, files) = (Fake::start().await, Files::new());
    files.put("rules/a.yml", "a");
    fs::create_dir(files.path("other")).unwrap();
    let options = ReloaderOptions {
        rule_dirs: vec![files.path("rules"), files.path("other")],
        ..quick()
    };
    let _watching = watching(&fake, &options).await;

    files.put("rules/a.yml", "b");
    fake.wait_for_reload().await;
    files.put("other/deep/b.yml", "b");
    fake.wait_for_reload().await;
    fs::remove_file(files.path("rules/a.yml")).unwrap();
    fake.wait_for_reload().await;

    files.put("other/deep/b.yml", "b");
    sleep(Duration::from_millis(200)).await;
    assert_eq!(fake.reloads(), 0, "the content is the same");
    assert_eq!(metric(&options, "thanos_sidecar_reloader_watches"), "2");
    let info = r#"thanos_sidecar_reloader_info{method="http"}"#;
    assert_eq!(metric(&options, info), "1");
    let last = "thanos_sidecar_reloader_last_reload_successful";
    assert_eq!(metric(&options, last), "1");
    let events = metric(&options, "thanos_sidecar_reloader_watch_events_total");
    assert!(events.parse::<u64>().unwrap() >= 4, "{events}");
}

/// SC-31: a mounted ConfigMap changes by a link to another directory.
#[tokio::test]
async fn what_is_swapped_behind_a_link_is_seen() {
    let (fake, files) = (Fake::start().await, Files::new());
    files.put("map/..1/a.yml", "one");
    symlink("..1", files.path("map/..data")).unwrap();
    symlink("..data/a.yml", files.path("map/a.yml")).unwrap();
    fs::create_dir(files.path("out")).unwrap();
    let options = ReloaderOptions {
        config_dirs: vec![ConfigDir {
            dir: files.path("map"),
            output: Some(files.path("out")),
        }],
        ..quick()
    };
    let _watching = watching(&fake, &options).await;
    let written = || fs::read_to_string(files.path("out/a.yml")).unwrap();
    assert_eq!(written(), "one");
    files.put("map/..2/a.yml", "two");
    symlink("..2", files.path("map/..data_tmp")).unwrap();
    fs::rename(files.path("map/..data_tmp"), files.path("map/..data")).unwrap();
    fake.wait_for_reload().await;
    assert_eq!(written(), "two");
    assert_eq!(fs::read_dir(files.path("out")).unwrap().count(), 1);
}

/// SC-31, SC-33: anything but 200 is a failure, which is tried again; a change meanwhile is not missed.
#[tokio::test]
async fn a_server_that_refuses_is_told_again() {
    let (fake, files) = (Fake::start().await, Files::new());
    let file = files.put("prometheus.yml", "a");
    let options = ReloaderOptions {
        config_file: Some(file),
        ..quick()
    };
    let _watching = watching(&fake, &options).await;
    for status in [500, 204, 403] {
        fake.status.store(status, Ordering::Relaxed);
        files.put("prometheus.yml", format!("after {status}"));
        let mut tried = 0;
        wait_until(|| {
            tried += fake.reloads();
            tried >= 3
        })
        .await;
        let last = "thanos_sidecar_reloader_last_reload_successful";
        assert_eq!(metric(&options, last), "0");
    }
    fake.status.store(200, Ordering::Relaxed);
    fake.wait_for_reload().await;
    let last = "thanos_sidecar_reloader_last_reload_successful";
    wait_until(|| metric(&options, last) == "1").await;
    sleep(Duration::from_millis(200)).await;
    fake.reloads();
    sleep(Duration::from_millis(200)).await;
    assert_eq!(fake.reloads(), 0);
    let failed = metric(&options, "thanos_sidecar_reloader_reloads_failed_total");
    assert!(failed.parse::<u64>().unwrap() >= 9, "{failed}");
}

/// SC-32: the output is unpacked and has values; with a variable that has none, it stays and the server is not told.
#[tokio::test]
async fn the_output_has_the_values_of_variables() {
    let (fake, files) = (Fake::start().await, Files::new());
    let file = files.put("in.yml", gzip(b"replica: $(HOST)"));
    let output = files.path("out.yml");
    let options = ReloaderOptions {
        config_file: Some(file),
        config_output: Some(output.clone()),
        ..quick()
    };
    let _watching = watching(&fake, &options).await;
    let written = || fs::read_to_string(&output).unwrap();
    assert_eq!(written(), "replica: h-1");

    files.put("in.yml", "$(HOST) $(NOT_SET) $(NOT_SET)");
    let unset = "thanos_sidecar_reloader_config_environment_variable_expansion_errors";
    wait_until(|| metric(&options, unset) == "2").await;
    let failed = "thanos_sidecar_reloader_config_apply_operations_failed_total";
    wait_until(|| metric(&options, failed) != "0").await;
    assert_eq!(written(), "replica: h-1");
    assert_eq!(fake.reloads(), 0);

    files.put("in.yml", "x");
    fake.wait_for_reload().await;
    assert_eq!(written(), "x");
    assert_eq!(metric(&options, unset), "0");
    assert!(!files.path("out.yml.tmp").exists());
}

/// SC-32: without a file, a value or room, the beginning fails and says where.
#[tokio::test]
async fn the_beginning_says_what_is_wrong() {
    let files = Files::new();
    let begin = async |input: &[u8], change: &dyn Fn(&mut ReloaderOptions)| {
        let mut options = ReloaderOptions {
            config_file: Some(files.put("in.yml", input)),
            config_output: Some(files.path("out.yml")),
            file_bytes_max: 1000,
            ..quick()
        };
        change(&mut options);
        let client = client("http://127.0.0.1:1");
        let mut reloader = Reloader::new(client, ReloadMethod::Http, options).unwrap();
        let begun = reloader.begin().await;
        begun.map_err(|error| (error.kind(), error.to_string()))
    };
    let same = |_: &mut ReloaderOptions| {};
    for (input, kind, said) in [
        (b"$(GONE)".to_vec(), ErrorKind::Invalid, "\"GONE\""),
        (vec![0x1f, 0x8b, 0x08], ErrorKind::Corrupt, "gzip"),
        (
            gzip(&[b'a'; 100_000]),
            ErrorKind::LimitExceeded,
            "more than 1000 bytes",
        ),
        (
            b"$(HOST)".repeat(1000),
            ErrorKind::LimitExceeded,
            "more than 1000 bytes",
        ),
        (b"$(HOST) ".repeat(120), ErrorKind::Internal, ""),
    ] {
        let begun = begin(&input, &same).await;
        match said {
            "" => begun.unwrap(),
            said => {
                let (is, error) = begun.unwrap_err();
                assert_eq!(is, kind, "{error}");
                assert!(error.contains(said) && error.contains("in.yml"), "{error}");
            }
        }
    }
    begin(b"", &same).await.unwrap();
    assert_eq!(fs::read(files.path("out.yml")).unwrap(), b"");
    let keeps = |options: &mut ReloaderOptions| options.unset_variables = UnsetVariables::Keep;
    begin(b"$(GONE) $(HOST)", &keeps).await.unwrap();
    assert_eq!(fs::read(files.path("out.yml")).unwrap(), b"$(GONE) h-1");
    let no_dir = |options: &mut ReloaderOptions| options.rule_dirs = vec![files.path("none")];
    let (kind, error) = begin(b"", &no_dir).await.unwrap_err();
    assert_eq!(kind, ErrorKind::NotFound, "{error}");
    assert!(error.contains("none"), "{error}");
}

/// SC-32: outputs go with what they came from; directories, pipes and files of others are left alone.
#[tokio::test]
async fn outputs_follow_their_directory() {
    let (fake, files) = (Fake::start().await, Files::new());
    files.put("in/a.yml", "a $(HOST)");
    files.put("in/b.yml", gzip(b"b"));
    files.put("in/deep/c.yml", "c");
    files.put("out/foreign.yml", "mine");
    let options = ReloaderOptions {
        config_dirs: vec![ConfigDir {
            dir: files.path("in"),
            output: Some(files.path("out")),
        }],
        ..quick()
    };
    let _watching = watching(&fake, &options).await;
    let written = || {
        let entries = fs::read_dir(files.path("out")).unwrap();
        let mut all: Vec<(String, String)> = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect();
        all.sort();
        all
    };
    let of = |pairs: &[(&str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        pairs.collect::<Vec<_>>()
    };
    let foreign = ("foreign.yml", "mine");
    assert_eq!(
        written(),
        of(&[("a.yml", "a h-1"), ("b.yml", "b"), foreign])
    );
    fs::remove_file(files.path("in/a.yml")).unwrap();
    fake.wait_for_reload().await;
    assert_eq!(written(), of(&[("b.yml", "b"), foreign]));
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let file = Some(PathBuf::from("a"));
    for (options, said) in [
        (
            ReloaderOptions {
                config_output: file.clone(),
                ..quick()
            },
            "no config file",
        ),
        (
            ReloaderOptions {
                config_file: file.clone(),
                config_output: file,
                ..quick()
            },
            "overwrite itself",
        ),
        (
            ReloaderOptions {
                retry_interval: Duration::ZERO,
                ..quick()
            },
            "retry interval is zero",
        ),
    ] {
        let error = options.validate().unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

/// SC-32: the form of a variable.
#[test]
fn only_whole_variables_have_values() {
    let environment = [
        ("A".to_owned(), b"$(B)".to_vec()),
        ("B_1".to_owned(), b"\xff".to_vec()),
    ]
    .into();
    for (text, wanted) in [
        ("$(A)", &b"$(B)"[..]),
        ("x$(A)y$(B_1)", b"x$(B)y\xff"),
        ("$($(A)", b"$($(B)"),
        ("$(A", b"$(A"),
        ("$() $A ${A} $(A-) $( A)", b"$() $A ${A} $(A-) $( A)"),
        ("$", b"$"),
        ("", b""),
    ] {
        let unset = Vec::new();
        let text = expanded(text.as_bytes(), &environment, 100).unwrap();
        assert_eq!(
            text,
            Expanded {
                text: wanted.to_vec(),
                unset
            }
        );
    }
    let text = expanded(b"$(C)", &environment, 100).unwrap();
    assert_eq!(
        (&text.text[..], &text.unset[..]),
        (&b"$(C)"[..], &["C".to_owned()][..])
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever a file holds, it is unpacked and given values within the limit, or refused.
    #[test]
    fn any_content_is_bounded(text in "[$()AZ]{0,40}", cut in 0_usize..60, flip in 0_usize..60) {
        let environment = [("A".to_owned(), b"12345".to_vec())].into();
        if let Ok(done) = expanded(text.as_bytes(), &environment, 60) {
            prop_assert!(done.text.len() <= 60);
            let plain = String::from_utf8(done.text).unwrap();
            prop_assert_eq!(plain, text.replace("$(A)", "12345"));
        }
        let mut packed = gzip(text.as_bytes());
        prop_assert_eq!(unpacked(packed.clone(), 60).unwrap(), text.as_bytes());
        packed.truncate(cut.max(3));
        let at = flip % packed.len();
        packed[at] ^= 1;
        if let Ok(content) = unpacked(packed, 60) {
            prop_assert!(content.len() <= 60);
        }
    }
}

/// A Prometheus that only has a configuration.
fn real(config: &Path, data: &Path, more: &'static [&str]) -> Option<Peer> {
    let prometheus = program("prometheus")?;
    let start = |address: &str| {
        let mut command = std::process::Command::new(&prometheus);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address={address}"))
            .args(more);
        command
    };
    Some(Peer::start(start, "/-/ready"))
}

/// SC-33: a real server reads its configuration again by a request, and says when it does not take it.
#[tokio::test]
async fn a_real_server_reloads_by_request() {
    let files = Files::new();
    let yaml = |replica: &str| format!("global:\n  external_labels:\n    replica: {replica}\n");
    let input = files.put("in.yml", yaml("$(HOST)"));
    let output = files.put("out.yml", "global: {}\n");
    let Some(peer) = real(&output, &files.path("data"), &["--web.enable-lifecycle"]) else {
        return;
    };
    let options = ReloaderOptions {
        config_file: Some(input),
        config_output: Some(output),
        ..quick()
    };
    let client = client(&format!("http://{}", peer.address()));
    let reloader = Reloader::new(client.clone(), ReloadMethod::Http, options.clone()).unwrap();
    let _watching = Watching(tokio::spawn(reloader.watch()));
    let last = "thanos_sidecar_reloader_last_reload_successful";
    wait_until(|| metric(&options, last) == "1").await;
    let labels = client.external_labels().await.unwrap();
    assert_eq!(labels.get("replica").unwrap(), "h-1");
    files.put("in.yml", "no such: setting\n");
    wait_until(|| metric(&options, last) == "0").await;
    files.put("in.yml", yaml("other"));
    wait_until(|| metric(&options, last) == "1").await;
    let labels = client.external_labels().await.unwrap();
    assert_eq!(labels.get("replica").unwrap(), "other");
}

/// SC-33: a real server reads its configuration again by SIGHUP, which is confirmed over HTTP.
#[tokio::test]
async fn a_real_server_reloads_by_signal() {
    let files = Files::new();
    let config = files.put("a.yml", "global: {}\n");
    let Some(prometheus) = program("prometheus") else {
        return;
    };
    // Under a name of its own: other tests run servers as well.
    let name = format!("reload-{}", std::process::id());
    let own = files.path(&name);
    symlink(prometheus, &own).unwrap();
    let start = |address: &str| {
        let mut command = std::process::Command::new(&own);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                files.path("data").display()
            ))
            .arg(format!("--web.listen-address={address}"));
        command
    };
    let peer = Peer::start(start, "/-/ready");
    let client = client(&format!("http://{}", peer.address()));
    let before = client.runtime_info().await.unwrap().last_reload;
    signal::reload(&client, &name, &SystemClock).await.unwrap();
    assert!(client.runtime_info().await.unwrap().last_reload > before);
    files.put("a.yml", "no such: setting\n");
    let error = signal::reload(&client, &name, &SystemClock)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("configuration reload has failed"),
        "{error}"
    );
}
