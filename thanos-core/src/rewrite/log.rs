//! Who is told what a rewrite changes.

use std::io::Write;

use crate::block::Intervals;
use crate::error::Result;
use crate::labels::LabelsRef;

/// Is told what a rewrite changes, series by series.
pub trait Changes {
    /// The series `labels` loses the samples in `intervals`; all of them when nothing else of it is left.
    ///
    /// # Errors
    ///
    /// What ends the rewrite.
    fn deleted(&mut self, labels: LabelsRef<'_>, intervals: &Intervals) -> Result<()>;

    /// The series `old` gets the labels `new`.
    ///
    /// # Errors
    ///
    /// What ends the rewrite.
    fn relabelled(&mut self, old: LabelsRef<'_>, new: LabelsRef<'_>) -> Result<()>;

    /// So many series more are done.
    ///
    /// # Errors
    ///
    /// What ends the rewrite, as when it is to be cancelled.
    fn processed(&mut self, _series: u64) -> Result<()> {
        Ok(())
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLog;

impl Changes for NoLog {
    fn deleted(&mut self, _: LabelsRef<'_>, _: &Intervals) -> Result<()> {
        Ok(())
    }

    fn relabelled(&mut self, _: LabelsRef<'_>, _: LabelsRef<'_>) -> Result<()> {
        Ok(())
    }
}

/// Writes a line for each change, as the `change.log` of Thanos has them.
#[derive(Debug)]
pub struct ChangeLog<W> {
    out: W,
}

/// Writing the log failed.
pub(super) struct WriteFailed(pub(super) std::io::Error);

impl<W: Write> ChangeLog<W> {
    /// Returns a log that writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// Returns the output.
    pub fn into_inner(self) -> W {
        self.out
    }
}

impl<W: Write> Changes for ChangeLog<W> {
    fn deleted(&mut self, labels: LabelsRef<'_>, intervals: &Intervals) -> Result<()> {
        let ranges = intervals.ranges().iter();
        let ranges: Vec<String> = ranges.map(|r| format!("{{{} {}}}", r.min, r.max)).collect();
        writeln!(self.out, "Deleted {labels} [{}]", ranges.join(" ")).map_err(WriteFailed)?;
        Ok(())
    }

    fn relabelled(&mut self, old: LabelsRef<'_>, new: LabelsRef<'_>) -> Result<()> {
        writeln!(self.out, "Relabelled {old} {new}").map_err(WriteFailed)?;
        Ok(())
    }
}
