use proptest::prelude::*;
use thanos_core::testkit::TempDir;

use super::*;

fn error_of(yaml: &str) -> String {
    let error = BucketConfig::from_yaml(yaml)
        .and_then(|config| config.open())
        .unwrap_err();
    assert_eq!(error.kind(), thanos_core::ErrorKind::Invalid, "{error}");
    format!("{error} {error:?}")
}

/// Asserts what opening `yaml` complains about.
#[track_caller]
fn refused(yaml: &str, because: &str) {
    let error = error_of(yaml);
    assert!(error.contains(because), "{error}\nfor\n{yaml}");
}

#[test]
fn each_mistake_has_its_message() {
    refused("type: FILESYSTEM\nconfig: {}\n", "missing directory");
    refused("type: FLOPPY\n", "bucket with type FLOPPY is not supported");
    refused("type: MEMORY\nprefx: a\n", "unknown field `prefx`");
    refused("type: MEMORY\nconfig: {size: 3}\n", "unknown field `size`");
    refused("config: {}\n", "type");
    refused("", "");
    refused("- a\n- b\n", "");
}

/// The first one to write to a directory need not make it; what cannot be a directory is named.
#[test]
fn the_directory_of_a_bucket_is_made() {
    let dir = TempDir::new("bucket-directory");
    let open = |place: &str| {
        let place = dir.path().join(place).display().to_string();
        let yaml = format!("type: FILESYSTEM\nconfig: {{directory: {place}}}\n");
        BucketConfig::from_yaml(&yaml).and_then(|config| config.open())
    };
    open("new/blocks").unwrap();
    assert!(dir.path().join("new/blocks").is_dir());
    std::fs::write(dir.path().join("file"), "x").unwrap();
    let error = open("file/blocks").unwrap_err().to_string();
    assert!(
        error.contains("file/blocks") && error.contains("bucket directory"),
        "{error}"
    );
}

/// X-32: types that cannot be spoken say why, and what to do instead.
#[test]
fn unsupported_types_say_why() {
    refused(
        "type: OCI\nconfig: {provider: instance-principal}\n",
        "customer secret key",
    );
    refused("type: SWIFT\n", "OpenStack Swift");
    refused("type: HDFS\n", "HDFS");
}

#[test]
fn places_in_text_that_is_not_ascii_are_found() {
    // Once panicked: the character before the key has more than one byte.
    refused("&\u{3a3}:}", "");
    refused("type: MEMORY\nconfig: \u{3a3}\n", "config");
}

#[test]
fn provider_names_are_case_insensitive() {
    for name in ["memory", "Memory", "MEMORY"] {
        let config = BucketConfig::from_yaml(&format!("type: {name}"));
        assert!(config.unwrap().open().is_ok(), "{name}");
    }
}

/// A store that cannot begin a listing at a name would list everything for each stretch.
#[test]
fn listings_are_cut_where_the_provider_can_begin_at_a_name() {
    let shards = |yaml: &str| BucketConfig::from_yaml(yaml).unwrap().listing_shards();
    assert_eq!(shards("type: MEMORY\n"), 1);
    #[cfg(feature = "filesystem")]
    assert_eq!(shards("type: FILESYSTEM\nconfig: {directory: /x}\n"), 1);
    #[cfg(feature = "s3")]
    assert_eq!(
        shards("type: S3\nconfig: {bucket: b, endpoint: localhost:9000}\n"),
        16
    );
    #[cfg(feature = "gcs")]
    assert_eq!(shards("type: GCS\nconfig: {bucket: b}\n"), 16);
    #[cfg(feature = "azure")]
    assert_eq!(
        shards("type: AZURE\nconfig: {container: c, storage_account: a}\n"),
        1
    );
}

/// ST-27: the defaults, and settings that make no sense.
#[test]
fn hedging_is_off_and_checked() {
    let hedging = |yaml: &str| {
        let yaml = format!("type: MEMORY\nhedging_config: {yaml}\n");
        BucketConfig::from_yaml(&yaml).unwrap().hedging
    };
    let default = HedgingOptions {
        enabled: false,
        up_to: 3,
        quantile: 0.9,
    };
    assert_eq!(hedging("{}"), default);
    let enabled = HedgingOptions {
        enabled: true,
        ..default
    };
    assert_eq!(hedging("{enabled: true}"), enabled);
    let hedged = "type: MEMORY\nhedging_config: {enabled: true}\n";
    let bucket = BucketConfig::from_yaml(hedged).unwrap().open().unwrap();
    assert!(format!("{bucket:?}").contains("Hedged {"), "{bucket:?}");
    refused("type: MEMORY\nhedging_config: {quantile: 2}\n", "quantile");
    refused("type: MEMORY\nhedging_config: {up_to: 0}\n", "up_to");
    refused("type: MEMORY\nhedging_config: {uptoo: 1}\n", "uptoo");
}

proptest! {
    /// No text makes the parser panic, and no secret comes back out of it.
    #[test]
    fn random_yaml_is_read_or_refused(yaml in yaml_text()) {
        match BucketConfig::from_yaml(&yaml) {
            // Opening may fail, but must not panic either.
            Ok(config) => drop(config.open()),
            Err(error) => {
                let text = format!("{error} {error:?}");
                // The name of the type is shown, as Thanos does.
                let shown = text.contains("canary") && !text.contains("bucket with type");
                prop_assert!(!shown, "{}\nfor\n{}", text, yaml);
            }
        }
    }
}

/// Bits of configurations in any order and depth, each value a secret in the wrong place.
fn yaml_text() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "type",
        "config",
        "prefix",
        "bucket",
        "endpoint",
        "access_key",
        "secret_key",
        "http_config",
        "tls_config",
        "idle_conn_timeout",
        "insecure",
        "part_size",
        "sse_config",
        "kms_encryption_context",
        "put_user_metadata",
        "bucket_lookup_type",
        "service_account",
        "storage_connection_string",
        "storage_account_key",
        "max_retries",
        "directory",
        "hedging_config",
        "quantile",
        "unknown",
        "trace",
        "pipeline_config",
        "use_grpc",
    ]);
    let value = prop::sample::select(vec![
        "S3",
        "GCS",
        "azure",
        "COS",
        "BOS",
        "FILESYSTEM",
        "canary-1",
        "\"canary\"",
        "key: canary",
        "1",
        "-1",
        "true",
        "~",
        "",
        "[canary]",
        "{key: canary}",
        "canary;AccountKey=canary=",
        ".inf",
        "1e999",
        "90s",
        "&canary 1",
        "*canary",
        "!!int canary",
        "|\n    canary",
        "- canary",
        "\u{0}",
        "'",
    ]);
    let line = (0..3_usize, key, value)
        .prop_map(|(depth, key, value)| format!("{}{key}: {value}\n", "  ".repeat(depth)));
    prop_oneof![
        9 => prop::collection::vec(line, 0..12).prop_map(|lines| lines.concat()),
        1 => any::<String>().prop_map(|text| text.replace("canary", "")),
    ]
}

#[cfg(not(feature = "s3"))]
#[test]
fn a_build_without_s3_says_so() {
    refused("type: S3\nconfig: {bucket: x}\n", "feature `s3`");
    refused("type: COS\n", "feature `s3`");
}

#[cfg(not(feature = "gcs"))]
#[test]
fn a_build_without_gcs_says_so() {
    refused("type: GCS\n", "feature `gcs`");
}

#[cfg(not(feature = "azure"))]
#[test]
fn a_build_without_azure_says_so() {
    refused("type: AZURE\n", "feature `azure`");
}

#[cfg(feature = "cloud")]
mod http_settings {
    use std::time::Duration;

    use super::*;

    /// X-33: the defaults.
    #[test]
    fn http_defaults_are_thanos_own() {
        let http = HttpConfig::default();
        assert_eq!(http.idle_conn_timeout, Duration::from_secs(90));
        assert_eq!(http.response_header_timeout, Duration::from_secs(120));
        assert_eq!(http.tls_handshake_timeout, Duration::from_secs(10));
        assert_eq!(http.expect_continue_timeout, Duration::from_secs(1));
        assert_eq!(
            (http.max_idle_conns, http.max_idle_conns_per_host),
            (100, 100)
        );
        assert_eq!(http.max_conns_per_host, 0);
    }
}

#[cfg(feature = "s3")]
mod s3 {
    use super::*;

    const KEYS: &str = "  access_key: A\n  secret_key: canary\n";

    fn yaml(settings: &str) -> String {
        format!("type: S3\nconfig:\n  bucket: b\n  endpoint: localhost:9000\n{KEYS}{settings}")
    }

    /// X-28: every field that Thanos' documentation shows, at the values it shows or at others that can be honoured.
    #[test]
    fn every_field_is_known() {
        let config = BucketConfig::from_yaml(
            r#"
type: S3
config:
  bucket: "b"
  endpoint: "s3.eu-central-1.amazonaws.com"
  region: ""
  disable_dualstack: false
  aws_sdk_auth: false
  access_key: ""
  insecure: false
  signature_version2: false
  secret_key: ""
  session_token: ""
  put_user_metadata: {team: a, X-Amz-Storage-Class: STANDARD_IA}
  http_config:
    idle_conn_timeout: 1m30s
    response_header_timeout: 2m
    insecure_skip_verify: false
    tls_handshake_timeout: 10s
    expect_continue_timeout: 1s
    max_idle_conns: 100
    max_idle_conns_per_host: 100
    max_conns_per_host: 0
    tls_config:
      ca_file: ""
      cert_file: ""
      key_file: ""
      server_name: ""
      insecure_skip_verify: false
    disable_compression: false
  trace:
    enable: false
  list_objects_version: ""
  bucket_lookup_type: auto
  send_content_md5: true
  disable_multipart: false
  part_size: 67108864
  sse_config:
    type: "SSE-KMS"
    kms_key_id: "key"
    kms_encryption_context: {}
    encryption_key: ""
  sts_endpoint: ""
  max_retries: 0
prefix: ""
"#,
        );
        let config = config.unwrap();
        assert_eq!(config.name(), "b");
        config.open().unwrap();
    }

    #[test]
    fn contradictions_and_what_cannot_be_honoured_are_refused() {
        refused("type: S3\nconfig: {bucket: b}\n", "no s3 endpoint");
        refused("type: S3\nconfig: {endpoint: e}\n", "no s3 bucket");
        refused(&yaml("  signature_version2: true\n"), "signature_version2");
        refused(
            &yaml("  list_objects_version: v1\n"),
            "list_objects_version v1",
        );
        refused(&yaml("  aws_sdk_auth: true\n"), "mutually exclusive");
        refused(&yaml("  part_size: 100\n"), "part_size");
        refused(
            &yaml("  sse_config: {type: SSE-C}\n"),
            "encryption_key must be set",
        );
        refused(
            &yaml("  sse_config: {type: SSE-KMS}\n"),
            "kms_key_id must be set",
        );
        refused(
            &yaml("  sse_config: {type: ROT13}\n"),
            "SSE-S3, SSE-KMS, SSE-C",
        );
        let context =
            "  sse_config: {type: SSE-KMS, kms_key_id: k, kms_encryption_context: {a: b}}\n";
        refused(&yaml(context), "kms_encryption_context is not supported");
        refused(
            &yaml("  bucket_lookup_type: sideways\n"),
            "bucket_lookup_type",
        );
        refused(
            &yaml("  http_config: {idle_conn_timeout: soon}\n"),
            "duration",
        );
        refused(
            &yaml("  http_config: {tls_config: {cert_file: /x}}\n"),
            "without key_file",
        );
        refused(
            &yaml("").replace("localhost:9000", "http://localhost"),
            "without scheme",
        );
        refused(
            &yaml("").replace(KEYS, "  access_key: A\n"),
            "no s3 secret_key",
        );
        refused(
            &yaml("").replace(KEYS, "  secret_key: A\n"),
            "no s3 access_key",
        );
    }

    #[test]
    fn a_key_for_encryption_must_have_the_right_length() {
        let dir = TempDir::new("sse-c");
        let file = dir.path().join("key");
        let settings = format!(
            "  sse_config: {{type: SSE-C, encryption_key: {}}}\n",
            file.display()
        );
        std::fs::write(&file, [7; 31]).unwrap();
        refused(&yaml(&settings), "32 bytes");
        std::fs::write(&file, [7; 32]).unwrap();
        BucketConfig::from_yaml(&yaml(&settings))
            .unwrap()
            .open()
            .unwrap();
        for kind in ["{type: SSE-S3}", "{type: SSE-KMS, kms_key_id: k}"] {
            let settings = yaml(&format!("  sse_config: {kind}\n"));
            BucketConfig::from_yaml(&settings).unwrap().open().unwrap();
        }
    }

    #[test]
    fn errors_name_the_field_and_no_value() {
        for settings in [
            "  insecure: canary\n",
            "  part_size: canary\n",
            "  http_config: canary\n",
            "  trace: [canary]\n",
            "  bucket_lookup_type: canary\n",
        ] {
            let error = error_of(&yaml(settings));
            assert!(!error.contains("canary"), "{error}");
            let field = settings.trim().split(':').next().unwrap();
            assert!(error.contains(field), "{error} does not name {field}");
        }
        let error = error_of(&yaml("  acess_key: x\n"));
        assert!(error.contains("unknown field `acess_key`"), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }

    #[test]
    fn secrets_are_not_shown_by_a_configuration() {
        let config = BucketConfig::from_yaml(&yaml("  session_token: canary\n")).unwrap();
        let text = format!("{config:?} {:?}", config.open().unwrap());
        assert!(!text.contains("canary"), "{text}");
    }

    /// Returns the head of the request that `act` sends to a bucket with these settings.
    fn request_of<F: Future>(settings: &str, act: impl FnOnce(Bucket) -> F) -> String {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
                let mut piece = [0; 4096];
                let len = stream.read(&mut piece).unwrap();
                assert!(len > 0, "the request ends inside its head");
                head.extend_from_slice(&piece[..len]);
            }
            let answer = "HTTP/1.1 200 OK\r\nETag: \"x\"\r\nLast-Modified: Sun, 01 Nov 2026 00:00:00 GMT\r\n\
                          Connection: close\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(head).unwrap()
        });
        let yaml =
            yaml(&format!("  insecure: true\n{settings}")).replace("localhost:9000", &address);
        let bucket = BucketConfig::from_yaml(&yaml).unwrap().open().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(act(bucket));
        server.join().unwrap()
    }

    fn put_with(settings: &str) -> String {
        request_of(settings, |bucket| async move {
            bucket.put("x", "data".into()).await.unwrap();
        })
    }

    #[track_caller]
    fn assert_header(request: &str, name: &str, value: &str) {
        let line = format!("{name}: {value}");
        assert!(
            request
                .lines()
                .any(|found| found.eq_ignore_ascii_case(&line)),
            "no {line} in\n{request}"
        );
        // A header that is not signed is refused by the server.
        let signed = request
            .lines()
            .find(|line| line.starts_with("authorization:"))
            .unwrap();
        let signed = signed.split("SignedHeaders=").nth(1).unwrap();
        assert!(signed.contains(name), "{name} is not signed: {signed}");
    }

    /// X-28: encryption, metadata, storage class and token are in the request, and signed.
    #[test]
    fn settings_are_in_the_requests() {
        let sse = "x-amz-server-side-encryption";
        let request = put_with("");
        assert!(request.starts_with("PUT /b/x HTTP/1.1\r\n"), "{request}");
        assert!(!request.contains(sse), "{request}");
        let hash = "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7";
        assert_header(&request, "x-amz-content-sha256", hash);
        assert_header(
            &put_with("  session_token: token\n"),
            "x-amz-security-token",
            "token",
        );
        assert_header(&put_with("  sse_config: {type: SSE-S3}\n"), sse, "AES256");
        let request = put_with("  sse_config: {type: SSE-KMS, kms_key_id: k1}\n");
        assert_header(&request, sse, "aws:kms");
        assert_header(&request, &format!("{sse}-aws-kms-key-id"), "k1");
        let request = put_with("  put_user_metadata: {team: a, X-Amz-Storage-Class: GLACIER_IR}\n");
        assert_header(&request, "x-amz-meta-team", "a");
        assert_header(&request, "x-amz-storage-class", "GLACIER_IR");
    }

    /// X-28: with SSE-C reads carry the key too, with other encryptions they must not.
    #[test]
    fn reads_of_encrypted_objects_carry_the_key_if_it_is_ours() {
        let dir = TempDir::new("sse-c-read");
        let file = dir.path().join("key");
        std::fs::write(&file, [7; 32]).unwrap();
        let read = |settings: &str| {
            request_of(settings, |bucket| async move {
                let _ = bucket.size("x").await;
            })
        };
        let settings = format!(
            "  sse_config: {{type: SSE-C, encryption_key: {}}}\n",
            file.display()
        );
        let request = read(&settings);
        assert_header(
            &request,
            "x-amz-server-side-encryption-customer-algorithm",
            "AES256",
        );
        let request = read("  sse_config: {type: SSE-KMS, kms_key_id: k1}\n");
        assert!(
            !request.contains("x-amz-server-side-encryption"),
            "{request}"
        );
    }

    /// X-28: without keys in the YAML, the role of the machine signs.
    #[cfg(feature = "testkit-servers")]
    #[tokio::test]
    async fn the_role_of_the_machine_signs() {
        use crate::testkit::servers::{ACCESS_KEY, ObjectServer, SECRET_KEY};
        use axum::routing::{get, put};
        let keys = format!(
            r#"{{"AccessKeyId": "{ACCESS_KEY}", "SecretAccessKey": "{SECRET_KEY}", "Token": "t", "Expiration": "2100-01-01T00:00:00Z"}}"#
        );
        let roles = "/latest/meta-data/iam/security-credentials/";
        let metadata = axum::Router::new()
            .route("/latest/api/token", put(|| async { "token" }))
            .route(roles, get(|| async { "role" }))
            .route(&format!("{roles}role"), get(|| async { keys }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, metadata).into_future());

        let server = ObjectServer::s3();
        let yaml = server.config("roles", "");
        let (yaml, _keys) = yaml.split_once("  access_key").unwrap();
        let environment = |name: &str| match name {
            "AWS_METADATA_ENDPOINT" => Some(endpoint.clone()),
            _ => None,
        };
        let config = super::super::s3::S3Config::parse(yaml).unwrap();
        let bucket = Bucket::new(config.open(&environment).unwrap());
        bucket.put("x", "data".into()).await.unwrap();
        assert_eq!(bucket.read("x", 10).await.unwrap(), "data");
    }

    #[test]
    fn the_bucket_is_in_the_host_where_the_cloud_wants_it() {
        let cases = [
            ("localhost:9000", "b", "auto", false, "us-east-1"),
            ("localhost:9000", "b", "virtual-hosted", true, "us-east-1"),
            ("s3.eu-west-1.amazonaws.com", "b", "auto", true, "eu-west-1"),
            (
                "s3.eu-west-1.amazonaws.com",
                "b.c",
                "auto",
                false,
                "eu-west-1",
            ),
            (
                "s3.eu-west-1.amazonaws.com",
                "b",
                "path",
                false,
                "eu-west-1",
            ),
            (
                "s3.dualstack.us-east-2.amazonaws.com",
                "b",
                "auto",
                true,
                "us-east-2",
            ),
            ("s3-us-west-2.amazonaws.com", "b", "auto", true, "us-west-2"),
            ("s3.amazonaws.com", "b", "auto", true, "us-east-1"),
            (
                "s3.cn-north-1.amazonaws.com.cn",
                "b",
                "auto",
                true,
                "cn-north-1",
            ),
        ];
        for (endpoint, bucket, lookup, in_host, region) in cases {
            let yaml = format!(
                "config: {{endpoint: '{endpoint}', bucket: {bucket}, bucket_lookup_type: {lookup}}}\n"
            );
            let config = super::super::s3::S3Config::parse(&yaml).unwrap();
            assert_eq!(config.is_virtual_hosted(), in_host, "{yaml}");
            assert_eq!(config.region_or_default(), region, "{yaml}");
        }
    }

    /// X-32: the bucket of each cloud is reached at that cloud's own S3 endpoint.
    #[test]
    fn compatible_clouds_are_reached_at_their_s3_endpoints() {
        let cases = [
            (
                "COS\nconfig: {bucket: b, app_id: '12', region: ap-guangzhou, secret_id: A, secret_key: canary}",
                "b-12",
                "https://b-12.cos.ap-guangzhou.myqcloud.com",
                "ap-guangzhou",
            ),
            (
                "COS\nconfig: {endpoint: 'https://b-12.cos.ap-x.myqcloud.com', secret_id: A, secret_key: canary}",
                "b-12",
                "https://b-12.cos.ap-x.myqcloud.com",
                "ap-x",
            ),
            (
                "ALIYUNOSS\nconfig: {endpoint: oss-cn-hangzhou.aliyuncs.com, bucket: b, access_key_id: A, access_key_secret: canary}",
                "b",
                "https://b.s3.oss-cn-hangzhou.aliyuncs.com",
                "oss-cn-hangzhou",
            ),
            (
                "OBS\nconfig: {endpoint: obs.cn-north-4.myhuaweicloud.com, bucket: b, access_key: A, secret_key: canary}",
                "b",
                "https://b.obs.cn-north-4.myhuaweicloud.com",
                "cn-north-4",
            ),
            (
                "BOS\nconfig: {endpoint: bj.bcebos.com, bucket: b, access_key: A, secret_key: canary}",
                "b",
                "https://b.s3.bj.bcebos.com",
                "bj",
            ),
        ];
        for (yaml, name, url, region) in cases {
            let config = BucketConfig::from_yaml(&format!("type: {yaml}\n")).unwrap();
            assert_eq!(config.name(), name);
            let text = format!("{config:?}");
            assert!(text.contains(&format!("{url:?}")), "{text}");
            assert!(text.contains(&format!("region: {region:?}")), "{text}");
            assert!(!text.contains("canary"), "{text}");
            config.open().unwrap();
        }
        refused(
            "type: COS\nconfig: {bucket: b}\n",
            "secret_id or secret_key",
        );
        refused(
            "type: ALIYUNOSS\nconfig: {bucket: b}\n",
            "endpoint or bucket",
        );
        refused(
            "type: OBS\nconfig: {bucket: b, endpoint: e}\n",
            "no obs access_key",
        );
        refused("type: BOS\nconfig: {bucket: b}\n", "insufficient BOS");
        refused("type: BOS\nconfig: {bukket: b}\n", "bukket");
    }
}

#[cfg(feature = "gcs")]
mod gcs {
    use super::*;

    /// X-29: every field that Thanos' documentation shows.
    #[test]
    fn every_field_is_known() {
        let yaml = r#"
type: GCS
config:
  bucket: "b"
  service_account: |-
    {"type": "service_account", "disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""}
  use_grpc: false
  grpc_conn_pool_size: 0
  http_config: {insecure_skip_verify: true}
  chunk_size_bytes: 0
  max_retries: 0
"#;
        let config = BucketConfig::from_yaml(yaml).unwrap();
        assert_eq!(config.name(), "b");
        config.open().unwrap();
    }

    #[test]
    fn mistakes_are_refused() {
        refused(
            "type: GCS\nconfig: {}\n",
            "missing Google Cloud Storage bucket name",
        );
        refused(
            "type: GCS\nconfig: {bucket: b, use_grpc: true}\n",
            "use_grpc is not supported",
        );
        let error = error_of("type: GCS\nconfig: {bucket: b, service_account: '{canary'}\n");
        assert!(error.contains("service_account"), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }
}

#[cfg(feature = "azure")]
mod azure {
    use super::*;

    const KEY: &str = "Y2FuYXJ5";

    /// X-30: every field that Thanos' documentation shows.
    #[test]
    fn every_field_is_known() {
        let yaml = format!(
            r#"
type: AZURE
config:
  storage_account: "account"
  storage_account_key: "{KEY}"
  storage_connection_string: ""
  storage_create_container: true
  container: "c"
  endpoint: "blob.core.windows.net"
  user_assigned_id: ""
  max_retries: 0
  reader_config:
    max_retry_requests: 0
  pipeline_config:
    max_tries: 5
    try_timeout: 30s
    retry_delay: 1s
    max_retry_delay: 1m
  http_config:
    idle_conn_timeout: 1m30s
  msi_resource: ""
  az_tenant_id: ""
  client_id: ""
  client_secret: ""
prefix: ""
"#
        );
        let config = BucketConfig::from_yaml(&yaml).unwrap();
        assert_eq!(config.name(), "c");
        let bucket = config.open().unwrap();
        assert!(!format!("{config:?} {bucket:?}").contains(KEY));
    }

    #[test]
    fn identities_are_known() {
        for identity in [
            "az_tenant_id: t, client_id: c, client_secret: s",
            "user_assigned_id: u",
            "storage_account_key: ''",
            "msi_resource: old",
        ] {
            let yaml =
                format!("type: AZURE\nconfig: {{container: c, storage_account: a, {identity}}}\n");
            BucketConfig::from_yaml(&yaml).unwrap().open().unwrap();
        }
    }

    #[test]
    fn contradictions_are_refused_together() {
        let error = error_of("type: AZURE\nconfig: {client_id: c}\n");
        for problem in [
            "must be set together",
            "storage_account is required",
            "no container",
        ] {
            assert!(error.contains(problem), "{error}");
        }
        let two = format!(
            "type: AZURE\nconfig: {{container: c, storage_account: a, storage_account_key: {KEY}, \
             user_assigned_id: u}}\n"
        );
        refused(&two, "user_assigned_id cannot be set");
        let connection = |text: &str| {
            format!("type: AZURE\nconfig: {{container: c, storage_connection_string: {text:?}}}\n")
        };
        refused(&connection("AccountName=a"), "neither AccountKey");
        refused(&connection("AccountKey=canary"), "neither AccountName");
        let error = error_of(&connection("AccountName=a;AccountKey=!canary!"));
        assert!(!error.contains("canary"), "{error}");
        let sas = "BlobEndpoint=https://a.blob.core.windows.net;SharedAccessSignature=sv=1&sig=2";
        BucketConfig::from_yaml(&connection(sas))
            .unwrap()
            .open()
            .unwrap();
    }
}
