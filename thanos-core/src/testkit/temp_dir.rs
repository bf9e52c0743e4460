//! Directories that live as long as a test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A fresh directory under the system's temporary one, removed when dropped.
///
/// # Example
///
/// ```
/// use thanos_core::testkit::TempDir;
///
/// let dir = TempDir::new("example");
/// std::fs::write(dir.path().join("file"), b"contents")?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// Makes a directory whose name contains `name`.
    ///
    /// # Panics
    ///
    /// When the directory can not be made.
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("thanos-{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Left over from a process that had this id before.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("the temporary directory can be written to");
        Self { path }
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
