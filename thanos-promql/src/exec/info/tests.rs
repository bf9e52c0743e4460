use super::*;

fn matchers(texts: &[(MatchOp, &str, &str)]) -> Vec<Matcher> {
    let matcher = |(op, name, value): &(MatchOp, &str, &str)| Matcher::new(*op, name, value);
    texts.iter().map(|text| matcher(text).unwrap()).collect()
}

#[test]
fn only_negative_names_select_among_all_info_metrics() {
    let name = |name: &str| Labels::from_pairs([("__name__", name)]);
    for (given, is_info, is_not) in [
        (&[][..], &["target_info"][..], &["build_info", ""][..]),
        (
            &[(MatchOp::Regex, "data", ".+")],
            &["target_info"],
            &["build_info"],
        ),
        (
            &[(MatchOp::NotEqual, "__name__", "target_info")],
            &["build_info"],
            &["target_info", "up"],
        ),
        (
            &[
                (MatchOp::Regex, "__name__", ".+_info"),
                (MatchOp::NotRegex, "__name__", "build.*"),
            ],
            &["target_info"],
            &["build_info", "up"],
        ),
    ] {
        let selection = InfoSelection::new(&matchers(given), Shift::default(), 0).unwrap();
        for info in is_info {
            assert!(selection.is_info(&name(info)), "{given:?} {info}");
        }
        for other in is_not {
            assert!(!selection.is_info(&name(other)), "{given:?} {other}");
        }
    }
}

#[test]
fn patterns_match_only_the_texts_they_are_made_of() {
    let texts = BTreeSet::from(["a.b:80".to_owned(), "(x|y)".to_owned()]);
    let matcher = Matcher::new(MatchOp::Regex, "instance", &any_of(&texts)).unwrap();
    assert!(texts.iter().all(|text| matcher.matches(text)));
    assert!(
        !["axb:80", "x", "y", ""]
            .iter()
            .any(|text| matcher.matches(text))
    );
}
