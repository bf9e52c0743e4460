use proptest::prelude::*;
use serde_json::Value as Json;

use super::{encode, to_query};
use crate::parser::tests::random_tree::any_expr;
use crate::parser::{Expr, Options, parse};
use crate::testkit::meaning;

/// Queries and the plans that promql-engine's `logicalplan.Marshal` makes of them, over 1000 s to 2000 s.
const PLANS: &str = include_str!("../../testdata/thanos-plans.txt");

fn plans() -> Vec<(&'static str, &'static str)> {
    let lines: Vec<&str> = PLANS.lines().collect();
    lines.chunks(2).map(|pair| (pair[0], pair[1])).collect()
}

fn parsed(text: &str) -> Expr {
    parse(text, &Options::all()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Q-25, Q-26: what a querier of Thanos sends is understood.
#[test]
fn plans_of_thanos_mean_their_queries() {
    for (query, plan) in plans() {
        // The engine settles the borders of the query before it encodes.
        let settled = query
            .replace("@ end()", "@ 2000")
            .replace("@ start()", "@ 1000");
        let read = to_query(plan.as_bytes()).unwrap_or_else(|error| panic!("{query}: {error}"));
        assert_eq!(
            meaning(&parsed(&read)),
            meaning(&parsed(&settled)),
            "{read}"
        );
    }
    assert!(plans().len() >= 11);
}

/// Empty lists and none are the same to Go, places mean nothing, and an offset counts from the end of the query.
fn without_details(json: &Json) -> Json {
    match json {
        Json::Object(members) => {
            if members.get("type").and_then(Json::as_str) == Some("step_invariant") {
                return without_details(&members["children"][0]);
            }
            let kept = members.iter().filter(|(name, value)| {
                let is_detail = matches!(
                    name.as_str(),
                    "PosRange" | "Offset" | "StartOrEnd" | "OriginalString"
                );
                !is_detail && !value.is_null() && **value != Json::Array(Vec::new())
            });
            kept.map(|(name, value)| (name.clone(), without_details(value)))
                .collect()
        }
        Json::Array(items) => items.iter().map(without_details).collect(),
        Json::Number(number) => number.as_f64().into(),
        other => other.clone(),
    }
}

/// Q-25: our plans have the members of Thanos' plans.
#[test]
fn plans_are_written_as_thanos_writes_them() {
    let mut compared = 0;
    for (query, plan) in plans() {
        let settled = query
            .replace("@ end()", "@ 2000")
            .replace("@ start()", "@ 1000");
        // The engine of Thanos makes another node of it.
        if query.contains("timestamp(") {
            continue;
        }
        let ours = encode(&parsed(&settled)).unwrap();
        let ours: Json = serde_json::from_slice(&ours).unwrap();
        let theirs: Json = serde_json::from_str(plan).unwrap();
        assert_eq!(without_details(&ours), without_details(&theirs), "{query}");
        compared += 1;
    }
    assert!(compared >= 10);
}

#[test]
fn what_is_not_known_is_refused() {
    let selector = |more: &str| {
        format!(
            r#"{{"type":"vector_selector","data":{{"Name":"x","OriginalOffset":0,"LabelMatchers":[
            {{"Type":0,"Name":"__name__","Value":"x"}}]{more}}}}}"#
        )
    };
    assert_eq!(to_query(selector("").as_bytes()).unwrap(), "x");
    let filters = r#","Filters":[{"Type":1,"Name":"a","Value":"b"}],"SelectTimestamp":true"#;
    let filtered = to_query(selector(filters).as_bytes()).unwrap();
    assert_eq!(filtered, r#"timestamp({__name__="x",a!="b"})"#);
    let deep = r#"{"type":"parens","data":{},"children":["#.repeat(200) + &"]}".repeat(200);
    let wide = format!("{}{}", selector(""), " ".repeat(super::PLAN_BYTES_MAX));
    for (plan, expected) in [
        ("", "EOF while parsing"),
        ("[]", "a node is not an object"),
        (r#"{"type":"dedup"}"#, "there is no node \"dedup\""),
        (r#"{"type":"remote_exec","data":{}}"#, "there is no node"),
        (r#"{"type":"binary","data":{"Op":"+"}}"#, "has no child 0"),
        (r#"{"type":"unary","data":{"Op":"!"}}"#, "there is no sign"),
        (
            r#"{"type":"function","data":{"Func":{"Name":"f"}}}"#,
            "there is no function \"f\"",
        ),
        (&selector(r#","StartOrEnd":57432"#), "is not settled"),
        (
            &selector(r#","Timestamp":1.5"#),
            "Timestamp is not an integer",
        ),
        (
            &selector(r#","Filters":[{"Type":9}]"#),
            "no type that is known",
        ),
        (&deep, "recursion limit exceeded"),
        (&wide, "is longer than 4194304 bytes"),
    ] {
        let error = to_query(plan.as_bytes()).unwrap_err();
        assert!(error.message().contains(expected), "{plan:.80}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plans_mean_what_they_were_made_of(expr in any_expr()) {
        if let Some(plan) = encode(&expr) {
            let read = to_query(&plan).unwrap();
            // Numbers may have been written as durations.
            let settled = parsed(&expr.to_string());
            let again = encode(&parsed(&read)).unwrap();
            let expected = encode(&settled).unwrap();
            let [again, expected] = [again, expected].map(|plan| {
                without_details(&serde_json::from_slice(&plan).unwrap()).to_string()
            });
            prop_assert_eq!(again, expected, "{}", read);
        }
    }

    #[test]
    fn broken_plans_never_panic(at in 0..20_000_usize, byte in any::<u8>(), cut in any::<bool>()) {
        let (_, plan) = plans()[at % plans().len()];
        let mut plan = plan.as_bytes().to_vec();
        let at = at % plan.len();
        if cut {
            plan.truncate(at);
        } else {
            plan[at] = byte;
        }
        if let Ok(text) = to_query(&plan) {
            drop(parse(&text, &Options::all()));
        }
    }
}
