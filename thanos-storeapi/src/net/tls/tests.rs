use std::sync::Arc;

use rcgen::{DnType, SanType};
use rustls::{CipherSuite, NamedGroup, ProtocolVersion};
use thanos_core::testkit::TempDir;
use thanos_core::{Error, ErrorKind, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::testkit::{Authority, Files};
use super::*;

/// What both sides know after a handshake.
#[derive(Debug)]
struct Met {
    version: ProtocolVersion,
    suite: CipherSuite,
    curve: NamedGroup,
    /// Whom the server has met.
    client: Option<PeerCertificate>,
    /// Whom the client has met.
    server: PeerCertificate,
}

/// Lets a client and a server shake hands and say a byte; the first error of either. Of the client that is often only
/// the alert of the server.
async fn meet(server: &rustls::ServerConfig, client: &TlsClient) -> Result<Met> {
    let (left, right) = tokio::io::duplex(64 << 10);
    let acceptor = TlsAcceptor::from(Arc::new(server.clone()));
    let accepted = async move {
        let mut stream = acceptor.accept(left).await?;
        // In TLS 1.3 a client learns here at last that its certificate was refused.
        stream.write_all(b"x").await?;
        stream.flush().await?;
        Ok::<_, std::io::Error>(stream)
    };
    let connected = async {
        let mut stream = client.handshake("localhost", right).await?;
        stream.read_exact(&mut [0]).await?;
        Ok::<_, Error>(stream)
    };
    let (accepted, connected) = tokio::join!(accepted, connected);
    let connected = connected?;
    let accepted = accepted.map_err(|error| Error::unavailable(error.to_string()))?;
    let (_, session) = connected.get_ref();
    Ok(Met {
        version: session.protocol_version().unwrap(),
        suite: session.negotiated_cipher_suite().unwrap().suite(),
        curve: session.negotiated_key_exchange_group().unwrap().name(),
        client: PeerCertificate::of(accepted.get_ref().1.peer_certificates()),
        server: PeerCertificate::of(session.peer_certificates()).unwrap(),
    })
}

fn accepting(settings: &ServerTls) -> rustls::ServerConfig {
    settings.config(&["h2"]).unwrap().unwrap()
}

fn connecting(settings: ClientTls) -> TlsClient {
    TlsClient::new(settings, &["h2"]).unwrap()
}

fn common_name(peer: &PeerCertificate) -> String {
    peer.subject(SubjectField::CommonName).unwrap()
}

#[tokio::test]
async fn a_client_meets_the_server_that_its_authority_vouches_for() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let server = accepting(&ours.server(&ours.issue("server")));
    let met = meet(&server, &connecting(ours.client())).await.unwrap();
    assert_eq!(met.version, ProtocolVersion::TLSv1_3);
    assert_eq!(common_name(&met.server), "server");
    assert_eq!(met.client, None);

    let error = meet(&server, &connecting(theirs.client()))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("UnknownIssuer") || error.to_string().contains("UnknownCA"),
        "{error}"
    );
    let error = meet(&server, &connecting(ClientTls::default())).await;
    assert!(
        error.is_err(),
        "the authorities of the system do not know ours"
    );
}

/// another server name than the address, and none checked at all.
#[tokio::test]
async fn the_name_that_must_be_proven_can_be_another_or_any() {
    let authority = Authority::new("ours");
    let files = authority.issue_with("server", |params| {
        params.subject_alt_names = vec![SanType::DnsName("thanos.test".try_into().unwrap())];
    });
    let server = accepting(&authority.server(&files));
    let named = |name: &str| ClientTls {
        server_name: name.to_owned(),
        ..authority.client()
    };
    meet(&server, &connecting(named("thanos.test")))
        .await
        .unwrap();
    for wrong in ["", "other.test"] {
        let error = meet(&server, &connecting(named(wrong))).await.unwrap_err();
        let text = error.to_string().to_lowercase();
        assert!(text.contains("certificate"), "{error}");
    }
    let lax = ClientTls {
        insecure_skip_verify: true,
        ..ClientTls::default()
    };
    meet(&server, &connecting(lax)).await.unwrap();
}

/// clients need a certificate of the client authority, where there is one.
#[tokio::test]
async fn a_client_authority_refuses_others_and_nobody() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let settings = ServerTls {
        client_authorities: Some(ours.pem.clone()),
        ..ours.server(&ours.issue("server"))
    };
    let server = accepting(&settings);
    let with = |files: Option<Files>| {
        let [certificate, key] = files.map_or([None, None], |files| files.pems());
        connecting(ClientTls {
            certificate,
            key,
            ..ours.client()
        })
    };
    let met = meet(&server, &with(Some(ours.issue("client"))))
        .await
        .unwrap();
    assert_eq!(common_name(&met.client.unwrap()), "client");
    meet(&server, &with(Some(theirs.issue("client"))))
        .await
        .unwrap_err();
    meet(&server, &with(None)).await.unwrap_err();
}

/// all five types of client authentication.
#[tokio::test]
async fn clients_show_what_the_type_of_authentication_demands() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let files = ours.issue("server");
    let clients = [
        None,
        Some(ours.issue("client")),
        Some(theirs.issue("client")),
    ];
    for (auth, is_met, is_known) in [
        (ClientAuth::None, [true, true, true], [false, false, false]),
        (ClientAuth::Request, [true, true, true], [false, true, true]),
        (
            ClientAuth::RequireAny,
            [false, true, true],
            [false, true, true],
        ),
        (
            ClientAuth::VerifyIfGiven,
            [true, true, false],
            [false, true, false],
        ),
        (
            ClientAuth::RequireAndVerify,
            [false, true, false],
            [false, true, false],
        ),
    ] {
        let server = accepting(&ServerTls {
            client_authorities: Some(ours.pem.clone()),
            client_auth: Some(auth),
            ..ours.server(&files)
        });
        for (index, files) in clients.iter().enumerate() {
            let [certificate, key] = files.as_ref().map_or([None, None], Files::pems);
            let client = connecting(ClientTls {
                certificate,
                key,
                ..ours.client()
            });
            let met = meet(&server, &client).await;
            assert_eq!(met.is_ok(), is_met[index], "{auth:?} {index} {met:?}");
            let known = met.is_ok_and(|met| met.client.is_some());
            assert_eq!(known, is_known[index], "{auth:?} {index}");
        }
    }
}

/// `client_allowed_sans` lets in only who has one of the names.
#[tokio::test]
async fn clients_need_one_of_the_allowed_names() {
    let authority = Authority::new("ours");
    let server = accepting(&ServerTls {
        client_authorities: Some(authority.pem.clone()),
        client_allowed_names: vec!["grafana.test".to_owned(), "10.0.0.7".to_owned()],
        ..authority.server(&authority.issue("server"))
    });
    let names = [
        (SanType::DnsName("grafana.test".try_into().unwrap()), true),
        (SanType::IpAddress("10.0.0.7".parse().unwrap()), true),
        (SanType::DnsName("other.test".try_into().unwrap()), false),
    ];
    for (name, is_allowed) in names {
        let files = authority.issue_with("client", |params| {
            params.subject_alt_names = vec![name.clone()]
        });
        let [certificate, key] = files.pems();
        let client = connecting(ClientTls {
            certificate,
            key,
            ..authority.client()
        });
        assert_eq!(meet(&server, &client).await.is_ok(), is_allowed, "{name:?}");
    }
}

/// E-93, X-04: pairs of both sides are replaced while they are in use; half a replacement changes nothing.
#[tokio::test]
async fn changed_certificates_are_shown_from_the_next_handshake_on() {
    let authority = Authority::new("ours");
    let (server_files, client_files) = (authority.issue("server"), authority.issue("client"));
    let server = accepting(&ServerTls {
        client_authorities: Some(authority.pem.clone()),
        ..authority.server(&server_files)
    });
    let [certificate, key] = client_files.pems();
    let client = connecting(ClientTls {
        certificate,
        key,
        ..authority.client()
    });
    let names = async || {
        let met = meet(&server, &client).await.unwrap();
        (common_name(&met.server), common_name(&met.client.unwrap()))
    };
    assert_eq!(names().await, ("server".into(), "client".into()));

    let new_server = authority.issue("server-2");
    std::fs::copy(&new_server.certificate, &server_files.certificate).unwrap();
    assert_eq!(names().await, ("server".into(), "client".into()));
    std::fs::copy(&new_server.key, &server_files.key).unwrap();
    authority.issue("client-2").replace(&client_files);
    assert_eq!(names().await, ("server-2".into(), "client-2".into()));

    std::fs::remove_file(&server_files.certificate).unwrap();
    std::fs::write(&client_files.key, "no key").unwrap();
    assert_eq!(names().await, ("server-2".into(), "client-2".into()));
    authority.issue("server-3").replace(&server_files);
    assert_eq!(names().await, ("server-3".into(), "client-2".into()));
}

/// E-94: the lowest version of a server is enforced, and 1.0 and 1.1 mean 1.2.
#[tokio::test]
async fn versions_must_overlap() {
    let authority = Authority::new("ours");
    let files = authority.issue("server");
    let version = |text: &str| Some(text.parse::<TlsVersion>().unwrap());
    for (min_of_server, max_of_client, expected) in [
        ("1.3", "1.3", Some(ProtocolVersion::TLSv1_3)),
        ("1.0", "1.3", Some(ProtocolVersion::TLSv1_3)),
        ("1.1", "1.2", Some(ProtocolVersion::TLSv1_2)),
        ("1.2", "1.2", Some(ProtocolVersion::TLSv1_2)),
        ("1.3", "1.2", None),
    ] {
        let min_version = version(min_of_server);
        let server = accepting(&ServerTls {
            min_version,
            ..authority.server(&files)
        });
        let max_version = version(max_of_client);
        let client = connecting(ClientTls {
            max_version,
            ..authority.client()
        });
        let met = meet(&server, &client).await;
        assert_eq!(
            met.as_ref().ok().map(|met| met.version),
            expected,
            "{min_of_server} {met:?}"
        );
        if let Err(error) = met {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.to_string().contains("ProtocolVersion"), "{error}");
        }
    }
}

/// E-94: the list of cipher suites is enforced for TLS 1.2, and for 1.3 where it names one of it.
#[tokio::test]
async fn only_named_cipher_suites_are_used() {
    let authority = Authority::new("ours");
    let files = authority.issue("server");
    let with = |names: &[&str]| ServerTls {
        cipher_suites: names.iter().map(|&name| name.to_owned()).collect(),
        ..authority.server(&files)
    };
    let client = |max: &str| ClientTls {
        max_version: Some(max.parse().unwrap()),
        ..authority.client()
    };
    let suite = async |names: &[&str], max: &str| {
        let met = meet(&accepting(&with(names)), &connecting(client(max))).await;
        met.map(|met| met.suite)
    };
    let gcm_256 = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
    let used = suite(&[gcm_256], "1.2").await.unwrap();
    assert_eq!(used, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384);
    let chacha = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
    let used = suite(&[chacha], "1.2").await.unwrap();
    assert_eq!(
        used,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
    );
    assert!(suite(&[chacha], "1.3").await.is_ok());
    let used = suite(&["TLS_CHACHA20_POLY1305_SHA256"], "1.3")
        .await
        .unwrap();
    assert_eq!(used, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    // The server's certificate is not RSA.
    suite(&["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"], "1.2")
        .await
        .unwrap_err();
    suite(&["TLS_AES_128_GCM_SHA256"], "1.2").await.unwrap_err();
}

/// E-95: the list of curves is enforced.
#[tokio::test]
async fn only_named_curves_are_used() {
    let authority = Authority::new("ours");
    let files = authority.issue("server");
    let server = |names: &[&str]| {
        let curves = names.iter().map(|&name| name.to_owned()).collect();
        accepting(&ServerTls {
            curves,
            ..authority.server(&files)
        })
    };
    let client = connecting(authority.client());
    for (name, group) in [
        ("CurveP256", NamedGroup::secp256r1),
        ("CurveP384", NamedGroup::secp384r1),
        ("X25519", NamedGroup::X25519),
    ] {
        assert_eq!(meet(&server(&[name]), &client).await.unwrap().curve, group);
    }
    let both = meet(&server(&["CurveP384", "CurveP256"]), &client)
        .await
        .unwrap();
    assert_ne!(both.curve, NamedGroup::X25519);

    let mut provider = provider();
    provider
        .kx_groups
        .retain(|group| group.name() == NamedGroup::X25519);
    let narrow = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(authority.pem.authorities().unwrap())
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(narrow));
    let (left, right) = tokio::io::duplex(64 << 10);
    let acceptor = TlsAcceptor::from(Arc::new(server(&["CurveP256"])));
    let name = "localhost".try_into().unwrap();
    let (accepted, connected) = tokio::join!(acceptor.accept(left), connector.connect(name, right));
    assert!(accepted.is_err() && connected.is_err());
}

/// a name that there is not is answered with those that there are, in Thanos' words.
#[test]
fn unknown_names_list_the_known_ones() {
    let authority = Authority::new("ours");
    let files = authority.issue("server");
    let error = |change: &dyn Fn(&mut ServerTls)| {
        let mut settings = authority.server(&files);
        change(&mut settings);
        settings.config(&[]).unwrap_err().to_string()
    };
    let suites = "TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256, \
                  TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, \
                  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, \
                  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256";
    assert_eq!(
        error(&|settings| settings.cipher_suites = vec!["NOPE".to_owned()]),
        format!("invalid cipher suite: NOPE, valid values are {suites}")
    );
    for curve in ["P256", "X25519MLKEM768", "SecP384r1MLKEM1024", "CurveP521"] {
        assert_eq!(
            error(&|settings| settings.curves = vec!["X25519".to_owned(), curve.to_owned()]),
            format!("invalid curve: {curve}, valid values are CurveP256, CurveP384, X25519")
        );
    }
    assert_eq!(
        "1.4".parse::<TlsVersion>().unwrap_err().to_string(),
        "invalid TLS version: 1.4, valid values are 1.0, 1.1, 1.2, 1.3"
    );
    for (text, version) in [
        ("1.0", TlsVersion::V1_0),
        ("TLS12", TlsVersion::V1_2),
        ("TLS13", TlsVersion::V1_3),
    ] {
        assert_eq!(text.parse::<TlsVersion>().unwrap(), version);
    }
    for wrong in ["", "TLS1.2", "TLS1", "TLS123", "13", "TLS"] {
        wrong.parse::<TlsVersion>().unwrap_err();
    }
    let error = error(&|settings| settings.max_version = Some(TlsVersion::V1_1));
    assert_eq!(
        error,
        "TLS versions up to 1.1 are not spoken, only 1.2 and 1.3"
    );
}

/// E-96: files that are missing or wrong, and halves of a pair, fail when they are configured.
#[test]
fn unusable_files_fail_at_configuration_time() {
    let authority = Authority::new("ours");
    let (files, others) = (authority.issue("server"), authority.issue("other"));
    let dir = TempDir::new("tls");
    let junk = dir.path().join("junk.pem");
    std::fs::write(
        &junk,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let huge = dir.path().join("huge.pem");
    std::fs::File::create(&huge)
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    let missing = Some(Pem::File(dir.path().join("missing.pem")));
    let (junk, huge) = (Some(Pem::File(junk)), Some(Pem::File(huge)));
    let [_, other_key] = others.pems();

    let fails = |change: &dyn Fn(&mut ServerTls), expected: &str| {
        let mut settings = authority.server(&files);
        change(&mut settings);
        let error = settings.config(&[]).unwrap_err();
        assert!(
            error.to_string().contains(expected),
            "{error} is not {expected}"
        );
    };
    let both = "both server key and certificate must be provided";
    fails(&|tls| tls.key = None, both);
    fails(&|tls| tls.certificate = None, both);
    fails(
        &|tls| tls.certificate = missing.clone(),
        "server credentials: ",
    );
    fails(&|tls| tls.key = missing.clone(), "missing.pem");
    fails(&|tls| tls.certificate = huge.clone(), "longer than 16 MiB");
    fails(
        &|tls| tls.certificate = junk.clone(),
        "the certificate and its key cannot be used",
    );
    fails(
        &|tls| tls.key = other_key.clone(),
        "the certificate and its key cannot be used",
    );
    fails(
        &|tls| tls.client_authorities = missing.clone(),
        "client CA: ",
    );
    fails(&|tls| tls.client_authorities = junk.clone(), "junk.pem");
    fails(
        &|tls| {
            *tls = ServerTls {
                client_authorities: Some(authority.pem.clone()),
                ..ServerTls::default()
            };
        },
        "when a client CA is used a server key and certificate must also be provided",
    );
    assert!(ServerTls::default().config(&[]).unwrap().is_none());

    let both = "both client key and certificate must be provided";
    for (certificate, key, expected) in [
        (junk.clone(), None, both),
        (None, junk.clone(), both),
        (missing.clone(), other_key.clone(), "client credentials: "),
    ] {
        let tls = ClientTls {
            certificate,
            key,
            ..authority.client()
        };
        let error = TlsClient::new(tls, &[]).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    for authorities in [missing, huge, junk] {
        let tls = ClientTls {
            authorities,
            ..ClientTls::default()
        };
        TlsClient::new(tls, &[]).unwrap_err();
    }
}

/// the three fields of a certificate, and names that are no tenants.
#[tokio::test]
async fn subjects_name_tenants() {
    let authority = Authority::new("ours");
    let settings = ServerTls {
        client_authorities: Some(authority.pem.clone()),
        ..authority.server(&authority.issue("server"))
    };
    let server = accepting(&settings);
    let peer = async |fields: &[(DnType, &str)]| {
        let files = authority.issue_with("client", |params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            for (kind, value) in fields {
                params.distinguished_name.push(kind.clone(), *value);
            }
        });
        let [certificate, key] = files.pems();
        let client = connecting(ClientTls {
            certificate,
            key,
            ..authority.client()
        });
        meet(&server, &client).await.unwrap().client.unwrap()
    };
    let full = peer(&[
        (DnType::CommonName, "one"),
        (DnType::OrganizationName, "two"),
        (DnType::OrganizationalUnitName, "three"),
    ]);
    let full = full.await;
    for (field, tenant) in [
        ("commonName", "one"),
        ("organization", "two"),
        ("organizationalUnit", "three"),
    ] {
        assert_eq!(
            full.tenant(field.parse().unwrap()).unwrap().as_str(),
            tenant
        );
    }
    let traversing = peer(&[(DnType::CommonName, "../one")]).await;
    traversing.tenant(SubjectField::CommonName).unwrap_err();
    let error = traversing.tenant(SubjectField::Organization).unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not get organization field from client cert"
    );
    let error = "country".parse::<SubjectField>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "tls client cert field requested is not supported"
    );
}

#[test]
fn keys_are_not_shown() {
    let tls = ClientTls {
        key: Some(Pem::Inline("canary".to_owned())),
        ..ClientTls::default()
    };
    assert!(!format!("{tls:?}").contains("canary"));
}
