//! Every block of the test data opens, and its dump is the one that `promtool tsdb dump` printed when the data was
//! made (Prometheus 2.42; for native histograms, which that one leaves out, 3.5.3).

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use thanos_core::block::{Block, Blocks, dump};
use thanos_core::testkit::{TempDir, copy_dir};

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(path)
}

/// Hashes what is written and counts its lines.
#[derive(Default)]
struct Digester {
    sha256: Sha256,
    lines: usize,
}

impl Digester {
    fn assert(self, lines: usize, sha256: &str) {
        let hash = self.sha256.finalize();
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((self.lines, hash.as_str()), (lines, sha256));
    }
}

impl Write for Digester {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.sha256.update(bytes);
        self.lines += memchr::memchr_iter(b'\n', bytes).count();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn assert_dump(dir: &Path, lines: usize, sha256: &str) {
    let blocks = Blocks::open_dir(dir).unwrap();
    assert!(blocks.refused().is_empty(), "{:?}", blocks.refused());
    assert_dump_of(blocks.blocks(), lines, sha256);
}

fn assert_dump_of(blocks: &[Block], lines: usize, sha256: &str) {
    let mut digester = Digester::default();
    dump(blocks, &mut digester).unwrap();
    digester.assert(lines, sha256);
}

#[test]
fn a_block_of_promtool() {
    let sha256 = "444deec256f923158987e15f1b36ad0876c08d0f23e3447ad59e88c31190fc7e";
    assert_dump(&testdata("block-1k-2h"), 478_091, sha256);
}

#[test]
fn a_block_with_tombstones() {
    let dir = TempDir::new("read-tombstones");
    copy_dir(&testdata("block-1k-2h"), dir.path());
    let block = dir.path().join("01M81JDC7R8JKP7SEW1VN2HAQ9");
    copy_dir(&testdata("block-1k-2h-tombstones"), &block);
    let sha256 = "8dbdeeb42e4344628c1a82c65e926a6c9f797f86d9985f8224e85ddd81648a18";
    assert_dump(dir.path(), 469_090, sha256);
}

#[test]
fn consecutive_blocks_and_what_prometheus_compacts_them_to() {
    let sha256 = "826ae264ea60c3cacfac878034956a84df8da584105cb9af9103c0bff3871e6d";
    assert_dump(&testdata("compaction/horizontal-in"), 95_331, sha256);
    assert_dump(&testdata("compaction/horizontal-out"), 95_331, sha256);
}

#[test]
fn overlapping_blocks_and_what_prometheus_compacts_them_to() {
    let querier = "74e176a9b8dd2cbbc061c2ea76767bad5a1c34e89243405951b7f930b7d33642";
    assert_dump(&testdata("compaction/vertical-in"), 44_671, querier);
    let compactor = "533ffce3e362e913bdd1ccf8c511e6f5efd3bf8463c643d674904c8b6ed8f187";
    assert_dump(&testdata("compaction/vertical-out"), 44_671, compactor);
}

#[test]
fn blocks_of_a_live_pair() {
    let a = "07c4673e14aa4276bacbe9c9b980d288216c86be1a63eb1f01d07dc6060e4753";
    assert_dump(&testdata("live-ha-blocks/replica-a"), 559_865, a);
    let b = "fe0d53e0e2848e27ed24e6543047785a4b0e06e95d40fcbc370ac1a8f4c42000";
    assert_dump(&testdata("live-ha-blocks/replica-b"), 568_416, b);
}

/// Leaves out the first two histograms of each series: promtool up to 3.5 reads them and does not print them, because
/// it looks for floats first, then for float histograms, and each search eats the sample at which it ends.
#[derive(Default)]
struct LikeOldPromtool {
    digester: Digester,
    line: Vec<u8>,
    series: Vec<u8>,
    histograms: usize,
}

impl LikeOldPromtool {
    fn line_is_printed(&mut self) -> bool {
        let value = memchr::memmem::find(&self.line, b"} {count");
        let Some(labels_len) = value else {
            return true;
        };
        if self.series != self.line[..labels_len] {
            self.series = self.line[..labels_len].to_vec();
            self.histograms = 0;
        }
        self.histograms += 1;
        self.histograms > 2
    }
}

impl Write for LikeOldPromtool {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                if self.line_is_printed() {
                    self.digester.write_all(&self.line)?;
                }
                self.line.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn blocks_with_native_histograms() {
    for (id, lines, sha256) in [
        (
            "01M81M0F7ATE6W4XQ32000GMCM",
            (118_116, 118_100),
            "c2884b34f23ceeb64a7f8e44c635ff83abe6780fd8dd6e25481e7b4fd6e8d9e8",
        ),
        (
            "01M81M0FJ85NHPRPDAFDZ3PATT",
            (824_990, 824_974),
            "21c0f4a2093d82e4e4ddfdb362197d943502a408e3c50ab8d147c87f15591fc5",
        ),
    ] {
        let block = Block::open(&testdata("live-native-histograms").join(id)).unwrap();
        assert_eq!(block.meta().stats.num_samples, lines.0);
        let mut printed = LikeOldPromtool::default();
        dump(&[block], &mut printed).unwrap();
        printed.digester.assert(lines.1, sha256);
    }
}

#[test]
fn the_stats_of_meta_json_are_right() {
    for folder in [
        "block-1k-2h",
        "compaction/horizontal-out",
        "live-native-histograms",
    ] {
        for block in Blocks::open_dir(&testdata(folder)).unwrap().blocks() {
            let stats = &block.meta().stats;
            assert_eq!(
                block.chunks().verify().unwrap(),
                stats.num_chunks,
                "{folder}"
            );
            let series = block.index().all_postings().unwrap().len();
            assert_eq!(series as u64, stats.num_series, "{folder}");
        }
    }
}
