//! A reload by SIGHUP.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use thanos_core::error::{Error, Result};
use thanos_core::time::{Clock, UtcTime};
use tokio::time::sleep;

use super::blocking;
use crate::prometheus::PrometheusClient;

const PROCESSES: &str = "/proc";
/// The kernel cuts names of processes to this length.
const KERNEL_NAME_BYTES: usize = 15;
/// How often the server is asked whether it has reloaded.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// Sends SIGHUP to the process of this name and waits until the server behind `client` has reloaded.
///
/// # Errors
///
/// `NotFound` without such a process, `Invalid` when the server does not take the configuration.
pub(super) async fn reload(
    client: &PrometheusClient,
    process_name: &str,
    clock: &dyn Clock,
) -> Result<()> {
    let before = client.runtime_info().await;
    let before = before.map_err(|error| error.context("pre-reload check failed"))?;
    sleep(until_later(before.last_reload, clock)).await;
    let name = process_name.to_owned();
    blocking(move || hang_up(find(Path::new(PROCESSES), &name)?)).await?;
    loop {
        let now = client.runtime_info().await;
        let now = now.map_err(|error| error.context("post-reload check failed"))?;
        if now.reload_success && now.last_reload > before.last_reload {
            return Ok(());
        }
        if before.reload_success && !now.reload_success {
            return Err(Error::invalid(
                "post-reload check failed: configuration reload has failed",
            ));
        }
        sleep(ASK_INTERVAL).await;
    }
}

/// Returns how long to wait until a reload has another time than the last: Prometheus says the time in whole seconds.
fn until_later(last: UtcTime, clock: &dyn Clock) -> Duration {
    let age_ms = clock.now() - last.timestamp();
    match u64::try_from(age_ms) {
        Ok(age_ms @ 0..1000) => Duration::from_millis(1000 - age_ms),
        _ => Duration::ZERO,
    }
}

/// Returns the lowest id of a process of this name that runs.
///
/// # Errors
///
/// `NotFound` without one.
fn find(processes: &Path, name: &str) -> Result<u32> {
    let entries =
        fs::read_dir(processes).map_err(|error| Error::from(error).context(processes.display()))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut ids: Vec<u32> = names.filter_map(|name| name.parse().ok()).collect();
    ids.sort_unstable();
    let found = ids.into_iter().find(|id| {
        // Processes end at any time; one that cannot be looked at is not the one.
        let process = processes.join(id.to_string());
        is_named(&process, name).unwrap_or(false)
    });
    found.ok_or_else(|| Error::not_found(format!("failed to find process matching {name:?}")))
}

fn is_named(process: &Path, name: &str) -> std::io::Result<bool> {
    let stat = fs::read(process.join("stat"))?;
    let Some((kernel_name, state)) = kernel_name(&stat) else {
        return Ok(false);
    };
    // It has ended, only nobody has asked how.
    if matches!(state, b'Z' | b'X') {
        return Ok(false);
    }
    let name = name.as_bytes();
    if name.len() <= KERNEL_NAME_BYTES {
        return Ok(kernel_name == name);
    }
    if kernel_name != &name[..KERNEL_NAME_BYTES] {
        return Ok(false);
    }
    let line = fs::read(process.join("cmdline"))?;
    let program = line.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(program.rsplit(|byte| *byte == b'/').next() == Some(name))
}

/// Returns the name and the state from `id (name) state ...`; the name may have brackets.
fn kernel_name(stat: &[u8]) -> Option<(&[u8], u8)> {
    let start = stat.iter().position(|byte| *byte == b'(')? + 1;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    Some((stat.get(start..end)?, *stat.get(end + 2)?))
}

/// Sends SIGHUP. The standard library has no way to do that, but every shell has.
fn hang_up(id: u32) -> Result<()> {
    let mut shell = Command::new("sh");
    let done = shell
        .args(["-c", "kill -s HUP \"$0\""])
        .arg(id.to_string())
        .output()
        .map_err(|error| Error::from(error).context("sh, which sends SIGHUP"))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(Error::unavailable(format!(
            "failed to send SIGHUP to pid {id}: {}",
            String::from_utf8_lossy(&done.stderr).trim()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use thanos_core::testkit::TempDir;
    use thanos_core::time::{FixedClock, Timestamp};

    use super::*;

    /// SC-33: the first process of the name that runs, whatever is in names.
    #[test]
    fn the_process_is_found_by_its_name() {
        let dir = TempDir::new("processes");
        let process = |id: &str, stat: &str, line: &str| {
            let process = dir.path().join(id);
            fs::create_dir_all(&process).unwrap();
            fs::write(process.join("stat"), stat).unwrap();
            fs::write(process.join("cmdline"), line).unwrap();
        };
        process("9", "9 (prometheus) Z 1", "");
        process("10", "10 (prometheus2) S 1", "");
        process("100", "100 (prometheus) S 1", "");
        process("11", "11 (prometheus) S 1", "");
        process("12", "12 (a) b) c) R 1", "");
        process(
            "13",
            "13 (prometheus-agen) R 1",
            "/bin/prometheus-agenda\0x",
        );
        process("14", "14 (prometheus-agen) R 1", "/bin/prometheus-agent\0x");
        process("15", "no name", "");
        process("self", "11 (self) S 1", "");
        assert_eq!(find(dir.path(), "prometheus").unwrap(), 11);
        assert_eq!(find(dir.path(), "a) b) c").unwrap(), 12);
        assert_eq!(find(dir.path(), "prometheus-agent").unwrap(), 14);
        let error = find(dir.path(), "self").unwrap_err().to_string();
        assert!(
            error.contains("failed to find process matching \"self\""),
            "{error}"
        );
    }

    #[test]
    fn a_reload_waits_for_the_next_second() {
        let at = |ms| FixedClock(Timestamp::from_millis(ms));
        let last = UtcTime::from_unix_secs(100);
        assert_eq!(until_later(last, &at(100_250)), Duration::from_millis(750));
        for ms in [101_000, 99_000, i64::MAX, 0] {
            assert_eq!(until_later(last, &at(ms)), Duration::ZERO);
        }
    }
}
