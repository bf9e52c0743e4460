//! How a pattern is matched: by comparing texts where that is enough, by the regex engine otherwise.
//!
//! A pattern is expanded into globs, texts with `.*` or `.+` between them. Without gaps they are a set of
//! texts, which also answers index look-ups; a few globs are matched one by one; all else is compiled.

use std::fmt;
use std::sync::Arc;

use hashbrown::HashSet;
use memchr::memmem::Finder;
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::{Anchored, Input, meta};
use regex_syntax::hir::literal::{Extractor, Literal};
use regex_syntax::hir::{Hir, HirKind, Look};

use super::glob::{Glob, GlobMatcher, ends_with, expand, has_ends, starts_with};
use super::parser::{parse, syntax_error};
use crate::error::Result;

/// The most globs that are tried one by one: beyond them an automaton is faster.
const GLOBS_MAX: usize = 16;

/// The most texts that a pattern is said to start with: each is a range of values to walk.
const PREFIXES_MAX: usize = 64;

/// From this many texts on, a hash look-up beats comparing with each.
const HASHED_SET_MIN: usize = 16;

/// The most bytes of a compiled automaton, below the 128 MiB that Go's own limit amounts to.
pub(super) const NFA_BYTES_MAX: usize = 32 << 20;

/// The way to match a pattern.
#[derive(Debug, Clone)]
pub(super) enum Plan {
    Set(TextSet),
    Globs(Vec<GlobMatcher>),
    Engine(Box<Engine>),
}

impl Plan {
    /// Parses `pattern` and chooses the way to match it.
    pub(super) fn new(pattern: &str) -> Result<Self> {
        if let Some(texts) = plain_alternatives(pattern) {
            return Ok(Self::Set(TextSet::new(texts)));
        }
        let hir = parse(pattern)?;
        match expand(&hir).and_then(Self::from_globs) {
            Some(plan) => Ok(plan),
            None => Ok(Self::Engine(Box::new(Engine::new(pattern, hir)?))),
        }
    }

    fn from_globs(globs: Vec<Glob>) -> Option<Self> {
        let mut texts = Vec::new();
        let mut gapped = Vec::new();
        for glob in globs {
            match glob.into_literal() {
                Ok(text) => texts.push(text),
                Err(glob) => gapped.push(glob),
            }
        }
        if gapped.is_empty() {
            return Some(Self::Set(TextSet::new(texts)));
        }
        // Texts beside globs are rare: leave those patterns to the engine.
        gapped.sort_unstable();
        gapped.dedup();
        let is_few = texts.is_empty() && gapped.len() <= GLOBS_MAX;
        is_few.then(|| Self::Globs(gapped.into_iter().map(GlobMatcher::new).collect()))
    }

    /// Reports whether the whole of `text` matches.
    pub(super) fn is_match(&self, text: &str) -> bool {
        match self {
            Self::Set(set) => set.contains(text),
            Self::Globs(globs) => globs.iter().any(|glob| glob.is_match(text)),
            Self::Engine(engine) => engine.is_match(text),
        }
    }

    /// Reports whether `text` has the ends of a match.
    #[inline]
    pub(super) fn may_match(&self, text: &[u8]) -> bool {
        match self {
            Self::Set(_) => true,
            Self::Globs(globs) => globs.iter().any(|glob| glob.may_match(text)),
            Self::Engine(engine) => has_ends(text, &engine.prefix, &engine.suffix),
        }
    }

    pub(super) fn set_matches(&self) -> Option<&[String]> {
        match self {
            Self::Set(set) => Some(&set.sorted),
            Self::Globs(_) | Self::Engine(_) => None,
        }
    }

    /// Returns the text that all matches start with.
    pub(super) fn prefix(&self) -> String {
        match self {
            Self::Set(set) => match (set.sorted.first(), set.sorted.last()) {
                // What the first and the last of sorted texts share, all share.
                (Some(first), Some(last)) => common_prefix(first, last).to_owned(),
                _ => String::new(),
            },
            Self::Globs(globs) => {
                let mut prefixes = globs.iter().map(GlobMatcher::prefix);
                let first = prefixes.next().unwrap_or_default();
                prefixes.fold(first, common_prefix).to_owned()
            }
            Self::Engine(engine) => engine.prefix.clone(),
        }
    }

    /// Returns texts of which every match starts with one: sorted, and none starts with another.
    pub(super) fn prefixes(&self) -> Vec<String> {
        let prefixes = match self {
            Self::Set(set) => set.sorted.clone(),
            Self::Globs(globs) => globs.iter().map(|glob| glob.prefix().to_owned()).collect(),
            Self::Engine(engine) => engine.prefixes.clone(),
        };
        distinct_prefixes(prefixes).unwrap_or_else(|| vec![self.prefix()])
    }

    /// Returns the fewest characters of a match when every text that long matches.
    pub(super) fn min_chars_of_any_text(&self) -> Option<u32> {
        match self {
            Self::Globs(globs) => globs.iter().find_map(GlobMatcher::min_chars_of_any_text),
            Self::Set(_) | Self::Engine(_) => None,
        }
    }
}

fn common_prefix<'a>(a: &'a str, b: &str) -> &'a str {
    let same = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    &a[..a.floor_char_boundary(same)]
}

/// Sorts `prefixes` and leaves out those that start with another; `None` when there are too many to be of use.
fn distinct_prefixes(mut prefixes: Vec<String>) -> Option<Vec<String>> {
    prefixes.sort_unstable();
    prefixes.dedup_by(|next, kept| starts_with(next, kept));
    (1..=PREFIXES_MAX)
        .contains(&prefixes.len())
        .then_some(prefixes)
}

/// Splits `a|b|c` whose parts mean themselves; long lists of that kind are common and need no parser.
fn plain_alternatives(pattern: &str) -> Option<Vec<String>> {
    let is_special = |byte| {
        matches!(
            byte,
            b'\\'
                | b'.'
                | b'+'
                | b'*'
                | b'?'
                | b'('
                | b')'
                | b'['
                | b']'
                | b'{'
                | b'}'
                | b'^'
                | b'$'
        )
    };
    if pattern.bytes().any(is_special) {
        return None;
    }
    Some(pattern.split('|').map(str::to_owned).collect())
}

/// A set of texts.
#[derive(Debug, Clone)]
pub(super) struct TextSet {
    sorted: Vec<String>,
    hashed: Option<HashSet<Box<str>>>,
}

impl TextSet {
    fn new(mut texts: Vec<String>) -> Self {
        texts.sort_unstable();
        texts.dedup();
        let is_large = texts.len() >= HASHED_SET_MIN;
        Self {
            hashed: is_large.then(|| texts.iter().map(|text| text.as_str().into()).collect()),
            sorted: texts,
        }
    }

    fn contains(&self, text: &str) -> bool {
        match &self.hashed {
            Some(hashed) => hashed.contains(text),
            // The empty text comes first; it is not compared, for the reason `starts_with` gives.
            None if text.is_empty() => self.sorted.first().is_some_and(String::is_empty),
            None => self.sorted.iter().any(|member| member == text),
        }
    }
}

/// A compiled automaton behind the texts that every match must start with, end with and contain.
#[derive(Clone)]
pub(super) struct Engine {
    prefix: String,
    /// What matches start with where that is one of several texts.
    prefixes: Vec<String>,
    suffix: String,
    /// What stands somewhere in every match.
    inner: Option<Arc<Finder<'static>>>,
    regex: Arc<meta::Regex>,
}

impl Engine {
    /// Compiles `hir`, which `pattern` was parsed to.
    pub(super) fn new(pattern: &str, hir: Hir) -> Result<Self> {
        let prefix = required_text(&hir, Side::Start);
        let prefixes = possible_prefixes(&hir);
        let suffix = required_text(&hir, Side::End);
        let inner = inner_text(&hir).map(|text| Arc::new(Finder::new(text).into_owned()));
        let anchored = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
        let config = meta::Config::new()
            .utf8_empty(false)
            .which_captures(WhichCaptures::Implicit)
            .nfa_size_limit(Some(NFA_BYTES_MAX));
        let regex = meta::Builder::new()
            .configure(config)
            .build_from_hir(&anchored)
            .map_err(|error| syntax_error("expression too large", pattern).with_source(error))?;
        Ok(Self {
            prefix,
            prefixes,
            suffix,
            inner,
            regex: Arc::new(regex),
        })
    }

    /// Forgets all but the automaton.
    #[cfg(any(test, feature = "testkit"))]
    pub(super) fn without_short_cuts(mut self) -> Self {
        (self.prefix, self.suffix, self.inner) = (String::new(), String::new(), None);
        self
    }

    /// Reports whether the whole of `text` matches.
    pub(super) fn is_match(&self, text: &str) -> bool {
        if !starts_with(text, &self.prefix) || !ends_with(text, &self.suffix) {
            return false;
        }
        let lacks = |inner: &Arc<Finder<'_>>| inner.find(text.as_bytes()).is_none();
        if self.inner.as_ref().is_some_and(lacks) {
            return false;
        }
        let input = Input::new(text).anchored(Anchored::Yes).earliest(true);
        self.regex.search_half(&input).is_some()
    }
}

/// Leaves out the automaton, which would print in thousands of lines.
impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("prefix", &self.prefix)
            .field("suffix", &self.suffix)
            .finish_non_exhaustive()
    }
}

/// Returns texts of which every match starts with one.
fn possible_prefixes(hir: &Hir) -> Vec<String> {
    let found = Extractor::new().extract(hir);
    let text = |literal: &Literal| match std::str::from_utf8(literal.as_bytes()) {
        Ok(text) => text.to_owned(),
        // A literal may be cut within a character.
        Err(error) => {
            let whole = &literal.as_bytes()[..error.valid_up_to()];
            String::from_utf8_lossy(whole).into_owned()
        }
    };
    let literals = found.literals().unwrap_or_default();
    literals.iter().map(text).collect()
}

/// Returns the longest text between the ends of the pattern that every match contains.
fn inner_text(hir: &Hir) -> Option<&[u8]> {
    let HirKind::Concat(parts) = hir.kind() else {
        return None;
    };
    let literal = |part: &'_ Hir| match part.kind() {
        HirKind::Literal(literal) => Some(literal.0.len()),
        _ => None,
    };
    let inner = parts.get(1..parts.len().saturating_sub(1))?;
    let longest = inner.iter().max_by_key(|part| literal(part))?;
    match longest.kind() {
        HirKind::Literal(literal) => Some(&literal.0),
        _ => None,
    }
}

/// An end of a pattern.
#[derive(Clone, Copy)]
enum Side {
    Start,
    End,
}

/// Returns the text at one end of every match, as far as it stands there in the pattern.
fn required_text(hir: &Hir, side: Side) -> String {
    let is_look = |part: &&Hir| !matches!(part.kind(), HirKind::Look(_));
    let mut outermost = Some(hir);
    loop {
        outermost = match (outermost.map(Hir::kind), side) {
            (Some(HirKind::Capture(capture)), _) => Some(&capture.sub),
            (Some(HirKind::Concat(parts)), Side::Start) => parts.iter().find(is_look),
            (Some(HirKind::Concat(parts)), Side::End) => parts.iter().rev().find(is_look),
            (Some(HirKind::Literal(literal)), _) => {
                return String::from_utf8(literal.0.to_vec()).unwrap_or_default();
            }
            _ => return String::new(),
        };
    }
}
