//! Numbers and durations. Only their outline is checked here; `literal` computes the value.

use super::{Lexed, Lexer, is_word_byte};
use crate::parser::token::TokenKind;

impl Lexer<'_> {
    /// A number or duration, its first character read already.
    pub(super) fn number_or_duration(&mut self) -> Lexed {
        self.at = self.start;
        if self.scan_number() {
            return Ok(self.token(TokenKind::Number));
        }
        if self.scan_duration_rest() {
            return Ok(self.token(TokenKind::Duration));
        }
        self.bad_token("bad number or duration syntax")
    }

    /// A number of a series description or histogram; with nothing to read it is empty and so wrong.
    pub(super) fn number(&mut self) -> Lexed {
        if self.scan_number() {
            return Ok(self.token(TokenKind::Number));
        }
        self.bad_token("bad number syntax")
    }

    /// Reads as far as a number can go; false when that is not a number.
    fn scan_number(&mut self) -> bool {
        let from = self.at;
        let is_hex = self.accept_hex_prefix();
        let is_digit = |byte: u8| {
            if is_hex {
                byte.is_ascii_hexdigit()
            } else {
                byte.is_ascii_digit()
            }
        };
        let mut dot_seen = false;
        let mut exponent_seen = false;
        // COMPAT: the dot in front does not count as the one dot, but digits and dots may then not follow twice.
        self.accept(|byte| byte == b'.');
        self.accept(is_digit);
        while let Some(byte) = self.byte() {
            match byte {
                b'.' => {
                    self.at += 1;
                    if dot_seen || self.accept(|next| matches!(next, b'_' | b'.')) || is_hex {
                        return false;
                    }
                    dot_seen = true;
                }
                // COMPAT: in hexadecimal numbers too, unless the run of digits before has swallowed it.
                b'e' | b'E' => {
                    self.at += 1;
                    if exponent_seen {
                        return false;
                    }
                    exponent_seen = true;
                    self.accept(|next| matches!(next, b'+' | b'-'));
                    if self.accept(is_separator) || self.byte().is_none() {
                        return false;
                    }
                }
                b'_' => {
                    self.at += 1;
                    if self.accept(is_separator) || self.byte().is_none() {
                        return false;
                    }
                }
                byte if is_digit(byte) => self.skip_while(is_digit),
                _ => break,
            }
        }
        self.at != from && self.number_may_end()
    }

    /// COMPAT: series descriptions have no hexadecimal numbers, since `0x3` there repeats zero. Like Prometheus'
    /// scanner this skips a zero that no `x` follows.
    fn accept_hex_prefix(&mut self) -> bool {
        !self.is_series
            && self.accept(|byte| byte == b'0')
            && self.accept(|byte| matches!(byte, b'x' | b'X'))
            && {
                self.accept(|byte| byte == b'_');
                true
            }
    }

    fn number_may_end(&self) -> bool {
        match self.byte() {
            Some(b'x') if self.is_series => true,
            Some(next) => !is_word_byte(next),
            None => true,
        }
    }

    /// Reads the rest of a duration, its first digits read already. Wrong units are found later.
    fn scan_duration_rest(&mut self) -> bool {
        if !self.accept(|byte| b"smhdwy".contains(&byte)) {
            return false;
        }
        self.accept(|byte| byte == b's');
        while self.accept(|byte| byte.is_ascii_digit()) {
            self.skip_while(|byte| byte.is_ascii_digit());
            // Years can only come first.
            if !self.accept(|byte| b"smhdw".contains(&byte)) {
                return false;
            }
            self.accept(|byte| byte == b's');
        }
        match self.byte() {
            Some(next) if is_word_byte(next) => {
                // The message shows the character that is wrong.
                self.at += 1;
                false
            }
            Some(_) | None => true,
        }
    }

    fn accept(&mut self, wanted: impl FnOnce(u8) -> bool) -> bool {
        let is_wanted = self.byte().is_some_and(wanted);
        self.at += usize::from(is_wanted);
        is_wanted
    }
}

/// What may not follow an exponent or an underscore.
fn is_separator(byte: u8) -> bool {
    matches!(byte, b'.' | b'_' | b'e' | b'E')
}
