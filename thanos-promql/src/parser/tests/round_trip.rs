//! The text of a tree means the same tree.

use proptest::prelude::*;

use super::parsed;
use super::random_tree::any_expr;
use crate::testkit::meaning;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_prints_as_text_with_its_meaning(expr in any_expr()) {
        let text = expr.to_string();
        let again = parsed(&text);
        prop_assert_eq!(meaning(&again), meaning(&expr), "{}", text);
        // Once the parentheses are there, the text stays as it is.
        prop_assert_eq!(again.to_string(), text);
    }

    #[test]
    fn pretty_text_has_the_same_meaning(expr in any_expr()) {
        let pretty = expr.pretty();
        let again = parsed(&pretty);
        prop_assert_eq!(meaning(&again), meaning(&expr), "{}", pretty);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[a-c0-5(){}\\[\\]\"'`,:=~!<>+*/^@ #x_.-]{0,40}") {
        let options = crate::parser::Options::all();
        if let Ok(expr) = crate::parser::parse(&text, &options) {
            let again = parsed(&expr.to_string());
            prop_assert_eq!(meaning(&again), meaning(&expr), "{}", text);
        }
    }
}

/// One of each kind, as Prometheus prints it.
#[test]
fn texts_print_as_prometheus_prints_them() {
    for (query, printed) in [
        ("sum(a)by(b,\"c d\")", "sum by (b, \"c d\") (a)"),
        ("sum without() (a)", "sum without () (a)"),
        ("topk by ()(3,a)", "topk(3, a)"),
        ("a*on()group_left b", "a * on () group_left () b"),
        (
            "a*ignoring()group_right(c)b",
            "a * ignoring () group_right (c) b",
        ),
        ("a==bool ignoring(x)b", "a == bool ignoring (x) b"),
        ("a+ignoring()b", "a + b"),
        ("a+fill(1e6)b", "a + fill (1e+06) b"),
        (
            "a+fill_right(-Inf)fill_left(0.5)b",
            "a + fill_left (0.5) fill_right (-Inf) b",
        ),
        ("{b=\"c\",a!~'d'}", "{a!~\"d\",b=\"c\"}"),
        ("{'m', x=\"1\"}", "{__name__=\"m\",x=\"1\"}"),
        ("m{'a.b'=`c\\d`}", "m{\"a.b\"=\"c\\\\d\"}"),
        ("m{}", "m"),
        ("m@1.5 offset -1h", "m @ 1.500 offset -1h"),
        (
            "m offset 90s@-0.25 anchored",
            "m @ -0.250 anchored offset 1m30s",
        ),
        (
            "m[1d2h]smoothed offset 2w@start()",
            "m[1d2h] smoothed @ start() offset 2w",
        ),
        ("m[60:5]offset 1y", "m[1m:5s] offset 1y"),
        ("m[5m :]", "m[5m:]"),
        ("m[5m*2:step()/2]", "m[5m * 2:step() / 2]"),
        ("m offset -(1m+step())", "m offset -(1m + step())"),
        ("m[max_of(step(),1m)]", "m[max_of(step(), 1m)]"),
        (
            "1e3+0x10+1_000+5m+.5+1e-7+Inf+NaN",
            "1000 + 16 + 1000 + 5m + 0.5 + 0.0000001 + +Inf + NaN",
        ),
        ("-5m", "-5m"),
        ("- -m", "--m"),
        ("'it\\'s \"x\"'", "\"it's \\\"x\\\"\""),
        ("\"\\ufffd\"", "\"\\ufffd\""),
        (
            "label_join(m,\"a\",\",\",\"b\",\"c\")",
            "label_join(m, \"a\", \",\", \"b\", \"c\")",
        ),
        ("((a))", "((a))"),
        ("info(m,{})", "info(m, {})"),
        ("1001ms", "1s1ms"),
    ] {
        let expr = parsed(query);
        assert_eq!(expr.to_string(), printed);
        assert_eq!(meaning(&parsed(printed)), meaning(&expr), "{query}");
    }
}

#[test]
fn long_texts_are_split_into_lines() {
    let query = "histogram_quantile(0.9, sum by (le, instance) (rate(http_request_duration_seconds_bucket{job=\"api\"}[5m]))) \
        / on (instance) group_left (zone) -(avg by (instance) (node_zone_info_with_a_very_long_name) + topk(3, some_other_metric_name_which_is_long_too_and_longer)) \
        > max_over_time((sum(some_metric_name_of_a_subquery_that_does_not_fit) - sum(another_metric_name_that_is_long))[1h:5m])";
    let expected = r#"    histogram_quantile(
      0.9,
      sum by (le, instance) (rate(http_request_duration_seconds_bucket{job="api"}[5m]))
    )
  / on (instance) group_left (zone)
    -(
        avg by (instance) (node_zone_info_with_a_very_long_name)
      +
        topk(3, some_other_metric_name_which_is_long_too_and_longer)
    )
>
  max_over_time(
    (sum(some_metric_name_of_a_subquery_that_does_not_fit) - sum(another_metric_name_that_is_long))[1h:5m]
  )"#;
    assert_eq!(parsed(query).pretty(), expected);
}
