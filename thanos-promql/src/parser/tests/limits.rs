//! Hostile texts: long, deep, or both. Each test runs on the small stack of a test thread.

use std::time::{Duration, Instant};

use super::errors;
use crate::parser::{Options, Walk, parse};

/// Far more than needed even unoptimised on a busy machine, far less than anything quadratic needs.
const TIME_MAX: Duration = Duration::from_secs(60);

#[test]
fn deep_nesting_is_refused() {
    let deep = |text: &str, times: usize| text.repeat(times);
    for query in [
        deep("(", 100_000),
        deep("(", 100_000) + "1" + &deep(")", 100_000),
        deep("-", 100_000) + "a",
        deep("a ^ ", 100_000) + "a",
        deep("abs(", 100_000),
        deep("sum by (x) (", 100_000),
        "a[".to_owned() + &deep("(", 100_000),
        "a offset ".to_owned() + &deep("-", 100_000) + "1",
        "a[".to_owned() + &deep("1+", 100_000) + "1]",
        "a[".to_owned() + &deep("min_of(1,", 100_000),
        "a".to_owned() + &deep("[5m:]", 100_000),
    ] {
        let message = errors(&query, &Options::all());
        assert!(message.contains("levels"), "{:.40}: {message}", query);
    }
}

#[test]
fn the_deepest_tree_allowed_can_be_used() {
    let options = Options::default();
    let chain = "1+".repeat(options.depth_max as usize - 1) + "1";
    let parens = "(".repeat(200) + "a" + &")".repeat(200);
    let signs = "-".repeat(200) + "a";
    let calls = "abs(".repeat(200) + "a" + &")".repeat(200);
    let subqueries = "sum(".repeat(100) + "a" + &"[1m:])".repeat(0) + &")".repeat(100);
    for query in [chain, parens, signs, calls, subqueries] {
        let expr = parse(&query, &options).unwrap_or_else(|e| panic!("{query:.40}: {e}"));
        let printed = expr.to_string();
        let again = parse(&printed, &options).unwrap();
        assert_eq!(again.to_string(), printed);
        assert_eq!(again.pretty(), expr.pretty());
        let mut nodes = 0_usize;
        expr.walk(&mut |_, _| {
            nodes += 1;
            Walk::Enter
        });
        let copy = expr.rewrite(&mut |node| Ok::<_, ()>(node)).unwrap();
        assert!(copy.is_same(&expr));
        assert!(nodes > 100);
        assert_eq!(copy, expr);
    }
}

#[test]
fn long_texts_take_linear_time() {
    let megabyte = |text: &str| text.repeat((1 << 20) / text.len());
    let options = Options {
        depth_max: 100,
        ..Options::all()
    };
    let started = Instant::now();
    for query in [
        megabyte("1+"),
        megabyte("a "),
        megabyte("{"),
        megabyte("sum("),
        megabyte("a,"),
        "foo{".to_owned() + &megabyte("a=\"b\","),
        "foo{".to_owned() + &megabyte("a b "),
        "sum by (".to_owned() + &megabyte("a b "),
        "time(".to_owned() + &megabyte("1,"),
        "\"".to_owned() + &megabyte("\\n"),
        megabyte("# comment\n"),
        megabyte("fill "),
        "foo[".to_owned() + &megabyte("5m "),
        "(".to_owned() + &megabyte("a b"),
        megabyte("9"),
    ] {
        // Accepted or not, the answer has to come.
        let _ = parse(&query, &options);
    }
    assert!(started.elapsed() < TIME_MAX, "{:?}", started.elapsed());
}

#[test]
fn texts_beyond_the_limit_are_refused() {
    let options = Options {
        text_bytes_max: 10,
        ..Options::default()
    };
    assert!(parse("a + b + cc", &options).is_ok());
    assert_eq!(
        errors("a + b + ccc", &options),
        "0..0 text is longer than 10 bytes"
    );
}
