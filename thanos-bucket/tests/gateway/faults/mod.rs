//! A store that fails in every way it can: the gateway's answers are right, or say what they lack, or are errors.
//!
//! Each schedule is a bucket, a plan of faults, syncs and concurrent calls, all made from one seed. `THANOS_TEST_LONG`
//! runs many more of them; `THANOS_FAULT_SEED` runs one.

mod model;
mod schedule;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use thanos_bucket::testkit::{CacheFault, StoreFault};

use self::model::Model;
use self::schedule::{Mode, Report};

/// Runs schedules on a thread for each of two processors until `count` of them are done or one has failed.
fn run_schedules(mode: Mode, count: u64) -> Report {
    let model = Model::new();
    let only: Option<u64> = std::env::var("THANOS_FAULT_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let (first, count) = only.map_or((0, count), |seed| (seed, 1));
    let next = AtomicU64::new(0);
    let total = Mutex::new(Report::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let seed = first + number;
                    let run = || schedule::run(&model, mode, seed);
                    let outcome = catch_unwind(AssertUnwindSafe(run));
                    let report = outcome.unwrap_or_else(|_| {
                        next.store(count, Ordering::Relaxed);
                        panic!(
                            "{mode:?} schedule {seed} failed, THANOS_FAULT_SEED={seed} repeats it"
                        );
                    });
                    total.lock().unwrap().add(report);
                }
            });
        }
    });
    total.into_inner().unwrap()
}

fn schedules(ci: u64, long: u64) -> u64 {
    if std::env::var_os("THANOS_TEST_LONG").is_some() {
        long
    } else {
        ci
    }
}

/// No answer is wrong or silently partial, whatever the network does.
#[test]
fn answers_under_faults_are_right_or_say_what_they_lack() {
    let report = run_schedules(Mode::Network, schedules(1000, 10_000));
    println!("{report:#?}");
    if report.schedules < 100 {
        return;
    }
    // A suite that injects nothing, or in which everything fails, shows nothing.
    let expected: BTreeMap<StoreFault, usize> = Mode::Network
        .faults()
        .iter()
        .map(|fault| (*fault, report.injected.get(fault).copied().unwrap_or(0)))
        .collect();
    assert!(expected.values().all(|count| *count > 50), "{expected:?}");
    for (what, count) in [
        ("complete", report.complete),
        ("partial", report.partial),
        ("failed", report.failed),
        ("cancelled", report.cancelled),
    ] {
        assert!(
            count >= report.schedules / 10,
            "only {count} calls are {what}"
        );
    }
}

/// A bit that is wrong is found by a checksum, or lies where nobody looks.
#[test]
fn flipped_bits_are_errors_or_harmless() {
    let report = run_schedules(Mode::FlippedBits, schedules(200, 2000));
    println!("{report:#?}");
    assert!(report.schedules < 100 || report.injected[&StoreFault::FlippedBit] > 100);
}

/// Nothing that a cache does is seen in an answer: what it damages, loses or confuses is read from the bucket.
#[test]
fn no_cache_makes_an_answer_wrong_or_fail() {
    let report = run_schedules(Mode::Caches, schedules(300, 10_000));
    println!("{report:#?}");
    if report.schedules < 100 {
        return;
    }
    let injected = CacheFault::ALL.map(|fault| report.in_caches.get(&fault).copied().unwrap_or(0));
    assert!(injected.into_iter().all(|count| count > 50), "{injected:?}");
    assert_eq!(report.failed_syncs, 0);
    // Some buckets are short of memory, and a block may vanish while it is read.
    let bad = report.failed + report.partial;
    assert!(bad * 5 < report.complete, "{bad} of {}", report.complete);
}
