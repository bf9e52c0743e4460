//! Histograms in series descriptions: `{{schema:1 count:3 buckets:[1 2] offset:-1}}`.

use std::sync::Arc;

use thanos_core::histogram::{BucketLayout, CounterResetHint, FloatHistogram, Span as BucketSpan};

use super::{Parser, Step};
use crate::parser::ops::BinaryOp;
use crate::parser::span::Span;
use crate::parser::token::{HintWord, HistogramKey, SeriesToken, TokenKind};

const SPACE: TokenKind = TokenKind::Series(SeriesToken::Space);
const CLOSE: TokenKind = TokenKind::Series(SeriesToken::CloseHistogram);

/// The fields of a histogram as written.
#[derive(Debug, Default)]
pub(super) struct HistogramFields {
    seen: Vec<HistogramKey>,
    layout: BucketLayout,
    sum: f64,
    count: f64,
    zero_count: f64,
    offset: i32,
    negative_offset: i32,
    buckets: Vec<f64>,
    negative_buckets: Vec<f64>,
    hint: CounterResetHint,
    pub(super) is_hint_written: bool,
}

/// The value of a field.
#[derive(Debug)]
enum Field {
    Int(i32),
    Number(f64),
    List(Vec<f64>),
    Hint(CounterResetHint),
}

impl HistogramFields {
    /// Returns the histogram; one that cannot be is reported to `parser`.
    pub(super) fn build(self, parser: &mut Parser<'_>) -> FloatHistogram {
        let mut layout = self.layout;
        layout.positive_spans = one_span(self.offset, &self.buckets);
        layout.negative_spans = one_span(self.negative_offset, &self.negative_buckets);
        let built = FloatHistogram::new(Arc::new(layout), &self.buckets, &self.negative_buckets);
        match built {
            Ok(mut histogram) => {
                histogram.counter_reset_hint = self.hint;
                histogram.count = self.count;
                histogram.zero_count = self.zero_count;
                histogram.sum = self.sum;
                histogram
            }
            Err(error) => {
                parser.report(parser.last_taken, error.to_string());
                FloatHistogram::stale()
            }
        }
    }

    fn set(&mut self, key: HistogramKey, value: Field) {
        match (key, value) {
            (HistogramKey::Schema, Field::Int(value)) => self.layout.schema = value,
            (HistogramKey::Offset, Field::Int(value)) => self.offset = value,
            (HistogramKey::NegativeOffset, Field::Int(value)) => self.negative_offset = value,
            (HistogramKey::Sum, Field::Number(value)) => self.sum = value,
            (HistogramKey::Count, Field::Number(value)) => self.count = value,
            (HistogramKey::ZeroBucket, Field::Number(value)) => self.zero_count = value,
            (HistogramKey::ZeroBucketWidth, Field::Number(value)) => {
                self.layout.zero_threshold = value;
            }
            (HistogramKey::Buckets, Field::List(list)) => self.buckets = list,
            (HistogramKey::NegativeBuckets, Field::List(list)) => self.negative_buckets = list,
            (HistogramKey::CustomValues, Field::List(list)) => self.layout.custom_values = list,
            (HistogramKey::CounterResetHint, Field::Hint(hint)) => {
                self.hint = hint;
                self.is_hint_written = true;
            }
            (key, value) => unreachable!("{key:?} is never read with {value:?}"),
        }
    }
}

fn one_span(offset: i32, buckets: &[f64]) -> Vec<BucketSpan> {
    match u32::try_from(buckets.len()) {
        Ok(0) => Vec::new(),
        Ok(length) => vec![BucketSpan { offset, length }],
        // Longer than any text that is read; the histogram then refuses the buckets.
        Err(_) => Vec::new(),
    }
}

impl Parser<'_> {
    pub(super) fn histogram(&mut self) -> Step<HistogramFields> {
        self.expect(TokenKind::Series(SeriesToken::OpenHistogram))?;
        let mut fields = HistogramFields::default();
        if self.take_if(CLOSE).is_some() {
            return Ok(fields);
        }
        if self.take_if(SPACE).is_some() {
            self.expect(CLOSE)?;
            return Ok(fields);
        }
        self.histogram_field(&mut fields)?;
        loop {
            let result = match self.peek() {
                CLOSE => {
                    self.take();
                    return Ok(fields);
                }
                SPACE => {
                    self.take();
                    if self.peek() == CLOSE {
                        continue;
                    }
                    self.histogram_field(&mut fields)
                }
                _ => self.reject(),
            };
            self.catch(
                result,
                "histogram description",
                "histogram description key, e.g. buckets:[5 10 7]",
            )?;
        }
    }

    fn histogram_field(&mut self, fields: &mut HistogramFields) -> Step<()> {
        let key = loop {
            match self.peek() {
                TokenKind::Series(SeriesToken::Key(key)) => break key,
                _ => self.reject()?,
            }
        };
        let key_span = self.take();
        self.expect(TokenKind::Colon)?;
        let value = self.field_value(key)?;
        if fields.seen.contains(&key) {
            let name = self.text(key_span).to_ascii_lowercase();
            // COMPAT: without a place.
            self.report(
                Span::default(),
                format!("duplicate key \"{name}\" in histogram"),
            );
        } else {
            fields.seen.push(key);
            fields.set(key, value);
        }
        Ok(())
    }

    fn field_value(&mut self, key: HistogramKey) -> Step<Field> {
        match key {
            HistogramKey::Schema | HistogramKey::Offset | HistogramKey::NegativeOffset => {
                self.integer().map(Field::Int)
            }
            HistogramKey::Sum | HistogramKey::Count | HistogramKey::ZeroBucket => {
                self.any_number().map(Field::Number)
            }
            HistogramKey::ZeroBucketWidth => self.plain_number().map(Field::Number),
            HistogramKey::Buckets | HistogramKey::NegativeBuckets | HistogramKey::CustomValues => {
                self.bucket_list().map(Field::List)
            }
            HistogramKey::CounterResetHint => self.counter_reset_hint().map(Field::Hint),
        }
    }

    fn integer(&mut self) -> Step<i32> {
        let is_negative = self.take_if(TokenKind::Op(BinaryOp::Sub)).is_some();
        let magnitude = i64::try_from(self.unsigned()?).unwrap_or(i64::MAX);
        let value = if is_negative { -magnitude } else { magnitude };
        // Beyond any schema and any bucket index either way.
        let edge = if is_negative { i32::MIN } else { i32::MAX };
        Ok(i32::try_from(value).unwrap_or(edge))
    }

    fn counter_reset_hint(&mut self) -> Step<CounterResetHint> {
        let word = loop {
            match self.peek() {
                TokenKind::Series(SeriesToken::Hint(word)) => break word,
                _ => self.reject()?,
            }
        };
        self.take();
        Ok(match word {
            HintWord::Unknown => CounterResetHint::Unknown,
            HintWord::Reset => CounterResetHint::CounterReset,
            HintWord::NotReset => CounterResetHint::NotCounterReset,
            HintWord::Gauge => CounterResetHint::Gauge,
        })
    }

    /// Reads numbers in brackets.
    fn bucket_list(&mut self) -> Step<Vec<f64>> {
        self.expect(TokenKind::LeftBracket)?;
        let mut list = vec![self.any_number()?];
        loop {
            let result = match self.peek() {
                TokenKind::RightBracket => {
                    self.take();
                    return Ok(list);
                }
                SPACE => {
                    self.take();
                    if self.peek() == TokenKind::RightBracket {
                        continue;
                    }
                    self.any_number().map(|number| list.push(number))
                }
                _ => self.reject(),
            };
            // COMPAT: what does not fit between the numbers is dropped without a word.
            if result.is_err() {
                self.drop_silently(result)?;
            }
        }
    }
}
