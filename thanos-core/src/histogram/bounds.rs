//! Where exponential buckets end.

use std::sync::LazyLock;

/// The resolution of the table: 256 buckets per power of two.
const TABLE_SCHEMA: i32 = super::EXPONENTIAL_SCHEMA_MAX;

/// The bounds in `[0.5, 1)` at the highest resolution; lower ones take every second, fourth, ... of them.
///
/// COMPAT: the products below give, to the last bit, the table that Prometheus and its client libraries share.
/// It is not the table of correctly rounded powers: its square root of two is one unit in the last place low.
static FRACTIONS: LazyLock<[f64; 256]> = LazyLock::new(|| {
    let mut factors = [0.0; 8];
    let mut root = 2.0_f64.sqrt();
    factors[0] = root.next_down();
    for factor in &mut factors[1..] {
        root = root.sqrt();
        *factor = root;
    }
    std::array::from_fn(|index| {
        let bits = factors.iter().enumerate();
        bits.filter(|(place, _)| index >> (7 - place) & 1 == 1)
            .fold(0.5, |product, (_, factor)| product * factor)
    })
});

/// Returns the upper bound of bucket `index`, which is the lower bound of the next one.
///
/// The bucket before the one for infinities ends at the largest float. Schemas outside the known range are
/// taken as the nearest known one.
pub(super) fn exponential_bound(index: i32, schema: i32) -> f64 {
    let (fraction, exponent) = if schema < 0 {
        let factor = 1_i64 << schema.unsigned_abs().min(16);
        (0.5, i64::from(index) * factor + 1)
    } else {
        let schema = schema.min(TABLE_SCHEMA);
        let within = index & ((1 << schema) - 1);
        let place = usize::try_from(within << (TABLE_SCHEMA - schema)).unwrap_or_default();
        (FRACTIONS[place], i64::from(index >> schema) + 1)
    };
    if (NORMAL_EXPONENT_MIN..=NORMAL_EXPONENT_MAX).contains(&exponent) {
        // The exponent is the upper part of a normal float, behind the sign.
        let scaled = fraction
            .to_bits()
            .wrapping_add_signed(exponent << MANTISSA_BITS);
        return f64::from_bits(scaled);
    }
    if fraction == 0.5 && exponent == NORMAL_EXPONENT_MAX + 1 {
        return f64::MAX;
    }
    scale(fraction, exponent)
}

const MANTISSA_BITS: u32 = f64::MANTISSA_DIGITS - 1;
/// The powers of two by which a fraction in `[0.5, 1)` stays a normal float.
const NORMAL_EXPONENT_MIN: i64 = -1021;
const NORMAL_EXPONENT_MAX: i64 = 1024;

/// Returns `fraction * 2^exponent`, which is no normal float, for a fraction in `[0.5, 1)`, rounded once.
fn scale(fraction: f64, exponent: i64) -> f64 {
    if exponent > 0 {
        return f64::INFINITY;
    }
    // The first product is normal; only the second may round.
    let exponent = i32::try_from(exponent.max(-1100)).unwrap_or_default();
    fraction * 2.0_f64.powi(exponent + 900) * 2.0_f64.powi(-900)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_upstreams_to_the_last_bit() {
        // Source: Prometheus model/histogram, the table of exponential bounds.
        let table = [
            (1, 1, std::f64::consts::FRAC_1_SQRT_2.next_down() * 2.0),
            (2, 1, 0.5946035575013605 * 2.0),
            (3, 7, 0.9170040432046711 * 2.0),
            (8, 1, 0.5013556375251013 * 2.0),
            (8, 6, 0.5081891574554764 * 2.0),
            (8, 128, 0.7071067811865475 * 2.0),
            (8, 199, 0.8569861239649629 * 2.0),
            (8, 255, 0.9972960560854698 * 2.0),
            (7, 255 - 128, 0.9945994234836328 * 2.0),
            (0, 3, 8.0),
            (0, -3, 0.125),
            (-1, 2, 16.0),
            (-4, -1, 2.0_f64.powi(-16)),
        ];
        for (schema, index, bound) in table {
            assert_eq!(exponential_bound(index, schema), bound, "{schema} {index}");
        }
    }

    #[test]
    fn bounds_are_scaled_fractions() {
        for exponent in -1100..=1024 {
            for (offset, place) in [(0, 0), (1, 1), (77, 77), (255, 255)] {
                let exact = FRACTIONS[place] * 2.0_f64.powi(exponent / 2);
                let exact = exact * 2.0_f64.powi(exponent - exponent / 2);
                let index = ((exponent - 1) << TABLE_SCHEMA) + offset;
                assert_eq!(
                    exponential_bound(index, TABLE_SCHEMA),
                    exact,
                    "{exponent} {place}"
                );
            }
        }
    }

    #[test]
    fn the_ends_of_the_range_are_special() {
        assert_eq!(exponential_bound(1024, 0), f64::MAX);
        assert_eq!(exponential_bound(1025, 0), f64::INFINITY);
        assert_eq!(exponential_bound(64, -4), f64::MAX);
        assert_eq!(exponential_bound(65, -4), f64::INFINITY);
        assert_eq!(exponential_bound(1024 << 8, 8), f64::MAX);
        assert_eq!(exponential_bound(-1074, 0), f64::from_bits(1));
        assert_eq!(exponential_bound(-1076, 0), 0.0);
        assert_eq!(exponential_bound(i32::MAX, -9), f64::INFINITY);
        assert_eq!(exponential_bound(i32::MIN, 8), 0.0);
    }
}
