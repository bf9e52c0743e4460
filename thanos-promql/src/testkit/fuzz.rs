//! Entries for fuzzers. Each takes any bytes and panics where a promise is broken.

use super::meaning;
use crate::parser::ast::AtModifier;
use crate::parser::{Expr, Options, Walk, parse, parse_selector, series};

/// Times up to here are exact as seconds in floats, which is how the language reads them.
const EXACT_MS_MAX: u64 = 1 << 53;

/// Parses `data` as expression, selector and series description; the first byte switches parts of the language.
///
/// # Panics
///
/// When an accepted expression prints as a text that is not accepted or means something else, or when the place of
/// an error lies outside of the text.
pub fn fuzz_parse(data: &[u8]) {
    let Some((switches, text)) = data.split_first() else {
        return;
    };
    let is_on = |bit: u8| switches & (1 << bit) != 0;
    let options = Options {
        experimental_functions: is_on(0),
        duration_expressions: is_on(1),
        extended_range_selectors: is_on(2),
        fill_modifiers: is_on(3),
        x_functions: is_on(4),
        // Printing may add a few parentheses, which must not break the limit.
        depth_max: 100,
        ..Options::default()
    };
    let text = String::from_utf8_lossy(text);
    match parse(&text, &options) {
        Ok(expr) => check_text(&expr, &options),
        Err(errors) => {
            for error in errors.as_slice() {
                let place = text.as_bytes().get(error.span.range());
                assert!(place.is_some(), "{text:?}: {error:?}");
            }
        }
    }
    // Accepted or not: no panic and no endless work.
    let _ = parse_selector(&text, &options);
    let _ = series::parse(&text, &options);
}

fn check_text(expr: &Expr, options: &Options) {
    if !has_exact_times(expr) {
        return;
    }
    let printed = expr.to_string();
    let options = Options {
        depth_max: Options::default().depth_max,
        ..options.clone()
    };
    for text in [&printed, &expr.pretty()] {
        match parse(text, &options) {
            Ok(again) => {
                assert_eq!(again.to_string(), printed, "{text:?}");
                assert_eq!(meaning(&again), meaning(expr), "{text:?}");
            }
            Err(errors) => panic!("{text:?} printed for {expr:?}: {errors}"),
        }
    }
}

fn has_exact_times(expr: &Expr) -> bool {
    let mut is_exact = true;
    expr.walk(&mut |node, _| {
        let at = match node {
            Expr::Vector(selector) => selector.shift.at,
            Expr::Matrix(matrix) => matrix.selector.shift.at,
            Expr::Subquery(subquery) => subquery.shift.at,
            _ => None,
        };
        if let Some(AtModifier::Timestamp(time)) = at {
            is_exact &= time.as_millis().unsigned_abs() < EXACT_MS_MAX;
        }
        Walk::Enter
    });
    is_exact
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pieces of the language, so that many texts are nearly expressions.
    const PIECES: &[&str] = &[
        "a",
        "b:c",
        "sum",
        "by",
        "without",
        "on",
        "group_left",
        "bool",
        "offset",
        "@",
        "start()",
        "end()",
        "step()",
        "range()",
        "max_of(",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "+",
        "-",
        "*",
        "/",
        "%",
        "^",
        "==",
        "</",
        "=",
        "=~",
        "!~",
        "5",
        "5m",
        "1e3",
        "0x1f",
        "Inf",
        "NaN",
        "\"a\"",
        "'b'",
        "`c`",
        "and",
        "or",
        "unless",
        "anchored",
        "smoothed",
        "rate(",
        "topk(",
        "fill(",
        "info(",
        "time()",
        "label_join(",
        "# x\n",
        " ",
        "1001ms",
        "\"\\xff\"",
        "\u{e9}",
        "{{",
        "}}",
        "x",
        "_",
        "stale",
        "schema:1",
        "buckets:[1 2]",
        "1+2x3",
    ];

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 2000,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn nearly_expressions_keep_the_promises(
            switches in any::<u8>(),
            pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..12),
            space in any::<bool>(),
        ) {
            let text = pieces.join(if space { " " } else { "" });
            fuzz_parse(&[&[switches], text.as_bytes()].concat());
        }

        #[test]
        fn any_bytes_keep_the_promises(data in proptest::collection::vec(any::<u8>(), 0..40)) {
            fuzz_parse(&data);
        }
    }
}
