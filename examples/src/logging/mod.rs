//! Logging to standard error in the formats of Thanos, or to the journal of systemd.
//!
//! A line has `ts`, `caller`, `level`, `msg`, what the event says, and what the spans around it know: above all the id of the
//! request. Spans are there whatever the level is, because calls to other components carry what they know.

mod format;
mod journal;

use opentelemetry_sdk::trace::Tracer;
use thanos_core::Result;
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt, Targets, filter_fn};
use tracing_subscriber::layer::{Filter, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt;

use self::format::{Fields, Line, Style};
use self::journal::Journal;
use crate::flags::{LogFlags, LogFormat, LogLevel};
use crate::traces::RequestIds;

/// Starts logging for this process, and spans with `tracer`; later calls change nothing.
///
/// # Errors
///
/// `Unavailable` when the log is to go to a journal that is not there.
pub fn start(flags: &LogFlags, tracer: Option<Tracer>) -> Result<()> {
    let spans = tracer.map(|tracer| {
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_context_activation(false)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_filter(filter_fn(is_our_span))
    });
    let registry = Registry::default()
        .with(RequestIds.with_filter(filter_fn(is_our_span)))
        .with(spans);
    let filter = events_of(flags.level).or(filter_fn(is_our_span));
    // A second start, as in tests, keeps the first subscriber.
    let _ = match flags.format {
        LogFormat::Logfmt => registry
            .with(lines(flags, Style::Logfmt, filter))
            .try_init(),
        LogFormat::Json => registry.with(lines(flags, Style::Json, filter)).try_init(),
        LogFormat::Journald => {
            let journal = Journal::open(&flags.name)?;
            registry.with(journal.with_filter(filter)).try_init()
        }
    };
    Ok(())
}

fn lines<F: Filter<S> + 'static, S>(flags: &LogFlags, style: Style, filter: F) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .fmt_fields(Fields)
        .event_format(Line::new(style, &flags.name))
        .with_filter(filter)
}

/// Returns which events are logged.
fn events_of(level: LogLevel) -> Targets {
    match level {
        LogLevel::Error => Targets::new().with_default(LevelFilter::ERROR),
        LogLevel::Warn => Targets::new().with_default(LevelFilter::WARN),
        LogLevel::Info => Targets::new().with_default(LevelFilter::INFO),
        LogLevel::Debug => {
            // What the libraries below say for each packet would hide what we say.
            let quiet = [
                "h2",
                "hyper",
                "hyper_util",
                "opentelemetry",
                "opentelemetry-otlp",
                "opentelemetry_sdk",
                "reqwest",
                "rustls",
                "tonic",
                "tower",
            ];
            let quiet = quiet.map(|target| (target, LevelFilter::INFO));
            Targets::new()
                .with_default(LevelFilter::DEBUG)
                .with_targets(quiet)
        }
    }
}

/// Reports whether `metadata` are those of a span that tells of a request.
fn is_our_span(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with("thanos")
}
