use proptest::prelude::*;

use super::*;

/// T-33: what Go's own parser says of the same texts, with Prometheus' functions and the variables of alerts.
#[test]
fn texts_are_taken_and_refused_as_go_does() {
    let sound = [
        "",
        "plain {text}",
        "{{ $labels.job }}",
        "{{$labels.job}} {{ .Value }}",
        "{{- $value -}}",
        "{{ $value | humanize1024 }}B",
        r#"{{ printf "%.2f" $value }}"#,
        r#"{{ if gt $value 0.5 }}high{{ else if lt $value 0.1 }}low{{ else }}mid{{ end }}"#,
        r#"{{ range query "up" }}{{ .Labels.job }}{{ end }}"#,
        r#"{{ range $i, $e := query "up" }}{{ $i }}{{ $e.Value }}{{ break }}{{ end }}"#,
        r#"{{ with query "up" }}{{ . | first | value | humanizePercentage }}{{ end }}"#,
        r#"{{ define "x" }}{{ . }}{{ end }}{{ template "x" . }}"#,
        "{{/* a comment */}}",
        "{{- /* a comment */ -}}",
        "{{ $x := 1 }}{{ $x }}",
        "{{ (index . 0).Labels }}",
        "{{ `raw` }} {{ 'c' }} {{ 1e-3 }} {{ -2 }} {{ 0x1F }} {{ nil | print }}",
        "{{ $ }}",
        "{{ now | toTime }}",
        "{{ $value | }}",
        "{{ .a.b }}}",
        "{{ $x = 1 }}",
        "{{ 1 2 }}",
    ];
    for text in sound {
        assert_eq!(check(text, &ALERT_VARIABLES), Ok(()), "{text}");
    }
    let broken = [
        ("{{ $labels.job }", 1, r#"unexpected "}" in operand"#),
        ("{{ tmpl \"x\" . }}", 1, r#"function "tmpl" not defined"#),
        ("{{ ( ) }}", 1, "missing value for parenthesized pipeline"),
        ("{{ | print }}", 1, r#"unexpected "|" in command"#),
        (
            "{{ if true }}{{ define \"x\" }}{{ end }}{{ end }}",
            1,
            "unexpected <define> in command",
        ),
        ("{{ $lables.job }}", 1, r#"undefined variable "$lables""#),
        ("{{ $labels.job ", 1, "unclosed action"),
        ("\n\n{{ nope }}", 3, r#"function "nope" not defined"#),
        ("{{ if true }}x", 1, "unexpected EOF"),
        ("{{ end }}", 1, "unexpected {{end}}"),
        ("{{ else }}", 1, "unexpected {{else}}"),
        ("{{ }}", 1, "missing value for command"),
        ("{{ if }}x{{ end }}", 1, "missing value for if"),
        (
            "{{ 1 | 2 }}",
            1,
            "non executable command in pipeline stage 2",
        ),
        ("{{ break }}", 1, "{{break}} outside {{range}}"),
        ("{{ \"a }}", 1, "unterminated quoted string"),
        ("{{ `a }}", 1, "unterminated raw quoted string"),
        ("{{ (1 }}", 1, "unclosed left paren"),
        ("{{ 1) }}", 1, "unexpected right paren"),
        ("{{/* a }}", 1, "unclosed comment"),
        ("{{ 1.2.3 }}", 1, r#"unexpected ".3" in operand"#),
        ("{{ true.x }}", 1, r#"unexpected . after term "true""#),
        ("{{ 1 : 2 }}", 1, "expected :="),
        (
            "{{ if true }}{{ $x := 1 }}{{ end }}{{ $x }}",
            1,
            r#"undefined variable "$x""#,
        ),
        (
            "{{ define \"x\" }}{{ $value }}{{ end }}",
            1,
            r#"undefined variable "$value""#,
        ),
        (
            "{{ if true }}a{{ else }}b{{ else }}c{{ end }}",
            1,
            "expected end; found {{else}}",
        ),
        ("{{ $a, $b := 1 }}", 1, "too many declarations in command"),
        ("{{ # }}", 1, r##"unexpected "#" in command"##),
    ];
    for (text, line, message) in broken {
        let error = check(text, &ALERT_VARIABLES).unwrap_err();
        assert_eq!((error.line, &*error.message), (line, message), "{text}");
    }
}

#[test]
fn deep_templates_are_refused_and_do_not_end_the_process() {
    for text in [
        "{{ if true }}".repeat(100_000),
        format!("{{{{ {} }}}}", "(".repeat(100_000)),
    ] {
        assert!(check(&text, &[]).is_err());
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in r#"(\{\{-? ?|-?\}\}|[a-z$.|(),:= "`'0-9]|if|end|range|else|with|define|/\*|\*/|\PC){0,30}"#) {
        let _ = check(&text, &ALERT_VARIABLES);
    }
}
