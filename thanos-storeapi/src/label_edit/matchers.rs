//! Matchers on labels that all series of a source carry.

use thanos_core::labels::{Labels, Matcher};

/// Returns the matchers that are left for the series themselves, or `None` when one refuses the labels that all series
/// carry.
///
/// None left means that every series matches. Thanos' gateway answers such a request with nothing (row ST-36 of the
/// specification), which hides data.
pub fn strip_matchers(matchers: &[Matcher], carried: &Labels) -> Option<Vec<Matcher>> {
    let mut rest = Vec::with_capacity(matchers.len());
    for matcher in matchers {
        match carried.get(matcher.name()) {
            Some(value) if matcher.matches(&value) => {}
            Some(_) => return None,
            None => rest.push(matcher.clone()),
        }
    }
    Some(rest)
}
