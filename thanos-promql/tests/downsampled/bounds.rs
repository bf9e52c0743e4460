//! How far answers over downsampled blocks may be from those over the raw ones (pain 12). `thanos_core::downsample` says
//! the same to users.

use std::collections::BTreeMap;

use thanos_core::testkit::{TempDir, TestRandom};

use super::history::*;

const HOURS: i64 = 60;
/// The hours of the ranges.
const RANGE: i64 = 6;
const EVALUATED: (i64, i64) = (RANGE + 1, HOURS);

type Points = BTreeMap<i64, f64>;

struct Case {
    seed: u64,
    scrapes: Scrapes,
    resolutions: [std::sync::Arc<dyn thanos_core::query::Queryable>; 3],
    _dir: TempDir,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut random = TestRandom::new(seed);
        let gaps = seed % 2;
        let scrapes = Scrapes {
            interval_ms: [15_000, 30_000, 60_000, 120_000][(seed / 2 % 4) as usize],
            lost_in_100: gaps * 5,
            outages: gaps * 3,
        };
        let times = scrapes.times(&mut random, HOURS);
        let series = [
            ("counter", counter(&times, &mut random)),
            ("gauge", gauge(&times, &mut random)),
            ("histogram", histograms(&times, seed)),
        ];
        let dir = TempDir::new("downsampled-bounds");
        let blocks = write_blocks(dir.path(), 1, (0, HOURS), &series);
        let mut at = RESOLUTIONS.into_iter();
        Self {
            seed,
            scrapes,
            resolutions: blocks.map(|block| queryable(&[block], at.next().unwrap())),
            _dir: dir,
        }
    }

    fn has_gaps(&self) -> bool {
        self.scrapes.lost_in_100 > 0
    }

    fn raw(&self, text: &str) -> Points {
        at_hours(&self.resolutions[0], text, EVALUATED)
    }

    /// The answers over raw and over downsampled blocks, for each of their resolutions in minutes.
    fn both(&self, text: &str) -> Vec<(i64, Points, Points)> {
        let raw = self.raw(text);
        let coarse = [(5, &self.resolutions[1]), (60, &self.resolutions[2])];
        let answers = coarse.into_iter().map(|(minutes, queryable)| {
            let found = at_hours(queryable, text, EVALUATED);
            assert!(found.keys().eq(raw.keys()), "seed {}: {text}", self.seed);
            (minutes, raw.clone(), found)
        });
        answers.collect()
    }

    /// Asserts that the answers are no further from each other than `bound` says for an hour and a resolution in
    /// minutes.
    fn assert_within(&self, text: &str, mut bound: impl FnMut(i64, i64, f64) -> f64) {
        for (minutes, raw, found) in self.both(text) {
            for (hour, raw) in raw {
                let error = (found[&hour] - raw).abs();
                let bound = bound(hour, minutes, raw) + raw.abs() * 1e-9 + 1e-9;
                let seed = self.seed;
                assert!(
                    error <= bound,
                    "seed {seed}: {text} at {hour} of {minutes}m: {} for {raw}, off by {error} and not {bound}",
                    found[&hour]
                );
            }
        }
    }
}

fn cases() -> impl Iterator<Item = Case> {
    let count = match std::env::var_os("THANOS_TEST_LONG") {
        Some(_) => 400,
        None => 8,
    };
    (0..count).map(Case::new)
}

/// Exact on ranges that begin and end with windows, whatever is missing.
#[test]
fn extremes_sums_and_counts_are_exact() {
    for case in cases() {
        for series in ["gauge", "counter"] {
            for function in ["min", "max", "sum", "count"] {
                let text = format!("{function}_over_time({series}[{RANGE}h])");
                case.assert_within(&text, |_, _, _| 0.0);
            }
            let text = format!("present_over_time({series}[{RANGE}h])");
            case.assert_within(&text, |_, _, _| 0.0);
        }
        // The aggregation over one series reads the same windows.
        case.assert_within(
            &format!("max(max_over_time(gauge[{RANGE}h]))"),
            |_, _, _| 0.0,
        );
    }
}

/// Averages of averages: each window counts alike, however many samples it has. Where no scrape is missing, that differs
/// by how many of them fall into a window; in general the answer lies between the extremes.
#[test]
fn averages_are_those_of_windows() {
    for case in cases() {
        let spread = format!("max_over_time(gauge[{RANGE}h]) - min_over_time(gauge[{RANGE}h])");
        let spread = case.raw(&spread);
        let share = if case.has_gaps() { 1.0 } else { 0.02 };
        let text = format!("avg_over_time(gauge[{RANGE}h])");
        case.assert_within(&text, |hour, _, _| share * spread[&hour]);
    }
}

/// One value stands for a window: the average lies between its extremes; a deviation is that of the averages, which is
/// no more than half of what the samples are apart, and a quantile is one of the averages.
#[test]
fn what_is_inside_of_a_window_is_between_its_extremes() {
    for case in cases() {
        let last = "last_over_time(gauge[6h])";
        for (minutes, _, found) in case.both(last) {
            let width = format!("[{minutes}m]");
            let low = case.raw(&format!("min_over_time(gauge{width})"));
            let high = case.raw(&format!("max_over_time(gauge{width})"));
            for (hour, value) in found {
                // Without samples in the last window, the one before counts.
                if let (Some(low), Some(high)) = (low.get(&hour), high.get(&hour)) {
                    assert!((low - 1e-9..=high + 1e-9).contains(&value), "{}", case.seed);
                }
            }
        }
        let low = case.raw(&format!("min_over_time(gauge[{RANGE}h])"));
        let high = case.raw(&format!("max_over_time(gauge[{RANGE}h])"));
        for (_, raw, found) in case.both(&format!("stddev_over_time(gauge[{RANGE}h])")) {
            for (hour, value) in found {
                let bound = match case.has_gaps() {
                    true => (high[&hour] - low[&hour]) / 2.0,
                    // Windows of as many samples differ less than the samples do.
                    false => raw[&hour] * 1.02,
                };
                assert!(value <= bound + 1e-9, "{}: {value} {bound}", case.seed);
            }
        }
        for (_, _, found) in case.both(&format!("quantile_over_time(0.9, gauge[{RANGE}h])")) {
            for (hour, value) in found {
                let (low, high) = (low[&hour] - 1e-9, high[&hour] + 1e-9);
                assert!((low..=high).contains(&value), "{}", case.seed);
            }
        }
    }
}

/// A counter's windows say how it stood at their ends, resets taken out, so that nothing is lost between them. What it
/// grew within the first window of the range is guessed from the rest, as PromQL does with what lies before a sample:
/// `increase` is off by what it grows in one window at most, and by two scrapes.
#[test]
fn rates_are_off_by_what_a_counter_grows_in_a_window() {
    for case in cases().filter(|case| !case.has_gaps()) {
        let scrapes = 2.0 * 1.2;
        let fastest = |selector: &str| {
            let of = |minutes: i64| {
                let text =
                    format!("max_over_time(increase({selector}[{minutes}m])[{RANGE}h:{minutes}m])");
                (minutes, case.raw(&text))
            };
            BTreeMap::from([of(5), of(60)])
        };
        let grown = fastest("counter");
        let bound = |hour: i64, minutes: i64| grown[&minutes][&hour] * 1.1 + scrapes;
        let text = format!("increase(counter[{RANGE}h])");
        case.assert_within(&text, |hour, minutes, _| bound(hour, minutes));
        let seconds = (RANGE * 3600) as f64;
        let text = format!("rate(counter[{RANGE}h])");
        case.assert_within(&text, |hour, minutes, _| bound(hour, minutes) / seconds);
    }
}

/// The same for each bucket of a native histogram, and so for their quantiles: they are those of the raw ones for a
/// share that differs by the first window.
///
/// Of histograms the format does not say how they stood at the end of a chunk, as it does of floats. So where the next
/// chunk begins after a reset, as in Thanos, that looks like another one, and what it begins with is counted again.
#[test]
fn rates_of_histograms_are_off_by_what_they_count_in_a_window() {
    let mut exact = 0;
    for case in cases().filter(|case| !case.has_gaps()) {
        // A chunk of windows of five minutes is up to half a day; as long again where scrapes are two minutes apart,
        // because windows are expected to be the fewer, the fewer samples there are (as in Thanos).
        let chunk = match case.scrapes.interval_ms {
            120_000 => 24,
            _ => 12,
        };
        let resets = case.raw(&format!("resets(histogram[{}h])", RANGE + chunk));
        let seconds = (RANGE * 3600) as f64;
        let rate = format!("rate(histogram[{RANGE}h])");
        for of in ["histogram_count", "histogram_sum"] {
            let most = case.raw(&format!("max_over_time({of}(histogram)[{RANGE}h:1m])"));
            let text = format!("{of}({rate})");
            let fastest = |minutes: i64| {
                let window = format!("{of}(increase(histogram[{minutes}m]))");
                let text = format!("max_over_time({window}[{RANGE}h:{minutes}m])");
                (minutes, case.raw(&text))
            };
            let grown = BTreeMap::from([5, 60].map(fastest));
            case.assert_within(&text, |hour, minutes, _| {
                // Two scrapes are less than one window more.
                let window = grown[&minutes][&hour] * 1.1 + grown[&5][&hour];
                // What is counted again is between the first and the last window, and extended to the range like the rest.
                let minutes = minutes as f64;
                let extended = (RANGE * 60) as f64 / ((RANGE * 60) as f64 - minutes);
                (window + resets[&hour] * most[&hour] * extended) / seconds
            });
        }
        let quantile = |q: f64| format!("histogram_quantile({q}, {rate})");
        for (minutes, _, found) in case.both(&quantile(0.8)) {
            let shift = 1.5 * minutes as f64 / (RANGE * 60) as f64;
            let low = case.raw(&quantile(0.8 - shift));
            let high = case.raw(&quantile((0.8 + shift).min(1.0)));
            for (hour, value) in found.into_iter().filter(|(hour, _)| resets[hour] == 0.0) {
                let (low, high) = (low[&hour], high[&hour]);
                let seed = case.seed;
                assert!(
                    (low..=high).contains(&value),
                    "seed {seed} at {hour}: {value} not in {low}..{high}"
                );
                exact += 1;
            }
        }
        // A sum of histograms is exact, as one of floats is.
        let text = format!("histogram_count(sum_over_time(histogram[{RANGE}h]))");
        case.assert_within(&text, |_, _, _| 0.0);
    }
    assert!(exact > 20, "{exact} hours without a reset");
}

/// A difference is that of the averages of the first and the last window, extended to the range: off by how far the
/// samples of these two are apart, and by the share of one window.
#[test]
fn differences_are_off_by_what_two_windows_spread() {
    for case in cases().filter(|case| !case.has_gaps()) {
        let spread = |minutes: i64, offset_minutes: i64| {
            let range = format!("(gauge[{minutes}m] offset {offset_minutes}m)");
            let text = format!("max_over_time{range} - min_over_time{range}");
            case.raw(&text)
        };
        let range_minutes = RANGE * 60;
        let spreads: BTreeMap<i64, [Points; 2]> = [5, 60]
            .into_iter()
            .map(|minutes| {
                let first = spread(minutes, range_minutes - minutes);
                (minutes, [spread(minutes, 0), first])
            })
            .collect();
        let text = format!("delta(gauge[{RANGE}h])");
        case.assert_within(&text, |hour, minutes, raw| {
            let [last, first] = &spreads[&minutes];
            let extended = range_minutes as f64 / (range_minutes - minutes) as f64;
            extended * (last[&hour] + first[&hour]) + (extended - 1.0) * raw.abs()
        });
    }
}
