//! Backslash escapes that stand for one character or for a class.

use regex_syntax::hir::ClassUnicode;

use super::class;
use super::parser::{consumed, next_char, syntax_error};
use super::unicode;
use crate::error::Result;

const INVALID: &str = "invalid escape sequence";

/// Reads `\d`, `\pL`, `\p{Greek}` and their like: the class and what follows, or `None` for another escape.
pub(super) fn escaped_class(text: &str, fold_case: bool) -> Result<Option<(ClassUnicode, &str)>> {
    let kind = text.as_bytes().get(1).copied();
    if let Some(kind @ (b'p' | b'P')) = kind {
        return unicode_class(text, kind == b'P', fold_case).map(Some);
    }
    let class = kind.and_then(|kind| class::perl(kind, fold_case));
    Ok(class.map(|class| (class, &text[2..])))
}

/// Reads `\pN`, `\p{Name}`, `\p{^Name}` or one of them with `P`.
fn unicode_class(text: &str, is_upper: bool, fold_case: bool) -> Result<(ClassUnicode, &str)> {
    let what = "invalid character class range";
    let body = &text[2..];
    let (name, after) = match body.strip_prefix('{') {
        Some(braced) => braced
            .split_once('}')
            .ok_or_else(|| syntax_error(what, text))?,
        None => {
            let len = body.chars().next().map_or(0, char::len_utf8);
            body.split_at(len)
        }
    };
    let (name, is_caret) = match name.strip_prefix('^') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let mut class =
        unicode::class(name).ok_or_else(|| syntax_error(what, consumed(text, after)))?;
    if fold_case {
        class.case_fold_simple();
    }
    if is_upper != is_caret {
        class.negate();
    }
    Ok((class, after))
}

/// Reads an escape that stands for one code point, perhaps a surrogate, and what follows it.
pub(super) fn escaped_char(text: &str) -> Result<(u32, &str)> {
    let Some((c, rest)) = next_char(&text[1..]) else {
        return Err(syntax_error("trailing backslash at end of expression", ""));
    };
    let invalid = |rest: &str| syntax_error(INVALID, consumed(text, rest));
    let control = match c {
        '0'..='7' => return octal(c, rest).ok_or_else(|| invalid(rest)),
        'x' => return hexadecimal(rest).map_err(invalid),
        'a' => 0x07,
        'f' => 0x0C,
        'n' => 0x0A,
        'r' => 0x0D,
        't' => 0x09,
        'v' => 0x0B,
        // Punctuation, the underscore among it, always means itself.
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => c.into(),
        _ => return Err(invalid(rest)),
    };
    Ok((control, rest))
}

/// Reads up to three octal digits of which `first` is read; a lone digit but 0 would be a back-reference.
fn octal(first: char, rest: &str) -> Option<(u32, &str)> {
    let more = rest
        .bytes()
        .take(2)
        .take_while(|byte| (b'0'..=b'7').contains(byte))
        .count();
    if more == 0 && first != '0' {
        return None;
    }
    let (digits, rest) = rest.split_at(more);
    let value = digits
        .bytes()
        .fold(u32::from(first) - u32::from(b'0'), |value, digit| {
            value * 8 + u32::from(digit - b'0')
        });
    Some((value, rest))
}

/// Reads two hexadecimal digits or any number of them in braces; an error is the text after the bad place.
fn hexadecimal(text: &str) -> Result<(u32, &str), &str> {
    let (first, rest) = next_char(text).ok_or(text)?;
    if first == '{' {
        return braced_hexadecimal(rest);
    }
    let (second, rest) = next_char(rest).ok_or(rest)?;
    match (first.to_digit(16), second.to_digit(16)) {
        (Some(high), Some(low)) => Ok((high * 16 + low, rest)),
        _ => Err(rest),
    }
}

fn braced_hexadecimal(text: &str) -> Result<(u32, &str), &str> {
    let mut value = 0;
    let mut rest = text;
    loop {
        let (c, after) = next_char(rest).ok_or(rest)?;
        if c == '}' {
            // At least one digit is needed.
            return if rest.len() < text.len() {
                Ok((value, after))
            } else {
                Err(after)
            };
        }
        value = value * 16 + c.to_digit(16).ok_or(after)?;
        if value > u32::from(char::MAX) {
            return Err(after);
        }
        rest = after;
    }
}
