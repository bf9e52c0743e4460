//! The running total of a counter.

use crate::time::Timestamp;

/// A counter read from the chunks of a series, raw or downsampled, with its resets taken out.
///
/// A downsampled chunk of a counter begins with the first value as it was scraped and ends with a second sample at the
/// last time: the last value as it was scraped. Comparing the two tells whether the counter was reset between chunks.
///
/// # Example
///
/// ```
/// use thanos_core::downsample::CounterTotal;
/// use thanos_core::time::Timestamp;
///
/// let mut total = CounterTotal::default();
/// let mut add = |time, value| total.add(Timestamp::from_millis(time), value);
/// assert_eq!((add(10, 1.0), add(30, 5.0)), (Some(1.0), Some(5.0)));
/// // The last value, then the first one of the next chunk.
/// assert_eq!((add(30, 5.0), add(50, 1.0)), (None, Some(6.0)));
/// ```
#[derive(Debug, Clone, Default)]
pub struct CounterTotal {
    last_time: Option<Timestamp>,
    last_value: Option<f64>,
    total: f64,
}

impl CounterTotal {
    /// Takes a sample and returns the total if there is one to show at its time: not where the sample only says what the
    /// last value was, lies before another one, or is not a number.
    pub fn add(&mut self, time: Timestamp, value: f64) -> Option<f64> {
        if value.is_nan() {
            return None;
        }
        if self.last_time == Some(time) {
            self.last_value = Some(value);
            return None;
        }
        if !self.is_news(time) {
            return None;
        }
        match self.last_value {
            Some(last) if value >= last => self.total += value - last,
            Some(_) => self.total += value,
            // Not added to zero, which would lose the sign of another zero.
            None => self.total = value,
        }
        self.last_value = Some(value);
        Some(self.total)
    }

    /// Moves on to `time`, unless that is no later than what has been seen.
    pub fn is_news(&mut self, time: Timestamp) -> bool {
        let is_news = self.last_time.is_none_or(|last| last < time);
        if is_news {
            self.last_time = Some(time);
        }
        is_news
    }

    /// Returns the last value as it was scraped.
    pub fn last_value(&self) -> Option<f64> {
        self.last_value
    }
}
