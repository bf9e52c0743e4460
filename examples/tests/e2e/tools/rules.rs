//! `rules-check`.

use serde_json::Value;

use super::{dir, failed, logged, printed};
use crate::programs::thanos;

const GOOD: &str = "groups:\n- name: a\n  partial_response_strategy: warn\n  rules:\n  - record: x\n    expr: up\n  \
                    - alert: y\n    expr: up == 0\n    annotations:\n      text: '{{ $labels.job }} is down'\n";

/// T-32, T-33: a good file, none, and a file for each defect.
#[test]
fn rule_files_are_checked() {
    let files = dir("rules");
    let write = |name: &str, text: &str| std::fs::write(files.path().join(name), text).unwrap();
    let check = |pattern: &str| {
        let pattern = files.path().join(pattern).display().to_string();
        thanos(&["tools", "rules-check", "--rules", &pattern, "--output=json"])
            .output()
            .unwrap()
    };
    write("good.yml", GOOD);
    let good = check("go*.yml");
    let json: Value = serde_json::from_str(&printed(&good)).unwrap();
    assert_eq!(
        (&json[0]["rules"], json.as_array().unwrap().len()),
        (&Value::from(2), 1)
    );
    assert!(logged(&good).contains("SUCCESS"), "{}", logged(&good));
    assert!(failed(&check("none*.yml")).contains("matching file not found"));
    let defects = [
        (
            GOOD.replace("name: a", "name: ''"),
            "Groupname should not be empty",
        ),
        (
            GOOD.replace("expr: up\n", "expr: sum(up\n"),
            "could not parse expression",
        ),
        (
            GOOD.replace("record: x", "record: x\n    alert: y"),
            "only one of 'record' and 'alert' must be set",
        ),
        (
            GOOD.replace("  - record: x\n    expr", "  - expr"),
            "one of 'record' or 'alert' must be set",
        ),
        (
            GOOD.replace("expr: up\n", "expr: up\n    labels: {__name__: x}\n"),
            "invalid label name: __name__",
        ),
        (
            GOOD.replace("$labels.job", "$lables.job"),
            "undefined variable",
        ),
        (GOOD.replace("rules:", "nope: 1\n  rules:"), "unknown field"),
        (
            GOOD.replace("strategy: warn", "strategy: bogus"),
            "Possible values are ABORT,WARN",
        ),
    ];
    for (text, expected) in defects {
        write("bad.yml", &text);
        let log = failed(&check("bad.yml"));
        assert!(log.contains(expected), "{text}\n{log}");
        // A good file does not help.
        failed(&check("*.yml"));
    }
}
