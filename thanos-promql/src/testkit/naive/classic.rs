//! Quantiles and fractions of histograms: classic ones made of series with a label `le`, and native ones.

use super::evaluate::Evaluator;
use super::observations;
use super::series::{Cell, Member, labels_where, metric_name};
use thanos_core::labels::{Labels, LabelsBuilder};
use thanos_core::text::{FloatFormat, GoFloat};

/// Differences below this share of the counts come from rounding.
const TOLERANCE: f64 = 1e-12;

/// The cumulative buckets of a classic histogram: upper bound and count.
type Buckets = Vec<(f64, f64)>;

/// The histograms in a vector.
#[derive(Debug, Default)]
struct Histograms {
    classic: Vec<(Labels, bool, Buckets)>,
    native: Vec<Member>,
}

impl Evaluator<'_> {
    /// Sorts a vector into histograms.
    ///
    /// Source: Prometheus `promql/engine.go`, `resetHistograms`.
    fn histograms(&mut self, vector: &[Member]) -> Histograms {
        let mut found = Histograms::default();
        for member in vector {
            let Cell::Float(count) = member.cell else {
                found.native.push(member.clone());
                continue;
            };
            let le = member.labels.get("le").unwrap_or_default();
            let Ok(bound) = le.parse::<f64>() else {
                self.warn(format!("bad bucket label {le}"));
                continue;
            };
            let labels = labels_where(&member.labels, |name| name != "le");
            let known = found.classic.iter_mut().find(|known| known.0 == labels);
            match known {
                Some(known) => known.2.push((bound, count)),
                None => found
                    .classic
                    .push((labels, member.drop_name, vec![(bound, count)])),
            }
        }
        // A classic and a native histogram of the same labels: neither is looked at.
        let (mut native, classic) = (std::mem::take(&mut found.native), &mut found.classic);
        native.retain(|member| {
            let before = classic.len();
            classic.retain(|known| known.0 != member.labels);
            let is_alone = classic.len() == before;
            if !is_alone {
                self.warn("classic and native histograms");
            }
            is_alone
        });
        found.native = native;
        found
    }

    fn histogram_member(&self, labels: &Labels, value: f64) -> Member {
        Member {
            labels: self.drop_name(labels.clone()),
            drop_name: true,
            cell: Cell::Float(value),
        }
    }

    /// Returns a quantile of each histogram; `label` gets the quantile as value.
    pub(super) fn quantile_of_histograms(
        &mut self,
        vector: &[Member],
        q: f64,
        label: Option<&str>,
    ) -> Vec<Member> {
        if !(0.0..=1.0).contains(&q) {
            self.warn(format!("no quantile: {q}"));
        }
        let found = self.histograms(vector);
        let mut out = Vec::new();
        for member in &found.native {
            let Cell::Histogram(histogram) = &member.cell else {
                continue;
            };
            let (value, is_skewed) = observations::quantile(q, histogram);
            if is_skewed {
                self.inform(format!(
                    "not-a-number observed: {}",
                    metric_name(&member.labels)
                ));
            }
            out.push(self.histogram_member(&member.labels, value));
        }
        for (labels, _, buckets) in found.classic {
            let (value, was_forced) = bucket_quantile(q, buckets);
            if was_forced {
                self.inform("buckets made monotonic");
            }
            out.push(self.histogram_member(&labels, value));
        }
        if let Some(label) = label {
            for member in &mut out {
                member.labels = LabelsBuilder::from_labels(member.labels.as_ref())
                    .set(label, &open_metrics_float(q))
                    .build();
            }
        }
        out
    }

    /// Returns the fraction of observations between two values, of each histogram.
    pub(super) fn fraction_of_histograms(
        &mut self,
        vector: &[Member],
        (lower, upper): (f64, f64),
    ) -> Vec<Member> {
        let found = self.histograms(vector);
        let mut out = Vec::new();
        for member in &found.native {
            let Cell::Histogram(histogram) = &member.cell else {
                continue;
            };
            let (value, is_skewed) = observations::fraction(lower, upper, histogram);
            if is_skewed {
                self.inform(format!(
                    "not-a-number observed: {}",
                    metric_name(&member.labels)
                ));
            }
            out.push(self.histogram_member(&member.labels, value));
        }
        for (labels, _, buckets) in found.classic {
            let value = bucket_fraction(lower, upper, buckets);
            out.push(self.histogram_member(&labels, value));
        }
        out
    }
}

/// Writes a number as the OpenMetrics format wants it: it always looks like a float.
fn open_metrics_float(value: f64) -> String {
    let text = GoFloat(value, FloatFormat::General).to_string();
    if !value.is_finite() || text.contains(['.', 'e']) {
        return text;
    }
    if value == 0.0 {
        return "0.0".to_owned();
    }
    text + ".0"
}

/// Sorts buckets and joins those of equal bounds; nothing when the last is not infinite.
fn sorted(mut buckets: Buckets) -> Option<Buckets> {
    // Bounds that are no numbers compare as equal to all, so where they end up is not defined upstream.
    buckets.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal));
    if buckets.last()?.0 != f64::INFINITY {
        return None;
    }
    let mut joined: Buckets = Vec::new();
    for (bound, count) in buckets {
        match joined.last_mut() {
            Some(last) if last.0 == bound => last.1 += count,
            _ => joined.push((bound, count)),
        }
    }
    Some(joined)
}

fn is_almost(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

/// Makes counts ascending; reports whether more than rounding had to be repaired.
fn make_monotonic(buckets: &mut Buckets) -> bool {
    let mut was_forced = false;
    let mut before = buckets[0].1;
    for (_, count) in buckets.iter_mut().skip(1) {
        if *count == before {
            continue;
        }
        if is_almost(before, *count) {
            *count = before;
        } else if *count < before {
            *count = before;
            was_forced = true;
        } else {
            before = *count;
        }
    }
    was_forced
}

/// Source: Prometheus `promql/quantile.go`, `BucketQuantile`.
fn bucket_quantile(q: f64, buckets: Buckets) -> (f64, bool) {
    if q.is_nan() {
        return (f64::NAN, false);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, false);
    }
    if q > 1.0 {
        return (f64::INFINITY, false);
    }
    let Some(mut buckets) = sorted(buckets) else {
        return (f64::NAN, false);
    };
    let was_forced = make_monotonic(&mut buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].1;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, was_forced);
    }
    let rank = q * observations;
    // Counts that are no numbers break the order, so the way of searching shows (Go's `sort.Search`).
    let (mut place, mut end) = (0, last);
    while place < end {
        let middle = usize::midpoint(place, end);
        if buckets[middle].1 >= rank {
            end = middle;
        } else {
            place = middle + 1;
        }
    }
    let (end, count) = buckets[place];
    let value = if place == last {
        buckets[last - 1].0
    } else if place == 0 && end <= 0.0 {
        end
    } else if place == 0 {
        end * (rank / count)
    } else {
        let (start, below) = buckets[place - 1];
        start + (end - start) * ((rank - below) / (count - below))
    };
    (value, was_forced)
}

/// Source: Prometheus `promql/quantile.go`, `BucketFraction`.
fn bucket_fraction(lower: f64, upper: f64, buckets: Buckets) -> f64 {
    let Some(buckets) = sorted(buckets) else {
        return f64::NAN;
    };
    let count = buckets[buckets.len() - 1].1;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, &buckets, count) - rank_of(lower, &buckets, count)) / count
}

/// Returns the observations up to `value`.
fn rank_of(value: f64, buckets: &Buckets, count: f64) -> f64 {
    let mut start = if buckets[0].0 <= 0.0 {
        f64::NEG_INFINITY
    } else {
        0.0
    };
    let mut rank = 0.0;
    let mut found = None;
    for (end, below_end) in buckets {
        if start >= value {
            found = Some(rank);
        } else if *end > value && start == f64::NEG_INFINITY {
            found = Some(*below_end);
        } else if *end > value {
            found = Some(rank + (below_end - rank) * (value - start) / (end - start));
        }
        if found.is_some() {
            break;
        }
        (start, rank) = (*end, *below_end);
    }
    match found {
        Some(rank) if rank <= count || rank.is_nan() => rank,
        _ => count,
    }
}
