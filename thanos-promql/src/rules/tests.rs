use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn rule(change: impl FnOnce(&mut Rule)) -> Rule {
    let mut rule = Rule {
        record: "job:up:sum".to_owned(),
        expr: "sum by (job) (up)".to_owned(),
        ..Rule::default()
    };
    change(&mut rule);
    rule
}

fn alert(change: impl FnOnce(&mut Rule)) -> Rule {
    rule(|rule| {
        (rule.record, rule.alert) = (String::new(), "Down".to_owned());
        change(rule);
    })
}

/// T-33: one rule for each defect, with Prometheus' words.
#[test]
fn defects_of_rules_are_told() {
    let cases = [
        (rule(|_| {}), ""),
        (alert(|rule| rule.for_ms = 1), ""),
        (
            rule(|rule| rule.alert = "a".to_owned()),
            "only one of 'record' and 'alert' must be set",
        ),
        (
            rule(|rule| rule.record.clear()),
            "one of 'record' or 'alert' must be set",
        ),
        (
            rule(|rule| rule.expr.clear()),
            "field 'expr' must be set in rule",
        ),
        (
            rule(|rule| rule.expr = "sum(up".to_owned()),
            "could not parse expression: 1:7: parse error: unclosed left parenthesis",
        ),
        (
            rule(|rule| rule.for_ms = 1),
            "invalid field 'for' in recording rule",
        ),
        (
            rule(|rule| rule.keep_firing_for_ms = 1),
            "invalid field 'keep_firing_for' in recording rule",
        ),
        (
            rule(|rule| rule.annotations = labels(&[("a", "b")])),
            "invalid field 'annotations' in recording rule",
        ),
        (
            rule(|rule| rule.record = "up{a=\"b\"}".to_owned()),
            "braces present in the recording rule name; should it be in expr?: up{a=\"b\"}",
        ),
        (
            rule(|rule| rule.labels = labels(&[("__name__", "x")])),
            "invalid label name: __name__",
        ),
        (
            rule(|rule| rule.labels = labels(&[("", "x")])),
            "invalid label name: ",
        ),
        (
            alert(|rule| rule.annotations = labels(&[("", "x")])),
            "invalid annotation name: ",
        ),
        // Only alerts have templates.
        (
            rule(|rule| rule.labels = labels(&[("a", "{{ nope }}")])),
            "",
        ),
        (
            alert(|rule| rule.labels = labels(&[("a", "{{ nope }}")])),
            "label \"a\": template: __alert_Down:1: function \"nope\" not defined",
        ),
        (
            alert(|rule| rule.annotations = labels(&[("a", "{{ $labels.job }")])),
            "annotation \"a\": template: __alert_Down:1: unexpected \"}\" in operand",
        ),
    ];
    for (rule, expected) in cases {
        let errors = rule.validate(&parser::Options::default());
        assert_eq!(errors.join("; "), expected, "{rule:?}");
    }
}

#[test]
fn groups_need_names_and_name_their_rules() {
    let group = RuleGroup {
        rules: vec![rule(|_| {}), rule(|rule| rule.expr.clear())],
        labels: labels(&[("__name__", "x")]),
        ..RuleGroup::default()
    };
    let errors: Vec<String> = group
        .validate(&parser::Options::default())
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        errors,
        [
            "Groupname should not be empty",
            "invalid label name: __name__",
            "group \"\", rule 1, \"job:up:sum\": field 'expr' must be set in rule",
        ]
    );
}
