use super::*;

#[test]
fn quantiles_are_written_as_floats() {
    for (value, text) in [
        (1.0, "1.0"),
        (0.5, "0.5"),
        (-0.0, "0.0"),
        (1e30, "1e+30"),
        (f64::NAN, "NaN"),
        (f64::INFINITY, "+Inf"),
    ] {
        assert_eq!(open_metrics_float(value), text);
    }
}
