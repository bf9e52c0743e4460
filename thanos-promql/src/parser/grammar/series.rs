//! Series descriptions.

use std::sync::Arc;

use thanos_core::histogram::STALE_NAN;
use thanos_core::labels::LabelsBuilder;

use super::expression::signed;
use super::{Failure, Parser, Step};
use crate::parser::ast::METRIC_NAME;
use crate::parser::literal::{quote, unquote};
use crate::parser::ops::{BinaryOp, UnaryOp};
use crate::parser::series::{FloatRun, HistogramRun, SampleRun, SeriesDescription};
use crate::parser::token::{SeriesToken, TokenKind};

const SPACE: TokenKind = TokenKind::Series(SeriesToken::Space);
const TIMES: TokenKind = TokenKind::Series(SeriesToken::Times);
const IN_VALUES: &str = "series values";

impl Parser<'_> {
    /// Reads a metric and its values.
    pub(in crate::parser) fn series_description(&mut self) -> Step<SeriesDescription> {
        let labels = self.metric()?.build();
        let mut runs = Vec::new();
        if !matches!(self.peek(), SPACE | TokenKind::Eof) {
            self.recover(IN_VALUES, "");
        }
        // What is neither value nor space ends the description and is refused as text behind it.
        while self.take_if(SPACE).is_some() {
            if starts_run(self.peek()) {
                let result = self.sample_run();
                runs.extend(self.catch(result, IN_VALUES, "")?);
            }
        }
        Ok(SeriesDescription { labels, runs })
    }

    fn metric(&mut self) -> Step<LabelsBuilder> {
        let mut labels = LabelsBuilder::new();
        let name = self.peek().is_metric_name().then(|| self.take());
        if self.take_if(TokenKind::LeftBrace).is_some() {
            self.label_set(&mut labels)?;
        }
        if let Some(name) = name {
            labels.set(METRIC_NAME, self.text(name));
        }
        Ok(labels)
    }

    /// Reads labels up to the closing brace, the opening one read already.
    fn label_set(&mut self, labels: &mut LabelsBuilder) -> Step<()> {
        if self.take_if(TokenKind::RightBrace).is_some() {
            return Ok(());
        }
        loop {
            self.label_set_item(labels);
            loop {
                match self.peek() {
                    TokenKind::Comma => {
                        self.take();
                        break;
                    }
                    TokenKind::RightBrace => break,
                    _ => {
                        let result = self.reject();
                        self.catch(result, "label set", "\",\" or \"}\"")?;
                    }
                }
            }
            if self.take_if(TokenKind::RightBrace).is_some() {
                return Ok(());
            }
        }
    }

    fn label_set_item(&mut self, labels: &mut LabelsBuilder) {
        const IN_LABELS: &str = "label set";
        let kind = self.peek();
        if !matches!(kind, TokenKind::Identifier | TokenKind::String) {
            self.recover(IN_LABELS, "identifier or \"}\"");
            return;
        }
        let name_span = self.take();
        let name = if kind == TokenKind::String {
            unquote(self.text(name_span)).into_text()
        } else {
            self.text(name_span).into()
        };
        if self.take_if(TokenKind::Assign).is_none() {
            if kind == TokenKind::String {
                labels.set(METRIC_NAME, &name);
            } else {
                self.recover(IN_LABELS, "\"=\"");
            }
            return;
        }
        match self.take_if(TokenKind::String) {
            Some(value_span) => {
                let value = unquote(self.text(value_span)).into_text();
                labels.set(&name, &value);
            }
            None => self.recover(IN_LABELS, "string"),
        }
    }

    fn sample_run(&mut self) -> Step<SampleRun> {
        match self.peek() {
            TokenKind::Series(SeriesToken::Blank) => {
                self.take();
                let count = self.times()?.unwrap_or(1);
                Ok(SampleRun::Omitted { count })
            }
            TokenKind::Series(SeriesToken::OpenHistogram) => {
                self.histogram_run().map(SampleRun::Histograms)
            }
            _ => self.float_run().map(SampleRun::Floats),
        }
    }

    fn float_run(&mut self) -> Step<FloatRun> {
        let first = if self.peek() == TokenKind::Identifier {
            self.stale_marker()
        } else {
            self.any_number()?
        };
        let step = match self.take_sign() {
            Some((sign, _)) => Some(signed(sign, self.plain_number()?)),
            None => None,
        };
        let times = match (self.times()?, step) {
            // A step wants a repetition.
            (None, Some(_)) => return Err(Failure::Syntax),
            (times, _) => times,
        };
        Ok(FloatRun {
            first,
            step,
            count: count_with_first(times),
        })
    }

    /// Reads `stale`, the only word that is a value.
    fn stale_marker(&mut self) -> f64 {
        let span = self.take();
        let word = self.text(span);
        if word != "stale" {
            let word = quote(word);
            self.report(
                span,
                format!(
                    "unexpected identifier {word} in series values, expected number or \"stale\""
                ),
            );
        }
        STALE_NAN
    }

    fn histogram_run(&mut self) -> Step<HistogramRun> {
        let first = self.histogram()?;
        let mut is_hint_written = first.is_hint_written;
        let mut step = None;
        if let Some((sign, _)) = self.take_sign() {
            let other = self.histogram()?;
            // COMPAT: the last histogram decides for all.
            is_hint_written = other.is_hint_written;
            step = Some((sign, other));
        }
        let count = match (self.times()?, &step) {
            (None, Some(_)) => return Err(Failure::Syntax),
            (times, _) => count_with_first(times),
        };
        let first = Arc::new(first.build(self));
        let step = step.map(|(sign, other)| (sign, Arc::new(other.build(self))));
        if let Some((_, step)) = &step
            && count > 1
        {
            self.check_steps(first.layout().schema, step.layout().schema);
        }
        Ok(HistogramRun {
            first,
            step,
            count,
            is_hint_written,
        })
    }

    /// Reports histograms that cannot be added.
    fn check_steps(&mut self, first_schema: i32, step_schema: i32) {
        const CUSTOM: i32 = thanos_core::histogram::CUSTOM_BUCKETS_SCHEMA;
        let last = self.last_taken;
        if first_schema > step_schema {
            self.report(
                last,
                format!(
                    "error combining histograms: cannot merge from schema {step_schema} to {first_schema}"
                ),
            );
        } else if (first_schema == CUSTOM) != (step_schema == CUSTOM) {
            self.report(
                last,
                "cannot apply this operation on histograms with a mix of exponential and custom bucket schemas",
            );
        }
    }

    /// Reads `x3`, if it is there.
    fn times(&mut self) -> Step<Option<u64>> {
        if self.take_if(TIMES).is_none() {
            return Ok(None);
        }
        self.unsigned().map(Some)
    }

    pub(super) fn unsigned(&mut self) -> Step<u64> {
        let span = self.expect(TokenKind::Number)?;
        let text = self.text(span);
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        Ok(text.parse().unwrap_or_else(|_| {
            let reason = if is_number {
                "value out of range"
            } else {
                "invalid syntax"
            };
            let text = quote(text);
            self.report(
                span,
                format!(
                    "invalid repetition in series values: strconv.ParseUint: parsing {text}: {reason}"
                ),
            );
            if is_number { u64::MAX } else { 0 }
        }))
    }

    /// Reads a number with or without sign.
    pub(super) fn any_number(&mut self) -> Step<f64> {
        let sign = match self.peek() {
            TokenKind::Op(BinaryOp::Add | BinaryOp::Sub) => self.take_sign(),
            _ => None,
        };
        let sign = sign.map_or(UnaryOp::Plus, |(sign, _)| sign);
        Ok(signed(sign, self.plain_number()?))
    }

    pub(super) fn plain_number(&mut self) -> Step<f64> {
        while self.peek() != TokenKind::Number {
            self.reject()?;
        }
        Ok(self.number_literal().value)
    }
}

fn starts_run(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::Identifier
            | TokenKind::Number
            | TokenKind::Op(BinaryOp::Add | BinaryOp::Sub)
            | TokenKind::Series(SeriesToken::Blank | SeriesToken::OpenHistogram)
    )
}

/// COMPAT: a repetition counts the samples behind the first.
fn count_with_first(times: Option<u64>) -> u64 {
    times.unwrap_or(0).saturating_add(1)
}
