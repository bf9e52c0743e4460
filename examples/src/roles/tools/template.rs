//! Templates over a block's `meta.json`: `{{.ULID}}` and other fields, by the names that Go has for them.
//!
//! Of Go's templates this knows text and fields. Everything else is an error that says so, never an empty answer.

use std::collections::BTreeMap;
use std::fmt::Display;

use thanos_core::block::{BlockFile, Meta, ThanosMeta};
use thanos_core::{Error, Result};
use thanos_promql::rules::template::check;

/// A template, parsed.
#[derive(Debug, Clone)]
pub(super) struct MetaTemplate {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Field(Vec<String>),
}

impl MetaTemplate {
    /// Parses `text` and tries it on an empty block, so that a field that there is not is seen at once.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let invalid = |message: String| Error::invalid(format!("invalid template: {message}"));
        check(text, &[])
            .map_err(|error| invalid(format!("template: :{}: {}", error.line, error.message)))?;
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("{{") {
            let (action, after) = behind.split_once("}}").unwrap_or((behind, ""));
            parts.push(Part::Text(before.to_owned()));
            let path = field_path(action.trim()).ok_or_else(|| {
                invalid(format!(
                    "only fields such as {{{{.ULID}}}} are supported, not {{{{{action}}}}}"
                ))
            })?;
            parts.push(Part::Field(path));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        let template = Self { parts };
        template.apply(&Meta::default())?;
        Ok(template)
    }

    /// Returns the text for a block.
    pub(super) fn apply(&self, meta: &Meta) -> Result<String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field(path) => {
                    let names: Vec<&str> = path.iter().map(String::as_str).collect();
                    out.push_str(&field(meta, &names)?);
                }
            }
        }
        Ok(out)
    }
}

fn field_path(action: &str) -> Option<Vec<String>> {
    let names: Vec<String> = action
        .strip_prefix('.')?
        .split('.')
        .map(str::to_owned)
        .collect();
    let is_name =
        |name: &String| !name.is_empty() && name.chars().all(|c| c == '_' || c.is_alphanumeric());
    names.iter().all(is_name).then_some(names)
}

fn field(meta: &Meta, path: &[&str]) -> Result<String> {
    let stats = &meta.stats;
    let compaction = &meta.compaction;
    Ok(match path {
        ["BlockMeta", rest @ ..] if !rest.is_empty() => return field(meta, rest),
        ["ULID"] => meta.ulid.to_string(),
        ["MinTime"] => meta.min_time.to_string(),
        ["MaxTime"] => meta.max_time.to_string(),
        ["Version"] => meta.version.to_string(),
        ["Stats", "NumSamples"] => stats.num_samples.to_string(),
        ["Stats", "NumFloatSamples"] => stats.num_float_samples.to_string(),
        ["Stats", "NumHistogramSamples"] => stats.num_histogram_samples.to_string(),
        ["Stats", "NumSeries"] => stats.num_series.to_string(),
        ["Stats", "NumChunks"] => stats.num_chunks.to_string(),
        ["Stats", "NumTombstones"] => stats.num_tombstones.to_string(),
        ["Compaction", "Level"] => compaction.level.to_string(),
        ["Compaction", "Sources"] => list(&compaction.sources),
        ["Compaction", "Deletable"] => compaction.deletable.to_string(),
        ["Compaction", "Failed"] => compaction.failed.to_string(),
        ["Compaction", "Hints"] => list(&compaction.hints),
        ["Thanos", rest @ ..] => {
            let none = ThanosMeta::default();
            return thanos_field(meta.thanos.as_ref().unwrap_or(&none), rest);
        }
        _ => return Err(unknown(path)),
    })
}

fn thanos_field(thanos: &ThanosMeta, path: &[&str]) -> Result<String> {
    Ok(match path {
        ["Version"] => thanos.version.to_string(),
        ["Labels"] => map(&thanos.labels),
        // What Go prints for a key that there is not, in a map of texts.
        ["Labels", name] => thanos.labels.get(*name).cloned().unwrap_or_default(),
        ["Downsample", "Resolution"] => thanos.downsample.resolution_ms.to_string(),
        ["Source"] => thanos.source.clone(),
        ["SegmentFiles"] => list(&thanos.segment_files),
        ["Files"] => list(&thanos.files.iter().map(file).collect::<Vec<_>>()),
        ["IndexStats", "SeriesMaxSize"] => thanos.index_stats.series_max_size.to_string(),
        ["IndexStats", "ChunkMaxSize"] => thanos.index_stats.chunk_max_size.to_string(),
        _ => return Err(unknown(path)),
    })
}

fn file(file: &BlockFile) -> String {
    format!("{{{} {}}}", file.rel_path, file.size_bytes)
}

fn unknown(path: &[&str]) -> Error {
    Error::invalid(format!(
        "invalid template: there is no field {:?} that can be printed",
        path.join(".")
    ))
}

fn list(values: &[impl Display]) -> String {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    format!("[{}]", values.join(" "))
}

fn map(values: &BTreeMap<String, String>) -> String {
    let values: Vec<String> = values
        .iter()
        .map(|(name, value)| format!("{name}:{value}"))
        .collect();
    format!("map[{}]", values.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T-02: what Thanos prints for the same templates; what is not known is refused.
    #[test]
    fn fields_are_printed_as_go_prints_them() {
        let meta = Meta {
            ulid: "01M81JDC7R8JKP7SEW1VN2HAQ9".parse().expect("an id"),
            thanos: Some(ThanosMeta {
                labels: [("b", "2"), ("a", "1")]
                    .map(|(n, v)| (n.to_owned(), v.to_owned()))
                    .into(),
                ..ThanosMeta::default()
            }),
            ..Meta::default()
        };
        let apply =
            |text: &str| MetaTemplate::parse(text).and_then(|template| template.apply(&meta));
        let shown = |text: &str| apply(text).unwrap_or_else(|error| error.to_string());
        assert_eq!(shown("id={{.ULID}}"), "id=01M81JDC7R8JKP7SEW1VN2HAQ9");
        assert_eq!(
            shown("{{ .Thanos.Labels }} {{.Thanos.Labels.a}}"),
            "map[a:1 b:2] 1"
        );
        assert_eq!(shown("{{.Compaction.Sources}}{{.Stats.NumSeries}}"), "[]0");
        assert!(shown("{{.Nope}}").contains("no field \"Nope\""));
        assert!(shown("{{range .Compaction.Sources}}{{.}}{{end}}").contains("only fields"));
        assert!(shown("{{.ULID").contains("unclosed action"));
        assert!(shown("{{ nope }}").contains("function \"nope\" not defined"));
    }
}
