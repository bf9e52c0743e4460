//! Texts, places and order of messages. All were given by Prometheus (HEAD of August 2026) for the same input.

use super::errors;
use crate::parser::Options;

fn check(options: &Options, table: &[(&str, &str)]) {
    for (query, expected) in table {
        assert_eq!(errors(query, options), *expected, "{query}");
    }
}

#[test]
fn text_that_is_no_token() {
    check(
        &Options::all(),
        &[
            ("", "0..0 no expression found in input"),
            (" # nothing", "0..0 no expression found in input"),
            ("a $ b", "2..5 unexpected character: '$'"),
            ("a \u{e9}", "2..4 unexpected character: '\u{e9}'"),
            ("a =~ b", "2..6 unexpected character after '=': '~'"),
            ("a ! b", "2..5 unexpected character after '!': ' '"),
            (
                "a{b!",
                "3..4 unexpected character after '!' inside braces: '\u{fffd}'",
            ),
            ("a{b=\"c\"", "7..7 unexpected end of input inside braces"),
            ("a{{", "2..3 unexpected left brace '{'"),
            ("a{b=1}", "4..6 unexpected character inside braces: '1'"),
            ("a[5m", "4..4 unclosed left bracket"),
            (
                "a[[",
                "2..3 unexpected character in duration expression: '['",
            ),
            ("a[5m[", "4..5 unexpected left bracket '['"),
            ("a]", "1..2 unexpected right bracket ']'"),
            ("a[5m:1m:1m]", "7..11 unexpected colon ':'"),
            (
                "a[step():1m]",
                "9..12 unexpected colon before duration in duration expression",
            ),
            (
                "a[5m:step x]",
                "10..12 unexpected character: 'x', expected ':'",
            ),
            ("(a", "2..2 unclosed left parenthesis"),
            ("a)", "2..2 unexpected right parenthesis ')'"),
            ("1__0", "0..4 bad number or duration syntax: \"1__\""),
            ("0x1.5", "0..5 bad number or duration syntax: \"0x1.\""),
            ("5e", "0..2 bad number or duration syntax: \"5e\""),
            ("5ma", "0..3 bad number or duration syntax: \"5ma\""),
            ("'a\nb'", "0..5 unterminated quoted string"),
            (
                "\"\\400\"",
                "0..6 escape sequence is an invalid Unicode code point",
            ),
            (
                "\"\\ud800\"",
                "0..8 escape sequence is an invalid Unicode code point",
            ),
            (
                "\"\\U99999999\"",
                "0..12 escape sequence is an invalid Unicode code point",
            ),
            ("\"\\u12", "0..5 escape sequence not terminated"),
            ("\"\\'\"", "0..4 unknown escape sequence U+0027 '''"),
            ("\"\u{fffd}\"", "0..5 invalid UTF-8 rune"),
        ],
    );
}

#[test]
fn tokens_that_fit_nowhere() {
    check(
        &Options::all(),
        &[
            ("a b", "2..3 unexpected identifier \"b\""),
            ("a a:b", "2..5 unexpected metric identifier \"a:b\""),
            ("a 5m", "2..4 unexpected duration \"5m\""),
            ("a 12345678901", "2..13 unexpected number \"1234567890\"..."),
            ("a \"b\"", "2..5 unexpected string \"\\\"b\\\"\""),
            ("a BOOL b", "2..6 unexpected <BOOL>"),
            ("a = b", "2..3 unexpected \"=\""),
            ("a topk b", "2..6 unexpected <aggr:topk>"),
            ("a step b", "2..6 unexpected \"step\""),
            ("abs(a b)", "6..7 unexpected identifier \"b\""),
            ("a:b(c)", "3..4 unexpected \"(\""),
            (
                "sum(a b)",
                "6..7 unexpected identifier \"b\" in aggregation\n\
                 0..0 no arguments for aggregate expression provided",
            ),
            (
                "(sum(a b) * x)",
                "7..8 unexpected identifier \"b\" in aggregation\n\
                 1..1 no arguments for aggregate expression provided\n\
                 13..14 unexpected \")\"",
            ),
            (
                "sum by a (x)",
                "7..8 unexpected identifier \"a\" in grouping opts, expected \"(\"",
            ),
            (
                "sum by (a b c) (x)",
                "10..11 unexpected identifier \"b\" in grouping opts, expected \",\" or \")\"",
            ),
            (
                "a * on(b) group_left",
                "20..20 unexpected end of input in grouping opts, expected \"(\"",
            ),
            (
                "a{b c=\"d\"}",
                "4..5 unexpected identifier \"c\" in label matching, expected label matching operator",
            ),
            (
                "a{b=c}",
                "4..5 unexpected identifier \"c\" in label matching, expected string",
            ),
            (
                "a{b=\"c\" \"d\"}",
                "8..11 unexpected string \"\\\"d\\\"\" in label matching, expected \",\" or \"}\"",
            ),
            (
                "a{,}",
                "2..3 unexpected \",\" in label matching, expected identifier or \"}\"",
            ),
            (
                "a[5m 1]",
                "5..6 unexpected number \"1\" in subquery or range, expected \":\" or \"]\"",
            ),
            (
                "a[5m:1m 1]",
                "8..9 unexpected number \"1\" in subquery selector, expected \"]\"",
            ),
            (
                "a[5m:*]",
                "5..6 unexpected <op:*> in subquery selector, expected number, duration, step(), range(), or \"]\"\n\
                 6..7 unexpected \"]\"",
            ),
            (
                "a offset (5m) + b",
                "16..17 unexpected identifier \"b\" in offset, expected number, duration, step(), or range()",
            ),
            (
                "(a offset b + 1m) + 2",
                "10..11 unexpected identifier \"b\" in offset, expected number, duration, step(), or range()",
            ),
            (
                "a @ start",
                "9..9 unexpected end of input in @, expected timestamp",
            ),
            (
                "a b 'c",
                "2..3 unexpected identifier \"b\"\n\
                 4..6 unterminated quoted string",
            ),
        ],
    );
}

#[test]
fn parts_of_the_language_that_are_off() {
    let options = Options {
        duration_expressions: false,
        ..Options::default()
    };
    check(
        &options,
        &[
            ("a fill(0) b", "2..6 unexpected <fill>"),
            (
                "a + fill(0) b",
                "0..13 binop fill modifiers are experimental and not enabled",
            ),
            (
                "a anchored",
                "0..1 anchored modifier is experimental and not enabled",
            ),
            (
                "a[5m] smoothed",
                "0..5 smoothed modifier is experimental and not enabled",
            ),
            ("info(a)", "0..4 function \"info\" is not enabled"),
            ("xrate(a[5m])", "0..5 unknown function with name \"xrate\""),
            ("nope(a)", "0..4 unknown function with name \"nope\""),
            (
                "limitk(1, a)",
                "0..12 limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
            ),
            (
                "a[5m+1m]",
                "2..4 experimental duration expression is not enabled",
            ),
            (
                "a offset step()",
                "9..15 experimental duration expression is not enabled",
            ),
            (
                "a offset -(5m) + b[(5m)]",
                "20..22 experimental duration expression is not enabled",
            ),
        ],
    );
}

#[test]
fn modifiers_that_cannot_stand_there() {
    check(
        &Options::all(),
        &[
            (
                "a offset 1m offset 2m",
                "0..11 offset may not be set multiple times",
            ),
            (
                "a @ 1 @ end()",
                "0..5 @ <timestamp> may not be set multiple times",
            ),
            (
                "abs(a) offset 5m",
                "0..6 offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            ),
            (
                "1 @ 1",
                "0..1 @ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            ),
            (
                "1 @ 1e30",
                "0..1 timestamp out of bounds for @ modifier: 1000000000000000019884624838656.000000\n\
                 0..1 @ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            ),
            (
                "1[5m] anchored smoothed",
                "1..5 ranges only allowed for vector selectors",
            ),
            (
                "a anchored smoothed",
                "0..1 anchored and smoothed modifiers cannot be used together",
            ),
            (
                "a[5m:] anchored",
                "0..6 anchored modifier is not supported for subqueries",
            ),
            ("abs(a) smoothed", "0..6 smoothed modifier not implemented"),
            (
                "abs(a)[5m] offset 1m",
                "6..10 ranges only allowed for vector selectors\n\
                 0..10 ranges only allowed for vector selectors",
            ),
            ("a[0]", "2..3 duration must be greater than 0"),
            ("a[5m:-1]", "5..7 duration must be greater than 0"),
            ("a[1e-400]", "2..8 duration must be greater than 0"),
            ("a offset -1e10", "9..10 duration out of range"),
            (
                "a[293y]",
                "2..6 duration out of range\n\
                 2..6 duration must be greater than 0",
            ),
        ],
    );
}

#[test]
fn types_that_do_not_fit() {
    check(
        &Options::all(),
        &[
            (
                "1 == 1",
                "2..3 comparisons between scalars must use BOOL modifier",
            ),
            (
                "1 ==1",
                "2..3 comparisons between scalars must use BOOL modifier",
            ),
            (
                "a[5m] + \"b\"",
                "0..5 binary expression must contain only scalar and instant vector types\n\
                 8..11 binary expression must contain only scalar and instant vector types",
            ),
            (
                "-a[5m]",
                "0..6 unary expression only allowed on expressions of type scalar or instant vector, got \"range vector\"",
            ),
            (
                "sum(1)",
                "4..5 expected type instant vector in aggregation expression, got scalar",
            ),
            (
                "topk(a, 1)",
                "8..9 expected type instant vector in aggregation expression, got scalar\n\
                 5..6 expected type scalar in aggregation parameter, got instant vector",
            ),
            (
                "count_values(1, a)",
                "13..14 expected type string in aggregation parameter, got scalar",
            ),
            (
                "rate(a)",
                "5..6 expected type range vector in call to function \"rate\", got instant vector",
            ),
            (
                "abs()",
                "0..5 expected 1 argument(s) in call to \"abs\", got 0",
            ),
            (
                "round(a, 1, 2)",
                "0..14 expected at most 2 argument(s) in call to \"round\", got 3",
            ),
            (
                "label_join(a)",
                "0..13 expected at least 3 argument(s) in call to \"label_join\", got 1",
            ),
            (
                "abs(1, \"x\")",
                "0..11 expected 1 argument(s) in call to \"abs\", got 2\n\
                 4..5 expected type instant vector in call to function \"abs\", got scalar",
            ),
            (
                "info(a, b)",
                "8..9 expected label selectors only, got vector selector instead",
            ),
            (
                "info(a, 1)",
                "0..10 expected type instant vector in call to function \"info\", got scalar\n\
                 8..9 expected label selectors only\n\
                 8..9 expected type instant vector in call to function \"info\", got scalar",
            ),
            (
                "{}",
                "0..2 vector selector must contain at least one non-empty matcher",
            ),
            (
                "{a=\"\", b!=\"x\", c=~\".*|d\", e!~\"(f)+\", g=~\"(h)?\"}",
                "0..47 vector selector must contain at least one non-empty matcher",
            ),
            (
                "a{__name__=\"b\"}",
                "0..15 metric name must not be set twice: \"a\" or \"b\"",
            ),
            (
                "sum by (\"\") (a)",
                "8..10 invalid label name for grouping: \"\"",
            ),
            (
                "sum by (\"\\xff\") (a)",
                "8..14 invalid label name for grouping: \"\\xff\"",
            ),
            (
                "a / fill(1) 2",
                "0..13 filling in missing series only allowed between instant vectors",
            ),
            (
                "a and fill_left(1) b",
                "0..20 filling in missing series not allowed for set operators",
            ),
            (
                "(1[5m:] + 2)[5m:]",
                "1..7 subquery is only allowed on instant vector, got scalar instead\n\
                 1..7 binary expression must contain only scalar and instant vector types",
            ),
        ],
    );
}

#[test]
fn regular_expressions_are_checked() {
    check(
        &Options::all(),
        &[
            (
                "a{b=~\"[c\"}",
                "2..9 error parsing regexp: missing closing ]: `[c`",
            ),
            (
                "a{b!~\"*\"}",
                "2..8 error parsing regexp: missing argument to repetition operator: `*`",
            ),
        ],
    );
}

#[test]
fn errors_print_the_first_one_with_its_line() {
    let errors = crate::parser::parse("sum(\n  a,\n  b c", &Options::default()).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "3:5: parse error: unexpected identifier \"c\" in aggregation"
    );
    assert_eq!(errors.as_slice().len(), 3);
}
