//! The queries that run right now: a list to look at, and a file that survives a crash.
//!
//! The file is Prometheus' `queries.active`: whatever it holds when a process starts are the queries that the
//! last process did not finish, and one of them may be what killed it. How many queries may run is not decided
//! here.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thanos_core::time::{Clock, Timestamp};

use crate::json::write_string;

/// The bytes of an entry of the file. Source: Prometheus `promql/query_logger.go`, `entrySize`.
const ENTRY_BYTES: usize = 1000;

/// The running queries of a process; clones share the list.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use thanos_core::time::SystemClock;
/// use thanos_promql::active::ActiveQueries;
///
/// let active = ActiveQueries::new(Arc::new(SystemClock));
/// let query = active.enter("sum(up)");
/// assert_eq!(active.list()[0].text, "sum(up)");
/// drop(query);
/// assert!(active.list().is_empty());
/// ```
#[derive(Debug, Clone)]
pub struct ActiveQueries {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    running: BTreeMap<u64, (RunningQuery, Option<usize>)>,
    log: Option<Log>,
}

/// A query that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningQuery {
    /// Its number, unique in the process.
    pub id: u64,
    /// Its text.
    pub text: String,
    /// When it started.
    pub started: Timestamp,
}

/// An entry of the list, which ends when this is dropped.
#[derive(Debug)]
pub struct ActiveQuery {
    id: u64,
    shared: Arc<Shared>,
}

impl ActiveQueries {
    /// Returns an empty list without a file.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let state = Mutex::default();
        let shared = Arc::new(Shared { clock, state });
        Self { shared }
    }

    /// Returns an empty list that keeps up to `queries_max` entries in the file at `path`, and the JSON array of
    /// the queries that were in the file before.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or written.
    pub fn with_log(
        clock: Arc<dyn Clock>,
        path: &Path,
        queries_max: usize,
    ) -> std::io::Result<(Self, Option<String>)> {
        let unfinished = read_unfinished(path, queries_max)?;
        let active = Self::new(clock);
        active.shared.state().log = Some(Log::create(path, queries_max)?);
        Ok((active, unfinished))
    }

    /// Adds a query.
    pub fn enter(&self, text: &str) -> ActiveQuery {
        let started = self.shared.clock.now();
        let mut state = self.shared.state();
        let id = state.next_id;
        state.next_id += 1;
        let place = state.log.as_mut().and_then(|log| log.write(text, started));
        let text = text.to_owned();
        let query = RunningQuery { id, text, started };
        state.running.insert(id, (query, place));
        drop(state);
        let shared = Arc::clone(&self.shared);
        ActiveQuery { id, shared }
    }

    /// Returns the running queries, the oldest first.
    pub fn list(&self) -> Vec<RunningQuery> {
        let state = self.shared.state();
        let queries = state.running.values();
        queries.map(|(query, _)| query.clone()).collect()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ActiveQuery {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let ended = state.running.remove(&self.id);
        let place = ended.and_then(|(_, place)| place);
        if let (Some(log), Some(place)) = (&mut state.log, place) {
            log.erase(place);
        }
    }
}

/// The file: `[`, and then for each place an entry and a comma, filled up with zeros.
#[derive(Debug)]
struct Log {
    file: File,
    free: Vec<usize>,
}

impl Log {
    fn create(path: &Path, queries_max: usize) -> std::io::Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(path)?;
        file.write_all(b"[")?;
        file.set_len(1 + (queries_max * ENTRY_BYTES) as u64)?;
        file.sync_all()?;
        let free = (0..queries_max).rev().collect();
        Ok(Self { file, free })
    }

    /// Writes an entry and returns its place; more queries than places are not written.
    fn write(&mut self, text: &str, started: Timestamp) -> Option<usize> {
        let place = self.free.pop()?;
        let secs = started.as_millis().div_euclid(1000);
        self.put(place, &entry(text, secs));
        Some(place)
    }

    fn erase(&mut self, place: usize) {
        self.put(place, &[0; ENTRY_BYTES]);
        self.free.push(place);
    }

    /// The file only helps to find what went wrong: that it cannot be written must not stop a query.
    fn put(&mut self, place: usize, bytes: &[u8]) {
        let at = SeekFrom::Start(1 + (place * ENTRY_BYTES) as u64);
        let written = self.file.seek(at).and_then(|_| self.file.write_all(bytes));
        if let Err(error) = written {
            tracing::warn!(%error, "active query log could not be written");
        }
    }
}

/// Returns the bytes of an entry: `{"query":"...","timestamp_sec":1},` with the text cut to fit.
fn entry(text: &str, secs: i64) -> Vec<u8> {
    let tail = format!(",\"timestamp_sec\":{secs}}}");
    let room = ENTRY_BYTES - tail.len() - 1;
    let mut kept = text.len().min(room);
    loop {
        while !text.is_char_boundary(kept) {
            kept -= 1;
        }
        let mut out = b"{\"query\":".to_vec();
        write_string(&mut out, &text[..kept]);
        let over = out.len().saturating_sub(room);
        if over == 0 {
            out.extend_from_slice(tail.as_bytes());
            out.resize(ENTRY_BYTES - 1, 0);
            out.push(b',');
            return out;
        }
        // An escape takes up to six bytes for one, so this ends close below what would fit.
        kept = kept.saturating_sub(over.div_ceil(6));
    }
}

/// Returns the entries that the file at `path` holds, as a JSON array; `None` when there is none.
fn read_unfinished(path: &Path, queries_max: usize) -> std::io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes_max = 1 + (queries_max * ENTRY_BYTES) as u64;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    bytes.retain(|byte| *byte != 0);
    let text = String::from_utf8_lossy(&bytes);
    let entries = text.trim_start_matches('[').trim_end_matches(',');
    Ok((!entries.is_empty()).then(|| format!("[{entries}]")))
}

#[cfg(test)]
mod tests {
    use thanos_core::testkit::TempDir;
    use thanos_core::time::FixedClock;

    use super::*;

    fn clock() -> Arc<dyn Clock> {
        Arc::new(FixedClock(Timestamp::from_millis(1_700_000_000_123)))
    }

    fn open(path: &Path) -> (ActiveQueries, Option<serde_json::Value>) {
        let (active, unfinished) = ActiveQueries::with_log(clock(), path, 2).unwrap();
        (
            active,
            unfinished.map(|json| serde_json::from_str(&json).unwrap()),
        )
    }

    #[test]
    fn queries_are_listed_while_they_run() {
        let active = ActiveQueries::new(clock());
        let first = active.enter("a");
        let second = active.enter("b");
        let texts = || -> Vec<String> { active.list().into_iter().map(|one| one.text).collect() };
        assert_eq!(texts(), ["a", "b"]);
        drop(first);
        assert_eq!(texts(), ["b"]);
        drop(second);
        assert!(active.list().is_empty());
    }

    /// Q-30.
    #[test]
    fn unfinished_queries_are_found_by_the_next_process() {
        let dir = TempDir::new("active");
        let path = dir.path().join("queries.active");
        let (active, unfinished) = open(&path);
        assert_eq!(unfinished, None);
        let done = active.enter("done");
        let kept = active.enter("sum(\"\u{1}\")");
        let more = active.enter("one more than there are places");
        drop(done);
        std::mem::forget(kept);
        drop(more);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 2001);

        let (again, unfinished) = open(&path);
        let expected =
            serde_json::json!([{"query": "sum(\"\u{1}\")", "timestamp_sec": 1_700_000_000}]);
        assert_eq!(unfinished, Some(expected));
        drop(again);
        assert_eq!(open(&path).1, None);
    }

    #[test]
    fn long_queries_are_cut_to_fit() {
        for text in ["x".repeat(5000), "\u{1}".repeat(5000), "\u{e9}".repeat(501)] {
            let bytes = entry(&text, 1);
            assert_eq!(bytes.len(), ENTRY_BYTES);
            let json: Vec<u8> = bytes[..ENTRY_BYTES - 1]
                .iter()
                .copied()
                .filter(|byte| *byte != 0)
                .collect();
            let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
            let kept = json["query"].as_str().unwrap();
            assert!(text.starts_with(kept) && kept.len() > 100, "{}", kept.len());
        }
    }
}
