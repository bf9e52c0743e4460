//! `/debug/pprof/` and `/debug/fgprof`: what the process does, for `go tool pprof` and for people.
//!
//! The paths are those of Go's `net/http/pprof` and `felixge/fgprof`. What would need Go's runtime answers why it is not
//! there. As in Thanos there is no `cmdline`: flags may hold passwords.

mod cpu;
mod profile;
mod threads;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;

use self::cpu::Failure;

/// How long a CPU profile takes if nothing else is said. Source: Go net/http/pprof.
const DURATION: Duration = Duration::from_secs(30);
/// The longest CPU profile: what is sampled is kept until its end.
const DURATION_MAX: Duration = Duration::from_secs(300);

/// What there is.
const PROFILES: [(&str, &str); 2] = [
    (
        "profile",
        "CPU profile. You can specify the duration in the seconds GET parameter, up to 300.",
    ),
    (
        "threadcreate",
        "The threads of the process by name, and how long they have run; as text with debug=1.",
    ),
];

/// What there is with Go and not here, and why.
const MISSING: [(&str, &str); 7] = [
    ("allocs", HEAP),
    ("block", WAITS),
    (
        "goroutine",
        "there are no goroutines: requests are tasks, whose stacks exist only while they run; see threadcreate for \
         threads, profile for running tasks, and /api/v1/status/active_queries of a querier",
    ),
    ("heap", HEAP),
    ("mutex", WAITS),
    (
        "symbol",
        "addresses cannot be looked up: profiles have the names of functions in them",
    ),
    (
        "trace",
        "there is no execution trace of Go: --tracing.config sends spans of what requests wait for",
    ),
];
const HEAP: &str = "allocations are not sampled: large buffers are counted against the limits of memory, see /metrics and \
                    process_resident_memory_bytes";
const WAITS: &str =
    "waiting for locks is not sampled: --tracing.config sends spans of what requests wait for";
const WALL_CLOCK: &str = "there is no wall-clock profile: a task that waits has no stack to sample; /debug/pprof/profile is \
                          about running ones, and --tracing.config sends spans of what requests wait for";

/// Returns the routes, which every role serves.
pub fn routes() -> Router {
    // Signals are of the process: there is one profile at a time.
    routes_with(Arc::new(Semaphore::new(1)))
}

fn routes_with(place: Arc<Semaphore>) -> Router {
    Router::new()
        .route("/debug/pprof/", get(async || Html(index())))
        .route("/debug/pprof/profile", get(cpu_profile))
        .route("/debug/pprof/threadcreate", get(thread_profile))
        .route("/debug/pprof/{name}", get(missing))
        .route(
            "/debug/fgprof",
            get(async || refusal(StatusCode::NOT_IMPLEMENTED, WALL_CLOCK)),
        )
        .with_state(place)
}

/// Returns the page that says what there is.
fn index() -> String {
    let mut page = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><title>/debug/pprof/</title></head>\n<body>\n<h1>/debug/pprof/</h1>\n\
         <p>Profiles of this process, for <code>go tool pprof URL</code>:</p>\n<ul>\n",
    );
    for (name, text) in PROFILES {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "<li><a href=\"{name}\">{name}</a>: {text}</li>");
    }
    page.push_str("</ul>\n<p>Those of Go's runtime that are not here:</p>\n<ul>\n");
    let all = MISSING.into_iter().chain([("fgprof", WALL_CLOCK)]);
    for (name, why) in all {
        let _ = writeln!(page, "<li>{name}: {why}</li>");
    }
    page.push_str("</ul>\n</body>\n</html>\n");
    page
}

type Parameters = Query<HashMap<String, String>>;

async fn cpu_profile(State(place): State<Arc<Semaphore>>, Query(given): Parameters) -> Response {
    // What is no number of seconds counts as nothing, as in Go.
    let secs = given
        .get("seconds")
        .and_then(|secs| secs.parse::<i64>().ok());
    let secs = secs
        .and_then(|secs| u64::try_from(secs).ok())
        .filter(|secs| *secs > 0);
    let duration = secs.map_or(DURATION, Duration::from_secs);
    if duration > DURATION_MAX {
        let text = format!(
            "profile duration exceeds {} seconds",
            DURATION_MAX.as_secs()
        );
        return refusal(StatusCode::BAD_REQUEST, &text);
    }
    let Ok(place) = place.try_acquire_owned() else {
        return failed(&Failure::InUse);
    };
    // The sender is dropped with this future, when the client goes away.
    let (client, gone) = mpsc::channel();
    let taken = tokio::task::spawn_blocking(move || {
        let _place = place;
        cpu::profile(duration, &gone)
    });
    let taken = taken.await;
    drop(client);
    match taken {
        Ok(Ok(profile)) => file("profile", profile),
        Ok(Err(failure)) => failed(&failure),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn failed(failure: &Failure) -> Response {
    let text = format!("Could not enable CPU profiling: {failure}");
    refusal(StatusCode::INTERNAL_SERVER_ERROR, &text)
}

async fn thread_profile(Query(given): Parameters) -> Response {
    let debug = given
        .get("debug")
        .and_then(|debug| debug.parse::<i64>().ok());
    let made = match debug.unwrap_or(0) {
        0 => threads::profile().map(|profile| file("threadcreate", profile)),
        _ => threads::text().map(IntoResponse::into_response),
    };
    made.unwrap_or_else(|error| {
        let text = format!("threads cannot be told: {error}");
        refusal(StatusCode::NOT_IMPLEMENTED, &text)
    })
}

async fn missing(Path(name): Path<String>) -> Response {
    let found = MISSING.into_iter().find(|(known, _)| *known == name);
    match found {
        Some((name, why)) => refusal(StatusCode::NOT_IMPLEMENTED, &format!("{name}: {why}")),
        None => refusal(StatusCode::NOT_FOUND, "Unknown profile"),
    }
}

/// Returns an answer with a file.
fn file(name: &str, content: Vec<u8>) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (CONTENT_TYPE, "application/octet-stream"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_DISPOSITION, &disposition),
    ];
    (headers, content).into_response()
}

/// Returns an error as Go's handlers send it, which `go tool pprof` shows.
fn refusal(status: StatusCode, text: &str) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("x-go-pprof"), "1"),
    ];
    let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
    (status, headers, format!("{text}\n")).into_response()
}

#[cfg(test)]
mod tests;
