//! The vectors are those of Prometheus model/relabel/relabel_test.go.

use serde_json::{Value, json};

use super::*;

fn labels_of(pairs: &Value) -> Labels {
    let pairs = pairs.as_object().unwrap().iter();
    Labels::from_pairs(pairs.map(|(name, value)| (name, value.as_str().unwrap())))
}

fn relabeler(rules: &Value) -> Result<Relabeler> {
    let configs: Vec<RelabelConfig> = serde_json::from_value(rules.clone()).unwrap();
    Relabeler::new(configs)
}

#[test]
fn rules_do_what_prometheus_does() {
    let abc = json!({"a": "foo", "b": "bar", "c": "baz"});
    let ports = json!({"__tmp_port": "1234", "__port1": "1234", "__port2": "5678"});
    let lines = json!({"a": "line1\nline2"});
    let tags = json!({"__meta_sd_tags": "path:/secret,job:some-job,label:foo=bar"});
    let cases = [
        (
            abc.clone(),
            json!([{"source_labels": ["a"], "regex": "f(.*)", "target_label": "d", "replacement": "ch${1}-ch${1}"}]),
            json!({"a": "foo", "b": "bar", "c": "baz", "d": "choo-choo"}),
        ),
        (
            abc.clone(),
            json!([
            {"source_labels": ["a", "b"], "regex": "f(.*);(.*)r", "target_label": "a", "replacement": "b${1}${2}m"},
            {"source_labels": ["c", "a"], "regex": "(b).*b(.*)ba(.*)", "target_label": "d", "replacement": "$1$2$2$3"}]),
            json!({"a": "boobam", "b": "bar", "c": "baz", "d": "boooom"}),
        ),
        (
            abc.clone(),
            json!([{"source_labels": ["a"], "regex": ".*o.*", "action": "drop"}, {"target_label": "d"}]),
            Value::Null,
        ),
        (
            json!({"a": "abc"}),
            json!([{"source_labels": ["a"], "regex": ".*(b).*", "target_label": "d"}]),
            json!({"a": "abc", "d": "b"}),
        ),
        (
            abc.clone(),
            json!([{"source_labels": ["a"], "regex": "no-match", "action": "drop"}]),
            abc.clone(),
        ),
        (
            abc.clone(),
            json!([{"source_labels": ["a"], "regex": "f|o", "action": "drop"}]),
            abc.clone(),
        ),
        (
            abc.clone(),
            json!([{"source_labels": ["a"], "regex": "no-match", "action": "keep"}]),
            Value::Null,
        ),
        (
            abc.clone(),
            json!([{"source_labels": ["a"], "regex": "f.*", "action": "KEEP"}]),
            abc.clone(),
        ),
        // Without a match nothing is replaced, and a blank replacement removes.
        (
            json!({"a": "boo"}),
            json!([{"source_labels": ["a"], "regex": "f", "target_label": "b", "replacement": "bar"}]),
            json!({"a": "boo"}),
        ),
        (
            json!({"a": "foo", "f": "baz"}),
            json!([{"source_labels": ["a"], "regex": "(f).*", "target_label": "$1", "replacement": "$2"}]),
            json!({"a": "foo"}),
        ),
        (
            abc.clone(),
            json!([{"source_labels": ["c"], "target_label": "d", "action": "hashmod", "modulus": 1000}]),
            json!({"a": "foo", "b": "bar", "c": "baz", "d": "976"}),
        ),
        (
            json!({"a": "foo\nbar"}),
            json!([{"source_labels": ["a"], "target_label": "b", "action": "hashmod", "modulus": 1000}]),
            json!({"a": "foo\nbar", "b": "734"}),
        ),
        (
            json!({"a": "foo", "b1": "bar", "b2": "baz"}),
            json!([{"regex": "(b.*)", "replacement": "bar_${1}", "action": "labelmap"}]),
            json!({"a": "foo", "b1": "bar", "b2": "baz", "bar_b1": "bar", "bar_b2": "baz"}),
        ),
        (
            json!({"a": "foo", "__meta_my_bar": "aaa", "__meta_other": "ccc"}),
            json!([{"regex": "__meta_(my.*)", "replacement": "${1}", "action": "labelmap"}]),
            json!({"a": "foo", "__meta_my_bar": "aaa", "__meta_other": "ccc", "my_bar": "aaa"}),
        ),
        (
            json!({"a": "some-name-value"}),
            json!([{"source_labels": ["a"], "regex": "some-([^-]+)-([^,]+)", "replacement": "${2}", "target_label": "${1}"}]),
            json!({"a": "some-name-value", "name": "value"}),
        ),
        // A group that does not exist is empty: no label of that name, and no value.
        (
            json!({"a": "some-name-value"}),
            json!([{"source_labels": ["a"], "regex": "some-([^-]+)-([^,]+)", "replacement": "${3}", "target_label": "${1}"}]),
            json!({"a": "some-name-value"}),
        ),
        (
            json!({"a": "some-name-0"}),
            json!([{"source_labels": ["a"], "regex": "some-([^-]+)-([^,]+)", "replacement": "${1}", "target_label": "${3}"}]),
            json!({"a": "some-name-0"}),
        ),
        (
            tags,
            json!([
            {"source_labels": ["__meta_sd_tags"], "regex": "(?:.+,|^)path:(/[^,]+).*", "replacement": "${1}", "target_label": "__metrics_path__"},
            {"source_labels": ["__meta_sd_tags"], "regex": "(?:.+,|^)label:([^=]+)=([^,]+).*", "replacement": "${2}", "target_label": "${1}"}]),
            json!({"__meta_sd_tags": "path:/secret,job:some-job,label:foo=bar", "__metrics_path__": "/secret", "foo": "bar"}),
        ),
        (
            json!({"name": "foo", "XXX_port": "9091"}),
            json!([
            {"regex": "^name$", "action": "labeldrop"},
            {"source_labels": ["XXX_port"], "regex": "(.+)", "replacement": "metrics", "target_label": "name"},
            {"source_labels": ["name"], "regex": "^metrics$", "action": "keep"}]),
            json!({"name": "metrics", "XXX_port": "9091"}),
        ),
        (
            json!({"a": "foo", "b1": "bar", "b2": "baz"}),
            json!([{"regex": "(b.*)", "action": "labelkeep"}]),
            json!({"b1": "bar", "b2": "baz"}),
        ),
        (
            json!({"a": "foo", "b1": "bar", "b2": "baz"}),
            json!([{"regex": "(b.*)", "action": "labeldrop"}]),
            json!({"a": "foo"}),
        ),
        (
            json!({"foo": "bAr123Foo"}),
            json!([
            {"source_labels": ["foo"], "action": "uppercase", "target_label": "up"},
            {"source_labels": ["foo"], "action": "lowercase", "target_label": "low"}]),
            json!({"foo": "bAr123Foo", "low": "bar123foo", "up": "BAR123FOO"}),
        ),
        (
            ports.clone(),
            json!([{"source_labels": ["__tmp_port"], "action": "keepequal", "target_label": "__port1"}]),
            ports.clone(),
        ),
        (
            ports.clone(),
            json!([{"source_labels": ["__tmp_port"], "action": "dropequal", "target_label": "__port1"}]),
            Value::Null,
        ),
        (
            ports.clone(),
            json!([{"source_labels": ["__tmp_port"], "action": "dropequal", "target_label": "__port2"}]),
            ports.clone(),
        ),
        (
            ports.clone(),
            json!([{"source_labels": ["__tmp_port"], "action": "keepequal", "target_label": "__port2"}]),
            Value::Null,
        ),
        (
            lines,
            json!([{"source_labels": ["a"], "regex": "line1.*line2", "target_label": "utf-8.label", "replacement": "match${1}"}]),
            json!({"a": "line1\nline2", "utf-8.label": "match"}),
        ),
    ];
    for (input, rules, expected) in cases {
        let found = relabeler(&rules)
            .unwrap()
            .process(labels_of(&input).as_ref());
        let expected = (!expected.is_null()).then(|| labels_of(&expected));
        assert_eq!(found, expected, "{input} by {rules}");
    }
}

#[test]
fn rules_that_make_no_sense_are_refused_in_the_words_of_prometheus() {
    let cases = [
        (
            json!({"action": "replace"}),
            "relabel configuration for replace action requires 'target_label' value",
        ),
        (
            json!({"action": "lowercase"}),
            "relabel configuration for lowercase action requires 'target_label' value",
        ),
        (
            json!({"action": "lowercase", "target_label": "x", "replacement": "y"}),
            "'replacement' can not be set for lowercase action",
        ),
        (
            json!({"action": "hashmod", "target_label": "x"}),
            "relabel configuration for hashmod requires non-zero modulus",
        ),
        (
            json!({"action": "hashmod", "modulus": 1}),
            "relabel configuration for hashmod action requires 'target_label' value",
        ),
        (
            json!({"action": "labelmap", "replacement": ""}),
            "\"\" is invalid 'replacement' for labelmap action",
        ),
        (
            json!({"action": "keepequal", "target_label": "x", "separator": ","}),
            "keepequal action requires only 'source_labels' and `target_label`, and no other fields",
        ),
        (
            json!({"action": "labeldrop", "source_labels": ["x"]}),
            "labeldrop action requires only 'regex', and no other fields",
        ),
        (json!({"action": "keep", "regex": "("}), "missing closing )"),
    ];
    for (rule, expected) in cases {
        let error = relabeler(&json!([rule])).unwrap_err().to_string();
        assert!(error.contains(expected), "{rule}: {error}");
    }
    let unknown = serde_json::from_value::<RelabelConfig>(json!({"action": "Erase"})).unwrap_err();
    assert!(
        unknown
            .to_string()
            .contains("unknown relabel action \"Erase\""),
        "{unknown}"
    );

    let config = RelabelConfig {
        action: RelabelAction::LabelDrop,
        ..RelabelConfig::default()
    };
    let error = Relabeler::with_actions([config], &[RelabelAction::Keep]).unwrap_err();
    assert_eq!(error.message(), "unsupported relabel action: labeldrop");
}

#[test]
fn what_is_not_said_has_the_defaults_of_prometheus() {
    let config: RelabelConfig = serde_json::from_value(json!({"target_label": "x"})).unwrap();
    assert_eq!(
        (&*config.separator, &*config.regex, &*config.replacement),
        (";", "(.*)", "$1")
    );
    assert_eq!(
        serde_json::to_value(&config).unwrap(),
        json!({"target_label": "x"})
    );
    let config: RelabelConfig =
        serde_json::from_value(json!({"regex": null, "separator": ""})).unwrap();
    assert_eq!((&*config.separator, &*config.regex), ("", ""));
}

/// Go maps each character to one character.
#[test]
fn cases_are_mapped_character_by_character() {
    assert_eq!(
        map_case("stra\u{df}e \u{e9}", char::to_uppercase),
        "STRA\u{df}E \u{c9}"
    );
    assert_eq!(map_case("\u{130}\u{3a3}", char::to_lowercase), "i\u{3c3}");
}
