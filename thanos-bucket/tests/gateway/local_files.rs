//! What becomes of the data directory while a gateway runs: files that are damaged or gone, and a disk that is full.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use thanos_bucket::Bucket;
use thanos_bucket::gateway::{Gateway, GatewayOptions, HeaderOptions, SparseHeaders};
use thanos_bucket::testkit::{BlockData, BlockSpec, block_id};
use thanos_core::Result;
use thanos_core::labels::{Labels, MatchOp, Matcher};
use thanos_core::testkit::{K8sSpec, TempDir};
use thanos_storeapi::store::{PartialResponse, SeriesRequest, Store};
use thanos_storeapi::testkit::Answer;

/// A gateway over one block, which keeps its files in a directory.
struct Kept {
    bucket: Bucket,
    data: BlockData,
    dir: TempDir,
    gateway: Gateway,
    /// The name of the file that the gateway opens.
    opened: &'static str,
}

fn spec(number: u32) -> BlockSpec {
    BlockSpec {
        id: block_id(number),
        labels: vec![("block".to_owned(), number.to_string())],
        ..BlockSpec::default()
    }
}

fn request() -> SeriesRequest {
    SeriesRequest {
        matchers: vec![Matcher::new(MatchOp::Regex, "__name__", ".+").unwrap()],
        ..SeriesRequest::default()
    }
}

impl Kept {
    async fn new(sparse: SparseHeaders) -> Self {
        let bucket = Bucket::new(Arc::new(InMemory::new()));
        let small = K8sSpec {
            series: 300,
            samples: 30,
            ..K8sSpec::default()
        };
        let data = BlockData::wide(&small).unwrap();
        data.upload(&bucket, &spec(1)).await.unwrap();
        let dir = TempDir::new("local-files");
        let gateway = Self::gateway(&bucket, &dir, sparse);
        gateway.sync().await.unwrap();
        Self {
            bucket,
            data,
            dir,
            gateway,
            opened: match sparse {
                SparseHeaders::Off => "index-header",
                _ => "sparse-index-header",
            },
        }
    }

    fn gateway(bucket: &Bucket, dir: &TempDir, sparse: SparseHeaders) -> Gateway {
        let options = GatewayOptions {
            data_dir: Some(dir.path().to_owned()),
            // Closed soon after it was used: each question opens the file.
            headers: HeaderOptions {
                idle_timeout: Duration::from_millis(1),
                sparse,
                ..HeaderOptions::default()
            },
            ..GatewayOptions::default()
        };
        Gateway::new(bucket.clone(), options)
    }

    fn block_dir(&self, number: u32) -> PathBuf {
        self.dir.path().join(block_id(number).to_string())
    }

    fn header(&self) -> PathBuf {
        self.block_dir(1).join(self.opened)
    }

    async fn ask(&self) -> Result<Vec<Labels>> {
        let stream = self.gateway.series(request()).await?;
        Ok(Answer::collect(stream).await?.labels())
    }

    /// Replaces the header as a program does that writes files by renaming: what is mapped stays.
    fn replace_header(&self, bytes: &[u8]) {
        let beside = self.dir.path().join("beside");
        std::fs::write(&beside, bytes).unwrap();
        std::fs::rename(&beside, self.header()).unwrap();
    }
}

/// Waits until the header is closed: a gateway looks every tenth of the idle timeout, at least 10 ms.
async fn until_closed() {
    tokio::time::sleep(Duration::from_millis(40)).await;
}

fn damaged(sound: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let len = sound.len();
    for cut in [0, 1, 13, 14, len / 3, len / 2, len - 5, len - 1] {
        all.push((format!("cut at {cut} of {len}"), sound[..cut].to_vec()));
    }
    for at in (0..len).step_by(len / 40).chain(len - 60..len) {
        let mut flipped = sound.to_vec();
        flipped[at] ^= 0x10;
        all.push((format!("byte {at} of {len} flipped"), flipped));
    }
    let mut longer = sound.to_vec();
    longer.extend_from_slice(b"tail");
    all.push(("longer".to_owned(), longer));
    all.push(("zeros".to_owned(), vec![0; len]));
    all
}

/// ST-04: a header that is damaged on disk while the gateway runs is built anew, and no answer shows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_is_damaged_while_running_is_built_anew() {
    let kept = Kept::new(SparseHeaders::Off).await;
    let sound = std::fs::read(kept.header()).unwrap();
    let expected = kept.ask().await.unwrap();
    assert_eq!(expected.len(), 300);
    for (what, bytes) in damaged(&sound) {
        until_closed().await;
        kept.replace_header(&bytes);
        let found = kept
            .ask()
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(found, expected, "{what}");
        assert!(
            std::fs::read(kept.header()).unwrap() == sound,
            "{what} is repaired"
        );
    }
}

/// ST-04: most of a sparse header is checked when it is touched. Who touches damage fails or is right, and the next who
/// asks finds it built anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_sparse_header_that_is_damaged_while_running_is_never_wrong() {
    let kept = Kept::new(SparseHeaders::Use).await;
    let sound = std::fs::read(kept.header()).unwrap();
    let expected = kept.ask().await.unwrap();
    let mut refused = 0;
    for (what, bytes) in damaged(&sound) {
        until_closed().await;
        kept.replace_header(&bytes);
        match kept.ask().await {
            Ok(found) => assert_eq!(found, expected, "{what}"),
            Err(error) => {
                refused += 1;
                let said = error.to_string();
                assert!(said.contains(&block_id(1).to_string()), "{what}: {said}");
            }
        }
        assert_eq!(kept.ask().await.unwrap(), expected, "after {what}");
    }
    println!("{refused} answers failed");
}

/// What is deleted under a running gateway is made again: the file, the folder of the block, all of the directory.
#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_is_deleted_while_running_is_made_again() {
    for sparse in [SparseHeaders::Off, SparseHeaders::Use] {
        files_that_are_deleted_are_made_again(Kept::new(sparse).await).await;
    }
}

async fn files_that_are_deleted_are_made_again(kept: Kept) {
    let sound = std::fs::read(kept.header()).unwrap();
    let expected = kept.ask().await.unwrap();
    for path in [kept.header(), kept.block_dir(1), kept.dir.path().to_owned()] {
        until_closed().await;
        if path.is_dir() {
            std::fs::remove_dir_all(&path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        assert_eq!(
            kept.ask().await.unwrap(),
            expected,
            "without {}",
            path.display()
        );
        assert!(std::fs::read(kept.header()).unwrap() == sound);
    }

    std::fs::remove_dir_all(kept.dir.path()).unwrap();
    kept.data.upload(&kept.bucket, &spec(2)).await.unwrap();
    assert_eq!(kept.gateway.sync().await.unwrap().loaded, 2);
    assert_eq!(kept.ask().await.unwrap().len(), 600);
}

/// Makes each write of the header fail as on a full disk: what is written first goes to a device that is full.
fn fill_disk(block_dir: &Path) {
    std::fs::create_dir_all(block_dir).unwrap();
    std::os::unix::fs::symlink("/dev/full", block_dir.join("index-header.tmp")).unwrap();
}

/// A full disk is an error that names the file, and no more than that: blocks that are kept are served, the new one is
/// named in answers, and it is served when there is room again.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_keeps_new_blocks_out_until_there_is_room() {
    if !Path::new("/dev/full").exists() {
        println!("no /dev/full: skipped");
        return;
    }
    let kept = Kept::new(SparseHeaders::default()).await;
    let expected = kept.ask().await.unwrap();
    fill_disk(&kept.block_dir(2));
    kept.data.upload(&kept.bucket, &spec(2)).await.unwrap();
    let report = kept.gateway.sync().await.unwrap();
    assert_eq!(report.loaded, 1);
    let said = report.failed[&block_id(2)].to_string();
    assert!(said.contains("index-header"), "{said}");
    // The sync has removed the file that it could not write.
    fill_disk(&kept.block_dir(2));

    let refused = kept.ask().await.unwrap_err().to_string();
    assert!(refused.contains(&block_id(2).to_string()), "{refused}");
    let partial = SeriesRequest {
        partial_response: PartialResponse::Warn,
        ..request()
    };
    let answer = kept.gateway.series(partial).await.unwrap();
    let answer = Answer::collect(answer).await.unwrap();
    assert_eq!(answer.labels(), expected);
    assert_eq!(answer.missing.len(), 1);

    std::fs::remove_dir_all(kept.block_dir(2)).unwrap();
    assert_eq!(kept.gateway.sync().await.unwrap().loaded, 2);
    assert_eq!(kept.ask().await.unwrap().len(), 600);
}
