//! Texts with gaps between them: what most matchers are, and all that [`expand`] can express.

use memchr::memmem::Finder;
use regex_syntax::hir::{Class, ClassUnicode, Hir, HirKind, Look, Repetition};

/// The most globs that a pattern is expanded into.
const EXPANSION_MAX: usize = 65_536;

/// The most globs that come from combining parts, each of which has several: they soon outnumber what they match.
const COMBINATIONS_MAX: usize = 4096;

/// The most bytes of text in all globs of an expansion.
const EXPANSION_BYTES_MAX: usize = 4 << 20;

/// The most characters of a class that is expanded.
const CLASS_CHARS_MAX: usize = 256;

/// A text, then any number of gaps with a text after each: `api-.*-eu.+` is `api-`, `*`, `-eu`, `+` and ``.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Glob {
    first: String,
    /// How many characters the gap has at least, and what follows it.
    rest: Vec<(u32, String)>,
}

impl Glob {
    fn literal(text: impl Into<String>) -> Self {
        Self {
            first: text.into(),
            rest: Vec::new(),
        }
    }

    fn gap(min_chars: u32) -> Self {
        Self {
            first: String::new(),
            rest: vec![(min_chars, String::new())],
        }
    }

    /// Returns the text when there is no gap.
    pub(super) fn into_literal(self) -> Result<String, Self> {
        if self.rest.is_empty() {
            Ok(self.first)
        } else {
            Err(self)
        }
    }

    fn bytes(&self) -> usize {
        self.first.len() + self.rest.iter().map(|(_, text)| text.len()).sum::<usize>()
    }

    /// Returns this glob followed by `other`.
    fn followed_by(&self, other: &Self) -> Self {
        let mut joined = self.clone();
        joined.last_text().push_str(&other.first);
        for (min_chars, text) in &other.rest {
            match joined.rest.last_mut() {
                // Two gaps with nothing between them are one.
                Some((before, between)) if between.is_empty() => {
                    *before = before.saturating_add(*min_chars);
                    between.push_str(text);
                }
                _ => joined.rest.push((*min_chars, text.clone())),
            }
        }
        joined
    }

    fn last_text(&mut self) -> &mut String {
        match self.rest.last_mut() {
            Some((_, text)) => text,
            None => &mut self.first,
        }
    }
}

/// A [`Glob`] made ready for matching.
#[derive(Debug, Clone)]
pub(super) struct GlobMatcher {
    prefix: String,
    /// Gaps and texts in the middle.
    middle: Vec<(u32, Finder<'static>)>,
    last_gap: u32,
    suffix: String,
}

impl GlobMatcher {
    /// Returns a matcher of `glob`, which has a gap.
    pub(super) fn new(mut glob: Glob) -> Self {
        let (last_gap, suffix) = glob.rest.pop().expect("globs without gaps are literals");
        let middle = glob.rest.into_iter();
        Self {
            prefix: glob.first,
            middle: middle
                .map(|(gap, text)| (gap, Finder::new(&text).into_owned()))
                .collect(),
            last_gap,
            suffix,
        }
    }

    /// Reports whether the whole of `text` matches.
    pub(super) fn is_match(&self, text: &str) -> bool {
        // The ends cost least to look at and refuse most.
        if !starts_with(text, &self.prefix) || !ends_with(text, &self.suffix) {
            return false;
        }
        let mut rest = &text[self.prefix.len()..];
        // The leftmost place of each text leaves the most for those after it.
        for (gap, finder) in &self.middle {
            let Some(after_gap) = skip_chars(rest, *gap) else {
                return false;
            };
            let Some(at) = finder.find(after_gap.as_bytes()) else {
                return false;
            };
            rest = &after_gap[at + finder.needle().len()..];
        }
        skip_chars(rest, self.last_gap).is_some_and(|rest| ends_with(rest, &self.suffix))
    }

    /// Reports whether `text` starts and ends as a match does.
    #[inline]
    pub(super) fn may_match(&self, text: &[u8]) -> bool {
        has_ends(text, &self.prefix, &self.suffix)
    }

    /// Returns the fewest characters of a match when any text that long matches.
    pub(super) fn min_chars_of_any_text(&self) -> Option<u32> {
        let is_bare = self.prefix.is_empty() && self.middle.is_empty() && self.suffix.is_empty();
        is_bare.then_some(self.last_gap)
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// Reports whether `text` starts with `prefix` and ends with `suffix`. Most texts have another last byte, and looking at
/// that needs no call.
#[inline]
pub(super) fn has_ends(text: &[u8], prefix: &str, suffix: &str) -> bool {
    let (prefix, suffix) = (prefix.as_bytes(), suffix.as_bytes());
    let same_last = suffix.is_empty() || text.last() == suffix.last();
    let same_first = prefix.is_empty() || text.first() == prefix.first();
    same_last
        && same_first
        && (suffix.len() <= 1 || text.ends_with(suffix))
        && (prefix.len() <= 1 || text.starts_with(prefix))
}

/// `str::starts_with` that does not compare nothing with nothing.
///
/// An empty `String` points nowhere, and where `memcmp` uses masked vector loads, even of no bytes, a processor
/// takes 70 ns to find that out.
pub(super) fn starts_with(text: &str, prefix: &str) -> bool {
    prefix.is_empty() || text.starts_with(prefix)
}

/// `str::ends_with`, for the same reason as [`starts_with`].
pub(super) fn ends_with(text: &str, suffix: &str) -> bool {
    suffix.is_empty() || text.ends_with(suffix)
}

fn skip_chars(text: &str, count: u32) -> Option<&str> {
    let mut chars = text.chars();
    for _ in 0..count {
        chars.next()?;
    }
    Some(chars.as_str())
}

/// Returns globs of which exactly one or more match what `hir`, anchored at both ends, matches.
///
/// `None` when there are too many of them or `hir` is more than globs can say.
pub(super) fn expand(hir: &Hir) -> Option<Vec<Glob>> {
    let ends = Ends {
        at_start: true,
        at_end: true,
    };
    expand_between(hir, ends)
}

/// Whether a part lies at the ends of the pattern, where `^` and `$` say nothing new.
#[derive(Clone, Copy)]
struct Ends {
    at_start: bool,
    at_end: bool,
}

fn expand_between(hir: &Hir, ends: Ends) -> Option<Vec<Glob>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![Glob::literal("")]),
        HirKind::Literal(literal) => {
            let text = str::from_utf8(&literal.0).ok()?;
            Some(vec![Glob::literal(text)])
        }
        HirKind::Class(Class::Unicode(class)) => expand_class(class),
        // The class that nothing matches is one of bytes.
        HirKind::Class(Class::Bytes(class)) => class.ranges().is_empty().then(Vec::new),
        HirKind::Look(Look::Start) if ends.at_start => Some(vec![Glob::literal("")]),
        HirKind::Look(Look::End) if ends.at_end => Some(vec![Glob::literal("")]),
        HirKind::Look(_) => None,
        HirKind::Repetition(repetition) => expand_repetition(repetition),
        HirKind::Capture(capture) => expand_between(&capture.sub, ends),
        HirKind::Concat(parts) => expand_concat(parts, ends),
        HirKind::Alternation(branches) => {
            let mut all = Expansion::default();
            for branch in branches {
                all.extend(expand_between(branch, ends)?)?;
            }
            Some(all.globs)
        }
    }
}

/// Globs within the limits.
#[derive(Default)]
struct Expansion {
    globs: Vec<Glob>,
    bytes: usize,
}

impl Expansion {
    /// Adds `more`; `None` when the limits are passed.
    fn extend(&mut self, more: impl IntoIterator<Item = Glob>) -> Option<()> {
        for glob in more {
            self.bytes += glob.bytes();
            if self.globs.len() == EXPANSION_MAX || self.bytes > EXPANSION_BYTES_MAX {
                return None;
            }
            self.globs.push(glob);
        }
        Some(())
    }
}

fn expand_class(class: &ClassUnicode) -> Option<Vec<Glob>> {
    let count: usize = class.iter().map(|range| range.len()).sum();
    if count > CLASS_CHARS_MAX {
        return None;
    }
    let chars = class.iter().flat_map(|range| range.start()..=range.end());
    Some(chars.map(Glob::literal).collect())
}

fn expand_repetition(repetition: &Repetition) -> Option<Vec<Glob>> {
    match (repetition.min, repetition.max) {
        (min, None) if is_any_char(&repetition.sub) => Some(vec![Glob::gap(min)]),
        (0, Some(1)) => {
            // Assertions inside need not hold when the part is left out, so that the ends stop being known.
            let inside = Ends {
                at_start: false,
                at_end: false,
            };
            let mut globs = vec![Glob::literal("")];
            globs.extend(expand_between(&repetition.sub, inside)?);
            Some(globs)
        }
        _ => None,
    }
}

fn is_any_char(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            matches!(class.ranges(), [all] if (all.start(), all.end()) == ('\0', char::MAX))
        }
        _ => false,
    }
}

fn expand_concat(parts: &[Hir], ends: Ends) -> Option<Vec<Glob>> {
    let is_look = |part: &Hir| matches!(part.kind(), HirKind::Look(_));
    let first_text = parts.iter().position(|part| !is_look(part));
    let last_text = parts.iter().rposition(|part| !is_look(part));
    let mut all = vec![Glob::literal("")];
    for (at, part) in parts.iter().enumerate() {
        let part_ends = Ends {
            at_start: ends.at_start && first_text.is_none_or(|first| at <= first),
            at_end: ends.at_end && last_text.is_none_or(|last| at >= last),
        };
        let globs = expand_between(part, part_ends)?;
        let is_combination = all.len() > 1 && globs.len() > 1;
        if is_combination && all.len() * globs.len() > COMBINATIONS_MAX {
            return None;
        }
        let mut joined = Expansion::default();
        for before in &all {
            joined.extend(globs.iter().map(|glob| before.followed_by(glob)))?;
        }
        all = joined.globs;
    }
    Some(all)
}
