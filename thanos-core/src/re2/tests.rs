use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn strings(value: &Value) -> Vec<&str> {
    let items = value.as_array().unwrap().iter();
    items.map(|item| item.as_str().unwrap()).collect()
}

/// One line of the table: a pattern and Go's error, or which texts of the first line it matches, then texts
/// made for it with a 1 for each that matches.
fn check_line(line: &str, shared: &[&str], wrong: &mut Vec<String>) {
    let row: Value = serde_json::from_str(line).unwrap();
    let pattern = row[0].as_str().unwrap();
    let regex = match (GoRegex::new(pattern), row[1].as_str()) {
        (Err(error), Some(expected)) if error.to_string() == expected => return,
        (Ok(regex), None) => regex,
        (outcome, expected) => {
            let outcome = outcome
                .map(|_| "accepted")
                .map_err(|error| error.to_string());
            wrong.push(format!("{pattern:?}: {outcome:?}, Go: {expected:?}"));
            return;
        }
    };
    let mut check = |text: &str, expected: bool| {
        let matched = regex.is_match(text);
        let in_set = regex
            .set_matches()
            .is_none_or(|set| set.iter().any(|m| m == text) == matched);
        let has_prefix = !matched || text.starts_with(regex.prefix());
        if matched != expected || !in_set || !has_prefix {
            wrong.push(format!(
                "{pattern:?} on {text:?}: {matched}, Go: {expected}; {regex:?}"
            ));
        }
    };
    let hits: Vec<u64> = row[1]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_u64)
        .collect();
    for (at, text) in shared.iter().enumerate() {
        check(text, hits.contains(&(at as u64)));
    }
    if let Some(bits) = row[3].as_str() {
        for (text, bit) in strings(&row[2]).into_iter().zip(bits.chars()) {
            check(text, bit == '1');
        }
    }
}

#[test]
fn patterns_are_accepted_refused_and_matched_as_go_does() {
    let golden = include_str!("../../testdata/go/regexps.jsonl");
    let mut lines = golden.lines();
    let shared: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    let shared = strings(&shared);
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in lines {
        check_line(line, &shared, &mut wrong);
        count += 1;
    }
    assert!(count > 1000, "the table is there");
    let shown = &wrong[..wrong.len().min(20)];
    assert!(
        wrong.is_empty(),
        "{} differ, such as\n{}",
        wrong.len(),
        shown.join("\n")
    );
}

#[test]
fn literal_sets_and_prefixes_are_found() {
    for (pattern, set, prefix) in [
        ("", Some(vec![""]), ""),
        ("api", Some(vec!["api"]), "api"),
        ("b|a|b", Some(vec!["a", "b"]), ""),
        ("a|", Some(vec!["", "a"]), ""),
        ("^(?:api|app)$", Some(vec!["api", "app"]), "ap"),
        (r"10\.0\.[12]", Some(vec!["10.0.1", "10.0.2"]), "10.0."),
        ("(a|b)(c|d)", Some(vec!["ac", "ad", "bc", "bd"]), ""),
        ("foo(bar)?", Some(vec!["foo", "foobar"]), "foo"),
        ("(?i)ab", Some(vec!["AB", "Ab", "aB", "ab"]), ""),
        ("[^\\x00-\\x{10FFFF}]", Some(vec![]), ""),
        ("\u{e9}|\u{e8}", Some(vec!["\u{e8}", "\u{e9}"]), ""),
        ("api-.*", None, "api-"),
        ("api-.*|app-.+", None, "ap"),
        ("api-[0-9]+", None, "api-"),
        ("((api-)[0-9]+)", None, "api-"),
        ("[0-9][0-9][0-9][0-9]x", None, ""),
        (".*api", None, ""),
        ("a*", None, ""),
    ] {
        let regex = GoRegex::new(pattern).unwrap();
        let found = regex
            .set_matches()
            .map(|set| set.iter().map(String::as_str).collect());
        assert_eq!((found, regex.prefix()), (set, prefix), "{pattern}");
    }
}

#[test]
fn every_text_that_a_match_can_start_with_is_found() {
    for (pattern, prefixes) in [
        ("api", &["api"][..]),
        ("(eu|us)-.*", &["eu-", "us-"]),
        ("(?i:ab).+", &["AB", "Ab", "aB", "ab"]),
        ("(web|web-app|api)-.*", &["api-", "web-"]),
        ("(web-a|db).*[0-9]+", &["db", "web-a"]),
        (".*-eu", &[""]),
        ("(a|.*b)c", &[""]),
        ("(a|b.*|)", &[""]),
    ] {
        let regex = GoRegex::new(pattern).unwrap();
        assert_eq!(regex.prefixes(), prefixes, "{pattern}");
    }
}

#[test]
fn patterns_of_dots_are_known() {
    for (pattern, everything, all_but_empty) in [
        (".*", true, false),
        ("(.*)", true, false),
        ("^.*$", true, false),
        (".*.*", true, false),
        (".+", false, true),
        (".*.+", false, true),
        (".+.+", false, false),
        ("(?-s).*", false, false),
        (".*a", false, false),
    ] {
        let regex = GoRegex::new(pattern).unwrap();
        assert_eq!(regex.matches_everything(), everything, "{pattern}");
        assert_eq!(regex.matches_all_but_empty(), all_but_empty, "{pattern}");
    }
}

#[test]
fn long_lists_are_sets() {
    let names: Vec<String> = (0..20_000).map(|i| format!(r"node\.{i}")).collect();
    let regex = GoRegex::new(&names.join("|")).unwrap();
    assert_eq!(regex.set_matches().unwrap().len(), 20_000);
    assert!(regex.is_match("node.19999") && !regex.is_match("node.20000"));
    assert_eq!(regex.prefix(), "node.");
}

#[test]
fn deep_nesting_is_bounded_by_the_limit_and_not_by_the_stack() {
    let nest = |open: &str, close: &str, depth: usize| {
        format!("{}a{}", open.repeat(depth), close.repeat(depth))
    };
    for (open, close) in [
        ("(", ")"),
        ("(?:b|c", ")"),
        ("(?:b", ")*"),
        ("(?:b|", "d)+"),
        ("(", ")?"),
    ] {
        for depth in [10, 240, 480, 990, 2000, 100_000] {
            let outcome = GoRegex::new(&nest(open, close, depth)).map(|regex| regex.is_match("a"));
            if let Err(error) = outcome {
                let deep = error
                    .to_string()
                    .starts_with("error parsing regexp: expression nests too deeply");
                assert!(
                    deep && depth > 240,
                    "{open} {depth} {}",
                    error.message().len()
                );
            }
        }
    }
    let unclosed = "(".repeat(100_000);
    assert!(
        GoRegex::new(&unclosed)
            .unwrap_err()
            .to_string()
            .contains("missing closing )")
    );
}

#[test]
fn oversized_patterns_are_refused() {
    let long = "abcdefghij".repeat(400);
    for pattern in [
        format!("(?:{long}){{1000}}"),
        r"\pL".repeat(30_000),
        format!("(?:{}){{1000}}", r"\pL".repeat(1000)),
    ] {
        let error = GoRegex::new(&pattern).unwrap_err();
        assert!(
            error.to_string().contains("expression too large"),
            "{}",
            pattern.len()
        );
    }
}

fn pattern() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "a", "b", "ab", "\u{e9}", ".", ".*", ".+", "^", "$", "", "[ab]", "[^a]", "a?", "(?i:a)",
        r"\.", r"\b", "\n",
    ]);
    leaf.prop_map(str::to_owned)
        .prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
                prop::collection::vec(inner.clone(), 1..4)
                    .prop_map(|parts| format!("(?:{})", parts.join("|"))),
                inner.prop_map(|part| format!("({part})?")),
            ]
        })
}

proptest! {
    #[test]
    fn every_plan_answers_as_the_engine_does(pattern in pattern(), texts in prop::collection::vec("[abAB.\u{e9}\n]{0,5}", 12)) {
        let Ok(regex) = GoRegex::new(&pattern) else { return Ok(()) };
        for text in &texts {
            prop_assert_eq!(regex.is_match(text), matches_by_engine(&pattern, text).unwrap(), "{} on {:?}", pattern, text);
            prop_assert!(!regex.is_match(text) || text.starts_with(regex.prefix()));
            prop_assert!(!regex.is_match(text) || regex.may_match(text.as_bytes()));
            let is_known = regex.prefixes().iter().any(|prefix| text.starts_with(&**prefix));
            prop_assert!(!regex.is_match(text) || is_known, "{} starts with {:?}", pattern, regex.prefixes());
            if let Some(set) = regex.set_matches() {
                prop_assert_eq!(set.contains(text), regex.is_match(text));
            }
        }
    }
}
