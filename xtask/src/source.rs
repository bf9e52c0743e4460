//! Rules for source text that the compiler does not check.

use std::path::Path;
use std::process::Command;

/// The most lines of a source file without its inline tests.
const FILE_LINES_MAX: usize = 700;

/// Checks every tracked Rust file outside generated code.
pub(crate) fn check() -> Result<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or("xtask lies in the workspace")?;
    let files = tracked_rust_files(root)?;
    let mut problems = Vec::new();
    for file in &files {
        let text =
            std::fs::read_to_string(root.join(file)).map_err(|error| format!("{file}: {error}"))?;
        problems.extend(problems_of(file, &text));
    }
    if problems.is_empty() {
        Ok(format!("source: {} files follow the rules", files.len()))
    } else {
        Err(problems.join("\n"))
    }
}

fn tracked_rust_files(root: &Path) -> Result<Vec<String>, String> {
    let output = Command::new("git")
        .args(["ls-files", "*.rs"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("git ls-files: {error}"))?;
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(listing
        .lines()
        .filter(|file| !file.contains("/pb/"))
        .map(str::to_owned)
        .collect())
}

fn problems_of(file: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(at) = text.lines().position(|line| !line.is_ascii()) {
        problems.push(format!("{file}:{}: not ASCII", at + 1));
    }
    let is_test = file.contains("/tests") || file.contains("/benches/");
    let is_table = text
        .lines()
        .next()
        .is_some_and(|line| line.contains("table"));
    let code_lines = text
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .count();
    if !is_test && !is_table && code_lines > FILE_LINES_MAX {
        problems.push(format!(
            "{file}: {code_lines} lines without tests, at most {FILE_LINES_MAX} are allowed"
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_and_foreign_characters_are_named() {
        let long = "fn f() {}\n".repeat(FILE_LINES_MAX + 1);
        assert_eq!(problems_of("a/src/x.rs", &long).len(), 1);
        assert!(problems_of("a/src/x/tests.rs", &long).is_empty());
        assert_eq!(
            problems_of("a/src/x.rs", "// \u{e9}"),
            ["a/src/x.rs:1: not ASCII"]
        );
    }
}
