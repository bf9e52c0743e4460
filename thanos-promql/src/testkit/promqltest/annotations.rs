//! Compares the annotations of an evaluation with the expected ones.

use super::eval::{Expected, ExpectedNotes};
use crate::annotations::{Annotations, Severity};

/// Returns what is wrong with the annotations about `query`.
///
/// Of a list that is expected, each entry must match an annotation and each annotation an entry.
pub(super) fn check(expected: &Expected, query: &str, found: &Annotations) -> Vec<String> {
    let mut wrong = Vec::new();
    for (notes, severity, kind) in [
        (&expected.warn, Severity::Warning, "warn"),
        (&expected.info, Severity::Info, "info"),
    ] {
        check_notes(notes, kind, &found.render(severity, query, 0), &mut wrong);
    }
    wrong
}

fn check_notes(expected: &ExpectedNotes, kind: &str, found: &[String], wrong: &mut Vec<String>) {
    if expected.some && found.is_empty() {
        wrong.push(format!("expected {kind} annotations but got none"));
    }
    if expected.none {
        let unexpected = found.iter();
        wrong.extend(unexpected.map(|text| format!("unexpected {kind} annotation {text:?}")));
    }
    if expected.matches.is_empty() {
        return;
    }
    for wanted in &expected.matches {
        if !found.iter().any(|text| wanted.matches(text)) {
            let found = if found.is_empty() {
                "none".to_owned()
            } else {
                format!("{found:?}")
            };
            wrong.push(format!("expected {kind} annotation {wanted}, got {found}"));
        }
    }
    for text in found {
        if !expected.matches.iter().any(|wanted| wanted.matches(text)) {
            wrong.push(format!("unexpected {kind} annotation {text:?}"));
        }
    }
}
