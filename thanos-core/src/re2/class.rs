//! Character classes: brackets, Perl's `\d \s \w` and POSIX' `[:alpha:]`, all of them ASCII as in Go.

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

use super::escape::{escaped_char, escaped_class};
use super::parser::{Flags, consumed, next_char, syntax_error};
use crate::error::Result;

/// Returns the class of `\d`, `\S` and their like by its letter.
pub(super) fn perl(letter: u8, fold_case: bool) -> Option<ClassUnicode> {
    let ranges: &[(char, char)] = match letter.to_ascii_lowercase() {
        b'd' => &[('0', '9')],
        // No vertical tab here, unlike [:space:].
        b's' => &[('\t', '\n'), ('\x0C', '\r'), (' ', ' ')],
        b'w' => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        _ => return None,
    };
    Some(group(ranges, letter.is_ascii_uppercase(), fold_case))
}

/// Returns the class of a POSIX name like `alpha`.
fn posix(name: &str) -> Option<&'static [(char, char)]> {
    Some(match name {
        "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => &[('A', 'Z'), ('a', 'z')],
        "ascii" => &[('\0', '\x7F')],
        "blank" => &[('\t', '\t'), (' ', ' ')],
        "cntrl" => &[('\0', '\x1F'), ('\x7F', '\x7F')],
        "digit" => &[('0', '9')],
        "graph" => &[('!', '~')],
        "lower" => &[('a', 'z')],
        "print" => &[(' ', '~')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => &[('\t', '\r'), (' ', ' ')],
        "upper" => &[('A', 'Z')],
        "word" => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
        _ => return None,
    })
}

/// Folding comes before negation, so that `(?i)[^k]` refuses the Kelvin sign too.
fn group(ranges: &[(char, char)], is_negated: bool, fold_case: bool) -> ClassUnicode {
    let ranges = ranges
        .iter()
        .map(|(first, last)| ClassUnicodeRange::new(*first, *last));
    let mut class = ClassUnicode::new(ranges);
    if fold_case {
        class.case_fold_simple();
    }
    if is_negated {
        class.negate();
    }
    class
}

/// Reads a class in brackets and returns it with what follows.
pub(super) fn bracketed(text: &str, flags: Flags) -> Result<(ClassUnicode, &str)> {
    let fold_case = flags.fold_case;
    let mut rest = &text[1..];
    let is_negated = rest.starts_with('^');
    if is_negated {
        rest = &rest[1..];
    }
    // A class would re-sort itself with each range: collect them and build it once.
    let mut ranges = Vec::new();
    let mut folded = ClassUnicode::empty();
    let mut is_first = true;
    loop {
        // A ] that comes first means itself.
        if let Some(after) = rest.strip_prefix(']').filter(|_| !is_first) {
            rest = after;
            break;
        }
        is_first = false;
        if let Some((class, after)) = named(rest, fold_case)? {
            ranges.extend_from_slice(class.ranges());
            rest = after;
            continue;
        }
        let (first, last, after) = range(rest, text)?;
        rest = after;
        let Some(range) = without_surrogates(first, last) else {
            continue;
        };
        if fold_case {
            folded.push(range);
        } else {
            ranges.push(range);
        }
    }
    folded.case_fold_simple();
    ranges.extend_from_slice(folded.ranges());
    let mut class = ClassUnicode::new(ranges);
    if is_negated {
        class.negate();
    }
    Ok((class, rest))
}

/// Reads `[:alpha:]`, `[:^alpha:]`, `\pL` or `\d` inside brackets.
fn named(rest: &str, fold_case: bool) -> Result<Option<(ClassUnicode, &str)>> {
    if rest.starts_with('\\') {
        return escaped_class(rest, fold_case);
    }
    let Some((name, after)) = rest
        .strip_prefix("[:")
        .and_then(|body| body.split_once(":]"))
    else {
        return Ok(None);
    };
    let (name, is_negated) = match name.strip_prefix('^') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let what = "invalid character class range";
    let ranges = posix(name).ok_or_else(|| syntax_error(what, consumed(rest, after)))?;
    Ok(Some((group(ranges, is_negated, fold_case), after)))
}

/// Reads one character or `first-last`; `whole` is the text from the opening bracket on.
fn range<'p>(rest: &'p str, whole: &str) -> Result<(u32, u32, &'p str)> {
    let (first, after) = class_char(rest, whole)?;
    let tail = after.strip_prefix('-');
    let Some(tail) = tail.filter(|tail| !tail.is_empty() && !tail.starts_with(']')) else {
        return Ok((first, first, after));
    };
    let (last, after) = class_char(tail, whole)?;
    if last < first {
        let what = "invalid character class range";
        return Err(syntax_error(what, consumed(rest, after)));
    }
    Ok((first, last, after))
}

fn class_char<'p>(rest: &'p str, whole: &str) -> Result<(u32, &'p str)> {
    if rest.starts_with('\\') {
        return escaped_char(rest);
    }
    let (c, after) = next_char(rest).ok_or_else(|| syntax_error("missing closing ]", whole))?;
    Ok((c.into(), after))
}

/// Returns the range without the code points that no text holds, `None` when nothing is left.
fn without_surrogates(first: u32, last: u32) -> Option<ClassUnicodeRange> {
    let first = char::from_u32(first).unwrap_or('\u{E000}');
    let last = char::from_u32(last).unwrap_or('\u{D7FF}');
    (first <= last).then(|| ClassUnicodeRange::new(first, last))
}
