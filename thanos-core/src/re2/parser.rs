//! The parser: Go's regular expression syntax in, `regex_syntax`'s HIR out.
//!
//! A stack machine without recursion, so that a hostile pattern can not exhaust the thread's stack.
//! Source of the accepted language: Go `regexp/syntax` with the flags `Perl | DotNL`, which Prometheus sets.

use hashbrown::HashSet;
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Dot, Hir, Look};

use super::class;
use super::escape::{escaped_char, escaped_class};
use super::node::Node;
use crate::error::{Error, Result};

/// The most repetitions of one operator, and of nested ones multiplied (Go's limit).
const REPEAT_MAX: u32 = 1000;

/// The most ends of ranges in all classes together.
///
/// Go allows 32 times more, which no automaton of a sensible size could hold; `\pL` alone has 1292.
const CLASS_ENDS_MAX: usize = 1 << 20;

/// Parses `pattern`.
pub(super) fn parse(pattern: &str) -> Result<Hir> {
    Parser::new(pattern).parse()
}

/// Returns Go's error about `fragment` of a pattern.
pub(super) fn syntax_error(what: &str, fragment: &str) -> Error {
    Error::invalid(format!("error parsing regexp: {what}: `{fragment}`"))
}

/// Returns the part of `before` that was read when `after` is what is left of it.
pub(super) fn consumed<'p>(before: &'p str, after: &str) -> &'p str {
    &before[..before.len() - after.len()]
}

/// Splits off the first character.
pub(super) fn next_char(text: &str) -> Option<(char, &str)> {
    let mut chars = text.chars();
    chars.next().map(|c| (c, chars.as_str()))
}

/// The switches of `(?imsU-imsU)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flags {
    pub(super) fold_case: bool,
    multi_line: bool,
    dot_matches_newline: bool,
    /// `x*` is lazy and `x*?` greedy.
    swap_greed: bool,
}

/// What lies on the stack.
enum Item {
    /// Characters in a row that mean themselves.
    Literal(String),
    Node(Node),
    Bar,
    Paren {
        flags_outside: Flags,
        /// The number and the name of a capture.
        capture: Option<(u32, Option<Box<str>>)>,
    },
}

struct Parser<'p> {
    pattern: &'p str,
    flags: Flags,
    stack: Vec<Item>,
    class_ends: usize,
    captures: u32,
    capture_names: HashSet<&'p str>,
}

impl<'p> Parser<'p> {
    fn new(pattern: &'p str) -> Self {
        let flags = Flags {
            fold_case: false,
            multi_line: false,
            dot_matches_newline: true,
            swap_greed: false,
        };
        Self {
            pattern,
            flags,
            stack: Vec::new(),
            class_ends: 0,
            captures: 0,
            capture_names: HashSet::new(),
        }
    }

    fn parse(mut self) -> Result<Hir> {
        let mut rest = self.pattern;
        // The pattern from the repetition operator on, when the last thing read was one.
        let mut last_repeat = None;
        while let Some((c, after)) = next_char(rest) {
            if let Some((min, max, after)) = repetition(c, rest)? {
                let operator = rest;
                rest = self.repeat(min, max, operator, after, last_repeat)?;
                last_repeat = Some(operator);
                continue;
            }
            last_repeat = None;
            rest = match c {
                '(' => self.open(rest)?,
                '|' => {
                    self.end_branch()?;
                    self.stack.push(Item::Bar);
                    after
                }
                ')' => {
                    self.close()?;
                    after
                }
                '^' | '$' | '.' => {
                    self.push_hir(self.meaning(c));
                    after
                }
                '[' => {
                    let (class, after) = class::bracketed(rest, self.flags)?;
                    self.push_class(class)?;
                    after
                }
                '\\' => self.escape(rest)?,
                c => {
                    self.push_char(c);
                    after
                }
            };
        }
        self.finish()
    }

    fn finish(mut self) -> Result<Hir> {
        let node = self.end_group()?;
        if self.stack.is_empty() {
            return Ok(node.into_hir());
        }
        Err(syntax_error("missing closing )", self.pattern))
    }

    /// Returns what `^`, `$` or `.` stands for.
    fn meaning(&self, c: char) -> Hir {
        match (c, self.flags) {
            ('^', flags) if flags.multi_line => Hir::look(Look::StartLF),
            ('^', _) => Hir::look(Look::Start),
            ('$', flags) if flags.multi_line => Hir::look(Look::EndLF),
            ('$', _) => Hir::look(Look::End),
            (_, flags) if flags.dot_matches_newline => Hir::dot(Dot::AnyChar),
            _ => Hir::dot(Dot::AnyCharExceptLF),
        }
    }

    fn push_hir(&mut self, hir: Hir) {
        self.stack.push(Item::Node(Node::leaf(hir)));
    }

    fn push_char(&mut self, c: char) {
        if self.flags.fold_case {
            let mut class = ClassUnicode::new([ClassUnicodeRange::new(c, c)]);
            class.case_fold_simple();
            if class.ranges() != [ClassUnicodeRange::new(c, c)] {
                return self.push_hir(Hir::class(Class::Unicode(class)));
            }
        }
        match self.stack.last_mut() {
            Some(Item::Literal(run)) => run.push(c),
            _ => self.stack.push(Item::Literal(c.into())),
        }
    }

    fn push_class(&mut self, class: ClassUnicode) -> Result<()> {
        self.class_ends += 2 * class.ranges().len();
        if self.class_ends > CLASS_ENDS_MAX {
            return Err(self.too_large());
        }
        self.push_hir(Hir::class(Class::Unicode(class)));
        Ok(())
    }

    /// Pushes a node that was made of others, unless it is too large or nests too deeply.
    fn push_node(&mut self, node: Node) -> Result<()> {
        self.check_limits(&node)?;
        self.stack.push(Item::Node(node));
        Ok(())
    }

    fn check_limits(&self, node: &Node) -> Result<()> {
        if node.is_too_large() {
            return Err(self.too_large());
        }
        if node.nests_too_deeply() {
            return Err(syntax_error("expression nests too deeply", self.pattern));
        }
        Ok(())
    }

    fn too_large(&self) -> Error {
        syntax_error("expression too large", self.pattern)
    }

    /// Reads an escape outside brackets and returns what follows it.
    fn escape(&mut self, rest: &'p str) -> Result<&'p str> {
        let after = rest.get(2..).unwrap_or_default();
        let look = match rest.as_bytes().get(1) {
            Some(b'A') => Look::Start,
            Some(b'z') => Look::End,
            Some(b'b') => Look::WordAscii,
            Some(b'B') => Look::WordAsciiNegate,
            Some(b'C') => return Err(syntax_error("invalid escape sequence", &rest[..2])),
            Some(b'Q') => return Ok(self.quoted(after)),
            _ => return self.escaped_char_or_class(rest),
        };
        self.push_hir(Hir::look(look));
        Ok(after)
    }

    /// Pushes the characters up to `\E` or the end as they are.
    fn quoted(&mut self, text: &'p str) -> &'p str {
        let (literal, after) = text.split_once("\\E").unwrap_or((text, ""));
        literal.chars().for_each(|c| self.push_char(c));
        after
    }

    fn escaped_char_or_class(&mut self, rest: &'p str) -> Result<&'p str> {
        if let Some((class, after)) = escaped_class(rest, self.flags.fold_case)? {
            self.push_class(class)?;
            return Ok(after);
        }
        let (code_point, after) = escaped_char(rest)?;
        match char::from_u32(code_point) {
            Some(c) => self.push_char(c),
            // A surrogate: no text holds one.
            None => self.push_hir(Hir::fail()),
        }
        Ok(after)
    }

    /// Applies a repetition to the top of the stack and returns what follows the operator.
    fn repeat(
        &mut self,
        min: u32,
        max: Option<u32>,
        operator: &'p str,
        after: &'p str,
        last_repeat: Option<&'p str>,
    ) -> Result<&'p str> {
        let (is_lazy, after) = match after.strip_prefix('?') {
            Some(after) => (true, after),
            None => (false, after),
        };
        if let Some(last) = last_repeat {
            let what = "invalid nested repetition operator";
            return Err(syntax_error(what, consumed(last, after)));
        }
        let Some(operand) = self.pop_operand() else {
            let what = "missing argument to repetition operator";
            return Err(syntax_error(what, consumed(operator, after)));
        };
        let is_greedy = is_lazy == self.flags.swap_greed;
        let node = operand.repeated((min, max), operator.starts_with('{'), is_greedy);
        self.check_limits(&node)?;
        if (min >= 2 || max >= Some(2)) && node.repeats() > REPEAT_MAX {
            let what = "invalid repeat count";
            return Err(syntax_error(what, consumed(operator, after)));
        }
        self.stack.push(Item::Node(node));
        Ok(after)
    }

    /// Takes what a repetition applies to: the last group, class or single character.
    fn pop_operand(&mut self) -> Option<Node> {
        match self.stack.last_mut()? {
            Item::Bar | Item::Paren { .. } => return None,
            Item::Node(_) => {}
            Item::Literal(run) => {
                let last = run.pop().expect("a literal run is never empty");
                if run.is_empty() {
                    self.stack.pop();
                }
                return Some(Node::literal(last.into()));
            }
        }
        match self.stack.pop() {
            Some(Item::Node(node)) => Some(node),
            _ => unreachable!("the top was a node"),
        }
    }

    /// Reads `(`, `(?flags)`, `(?flags:`, `(?P<name>` or `(?<name>` and returns what follows.
    fn open(&mut self, rest: &'p str) -> Result<&'p str> {
        let flags_outside = self.flags;
        let mut paren = |capture| {
            self.stack.push(Item::Paren {
                flags_outside,
                capture,
            });
        };
        let Some(special) = rest.strip_prefix("(?") else {
            self.captures += 1;
            paren(Some((self.captures, None)));
            return Ok(&rest[1..]);
        };
        if let Some((name, after)) = capture_name(rest, special)? {
            self.captures += 1;
            // Go gives a name to several groups, the engine to one: the first keeps it.
            let is_new = self.capture_names.insert(name);
            paren(Some((self.captures, is_new.then(|| name.into()))));
            return Ok(after);
        }
        let (flags, is_group, after) = flag_switches(flags_outside, rest, special)?;
        if is_group {
            paren(None);
        }
        self.flags = flags;
        Ok(after)
    }

    /// Joins what was read since the last `|` or `(` into one node.
    fn end_branch(&mut self) -> Result<()> {
        let is_border = |item: &Item| matches!(item, Item::Bar | Item::Paren { .. });
        let start = self
            .stack
            .iter()
            .rposition(is_border)
            .map_or(0, |at| at + 1);
        let nodes = self.stack.drain(start..).map(|item| match item {
            Item::Literal(run) => Node::literal(run),
            Item::Node(node) => node,
            Item::Bar | Item::Paren { .. } => unreachable!("the drain starts after the border"),
        });
        let node = Node::concat(nodes.collect());
        self.push_node(node)
    }

    /// Joins the branches since the last `(` into one node and takes it from the stack.
    fn end_group(&mut self) -> Result<Node> {
        self.end_branch()?;
        let mut branches = Vec::new();
        while let Some(Item::Node(_) | Item::Bar) = self.stack.last() {
            if let Some(Item::Node(node)) = self.stack.pop() {
                branches.push(node);
            }
        }
        branches.reverse();
        let node = Node::alternation(branches);
        self.check_limits(&node)?;
        Ok(node)
    }

    fn close(&mut self) -> Result<()> {
        let node = self.end_group()?;
        let Some(Item::Paren {
            flags_outside,
            capture,
        }) = self.stack.pop()
        else {
            return Err(syntax_error("unexpected )", self.pattern));
        };
        self.flags = flags_outside;
        self.push_node(match capture {
            Some((number, name)) => node.captured(number, name),
            None => node,
        })
    }
}

/// Reads a repetition operator: (min, max, what follows), or `None` when `rest` does not start with one.
///
/// A `{` that is no well-formed count means itself.
fn repetition(c: char, rest: &str) -> Result<Option<(u32, Option<u32>, &str)>> {
    let (min, max) = match c {
        '*' => (0, None),
        '+' => (1, None),
        '?' => (0, Some(1)),
        '{' => return counted_repetition(rest),
        _ => return Ok(None),
    };
    Ok(Some((min, max, &rest[1..])))
}

/// Reads `{min}`, `{min,}` or `{min,max}`.
fn counted_repetition(rest: &str) -> Result<Option<(u32, Option<u32>, &str)>> {
    let Some((min, max, after)) = counts(&rest[1..]) else {
        return Ok(None);
    };
    let most = max.unwrap_or(min);
    if min > REPEAT_MAX || most > REPEAT_MAX || min > most {
        return Err(syntax_error("invalid repeat count", consumed(rest, after)));
    }
    Ok(Some((min, max, after)))
}

fn counts(text: &str) -> Option<(u32, Option<u32>, &str)> {
    let (min, rest) = count(text)?;
    if let Some(after) = rest.strip_prefix('}') {
        return Some((min, Some(min), after));
    }
    let rest = rest.strip_prefix(',')?;
    if let Some(after) = rest.strip_prefix('}') {
        return Some((min, None, after));
    }
    let (max, rest) = count(rest)?;
    Some((min, Some(max), rest.strip_prefix('}')?))
}

/// Reads a decimal number without leading zeros; one that is far too large comes back as `u32::MAX`.
fn count(text: &str) -> Option<(u32, &str)> {
    let len = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(len);
    if digits.is_empty() || (len > 1 && digits.starts_with('0')) {
        return None;
    }
    Some((digits.parse().unwrap_or(u32::MAX), rest))
}

/// Reads `P<name>` or `<name>` of a named group: the name and what follows. `None` when `special`, the text after
/// `(?`, is no name.
fn capture_name<'p>(rest: &'p str, special: &'p str) -> Result<Option<(&'p str, &'p str)>> {
    let what = "invalid named capture";
    let named = special.strip_prefix("P<").or(special.strip_prefix('<'));
    // COMPAT: Go takes `(?P<` and `(?<` at the very end for flags and complains about those.
    let Some(named) = named.filter(|named| !named.is_empty()) else {
        return Ok(None);
    };
    let Some((name, after)) = named.split_once('>') else {
        return Err(syntax_error(what, rest));
    };
    let is_valid = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
    if name.is_empty() || !name.bytes().all(is_valid) {
        return Err(syntax_error(what, consumed(rest, after)));
    }
    Ok(Some((name, after)))
}

/// Reads the switches after `(?`: the new flags, whether a group opens, and what follows.
fn flag_switches<'p>(
    mut flags: Flags,
    rest: &'p str,
    special: &'p str,
) -> Result<(Flags, bool, &'p str)> {
    let mut text = special;
    let mut turns_on = true;
    let mut saw_flag = true;
    while let Some((c, after)) = next_char(text) {
        text = after;
        match c {
            'i' => flags.fold_case = turns_on,
            'm' => flags.multi_line = turns_on,
            's' => flags.dot_matches_newline = turns_on,
            'U' => flags.swap_greed = turns_on,
            '-' if turns_on => {
                turns_on = false;
                saw_flag = false;
                continue;
            }
            // A minus needs a flag after it; without one, `saw_flag` was never cleared.
            ':' | ')' if saw_flag => return Ok((flags, c == ':', after)),
            _ => break,
        }
        saw_flag = true;
    }
    let what = "invalid or unsupported Perl syntax";
    Err(syntax_error(what, consumed(rest, text)))
}
