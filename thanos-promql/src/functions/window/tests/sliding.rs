//! Kernels that carry something from one window to the next, against folding every window by itself.

use proptest::prelude::*;

use super::*;

/// Values of which many are equal, some are special, and some cancel each other out.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (0_i32..6).prop_map(f64::from),
        3 => -100.0..100.0,
        1 => prop_oneof![
            Just(f64::NAN),
            Just(f64::INFINITY),
            Just(f64::NEG_INFINITY),
            Just(-0.0),
            Just(1e300),
            Just(-1e300),
        ],
    ]
}

/// Values that can be summed in any order.
fn plain_values() -> impl Strategy<Value = Vec<f64>> {
    prop_oneof![
        proptest::collection::vec(0.0..1e6, 1..150),
        proptest::collection::vec((-1000_i32..1000).prop_map(f64::from), 1..150),
        proptest::collection::vec(-1e-3..-1e-9, 1..150),
    ]
}

fn all_values() -> impl Strategy<Value = Vec<f64>> {
    prop_oneof![plain_values(), proptest::collection::vec(value(), 1..150)]
}

fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits()
        || a.is_nan() && b.is_nan()
        || (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
}

fn naive(name: &str, samples: &[(i64, f64)], q: f64) -> f64 {
    let pick = |is_better: fn(f64, f64) -> bool| {
        let mut best = samples[0];
        for sample in samples {
            if is_better(sample.1, best.1) || best.1.is_nan() {
                best = *sample;
            }
        }
        best
    };
    let mut values: Vec<f64> = samples.iter().map(|sample| sample.1).collect();
    match name {
        "max_over_time" => pick(|new, best| new > best).1,
        "min_over_time" => pick(|new, best| new < best).1,
        "ts_of_max_over_time" => columns::secs(pick(|new, best| new >= best).0),
        "ts_of_min_over_time" => columns::secs(pick(|new, best| new <= best).0),
        "quantile_over_time" => crate::functions::quantile::quantile(q, &mut values),
        "sum_over_time" | "avg_over_time" => {
            let (times, values): (Vec<_>, Vec<_>) = samples.iter().copied().unzip();
            let window = Window {
                series: Columns::floats(&times, &values),
                from: 0,
                to: times.len(),
                start_ms: 0,
                end_ms: 0,
                step_ms: 0,
                params: [0.0; 2],
            };
            let fold = if name == "sum_over_time" {
                fold::sum
            } else {
                fold::avg
            };
            fold(&window).unwrap()
        }
        _ => panic!("{name} is not known"),
    }
}

proptest! {
    #[test]
    fn sliding_equals_folding(
        values in all_values(),
        gaps in proptest::collection::vec(1_i64..4, 150),
        step_ms in 1_i64..60,
        range_ms in 1_i64..300,
        q in 0.0..1.0,
    ) {
        let mut time = 0;
        let samples: Vec<(i64, f64)> = values
            .iter()
            .zip(&gaps)
            .map(|(value, gap)| {
                time += gap;
                (time, *value)
            })
            .collect();
        let (times, values): (Vec<_>, Vec<_>) = samples.iter().copied().unzip();
        let steps: Vec<_> = (0..60).map(|i| (i * step_ms, i * step_ms)).collect();
        for name in [
            "max_over_time",
            "min_over_time",
            "ts_of_max_over_time",
            "ts_of_min_over_time",
            "quantile_over_time",
            "sum_over_time",
            "avg_over_time",
        ] {
            let sweep = Sweep {
                steps: &steps,
                range_ms,
                extension: None,
                reach_ms: (0, 0),
                params: [&[q], &[]],
            };
            let mut found = vec![None; steps.len()];
            let set = |step, value: SampleValue| found[step] = value.as_float();
            let columns = Columns::floats(&times, &values);
            WindowFn::from_name(name)
                .unwrap()
                .sweep(columns, sweep, set, || Ok(()), &mut Remarks::default())
                .unwrap();
            for ((_, end_ms), found) in steps.iter().zip(found) {
                let is_inside = |time: i64| time > end_ms - range_ms && time <= *end_ms;
                let inside: Vec<_> = samples.iter().copied().filter(|s| is_inside(s.0)).collect();
                let expected = (!inside.is_empty()).then(|| naive(name, &inside, q));
                let is_same = match (expected, found) {
                    (Some(a), Some(b)) => same(a, b),
                    (a, b) => a.is_none() && b.is_none(),
                };
                prop_assert!(is_same, "{name} at {end_ms}: {found:?}, expected {expected:?}");
            }
        }
    }
}

#[test]
fn sums_of_whole_numbers_are_the_same_to_the_last_bit() {
    let values: Vec<f64> = (0..400)
        .map(|i| f64::from((i * 7919) % 1009 - 500))
        .collect();
    let samples = every(10, &values);
    let (times, values): (Vec<_>, Vec<_>) = samples.iter().copied().unzip();
    let steps: Vec<_> = (0..400).map(|i| (i * 10, i * 10)).collect();
    let sweep = Sweep {
        steps: &steps,
        range_ms: 1_000,
        extension: None,
        reach_ms: (0, 0),
        params: [&[], &[]],
    };
    let mut found = Vec::new();
    WindowFn::SumOverTime
        .sweep(
            Columns::floats(&times, &values),
            sweep,
            |_, value| found.extend(value.as_float()),
            || Ok(()),
            &mut Remarks::default(),
        )
        .unwrap();
    for (step, sum) in found.iter().enumerate() {
        let from = (step + 1).saturating_sub(100);
        assert_eq!(*sum, values[from..=step].iter().sum::<f64>(), "{step}");
    }
}
