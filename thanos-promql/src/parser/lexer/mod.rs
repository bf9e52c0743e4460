//! Text to tokens.
//!
//! Which characters are tokens depends on where they stand: inside braces, inside a range, or outside. The lexer
//! follows the brackets itself and knows nothing of the grammar. Source of the rules and of the messages:
//! Prometheus promql/parser/lex.go.

mod number;
mod series;
mod string;

use super::literal::{quote, quote_char};
use super::ops::BinaryOp;
use super::span::Span;
use super::token::{Keyword, Token, TokenKind, duration_word, word_kind};

/// Text that is no token. Reading ends there.
#[derive(Debug)]
pub(super) struct LexError {
    pub(super) span: Span,
    pub(super) message: String,
}

type Lexed = Result<Token, LexError>;

/// The set of characters that are tokens at the current place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Anywhere in an expression but in braces; also behind the first number of a range.
    Expression,
    /// Between `{` and `}`.
    Braces,
    /// From `[` to the first number.
    Range,
    /// The values of a series description.
    Values,
    /// Between `{{` and `}}`.
    Histogram,
    /// Between `[` and `]` of a histogram description.
    Buckets,
    /// A number behind a sign or `x` of a histogram description.
    HistogramNumber,
    /// At the operator behind `}}`.
    AfterHistogram,
}

/// Reads tokens one by one.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    input: &'a str,
    /// Next byte to read.
    at: usize,
    /// First byte of the current token.
    start: usize,
    mode: Mode,
    paren_depth: u32,
    bracket_open: bool,
    colon_seen: bool,
    /// COMPAT: stays set from one range to the next, as in Prometheus.
    duration_seen: bool,
    is_series: bool,
    is_done: bool,
}

impl<'a> Lexer<'a> {
    /// Returns a lexer of an expression. Its length must fit into `u32`.
    pub(super) fn new(input: &'a str) -> Self {
        Self {
            input,
            at: 0,
            start: 0,
            mode: Mode::Expression,
            paren_depth: 0,
            bracket_open: false,
            colon_seen: false,
            duration_seen: false,
            is_series: false,
            is_done: false,
        }
    }

    /// Returns a lexer of a series description.
    pub(super) fn of_series(input: &'a str) -> Self {
        Self {
            is_series: true,
            ..Self::new(input)
        }
    }

    /// Returns the text of a token.
    pub(super) fn text(&self, span: Span) -> &'a str {
        &self.input[span.range()]
    }

    /// Returns the next token: behind the last one [`TokenKind::Eof`], and then `Stop` for ever.
    pub(super) fn next_token(&mut self) -> Lexed {
        if self.is_done {
            self.start = self.input.len();
            self.at = self.start;
            return Ok(self.token(TokenKind::Stop));
        }
        let lexed = match self.mode {
            Mode::Expression => self.expression(),
            Mode::Braces => self.braces(),
            Mode::Range => self.range(),
            Mode::Values => self.values(),
            Mode::Histogram => self.histogram(),
            Mode::Buckets => self.buckets(),
            Mode::HistogramNumber => self.histogram_number(),
            Mode::AfterHistogram => self.after_histogram(),
        };
        self.is_done = !matches!(&lexed, Ok(token) if token.kind != TokenKind::Eof);
        lexed
    }

    fn expression(&mut self) -> Lexed {
        self.skip_blank();
        let Some(byte) = self.byte() else {
            return self.end_of_expression();
        };
        self.at += 1;
        match byte {
            b'_' | b'a'..=b'z' | b'A'..=b'Z' | b':' => {
                if self.bracket_open {
                    self.word_in_range(byte)
                } else {
                    self.word()
                }
            }
            b'0'..=b'9' => self.number_or_duration(),
            b'.' if self.byte().is_some_and(|next| next.is_ascii_digit()) => {
                self.number_or_duration()
            }
            b'"' | b'\'' => self.string(byte),
            b'`' => self.raw_string(),
            b'=' => match self.byte() {
                Some(b'=') => Ok(self.double(TokenKind::Op(BinaryOp::Equal))),
                Some(b'~') => self.error("unexpected character after '=': '~'"),
                _ => Ok(self.token(TokenKind::Assign)),
            },
            b'!' => match self.byte() {
                Some(b'=') => Ok(self.double(TokenKind::Op(BinaryOp::NotEqual))),
                _ => {
                    let next = quote_char(self.char());
                    self.error(format!("unexpected character after '!': {next}"))
                }
            },
            b'<' => Ok(match self.byte() {
                Some(b'=') => self.double(TokenKind::Op(BinaryOp::LessEqual)),
                Some(b'/') => self.double(TokenKind::Op(BinaryOp::TrimUpper)),
                _ => self.token(TokenKind::Op(BinaryOp::Less)),
            }),
            b'>' => Ok(match self.byte() {
                Some(b'=') => self.double(TokenKind::Op(BinaryOp::GreaterEqual)),
                Some(b'/') => self.double(TokenKind::Op(BinaryOp::TrimLower)),
                _ => self.token(TokenKind::Op(BinaryOp::Greater)),
            }),
            b'{' => {
                self.mode = Mode::Braces;
                Ok(self.token(TokenKind::LeftBrace))
            }
            b'[' => self.open_bracket(),
            b']' => self.close_bracket(),
            b'@' => Ok(self.token(TokenKind::At)),
            _ => match self.arithmetic(byte) {
                Some(lexed) => lexed,
                None => self.unexpected_character(""),
            },
        }
    }

    /// The tokens that ranges share with the rest of an expression; `byte` is read already.
    fn arithmetic(&mut self, byte: u8) -> Option<Lexed> {
        let kind = match byte {
            b'+' => TokenKind::Op(BinaryOp::Add),
            b'-' => TokenKind::Op(BinaryOp::Sub),
            b'*' => TokenKind::Op(BinaryOp::Mul),
            b'/' => TokenKind::Op(BinaryOp::Div),
            b'%' => TokenKind::Op(BinaryOp::Mod),
            b'^' => TokenKind::Op(BinaryOp::Pow),
            b',' => TokenKind::Comma,
            b'(' => {
                self.paren_depth += 1;
                TokenKind::LeftParen
            }
            b')' => {
                let Some(depth) = self.paren_depth.checked_sub(1) else {
                    self.start = self.at;
                    return Some(self.error("unexpected right parenthesis ')'"));
                };
                self.paren_depth = depth;
                TokenKind::RightParen
            }
            _ => return None,
        };
        Some(Ok(self.token(kind)))
    }

    fn end_of_expression(&mut self) -> Lexed {
        if self.paren_depth != 0 {
            return self.error("unclosed left parenthesis");
        }
        if self.bracket_open {
            return self.error("unclosed left bracket");
        }
        Ok(self.token(TokenKind::Eof))
    }

    fn open_bracket(&mut self) -> Lexed {
        if self.bracket_open {
            return self.error("unexpected left bracket '['");
        }
        self.colon_seen = false;
        self.bracket_open = true;
        self.mode = Mode::Range;
        Ok(self.token(TokenKind::LeftBracket))
    }

    fn close_bracket(&mut self) -> Lexed {
        if !self.bracket_open {
            return self.error("unexpected right bracket ']'");
        }
        self.bracket_open = false;
        self.mode = Mode::Expression;
        Ok(self.token(TokenKind::RightBracket))
    }

    /// From `[` to the first number; from there on [`Self::expression`] reads the range.
    fn range(&mut self) -> Lexed {
        self.skip_spaces();
        let Some(byte) = self.byte() else {
            return self.error("unexpected end of input in duration expression");
        };
        self.at += 1;
        match byte {
            b']' => {
                self.colon_seen = false;
                self.close_bracket()
            }
            b':' => self.colon_in_range(),
            b's' | b'r' | b'm' | b'S' | b'R' | b'M' => match self.duration_word() {
                Some(token) => Ok(token),
                None => {
                    let first = quote_char(Some(char::from(byte)));
                    self.error(format!(
                        "unexpected character in duration expression: {first}"
                    ))
                }
            },
            b'0'..=b'9' => {
                self.duration_seen = true;
                self.mode = Mode::Expression;
                self.number_or_duration()
            }
            b'.' if self.byte().is_some_and(|next| next.is_ascii_digit()) => {
                self.duration_seen = true;
                self.mode = Mode::Expression;
                self.number_or_duration()
            }
            _ => match self.arithmetic(byte) {
                Some(lexed) => lexed,
                None => self.unexpected_character(" in duration expression"),
            },
        }
    }

    fn colon_in_range(&mut self) -> Lexed {
        let colon = self.token(TokenKind::Colon);
        self.start = self.at;
        if !self.duration_seen {
            return self.error("unexpected colon before duration in duration expression");
        }
        if self.colon_seen {
            return self.error("unexpected repeated colon in duration expression");
        }
        self.colon_seen = true;
        Ok(colon)
    }

    /// A colon or word in a range, behind the first number; `byte` is read already.
    fn word_in_range(&mut self, byte: u8) -> Lexed {
        if byte == b':' {
            if self.colon_seen {
                return self.error("unexpected colon ':'");
            }
            self.colon_seen = true;
            return Ok(self.token(TokenKind::Colon));
        }
        let is_duration_word = matches!(byte.to_ascii_lowercase(), b's' | b'r' | b'm');
        if is_duration_word && let Some(token) = self.duration_word() {
            return Ok(token);
        }
        let first = quote_char(Some(char::from(byte)));
        self.error(format!("unexpected character: {first}, expected ':'"))
    }

    fn duration_word(&mut self) -> Option<Token> {
        self.skip_while(|byte| byte == b'_' || byte.is_ascii_alphabetic());
        let lower = self.current().to_ascii_lowercase();
        duration_word(lower.as_bytes()).map(|word| self.token(TokenKind::QueryWord(word)))
    }

    /// A keyword or identifier, its first character read already.
    fn word(&mut self) -> Lexed {
        let mut has_colon = self.input.as_bytes()[self.start] == b':';
        self.skip_while(|byte| {
            has_colon |= byte == b':';
            is_word_byte(byte) || byte == b':'
        });
        let mut kind = if has_colon {
            TokenKind::MetricIdentifier
        } else {
            word_kind(self.current())
        };
        if let TokenKind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight) = kind
            && !self.is_followed_by_paren()
        {
            // COMPAT: these were added late and stay usable as metric names.
            kind = TokenKind::Identifier;
        }
        if self.is_series && self.byte() != Some(b'{') {
            self.mode = Mode::Values;
        } else if self.is_series {
            self.mode = Mode::Expression;
        }
        Ok(self.token(kind))
    }

    fn is_followed_by_paren(&self) -> bool {
        let rest = self.input.as_bytes()[self.at..].iter();
        rest.copied().find(|byte| !is_space(*byte)) == Some(b'(')
    }

    /// Between `{` and `}` all words are identifiers.
    fn braces(&mut self) -> Lexed {
        self.skip_blank();
        let Some(byte) = self.byte() else {
            return self.error("unexpected end of input inside braces");
        };
        self.at += 1;
        match byte {
            b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                self.skip_while(is_word_byte);
                Ok(self.token(TokenKind::Identifier))
            }
            b',' => Ok(self.token(TokenKind::Comma)),
            b'"' | b'\'' => self.string(byte),
            b'`' => self.raw_string(),
            b'=' => Ok(match self.byte() {
                Some(b'~') => self.double(TokenKind::MatchRegex),
                _ => self.token(TokenKind::Assign),
            }),
            b'!' => match self.byte() {
                Some(b'~') => Ok(self.double(TokenKind::MatchNotRegex)),
                Some(b'=') => Ok(self.double(TokenKind::Op(BinaryOp::NotEqual))),
                _ => {
                    let next = quote_char(self.char());
                    self.error(format!(
                        "unexpected character after '!' inside braces: {next}"
                    ))
                }
            },
            b'{' => self.error("unexpected left brace '{'"),
            b'}' => {
                self.mode = if self.is_series {
                    Mode::Values
                } else {
                    Mode::Expression
                };
                Ok(self.token(TokenKind::RightBrace))
            }
            _ => self.unexpected_character(" inside braces"),
        }
    }

    /// Reports the character that starts the current token.
    fn unexpected_character(&mut self, place: &str) -> Lexed {
        let char = quote_char(self.input[self.start..].chars().next());
        self.error(format!("unexpected character{place}: {char}"))
    }

    fn error(&mut self, message: impl Into<String>) -> Lexed {
        Err(LexError {
            span: span(self.start, self.input.len()),
            message: message.into(),
        })
    }

    /// Reports the text read for the current token.
    fn bad_token(&mut self, what: &str) -> Lexed {
        let text = quote(self.current());
        self.error(format!("{what}: {text}"))
    }

    fn current(&self) -> &'a str {
        // Reading may have stopped inside a character that ends the token.
        let mut end = self.at;
        while !self.input.is_char_boundary(end) {
            end += 1;
        }
        &self.input[self.start..end]
    }

    fn token(&mut self, kind: TokenKind) -> Token {
        Token {
            kind,
            span: span(self.start, self.at),
        }
    }

    /// The token of the current character and the next one.
    fn double(&mut self, kind: TokenKind) -> Token {
        self.at += 1;
        self.token(kind)
    }

    fn byte(&self) -> Option<u8> {
        self.input.as_bytes().get(self.at).copied()
    }

    fn char(&self) -> Option<char> {
        self.input.get(self.at..)?.chars().next()
    }

    fn skip_while(&mut self, mut keep: impl FnMut(u8) -> bool) {
        while self.byte().is_some_and(&mut keep) {
            self.at += 1;
        }
    }

    fn skip_spaces(&mut self) {
        self.skip_while(is_space);
        self.start = self.at;
    }

    /// Skips spaces and comments.
    fn skip_blank(&mut self) {
        self.skip_spaces();
        while self.byte() == Some(b'#') {
            self.skip_while(|byte| byte != b'\n' && byte != b'\r');
            self.skip_spaces();
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_word_byte(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the parser refuses longer inputs"
)]
fn span(start: usize, end: usize) -> Span {
    Span::new(start as u32, end as u32)
}
