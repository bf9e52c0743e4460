//! Quoted texts. Escapes are only checked here; `literal` computes the value.

use super::{LexError, Lexed, Lexer};
use crate::parser::literal::code_point;
use crate::parser::token::TokenKind;

/// What Go's decoder answers for bytes that are not UTF-8, and so for this character itself.
const REPLACEMENT: char = '\u{fffd}';

impl Lexer<'_> {
    /// A text in single or double quotes, the opening quote read already.
    pub(super) fn string(&mut self, quote: u8) -> Lexed {
        loop {
            // Everything else inside a string is skipped bytewise; no byte of a long character is ASCII.
            self.skip_while(|byte| {
                byte != quote && byte != b'\\' && byte != b'\n' && byte.is_ascii()
            });
            match self.char() {
                None | Some('\n') => return self.error("unterminated quoted string"),
                Some('\\') => {
                    self.at += 1;
                    self.escape(quote)?;
                }
                Some(REPLACEMENT) => return self.error("invalid UTF-8 rune"),
                Some(char) => {
                    self.at += char.len_utf8();
                    if char == char::from(quote) {
                        return Ok(self.token(TokenKind::String));
                    }
                }
            }
        }
    }

    /// A text in back quotes, the opening one read already.
    pub(super) fn raw_string(&mut self) -> Lexed {
        loop {
            self.skip_while(|byte| byte != b'`' && byte.is_ascii());
            match self.char() {
                None => return self.error("unterminated raw string"),
                Some(REPLACEMENT) => return self.error("invalid UTF-8 rune"),
                Some(char) => {
                    self.at += char.len_utf8();
                    if char == '`' {
                        return Ok(self.token(TokenKind::String));
                    }
                }
            }
        }
    }

    /// An escape, its backslash read already.
    fn escape(&mut self, quote: u8) -> Result<(), LexError> {
        let (digits, radix, value_max) = match self.next_char() {
            None => return self.escape_error("escape sequence not terminated"),
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => return Ok(()),
            Some(char) if char == char::from(quote) => return Ok(()),
            Some('0'..='7') => {
                self.at -= 1;
                (3, 8, 255)
            }
            Some('x') => (2, 16, 255),
            Some('u') => (4, 16, u32::from(char::MAX)),
            Some('U') => (8, 16, u32::from(char::MAX)),
            Some(char) => {
                let message = format!("unknown escape sequence {}", code_point(char));
                return self.escape_error(message);
            }
        };
        let mut value: u32 = 0;
        for _ in 0..digits {
            let Some(char) = self.next_char() else {
                return self.escape_error("escape sequence not terminated");
            };
            let Some(digit) = char.to_digit(radix) else {
                let char = code_point(char);
                let message = format!("illegal character {char} in escape sequence");
                return self.escape_error(message);
            };
            // Eight hexadecimal digits fill the 32 bits exactly.
            value = value.wrapping_mul(radix).wrapping_add(digit);
        }
        if value > value_max || (0xD800..0xE000).contains(&value) {
            return self.escape_error("escape sequence is an invalid Unicode code point");
        }
        Ok(())
    }

    fn next_char(&mut self) -> Option<char> {
        let char = self.char()?;
        self.at += char.len_utf8();
        Some(char)
    }

    fn escape_error(&mut self, message: impl Into<String>) -> Result<(), LexError> {
        self.error(message).map(|_| ())
    }
}
