//! Copies of test data that a test may change.

use std::path::Path;

/// Copies the files under `from` into `to`, over what is there already.
///
/// # Panics
///
/// When a file can not be copied.
pub fn copy_dir(from: &Path, to: &Path) {
    let copied = copy(from, to);
    copied.unwrap_or_else(|error| panic!("{} to {}: {error}", from.display(), to.display()));
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            // Written anew: a copy would keep a read-only mode.
            std::fs::write(&target, std::fs::read(entry.path())?)?;
        }
    }
    Ok(())
}
