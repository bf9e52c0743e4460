//! Encrypted servers and clients of the real binaries, by flags and by the web configuration file.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::Value;
use thanos_core::testkit::TempDir;
use thanos_core::testkit::peer::Peer;
use thanos_storeapi::net::tls::{ClientTls, Pem, TlsClient};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::blocks::{Kind, OLD_MS, Outside};
use crate::programs::{Store, directory_bucket, grpc_address, querier, testdata, thanos};

/// An authority and the files of those that it vouches for.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().unwrap();
        let dir = TempDir::new("e2e-tls");
        std::fs::write(
            dir.path().join("ca.pem"),
            params.self_signed(&key).unwrap().pem(),
        )
        .unwrap();
        let issuer = Issuer::new(params, key);
        Self { issuer, dir }
    }

    /// Writes a certificate for these hosts, and its key, under `name`.
    fn issue(&self, name: &str, hosts: &[&str]) -> [String; 2] {
        self.issue_to(name, hosts, name)
    }

    /// The same for somebody whose common name is `whom`.
    fn issue_to(&self, name: &str, hosts: &[&str], whom: &str) -> [String; 2] {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name = DistinguishedName::new();
        if !whom.is_empty() {
            params.distinguished_name.push(DnType::CommonName, whom);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = [
            self.file(&format!("{name}.pem")),
            self.file(&format!("{name}.key")),
        ];
        std::fs::write(&files[0], certificate.pem()).unwrap();
        std::fs::write(&files[1], key.serialize_pem()).unwrap();
        files
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn ca(&self) -> String {
        self.file("ca.pem")
    }

    /// Returns the flags of a server with mTLS, which needs its files under `server`.
    fn server_flags(&self) -> Vec<String> {
        let [cert, key] = self.issue("server", &["localhost", "127.0.0.1"]);
        let ca = self.ca();
        flags(&[
            ("--grpc-server-tls-cert", &cert),
            ("--grpc-server-tls-key", &key),
            ("--grpc-server-tls-client-ca", &ca),
        ])
    }

    fn client_flags(&self) -> Vec<String> {
        let [cert, key] = self.issue("client", &["client.test"]);
        let ca = self.ca();
        let mut all = flags(&[
            ("--grpc-client-tls-cert", &cert),
            ("--grpc-client-tls-key", &key),
            ("--grpc-client-tls-ca", &ca),
            ("--grpc-client-server-name", "localhost"),
        ]);
        all.push("--grpc-client-tls-secure".to_owned());
        all
    }
}

fn flags(pairs: &[(&str, &str)]) -> Vec<String> {
    let pairs = pairs.iter().flat_map(|(flag, value)| [*flag, *value]);
    pairs.map(str::to_owned).collect()
}

fn texts(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

/// A store gateway over the recorded block.
struct SecureStore {
    _http: Peer,
    grpc: String,
    _data: TempDir,
}

fn store(more: &[&str]) -> SecureStore {
    let data = TempDir::new("e2e-tls-store");
    let yaml = directory_bucket(&testdata("thanos-core").join("block-1k-2h"));
    let http = Peer::start(
        |address| {
            let mut command = thanos(&["store", "--data-dir"]);
            command.arg(data.path());
            command.args(["--http-address", address, "--grpc-address", "127.0.0.1:0"]);
            command.args(["--objstore.config", &yaml]).args(more);
            command
        },
        "/-/ready",
    );
    SecureStore {
        grpc: grpc_address(&http),
        _http: http,
        _data: data,
    }
}

/// Returns the answer to a query that counts the series of the block, with its warnings.
fn count(querier: &Peer) -> String {
    let query = [
        ("query", "count({__name__=~\".+\"})"),
        ("time", "1793496600"),
    ];
    String::from_utf8(querier.query("/api/v1/query", &query).body).unwrap()
}

/// a querier and a store over mTLS and snappy; other queriers get a warning that says why.
#[test]
fn a_store_behind_mtls_answers_who_fits() {
    let authority = Authority::new();
    let store = store(&texts(&authority.server_flags()));
    let client = authority.client_flags();

    let good = querier(
        &[&store.grpc],
        &[&texts(&client)[..], &["--grpc-compression", "snappy"]].concat(),
    );
    let body = count(&good);
    assert!(
        body.contains("\"998\"") && !body.contains("warnings"),
        "{body}"
    );

    let refused = |flags: &[&str], expected: &str| {
        let querier = querier(&[&store.grpc], flags);
        let body = count(&querier);
        assert!(!body.contains("\"998\""), "{body}");
        let log = querier.log();
        assert!(
            body.contains("warnings") && log.contains(expected),
            "{expected}: {body}\n{log}"
        );
    };
    refused(&[], "");
    refused(
        // The store says why, but may have closed the connection before that is read.
        &["--grpc-client-tls-secure", "--grpc-client-tls-skip-verify"],
        "transport error",
    );
    let mut other_name = client.clone();
    let at = other_name
        .iter()
        .position(|flag| flag == "localhost")
        .unwrap();
    other_name[at] = "other.test".to_owned();
    refused(&texts(&other_name), "not valid for name");
}

/// E-93, X-04: the certificates of a store and a querier are replaced while both run and talk.
#[test]
fn certificates_are_replaced_under_a_running_querier() {
    let authority = Authority::new();
    let mut server = authority.server_flags();
    // Each connection lives so short that new certificates are used soon.
    server.extend(flags(&[("--grpc-server-max-connection-age", "50ms")]));
    let store = store(&texts(&server));
    let querier = querier(&[&store.grpc], &texts(&authority.client_flags()));
    for _ in 0..5 {
        authority.issue("server", &["localhost", "127.0.0.1"]);
        authority.issue("client", &["client.test"]);
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until {
            let body = count(&querier);
            assert!(
                body.contains("\"998\"") && !body.contains("warnings"),
                "{body}"
            );
        }
    }
}

fn fails(arguments: &[&str]) -> String {
    let directory = TempDir::new("e2e-tls-fails");
    let mut command = thanos(&[
        "query",
        "--http-address",
        "127.0.0.1:0",
        "--grpc-address",
        "127.0.0.1:0",
    ]);
    let output: Output = command
        .current_dir(directory.path())
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// E-94, E-95, E-96, X-03: what cannot be served ends at the start, with a message that helps.
#[test]
fn wrong_tls_flags_end_at_the_start() {
    let authority = Authority::new();
    let [cert, key] = authority.issue("server", &["localhost"]);
    let pair = [
        "--grpc-server-tls-cert",
        &cert,
        "--grpc-server-tls-key",
        &key,
    ];
    let with = |more: &[&'static str]| [&pair[..], more].concat();
    for (arguments, expected) in [
        (
            vec!["--grpc-server-tls-cert", &cert],
            "both server key and certificate must be provided",
        ),
        (
            vec!["--grpc-server-tls-key", &key],
            "both server key and certificate must be provided",
        ),
        (
            vec!["--grpc-server-tls-client-ca", &cert],
            "when a client CA is used a server key and certificate must also be provided",
        ),
        (
            vec![
                "--grpc-server-tls-cert",
                "missing.pem",
                "--grpc-server-tls-key",
                &key,
            ],
            "missing.pem: setup gRPC server: server credentials: ",
        ),
        (
            with(&["--grpc-server-tls-ciphers", "TLS_NO_SUCH"]),
            "invalid cipher suite: TLS_NO_SUCH, valid values are TLS_AES_128_GCM_SHA256, ",
        ),
        (
            with(&[
                "--grpc-server-tls-curves",
                "X25519",
                "--grpc-server-tls-curves",
                "P-256",
            ]),
            "invalid curve: P-256, valid values are CurveP256, CurveP384, X25519",
        ),
        (
            with(&["--grpc-server-tls-client-ca", "missing.pem"]),
            "missing.pem: setup gRPC server: client CA: ",
        ),
        (
            vec!["--grpc-client-tls-secure", "--grpc-client-tls-cert", &cert],
            "both client key and certificate must be provided",
        ),
        (vec!["--http.config", "missing.yml"], "missing.yml"),
    ] {
        let said = fails(&arguments);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

/// A querier with a web configuration; its probes are not asked, because they are guarded like the rest.
struct Guarded {
    child: std::process::Child,
    address: String,
}

impl Guarded {
    fn start(config: &Path) -> Self {
        Self::with(config, &[])
    }

    fn with(config: &Path, more: &[&str]) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let child = thanos(&[
            "query",
            "--grpc-address",
            "127.0.0.1:0",
            "--http-address",
            &address,
        ])
        .arg("--http.config")
        .arg(config)
        .args(more)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(&address).is_err() {
            assert!(Instant::now() < deadline, "it does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, address }
    }

    /// Asks for `/-/healthy` and returns the status, or why there is none.
    async fn status(&self, client: &TlsClient, authorization: &str) -> Result<u16, String> {
        let answer = self.get(client, "/-/healthy", authorization).await?;
        Ok(answer.0)
    }

    /// Asks for `path` and returns status and body.
    async fn get(
        &self,
        client: &TlsClient,
        path: &str,
        header: &str,
    ) -> Result<(u16, String), String> {
        let tcp = tokio::net::TcpStream::connect(&self.address).await.unwrap();
        let stream = client.handshake("localhost", tcp).await;
        let mut stream = stream.map_err(|error| error.to_string())?;
        let head =
            format!("GET {path} HTTP/1.0\r\nhost: localhost\r\nconnection: close\r\n{header}\r\n");
        let mut answer = String::new();
        let asked = async {
            stream.write_all(head.as_bytes()).await?;
            stream.read_to_string(&mut answer).await
        };
        asked.await.map_err(|error| error.to_string())?;
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| format!("no status in {answer:?}"))?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((status, body.to_owned()))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// TLS, client certificates and users by `--http.config`; a new user and a new certificate without a restart.
#[tokio::test]
async fn a_web_configuration_guards_everything() {
    let authority = Authority::new();
    let [cert, key] = authority.issue("server", &["localhost"]);
    let client_files = authority.issue("client", &["client.test"]);
    let config = PathBuf::from(authority.file("web.yml"));
    let write = |password: &str| {
        let hash = bcrypt::hash(password, 4).unwrap();
        let yaml = format!(
            "tls_server_config:\n  cert_file: {cert}\n  key_file: {key}\n  client_ca_file: ca.pem\n  \
             client_auth_type: RequireAndVerifyClientCert\n  min_version: TLS13\nbasic_auth_users:\n  alice: {hash}\n"
        );
        std::fs::write(&config, yaml).unwrap();
    };
    write("secret");
    let guarded = Guarded::start(&config);
    let connecting = |change: &dyn Fn(&mut ClientTls)| {
        let [certificate, key] = client_files.clone().map(|file| Pem::file(&file));
        let authorities = Pem::file(&authority.ca());
        let mut tls = ClientTls {
            authorities,
            certificate,
            key,
            ..ClientTls::default()
        };
        change(&mut tls);
        Arc::new(TlsClient::new(tls, &["http/1.1"]).unwrap())
    };
    let good = connecting(&|_| ());
    let alice = "authorization: Basic YWxpY2U6c2VjcmV0\r\n";
    assert_eq!(guarded.status(&good, alice).await, Ok(200));
    assert_eq!(guarded.status(&good, "").await, Ok(401));
    // profiles are for users as well.
    for path in ["/debug/pprof/", "/debug/pprof/profile?seconds=1"] {
        let (status, _) = guarded.get(&good, path, "").await.unwrap();
        assert_eq!(status, 401, "{path}");
    }
    let bare = connecting(&|tls| (tls.certificate, tls.key) = (None, None));
    guarded.status(&bare, alice).await.unwrap_err();
    let old = connecting(&|tls| tls.max_version = Some("1.2".parse().unwrap()));
    guarded.status(&old, alice).await.unwrap_err();

    write("other");
    assert_eq!(guarded.status(&good, alice).await, Ok(401));
    write("secret");
    authority.issue("server", &["localhost"]);
    assert_eq!(guarded.status(&good, alice).await, Ok(200));
    std::fs::write(&config, "nonsense: true\n").unwrap();
    guarded.status(&good, alice).await.unwrap_err();
}

/// the certificate of a client names its tenant, whatever its headers say.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_name_tenants() {
    let authority = Authority::new();
    let [cert, key] = authority.issue("server", &["localhost"]);
    let config = PathBuf::from(authority.file("web.yml"));
    let yaml = format!(
        "tls_server_config:\n  cert_file: {cert}\n  key_file: {key}\n  client_ca_file: ca.pem\n  \
         client_auth_type: RequireAndVerifyClientCert\n"
    );
    std::fs::write(&config, yaml).unwrap();
    let directory = TempDir::new("e2e-tls-tenants");
    let bucket = directory_bucket(directory.path());
    let upload = move || {
        let outside = Outside::open(&bucket);
        for tenant in ["a", "b"] {
            let series = [("__name__", "x"), ("of", tenant)];
            outside.upload(&series, Kind::Float, &[("tenant_id", tenant)], OLD_MS);
        }
        (Store::over(&bucket, &[]), outside.query_time())
    };
    let (store, time) = std::thread::spawn(upload).join().unwrap();
    let guarded = Guarded::with(
        &config,
        &[
            "--endpoint",
            &store.grpc_address,
            "--query.enforce-tenancy",
            "--query.tenant-certificate-field=commonName",
            "--query.tenant-header=X-Team",
        ],
    );
    let client = |whom: &str| {
        let [certificate, key] = authority.issue_to("client", &["client.test"], whom);
        let tls = ClientTls {
            authorities: Pem::file(&authority.ca()),
            certificate: Pem::file(&certificate),
            key: Pem::file(&key),
            ..ClientTls::default()
        };
        TlsClient::new(tls, &["http/1.1"]).unwrap()
    };
    let path = format!("/api/v1/query?query=x&time={time}");
    let ask = async |whom: &str, header: &str| {
        let (status, body) = guarded.get(&client(whom), &path, header).await.unwrap();
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while ask("a", "").await.1["data"]["result"] == serde_json::json!([]) {
        assert!(
            Instant::now() < deadline,
            "the querier does not find the store"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (whom, header) in [
        ("a", ""),
        ("a", "X-Team: b\r\n"),
        ("b", "THANOS-TENANT: a\r\n"),
    ] {
        let (status, body) = ask(whom, header).await;
        let found = body["data"]["result"].as_array().unwrap();
        assert_eq!((status, found.len()), (200, 1), "{whom}, {header}: {body}");
        assert_eq!(found[0]["metric"]["of"], whom, "{header}: {body}");
    }
    for (whom, said) in [
        ("", "could not get commonName field"),
        ("../b", "tenant name"),
    ] {
        let (status, body) = ask(whom, "THANOS-TENANT: a\r\n").await;
        let error = body["error"].as_str().unwrap();
        assert!(status == 400 && error.contains(said), "{whom}: {body}");
    }
}
