//! A bar that shows how far a tool is, on a terminal and nowhere else.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often the bar is drawn.
const EVERY: Duration = Duration::from_millis(200);
const WIDTH: u64 = 40;

/// Does `work` and shows meanwhile how much of `total` is `done`.
pub(super) async fn with_bar<T>(
    what: &str,
    done: Arc<AtomicU64>,
    total: u64,
    work: impl Future<Output = T>,
) -> T {
    if !io::stderr().is_terminal() {
        return work.await;
    }
    tokio::pin!(work);
    loop {
        match tokio::time::timeout(EVERY, &mut work).await {
            Ok(outcome) => {
                draw(&format!("\r{}\r", " ".repeat(what.len() + 64)));
                return outcome;
            }
            Err(_) => draw(&bar(what, done.load(Ordering::Relaxed), total)),
        }
    }
}

fn bar(what: &str, done: u64, total: u64) -> String {
    let filled = (done.min(total) * WIDTH).checked_div(total).unwrap_or(0);
    let full = "#".repeat(usize::try_from(filled).unwrap_or(0));
    let empty = "-".repeat(usize::try_from(WIDTH - filled).unwrap_or(0));
    format!("\r{what} [{full}{empty}] {done}/{total}")
}

/// Nobody is told when the terminal is gone.
fn draw(text: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_up() {
        assert!(bar("x", 0, 0).contains(&"-".repeat(40)));
        assert!(bar("x", 5, 10).contains(&format!("[{}{}] 5/10", "#".repeat(20), "-".repeat(20))));
        assert!(bar("x", 11, 10).contains(&"#".repeat(40)));
    }
}
