//! What stands before the links of the page when a reverse proxy shows it under a path of its own.

use axum::http::HeaderMap;

use super::ViewerOptions;

/// Returns the prefix for an answer to a request with `headers`: empty, or `/a/b`.
pub(super) fn of_request(options: &ViewerOptions, headers: &HeaderMap) -> String {
    if !options.external_prefix.is_empty() {
        return sanitize(&options.external_prefix);
    }
    if options.prefix_header.is_empty() {
        return String::new();
    }
    let value = headers.get(options.prefix_header.as_str());
    value
        .and_then(|value| value.to_str().ok())
        .map(sanitize)
        .unwrap_or_default()
}

/// Returns the path in `prefix` without scheme, host, query, empty parts and dots; empty when it has characters that a
/// path cannot have, because the prefix ends up in a page and may come from anybody.
fn sanitize(prefix: &str) -> String {
    let path = prefix.split_once("://").map_or(prefix, |(_, rest)| rest);
    let has_host = path.len() != prefix.len() || prefix.starts_with("//");
    let path = path.trim_start_matches('/');
    let path = if has_host {
        path.split_once('/').map_or("", |(_, path)| path)
    } else {
        path
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"-._~%+@:,=".contains(&c);
    if parts.iter().any(|part| !part.bytes().all(is_plain)) {
        return String::new();
    }
    parts.iter().flat_map(|part| ["/", part]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_plain_absolute_paths() {
        for (given, expected) in [
            ("", ""),
            ("/", ""),
            ("thanos", "/thanos"),
            ("/thanos/", "/thanos"),
            ("//host/thanos", "/thanos"),
            ("https://host/thanos/store?x=1", "/thanos/store"),
            ("https://host", ""),
            ("/a//b/../c/./", "/a/c"),
            ("/../../etc", "/etc"),
            ("/\"><script>", ""),
            ("javascript://x/%0aalert", "/%0aalert"),
        ] {
            assert_eq!(sanitize(given), expected, "{given}");
        }
    }
}
