//! Merges that can not be finished, and how much memory they take.

use super::*;
use crate::budget::MemoryBudget;
use crate::error::ErrorKind;
use crate::testkit::{TestRandom, copy_dir};

fn is_empty(dir: &TempDir) -> bool {
    std::fs::read_dir(dir.path()).unwrap().count() == 0
}

/// A flipped byte is an error, or it lies where nothing depends on it and the result is as without it.
#[test]
fn a_damaged_source_gives_an_error_or_the_right_block() {
    let from = Blocks::open_dir(&testdata("vertical-in")).unwrap();
    let dir = TempDir::new("merge-damage");
    let good = TempDir::new("merge-damage-good");
    for overlaps in [MergeOverlaps::Chain, MergeOverlaps::Penalty] {
        let wanted = merge_blocks(from.blocks(), good.path(), options(1), overlaps);
        let id = wanted.unwrap().unwrap().ulid.to_string();
        let read = |dir: &Path, name: &str| std::fs::read(dir.join(&id).join(name)).unwrap();
        let mut random = TestRandom::new(7);
        let mut refused = 0;
        for round in 0..40 {
            let copy = dir.path().join(format!("{overlaps:?}-{round}"));
            for block in from.blocks() {
                copy_dir(block.dir(), &copy.join(block.id().to_string()));
            }
            let victim = copy.join(from.blocks()[round % 2].id().to_string());
            let name = ["index", "chunks/000001"][round / 2 % 2];
            let mut bytes = std::fs::read(victim.join(name)).unwrap();
            let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
            bytes[at] ^= 1 << random.below(8);
            std::fs::write(victim.join(name), bytes).unwrap();
            let out = TempDir::new("merge-damage-out");
            let opened = from.blocks().iter();
            let opened = opened.map(|block| Block::open(&copy.join(block.id().to_string())));
            let made = opened
                .collect::<Result<Vec<_>>>()
                .and_then(|blocks| merge_blocks(&blocks, out.path(), options(1), overlaps));
            match made {
                Ok(_) => {
                    for name in ["index", "chunks/000001"] {
                        assert!(
                            read(out.path(), name) == read(good.path(), name),
                            "{name} {at}"
                        );
                    }
                }
                Err(error) => {
                    refused += 1;
                    assert!(error.file().is_some(), "{error}");
                    assert!(is_empty(&out), "{error}");
                }
            }
        }
        assert!(refused >= 20, "{refused}");
        std::fs::remove_dir_all(good.path().join(id)).unwrap();
    }
}

#[test]
fn what_does_not_fit_the_budget_goes_to_files_or_is_refused() {
    let sources = Blocks::open_dir(&testdata("horizontal-in")).unwrap();
    let out = TempDir::new("merge-budget");
    let mut index = None;
    let (mut fitted, mut refused) = (0, 0);
    for limit in [100, 8_000, 40_000, 60_000, 80_000, 200_000, 1 << 20] {
        let mut options = options(1);
        options.budget = MemoryBudget::new("merge memory", limit);
        let budget = options.budget.clone();
        let id = options.id.to_string();
        match merge_blocks(sources.blocks(), out.path(), options, MergeOverlaps::Chain) {
            Ok(_) => {
                let written = std::fs::read(out.path().join(&id).join("index")).unwrap();
                assert!(*index.get_or_insert_with(|| written.clone()) == written);
                std::fs::remove_dir_all(out.path().join(&id)).unwrap();
                fitted += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
                assert!(error.to_string().contains("merge memory"), "{error}");
                refused += 1;
            }
        }
        assert!(budget.peak_bytes() <= limit);
        assert_eq!(budget.used_bytes(), 0);
        assert!(is_empty(&out), "{limit}");
    }
    assert!(fitted >= 3 && refused >= 2, "{fitted} {refused}");
}

#[test]
fn a_merge_that_is_stopped_leaves_nothing() {
    let sources = Blocks::open_dir(&testdata("horizontal-in")).unwrap();
    let out = TempDir::new("merge-stopped");
    let merge = MergeOptions::default();
    let progress = merge.progress.clone();
    merge_blocks(sources.blocks(), out.path(), options(1), merge.clone()).unwrap();
    assert_eq!(progress.series(), 136);
    progress.stop();
    let error = merge_blocks(sources.blocks(), out.path(), options(2), merge).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 1);
}

#[test]
fn the_order_of_the_sources_does_not_matter() {
    for (from, overlaps) in [
        ("horizontal-in", MergeOverlaps::Chain),
        ("vertical-in", MergeOverlaps::Chain),
        ("vertical-in", MergeOverlaps::Penalty),
    ] {
        let sources = Blocks::open_dir(&testdata(from)).unwrap();
        let mut blocks = sources.blocks().to_vec();
        let mut expected = None;
        for _ in 0..blocks.len().min(3) {
            let out = TempDir::new("merge-order");
            merge_blocks(&blocks, out.path(), options(1), overlaps).unwrap();
            let read = |name: &str| {
                let dir = out.path().join(options(1).id.to_string());
                std::fs::read(dir.join(name)).unwrap()
            };
            let files = ["index", "chunks/000001", "meta.json"].map(read);
            assert!(
                *expected.get_or_insert_with(|| files.clone()) == files,
                "{from}"
            );
            blocks.rotate_left(1);
        }
    }
}
