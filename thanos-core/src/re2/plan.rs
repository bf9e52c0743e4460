//! How a pattern is matched: by comparing texts where that is enough, by the regex engine otherwise.
//!
//! A pattern is expanded into globs, texts with `.*` or `.+` between them. Without gaps they are a set of
//! texts, which also answers index look-ups; a few globs are matched one by one; all else is compiled.

use std::fmt;
use std::sync::Arc;

use hashbrown::HashSet;
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::{Anchored, Input, meta};
use regex_syntax::hir::{Hir, HirKind, Look};

use super::glob::{Glob, GlobMatcher, ends_with, expand, starts_with};
use super::parser::{parse, syntax_error};
use crate::error::Result;

/// The most globs that are tried one by one: beyond them an automaton is faster.
const GLOBS_MAX: usize = 16;

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

/// A compiled automaton behind the texts that every match must start and end with.
#[derive(Clone)]
pub(super) struct Engine {
    prefix: String,
    suffix: String,
    regex: Arc<meta::Regex>,
}

impl Engine {
    /// Compiles `hir`, which `pattern` was parsed to.
    pub(super) fn new(pattern: &str, hir: Hir) -> Result<Self> {
        let prefix = required_text(&hir, Side::Start);
        let suffix = required_text(&hir, Side::End);
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
            suffix,
            regex: Arc::new(regex),
        })
    }

    /// Reports whether the whole of `text` matches.
    pub(super) fn is_match(&self, text: &str) -> bool {
        if !starts_with(text, &self.prefix) || !ends_with(text, &self.suffix) {
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
