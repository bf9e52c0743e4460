//! JSON with the bytes that Go's `encoding/json` writes.
//!
//! Go escapes `<`, `>`, `&`, U+2028 and U+2029 inside strings; everything else equals serde_json's output.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

use crate::error::{Error, Result};

/// Returns `value` indented with one tab per level, without a final newline (`json.MarshalIndent(v, "", "\t")`).
pub(super) fn to_indented(value: &impl Serialize) -> Vec<u8> {
    write(value, PrettyFormatter::with_indent(b"\t"))
}

/// Returns `value` on one line, without a final newline (`json.Marshal`).
pub(super) fn to_compact(value: &impl Serialize) -> Vec<u8> {
    write(value, CompactFormatter)
}

fn write(value: &impl Serialize, layout: impl Formatter) -> Vec<u8> {
    let mut out = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut out, GoStrings(layout)))
        .expect("our types have string keys and a Vec takes every byte");
    out
}

/// Parses `text`; an error carries the byte offset.
pub(super) fn parse<'a, T: serde::Deserialize<'a>>(text: &'a [u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|error| {
        Error::corrupt(format!("not valid JSON for this file: {error}")).at(offset_of(text, &error))
    })
}

/// The byte offset of the line and column, both counted from 1, that serde_json reports.
fn offset_of(text: &[u8], error: &serde_json::Error) -> u64 {
    let line_start = match error.line() {
        0 | 1 => 0,
        line => memchr::memchr_iter(b'\n', text)
            .nth(line - 2)
            .map_or(0, |newline| newline + 1),
    };
    let offset = line_start + error.column().saturating_sub(1);
    offset.min(text.len()) as u64
}

struct GoStrings<F>(F);

/// Forwards the layout and escapes string fragments further.
macro_rules! forward {
    ($($name:ident($($arg:ident: $ty:ty),*);)*) => {
        $(fn $name<W: ?Sized + io::Write>(&mut self, writer: &mut W $(, $arg: $ty)*) -> io::Result<()> {
            self.0.$name(writer $(, $arg)*)
        })*
    };
}

impl<F: Formatter> Formatter for GoStrings<F> {
    forward! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (plain, from) = rest.split_at(at);
            let special = from.chars().next().unwrap_or_default();
            writer.write_all(plain.as_bytes())?;
            write!(writer, "\\u{:04x}", special as u32)?;
            rest = &from[special.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_escapes_them() {
        let json = to_compact(&"a<b>&\u{2028}\u{2029}\"\\\n\u{1}\u{7f}\u{e9}");
        assert_eq!(
            String::from_utf8(json).unwrap(),
            "\"a\\u003cb\\u003e\\u0026\\u2028\\u2029\\\"\\\\\\n\\u0001\u{7f}\u{e9}\""
        );
    }

    #[test]
    fn errors_say_where() {
        let error = parse::<Vec<u8>>(b"[1,\n2,\nx]").unwrap_err();
        assert_eq!(error.offset(), Some(7), "{error}");
        let error = parse::<Vec<u8>>(b"").unwrap_err();
        assert_eq!(error.offset(), Some(0), "{error}");
    }
}
