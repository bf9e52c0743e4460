//! `strconv.Quote` of Go.

use std::fmt::{Result, Write};

use super::printable::is_print;

/// Writes `text` in double quotes with Go's escapes (`strconv.Quote`).
pub fn write_go_quoted(out: &mut (impl Write + ?Sized), text: &str) -> Result {
    out.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\x07' => out.write_str("\\a")?,
            '\x08' => out.write_str("\\b")?,
            '\x0c' => out.write_str("\\f")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\x0b' => out.write_str("\\v")?,
            ' '..='~' => out.write_char(c)?,
            c if is_print(c) => out.write_char(c)?,
            c if (c as u32) < 0x80 => write!(out, "\\x{:02x}", c as u32)?,
            c if (c as u32) < 0x10000 => write!(out, "\\u{:04x}", c as u32)?,
            c => write!(out, "\\U{:08x}", c as u32)?,
        }
    }
    out.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_like_go() {
        for (text, quoted) in [
            ("plain", r#""plain""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\n\t\r\x07\x08\x0b\x0c", r#""\n\t\r\a\b\v\f""#),
            ("\0\x7f", r#""\x00\x7f""#),
            ("\u{e9}\u{4e16}", "\"\u{e9}\u{4e16}\""),
            ("\u{a0}\u{200b}\u{feff}", r#""\u00a0\u200b\ufeff""#),
            ("\u{378}\u{e000}\u{31350}", "\"\\u0378\\ue000\u{31350}\""),
            ("\u{10ffff}", r#""\U0010ffff""#),
        ] {
            let mut out = String::new();
            write_go_quoted(&mut out, text).unwrap();
            assert_eq!(out, quoted);
        }
    }
}
