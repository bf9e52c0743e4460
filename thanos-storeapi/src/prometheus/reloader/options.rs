//! What a reloader watches, and how it tells the server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use thanos_core::error::{Error, Result};

use super::metrics::ReloaderMetrics;

/// The settings of a [`super::Reloader`].
#[derive(Debug, Clone)]
pub struct ReloaderOptions {
    /// The configuration of the server, or the template of it.
    pub config_file: Option<PathBuf>,
    /// Where the configuration is written with the values of its variables; the server reads it there.
    pub config_output: Option<PathBuf>,
    /// Directories of further configuration.
    pub config_dirs: Vec<ConfigDir>,
    /// Directories of files that the server reads where they are, with all directories in them.
    pub rule_dirs: Vec<PathBuf>,
    /// How often all files are read again although none looks changed; zero for never, and without any watching.
    pub watch_interval: Duration,
    /// How long to wait after a failure.
    pub retry_interval: Duration,
    /// How often to look whether files have changed.
    pub poll_interval: Duration,
    /// What to do about variables without a value.
    pub unset_variables: UnsetVariables,
    /// The values of variables; see [`ReloaderOptions::process_environment`].
    pub environment: BTreeMap<String, Vec<u8>>,
    /// The most bytes of a file that has an output, before and after it is unpacked and has its values.
    pub file_bytes_max: u64,
    /// What is counted.
    pub metrics: ReloaderMetrics,
}

/// A directory of configuration; directories in it are not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigDir {
    /// The directory.
    pub dir: PathBuf,
    /// Where its files are written with the values of their variables. Files whose origin vanishes are deleted there.
    pub output: Option<PathBuf>,
}

/// What to do about variables without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnsetVariables {
    /// The file is refused.
    #[default]
    Refuse,
    /// They stay as they are.
    Keep,
}

/// How the server is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadMethod {
    /// By a request, which the server must allow (`--web.enable-lifecycle`).
    Http,
    /// By SIGHUP. What came of it is asked over HTTP.
    ///
    /// The signal is sent with the shell's `kill`, which must be there.
    Signal {
        /// The name of the executable; the process with the lowest id of this name is meant.
        process_name: String,
    },
}

impl ReloadMethod {
    /// Returns the name, as flags and metrics have it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Signal { .. } => "signal",
        }
    }
}

impl Default for ReloaderOptions {
    fn default() -> Self {
        Self {
            config_file: None,
            config_output: None,
            config_dirs: Vec::new(),
            rule_dirs: Vec::new(),
            watch_interval: Duration::from_secs(180),
            retry_interval: Duration::from_secs(5),
            poll_interval: Duration::from_secs(1),
            unset_variables: UnsetVariables::default(),
            environment: BTreeMap::new(),
            file_bytes_max: 64 << 20,
            metrics: ReloaderMetrics::default(),
        }
    }
}

impl ReloaderOptions {
    /// Returns the environment of this process, without what has a name that is not text.
    pub fn process_environment() -> BTreeMap<String, Vec<u8>> {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_encoded_bytes()))
        });
        variables.collect()
    }

    /// Reports whether there is anything to watch.
    pub fn watches(&self) -> bool {
        self.config_file.is_some() || !self.config_dirs.is_empty() || !self.rule_dirs.is_empty()
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// `Invalid` when an output has no origin or is its own origin, and for intervals that would never let go.
    pub fn validate(&self) -> Result<()> {
        if self.config_output.is_some() && self.config_file.is_none() {
            return Err(Error::invalid(
                "there is an output for a config file, and no config file",
            ));
        }
        let file = (self.config_file.as_ref(), self.config_output.as_ref());
        let dirs = self.config_dirs.iter();
        let dirs = dirs.map(|dir| (Some(&dir.dir), dir.output.as_ref()));
        for (origin, output) in std::iter::once(file).chain(dirs) {
            if let (Some(origin), Some(output)) = (origin, output)
                && origin == output
            {
                let path = output.display();
                return Err(Error::invalid(format!("{path} would overwrite itself")));
            }
        }
        for (interval, name) in [(self.retry_interval, "retry"), (self.poll_interval, "poll")] {
            if interval.is_zero() {
                return Err(Error::invalid(format!("the {name} interval is zero")));
            }
        }
        Ok(())
    }
}
