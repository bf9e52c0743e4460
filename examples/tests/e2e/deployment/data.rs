//! What the Prometheus servers of a deployment know before they start: four hours of yesterday, as two blocks.
//!
//! Both replicas scrape the same process, a few seconds apart, and each of them misses some of it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use thanos_core::testkit::TempDir;
use thanos_core::testkit::peer::run;
use thanos_core::time::{Clock, SystemClock};

/// Seconds between two scrapes.
pub(crate) const SCRAPE_SECS: i64 = 15;
/// How much the counters grow in a second.
pub(crate) const SLOPES: [f64; 3] = [0.5, 2.0, 12.0];
const HOUR: i64 = 3600;
const MINUTE: i64 = 60;

/// Which of two replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replica {
    A,
    B,
}

impl Replica {
    /// The value of its replica label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// Milliseconds from the start of a scrape interval to its scrape. No query is evaluated at the time of one, so that
    /// it makes no difference whether a range includes its start, which versions of Prometheus see differently.
    fn offset_ms(self) -> i64 {
        match self {
            Self::A => 3217,
            Self::B => 8610,
        }
    }

    /// When it did not scrape, in minutes since the start of the data.
    fn outages(self) -> &'static [(i64, i64)] {
        match self {
            Self::A => &[(70, 85), (150, 154)],
            Self::B => &[(40, 50)],
        }
    }
}

/// The start of the data in Unix seconds: the start of a block, more than a day ago.
pub(crate) fn start_secs() -> i64 {
    let now = SystemClock.now().as_millis() / 1000;
    (now - 26 * HOUR) / (2 * HOUR) * (2 * HOUR)
}

/// The length of the data in seconds.
pub(crate) const LENGTH_SECS: i64 = 4 * HOUR;

/// Writes the blocks of a replica to `directory`, with the promtool of this machine.
pub(crate) fn write_blocks(promtool: &Path, replica: Replica, start: i64, directory: &Path) {
    let work = TempDir::new("deployment-data");
    let file = work.path().join("data.om");
    std::fs::write(&file, open_metrics(replica, start)).unwrap();
    let arguments = ["tsdb", "create-blocks-from", "openmetrics"];
    let mut all: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
    all.extend([file.as_os_str(), directory.as_os_str()]);
    run(promtool, &all);
}

/// The samples of a replica as text, ascending in time.
fn open_metrics(replica: Replica, start: i64) -> String {
    let mut text = String::new();
    for since in (0..LENGTH_SECS).step_by(usize::try_from(SCRAPE_SECS).unwrap()) {
        let is_out = |(from, to): &(i64, i64)| (from * MINUTE..to * MINUTE).contains(&since);
        if replica.outages().iter().any(is_out) {
            continue;
        }
        let ms = (start + since) * 1000 + replica.offset_ms();
        #[expect(
            clippy::cast_precision_loss,
            reason = "a few hours in milliseconds are exact"
        )]
        let secs = (ms - start * 1000) as f64 / 1000.0;
        scrape(&mut text, secs, ms);
    }
    text.push_str("# EOF\n");
    text
}

/// One scrape, `secs` after the start of the data.
fn scrape(text: &mut String, secs: f64, ms: i64) {
    let at = format!("{}.{:03}", ms / 1000, ms % 1000);
    for (instance, slope) in SLOPES.iter().enumerate() {
        let labels = format!("instance=\"i{instance}\",job=\"shop\"");
        let _ = writeln!(text, "shop_steady_total{{{labels}}} {} {at}", slope * secs);
        // Restarts every 50 minutes.
        let _ = writeln!(
            text,
            "shop_restarting_total{{{labels}}} {} {at}",
            slope * (secs % 3000.0)
        );
        let _ = writeln!(
            text,
            "shop_info{{version=\"1.{instance}\",{labels}}} 1 {at}"
        );
        let temperature = 20.0 + 5.0 * (secs / 900.0 * slope).sin();
        let _ = writeln!(
            text,
            "shop_temperature{{room=\"r{instance}\",job=\"shop\"}} {temperature} {at}"
        );
        for (le, share) in [("0.1", 0.5), ("0.5", 0.9), ("1", 0.99), ("+Inf", 1.0)] {
            let count = (slope * secs * share).floor();
            let _ = writeln!(
                text,
                "shop_latency_bucket{{le=\"{le}\",{labels}}} {count} {at}"
            );
        }
        let _ = writeln!(
            text,
            "shop_latency_count{{{labels}}} {} {at}",
            (slope * secs).floor()
        );
        let _ = writeln!(
            text,
            "shop_latency_sum{{{labels}}} {} {at}",
            slope * secs * 0.2
        );
    }
}

/// Returns the program that the data is made with, or `None` when it is not installed.
pub(crate) fn promtool() -> Option<std::path::PathBuf> {
    let promtool = thanos_core::testkit::peer::program("promtool")?;
    // A program that cannot start is as good as none, and says why.
    let works = Command::new(&promtool).arg("--version").output();
    assert!(works.is_ok_and(|output| output.status.success()));
    Some(promtool)
}
