//! Replacing by Go's regular expressions: `label_replace` of PromQL and `replace` of relabelling.

use std::fmt;
use std::sync::Arc;

use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::util::captures::Captures;
use regex_automata::{Anchored, Input, meta};
use regex_syntax::hir::{Hir, Look};

use super::parser::{parse, syntax_error};
use super::plan::NFA_BYTES_MAX;
use crate::error::Result;

/// A compiled, fully anchored Go regular expression that fills templates with what its groups matched.
///
/// # Example
///
/// ```
/// use thanos_core::re2::GoReplacer;
///
/// let replacer = GoReplacer::new("(?P<host>.*):(\\d+)")?;
/// assert_eq!(replacer.replace("db:5432", "$2 of ${host}").as_deref(), Some("5432 of db"));
/// assert_eq!(replacer.replace("db", "$1"), None);
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Clone)]
pub struct GoReplacer {
    pattern: Box<str>,
    regex: Arc<meta::Regex>,
}

impl GoReplacer {
    /// Compiles `pattern`.
    ///
    /// # Errors
    ///
    /// As [`GoRegex::new`](super::GoRegex::new).
    pub fn new(pattern: &str) -> Result<Self> {
        let hir = parse(pattern)?;
        let anchored = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
        let config = meta::Config::new()
            .utf8_empty(false)
            .which_captures(WhichCaptures::All)
            .nfa_size_limit(Some(NFA_BYTES_MAX));
        let regex = meta::Builder::new()
            .configure(config)
            .build_from_hir(&anchored)
            .map_err(|error| syntax_error("expression too large", pattern).with_source(error))?;
        Ok(Self {
            pattern: pattern.into(),
            regex: Arc::new(regex),
        })
    }

    /// Returns `template` filled with the groups of `text`, or nothing when the whole of `text` does not match.
    ///
    /// `$1`, `${1}`, `$name` and `${name}` stand for groups, `$$` for a dollar; a group that does not exist or
    /// did not take part is empty. Source: Go `regexp.Expand`.
    pub fn replace(&self, text: &str, template: &str) -> Option<String> {
        let mut captures = self.regex.create_captures();
        let input = Input::new(text).anchored(Anchored::Yes);
        self.regex.search_captures(&input, &mut captures);
        captures
            .is_match()
            .then(|| expand(template, text, &captures))
    }
}

impl fmt::Debug for GoReplacer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GoReplacer").field(&self.pattern).finish()
    }
}

fn expand(template: &str, text: &str, captures: &Captures) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        match group_name(after) {
            Some((name, after)) => {
                out.push_str(group_text(name, text, captures));
                rest = after;
            }
            // Malformed: the dollar means itself.
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Splits the name of a group off the text after a dollar.
fn group_name(text: &str) -> Option<(&str, &str)> {
    let (inner, is_braced) = match text.strip_prefix('{') {
        Some(inner) => (inner, true),
        None => (text, false),
    };
    let is_name = |c: char| c == '_' || c.is_alphanumeric();
    let end = inner.find(|c: char| !is_name(c)).unwrap_or(inner.len());
    if end == 0 {
        return None;
    }
    let (name, after) = inner.split_at(end);
    if is_braced {
        return after.strip_prefix('}').map(|after| (name, after));
    }
    Some((name, after))
}

fn group_text<'t>(name: &str, text: &'t str, captures: &Captures) -> &'t str {
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    // COMPAT: a number with a leading zero is a name to Go, and a number from 10^8 on, too.
    let is_number = is_number && (name == "0" || !name.starts_with('0')) && name.len() <= 8;
    let span = if is_number {
        name.parse()
            .ok()
            .and_then(|number| captures.get_group(number))
    } else {
        captures.get_group_by_name(name)
    };
    span.and_then(|span| text.get(span.range()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_as_by_go() {
        for (pattern, text, template, expected) in [
            (".*-(\\d+)", "api-web-007", "$1", Some("007")),
            ("(.*)", "foo", "x", Some("x")),
            ("(.*)", "foo", "${1}bar", Some("foobar")),
            ("(.*)", "foo", "$1bar", Some("")),
            ("(.*)", "foo", "$0-$2", Some("foo-")),
            ("(.*)", "foo", "$$1", Some("$1")),
            ("(.*)", "foo", "$", Some("$")),
            ("(.*)", "foo", "${1", Some("${1")),
            ("(.*)", "foo", "a$-b", Some("a$-b")),
            ("(?P<x>a)(b)?", "a", "$x|$2", Some("a|")),
            ("(?<x>a)", "a", "${x}", Some("a")),
            ("(?P<x>a)(?P<x>b)", "ab", "$x$2", Some("ab")),
            ("foo", "foobar", "x", None),
            ("(a+?)(a*)", "aaa", "$1|$2", Some("a|aa")),
            ("(?U)(a+)(a*)", "aaa", "$1|$2", Some("a|aa")),
            ("(a+)(a*)", "aaa", "$1|$2", Some("aaa|")),
            ("(.*)", "a\nb", "$1", Some("a\nb")),
            ("((a)|(b))+", "ab", "$1$2$3", Some("bab")),
        ] {
            let replacer = GoReplacer::new(pattern).unwrap();
            let got = replacer.replace(text, template);
            assert_eq!(got.as_deref(), expected, "{pattern} {text} {template}");
        }
    }

    #[test]
    fn what_go_rejects_is_rejected() {
        assert!(GoReplacer::new("(").is_err());
    }
}
