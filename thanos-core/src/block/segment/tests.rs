use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;

use super::format::{append_chunk, header};
use super::*;
use crate::chunk::{Chunk, Encoding};
use crate::error::ErrorKind;
use crate::index::ChunkRef;
use crate::testkit::TempDir;

fn fixture() -> Bytes {
    let path = "testdata/block-1k-2h/01M81JDC7R8JKP7SEW1VN2HAQ9/chunks/000001";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    Bytes::from(std::fs::read(path).unwrap())
}

fn chunk(len: usize) -> Chunk {
    Chunk {
        encoding: Encoding::XOR,
        data: Bytes::from(vec![7; len]),
    }
}

#[test]
fn every_chunk_of_a_real_segment_is_sound() {
    assert_eq!(check_segment(fixture()).unwrap(), 3987);
}

#[test]
fn a_real_segment_is_written_back_byte_for_byte() {
    let (file, dir) = (fixture(), TempDir::new("rewrite"));
    let mut writer = ChunkWriter::create(dir.path()).unwrap();
    let (mut offset, mut references) = (SEGMENT_HEADER_LEN, Vec::new());
    while offset < file.len() {
        let (chunk, len) = decode_chunk(&file.slice(offset..), offset as u64).unwrap();
        writer.write(&[chunk], &mut references).unwrap();
        assert_eq!(references.pop(), Some(ChunkRef(offset as u64)));
        offset += len;
    }
    let files = writer.finish().unwrap();
    let expected = SegmentFile {
        name: "000001".into(),
        len_bytes: 943_391,
    };
    assert_eq!(files, [expected]);
    assert!(std::fs::read(dir.path().join("000001")).unwrap() == file);
}

#[test]
fn chunks_share_the_memory_of_the_file() {
    let file = fixture();
    let (chunk, _) = decode_chunk(&file.slice(8..), 8).unwrap();
    assert!(file.as_ptr_range().contains(&chunk.data.as_ptr()));
}

#[test]
fn a_flipped_byte_of_a_segment_is_corrupt_at_its_chunk() {
    // The header, and chunks of several lengths.
    let mut good = header().to_vec();
    let mut starts = vec![0];
    for len in [0, 1, 127, 128, 300] {
        starts.push(good.len());
        append_chunk(&mut good, &chunk(len));
    }
    assert_eq!(check_segment(Bytes::from(good.clone())).unwrap(), 5);
    for at in 0..good.len() {
        for bits in [0x01, 0x80, 0xFF] {
            let mut bad = good.clone();
            bad[at] ^= bits;
            let error = check_segment(Bytes::from(bad)).unwrap_err();
            let start = *starts.iter().rfind(|start| **start <= at).unwrap() as u64;
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            let offset = error.offset().unwrap();
            assert!(offset >= start && offset <= at as u64, "byte {at}: {error}");
        }
    }
}

#[test]
fn a_flipped_byte_of_a_real_segment_is_corrupt() {
    let good = fixture();
    for at in (0..good.len()).step_by(4999).chain(0..64) {
        let mut bad = good.to_vec();
        bad[at] ^= 0x40;
        let error = check_segment(Bytes::from(bad)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}");
        assert!(error.offset().unwrap() <= at as u64, "byte {at}: {error}");
    }
}

#[test]
fn references_to_nowhere_are_corrupt_and_name_the_file() {
    let dir = TempDir::new("nowhere");
    let mut writer = ChunkWriter::create(dir.path()).unwrap();
    let mut references = Vec::new();
    writer
        .write(&[chunk(10), chunk(20)], &mut references)
        .unwrap();
    writer.finish().unwrap();
    let reader = ChunkReader::open(dir.path()).unwrap();
    assert_eq!(reader.chunk(references[1]).unwrap(), chunk(20));
    let end = u32::try_from(reader.len_bytes()).unwrap();
    for reference in [
        ChunkRef::new(0, 0),
        ChunkRef::new(0, 7),
        ChunkRef::new(0, 9),
        ChunkRef::new(0, end),
        ChunkRef::new(0, end + 1),
        ChunkRef::new(0, u32::MAX),
        ChunkRef::new(1, 8),
        ChunkRef(u64::MAX),
    ] {
        let error = reader.chunk(reference).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(error.offset(), Some(u64::from(reference.offset())));
        assert!(error.file().is_some(), "{error}");
    }
}

#[test]
fn a_gap_in_the_sequence_is_corrupt() {
    let dir = TempDir::new("gap");
    for name in ["000001", "000003", "000002.tmp", "notes.txt"] {
        std::fs::write(dir.path().join(name), header()).unwrap();
    }
    let error = ChunkReader::open(dir.path()).unwrap_err();
    assert!(error.file().unwrap().ends_with("000002"), "{error}");
    std::fs::write(dir.path().join("000002"), header()).unwrap();
    assert_eq!(ChunkReader::open(dir.path()).unwrap().segment_count(), 3);
    std::fs::write(dir.path().join("000002"), &header()[..7]).unwrap();
    let error = ChunkReader::open(dir.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let missing = ChunkReader::open(&dir.path().join("none")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[test]
fn a_block_without_chunks_has_an_empty_directory() {
    let dir = TempDir::new("empty");
    let chunks = dir.path().join(CHUNKS_DIR);
    assert_eq!(ChunkWriter::create(&chunks).unwrap().finish().unwrap(), []);
    assert_eq!(ChunkReader::open(&chunks).unwrap().verify().unwrap(), 0);
}

/// Where Prometheus puts the chunks: `WriteChunks` with its batches spelt out, as (file, offset).
fn naive_places(series: &[Vec<usize>], segment_len_max: u64) -> Vec<ChunkRef> {
    let (mut written, mut file, mut places) = (0_u64, None::<u32>, Vec::new());
    for chunks in series {
        let mut batches: Vec<Vec<usize>> = vec![vec![]];
        let (mut batch_len, mut first) = (0, true);
        for (i, len) in chunks.iter().enumerate() {
            let bound = 10 + *len as u64;
            batch_len += bound;
            let mut cut = i != 0 && batch_len + 8 > segment_len_max;
            if first && written > 8 {
                cut = batch_len + written > segment_len_max;
                first = !cut;
            }
            if cut {
                batches.push(vec![]);
                batch_len = bound;
            }
            batches.last_mut().unwrap().push(*len);
        }
        if written == 0 && !chunks.is_empty() {
            (file, written) = (Some(0), 8);
        }
        for (b, batch) in batches.iter().enumerate() {
            for len in batch {
                places.push(ChunkRef::new(
                    file.unwrap(),
                    u32::try_from(written).unwrap(),
                ));
                let length_len = if *len < 128 { 1 } else { 2 };
                written += *len as u64 + length_len + 5;
            }
            if b + 1 < batches.len() {
                (file, written) = (file.map(|file| file + 1), 8);
            }
        }
    }
    places
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn segments_are_cut_where_prometheus_cuts_them(
        series in prop::collection::vec(prop::collection::vec(0_usize..200, 0..6), 0..12),
        segment_len_max in 1_u64..600,
    ) {
        let dir = TempDir::new("cut");
        let mut writer = ChunkWriter::with_segment_len_max(dir.path(), segment_len_max).unwrap();
        let mut references = Vec::new();
        for lens in &series {
            let chunks: Vec<Chunk> = lens.iter().map(|len| chunk(*len)).collect();
            writer.write(&chunks, &mut references).unwrap();
        }
        let files = writer.finish().unwrap();
        prop_assert_eq!(&references, &naive_places(&series, segment_len_max));
        let reader = ChunkReader::open(dir.path()).unwrap();
        prop_assert_eq!(reader.segment_count(), files.len());
        prop_assert_eq!(reader.verify().unwrap(), references.len() as u64);
        prop_assert_eq!(reader.len_bytes(), files.iter().map(|file| file.len_bytes).sum::<u64>());
        for (reference, len) in references.iter().zip(series.iter().flatten()) {
            prop_assert_eq!(reader.chunk(*reference).unwrap(), chunk(*len));
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), with_header in any::<bool>()) {
        let head = if with_header { header().to_vec() } else { Vec::new() };
        let _ = check_segment(Bytes::from([head, bytes].concat()));
    }
}

/// Segments in memory, handed out in pieces that are as short as they may be.
#[derive(Debug)]
struct InMemory {
    segments: Vec<SegmentFile>,
    contents: Vec<Bytes>,
}

impl InMemory {
    fn of(contents: Vec<Bytes>) -> ChunkReader {
        let segments = contents.iter().map(|bytes| SegmentFile {
            name: "block/chunks/000001".to_owned(),
            len_bytes: bytes.len() as u64,
        });
        let segments = segments.collect();
        ChunkReader::from_source(std::sync::Arc::new(Self { segments, contents }))
    }
}

impl SegmentSource for InMemory {
    fn segments(&self) -> &[SegmentFile] {
        &self.segments
    }

    fn read(&self, segment: usize, offset: u64, len_min: usize) -> crate::error::Result<Bytes> {
        let (bytes, at) = (&self.contents[segment], usize::try_from(offset).unwrap());
        Ok(bytes.slice(at..bytes.len().min(at + len_min)))
    }
}

#[test]
fn chunks_of_a_source_are_those_of_the_file() {
    let file = fixture();
    let reader = InMemory::of(vec![file.clone()]);
    assert_eq!(reader.verify().unwrap(), 3987);
    assert_eq!((reader.segment_count(), reader.len_bytes()), (1, 943_391));
    let (chunk, len) = decode_chunk(&file.slice(8..), 8).unwrap();
    assert_eq!(reader.chunk(ChunkRef(8)).unwrap(), chunk);
    let second = ChunkRef(8 + len as u64);
    assert!(reader.chunk(second).is_ok());
    for nowhere in [ChunkRef(0), ChunkRef(943_392), ChunkRef::new(1, 8)] {
        let error = reader.chunk(nowhere).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[test]
fn a_flipped_byte_of_a_source_is_corrupt() {
    let mut good = header().to_vec();
    for len in [0, 1, 127, 128, 300] {
        append_chunk(&mut good, &chunk(len));
    }
    assert_eq!(InMemory::of(vec![good.clone().into()]).verify().unwrap(), 5);
    for at in 0..good.len() {
        for bits in [0x01, 0x80, 0xFF] {
            let mut bad = good.clone();
            bad[at] ^= bits;
            let error = InMemory::of(vec![bad.into()]).verify().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error}");
            assert!(error.file().is_some_and(|file| file.starts_with("block/")));
        }
    }
}
