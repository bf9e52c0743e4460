//! Processor time as what criterion measures, so that other work on the machine counts as little as possible.

use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};

/// The time that the thread which runs the bench spends on a processor.
///
/// Work on other threads is not seen: a bench that has some measures wall time. Source of the figure:
/// `/proc/thread-self/schedstat`, in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuTime;

impl CpuTime {
    fn now() -> Duration {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
        Duration::from_nanos(nanos.unwrap_or(0))
    }
}

/// The time that all threads of the process spend on a processor.
///
/// Threads that ended are not seen; pools keep theirs for the length of a bench. Source of the figure:
/// `/proc/self/task/*/schedstat`, in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessCpuTime;

impl ProcessCpuTime {
    fn now() -> Duration {
        let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
        let nanos = tasks.flatten().filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }
}

macro_rules! measure {
    ($clock:ty) => {
        impl Measurement for $clock {
            type Intermediate = Duration;
            type Value = Duration;

            fn start(&self) -> Duration {
                Self::now()
            }

            fn end(&self, start: Duration) -> Duration {
                Self::now().saturating_sub(start)
            }

            fn add(&self, a: &Duration, b: &Duration) -> Duration {
                *a + *b
            }

            fn zero(&self) -> Duration {
                Duration::ZERO
            }

            fn to_f64(&self, value: &Duration) -> f64 {
                WallTime.to_f64(value)
            }

            fn formatter(&self) -> &dyn ValueFormatter {
                WallTime.formatter()
            }
        }
    };
}

measure!(CpuTime);
measure!(ProcessCpuTime);
