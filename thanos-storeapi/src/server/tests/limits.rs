//! Clients that send too much, or nothing.

use super::*;
use crate::pb::thanos::info::InfoRequest;
use crate::pb::thanos::info::info_client::InfoClient;

/// headers beyond the limit fail their call with a word about why, and the server goes on.
#[tokio::test]
async fn oversized_headers_are_refused() {
    let running = Running::start(Arc::new(dataset(1).to_mem_store()));
    for len in [70 << 10, 4 << 20] {
        let mut client = InfoClient::new(channel(&running).await);
        let mut request = tonic::Request::new(InfoRequest {});
        let value = "x".repeat(len).parse().unwrap();
        request.metadata_mut().insert("x-large", value);
        let status = client.info(request).await.unwrap_err();
        assert!(!status.message().is_empty(), "{status:?}");
        running.client().info().await.unwrap();
    }
}

/// a message longer than the limit is refused by its length, before it has come.
#[tokio::test]
async fn oversized_messages_are_refused() {
    let running = Running::start_with(
        Arc::new(dataset(1).to_mem_store()),
        ServerSettings {
            message_bytes_max: 1 << 16,
            ..ServerSettings::default()
        },
    );
    let request = SeriesRequest {
        matchers: vec![Matcher::equal("i", &"y".repeat(1 << 20))],
        ..SeriesRequest::default()
    };
    let Err(error) = running.client().series(request).await else {
        panic!("it is too long");
    };
    assert!(
        error.to_string().contains("limit is: 65536 bytes"),
        "{error}"
    );

    let running = Running::start(one_chunk_of(1 << 20));
    let client = running.client_with(ClientSettings {
        message_bytes_max: 1 << 16,
        ..ClientSettings::default()
    });
    let answer = Answer::collect(client.series(all()).await.unwrap()).await;
    let error = answer.unwrap_err();
    assert!(
        error.to_string().contains("limit is: 65536 bytes"),
        "{error}"
    );
}
