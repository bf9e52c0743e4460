//! Functions that change labels only, and the labels of what is absent.

use super::evaluate::Evaluator;
use super::series::{Line, Steps, merge_equal};
use crate::error::{Error, Result};
use crate::parser::Expr;
use crate::parser::ast::{Call, VectorSelector};
use thanos_core::labels::{Labels, LabelsBuilder, METRIC_NAME, MatchOp};
use thanos_core::re2::GoReplacer;

/// Returns the text that an argument is.
pub(super) fn text(expr: &Expr) -> &str {
    match expr.without_parens() {
        Expr::String(text) => &text.value,
        _ => "",
    }
}

/// Returns the labels that a selector asks for exactly and once.
///
/// Source: Prometheus `promql/functions.go`, `createLabelsForAbsentFunction`.
pub(super) fn absent_labels(selector: &VectorSelector) -> Labels {
    let mut builder = LabelsBuilder::new();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in &selector.matchers {
        if &*matcher.name == METRIC_NAME {
            continue;
        }
        if matcher.op == MatchOp::Equal && !seen.contains(&&*matcher.name) {
            builder.set(&matcher.name, &matcher.value);
            seen.push(&matcher.name);
        } else {
            builder.remove(&matcher.name);
        }
    }
    builder.build()
}

impl Evaluator<'_> {
    pub(super) fn label_replace(&mut self, call: &Call, steps: Steps) -> Result<Vec<Line>> {
        let [name, template, source, pattern] = [1, 2, 3, 4].map(|place| text(&call.args[place]));
        let replacer = GoReplacer::new(pattern)
            .map_err(|_| Error::execution(format!("invalid regular expression: {pattern}")))?;
        check_name(&call.args[1])?;
        let mut lines = self.eval(&call.args[0], steps)?;
        for line in &mut lines {
            let found = line.labels.get(source).unwrap_or_default().into_owned();
            if let Some(value) = replacer.replace(&found, template) {
                set(line, name, &value);
            }
        }
        merge_equal(lines)
    }

    pub(super) fn label_join(&mut self, call: &Call, steps: Steps) -> Result<Vec<Line>> {
        let (name, separator) = (text(&call.args[1]), text(&call.args[2]));
        let sources: Vec<&str> = call.args[3..].iter().map(text).collect();
        check_name(&call.args[1])?;
        call.args[3..].iter().try_for_each(check_name)?;
        let mut lines = self.eval(&call.args[0], steps)?;
        for line in &mut lines {
            let values = sources
                .iter()
                .map(|name| line.labels.get(name).unwrap_or_default().into_owned());
            let joined = values.collect::<Vec<String>>().join(separator);
            set(line, name, &joined);
        }
        merge_equal(lines)
    }
}

/// Checks that a text can be the name of a label.
fn check_name(expr: &Expr) -> Result<()> {
    let is_utf8 = !matches!(expr.without_parens(), Expr::String(text) if text.bytes.is_some());
    if is_utf8 && !text(expr).is_empty() {
        return Ok(());
    }
    Err(Error::execution("the text is no name of a label"))
}

/// Sets a label; a name that is set so stays to the end.
fn set(line: &mut Line, name: &str, value: &str) {
    line.labels = LabelsBuilder::from_labels(line.labels.as_ref())
        .set(name, value)
        .build();
    if name == METRIC_NAME {
        line.drop_name = false;
    }
}
