//! Random native histograms, one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use thanos_core::histogram::{
    BucketLayout, CUSTOM_BUCKETS_SCHEMA, CounterResetHint, FloatHistogram, Span,
};

use super::super::choice::Choice;

/// What the histograms of a series are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Custom,
}

const BOUNDS: [&[f64]; 4] = [
    &[1.0, 2.0, 5.0],
    &[1.0, 5.0],
    &[-1.0, 0.0, 2.0, 4.0, 5.0],
    &[0.5, 3.0],
];

/// A series of histograms in the making.
#[derive(Debug)]
pub(super) struct Growing {
    kind: Kind,
    schema: i32,
    zero_threshold: f64,
    bounds: &'static [f64],
    has_negative: bool,
    positive: BTreeMap<i32, f64>,
    negative: BTreeMap<i32, f64>,
    zero_count: f64,
    /// Observations that are no numbers are in no bucket.
    nan_count: f64,
    sum: f64,
}

impl Growing {
    pub(super) fn new(choice: &mut Choice, kind: Kind) -> Self {
        Self {
            kind,
            schema: if kind == Kind::Custom {
                CUSTOM_BUCKETS_SCHEMA
            } else {
                choice.value(&[0, 0, 1, -1, 2])
            },
            zero_threshold: if kind == Kind::Custom {
                0.0
            } else {
                choice.value(&[0.001, 0.001, 0.0, 0.5])
            },
            bounds: BOUNDS[choice.below(BOUNDS.len())],
            has_negative: kind != Kind::Custom && choice.chance(40),
            positive: BTreeMap::new(),
            negative: BTreeMap::new(),
            zero_count: 0.0,
            nan_count: 0.0,
            sum: 0.0,
        }
    }

    /// Returns the next histogram.
    pub(super) fn next(&mut self, choice: &mut Choice) -> FloatHistogram {
        if self.kind == Kind::Gauge || choice.chance(4) {
            self.forget();
        }
        if choice.chance(3) {
            self.change_layout(choice);
        }
        for _ in 0..choice.between(0, 4) {
            self.observe(choice);
        }
        if choice.chance(1) {
            self.nan_count += 1.0;
            self.sum = f64::NAN;
        }
        self.build()
    }

    fn forget(&mut self) {
        self.positive.clear();
        self.negative.clear();
        (self.zero_count, self.nan_count, self.sum) = (0.0, 0.0, 0.0);
    }

    fn change_layout(&mut self, choice: &mut Choice) {
        self.bounds = BOUNDS[choice.below(BOUNDS.len())];
        if self.kind == Kind::Custom {
            self.forget();
            return;
        }
        match choice.below(3) {
            0 => self.zero_threshold = choice.value(&[0.001, 0.0, 0.5, 1.0, 0.3]),
            1 => {
                self.schema = choice.value(&[0, 1, -1, 2, 3]);
                self.forget();
            }
            _ => self.forget(),
        }
    }

    fn observe(&mut self, choice: &mut Choice) {
        let weight = choice.value(&[1.0, 1.0, 2.0, 3.0]);
        if self.kind == Kind::Custom {
            let most = i64::try_from(self.bounds.len()).unwrap_or(0);
            let index = choice.between(0, most);
            self.count(index, false, weight);
        } else if choice.chance(15) {
            self.zero_count += weight;
        } else {
            let index = choice.between(-2, 4);
            let is_negative = self.has_negative && choice.chance(40);
            self.count(index, is_negative, weight);
            let sign = if is_negative { -1.0 } else { 1.0 };
            self.sum += sign * weight * 2_f64.powi(i32::try_from(index).unwrap_or(0));
        }
    }

    fn count(&mut self, index: i64, is_negative: bool, weight: f64) {
        let side = if is_negative {
            &mut self.negative
        } else {
            &mut self.positive
        };
        *side.entry(i32::try_from(index).unwrap_or(0)).or_default() += weight;
        if self.kind == Kind::Custom {
            self.sum += weight * index as f64;
        }
    }

    fn build(&self) -> FloatHistogram {
        let (positive_spans, positive) = spans(&self.positive);
        let (negative_spans, negative) = spans(&self.negative);
        let is_custom = self.kind == Kind::Custom;
        let layout = BucketLayout {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            positive_spans,
            negative_spans,
            custom_values: if is_custom {
                self.bounds.to_vec()
            } else {
                Vec::new()
            },
        };
        let mut histogram = FloatHistogram::new(Arc::new(layout), &positive, &negative)
            .expect("the spans were made for these buckets");
        histogram.zero_count = self.zero_count;
        let observed: f64 = positive.iter().chain(&negative).sum();
        histogram.count = observed + self.zero_count + self.nan_count;
        histogram.sum = self.sum;
        if self.kind == Kind::Gauge {
            histogram.counter_reset_hint = CounterResetHint::Gauge;
        }
        histogram
    }
}

fn spans(side: &BTreeMap<i32, f64>) -> (Vec<Span>, Vec<f64>) {
    let mut spans: Vec<Span> = Vec::new();
    let mut end = 0;
    for index in side.keys() {
        match spans.last_mut() {
            Some(last) if *index == end => last.length += 1,
            _ => spans.push(Span {
                offset: index - end,
                length: 1,
            }),
        }
        end = index + 1;
    }
    (spans, side.values().copied().collect())
}
