//! Selectors as text, which is how requests for rules carry matchers: `name{label="value"}`.

use std::fmt::Write as _;

use thanos_core::error::{Error, Result};
use thanos_core::labels::{MatchOp, Matcher};

use crate::matchers::MatcherSource;

/// The label of the name in front of the braces.
const NAME: &str = "__name__";

/// Returns the text of a selector.
pub(super) fn selector_text(matchers: &[Matcher]) -> String {
    let mut text = String::from("{");
    for (i, matcher) in matchers.iter().enumerate() {
        let separator = if i == 0 { "" } else { "," };
        let _ = write!(text, "{separator}{matcher}");
    }
    text.push('}');
    text
}

/// Returns the matchers of a selector, made by `source`.
///
/// # Errors
///
/// `Invalid` when `text` is no selector of series.
pub(super) fn matchers_of(text: &str, source: &dyn MatcherSource) -> Result<Vec<Matcher>> {
    let mut reader = Reader { text, rest: text };
    let matchers = reader.selector(source)?;
    reader.skip_space();
    if !reader.rest.is_empty() {
        return Err(reader.unexpected("the end"));
    }
    Ok(matchers)
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Reader<'_> {
    fn selector(&mut self, source: &dyn MatcherSource) -> Result<Vec<Matcher>> {
        let mut matchers = Vec::new();
        let name = self.identifier(':');
        if !name.is_empty() {
            matchers.push(source.matcher(MatchOp::Equal, NAME, &name)?);
        }
        if !self.take("{") {
            return match matchers.is_empty() {
                true => Err(self.unexpected("a selector of series")),
                false => Ok(matchers),
            };
        }
        while !self.take("}") {
            matchers.push(self.matcher(source)?);
            if !self.take(",") && !self.next_is('}') {
                return Err(self.unexpected("\",\" or \"}\""));
            }
        }
        Ok(matchers)
    }

    /// A matcher, or the quoted name of the metric.
    fn matcher(&mut self, source: &dyn MatcherSource) -> Result<Matcher> {
        let is_quoted = self.next_is('"') || self.next_is('\'') || self.next_is('`');
        let name = match is_quoted {
            true => self.quoted()?,
            false => self.identifier('_'),
        };
        if is_quoted && (self.next_is(',') || self.next_is('}')) {
            return source.matcher(MatchOp::Equal, NAME, &name);
        }
        let ops = [
            ("=~", MatchOp::Regex),
            ("!~", MatchOp::NotRegex),
            ("!=", MatchOp::NotEqual),
            ("=", MatchOp::Equal),
        ];
        let op = ops.into_iter().find(|(text, _)| self.take(text));
        let Some((_, op)) = op.filter(|_| !name.is_empty()) else {
            return Err(self.unexpected("a label and an operator"));
        };
        let value = self.quoted()?;
        source.matcher(op, &name, &value)
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn next_is(&mut self, wanted: char) -> bool {
        self.skip_space();
        self.rest.starts_with(wanted)
    }

    fn take(&mut self, wanted: &str) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// A name of letters, digits, `_` and `more`, which may be empty.
    fn identifier(&mut self, more: char) -> String {
        self.skip_space();
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == more;
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            return String::new();
        }
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        name.to_owned()
    }

    /// A string in quotes, with the escapes of Go.
    fn quoted(&mut self) -> Result<String> {
        self.skip_space();
        let Some(quote) = self.rest.chars().next().filter(|c| "\"'`".contains(*c)) else {
            return Err(self.unexpected("a string in quotes"));
        };
        self.rest = &self.rest[1..];
        let mut bytes = Vec::new();
        loop {
            let Some(c) = self.rest.chars().next() else {
                return Err(self.unexpected("the end of the string"));
            };
            self.rest = &self.rest[c.len_utf8()..];
            match c {
                _ if c == quote => break,
                '\\' if quote != '`' => self.escape(quote, &mut bytes)?,
                _ => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        String::from_utf8(bytes).map_err(|_| self.unexpected("a string of UTF-8"))
    }

    /// What follows a backslash.
    fn escape(&mut self, quote: char, bytes: &mut Vec<u8>) -> Result<()> {
        let wrong = |reader: &Self| reader.unexpected("an escape sequence");
        let c = self.rest.chars().next().ok_or_else(|| wrong(self))?;
        let plain = match c {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' => b'\\',
            _ if c == quote => u8::try_from(c).map_err(|_| wrong(self))?,
            '0'..='7' => {
                let code = self.number(0, 3, 8)?;
                bytes.push(u8::try_from(code).map_err(|_| wrong(self))?);
                return Ok(());
            }
            'x' => {
                let code = self.number(1, 2, 16)?;
                bytes.push(u8::try_from(code).map_err(|_| wrong(self))?);
                return Ok(());
            }
            'u' | 'U' => {
                let digits = if c == 'u' { 4 } else { 8 };
                let code = self.number(1, digits, 16)?;
                let c = char::from_u32(code).ok_or_else(|| wrong(self))?;
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(wrong(self)),
        };
        self.rest = &self.rest[1..];
        bytes.push(plain);
        Ok(())
    }

    /// Exactly `digits` digits, after `skipped` characters.
    fn number(&mut self, skipped: usize, digits: usize, radix: u32) -> Result<u32> {
        let end = skipped + digits;
        let text = self.rest.get(skipped..end);
        let text = text.filter(|text| text.chars().all(|c| c.is_digit(radix)));
        let number = text.and_then(|text| u32::from_str_radix(text, radix).ok());
        let number = number.ok_or_else(|| self.unexpected("digits of an escape sequence"))?;
        self.rest = &self.rest[end..];
        Ok(number)
    }

    fn unexpected(&self, wanted: &str) -> Error {
        let at = self.text.len() - self.rest.len();
        let text = self.text;
        Error::invalid(format!("selector {text:?}: expected {wanted} at byte {at}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::matchers::NewMatchers;

    fn read(text: &str) -> Result<String> {
        Ok(selector_text(&matchers_of(text, &NewMatchers)?))
    }

    #[test]
    fn selectors_are_read() {
        for (text, canonical) in [
            ("up", r#"{__name__="up"}"#),
            ("a:b:c{}", r#"{__name__="a:b:c"}"#),
            (r#"{severity="page",}"#, r#"{severity="page"}"#),
            (
                r#" up { a != 'x' , b=~`y\d` , c !~ "z" } "#,
                r#"{__name__="up",a!="x",b=~"y\\d",c!~"z"}"#,
            ),
            (r#"{"http.status"="200"}"#, r#"{"http.status"="200"}"#),
            (r#"{"a metric"}"#, r#"{__name__="a metric"}"#),
            (r#"{a="\x41\101\u00e9\n\""}"#, "{a=\"AA\u{e9}\\n\\\"\"}"),
            ("{}", "{}"),
        ] {
            assert_eq!(read(text).unwrap(), canonical, "{text}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused_with_its_place() {
        for (text, place) in [
            ("", "byte 0"),
            ("{", "byte 1"),
            ("{a}", "byte 2"),
            ("{a=b}", "byte 3"),
            (r#"{a="b"#, "byte 5"),
            (r#"{a="\q"}"#, "byte 5"),
            (r#"{a="\xff"}"#, "byte 9"),
            (r#"{a="b"} or up"#, "byte 8"),
            (r#"{a="b" c="d"}"#, "byte 7"),
            ("9a", "byte 0"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(place), "{text}: {error}");
        }
        assert!(read(r#"{a=~"("}"#).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(pairs in proptest::collection::vec(("\\PC{1,5}", ".{0,8}"), 0..4)) {
            let matchers: Vec<_> = pairs.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
            let text = selector_text(&matchers);
            prop_assert_eq!(read(&text).unwrap(), text);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = read(&text);
        }
    }
}
