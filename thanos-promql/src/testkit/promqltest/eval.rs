//! The commands `eval instant` and `eval range` with what they expect.

use std::time::Duration;

use thanos_core::labels::Labels;
use thanos_core::time::{SignedDuration, Timestamp};

use super::matcher::TextMatch;
use super::number;
use super::script::{Lines, Problem, split_word};
use super::values::{self, Slot};
use crate::parser::{self, Expr};

/// An evaluation.
#[derive(Debug)]
pub(super) struct Eval {
    pub(super) line: usize,
    pub(super) text: String,
    pub(super) expr: Expr,
    pub(super) times: Times,
    pub(super) expected: Expected,
}

/// When a query is evaluated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Times {
    Instant(Timestamp),
    Range(Steps),
}

/// Steps from one time to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Steps {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) step: Duration,
}

/// What an evaluation must give.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// An error that all of these match.
    pub(super) fail: Option<Vec<TextMatch>>,
    pub(super) warn: ExpectedNotes,
    pub(super) info: ExpectedNotes,
    pub(super) is_ordered: bool,
    pub(super) value: ExpectedValue,
    /// The times of the samples when an instant query gives a matrix.
    pub(super) matrix_steps: Option<Steps>,
}

impl Expected {
    /// Returns what is left to expect from who tells neither texts nor an order.
    pub(super) fn without_texts(mut self) -> Self {
        self.fail = self.fail.map(|_| Vec::new());
        self.is_ordered = false;
        for notes in [&mut self.warn, &mut self.info] {
            notes.some |= !notes.matches.is_empty();
            notes.matches.clear();
        }
        self
    }
}

/// Which annotations of one severity there must be.
#[derive(Debug, Default)]
pub(super) struct ExpectedNotes {
    /// Each of these matches an annotation, and each annotation is matched by one; none means no condition.
    pub(super) matches: Vec<TextMatch>,
    /// There is at least one.
    pub(super) some: bool,
    /// There is none.
    pub(super) none: bool,
}

/// The value that an evaluation must give.
#[derive(Debug)]
pub(super) enum ExpectedValue {
    Scalar(f64),
    String(String),
    /// A vector or matrix; of two lines for one series the last counts.
    Series(Vec<ExpectedSeries>),
}

impl Default for ExpectedValue {
    fn default() -> Self {
        Self::Series(Vec::new())
    }
}

/// A series of an expected result.
#[derive(Debug)]
pub(super) struct ExpectedSeries {
    pub(super) labels: Labels,
    pub(super) slots: Vec<Slot>,
}

/// Reads the lines of an evaluation, of which `text` is the first.
pub(super) fn parse(
    line: usize,
    text: &str,
    lines: &mut Lines<'_>,
    options: &parser::Options,
) -> Result<Eval, Problem> {
    let (word, rest) = split_word(text);
    let mode = match word {
        "eval" => "",
        word => word
            .strip_prefix("eval_")
            .filter(|mode| matches!(*mode, "fail" | "warn" | "info" | "ordered"))
            .ok_or_else(|| invalid_command(line))?,
    };
    let (times, query) = match split_word(rest) {
        ("instant", rest) => parse_instant(line, rest)?,
        ("range", rest) if mode != "ordered" => parse_range(line, rest)?,
        _ => return Err(invalid_command(line)),
    };
    let expr = parser::parse(query, options)
        .map_err(|errors| Problem::of_parser(line, &errors).in_query(query))?;
    let mut expected = Expected::default();
    match mode {
        "fail" => expected.fail = Some(Vec::new()),
        "warn" => expected.warn.some = true,
        "info" => expected.info.some = true,
        "ordered" => expected.is_ordered = true,
        _ => {}
    }
    let is_instant = matches!(times, Times::Instant(_));
    let mut reader = Reader {
        expected,
        is_instant,
        is_old_fail: mode == "fail",
    };
    reader.read(lines, options)?;
    let times = match (times, reader.expected.matrix_steps) {
        // COMPAT: the last of the expected times is the time of the evaluation, whatever the command says.
        (Times::Instant(_), Some(steps)) => Times::Instant(steps.end),
        (times, _) => times,
    };
    Ok(Eval {
        line,
        text: query.to_owned(),
        expr,
        times,
        expected: reader.expected,
    })
}

impl Problem {
    fn in_query(mut self, query: &str) -> Self {
        self.what = format!("{query}: {}", self.what);
        self
    }
}

fn invalid_command(line: usize) -> Problem {
    let what = "invalid evaluation command. Must be either \
                'eval[_fail|_warn|_info|_ordered] instant at <offset:duration> <query>' or \
                'eval[_fail|_warn|_info] range from <from> to <to> step <step> <query>'";
    Problem::new(line, what)
}

fn parse_instant(line: usize, text: &str) -> Result<(Times, &str), Problem> {
    let ([time], query) = keywords(text, ["at"])
        .filter(|(_, query)| !query.is_empty())
        .ok_or_else(|| invalid_command(line))?;
    let time = parse_duration(time).map_err(|why| {
        Problem::new(
            line,
            format!("invalid timestamp definition {time:?}: {why}"),
        )
    })?;
    Ok((Times::Instant(since_epoch(time)), query))
}

fn parse_range(line: usize, text: &str) -> Result<(Times, &str), Problem> {
    let (words, query) = keywords(text, ["from", "to", "step"])
        .filter(|(_, query)| !query.is_empty())
        .ok_or_else(|| invalid_command(line))?;
    let steps = parse_steps(words).map_err(|what| Problem::new(line, what))?;
    Ok((Times::Range(steps), query))
}

/// Splits `from 1m to 2m rest` at its keywords into the words behind them and the rest.
fn keywords<'a, const COUNT: usize>(
    text: &'a str,
    keywords: [&str; COUNT],
) -> Option<([&'a str; COUNT], &'a str)> {
    let mut words = [""; COUNT];
    let mut rest = text;
    for (word, keyword) in words.iter_mut().zip(keywords) {
        let (found, after) = split_word(rest);
        if found != keyword {
            return None;
        }
        (*word, rest) = split_word(after);
    }
    Some((words, rest))
}

fn parse_steps([from, to, step]: [&str; 3]) -> Result<Steps, String> {
    let start = parse_duration(from)
        .map_err(|why| format!("invalid start timestamp definition {from:?}: {why}"))?;
    let end = parse_duration(to)
        .map_err(|why| format!("invalid end timestamp definition {to:?}: {why}"))?;
    if end < start {
        return Err(format!(
            "invalid test definition, end timestamp ({to}) is before start timestamp ({from})"
        ));
    }
    let invalid_step = |why| format!("invalid step definition {step:?}: {why}");
    let step = parse_duration(step).map_err(invalid_step)?;
    Ok(Steps {
        start: since_epoch(start),
        end: since_epoch(end),
        step: step.to_std().unwrap_or_default(),
    })
}

fn parse_duration(text: &str) -> Result<SignedDuration, String> {
    SignedDuration::parse_prometheus(text).map_err(|error| error.to_string())
}

fn since_epoch(duration: SignedDuration) -> Timestamp {
    Timestamp::from_millis(duration.as_millis())
}

/// Reads what is expected, line by line.
struct Reader {
    expected: Expected,
    is_instant: bool,
    is_old_fail: bool,
}

impl Reader {
    fn read(&mut self, lines: &mut Lines<'_>, options: &parser::Options) -> Result<(), Problem> {
        while let Some((line, text)) = lines.next_of_block() {
            let problem = |what: String| Problem::new(line, what);
            if self.read_old_fail(text).map_err(problem)? {
                // COMPAT: nothing of the evaluation follows this line.
                return Ok(());
            }
            if let Some(rest) = text.strip_prefix("expect range vector") {
                self.expected.matrix_steps = Some(parse_matrix_steps(rest).map_err(problem)?);
            } else if let Some(rest) = text.strip_prefix("expect string") {
                self.expected.value = ExpectedValue::String(parse_text(rest).map_err(problem)?);
            } else if text.split(' ').next() == Some("expect") {
                self.read_expect(text).map_err(problem)?;
            } else if let Some(value) = number::parse(text) {
                self.expected.value = ExpectedValue::Scalar(value);
                // COMPAT: nothing of the evaluation follows a number.
                return Ok(());
            } else {
                self.read_series(line, text, options)?;
            }
        }
        Ok(())
    }

    /// Reads the conditions of `eval_fail`.
    fn read_old_fail(&mut self, text: &str) -> Result<bool, String> {
        if !self.is_old_fail {
            return Ok(false);
        }
        let condition = if let Some(message) = text.strip_prefix("expected_fail_message") {
            TextMatch::Message(message.trim().to_owned())
        } else if let Some(pattern) = text.strip_prefix("expected_fail_regexp") {
            TextMatch::regex(pattern.trim())?
        } else {
            return Ok(false);
        };
        self.expected.fail.get_or_insert_default().push(condition);
        Ok(true)
    }

    /// Reads `expect fail`, `expect warn msg: text` and the like.
    fn read_expect(&mut self, text: &str) -> Result<(), String> {
        let invalid = || {
            "invalid expect statement, must match `expect <type> <match_type>: <string>` format"
                .to_owned()
        };
        let (_, rest) = split_word(text);
        let (kind, rest) = split_word(rest);
        let condition = match rest.split_once(':') {
            None if rest.is_empty() => TextMatch::Any,
            Some(("msg", text)) if !text.is_empty() => TextMatch::Message(text.trim().to_owned()),
            Some(("regex", pattern)) if !pattern.is_empty() => TextMatch::regex(pattern.trim())?,
            _ => return Err(invalid()),
        };
        let expected = &mut self.expected;
        match kind {
            "fail" => match &mut expected.fail {
                Some(known) if !known.is_empty() => {
                    return Err("multiple expect fail lines are not allowed".to_owned());
                }
                fail => fail.get_or_insert_default().push(condition),
            },
            "warn" => expected.warn.matches.push(condition),
            "info" => expected.info.matches.push(condition),
            "no_warn" => expected.warn.none = true,
            "no_info" => expected.info.none = true,
            "ordered" => expected.is_ordered = true,
            _ => return Err(invalid()),
        }
        for (notes, kind) in [(&expected.warn, "warn"), (&expected.info, "info")] {
            if notes.none && !notes.matches.is_empty() {
                return Err(format!("{kind} and no_{kind} cannot be used together"));
            }
        }
        Ok(())
    }

    fn read_series(
        &mut self,
        line: usize,
        text: &str,
        options: &parser::Options,
    ) -> Result<(), Problem> {
        let (labels, slots) = values::parse(line, text, options)?;
        let is_vector = self.is_instant && self.expected.matrix_steps.is_none();
        if is_vector && slots.len() > 1 {
            let what = "expecting multiple values in instant evaluation not allowed. consider using \
                        'expect range vector' directive to enable a range vector result for an \
                        instant query";
            return Err(Problem::new(line, what));
        }
        if is_vector && slots.is_empty() {
            return Err(Problem::new(line, "the expected series has no value"));
        }
        let series = ExpectedSeries { labels, slots };
        match &mut self.expected.value {
            ExpectedValue::Series(known) => {
                known.retain(|one| one.labels != series.labels);
                known.push(series);
            }
            ExpectedValue::Scalar(_) | ExpectedValue::String(_) => {
                self.expected.value = ExpectedValue::Series(vec![series]);
            }
        }
        Ok(())
    }
}

fn parse_matrix_steps(text: &str) -> Result<Steps, String> {
    let (words, _) = keywords(text, ["from", "to", "step"])
        .filter(|(_, rest)| rest.is_empty())
        .ok_or("invalid range vector definition: expected from <from> to <to> step <step>")?;
    parse_steps(words)
}

/// Reads a quoted text.
fn parse_text(text: &str) -> Result<String, String> {
    match parser::parse(text.trim_start(), &parser::Options::default()) {
        Ok(Expr::String(literal)) => Ok(literal.value.to_string()),
        _ if text.trim().is_empty() => Err(
            "expected string literal not valid - a quoted string literal is required".to_owned(),
        ),
        _ => Err(
            "expected string literal not valid - check that the string is correctly quoted"
                .to_owned(),
        ),
    }
}
