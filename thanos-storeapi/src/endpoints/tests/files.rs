//! Lists of endpoints in files.

use std::path::PathBuf;
use std::time::Duration;

use super::super::config::{ClientConfig, ConfigSource, EndpointsConfig};
use super::super::file::{FileSource, targets};
use super::super::source::Source;
use super::*;

const LONG: Duration = Duration::from_secs(300);

/// A directory of its own for one test.
fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("endpoints-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

fn addresses(source: &mut dyn Source) -> Vec<String> {
    let found = source.find();
    let addresses = found.endpoints.into_iter();
    addresses.map(|spec| spec.address).collect()
}

/// X-24.
#[test]
fn target_groups_are_read_from_yaml_and_json() {
    let read = |name: &str, text: &str| targets(std::path::Path::new(name), text);
    let yaml = "- targets: [a:1, 'dns+b:2']\n  labels: {job: x}\n- targets:\n  - c:3\n";
    assert_eq!(read("x.yml", yaml).unwrap(), ["a:1", "dns+b:2", "c:3"]);
    let json = r#"[{"targets": ["a:1"], "labels": {"x": "y"}}, {"targets": []}]"#;
    assert_eq!(read("x.JSON", json).unwrap(), ["a:1"]);
    assert_eq!(read("x.yaml", "").unwrap(), Vec::<String>::new());
    for (name, text) in [
        ("x.txt", "[]"),
        ("x.yaml", "- target: [a:1]"),
        ("x.yaml", "targets: [a:1]"),
        ("x.json", r#"[{"targets": "#),
        ("x.yaml", "- targets: 7"),
    ] {
        let error = read(name, text).unwrap_err().to_string();
        assert!(error.contains(name), "{text}: {error}");
    }
}

/// X-24: files come, change, break and go.
#[test]
fn files_of_targets_are_followed() {
    let directory = directory("targets");
    let (a, b) = (directory.join("a.yaml"), directory.join("b.yaml"));
    let all = [a.clone(), b.clone()];
    let list = move || Ok(all.iter().filter(|path| path.exists()).cloned().collect());
    let mut source = FileSource::new(list, LONG, ClientSettings::default());
    assert_eq!(source.find(), Default::default());
    std::fs::write(&a, "- targets: [a:1, a:2]").unwrap();
    std::fs::write(&b, "nonsense").unwrap();
    let found = source.find();
    assert_eq!(found.endpoints.len(), 2);
    assert_eq!(found.gaps[0].source, b.display().to_string());
    std::fs::write(&b, "- targets: [b:1, a:1]").unwrap();
    assert_eq!(addresses(&mut source), ["a:1", "a:2", "b:1"]);
    std::fs::write(&a, "- targets: [a:1, a:2").unwrap();
    let found = source.find();
    assert_eq!((found.endpoints.len(), found.gaps.len()), (3, 0));
    std::fs::remove_file(&a).unwrap();
    assert_eq!(addresses(&mut source), ["b:1", "a:1"]);
    std::fs::remove_dir_all(directory).unwrap();
}

fn specs(yaml: &str, flags: &ClientConfig) -> Result<Vec<EndpointSpec>> {
    EndpointsConfig::from_yaml(yaml)?.specs(flags, &ClientSettings::default())
}

/// Q-11, X-25: strict, groups, and what is refused in Thanos' words.
#[test]
fn configuration_is_strict() {
    let yaml = "endpoints:\n- {address: 'a:1', strict: true}\n- address: dns+g:1\n  group: true\n  service_config: '{\"retryPolicy\": {\"maxAttempts\": 2}}'\n- address: dns+b:2\n";
    let found = specs(yaml, &ClientConfig::default()).unwrap();
    let kinds: Vec<_> = found
        .iter()
        .map(|spec| (spec.health, spec.members))
        .collect();
    assert_eq!(
        kinds,
        [
            (Health::Strict, Members::Each),
            (Health::Checked, Members::AnyOf { attempts: 2 }),
            (Health::Checked, Members::Each),
        ]
    );
    assert_eq!(specs("", &ClientConfig::default()).unwrap(), []);
    for (yaml, text) in [
        (
            "endpoints: [{address: dns+a:1, strict: true}]",
            "dns+a:1 is a dynamically specified endpoint",
        ),
        (
            "endpoints: [{address: a:1, service_config: '{}'}]",
            "service_config is only valid for endpoint groups",
        ),
        (
            "endpoints: [{address: a:1, client_config: {compression: lz4}}]",
            "invalid compression: lz4",
        ),
        ("endpoints: [{adress: a:1}]", "adress"),
        ("endpoints: [{strict: true}]", "no address"),
        ("endpoint: []", "endpoint"),
        ("endpoints: 7", "endpoint config"),
    ] {
        let error = specs(yaml, &ClientConfig::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains(text), "{yaml}: {error}");
    }
}

/// Q-12: each field comes from the endpoint, then from the defaults, then from the flags.
#[cfg(feature = "tls")]
#[test]
fn client_settings_override_each_other_field_by_field() {
    use crate::net::compress::Compression;
    let mut flags = ClientConfig {
        compression: Some("snappy".into()),
        ..ClientConfig::default()
    };
    flags.tls_config.min_version = Some("1.2".into());
    let yaml = "default_client_config:\n  tls_config: {insecure_skip_verify: true}\n  server_name: all\nendpoints:\n- address: a:1\n- address: b:1\n  client_config: {server_name: b, compression: none}\n- address: c:1\n  client_config: {tls_config: {enabled: false}}\n- address: d:1\n  client_config: {tls_config: {min_version: '1.3'}}\n";
    let found = specs(yaml, &flags).unwrap();
    let of = |place: usize| {
        let client = &found[place].client;
        let tls = client.tls.as_ref().map(|tls| tls.settings().clone());
        let tls = tls.map(|tls| {
            let version = tls.min_version.unwrap().to_string();
            (tls.server_name, tls.insecure_skip_verify, version)
        });
        (client.compression, tls)
    };
    let tls = |name: &str, version: &str| Some((name.to_owned(), true, version.to_owned()));
    assert_eq!(of(0), (Compression::Snappy, tls("all", "1.2")));
    assert_eq!(of(1), (Compression::None, tls("b", "1.2")));
    assert_eq!(of(2), (Compression::Snappy, None));
    assert_eq!(of(3), (Compression::Snappy, tls("all", "1.3")));
    // Nothing said means nothing encrypted, and half a pair is a mistake.
    let plain = specs("endpoints: [{address: a:1}]", &ClientConfig::default()).unwrap();
    assert!(plain[0].client.tls.is_none());
    let half = "endpoints: [{address: a:1, client_config: {tls_config: {cert_file: x}}}]";
    assert!(specs(half, &ClientConfig::default()).is_err());
}

/// Q-11: a file that breaks leaves the endpoints as they were, and says so.
#[test]
fn a_broken_configuration_keeps_the_old_endpoints() {
    let directory = directory("config");
    let path = directory.join("endpoints.yaml");
    let metrics = EndpointMetrics::default();
    let make = |config: EndpointsConfig| {
        config.specs(&ClientConfig::default(), &ClientSettings::default())
    };
    assert!(ConfigSource::new(path.clone(), LONG, make, metrics.clone()).is_err());
    std::fs::write(&path, "endpoints: [{address: 'a:1'}]").unwrap();
    let mut source = ConfigSource::new(path.clone(), LONG, make, metrics.clone()).unwrap();
    assert_eq!(addresses(&mut source), ["a:1"]);
    std::fs::write(&path, "endpoints: [{address: 'a:1'}, {address: 'b:22'}]").unwrap();
    assert_eq!(addresses(&mut source), ["a:1", "b:22"]);
    std::fs::write(&path, "endpoints: [{address: 'a:1', strikt: true}]").unwrap();
    for _ in 0..2 {
        assert_eq!(addresses(&mut source), ["a:1", "b:22"]);
        assert_eq!(metrics.config_is_bad.get(), 1);
        assert_eq!(metrics.config_reload_failures.get(), 1);
    }
    std::fs::write(&path, "endpoints: [{address: 'c:333'}]").unwrap();
    assert_eq!(addresses(&mut source), ["c:333"]);
    assert_eq!(metrics.config_is_bad.get(), 0);
    std::fs::remove_dir_all(directory).unwrap();
}
