//! All that is watched: how it looks, what is in it, and what is written from it.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thanos_core::error::{Error, Result};
use xxhash_rust::xxh64::Xxh64;

use super::content::{self, at, on};
use super::options::{ConfigDir, ReloaderOptions, UnsetVariables};

/// How much of a file is in memory at once when it is only compared.
const READ_BYTES: usize = 64 << 10;

/// The files that were written into each output directory.
#[derive(Debug, Clone)]
pub(super) struct Outputs(Vec<BTreeSet<PathBuf>>);

/// What came of reading and writing everything.
#[derive(Debug)]
pub(super) struct Applied {
    /// Also right after a failure.
    pub(super) outputs: Outputs,
    /// How many variables had no value.
    pub(super) unset: usize,
    /// Stands for the names and contents of all files.
    pub(super) digest: Result<u64>,
}

impl Outputs {
    pub(super) fn new(options: &ReloaderOptions) -> Self {
        Self(vec![BTreeSet::new(); options.config_dirs.len()])
    }
}

/// Returns what stands for names, sizes and times of all files, and how many files and directories are named to be
/// watched.
///
/// # Errors
///
/// Those of the file system.
pub(super) fn looks(options: &ReloaderOptions) -> Result<(u64, usize)> {
    let mut digest = Xxh64::new(0);
    let mut look = |path: &Path, about: &Metadata| {
        put_name(&mut digest, path);
        for part in [about.dev(), about.ino(), about.size()] {
            digest.update(&part.to_le_bytes());
        }
        for part in [
            about.mtime(),
            about.mtime_nsec(),
            about.ctime(),
            about.ctime_nsec(),
        ] {
            digest.update(&part.to_le_bytes());
        }
    };
    if let Some(file) = &options.config_file {
        let about = fs::metadata(file).map_err(|error| on(file, error))?;
        look(file, &about);
    }
    for dir in &options.config_dirs {
        for file in files_of(&dir.dir)? {
            look(&file.path, &file.about);
        }
    }
    for dir in &options.rule_dirs {
        for file in files_below(dir)? {
            look(&file.path, &file.about);
        }
    }
    let files = usize::from(options.config_file.is_some());
    let watched = files + options.config_dirs.len() + options.rule_dirs.len();
    Ok((digest.digest(), watched))
}

/// Reads all files and writes those that have an output.
pub(super) fn apply(options: &ReloaderOptions, outputs: Outputs) -> Applied {
    let mut run = Run {
        options,
        digest: Xxh64::new(0),
        outputs,
        unset: 0,
    };
    let done = run.all();
    Applied {
        outputs: run.outputs,
        unset: run.unset,
        digest: done.map(|()| run.digest.digest()),
    }
}

struct Run<'a> {
    options: &'a ReloaderOptions,
    digest: Xxh64,
    outputs: Outputs,
    unset: usize,
}

impl Run<'_> {
    fn all(&mut self) -> Result<()> {
        let options = self.options;
        if let Some(file) = &options.config_file {
            self.file(file, options.config_output.as_deref())?;
        }
        for (index, dir) in options.config_dirs.iter().enumerate() {
            self.config_dir(index, dir)?;
        }
        // Last: an output may lie in one of these.
        for dir in &options.rule_dirs {
            for file in files_below(dir)? {
                self.file(&file.path, None)?;
            }
        }
        Ok(())
    }

    fn config_dir(&mut self, index: usize, dir: &ConfigDir) -> Result<()> {
        let mut present = BTreeSet::new();
        for file in files_of(&dir.dir)? {
            let name = file.path.file_name().unwrap_or_default();
            let output = dir.output.as_ref().map(|output| output.join(name));
            self.file(&file.path, output.as_deref())?;
            if let Some(output) = output {
                self.outputs.0[index].insert(output.clone());
                present.insert(output);
            }
        }
        for gone in self.outputs.0[index].difference(&present) {
            match fs::remove_file(gone) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(on(gone, error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        self.outputs.0[index] = present;
        Ok(())
    }

    fn file(&mut self, path: &Path, output: Option<&Path>) -> Result<()> {
        put_name(&mut self.digest, path);
        let Some(output) = output else {
            return self.content(path).map_err(|error| on(path, error));
        };
        let bytes_max = self.options.file_bytes_max;
        let raw = content::read(path, bytes_max)?;
        self.digest.update(&raw);
        let written = self.expanded(raw).map_err(|error| at(path, error))?;
        content::write(output, &written)
    }

    /// Takes the content of a file that may be of any length.
    fn content(&mut self, path: &Path) -> std::io::Result<()> {
        let mut file = File::open(path)?;
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(()),
                len => self.digest.update(&buffer[..len]),
            }
        }
    }

    fn expanded(&mut self, raw: Vec<u8>) -> Result<Vec<u8>> {
        let bytes_max = self.options.file_bytes_max;
        let text = content::unpacked(raw, bytes_max)?;
        let expanded = content::expanded(&text, &self.options.environment, bytes_max)?;
        self.unset += expanded.unset.len();
        let Some(name) = expanded.unset.first() else {
            return Ok(expanded.text);
        };
        let message = format!("found reference to unset environment variable {name:?}");
        match self.options.unset_variables {
            UnsetVariables::Refuse => Err(Error::invalid(message)),
            UnsetVariables::Keep => {
                tracing::warn!(count = expanded.unset.len(), "{message}, left as it is");
                Ok(expanded.text)
            }
        }
    }
}

/// Separates names from contents, which could otherwise be taken for each other.
fn put_name(digest: &mut Xxh64, path: &Path) {
    digest.update(&[0xff]);
    digest.update(path.as_os_str().as_bytes());
    digest.update(&[0xff]);
}

struct Found {
    path: PathBuf,
    /// Of the file itself, where the path is a symbolic link.
    about: Metadata,
}

/// Returns the regular files of a directory in the order of their names. Pipes and devices, which may never end, are not
/// files that a server reads.
fn files_of(dir: &Path) -> Result<Vec<Found>> {
    let dir = fs::canonicalize(dir).map_err(|error| on(dir, error))?;
    let mut found = Vec::new();
    for path in names_in(&dir)? {
        let about = fs::metadata(&path).map_err(|error| on(&path, error))?;
        if about.is_file() {
            found.push(Found { path, about });
        }
    }
    Ok(found)
}

/// Returns the regular files of a directory and of all directories in it. Symbolic links to directories are not followed;
/// they may lead in a circle.
fn files_below(dir: &Path) -> Result<Vec<Found>> {
    let dir = fs::canonicalize(dir).map_err(|error| on(dir, error))?;
    let mut found = Vec::new();
    let mut dirs = vec![dir];
    while let Some(dir) = dirs.pop() {
        for path in names_in(&dir)? {
            let about = fs::metadata(&path).map_err(|error| on(&path, error))?;
            if about.is_file() {
                found.push(Found { path, about });
            } else if about.is_dir() && !path.is_symlink() {
                dirs.push(path);
            }
        }
    }
    Ok(found)
}

fn names_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).map_err(|error| on(dir, error))?;
    let paths = entries.map(|entry| Ok(entry?.path()));
    let mut paths = paths
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(|error| on(dir, error))?;
    paths.sort_unstable();
    Ok(paths)
}
