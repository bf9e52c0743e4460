//! The grammar of templates. Nothing is built: what is kept are the variables in scope.

use super::lexer::{Kind, Token};
use super::{FUNCTIONS, TemplateError};

/// How deep actions and parentheses may lie in each other.
const DEPTH_MAX: usize = 200;

type Result<T> = std::result::Result<T, TemplateError>;

pub(super) struct Parser {
    tokens: Vec<Token>,
    next: usize,
    variables: Vec<String>,
    /// How many `range` surround this place.
    ranges: usize,
    depth: usize,
}

/// What ends a list of actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Else,
    End,
    Text,
}

/// What stands first in a command, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operand {
    /// A literal or the dot: nothing can be piped into it.
    Value,
    Other,
}

impl Parser {
    pub(super) fn new(tokens: Vec<Token>, variables: &[&str]) -> Self {
        // `$` is always there.
        let known = ["$"].iter().chain(variables).map(|name| (*name).to_owned());
        Self {
            tokens,
            next: 0,
            variables: known.collect(),
            ranges: 0,
            depth: 0,
        }
    }

    /// Checks a whole text.
    pub(super) fn whole(mut self) -> Result<()> {
        match self.list(true)? {
            Ending::Text => Ok(()),
            Ending::Else => Err(self.error("unexpected {{else}}")),
            Ending::End => Err(self.error("unexpected {{end}}")),
        }
    }

    fn peek(&self) -> &Token {
        // The last token is the end or an error, and nobody goes past it.
        let last = self.tokens.len() - 1;
        &self.tokens[self.next.min(last)]
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn take_if(&mut self, kind: Kind) -> bool {
        let found = self.peek().kind == kind;
        self.next += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while self.take_if(Kind::Space) {}
    }

    fn error(&self, message: impl Into<String>) -> TemplateError {
        TemplateError {
            line: self.tokens[self.next.saturating_sub(1).min(self.tokens.len() - 1)].line,
            message: message.into(),
        }
    }

    fn unexpected(&self, token: &Token, context: &str) -> TemplateError {
        let message = match token.kind {
            Kind::Error => token.text.clone(),
            Kind::End => format!("unexpected EOF in {context}"),
            Kind::Word if is_keyword(&token.text) => {
                format!("unexpected <{}> in {context}", token.text)
            }
            _ if token.text.chars().count() > 10 => {
                let start: String = token.text.chars().take(10).collect();
                format!("unexpected {start:?}... in {context}")
            }
            _ => format!("unexpected {:?} in {context}", token.text),
        };
        TemplateError {
            line: token.line,
            message,
        }
    }

    /// Goes down one level, and up again after `parse`.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == DEPTH_MAX {
            return Err(self.error("max expression depth exceeded"));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Goes through texts and actions to what ends them.
    fn list(&mut self, is_top: bool) -> Result<Ending> {
        loop {
            let token = self.take();
            match token.kind {
                Kind::Text => {}
                Kind::End if is_top => return Ok(Ending::Text),
                Kind::End => return Err(self.error("unexpected EOF")),
                Kind::LeftDelim => {
                    if let Some(ending) = self.action(is_top)? {
                        return Ok(ending);
                    }
                }
                _ => return Err(self.unexpected(&token, "input")),
            }
        }
    }

    fn action(&mut self, is_top: bool) -> Result<Option<Ending>> {
        self.skip_space();
        let token = self.peek().clone();
        if token.kind == Kind::Word && is_keyword(&token.text) {
            self.next += 1;
            return self.keyword(&token, is_top);
        }
        self.pipeline("command", Kind::RightDelim)?;
        Ok(None)
    }

    fn keyword(&mut self, token: &Token, is_top: bool) -> Result<Option<Ending>> {
        match token.text.as_str() {
            "end" => {
                self.close("end")?;
                return Ok(Some(Ending::End));
            }
            "else" => {
                self.skip_space();
                // The `if` or `with` of an `else if` is left to whoever asked.
                let goes_on = matches!(self.peek().text.as_str(), "if" | "with");
                if !(goes_on && self.peek().kind == Kind::Word) {
                    self.close("else")?;
                }
                return Ok(Some(Ending::Else));
            }
            "if" | "range" | "with" => self.nested(|parser| parser.control(&token.text))?,
            "break" | "continue" => {
                self.close(&token.text)?;
                if self.ranges == 0 {
                    return Err(self.error(format!("{{{{{}}}}} outside {{{{range}}}}", token.text)));
                }
            }
            "template" => {
                self.name("template clause")?;
                self.skip_space();
                if !self.take_if(Kind::RightDelim) {
                    self.pipeline("template clause", Kind::RightDelim)?;
                }
            }
            "block" => {
                self.name("block clause")?;
                self.pipeline("block clause", Kind::RightDelim)?;
                self.own_scope("block clause")?;
            }
            "define" if is_top => {
                self.name("define clause")?;
                self.close("define clause")?;
                self.own_scope("define clause")?;
            }
            _ => return Err(self.unexpected(token, "command")),
        }
        Ok(None)
    }

    /// A named template sees no variable but `$`.
    fn own_scope(&mut self, context: &str) -> Result<()> {
        let outside = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let ranges = std::mem::take(&mut self.ranges);
        let ending = self.nested(|parser| parser.list(false))?;
        (self.variables, self.ranges) = (outside, ranges);
        match ending {
            Ending::End => Ok(()),
            _ => Err(self.error(format!("unexpected {{{{else}}}} in {context}"))),
        }
    }

    fn control(&mut self, context: &str) -> Result<()> {
        let in_scope = self.variables.len();
        self.pipeline(context, Kind::RightDelim)?;
        let is_range = usize::from(context == "range");
        self.ranges += is_range;
        let ending = self.list(false)?;
        self.ranges -= is_range;
        if ending == Ending::Else {
            let word = self.peek().text.clone();
            if self.peek().kind == Kind::Word && word == context && context != "range" {
                self.next += 1;
                self.nested(|parser| parser.control(&word))?;
            } else if self.list(false)? != Ending::End {
                return Err(self.error("expected end; found {{else}}"));
            }
        }
        self.variables.truncate(in_scope);
        Ok(())
    }

    fn close(&mut self, context: &str) -> Result<()> {
        self.skip_space();
        let token = self.take();
        match token.kind {
            Kind::RightDelim => Ok(()),
            _ => Err(self.unexpected(&token, context)),
        }
    }

    fn name(&mut self, context: &str) -> Result<()> {
        self.skip_space();
        let token = self.take();
        match token.kind {
            Kind::Quoted if !token.text.starts_with('\'') => Ok(()),
            _ => Err(self.unexpected(&token, context)),
        }
    }

    /// Declarations, and commands with pipes between them, up to `end`.
    fn pipeline(&mut self, context: &str, end: Kind) -> Result<()> {
        self.skip_space();
        self.declarations(context)?;
        let mut commands = 0;
        loop {
            self.skip_space();
            let token = self.peek().clone();
            if token.kind == end {
                self.next += 1;
                break;
            }
            if !starts_operand(&token) {
                self.next += 1;
                return Err(self.unexpected(&token, context));
            }
            let first = self.command()?;
            commands += 1;
            if commands > 1 && first == Operand::Value {
                let message = format!("non executable command in pipeline stage {commands}");
                return Err(self.error(message));
            }
        }
        if commands == 0 {
            return Err(self.error(format!("missing value for {context}")));
        }
        Ok(())
    }

    fn declarations(&mut self, context: &str) -> Result<()> {
        let mut declared = 0;
        loop {
            if self.peek().kind != Kind::Variable {
                return Ok(());
            }
            let (start, name) = (self.next, self.take().text);
            self.skip_space();
            match self.peek().kind {
                Kind::Declare | Kind::Assign => {
                    self.next += 1;
                    self.variables.push(name);
                    return Ok(());
                }
                Kind::Comma => {
                    self.next += 1;
                    self.variables.push(name);
                    declared += 1;
                    if context != "range" || declared > 1 {
                        return Err(self.error(format!("too many declarations in {context}")));
                    }
                    self.skip_space();
                    if self.peek().kind != Kind::Variable {
                        return Err(self.error("range can only initialize variables"));
                    }
                }
                _ => {
                    // It was an argument.
                    self.next = start;
                    return Ok(());
                }
            }
        }
    }

    /// Operands with spaces between them; takes the pipe behind them.
    fn command(&mut self) -> Result<Operand> {
        let first = self.operand()?;
        loop {
            match self.peek().kind {
                Kind::Space => {
                    self.skip_space();
                    if starts_operand(self.peek()) {
                        self.operand()?;
                    }
                }
                Kind::Pipe => {
                    self.next += 1;
                    return Ok(first);
                }
                Kind::RightDelim | Kind::RightParen => return Ok(first),
                _ => {
                    let token = self.take();
                    return Err(self.unexpected(&token, "operand"));
                }
            }
        }
    }

    fn operand(&mut self) -> Result<Operand> {
        let token = self.take();
        let operand = match token.kind {
            Kind::Word if FUNCTIONS.contains(&token.text.as_str()) => Operand::Other,
            Kind::Word => return Err(self.error(format!("function {:?} not defined", token.text))),
            Kind::Variable => self.variable(&token.text)?,
            Kind::Field => Operand::Other,
            Kind::LeftParen => {
                self.nested(|parser| parser.pipeline("parenthesized pipeline", Kind::RightParen))?;
                Operand::Other
            }
            _ => Operand::Value,
        };
        if self.peek().kind == Kind::Field {
            if operand == Operand::Value {
                return Err(self.error(format!("unexpected . after term {:?}", token.text)));
            }
            while self.take_if(Kind::Field) {}
        }
        Ok(operand)
    }

    fn variable(&self, name: &str) -> Result<Operand> {
        if self.variables.iter().any(|known| known == name) {
            return Ok(Operand::Other);
        }
        Err(self.error(format!("undefined variable {name:?}")))
    }
}

fn starts_operand(token: &Token) -> bool {
    match token.kind {
        Kind::Word => !is_keyword(&token.text),
        Kind::Bool
        | Kind::Dot
        | Kind::Field
        | Kind::LeftParen
        | Kind::Nil
        | Kind::Number
        | Kind::Quoted
        | Kind::Variable => true,
        _ => false,
    }
}

fn is_keyword(text: &str) -> bool {
    matches!(
        text,
        "block"
            | "break"
            | "continue"
            | "define"
            | "else"
            | "end"
            | "if"
            | "range"
            | "template"
            | "with"
    )
}
