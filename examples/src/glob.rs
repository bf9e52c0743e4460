//! File names that match a pattern: `*` and `?` within a name, and `[a-z]`, as in Go's `filepath.Glob`.

use std::path::{Path, PathBuf};

use thanos_core::{Error, Result};

/// Returns the files that match `pattern`, sorted.
///
/// # Errors
///
/// `Invalid` for a pattern with a bracket that is not closed.
pub fn glob(pattern: &str) -> Result<Vec<PathBuf>> {
    let (start, rest) = match pattern.strip_prefix('/') {
        Some(rest) => (PathBuf::from("/"), rest),
        None => (PathBuf::new(), pattern),
    };
    let mut found = vec![start];
    for part in rest.split('/').filter(|part| !part.is_empty()) {
        found = step(&found, part)?;
    }
    found.retain(|path| path.exists());
    found.sort();
    Ok(found)
}

fn step(dirs: &[PathBuf], part: &str) -> Result<Vec<PathBuf>> {
    if !part.contains(['*', '?', '[', '\\']) {
        return Ok(dirs.iter().map(|dir| dir.join(part)).collect());
    }
    let mut found = Vec::new();
    for dir in dirs {
        let listed = if dir.as_os_str().is_empty() {
            Path::new(".")
        } else {
            dir
        };
        // A directory that cannot be read has no matches, as in Go.
        let Ok(entries) = std::fs::read_dir(listed) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if let Some(text) = name.to_str()
                && matches(part, text)?
            {
                found.push(dir.join(name));
            }
        }
    }
    Ok(found)
}

/// Whether `name` matches the pattern of one path element.
fn matches(pattern: &str, name: &str) -> Result<bool> {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    // The places of the pattern that the name up to here can have led to.
    let mut places = vec![0];
    for c in &name {
        let mut next = Vec::new();
        for place in with_stars(&pattern, &places) {
            if pattern.get(place) == Some(&'*') {
                next.push(place);
            } else if let Some((len, true)) = one(&pattern[place..], *c)? {
                next.push(place + len);
            }
        }
        next.sort_unstable();
        next.dedup();
        places = next;
    }
    Ok(with_stars(&pattern, &places).contains(&pattern.len()))
}

/// Adds the places behind stars, which may match nothing.
fn with_stars(pattern: &[char], places: &[usize]) -> Vec<usize> {
    let mut all = Vec::new();
    for &place in places {
        let mut place = place;
        all.push(place);
        while pattern.get(place) == Some(&'*') {
            place += 1;
            all.push(place);
        }
    }
    all
}

/// Returns how long the first element of `pattern` is and whether it matches `c`; nothing at the end of the pattern.
fn one(pattern: &[char], c: char) -> Result<Option<(usize, bool)>> {
    let bad = || Error::invalid("syntax error in pattern");
    Ok(match pattern.first() {
        None => None,
        Some('?') => Some((1, true)),
        Some('\\') => Some((2, *pattern.get(1).ok_or_else(bad)? == c)),
        Some('[') => {
            let end = pattern
                .iter()
                .skip(2)
                .position(|c| *c == ']')
                .ok_or_else(bad)?
                + 2;
            let (negated, set) = match pattern[1] {
                '^' => (true, &pattern[2..end]),
                _ => (false, &pattern[1..end]),
            };
            Some((end + 1, in_set(set, c) != negated))
        }
        Some(other) => Some((1, *other == c)),
    })
}

fn in_set(mut set: &[char], c: char) -> bool {
    loop {
        match set {
            [] => return false,
            [low, '-', high, rest @ ..] => {
                if (*low..=*high).contains(&c) {
                    return true;
                }
                set = rest;
            }
            [only, rest @ ..] => {
                if *only == c {
                    return true;
                }
                set = rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        let cases = [
            ("*.yml", "a.yml", true),
            ("*.yml", "a.yaml", false),
            ("a*c*", "abcd", true),
            ("a*c*", "acc", true),
            ("?.yml", "ab.yml", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*", "*", true),
            ("*", "", true),
            ("a", "", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(
                matches(pattern, name).ok(),
                Some(expected),
                "{pattern} {name}"
            );
        }
        assert!(matches("[a", "a").is_err());
    }
}
