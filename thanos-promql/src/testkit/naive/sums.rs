//! Sums, means, variances, quantiles and regressions over plain lists of numbers.
//!
//! Source: Prometheus `util/kahansum`, and `promql/functions.go` for the statistics.

/// A sum with Neumaier's compensation: what was lost by rounding is kept beside it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    pub(super) value: f64,
    pub(super) lost: f64,
}

impl Sum {
    pub(super) fn of(value: f64) -> Self {
        Self { value, lost: 0.0 }
    }

    pub(super) fn plus(self, more: f64) -> Self {
        let value = self.value + more;
        let lost = if value.is_infinite() {
            0.0
        } else if self.value.abs() >= more.abs() {
            self.lost + ((self.value - value) + more)
        } else {
            self.lost + ((more - value) + self.value)
        };
        Self { value, lost }
    }

    pub(super) fn times(self, factor: f64) -> Self {
        self.changed(|part| part * factor)
    }

    pub(super) fn over(self, divisor: f64) -> Self {
        self.changed(|part| part / divisor)
    }

    fn changed(self, change: impl Fn(f64) -> f64) -> Self {
        Self {
            value: change(self.value),
            // Nothing lost stays nothing lost, even times infinity.
            lost: if self.lost == 0.0 {
                0.0
            } else {
                change(self.lost)
            },
        }
    }

    pub(super) fn total(self) -> f64 {
        // Without a loss the bits stay as they are: some NaN have a meaning.
        if self.lost == 0.0 {
            self.value
        } else {
            self.value + self.lost
        }
    }
}

/// Returns the sum of all values.
pub(super) fn sum(values: &[f64]) -> f64 {
    let sum = values
        .iter()
        .fold(Sum::default(), |sum, value| sum.plus(*value));
    if sum.value.is_infinite() {
        sum.value
    } else {
        sum.total()
    }
}

/// Returns the mean; once the sum would overflow, the mean itself is carried on.
pub(super) fn mean(values: &[f64]) -> f64 {
    let mut state = Sum::of(values[0]);
    let mut carries_mean = false;
    for (place, value) in values.iter().enumerate().skip(1) {
        let before = place as f64;
        let count = before + 1.0;
        if !carries_mean {
            let next = state.plus(*value);
            if !next.value.is_infinite() {
                state = next;
                continue;
            }
            carries_mean = true;
            state = state.over(before);
        }
        state = state.times(before / count).plus(value / count);
    }
    if carries_mean {
        state.total()
    } else {
        let count = values.len() as f64;
        state.value / count + state.lost / count
    }
}

/// Returns the variance of the values of an aggregation.
pub(super) fn variance_of_group(values: &[f64]) -> f64 {
    let first = values[0];
    let mut mean = first;
    let mut squares = if first.is_finite() { 0.0 } else { f64::NAN };
    for (place, value) in values.iter().enumerate().skip(1) {
        let delta = value - mean;
        mean += delta / (place as f64 + 1.0);
        squares += delta * (value - mean);
    }
    squares / values.len() as f64
}

/// Returns the variance of the values of a window.
pub(super) fn variance_over_time(values: &[f64]) -> f64 {
    let (mut mean, mut squares) = (Sum::default(), Sum::default());
    for (place, value) in values.iter().enumerate() {
        let delta = value - mean.total();
        mean = mean.plus(delta / (place as f64 + 1.0));
        squares = squares.plus(delta * (value - mean.total()));
    }
    squares.total() / values.len() as f64
}

/// Returns a quantile by linear interpolation between the two nearest values.
pub(super) fn quantile(q: f64, values: &[f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) => std::cmp::Ordering::Less,
        (false, true) => std::cmp::Ordering::Greater,
        (false, false) => a.total_cmp(b),
    });
    let rank = q * (sorted.len() as f64 - 1.0);
    let weight = rank - rank.floor();
    let lower = (0..sorted.len())
        .rfind(|place| *place as f64 <= rank)
        .unwrap_or(0);
    let upper = (lower + 1).min(sorted.len() - 1);
    sorted[lower] * (1.0 - weight) + sorted[upper] * weight
}

/// Returns the slope per second and the value at `time` of the least-squares line through the points.
pub(super) fn regression(points: &[(i64, f64)], time: i64) -> (f64, f64) {
    let first = points[0].1;
    if points.iter().all(|(_, y)| *y == first) {
        return if first.is_infinite() {
            (f64::NAN, f64::NAN)
        } else {
            (0.0, first)
        };
    }
    let count = points.len() as f64;
    let total = |value: &dyn Fn(f64, f64) -> f64| {
        let add = |sum: Sum, (t, y): &(i64, f64)| sum.plus(value((t - time) as f64 / 1e3, *y));
        points.iter().fold(Sum::default(), add).total()
    };
    let (x, y) = (total(&|x, _| x), total(&|_, y| y));
    let (xy, xx) = (total(&|x, y| x * y), total(&|x, _| x * x));
    let slope = (xy - x * y / count) / (xx - x * x / count);
    (slope, y / count - slope * x / count)
}

/// Returns the larger number; unlike Rust's `max` not-a-number wins, but for infinity.
pub(super) fn go_max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// Returns the smaller number; unlike Rust's `min` not-a-number wins, but for minus infinity.
pub(super) fn go_min(a: f64, b: f64) -> f64 {
    -go_max(-a, -b)
}
