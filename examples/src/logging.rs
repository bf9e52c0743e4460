//! Logging to standard error in the two formats of Thanos.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope};

use crate::flags::{LogFlags, LogFormat, LogLevel};
use thanos_core::time::{Clock, SystemClock, UtcTime};

/// Starts logging for this process; later calls change nothing.
pub fn start(flags: &LogFlags) {
    let level = match flags.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        // What the libraries below say for each packet would hide what we say.
        LogLevel::Debug => {
            "debug,h2=info,hyper=info,hyper_util=info,reqwest=info,rustls=info,tower=info"
        }
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_writer(std::io::stderr);
    // A second start, as in tests, keeps the first subscriber.
    let _ = match flags.format {
        LogFormat::Logfmt => builder.event_format(Logfmt).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// `ts=... caller=... level=... msg=... key=value`
struct Logfmt;

impl<S, N> FormatEvent<S, N> for Logfmt
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        let caller = event.metadata().target();
        write!(
            writer,
            "ts={} caller={caller} level={level}",
            UtcTime::from_timestamp(SystemClock.now())
        )?;
        let mut fields = LogfmtFields {
            message: String::new(),
            others: String::new(),
        };
        event.record(&mut fields);
        write!(writer, " msg={}{}", Quoted(&fields.message), fields.others)?;
        // What the surrounding spans know, such as the id of the request.
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                && !fields.is_empty()
            {
                write!(writer, " {fields}")?;
            }
        }
        writeln!(writer)
    }
}

struct LogfmtFields {
    message: String,
    others: String,
}

impl Visit for LogfmtFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value.to_owned());
    }
}

impl LogfmtFields {
    fn add(&mut self, name: &str, value: String) {
        if name == "message" {
            self.message = value;
        } else {
            self.others.push_str(&format!(" {name}={}", Quoted(&value)));
        }
    }
}

/// A logfmt value: quoted when it holds spaces, quotes, `=` or control characters.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needs_quotes = self.0.is_empty()
            || self
                .0
                .chars()
                .any(|c| c <= ' ' || c == '=' || c == '"' || c == '\\');
        if needs_quotes {
            thanos_core::text::write_go_quoted(f, self.0)
        } else {
            f.write_str(self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_only_when_needed() {
        assert_eq!(Quoted("plain").to_string(), "plain");
        assert_eq!(Quoted("two words").to_string(), "\"two words\"");
        assert_eq!(Quoted("").to_string(), "\"\"");
        assert_eq!(Quoted("a=\"b\"\n").to_string(), r#""a=\"b\"\n""#);
    }
}
