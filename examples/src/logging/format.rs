//! Lines as Thanos writes them.

use std::fmt;

use serde_json::{Map, Value};
use thanos_core::time::{Clock, SystemClock, UtcTime};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope};

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// `ts=... caller=... level=... msg=... key=value`
    Logfmt,
    /// One JSON object.
    Json,
}

/// Writes events as lines.
pub(super) struct Line {
    style: Style,
    /// What `--debug.name` says.
    name: String,
}

impl Line {
    pub(super) fn new(style: Style, name: &str) -> Self {
        let name = name.to_owned();
        Self { style, name }
    }
}

/// Returns Thanos' word for the level of `metadata`.
pub(super) fn level_of(metadata: &Metadata<'_>) -> &'static str {
    match *metadata.level() {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}

impl<S, N> FormatEvent<S, N> for Line
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
        let mut said = Said::default();
        event.record(&mut said);
        // What the surrounding spans know, such as the id of the request.
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                said.add_pairs(&fields.fields);
            }
        }
        let now = UtcTime::from_timestamp(SystemClock.now()).to_string();
        let metadata = event.metadata();
        let mut head = Vec::with_capacity(5);
        if !self.name.is_empty() {
            head.push(("name", self.name.as_str()));
        }
        head.extend([
            ("ts", now.as_str()),
            ("caller", metadata.target()),
            ("level", level_of(metadata)),
            ("msg", said.message.as_str()),
        ]);
        match self.style {
            Style::Logfmt => write_logfmt(&mut writer, &head, &said.fields),
            Style::Json => write_json(&mut writer, &head, &said.fields),
        }
    }
}

fn write_logfmt(
    writer: &mut Writer<'_>,
    head: &[(&str, &str)],
    fields: &[(String, String)],
) -> fmt::Result {
    let fields = fields.iter().map(|(name, value)| (&**name, &**value));
    for (i, (name, value)) in head.iter().copied().chain(fields).enumerate() {
        let space = if i > 0 { " " } else { "" };
        write!(writer, "{space}{name}={}", Quoted(value))?;
    }
    writeln!(writer)
}

fn write_json(
    writer: &mut Writer<'_>,
    head: &[(&str, &str)],
    fields: &[(String, String)],
) -> fmt::Result {
    let mut object = Map::new();
    for (name, value) in fields {
        object.insert(name.clone(), Value::from(value.as_str()));
    }
    for (name, value) in head {
        object.insert((*name).to_owned(), Value::from(*value));
    }
    writeln!(writer, "{}", Value::from(object))
}

/// What an event, or a span, says.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) message: String,
    pub(super) fields: Vec<(String, String)>,
}

impl Said {
    fn add(&mut self, name: &str, value: String) {
        match name {
            "message" => self.message = value,
            // For those who collect traces.
            name if name.starts_with("otel.") => {}
            name => self.fields.push((name.to_owned(), value)),
        }
    }

    /// Adds what [`Fields`] wrote.
    pub(super) fn add_pairs(&mut self, pairs: &str) {
        for pair in pairs.split(BETWEEN_PAIRS) {
            if let Some((name, value)) = pair.split_once(IN_PAIR) {
                self.fields.push((name.to_owned(), value.to_owned()));
            }
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value.to_owned());
    }
}

/// ASCII's separators of records and of units, which no field of ours has.
const BETWEEN_PAIRS: char = '\u{1e}';
const IN_PAIR: char = '\u{1f}';

/// Keeps the fields of spans so that each style can write them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut said = Said::default();
        fields.record(&mut said);
        for (name, value) in said.fields {
            let value = value.replace([BETWEEN_PAIRS, IN_PAIR], " ");
            write!(writer, "{BETWEEN_PAIRS}{name}{IN_PAIR}{value}")?;
        }
        Ok(())
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
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::registry::Registry;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(style: Style, name: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .fmt_fields(Fields)
            .event_format(Line::new(style, name));
        tracing::subscriber::with_default(Registry::default().with(layer), || {
            let span = tracing::info_span!("x", otel.name = "/a/b", request_id = "r 1");
            let _entered = span.enter();
            tracing::warn!(block = 7, "two words");
        });
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    /// X-14.
    #[test]
    fn lines_have_the_fields_of_thanos() {
        let line = logged(Style::Logfmt, "");
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.starts_with("ts=20") && time.ends_with('Z'), "{line}");
        assert!(
            rest.starts_with("caller=thanos_examples::logging"),
            "{line}"
        );
        let end = "level=warn msg=\"two words\" block=7 request_id=\"r 1\"\n";
        assert!(rest.ends_with(end), "{line}");
        assert!(logged(Style::Logfmt, "me").starts_with("name=me ts="));

        let line = logged(Style::Json, "me");
        let object: Value = serde_json::from_str(&line).unwrap();
        for (name, value) in [
            ("level", "warn"),
            ("msg", "two words"),
            ("block", "7"),
            ("name", "me"),
            ("request_id", "r 1"),
        ] {
            assert_eq!(object[name], value, "{line}");
        }
        assert!(object["ts"].is_string() && object["caller"].is_string());
    }

    #[test]
    fn values_are_quoted_only_when_needed() {
        assert_eq!(Quoted("plain").to_string(), "plain");
        assert_eq!(Quoted("two words").to_string(), "\"two words\"");
        assert_eq!(Quoted("").to_string(), "\"\"");
        assert_eq!(Quoted("a=\"b\"\n").to_string(), r#""a=\"b\"\n""#);
    }
}
