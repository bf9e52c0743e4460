//! The tokens of a template.

/// One token with the line on which it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) text: String,
    pub(super) line: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Outside of actions.
    Text,
    LeftDelim,
    RightDelim,
    Space,
    /// `.name`
    Field,
    /// `$name`, or `$` alone.
    Variable,
    /// A function or a keyword.
    Word,
    Bool,
    Nil,
    Dot,
    Number,
    /// Of characters, quotes or backquotes.
    Quoted,
    Pipe,
    LeftParen,
    RightParen,
    Declare,
    Assign,
    Comma,
    /// Any other character, which stands nowhere.
    Char,
    /// The text says what is wrong.
    Error,
    End,
}

const COMMENT_START: &str = "/*";
const COMMENT_END: &str = "*/";

/// Returns the tokens of `text`; the last one is an end or an error.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        rest: text,
        line: 1,
        tokens: Vec::new(),
        parens: 0,
    };
    match lexer.text() {
        Ok(()) => lexer.push(Kind::End, 0),
        Err(message) => lexer.tokens.push(Token {
            kind: Kind::Error,
            text: message,
            line: lexer.line,
        }),
    }
    lexer.tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
    parens: usize,
}

impl Lexer<'_> {
    fn push(&mut self, kind: Kind, len: usize) {
        let (text, rest) = self.rest.split_at(len);
        self.tokens.push(Token {
            kind,
            text: text.to_owned(),
            line: self.line,
        });
        self.line += text.matches('\n').count();
        self.rest = rest;
    }

    fn skip(&mut self, len: usize) {
        let (skipped, rest) = self.rest.split_at(len);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }

    /// Goes through texts and actions to the end.
    fn text(&mut self) -> Result<(), String> {
        while let Some(at) = self.rest.find("{{") {
            if at > 0 {
                self.push(Kind::Text, at);
            }
            let behind = &self.rest[2..];
            let trims = behind.starts_with('-') && behind[1..].starts_with(is_space);
            let inside = &behind[if trims { 2 } else { 0 }..];
            if inside.starts_with(COMMENT_START) {
                self.skip(2 + if trims { 2 } else { 0 });
                self.comment()?;
            } else {
                self.push(Kind::LeftDelim, 2);
                self.skip(usize::from(trims));
                self.parens = 0;
                self.action()?;
            }
        }
        if !self.rest.is_empty() {
            self.push(Kind::Text, self.rest.len());
        }
        Ok(())
    }

    fn comment(&mut self) -> Result<(), String> {
        self.skip(COMMENT_START.len());
        let end = self.rest.find(COMMENT_END).ok_or("unclosed comment")?;
        self.skip(end + COMMENT_END.len());
        match self.right_delim() {
            Some(len) => self.skip(len),
            None => return Err("comment ends before closing delimiter".to_owned()),
        }
        Ok(())
    }

    /// Returns the length of the delimiter that ends an action here, with its mark for trimming.
    fn right_delim(&self) -> Option<usize> {
        if self.rest.starts_with("}}") {
            return Some(2);
        }
        let trimmed = self.rest.trim_start_matches(is_space);
        let spaces = self.rest.len() - trimmed.len();
        (spaces > 0 && trimmed.starts_with("-}}")).then_some(spaces + 3)
    }

    fn action(&mut self) -> Result<(), String> {
        loop {
            if let Some(len) = self.right_delim() {
                if self.parens > 0 {
                    return Err("unclosed left paren".to_owned());
                }
                self.push(Kind::RightDelim, len);
                return Ok(());
            }
            let Some(first) = self.rest.chars().next() else {
                return Err("unclosed action".to_owned());
            };
            self.inside(first)?;
        }
    }

    fn inside(&mut self, first: char) -> Result<(), String> {
        let second = self.rest[first.len_utf8()..].chars().next();
        match first {
            c if is_space(c) => {
                let spaces = self.rest.len() - self.rest.trim_start_matches(is_space).len();
                self.push(Kind::Space, spaces);
            }
            '=' => self.push(Kind::Assign, 1),
            ':' if second == Some('=') => self.push(Kind::Declare, 2),
            ':' => return Err("expected :=".to_owned()),
            '|' => self.push(Kind::Pipe, 1),
            '"' | '\'' => self.quoted(first)?,
            '`' => self.raw()?,
            '$' => self.push_name(Kind::Variable, 1)?,
            '.' if !second.is_some_and(|c| c.is_ascii_digit()) => {
                if second.is_some_and(is_alphanumeric) {
                    self.push_name(Kind::Field, 1)?;
                } else {
                    self.push(Kind::Dot, 1);
                }
            }
            '+' | '-' | '.' | '0'..='9' => self.number()?,
            '(' => {
                self.parens += 1;
                self.push(Kind::LeftParen, 1);
            }
            ')' => {
                let open = self.parens.checked_sub(1);
                self.parens = open.ok_or("unexpected right paren")?;
                self.push(Kind::RightParen, 1);
            }
            ',' => self.push(Kind::Comma, 1),
            c if is_alphanumeric(c) => self.word()?,
            c if c.is_ascii_graphic() => self.push(Kind::Char, 1),
            c => {
                let code = u32::from(c);
                return Err(format!(
                    "unrecognized character in action: U+{code:04X} '{c}'"
                ));
            }
        }
        Ok(())
    }

    /// Pushes `prefix` bytes and the name behind them.
    fn push_name(&mut self, kind: Kind, prefix: usize) -> Result<(), String> {
        let name = self.name_len(prefix);
        self.check_end(name)?;
        self.push(kind, name);
        Ok(())
    }

    fn word(&mut self) -> Result<(), String> {
        let len = self.name_len(0);
        self.check_end(len)?;
        let kind = match &self.rest[..len] {
            "true" | "false" => Kind::Bool,
            "nil" => Kind::Nil,
            _ => Kind::Word,
        };
        self.push(kind, len);
        Ok(())
    }

    fn name_len(&self, prefix: usize) -> usize {
        let name = self.rest[prefix..].trim_start_matches(is_alphanumeric);
        self.rest.len() - name.len()
    }

    /// Checks that a name of `len` bytes ends where a name may end.
    fn check_end(&self, len: usize) -> Result<(), String> {
        let behind = &self.rest[len..];
        match behind.chars().next() {
            None => Ok(()),
            Some(c) if is_space(c) || ".,|:=)(".contains(c) || behind.starts_with("}}") => Ok(()),
            Some(c) => Err(format!("bad character U+{:04X} '{c}'", u32::from(c))),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<(), String> {
        let what = match quote {
            '"' => "unterminated quoted string",
            _ => "unterminated character constant",
        };
        let mut escaped = false;
        for (at, c) in self.rest.char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == quote => {
                    self.push(Kind::Quoted, at + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(what.to_owned())
    }

    fn raw(&mut self) -> Result<(), String> {
        let end = self.rest[1..]
            .find('`')
            .ok_or("unterminated raw quoted string")?;
        self.push(Kind::Quoted, end + 2);
        Ok(())
    }

    /// Numbers of Go have many forms; what is in none of them is refused by its first odd character.
    fn number(&mut self) -> Result<(), String> {
        let unsigned = self.rest.trim_start_matches(['+', '-']);
        let sign = self.rest.len() - unsigned.len();
        let mut dots = 0;
        let mut belongs = |c: char| {
            dots += usize::from(c == '.');
            is_alphanumeric(c) || (c == '.' && dots == 1)
        };
        let behind = unsigned.trim_start_matches(&mut belongs);
        let mut len = self.rest.len() - behind.len();
        // The exponent may have a sign.
        if self.rest[..len].ends_with(['e', 'E', 'p', 'P'])
            && self.rest[len..].starts_with(['+', '-'])
        {
            let exponent = self.rest[len + 1..].trim_start_matches(|c: char| c.is_ascii_digit());
            len = self.rest.len() - exponent.len();
        }
        let text = &self.rest[..len];
        if sign > 1 || !is_number(&text[sign.min(1)..]) {
            return Err(format!("bad number syntax: {text:?}"));
        }
        self.push(Kind::Number, len);
        Ok(())
    }
}

fn is_number(text: &str) -> bool {
    let text = text.strip_suffix('i').unwrap_or(text).replace('_', "");
    let lower = text.to_lowercase();
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = lower.strip_prefix(prefix) {
            return u64::from_str_radix(digits, radix).is_ok();
        }
    }
    text.starts_with(|c: char| c.is_ascii_digit() || c == '.') && text.parse::<f64>().is_ok()
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}
