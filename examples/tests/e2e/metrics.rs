//! What processes count, read from their `/metrics`.

use std::time::{Duration, Instant};

use thanos_core::testkit::peer::Peer;

/// How long a count may take to become what is expected.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Returns the sum of the samples of `name` that have all of `labels` (`name="value"`); 0 without any.
pub(crate) fn sum(peer: &Peer, name: &str, labels: &[&str]) -> f64 {
    let text = String::from_utf8(peer.get("/metrics").body).unwrap();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let found = series.split('{').next()?;
            let has_all = labels.iter().all(|label| series.contains(label));
            (found == name && has_all).then(|| value.parse::<f64>().unwrap())
        })
        .sum()
}

/// Waits until [`sum`] is `expected`.
#[track_caller]
pub(crate) fn wait_for(peer: &Peer, name: &str, labels: &[&str], expected: f64) {
    wait_until(peer, name, labels, |found| found == expected);
}

/// Waits until [`sum`] is as wanted.
#[track_caller]
pub(crate) fn wait_until(
    peer: &Peer,
    name: &str,
    labels: &[&str],
    is_wanted: impl Fn(f64) -> bool,
) {
    let started = Instant::now();
    loop {
        let found = sum(peer, name, labels);
        if is_wanted(found) {
            return;
        }
        if started.elapsed() > TIMEOUT {
            panic!("{name}{labels:?} is {found}\n{}", peer.log());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
