//! The byte layout of a label key: escaping, checking and walking it.
//!
//! ```text
//! key   = { name 0x00 value 0x00 }      names strictly ascending
//! name, value = UTF-8, with every 0x00 written as 0x00 0xFF
//! ```

use std::borrow::Cow;

use crate::error::{Error, Result};

const END: u8 = 0x00;
const ESCAPED: u8 = 0xFF;

/// Appends one label to a key under construction; the caller appends labels in strictly ascending name order.
pub fn append_key_label(key: &mut Vec<u8>, name: &str, value: &str) {
    append_escaped(key, name.as_bytes());
    append_escaped(key, value.as_bytes());
}

/// Appends one name or value, of which the caller knows that it is UTF-8.
pub(crate) fn append_escaped(key: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some(nul) = memchr::memchr(END, rest) {
        key.extend_from_slice(&rest[..=nul]);
        key.push(ESCAPED);
        rest = &rest[nul + 1..];
    }
    key.extend_from_slice(rest);
    key.push(END);
}

/// Splits off the first escaped string of `key`: (escaped text, rest after the terminator, has escapes).
fn split_part(key: &[u8]) -> Option<(&[u8], &[u8], bool)> {
    let mut from = 0;
    let mut escapes = false;
    loop {
        let nul = from + memchr::memchr(END, key.get(from..)?)?;
        if key.get(nul + 1) != Some(&ESCAPED) {
            return Some((&key[..nul], &key[nul + 1..], escapes));
        }
        escapes = true;
        from = nul + 2;
    }
}

#[inline]
pub(super) fn unescape(text: &[u8], escapes: bool) -> Cow<'_, [u8]> {
    if !escapes {
        return Cow::Borrowed(text);
    }
    // Only behind a NUL is it a mark; elsewhere it makes the text no UTF-8, which must not go unseen.
    let is_mark = |at: usize| text[at] == ESCAPED && at > 0 && text[at - 1] == END;
    let kept = (0..text.len()).filter(|&at| !is_mark(at));
    Cow::Owned(kept.map(|at| text[at]).collect())
}

fn to_text(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        // The lossy way goes through short texts several times slower.
        Cow::Borrowed(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => String::from_utf8_lossy(bytes),
        },
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// Checks that `key` is pairs of UTF-8 in strictly ascending name order.
pub(super) fn check(key: &[u8]) -> Result<()> {
    let bad = |what: &str| Error::corrupt(format!("label key: {what}"));
    let mut rest = key;
    let mut previous: Option<&[u8]> = None;
    while !rest.is_empty() {
        let (name, after_name, name_escapes) =
            split_part(rest).ok_or_else(|| bad("name has no end"))?;
        let (value, after_value, value_escapes) =
            split_part(after_name).ok_or_else(|| bad("value has no end"))?;
        for (text, escapes) in [(name, name_escapes), (value, value_escapes)] {
            std::str::from_utf8(&unescape(text, escapes)).map_err(|_| bad("text is not UTF-8"))?;
        }
        if previous.is_some_and(|previous| previous >= name) {
            return Err(bad("names are not strictly ascending"));
        }
        previous = Some(name);
        rest = after_value;
    }
    Ok(())
}

/// The labels of a key as (name, value), in name order.
#[derive(Debug, Clone)]
pub struct LabelIter<'a> {
    rest: &'a [u8],
}

impl<'a> LabelIter<'a> {
    pub(super) const fn new(key: &'a [u8]) -> Self {
        Self { rest: key }
    }
}

impl<'a> Iterator for LabelIter<'a> {
    type Item = (Cow<'a, str>, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, after_name, name_escapes) = split_part(self.rest)?;
        let (value, rest, value_escapes) = split_part(after_name)?;
        self.rest = rest;
        Some((
            to_text(unescape(name, name_escapes)),
            to_text(unescape(value, value_escapes)),
        ))
    }
}

/// The labels of a key as slices of it, for whoever edits keys without looking at text.
#[derive(Debug, Clone)]
pub struct RawLabelIter<'a> {
    rest: &'a [u8],
}

/// One label as it lies in a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawLabel<'a> {
    /// The escaped name; its byte order is the order of names.
    pub name: &'a [u8],
    /// The whole label, both terminators included: keys are these, joined.
    pub label: &'a [u8],
}

impl<'a> RawLabelIter<'a> {
    pub(super) const fn new(key: &'a [u8]) -> Self {
        Self { rest: key }
    }
}

impl<'a> Iterator for RawLabelIter<'a> {
    type Item = RawLabel<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (name, after_name, _) = split_part(self.rest)?;
        let (_, rest, _) = split_part(after_name)?;
        let label = &self.rest[..self.rest.len() - rest.len()];
        self.rest = rest;
        Some(RawLabel { name, label })
    }
}
