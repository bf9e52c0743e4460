//! From the answer of a store to a series stream that says how it is to be read.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use thanos_core::Result;
use thanos_core::downsample::{FIVE_MINUTES_MS, ONE_HOUR_MS};
use thanos_core::query::{Reading, SeriesEvent, SeriesStream};

use crate::gate::Gate;
use crate::join::join_series;
use crate::policy::until_error;
use crate::store::{SeriesRequest, Store};

/// Asks `store`; where it has no data as fine as is wanted, it is asked for the next coarser.
///
/// A store that only has coarser data than the query allows answers with nothing, which is no answer: raw blocks that
/// have outlived their retention leave downsampled ones behind.
pub(super) async fn ask(
    store: &Arc<dyn Store>,
    request: SeriesRequest,
    reading: Reading,
    gate: Option<&Gate>,
) -> Result<SeriesStream> {
    let limit = request.limit;
    let place = match gate {
        Some(gate) => Some(gate.enter().await?),
        None => None,
    };
    let first = store.series(request.clone()).await?;
    let series = match request.skip_chunks {
        true => first,
        false => or_coarser(Arc::clone(store), request, first),
    };
    let series = match place {
        Some(_) => begun(series).await.whole(),
        None => series,
    };
    drop(place);
    let read = join_series(until_error(series), limit).map_ok(move |event| match event {
        SeriesEvent::Batch(batch) => SeriesEvent::Batch(batch.with_reading(reading)),
        other => other,
    });
    Ok(read.boxed())
}

fn or_coarser(store: Arc<dyn Store>, request: SeriesRequest, first: SeriesStream) -> SeriesStream {
    stream::once(async move {
        let mut request = request;
        let mut answer = begun(first).await;
        let is_hopeless = answer.is_empty
            && coarser_than(request.max_resolution_window_ms).is_some()
            && is_known_nowhere(&store, &request).await;
        while answer.is_empty
            && !is_hopeless
            && let Some(coarser) = coarser_than(request.max_resolution_window_ms)
        {
            request.max_resolution_window_ms = coarser;
            answer = match store.series(request.clone()).await {
                // What the stores say about themselves, they say again.
                Ok(series) => begun(series).await,
                Err(error) => return stream::once(async { Err(error) }).boxed(),
            };
        }
        answer.whole()
    })
    .flatten()
    .boxed()
}

/// Asks whether there is any series at any resolution, which an index can tell: mostly nobody has any, and then there is
/// no need to ask for one resolution after the other.
async fn is_known_nowhere(store: &Arc<dyn Store>, request: &SeriesRequest) -> bool {
    let probe = SeriesRequest {
        skip_chunks: true,
        max_resolution_window_ms: i64::MAX,
        limit: 1,
        log: None,
        ..request.clone()
    };
    match store.series(probe).await {
        Ok(series) => {
            let found = begun(series).await;
            found.is_empty && found.before.iter().all(is_complete)
        }
        // Whoever asks for data hears of it.
        Err(_) => false,
    }
}

fn is_complete(event: &Result<SeriesEvent>) -> bool {
    !matches!(event, Err(_) | Ok(SeriesEvent::Missing(_)))
}

fn coarser_than(resolution_ms: i64) -> Option<i64> {
    let coarser = [FIVE_MINUTES_MS, ONE_HOUR_MS];
    coarser.into_iter().find(|coarser| *coarser > resolution_ms)
}

/// An answer of which is known whether it has series.
struct Begun {
    before: Vec<Result<SeriesEvent>>,
    rest: SeriesStream,
    is_empty: bool,
}

impl Begun {
    fn whole(self) -> SeriesStream {
        stream::iter(self.before).chain(self.rest).boxed()
    }
}

async fn begun(series: SeriesStream) -> Begun {
    // The end may be met here, and the stream is asked for more after that.
    let mut series = series.fuse().boxed();
    let mut before = Vec::new();
    let mut is_empty = true;
    while is_empty && let Some(event) = series.next().await {
        // An error is the end of the answer, and not a reason to ask again.
        is_empty = match &event {
            Ok(SeriesEvent::Batch(batch)) => batch.is_empty(),
            Ok(_) => true,
            Err(_) => false,
        };
        before.push(event);
    }
    Begun {
        before,
        rest: series,
        is_empty,
    }
}
