//! Sums with Neumaier's compensation, and means that survive overflow.
//!
//! Source: Prometheus `util/kahansum`; the order of operations is kept so that the last bits agree.

/// A running sum with the error made so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct CompensatedSum {
    /// The sum without compensation.
    pub(crate) sum: f64,
    /// What to add to it.
    pub(crate) compensation: f64,
}

impl CompensatedSum {
    /// Returns the sum of one number.
    pub(crate) fn of(first: f64) -> Self {
        Self {
            sum: first,
            compensation: 0.0,
        }
    }

    /// Adds `value`.
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.compensation = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.compensation += (self.sum - total) + value;
        } else {
            self.compensation += (value - total) + self.sum;
        }
        self.sum = total;
    }

    /// Returns the compensated sum.
    pub(crate) fn total(self) -> f64 {
        self.sum + self.compensation
    }
}

/// A running mean: a sum that turns into an incremental mean when it would overflow.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Mean {
    state: CompensatedSum,
    count: f64,
    is_incremental: bool,
}

impl Mean {
    /// Returns the mean of one number.
    pub(crate) fn of(first: f64) -> Self {
        Self {
            state: CompensatedSum::of(first),
            count: 1.0,
            is_incremental: false,
        }
    }

    /// Adds `value`.
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.is_incremental {
            let mut next = self.state;
            next.add(value);
            if !next.sum.is_infinite() {
                self.state = next;
                return;
            }
            self.is_incremental = true;
            self.state.sum /= self.count - 1.0;
            self.state.compensation /= self.count - 1.0;
        }
        let share = (self.count - 1.0) / self.count;
        self.state.sum *= share;
        self.state.compensation *= share;
        self.state.add(value / self.count);
    }

    /// Returns the mean.
    pub(crate) fn total(self) -> f64 {
        if self.is_incremental {
            return self.state.total();
        }
        self.state.sum / self.count + self.state.compensation / self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[f64]) -> f64 {
        let mut sum = CompensatedSum::default();
        values.iter().for_each(|value| sum.add(*value));
        sum.total()
    }

    #[test]
    fn small_numbers_survive_large_ones() {
        assert_eq!(sum(&[1.0, 1e100, 1.0, -1e100]), 2.0);
        assert_eq!(sum(&[f64::INFINITY, 1.0]), f64::INFINITY);
    }

    #[test]
    fn a_mean_survives_overflow() {
        let mut mean = Mean::of(f64::MAX);
        mean.add(f64::MAX);
        assert_eq!(mean.total(), f64::MAX);
    }
}
