//! What a compactor gets: blocks of replicas of the same targets (`ha4`), and blocks that follow each other (`seq4`).

use std::collections::BTreeSet;
use std::path::Path;

use thanos_core::block::{Block, BlockId, BlockWriter, BlockWriterOptions};
use thanos_core::chunk::{self, Samples, SeriesChunk};
use thanos_core::labels::Labels;
use thanos_core::testkit::shapes::Shape;
use thanos_core::testkit::{K8sSpec, TestRandom};
use thanos_core::time::Timestamp;

/// The time of the first sample.
const START: Timestamp = Timestamp::from_millis(1_793_491_200_000);
const SCRAPE_MS: i64 = 15_000;
/// Two hours.
const SCRAPES: i64 = 480;
/// Of a hundred series, those that one of four blocks in a row does not have.
const CHURN_PERCENT: usize = 5;

/// Returns a series as each of `count` servers has recorded it in two hours at 15 seconds: shifted by a phase, some with
/// scrapes that are milliseconds early or late, with a gap where the server was restarted, and single scrapes lost.
pub fn replicas(series: usize, count: usize) -> Vec<Vec<SeriesChunk>> {
    let mut random = TestRandom::new(series as u64 + 1);
    let shape = Shape::of_mix(&mut random);
    let truth: Vec<f64> = shape
        .samples(usize::try_from(2 * SCRAPES).unwrap_or(0), &mut random)
        .into_iter()
        .map(|(_, value)| value)
        .collect();
    let replica = |number: usize| {
        let number = i64::try_from(number).unwrap_or(0);
        // Servers scrape all targets at moments of their own; the first two differ by less than half an interval.
        let phase_ms = [0, 4_700, 9_100, 12_300][usize::try_from(number % 4).unwrap_or(0)];
        let restart = below(&mut random, SCRAPES);
        let down = [0, 8, 0, 25][usize::try_from(number % 4).unwrap_or(0)];
        let mut samples = Samples::new();
        for scrape in 0..SCRAPES {
            let is_lost = (restart..restart + down).contains(&scrape) || random.below(500) == 0;
            let jitter_ms = match shape {
                Shape::JitterCounter => below(&mut random, 11) - 5,
                _ => 0,
            };
            if is_lost {
                continue;
            }
            // What happens between two scrapes of a server, others see half of.
            let at = 2 * scrape + i64::from(phase_ms * 2 >= SCRAPE_MS);
            let value = truth[usize::try_from(at).unwrap_or(0)];
            samples.push_float(START + (scrape * SCRAPE_MS + phase_ms + jitter_ms), value);
        }
        chunk::encode(&samples)
    };
    (0..count).map(replica).collect()
}

fn below(random: &mut TestRandom, bound: i64) -> i64 {
    random.below(bound.unsigned_abs()).cast_signed()
}

/// Writes the `ha4` blocks of `series` series: those of four servers that scrape the same targets.
///
/// # Panics
///
/// When a block can not be written.
pub fn write_ha4(parent: &Path, series: usize) -> Vec<Block> {
    let labels = labels(series);
    let mut writers: Vec<BlockWriter> = (0..4)
        .map(|number| writer(parent, number, &labels))
        .collect();
    for (number, labels) in labels.iter().enumerate() {
        for (writer, chunks) in writers.iter_mut().zip(replicas(number, 4)) {
            writer
                .add_series(labels.as_ref(), &chunks)
                .expect("series are in order");
        }
    }
    let blocks = writers.into_iter().map(|writer| opened(parent, writer));
    blocks.collect()
}

/// Writes the `seq4` blocks of `series` series: four after each other, each without a few of the series.
///
/// # Panics
///
/// When a block can not be written.
pub fn write_seq4(parent: &Path, series: usize) -> Vec<Block> {
    let labels = labels(series);
    let block = |number: u8| {
        let mut writer = writer(parent, number, &labels);
        let spec = K8sSpec {
            start: START + i64::from(number) * SCRAPES * SCRAPE_MS,
            seed: u64::from(number),
            ..K8sSpec::default()
        };
        for (position, labels) in labels.iter().enumerate() {
            if (position + usize::from(number) * 25) % 100 >= CHURN_PERCENT {
                writer
                    .add_series(labels.as_ref(), &spec.chunks(position))
                    .expect("series are in order");
            }
        }
        opened(parent, writer)
    };
    (0..4).map(block).collect()
}

/// Returns the bytes of the index and the chunks of `blocks`.
pub fn block_bytes(blocks: &[Block]) -> u64 {
    let bytes = |block: &Block| block.chunks().len_bytes() + block.index().bytes().len() as u64;
    blocks.iter().map(bytes).sum()
}

fn labels(series: usize) -> Vec<Labels> {
    let spec = K8sSpec {
        series,
        ..K8sSpec::default()
    };
    spec.labels()
}

fn writer(parent: &Path, number: u8, labels: &[Labels]) -> BlockWriter {
    let mut symbols = BTreeSet::new();
    for (name, value) in labels.iter().flat_map(Labels::iter) {
        symbols.insert(name.into_owned());
        symbols.insert(value.into_owned());
    }
    let id = BlockId::from_parts(START, u128::from(number) + 1);
    BlockWriter::create(parent, BlockWriterOptions::new(id), symbols)
        .expect("the directory can be written to")
}

fn opened(parent: &Path, writer: BlockWriter) -> Block {
    let meta = writer.finish().expect("the directory can be written to");
    Block::open(&parent.join(meta.ulid.to_string())).expect("a good block")
}
