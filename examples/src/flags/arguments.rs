//! `@file` among the arguments, as in Thanos' command line: the lines of the file are arguments.

use std::ffi::OsString;
use std::path::Path;

use clap::Error;
use clap::error::ErrorKind;

/// What all files together may hold; a device or a log given by mistake must not fill the memory.
const BYTES_MAX: u64 = 1 << 20;

/// How deep a file may name other files; one that names itself has no end.
const DEPTH_MAX: usize = 8;

/// Returns `arguments` with each `@file` replaced by the lines of the file. Lines that are blank or begin with `#` are left
/// out; a line may name another file. Behind `--`, and for the program's own name, nothing is replaced.
///
/// # Errors
///
/// For a file that cannot be read.
pub fn with_files(arguments: Vec<OsString>) -> Result<Vec<OsString>, Error> {
    let mut expansion = Expansion {
        room: BYTES_MAX,
        is_literal: false,
        out: Vec::with_capacity(arguments.len()),
    };
    let mut arguments = arguments.into_iter();
    expansion.out.extend(arguments.next());
    for argument in arguments {
        expansion.add(argument, 0)?;
    }
    Ok(expansion.out)
}

struct Expansion {
    room: u64,
    /// Whether `--` was there.
    is_literal: bool,
    out: Vec<OsString>,
}

impl Expansion {
    fn add(&mut self, argument: OsString, depth: usize) -> Result<(), Error> {
        let file = argument.to_str().and_then(|text| text.strip_prefix('@'));
        let Some(file) = file.filter(|_| !self.is_literal) else {
            self.is_literal |= argument == "--";
            self.out.push(argument);
            return Ok(());
        };
        if file.is_empty() {
            return Err(failed("expected @ file to expand arguments from"));
        }
        if depth == DEPTH_MAX {
            let message = format!("arguments file {file:?} is named by {DEPTH_MAX} files in a row");
            return Err(failed(&message));
        }
        for line in self.read(file)?.lines() {
            if !line.starts_with('#') && !line.trim().is_empty() {
                self.add(line.into(), depth + 1)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, file: &str) -> Result<String, Error> {
        let text = read_at_most(Path::new(file), self.room)
            .map_err(|error| failed(&format!("failed to read arguments from {file:?}: {error}")))?;
        self.room -= text.len() as u64;
        Ok(text)
    }
}

fn read_at_most(path: &Path, bytes_max: u64) -> std::io::Result<String> {
    use std::io::Read;

    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        let message = format!("files of arguments hold more than {BYTES_MAX} bytes");
        return Err(std::io::Error::other(message));
    }
    Ok(text)
}

fn failed(message: &str) -> Error {
    Error::raw(ErrorKind::Io, format!("{message}\n"))
}

#[cfg(test)]
mod tests {
    use thanos_core::testkit::TempDir;

    use super::*;

    fn expanded(arguments: &[&str]) -> Result<Vec<String>, String> {
        let arguments = arguments.iter().map(OsString::from).collect();
        let found = with_files(arguments).map_err(|error| error.to_string())?;
        Ok(found
            .into_iter()
            .map(|argument| argument.into_string().unwrap())
            .collect())
    }

    /// Kingpin, the flag library of Thanos, does the same.
    #[test]
    fn the_lines_of_a_file_are_arguments() {
        let dir = TempDir::new("arguments");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let inner = format!("@{}", path("inner"));
        std::fs::write(path("inner"), "--c=d e\n").unwrap();
        let outer = format!("# flags\n--a\n\n  \n{inner}\n--f");
        std::fs::write(path("outer"), outer).unwrap();
        let outer = format!("@{}", path("outer"));
        let found = expanded(&["@self", "role", &outer, "--g", "--", "@h"]).unwrap();
        let wanted = ["@self", "role", "--a", "--c=d e", "--f", "--g", "--", "@h"];
        assert_eq!(found, wanted);
        // Only a whole argument names a file.
        assert_eq!(expanded(&["x", "--a=@b"]).unwrap(), ["x", "--a=@b"]);
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        let dir = TempDir::new("arguments");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let of = |file: &str| expanded(&["x", &format!("@{file}")]).unwrap_err();
        assert!(of("").contains("expected @ file"));
        let missing = of("/no/such/file");
        assert!(missing.contains("\"/no/such/file\""), "{missing}");
        std::fs::write(path("loop"), format!("@{}", path("loop"))).unwrap();
        assert!(of(&path("loop")).contains("in a row"));
        std::fs::write(path("large"), "x".repeat(2 << 20)).unwrap();
        assert!(of(&path("large")).contains("more than"));
        assert!(of("/dev/zero").contains("more than"));
    }
}
