//! Metrics in the older text format of Prometheus, made from OpenMetrics text.
//!
//! The two differ in little: a counter's name includes `_total` there, and there are no units, exemplars or end.

/// Returns `open`, OpenMetrics text, in the format `text/plain; version=0.0.4`.
pub(super) fn plain(open: &str) -> String {
    let mut out = String::with_capacity(open.len());
    // The help of a family comes before its type, which says what the family is called.
    let mut help = None;
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "unknown"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "gauge" | "histogram" | "summary" => ("", kind),
                _ => ("", "untyped"),
            };
            if let Some((_, text)) = help.take() {
                out.push_str(&format!("# HELP {name}{suffix} {text}\n"));
            }
            out.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            out.push_str(without_exemplar(line));
            out.push('\n');
        }
    }
    out
}

/// Cuts what follows the value of a sample; label values may hold anything.
fn without_exemplar(sample: &str) -> &str {
    let mut is_quoted = false;
    let mut is_escaped = false;
    for (at, c) in sample.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            '#' if !is_quoted => return sample[..at].trim_end(),
            _ => {}
        }
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    ///
    #[test]
    fn counters_have_their_whole_name() {
        let open = "# HELP a Some help, more.\n# TYPE a counter\na_total{x=\"1 # {\\\"\"} 2 # {traceID=\"t\"} 0.5\n\
                    # HELP s Seconds.\n# TYPE s histogram\n# UNIT s seconds\ns_bucket{le=\"+Inf\"} 1 # {traceID=\"t\"} 1\n\
                    # TYPE i info\ni_info 1\n# TYPE u unknown\nu 3\n# EOF\n";
        let expected = "# HELP a_total Some help, more.\n# TYPE a_total counter\na_total{x=\"1 # {\\\"\"} 2\n\
                        # HELP s Seconds.\n# TYPE s histogram\ns_bucket{le=\"+Inf\"} 1\n\
                        # TYPE i_info gauge\ni_info 1\n# TYPE u untyped\nu 3\n";
        assert_eq!(plain(open), expected);
    }
}
