//! Messages that are compressed on the way, and those that become too much.

use tonic::codegen::Service as _;
use tonic::codegen::http;

use super::*;
use crate::net::compress::Compression;

const CODECS: [Compression; 3] = [Compression::Snappy, Compression::Gzip, Compression::Zstd];

fn speaking(compression: Compression) -> ClientSettings {
    ClientSettings {
        compression,
        ..ClientSettings::default()
    }
}

async fn all_of(client: &RemoteStore) -> Result<Answer> {
    Answer::collect(client.series(all()).await?).await
}

/// compressed calls have the answers of others.
#[tokio::test]
async fn compression_does_not_change_answers() {
    let running = Running::start(Arc::new(dataset(300).to_mem_store()));
    let expected = all_of(&running.client()).await.unwrap();
    for codec in CODECS {
        let client = running.client_with(speaking(codec));
        assert_eq!(all_of(&client).await.unwrap(), expected, "{codec}");
        let request = LabelNamesRequest::default();
        let names = client.label_names(request.clone()).await.unwrap();
        assert_eq!(names, running.client().label_names(request).await.unwrap());
        client.info().await.unwrap();
    }
}

#[tokio::test]
async fn a_panic_or_error_of_a_compressed_call_arrives() {
    let faults = [Fault::FailAfter(1)];
    let running = Running::start(Arc::new(dataset(3).to_mem_store().with_faults(faults)));
    let plain = all_of(&running.client()).await.unwrap_err().to_string();
    for codec in CODECS {
        let error = all_of(&running.client_with(speaking(codec)))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), plain, "{codec}");
    }
}

/// a peer that answers with bombs fails the call and takes no more memory than is allowed.
#[tokio::test]
async fn an_answer_that_grows_beyond_the_limit_fails_the_call() {
    let running = Running::start(one_chunk_of(9 << 20));
    for codec in CODECS {
        let client = |decompressed_bytes_max| {
            running.client_with(ClientSettings {
                decompressed_bytes_max,
                ..speaking(codec)
            })
        };
        all_of(&client(10 << 20)).await.unwrap();
        let error = all_of(&client(1 << 20)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
        let expected = "grpc: received message after decompression larger than max 1048576";
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// a client that sends bombs is told so, and others are served.
#[tokio::test]
async fn a_request_that_grows_beyond_the_limit_is_refused() {
    let store = Arc::new(dataset(1).to_mem_store());
    let running = Running::start_with(
        Arc::<MemStore>::clone(&store),
        ServerSettings {
            decompressed_bytes_max: 1 << 16,
            ..ServerSettings::default()
        },
    );
    let bomb = || SeriesRequest {
        matchers: vec![Matcher::equal("i", &"y".repeat(8 << 20))],
        ..SeriesRequest::default()
    };
    for codec in CODECS {
        let client = running.client_with(speaking(codec));
        let Err(error) = client.series(bomb()).await else {
            panic!("a bomb of {codec} is refused");
        };
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
        assert!(
            error
                .to_string()
                .contains("after decompression larger than max 65536"),
            "{error}"
        );
        all_of(&client).await.unwrap();
    }
    assert_eq!(
        store.requests().len(),
        CODECS.len(),
        "the store has seen no bomb"
    );
}

#[tokio::test]
async fn an_unknown_encoding_is_answered_with_the_known_ones() {
    let running = Running::start(Arc::new(dataset(1).to_mem_store()));
    let request = http::Request::post(format!("http://{}/thanos.info.Info/Info", running.address))
        .header("content-type", "application/grpc")
        .header("grpc-encoding", "lz4")
        .body(tonic::body::Body::empty())
        .unwrap();
    let mut channel = channel(&running).await;
    std::future::poll_fn(|cx| channel.poll_ready(cx))
        .await
        .unwrap();
    let answer = channel.call(request).await.unwrap();
    let header = |name| {
        answer
            .headers()
            .get(name)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(header("grpc-status"), "12");
    assert_eq!(header("grpc-accept-encoding"), "snappy,gzip,zstd,identity");
}
