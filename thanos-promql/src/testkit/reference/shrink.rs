//! Makes a failing case smaller, so that it can be read.

use std::sync::Arc;

use super::case::{Case, Engines, Verdict};
use crate::parser::{Expr, parse};

/// Tries so many smaller cases at most.
const TRIES_MAX: usize = 400;

/// Returns the smallest case found that breaks the same promise, with how it does.
pub(super) fn shrink(
    case: &Case,
    engines: &Engines,
    promise: &'static str,
    text: String,
) -> (Case, String) {
    let mut best = (case.clone(), text);
    let mut tries = 0;
    loop {
        let mut was_improved = false;
        for smaller in smaller_cases(&best.0) {
            tries += 1;
            if tries > TRIES_MAX {
                return best;
            }
            if let Verdict::Broken(found, text) = smaller.check(engines)
                && found == promise
            {
                best = (smaller, text);
                was_improved = true;
                break;
            }
        }
        if !was_improved {
            return best;
        }
    }
}

fn smaller_cases(case: &Case) -> Vec<Case> {
    let mut all = Vec::new();
    for text in smaller_texts(case) {
        all.push(Case {
            text,
            ..case.clone()
        });
    }
    for place in 0..case.series.len() {
        let mut series = case.series.to_vec();
        series.remove(place);
        all.push(Case {
            series: Arc::new(series),
            ..case.clone()
        });
    }
    let mut times = case.times;
    if times.count > 1 {
        times.count -= 1;
        all.push(Case {
            times,
            ..case.clone()
        });
        times.start_ms += times.step_ms;
        all.push(Case {
            times,
            ..case.clone()
        });
    }
    for part in 0..4 {
        let mut series = case.series.to_vec();
        for one in &mut series {
            let length = one.samples.len();
            let cut = part * length / 4..(part + 1) * length / 4;
            one.samples.drain(cut);
        }
        if series.iter().map(|one| one.samples.len()).sum::<usize>()
            < case.series.iter().map(|one| one.samples.len()).sum()
        {
            all.push(Case {
                series: Arc::new(series),
                ..case.clone()
            });
        }
    }
    all
}

/// Returns the query with one node replaced by one of its operands.
fn smaller_texts(case: &Case) -> Vec<String> {
    let Ok(expr) = parse(&case.text, &case.options.parser) else {
        return Vec::new();
    };
    let mut texts = Vec::new();
    for operand in 0..2 {
        for place in 0.. {
            let mut at = 0;
            let mut was_replaced = false;
            let rewritten = expr.rewrite(&mut |node: Expr| {
                at += 1;
                if at - 1 != place {
                    return Ok::<_, std::convert::Infallible>(node);
                }
                let kind = node.value_type();
                let same_kind = |child: &&Expr| child.value_type() == kind;
                let child = node.children().filter(same_kind).nth(operand).cloned();
                was_replaced = child.is_some();
                Ok(child.unwrap_or(node))
            });
            let Ok(rewritten) = rewritten;
            if was_replaced {
                texts.push(rewritten.to_string());
            }
            if place >= at {
                break;
            }
        }
    }
    texts
}
