//! Which samples make a window, and which windows a chunk.

use std::ops::Range;

use super::CHUNK_WINDOWS_MAX;

/// Returns the last millisecond of the window that `time` lies in.
pub(super) fn window_end(time: i64, window_ms: i64) -> i64 {
    let start = time.saturating_sub(time.rem_euclid(window_ms));
    start.saturating_add(window_ms - 1)
}

/// The windows of some ascending times.
#[derive(Debug, Clone)]
pub(super) struct Windows<'a> {
    times: &'a [i64],
    window_ms: i64,
    next: usize,
}

impl<'a> Windows<'a> {
    pub(super) fn new(times: &'a [i64], window_ms: i64) -> Self {
        Self {
            times,
            window_ms,
            next: 0,
        }
    }
}

impl Iterator for Windows<'_> {
    /// The time of the window, and the positions of its samples.
    type Item = (i64, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.next;
        let rest = self.times.get(start..)?;
        let (first, last) = (rest.first()?, rest.last()?);
        let end = window_end(*first, self.window_ms).min(*last);
        self.next += rest.iter().take_while(|time| **time <= end).count();
        Some((end, start..self.next))
    }
}

/// Splits the positions of `times` into batches of about `size` samples that end where a window does.
pub(super) fn batches(times: &[i64], size: usize, window_ms: i64) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let mut start = 0;
    while let Some(rest) = times.get(start..).filter(|rest| !rest.is_empty()) {
        let mut len = size.clamp(1, rest.len());
        if len > CHUNK_WINDOWS_MAX {
            let mut windows = Windows::new(&rest[..len], window_ms);
            len = windows
                .nth(CHUNK_WINDOWS_MAX - 1)
                .map_or(len, |(_, samples)| samples.end);
        }
        let end = window_end(rest[len - 1], window_ms);
        len += rest[len..].iter().take_while(|time| **time <= end).count();
        batches.push(start..start + len);
        start += len;
    }
    batches
}
