//! What becomes of a failure among many sources: the end of the request, or a gap that is named.

use futures::{StreamExt, stream};
use thanos_core::error::{Error, ErrorKind};
use thanos_core::query::{Missing, SeriesEvent, SeriesStream};

use crate::store::PartialResponse;

/// Turns failures of one source into what the request wants.
///
/// With [`PartialResponse::Abort`] the stream ends with the error, and a notice of missing data is one. With
/// [`PartialResponse::Warn`] an error becomes a notice that `source` is missing, and the stream ends without one.
pub fn fail_or_note(stream: SeriesStream, source: String, policy: PartialResponse) -> SeriesStream {
    note_unless(stream, source, policy, |_| false)
}

/// As [`fail_or_note`], but a limit that was reached fails the request whatever it wants: the whole request is too
/// large, not this source unable. A fan-out above may note that this store is missing, as in Thanos.
pub fn fail_or_note_unless_limit(
    stream: SeriesStream,
    source: String,
    policy: PartialResponse,
) -> SeriesStream {
    note_unless(stream, source, policy, |error| {
        error.kind() == ErrorKind::LimitExceeded
    })
}

fn note_unless(
    stream: SeriesStream,
    source: String,
    policy: PartialResponse,
    is_fatal: fn(&Error) -> bool,
) -> SeriesStream {
    match policy {
        PartialResponse::Abort => {
            let strict = stream.map(|event| match event {
                Ok(SeriesEvent::Missing(missing)) => Err(missing_error(&missing)),
                other => other,
            });
            until_error(strict.boxed())
        }
        PartialResponse::Warn => until_error(stream)
            .map(move |event| match event {
                Err(error) if !is_fatal(&error) => Ok(SeriesEvent::Missing(Missing {
                    source: source.clone(),
                    reason: error.to_string(),
                })),
                other => other,
            })
            .boxed(),
    }
}

/// Returns the error that a notice of missing data is for those who want all of it.
pub(crate) fn missing_error(missing: &Missing) -> Error {
    let Missing { source, reason } = missing;
    match source.as_str() {
        // It is nobody in particular.
        "" => Error::unavailable(reason.clone()),
        source => Error::unavailable(format!("{source}: {reason}")),
    }
}

/// Ends a stream after its first error.
pub(crate) fn until_error(stream: SeriesStream) -> SeriesStream {
    stream::unfold(Some(stream), |stream| async move {
        let mut stream = stream?;
        let event = stream.next().await?;
        let rest = event.is_ok().then_some(stream);
        Some((event, rest))
    })
    .boxed()
}
