use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::memory::InMemory;
use thanos_core::ErrorKind;
use thanos_core::testkit::TestRandom;

use super::*;
use crate::testkit::{FaultPlan, FaultyStore, StoreFault, block_id};
use crate::transfer::files::hexadecimal;

fn random_bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut random = TestRandom::new(seed);
    (0..len)
        .map(|_| random.next_u64().to_le_bytes()[0])
        .collect()
}

/// Puts segments into a bucket; returns it, and their contents.
async fn segments(lens: &[usize]) -> (Arc<FaultyStore>, Bucket, Vec<(SegmentFile, Vec<u8>)>) {
    let store = Arc::new(FaultyStore::new(Arc::new(InMemory::new())));
    let bucket = Bucket::new(store.clone());
    let mut segments = Vec::new();
    for (number, len) in lens.iter().enumerate() {
        let contents = random_bytes(*len, number as u64);
        let name = format!("{}/chunks/{:06}", block_id(1), number + 1);
        bucket.put(&name, contents.clone().into()).await.unwrap();
        let len_bytes = *len as u64;
        segments.push((SegmentFile { name, len_bytes }, contents));
    }
    (store, bucket, segments)
}

fn stream(bucket: &Bucket) -> ChunkStream {
    ChunkStream::new(bucket.clone(), MemoryBudget::unlimited())
}

/// Reads at ascending places, and now and then anywhere; what comes is what is there, and enough of it.
fn read_about(source: &dyn SegmentSource, contents: &[Vec<u8>], seed: u64) -> Result<()> {
    let mut random = TestRandom::new(seed);
    let mut below = |bound: usize| usize::try_from(random.below(bound as u64)).unwrap();
    for (segment, contents) in contents.iter().enumerate() {
        let mut at = 0;
        while at < contents.len() {
            let (offset, len_min) = match below(100) {
                0 => (below(contents.len()), 1 + below(1000)),
                1 => (at, 1 + below(400_000)),
                _ => (at, 1 + below(3000)),
            };
            let read = source.read(segment, offset as u64, len_min)?;
            let rest = &contents[offset..];
            assert!(
                read.len() >= len_min.min(rest.len()),
                "{} of {len_min}",
                read.len()
            );
            assert!(rest.starts_with(&read), "bytes at {offset} of {segment}");
            if offset == at {
                at += len_min + below(2) * below(200);
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_kernel_reads_what_the_bucket_has() {
    for seed in 0..8 {
        let (store, bucket, segments) = segments(&[700_000, 9, 3_000_000]).await;
        let mut stream = stream(&bucket);
        let (files, contents): (Vec<_>, Vec<_>) = segments.into_iter().unzip();
        let source = stream.source(files).unwrap();
        // A read that fails is tried again.
        store.start(FaultPlan {
            seed,
            per_mille: vec![
                (StoreFault::Unavailable, 50),
                (StoreFault::SilentlyShortBody, 20),
            ],
            ..FaultPlan::default()
        });
        let read = move || read_about(source.as_ref(), &contents, seed);
        stream.run(&Compute::new(1), read).await.unwrap().unwrap();
    }
}

/// Long runs of neighbours come in few requests.
#[tokio::test]
async fn windows_grow() {
    let (_, bucket, segments) = segments(&[20_000_000]).await;
    let mut stream = stream(&bucket);
    let source = stream.source(vec![segments[0].0.clone()]).unwrap();
    let before = bucket.requests().gets;
    let read = move || -> Result<()> {
        for offset in (0..20_000_000_u64).step_by(500) {
            source.read(0, offset, 500)?;
        }
        Ok(())
    };
    stream.run(&Compute::new(1), read).await.unwrap().unwrap();
    let requests = bucket.requests().gets - before;
    assert!(requests <= 12, "{requests} requests");
}

#[tokio::test]
async fn segments_become_objects_of_the_same_bytes() {
    let (_, bucket, _) = segments(&[]).await;
    let mut stream = stream(&bucket);
    let place = stream.place(HashFunc::Sha256);
    let contents: Vec<Vec<u8>> = [8, 5 << 20, (5 << 20) + 1, 17_000_000]
        .iter()
        .map(|len| random_bytes(*len, 7))
        .collect();
    let written = contents.clone();
    let write = move || -> Result<()> {
        let mut output = place.output(block_id(3))?;
        for (number, contents) in written.iter().enumerate() {
            output.begin(&format!("{:06}", number + 1))?;
            for piece in contents.chunks(123_456) {
                output.write(piece)?;
            }
            output.end()?;
        }
        output.finish()
    };
    stream.run(&Compute::new(1), write).await.unwrap().unwrap();
    let files = stream.uploaded(block_id(3));
    assert_eq!(files.len(), contents.len());
    for (file, contents) in files.iter().zip(contents) {
        let object = format!("{}/{}", block_id(3), file.rel_path);
        let found = bucket.read(&object, 1 << 30).await.unwrap();
        assert!(found == contents, "{object}");
        assert_eq!(file.size_bytes, contents.len() as u64);
        let hash = <sha2::Sha256 as sha2::Digest>::digest(&contents);
        assert_eq!(file.hash.as_ref().unwrap().value, hexadecimal(&hash));
    }
    assert!(stream.give_up().await.is_empty());
}

/// A segment that was begun and not ended becomes no object.
#[tokio::test]
async fn what_is_given_up_is_not_there() {
    let (_, bucket, _) = segments(&[]).await;
    let mut stream = stream(&bucket);
    let place = stream.place(HashFunc::None);
    let write = move || -> Result<()> {
        let mut output = place.output(block_id(3))?;
        output.begin("000001")?;
        output.write(&vec![1; 18_000_000])?;
        Err(Error::corrupt("a source is damaged"))
    };
    let outcome = stream.run(&Compute::new(1), write).await.unwrap();
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(stream.give_up().await, [block_id(3)]);
    let left = bucket.objects_under(&block_id(3).to_string()).await;
    assert_eq!(left.unwrap(), []);
}

#[tokio::test]
async fn an_upload_that_fails_is_an_error_of_the_kernel() {
    let (store, bucket, _) = segments(&[]).await;
    let mut stream = stream(&bucket);
    let place = stream.place(HashFunc::None);
    store.die_after(1);
    let write = move || -> Result<()> {
        let mut output = place.output(block_id(3))?;
        for segment in ["000001", "000002", "000003"] {
            output.begin(segment)?;
            output.write(&[1; 1000])?;
            output.end()?;
        }
        output.finish()
    };
    let outcome = stream.run(&Compute::new(1), write).await.unwrap();
    let error = outcome.unwrap_err();
    assert!(error.to_string().contains("upload chunks"), "{error}");
}

/// Nobody waits for what a dropped job has asked for, and its kernel ends.
#[tokio::test]
async fn a_kernel_ends_with_its_owner() {
    let (_, bucket, segments) = segments(&[5_000_000]).await;
    let mut stream = stream(&bucket);
    let source = stream.source(vec![segments[0].0.clone()]).unwrap();
    let (ended, end) = channel();
    let (go_on, wait) = channel::<()>();
    let read = move || {
        let first = source.read(0, 0, 100);
        wait.recv().unwrap();
        let _ = ended.send((first, source.read(0, 4_999_000, 100)));
    };
    let compute = Compute::new(1);
    let running = async move { stream.run(&compute, read).await };
    let waited = tokio::time::timeout(Duration::from_millis(300), running).await;
    assert!(waited.is_err());
    go_on.send(()).unwrap();
    let (first, second): (Result<Bytes>, Result<Bytes>) =
        end.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(first.is_ok());
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn a_kernel_that_panics_panics_where_it_is_waited_for() {
    let (_, bucket, _) = segments(&[]).await;
    let mut stream = stream(&bucket);
    let waiting = tokio::spawn(async move {
        let kernel = || -> u8 { panic!("a bug") };
        stream.run(&Compute::new(1), kernel).await
    });
    assert!(waiting.await.unwrap_err().is_panic());
}
