use bytes::Bytes;
use futures::{StreamExt, stream};
use tonic::Status;

use super::*;
use crate::store::SeriesEvent;

#[test]
fn an_address_is_host_and_port() {
    for good in ["store-a:10901", "127.0.0.1:1", "[::1]:10901"] {
        let store = RemoteStore::new(good, ClientSettings::default()).unwrap();
        assert_eq!(store.address(), good);
    }
    for bad in [
        "",
        "store-a",
        ":10901",
        "store-a:x",
        "http://store-a:1",
        "store-a:1/path",
        "a b:1",
    ] {
        let error = RemoteStore::new(bad, ClientSettings::default()).unwrap_err();
        assert_eq!(
            error.kind(),
            thanos_core::error::ErrorKind::Invalid,
            "{bad}"
        );
        assert!(error.to_string().starts_with("store address "), "{error}");
    }
}

/// Frames of one series `{a="<value>"}` each.
fn frame(value: u8) -> Result<Bytes, Status> {
    let frame = [0x0a, 0x08, 0x0a, 0x06, 0x0a, 0x01, b'a', 0x12, 0x01, value];
    Ok(Bytes::copy_from_slice(&frame))
}

#[test]
fn frames_that_are_there_are_joined_and_nothing_waits_for_more() {
    let mut script = vec![
        Some(frame(b'1')),
        Some(frame(b'2')),
        None,
        Some(frame(b'3')),
        Some(Ok(Bytes::from_static(b"\x12\x04slow"))),
        Some(frame(b'4')),
        Some(Err(Status::unavailable("gone"))),
        Some(frame(b'5')),
    ]
    .into_iter();
    let frames = stream::poll_fn(move |cx| match script.next() {
        Some(Some(frame)) => std::task::Poll::Ready(Some(frame)),
        // Nothing there yet, but soon.
        Some(None) => {
            cx.waker().wake_by_ref();
            std::task::Poll::Pending
        }
        None => std::task::Poll::Ready(None),
    });
    let events = events(frames, "peer:1".into());
    let seen: Vec<String> = futures::executor::block_on(
        events
            .map(|event| match event {
                Ok(SeriesEvent::Batch(batch)) => {
                    let labels: Vec<_> = batch.iter().map(|one| one.labels.to_string()).collect();
                    labels.concat()
                }
                Ok(SeriesEvent::Missing(missing)) => format!("missing {}", missing.reason),
                Ok(other) => panic!("{other:?}"),
                Err(error) => error.to_string(),
            })
            .collect(),
    );
    assert_eq!(
        seen,
        [
            r#"{a="1"}{a="2"}"#,
            r#"{a="3"}"#,
            "missing slow",
            r#"{a="4"}"#,
            "peer:1: gone",
        ]
    );
}

#[test]
fn many_frames_fill_batches() {
    let frames = stream::iter((0..1000).map(|_| frame(b'1')));
    let events = events(frames, "peer:1".into());
    let sizes: Vec<usize> = futures::executor::block_on(
        events
            .map(|event| match event.unwrap() {
                SeriesEvent::Batch(batch) => batch.len(),
                other => panic!("{other:?}"),
            })
            .collect(),
    );
    let full = thanos_core::query::BATCH_SERIES_TARGET;
    assert!(
        sizes[..sizes.len() - 1].iter().all(|size| *size == full),
        "{sizes:?}"
    );
    assert_eq!(sizes.iter().sum::<usize>(), 1000);
}
