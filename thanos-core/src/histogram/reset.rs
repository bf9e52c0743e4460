//! The search for counter resets. Source: Prometheus model/histogram, FloatHistogram.DetectReset.

use std::sync::Arc;

use super::arithmetic::{Buckets, bounds_differ, common_bounds};
use super::overlay::inside_zero_bucket;
use super::spans::pairs;
use super::{CounterResetHint, FloatHistogram};

impl FloatHistogram {
    /// Reports whether a counter was reset between `previous` and this histogram.
    ///
    /// A definite hint decides. Otherwise every count must have grown or stayed, also after the previous
    /// histogram is brought to this one's resolution and zero bucket; a higher resolution or a smaller zero
    /// bucket only come with a reset.
    pub fn detect_reset(&self, previous: &Self) -> bool {
        match self.counter_reset_hint {
            CounterResetHint::CounterReset => return true,
            CounterResetHint::NotCounterReset => return false,
            CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        let (own, before) = (self.layout(), previous.layout());
        if own.has_custom_buckets() {
            if !before.has_custom_buckets() {
                return true;
            }
            if bounds_differ(own, before) {
                return self.has_lower_common_bucket(previous);
            }
        }
        if own.schema > before.schema || own.zero_threshold < before.zero_threshold {
            return true;
        }
        let (zero_count, threshold) = previous.zero_count_for(own.zero_threshold);
        if threshold != own.zero_threshold || self.zero_count < zero_count {
            return true;
        }
        self.has_lower_bucket(previous)
    }

    fn has_lower_common_bucket(&self, previous: &Self) -> bool {
        let bounds = common_bounds(
            &self.layout().custom_values,
            &previous.layout().custom_values,
        );
        let (now, before) = (self.counts_over(&bounds), previous.counts_over(&bounds));
        now.iter().zip(&before).any(|(now, before)| now < before)
    }

    /// Returns the counts over some of the custom bounds.
    fn counts_over(&self, bounds: &[f64]) -> Vec<f64> {
        let mut counts = vec![0.0; bounds.len() + 1];
        for (target, count) in self.layout().targets(bounds).zip(self.buckets()) {
            counts[target] += count;
        }
        counts
    }

    fn has_lower_bucket(&self, previous: &Self) -> bool {
        let own = self.layout();
        if Arc::ptr_eq(own, previous.layout()) && own.buckets_are_outside_zero() {
            let pairs = self.buckets().iter().zip(previous.buckets());
            return pairs.fold(false, |found, (now, before)| found | (now < before));
        }
        let lower = |(spans, counts): Buckets<'_>, (before_spans, before): Buckets<'_>| {
            // COMPAT: with a threshold of zero no bucket is passed over, not even one that ends at zero.
            let hidden = if own.zero_threshold == 0.0 {
                0
            } else {
                inside_zero_bucket(&before_spans, own)
            };
            pairs(&spans, &before_spans).any(|pair| match (pair.a, pair.b) {
                (_, Some(at)) if at < hidden => false,
                (Some(now), Some(at)) => counts[now] < before[at],
                (None, Some(at)) => before[at] != 0.0,
                (_, None) => false,
            })
        };
        let schema = own.schema;
        lower(self.positive_at(schema), previous.positive_at(schema))
            || lower(self.negative_at(schema), previous.negative_at(schema))
    }
}
