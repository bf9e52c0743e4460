//! The threads of the process, by name.
//!
//! Go tells where threads were created. That is not known here; which there are is, and how long they have run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::profile::{Frame, Profile};

/// The clock tick of every Linux that Rust's standard library runs on.
const TICK: Duration = Duration::from_millis(10);

/// The threads of one name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Group {
    count: i64,
    ran: Duration,
}

/// Returns the threads as a profile: one function for each name.
pub(super) fn profile() -> std::io::Result<Vec<u8>> {
    let program = std::env::current_exe().unwrap_or_default();
    let kinds = [("cpu", "nanoseconds"), ("threadcreate", "count")];
    let mut profile = Profile::new(&program.to_string_lossy(), &kinds, 1);
    profile.remark(
        "threads by name, with the time that they have run; where they were created is not known",
    );
    for (name, group) in groups()? {
        let thread = Frame {
            name: name.clone(),
            system_name: name.clone(),
            file: String::new(),
            line: 0,
        };
        let ran = i64::try_from(group.ran.as_nanos()).unwrap_or(i64::MAX);
        profile.add(&[vec![thread]], &name, &[ran, group.count]);
    }
    profile.encoded()
}

/// Returns the threads as text.
pub(super) fn text() -> std::io::Result<String> {
    let groups = groups()?;
    let total: i64 = groups.values().map(|group| group.count).sum();
    let mut text = format!("threadcreate profile: total {total}\n");
    for (name, group) in groups {
        let secs = group.ran.as_secs_f64();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {name} # ran for {secs:.2}s", group.count);
    }
    Ok(text)
}

fn groups() -> std::io::Result<BTreeMap<String, Group>> {
    let mut groups = BTreeMap::<String, Group>::new();
    for task in std::fs::read_dir("/proc/self/task")? {
        // Threads end while this looks.
        let Ok(stat) = std::fs::read_to_string(task?.path().join("stat")) else {
            continue;
        };
        if let Some((name, ran)) = parse(&stat) {
            let group = groups.entry(name.to_owned()).or_default();
            group.count += 1;
            group.ran += ran;
        }
    }
    Ok(groups)
}

/// Returns the name of a thread and how long it has run. Source: proc_pid_stat(5), whose fields are numbered from 1.
fn parse(stat: &str) -> Option<(&str, Duration)> {
    let (_, rest) = stat.split_once('(')?;
    let (name, rest) = rest.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(14 - 3);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((name, TICK * user.saturating_add(system)))
}

#[cfg(test)]
mod tests {
    use super::*;

    ///
    #[test]
    fn threads_are_counted_by_name() {
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 250 150 0 0 20 0 9 0 300 4096 2";
        assert_eq!(parse(stat), Some(("a ) b", Duration::from_secs(4))));
        assert_eq!(parse("7 (a) S"), None);
        let (end, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::thread::Builder::new()
            .name("a-thread-of-mine".into())
            .spawn(move || wait.recv());
        let found = loop {
            // It names itself when it runs.
            if let Some(found) = groups().unwrap().remove("a-thread-of-min") {
                break found;
            }
            std::thread::yield_now();
        };
        assert_eq!(found.count, 1);
        drop(end);
        assert!(wait.unwrap().join().unwrap().is_err());
    }
}
