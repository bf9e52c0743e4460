//! Reads a script into commands. A command that cannot be read becomes a [`Command::Broken`].

use std::collections::VecDeque;

use super::eval::{self, Eval};
use super::load::{self, Load};
use crate::parser::{self, ParseErrors};

/// A command of a script.
#[derive(Debug)]
pub(super) enum Command {
    /// Drops all data.
    Clear,
    /// Adds series.
    Load(Load),
    /// Evaluates a query.
    Eval(Box<Eval>),
    /// Is not part of the language.
    Broken(Problem),
}

/// What is wrong with a line.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) line: usize,
    pub(super) what: String,
}

impl Problem {
    pub(super) fn new(line: usize, what: impl Into<String>) -> Self {
        let what = what.into();
        Self { line, what }
    }

    /// Returns the first complaint of the parser about a text of `line`.
    pub(super) fn of_parser(line: usize, errors: &ParseErrors) -> Self {
        Self::new(line, errors.to_string())
    }
}

/// The lines of a script, trimmed; comments are empty.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    rest: VecDeque<(usize, &'a str)>,
}

impl<'a> Lines<'a> {
    fn of(script: &'a str) -> Self {
        let lines = script
            .lines()
            .map(str::trim)
            .map(|line| if line.starts_with('#') { "" } else { line });
        Self {
            rest: (1..).zip(lines).collect(),
        }
    }

    /// Takes the next line of the command, which an empty line ends.
    pub(super) fn next_of_block(&mut self) -> Option<(usize, &'a str)> {
        let (_, line) = self.rest.front()?;
        if line.is_empty() {
            return None;
        }
        self.rest.pop_front()
    }

    /// Takes the line that begins the next command.
    fn next_command(&mut self) -> Option<(usize, &'a str)> {
        while let Some(line) = self.rest.pop_front() {
            if !line.1.is_empty() {
                return Some(line);
            }
        }
        None
    }
}

/// Reads a script. What follows a broken line in its block is skipped.
pub(super) fn parse(script: &str, options: &parser::Options) -> Vec<Command> {
    let mut lines = Lines::of(script);
    let mut commands = Vec::new();
    while let Some((line, text)) = lines.next_command() {
        let command = parse_command(line, text, &mut lines, options).unwrap_or_else(|problem| {
            while lines.next_of_block().is_some() {}
            Command::Broken(problem)
        });
        commands.push(command);
    }
    commands
}

fn parse_command(
    line: usize,
    text: &str,
    lines: &mut Lines<'_>,
    options: &parser::Options,
) -> Result<Command, Problem> {
    let word = text.split([' ', '\t']).next().unwrap_or(text);
    let word = word.to_ascii_lowercase();
    if word == "clear" {
        Ok(Command::Clear)
    } else if word.starts_with("load") {
        load::parse(line, text, lines, options).map(Command::Load)
    } else if word.starts_with("eval") {
        eval::parse(line, text, lines, options).map(|eval| Command::Eval(Box::new(eval)))
    } else {
        let what = format!("invalid command {text:?}: expected load, clear or eval");
        Err(Problem::new(line, what))
    }
}

/// Splits off the first word.
pub(super) fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}
