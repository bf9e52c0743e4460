//! A file as it is written: unpacked, with the values of its variables.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use thanos_core::error::{Error, ErrorKind, Result};

/// How a file compressed with gzip begins.
const GZIP: [u8; 3] = [0x1f, 0x8b, 0x08];

/// Returns the content of a file, of at most `bytes_max`.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|error| on(path, error))?;
    bounded(file, bytes_max).map_err(|error| at(path, error))
}

/// Returns what `raw` holds when it is compressed, and itself otherwise.
pub(super) fn unpacked(raw: Vec<u8>, bytes_max: u64) -> Result<Vec<u8>> {
    if !raw.starts_with(&GZIP) {
        return Ok(raw);
    }
    bounded(MultiGzDecoder::new(&raw[..]), bytes_max).map_err(|error| match error.kind() {
        ErrorKind::LimitExceeded => error.context("unpacked"),
        _ => Error::corrupt(format!("gzip: {}", error.message())),
    })
}

fn bounded(from: impl Read, bytes_max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let len = from
        .take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    match len as u64 > bytes_max {
        true => Err(too_long(bytes_max)),
        false => Ok(bytes),
    }
}

fn too_long(bytes_max: u64) -> Error {
    Error::limit_exceeded(format!("more than {bytes_max} bytes"))
}

/// A text with values in the place of variables.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) text: Vec<u8>,
    /// The variables without a value, as often as they are named; they stay as they are.
    pub(super) unset: Vec<String>,
}

/// Puts values in the place of `$(NAME)`. What is in a value stays as it is.
///
/// COMPAT: the form is that of Kubernetes, `\$\(([a-zA-Z_0-9]+)\)` in Thanos pkg/reloader.
pub(super) fn expanded(
    text: &[u8],
    environment: &BTreeMap<String, Vec<u8>>,
    bytes_max: u64,
) -> Result<Expanded> {
    let mut out = Expanded {
        text: Vec::with_capacity(text.len()),
        unset: Vec::new(),
    };
    let mut rest = text;
    while let Some(start) = rest.windows(2).position(|pair| pair == b"$(") {
        let (before, variable) = rest.split_at(start);
        out.text.extend_from_slice(before);
        let Some(name) = name_at(&variable[2..]) else {
            // The bracket may belong to nothing, the next dollar may not.
            out.text.extend_from_slice(&variable[..2]);
            rest = &variable[2..];
            continue;
        };
        let (whole, after) = variable.split_at(name.len() + 3);
        match environment.get(name) {
            Some(value) => out.text.extend_from_slice(value),
            None => {
                out.unset.push(name.to_owned());
                out.text.extend_from_slice(whole);
            }
        }
        if out.text.len() as u64 > bytes_max {
            return Err(too_long(bytes_max).context("with the values of its variables"));
        }
        rest = after;
    }
    out.text.extend_from_slice(rest);
    match out.text.len() as u64 > bytes_max {
        true => Err(too_long(bytes_max).context("with the values of its variables")),
        false => Ok(out),
    }
}

/// Returns the name that ends with the first closing bracket, if there is one.
fn name_at(text: &[u8]) -> Option<&str> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let len = text.iter().take_while(|byte| is_name(byte)).count();
    if len == 0 || text.get(len) != Some(&b')') {
        return None;
    }
    std::str::from_utf8(&text[..len]).ok()
}

/// Writes a file so that readers see the old or the new one; one that is the same already is not touched.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if holds(path, bytes) {
        return Ok(());
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let tmp = PathBuf::from(name);
    let written = write_new(&tmp, bytes)
        .and_then(|()| fs::rename(&tmp, path))
        .map_err(|error| on(path, error));
    if written.is_err() {
        let _ = fs::remove_file(&tmp);
    }
    written
}

fn holds(path: &Path, bytes: &[u8]) -> bool {
    let len = bytes.len() as u64;
    let same_len = fs::metadata(path).is_ok_and(|about| about.is_file() && about.len() == len);
    same_len && read(path, len).is_ok_and(|present| present == bytes)
}

fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Returns an error of the file system with the file.
pub(super) fn on(path: &Path, error: std::io::Error) -> Error {
    at(path, Error::from(error))
}

/// Returns an error with the file.
pub(super) fn at(path: &Path, error: Error) -> Error {
    error.context(path.display())
}
