//! The values of a series description: `1+2x3 _ stale {{schema:1 buckets:[1 2]}}`.

use super::{Lexed, Lexer, Mode, is_space};
use crate::parser::literal::quote_char;
use crate::parser::ops::BinaryOp;
use crate::parser::token::{HintWord, HistogramKey, SeriesToken, Token, TokenKind};

impl Lexer<'_> {
    /// The values behind the metric.
    pub(super) fn values(&mut self) -> Lexed {
        self.start = self.at;
        let Some(byte) = self.byte() else {
            return self.end_of_expression();
        };
        self.at += 1;
        match byte {
            b'{' if self.byte() == Some(b'{') => {
                self.mode = Mode::Histogram;
                Ok(self.double(TokenKind::Series(SeriesToken::OpenHistogram)))
            }
            byte if is_space(byte) => Ok(self.space()),
            b'+' => Ok(self.token(TokenKind::Op(BinaryOp::Add))),
            b'-' => Ok(self.token(TokenKind::Op(BinaryOp::Sub))),
            b'x' => Ok(self.token(TokenKind::Series(SeriesToken::Times))),
            b'_' => Ok(self.token(TokenKind::Series(SeriesToken::Blank))),
            b'0'..=b'9' => self.number_again(),
            b'.' if self.byte().is_some_and(|next| next.is_ascii_digit()) => self.number_again(),
            b'a'..=b'z' | b'A'..=b'Z' => self.word(),
            _ => self.unexpected_character(" in series sequence"),
        }
    }

    /// Between `{{` and `}}`.
    pub(super) fn histogram(&mut self) -> Lexed {
        self.start = self.at;
        let char = self.char();
        self.at += char.map_or(0, char::len_utf8);
        match char {
            Some(' ' | '\t' | '\n' | '\r') => Ok(self.space()),
            Some('_' | 'a'..='z' | 'A'..='Z') => self.histogram_word(),
            Some(':') => Ok(self.token(TokenKind::Colon)),
            Some('-') => Ok(self.token(TokenKind::Op(BinaryOp::Sub))),
            Some('0'..='9') => self.number_again(),
            Some('[') => {
                self.mode = Mode::Buckets;
                Ok(self.token(TokenKind::LeftBracket))
            }
            Some('}') if self.byte() == Some(b'}') => Ok(self.close_histogram()),
            _ => {
                let char = quote_char(char);
                self.error(format!(
                    "histogram description incomplete unexpected: {char}"
                ))
            }
        }
    }

    fn close_histogram(&mut self) -> Token {
        let close = self.double(TokenKind::Series(SeriesToken::CloseHistogram));
        self.mode = match self.byte() {
            Some(b'x' | b'+' | b'-') => Mode::AfterHistogram,
            _ => Mode::Values,
        };
        close
    }

    /// The operator behind `}}`, which is known to be there.
    pub(super) fn after_histogram(&mut self) -> Lexed {
        self.start = self.at;
        let kind = match self.byte() {
            Some(b'+') => TokenKind::Op(BinaryOp::Add),
            Some(b'-') => TokenKind::Op(BinaryOp::Sub),
            _ => TokenKind::Series(SeriesToken::Times),
        };
        self.mode = Mode::Values;
        Ok(self.double(kind))
    }

    fn histogram_word(&mut self) -> Lexed {
        self.skip_while(|byte| byte == b'_' || byte.is_ascii_alphabetic());
        let word = self.current().to_ascii_lowercase();
        if let Some(key) = histogram_key(&word) {
            return if self.byte() == Some(b':') {
                Ok(self.token(TokenKind::Series(SeriesToken::Key(key))))
            } else {
                self.error("missing `:` for histogram descriptor")
            };
        }
        if matches!(word.as_str(), "inf" | "nan") {
            return Ok(self.token(TokenKind::Number));
        }
        match hint_word(&word) {
            Some(hint) => Ok(self.token(TokenKind::Series(SeriesToken::Hint(hint)))),
            None => self.bad_token("bad histogram descriptor found"),
        }
    }

    /// Between `[` and `]` of a histogram description.
    pub(super) fn buckets(&mut self) -> Lexed {
        self.start = self.at;
        loop {
            let char = self.char();
            self.at += char.map_or(0, char::len_utf8);
            match char {
                Some(' ' | '\t' | '\n' | '\r') => return Ok(self.space()),
                Some('-') => {
                    self.mode = Mode::HistogramNumber;
                    return Ok(self.token(TokenKind::Op(BinaryOp::Sub)));
                }
                Some('0'..='9') => {
                    self.at -= 1;
                    return self.number();
                }
                Some(']') => {
                    self.mode = Mode::Histogram;
                    return Ok(self.token(TokenKind::RightBracket));
                }
                Some('_' | 'a'..='z' | 'A'..='Z') => {
                    let word = self.current();
                    if word.eq_ignore_ascii_case("inf") || word.eq_ignore_ascii_case("nan") {
                        return Ok(self.token(TokenKind::Number));
                    }
                }
                _ => {
                    let char = quote_char(char);
                    return self.error(format!("invalid character in buckets description: {char}"));
                }
            }
        }
    }

    /// Only buckets have signs that a number must follow.
    pub(super) fn histogram_number(&mut self) -> Lexed {
        self.start = self.at;
        self.mode = Mode::Buckets;
        self.number()
    }

    /// A number whose first character was read already.
    fn number_again(&mut self) -> Lexed {
        self.at = self.start;
        self.number()
    }

    /// One space token for a run of spaces; the first is read already.
    fn space(&mut self) -> Token {
        let space = self.token(TokenKind::Series(SeriesToken::Space));
        self.skip_while(is_space);
        space
    }
}

fn histogram_key(word: &str) -> Option<HistogramKey> {
    Some(match word {
        "sum" => HistogramKey::Sum,
        "count" => HistogramKey::Count,
        "schema" => HistogramKey::Schema,
        "offset" => HistogramKey::Offset,
        "n_offset" => HistogramKey::NegativeOffset,
        "buckets" => HistogramKey::Buckets,
        "n_buckets" => HistogramKey::NegativeBuckets,
        "z_bucket" => HistogramKey::ZeroBucket,
        "z_bucket_w" => HistogramKey::ZeroBucketWidth,
        "custom_values" => HistogramKey::CustomValues,
        "counter_reset_hint" => HistogramKey::CounterResetHint,
        _ => return None,
    })
}

fn hint_word(word: &str) -> Option<HintWord> {
    Some(match word {
        "unknown" => HintWord::Unknown,
        "reset" => HintWord::Reset,
        "not_reset" => HintWord::NotReset,
        "gauge" => HintWord::Gauge,
        _ => return None,
    })
}
