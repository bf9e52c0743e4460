//! What a job will take, before it starts: a job that cannot end is refused with a reason.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use thanos_core::{Error, Result};

use super::JobOptions;
use crate::fetch::BlockEntry;
use crate::transfer::{OUTPUT_BYTES, SOURCE_BYTES};

/// The bytes of an index for each byte of memory that merging holds of it: the label values, at about 40 bytes each.
const INDEX_PER_MERGE_MEMORY: u64 = 8;
/// What a job holds at least: buffers of files and of one series.
const MEMORY_BYTES_MIN: u64 = 16 << 20;

/// Tells how much room there is on a disk.
pub trait FreeDisk: fmt::Debug + Send + Sync + 'static {
    /// Returns the bytes that are free for files in `dir`; nothing when nobody knows. It may block.
    fn free_bytes(&self, dir: &Path) -> Option<u64>;
}

/// The disks of the operating system, as POSIX `df` tells them.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl FreeDisk for SystemDisk {
    fn free_bytes(&self, dir: &Path) -> Option<u64> {
        let output = Command::new("df")
            .arg("-Pk")
            .arg(dir)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        available_of(&String::from_utf8(output.stdout).ok()?)
    }
}

/// Returns the fourth column of the last line: the free KiB.
fn available_of(output: &str) -> Option<u64> {
    let mut lines = output.lines();
    let columns = lines.nth(1)?.split_ascii_whitespace();
    // The name of a device may have spaces, the percentage never.
    let columns: Vec<&str> = columns.collect();
    let percent = columns.iter().position(|column| column.ends_with('%'))?;
    let kib: u64 = columns.get(percent.checked_sub(1)?)?.parse().ok()?;
    kib.checked_mul(1024)
}

/// What a job takes at most at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Prediction {
    /// Bytes on disk: all sources, the new blocks - of both only the indexes where chunks are streamed - and what is
    /// spooled while the new indexes are written.
    pub disk_bytes: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
}

/// The kind of work that is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kernel {
    Merge,
    /// A merge of chunks that are no files, into so many blocks.
    StreamedMerge {
        outputs: u32,
    },
    Downsample,
}

impl Prediction {
    /// Predicts the work on `sources`. Blocks whose sizes nobody knows count as nothing.
    pub(super) fn new<'a>(sources: impl Iterator<Item = &'a BlockEntry>, kernel: Kernel) -> Self {
        let (mut index_bytes, mut all_bytes, mut count) = (0_u64, 0_u64, 0_u64);
        for source in sources {
            let (index, all) = sizes(source);
            count += 1;
            index_bytes = index_bytes.saturating_add(index);
            all_bytes = all_bytes.saturating_add(all);
        }
        // Downsampling remembers the labels of all series until the index is written.
        let memory_bytes = match kernel {
            Kernel::Merge => index_bytes / INDEX_PER_MERGE_MEMORY,
            Kernel::StreamedMerge { outputs } => {
                let windows = count.saturating_mul(SOURCE_BYTES);
                let parts = u64::from(outputs.max(1)).saturating_mul(OUTPUT_BYTES);
                (index_bytes / INDEX_PER_MERGE_MEMORY).saturating_add(windows.saturating_add(parts))
            }
            Kernel::Downsample => index_bytes,
        };
        let kept_bytes = match kernel {
            Kernel::Merge | Kernel::Downsample => all_bytes,
            Kernel::StreamedMerge { .. } => index_bytes,
        };
        Self {
            disk_bytes: kept_bytes.saturating_mul(2).saturating_add(index_bytes),
            memory_bytes: memory_bytes.max(MEMORY_BYTES_MIN),
        }
    }

    /// Checks that there is room, apart from `there_bytes` of the sources that are on disk already.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` with what is wanted and what there is.
    pub(super) fn check(self, options: &JobOptions, dir: &Path, there_bytes: u64) -> Result<()> {
        let limit = options.budget.limit_bytes();
        if self.memory_bytes > limit {
            return Err(Error::limit_exceeded(format!(
                "the job will take about {} bytes of memory and may take {limit}: raise the limit, or mark the \
                 largest block so that it is left alone",
                self.memory_bytes
            )));
        }
        let wanted = self.disk_bytes.saturating_sub(there_bytes);
        let free = options.disk.free_bytes(dir);
        let room = match (options.disk_bytes_max, free) {
            (Some(limit), Some(free)) => limit.min(free),
            (Some(limit), None) => limit,
            (None, Some(free)) => free,
            (None, None) => return Ok(()),
        };
        if wanted <= room {
            return Ok(());
        }
        Err(Error::limit_exceeded(format!(
            "the job will take about {wanted} bytes on disk in {} and has {room}: make room, or mark the largest \
             block so that it is left alone",
            dir.display()
        )))
    }
}

/// Returns the bytes of the index and of all files, as the listing or meta.json knows them.
fn sizes(entry: &BlockEntry) -> (u64, u64) {
    if let Some(objects) = &entry.objects {
        let segments: u64 = objects.segment_bytes.iter().sum();
        let index = objects.index_bytes;
        return (index, index.saturating_add(segments));
    }
    let files = entry.meta.thanos.iter().flat_map(|thanos| &thanos.files);
    files.fold((0, 0), |(index, all): (u64, u64), file| {
        let of_index = match file.rel_path == thanos_core::block::INDEX_FILE {
            true => file.size_bytes,
            false => 0,
        };
        (index + of_index, all.saturating_add(file.size_bytes))
    })
}

#[cfg(test)]
mod tests {
    use thanos_core::ErrorKind;
    use thanos_core::block::{BlockFile, Meta, ThanosMeta};
    use thanos_core::budget::MemoryBudget;

    use super::*;

    #[derive(Debug)]
    struct Room(Option<u64>);

    impl FreeDisk for Room {
        fn free_bytes(&self, _: &Path) -> Option<u64> {
            self.0
        }
    }

    fn block(index: u64, chunks: u64) -> BlockEntry {
        let file = |rel_path: &str, size_bytes| BlockFile {
            rel_path: rel_path.to_owned(),
            size_bytes,
            hash: None,
        };
        let thanos = ThanosMeta {
            files: vec![file("chunks/000001", chunks), file("index", index)],
            ..ThanosMeta::default()
        };
        let meta = Meta {
            thanos: Some(thanos),
            ..Meta::default()
        };
        BlockEntry::new(meta, None)
    }

    #[test]
    fn df_is_understood() {
        let output = "Filesystem     1024-blocks     Used Available Capacity Mounted on\n\
                      /dev/my disk     263174212 48000000  45000000      52% /\n";
        assert_eq!(available_of(output), Some(45_000_000 * 1024));
        assert_eq!(available_of(""), None);
        assert!(
            SystemDisk
                .free_bytes(Path::new("/"))
                .is_none_or(|free| free > 0)
        );
    }

    #[test]
    fn a_job_that_does_not_fit_is_refused_with_its_numbers() {
        let blocks = [block(100 << 20, 1 << 30), block(100 << 20, 1 << 30)];
        let job = Prediction::new(blocks.iter(), Kernel::Merge);
        let all = 2 * ((100 << 20) + (1_u64 << 30));
        assert_eq!(job.disk_bytes, 2 * all + (200 << 20));
        let mut options = JobOptions::new("/nowhere");
        let mut check = |free, limit, there, memory| {
            options.disk = std::sync::Arc::new(Room(free));
            options.disk_bytes_max = limit;
            options.budget = MemoryBudget::new("compaction", memory);
            job.check(&options, Path::new("/nowhere"), there)
        };
        check(Some(job.disk_bytes), None, 0, u64::MAX).unwrap();
        check(None, None, 0, job.memory_bytes).unwrap();
        check(Some(job.disk_bytes - all), None, all, u64::MAX).unwrap();
        for (free, limit, memory, what) in [
            (Some(job.disk_bytes - 1), None, u64::MAX, "bytes on disk"),
            (None, Some(7), u64::MAX, "and has 7"),
            (None, None, 1 << 20, "bytes of memory"),
        ] {
            let error = check(free, limit, 0, memory).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::LimitExceeded);
            assert!(error.message().contains(what), "{error}");
        }
    }
}
