//! Files of target groups, as Prometheus' file service discovery has them: YAML or JSON by the file's extension.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use thanos_core::error::{Error, Result};
use thanos_core::query::Missing;

use super::EndpointSpec;
use super::source::{Found, Source, WatchedFile};
use crate::client::ClientSettings;

/// The most bytes of one file.
const BYTES_MAX: usize = 16 << 20;

/// Addresses with labels; the labels mean nothing for endpoints.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetGroup {
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default, rename = "labels")]
    _labels: IgnoredAny,
}

/// Lists the files that there are now.
type ListFiles = Box<dyn FnMut() -> Result<Vec<PathBuf>> + Send>;

/// The endpoints of files that are read again when they change (`--store.sd-files`).
///
/// A file that cannot be read keeps the endpoints that it had.
pub struct FileSource {
    list: ListFiles,
    interval: Duration,
    client: ClientSettings,
    files: BTreeMap<PathBuf, TargetFile>,
}

#[derive(Debug)]
struct TargetFile {
    watched: WatchedFile,
    addresses: Option<Vec<String>>,
    problem: Option<String>,
}

impl FileSource {
    /// Returns the endpoints of the files that `list` names, read again every `interval` even if they look the same.
    pub fn new(
        list: impl FnMut() -> Result<Vec<PathBuf>> + Send + 'static,
        interval: Duration,
        client: ClientSettings,
    ) -> Self {
        Self {
            list: Box::new(list),
            interval,
            client,
            files: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for FileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSource")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Source for FileSource {
    fn find(&mut self) -> Found {
        let mut found = Found::default();
        match (self.list)() {
            Ok(paths) => {
                self.files.retain(|path, _| paths.contains(path));
                for path in paths {
                    let new = || TargetFile::new(path.clone(), self.interval);
                    self.files.entry(path.clone()).or_insert_with(new);
                }
            }
            Err(error) => found.gaps.push(Missing {
                source: "files of endpoints".into(),
                reason: error.to_string(),
            }),
        }
        for (path, file) in &mut self.files {
            file.update();
            let addresses = file.addresses.iter().flatten();
            // The same address in several files is one endpoint, not a mistake.
            let new = |address: &&String| {
                !found
                    .endpoints
                    .iter()
                    .any(|known: &EndpointSpec| known.address == **address)
            };
            let addresses: Vec<_> = addresses.filter(new).cloned().collect();
            found
                .endpoints
                .extend(addresses.into_iter().map(|address| EndpointSpec {
                    client: self.client.clone(),
                    ..EndpointSpec::new(address)
                }));
            if let (None, Some(problem)) = (&file.addresses, &file.problem) {
                found.gaps.push(Missing {
                    source: path.display().to_string(),
                    reason: problem.clone(),
                });
            }
        }
        found
    }
}

impl TargetFile {
    fn new(path: PathBuf, interval: Duration) -> Self {
        Self {
            watched: WatchedFile::new(path, interval),
            addresses: None,
            problem: None,
        }
    }

    fn update(&mut self) {
        let Some(content) = self.watched.changed() else {
            return;
        };
        let path = self.watched.path();
        match content.and_then(|content| targets(path, &content)) {
            Ok(addresses) => (self.addresses, self.problem) = (Some(addresses), None),
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "error reading file of endpoints");
                self.problem = Some(error.to_string());
            }
        }
    }
}

/// Returns the addresses that a file lists.
///
/// # Errors
///
/// `Invalid` with the file for another extension than those of YAML and JSON, and for what is no list of target groups.
pub fn targets(path: &Path, content: &str) -> Result<Vec<String>> {
    let invalid = |what: String| Error::invalid(what).in_file(path.display().to_string());
    let extension = path.extension().and_then(|extension| extension.to_str());
    let extension = extension.unwrap_or_default().to_ascii_lowercase();
    // JSON is YAML.
    if !["json", "yml", "yaml"].contains(&extension.as_str()) {
        return Err(invalid(format!(
            "unsupported file extension {extension:?}, expected json, yml or yaml"
        )));
    }
    if content.len() > BYTES_MAX {
        return Err(invalid(format!("more than {BYTES_MAX} bytes")));
    }
    if content.trim().is_empty() {
        return Ok(Vec::new());
    }
    let groups: Option<Vec<TargetGroup>> =
        serde_saphyr::from_str(content).map_err(|error| invalid(error.to_string()))?;
    let targets = groups.into_iter().flatten().flat_map(|group| group.targets);
    Ok(targets.filter(|target| !target.is_empty()).collect())
}
