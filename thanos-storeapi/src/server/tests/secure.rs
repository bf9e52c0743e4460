//! Encrypted connections, and those that should not come about.

use std::sync::Mutex;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use tokio::net::TcpStream;

use super::*;
use crate::net::accept::{Handshakes, Security, incoming};
use crate::net::tls::testkit::{Authority, Files};
use crate::net::tls::{ClientTls, PeerCertificate, ServerTls, SubjectField, TlsServer, TlsVersion};

fn accepting(tls: ServerTls) -> ServerSettings {
    ServerSettings {
        tls: TlsServer::new(tls, &["h2"]).unwrap(),
        grace_period: Duration::from_millis(200),
        ..ServerSettings::default()
    }
}

fn connecting(tls: ClientTls) -> ClientSettings {
    ClientSettings {
        tls: Some(ClientSettings::tls_client(tls).unwrap()),
        ..ClientSettings::default()
    }
}

/// Settings for a client to whom the server at `127.0.0.1` proves to be `localhost`.
fn believing(authority: &Authority, files: Option<&Files>) -> ClientTls {
    let [certificate, key] = files.map_or([None, None], Files::pems);
    ClientTls {
        certificate,
        key,
        server_name: "localhost".to_owned(),
        ..authority.client()
    }
}

fn store() -> Arc<dyn Store> {
    Arc::new(dataset(3).to_mem_store())
}

async fn ask(client: &RemoteStore) -> Result<usize> {
    let answer = Answer::collect(client.series(all()).await?).await?;
    Ok(answer.series.len())
}

/// a store behind mTLS, and each way not to get to it, with an error that says what failed.
#[tokio::test]
async fn only_who_fits_is_served() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let tls = ServerTls {
        client_authorities: Some(ours.pem.clone()),
        min_version: Some(TlsVersion::V1_3),
        ..ours.server(&ours.issue("server"))
    };
    let running = Running::start_with(store(), accepting(tls));
    let files = ours.issue("client");
    let good = believing(&ours, Some(&files));
    assert_eq!(
        ask(&running.client_with(connecting(good.clone())))
            .await
            .unwrap(),
        3
    );

    let refused = async |settings: ClientSettings, expected: &str| {
        let error = ask(&running.client_with(settings)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(
            error.to_string().contains(expected),
            "{error} is not {expected}"
        );
    };
    refused(ClientSettings::default(), "").await;
    refused(connecting(believing(&ours, None)), "ertificate").await;
    let of_them = theirs.issue("client");
    refused(connecting(believing(&ours, Some(&of_them))), "").await;
    refused(
        connecting(believing(&theirs, Some(&files))),
        "UnknownIssuer",
    )
    .await;
    let server_name = "other.test".to_owned();
    refused(
        connecting(ClientTls {
            server_name,
            ..good.clone()
        }),
        "not valid for name",
    )
    .await;
    let max_version = Some(TlsVersion::V1_2);
    refused(
        connecting(ClientTls {
            max_version,
            ..good.clone()
        }),
        "ProtocolVersion",
    )
    .await;
    assert_eq!(
        ask(&running.client_with(connecting(good))).await.unwrap(),
        3
    );
}

/// a client that is to encrypt does not fall back to a server that does not.
#[tokio::test]
async fn a_client_does_not_do_without_encryption() {
    let authority = Authority::new("ours");
    let running = Running::start_with(store(), ServerSettings::default());
    let client = running.client_with(connecting(believing(&authority, None)));
    let error = ask(&client).await.unwrap_err();
    assert!(
        error.to_string().contains("TLS handshake with localhost"),
        "{error}"
    );
}

/// E-93, X-04: certificates of both sides are replaced under a client that goes on asking over ever new connections.
#[tokio::test]
async fn certificates_rotate_under_a_live_client() {
    let authority = Authority::new("ours");
    let (server_files, client_files) = (authority.issue("server"), authority.issue("client"));
    let settings = ServerSettings {
        connection_age_max: Duration::from_millis(20),
        ..accepting(ServerTls {
            client_authorities: Some(authority.pem.clone()),
            ..authority.server(&server_files)
        })
    };
    let seen = Arc::new(Mutex::new(Vec::new()));
    let server = StoreServer::new(store(), settings.clone());
    let log = Arc::clone(&seen);
    let router = server
        .router()
        .layer(from_fn(move |request: Request, next: Next| {
            let certificate = request.extensions().get::<PeerCertificate>().unwrap();
            let name = certificate.subject(SubjectField::CommonName).unwrap();
            log.lock().unwrap().push(name);
            next.run(request)
        }));
    let running = Running::start_router(server, router, "127.0.0.1:0", settings);
    let client = running.client_with(connecting(believing(&authority, Some(&client_files))));
    for round in 0..5 {
        authority
            .issue(&format!("server-{round}"))
            .replace(&server_files);
        let name = format!("client-{round}");
        authority.issue(&name).replace(&client_files);
        let deadline = std::time::Instant::now() + PATIENCE;
        while seen.lock().unwrap().last() != Some(&name) {
            assert!(std::time::Instant::now() < deadline, "{name} is not seen");
            assert_eq!(ask(&client).await.unwrap(), 3);
        }
    }
}

/// Whoever connects and says nothing is sent away, and keeps nobody out meanwhile.
#[tokio::test]
async fn slow_handshakes_do_not_keep_others_out() {
    let authority = Authority::new("ours");
    let tls = authority.server(&authority.issue("server"));
    let tls = TlsServer::new(tls, &["h2"]).unwrap().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handshakes = Handshakes {
        count_max: 8,
        timeout: Duration::from_secs(60),
        ..Handshakes::default()
    };
    let mut connections = incoming(listener, Security::Fixed(tls.config()), handshakes);
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let client = ClientSettings::tls_client(believing(&authority, None)).unwrap();
    let io = TcpStream::connect(address).await.unwrap();
    let mut stream = client.handshake("localhost", io).await.unwrap();
    let mut connection = connections.next().await.unwrap();
    assert_eq!(
        connection.info().peer,
        stream.get_ref().0.local_addr().unwrap()
    );
    stream.write_all(b"x").await.unwrap();
    connection.read_exact(&mut [0]).await.unwrap();
    // The first ones were closed for those that came later.
    let ended = silent[0].read(&mut [0]).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}

#[tokio::test]
async fn a_handshake_takes_so_long_and_no_longer() {
    let authority = Authority::new("ours");
    let tls = authority.server(&authority.issue("server"));
    let tls = TlsServer::new(tls, &["h2"]).unwrap().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handshakes = Handshakes {
        timeout: Duration::from_millis(50),
        ..Handshakes::default()
    };
    let _connections = incoming(listener, Security::Fixed(tls.config()), handshakes);
    let mut silent = TcpStream::connect(address).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, silent.read(&mut [0]))
        .await
        .unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}
