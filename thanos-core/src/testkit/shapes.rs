//! Samples and chunks in the shapes that benches and property tests name.

use std::sync::Arc;

use super::TestRandom;
use crate::chunk::{Chunk, HistogramEncoder, XorEncoder};
use crate::histogram::{BucketLayout, Histogram, Span};
use crate::time::Timestamp;

/// The samples of a chunk as Prometheus cuts them.
pub const CHUNK_SAMPLES: usize = 120;
/// The time of the first sample.
const START_MS: i64 = 1_793_491_200_000;
/// The time between two scrapes.
const STEP_MS: i64 = 15_000;

/// How times and values of a float series move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// One value at regular times, as most series of a fleet.
    Constant,
    /// A counter at regular times.
    Counter,
    /// A counter scraped up to 10 ms early or late.
    JitterCounter,
    /// A gauge with two decimals at regular times.
    Cents,
    /// A gauge whose bits are random.
    Random,
}

impl Shape {
    /// All shapes.
    pub const ALL: [Self; 5] = [
        Self::Constant,
        Self::Counter,
        Self::JitterCounter,
        Self::Cents,
        Self::Random,
    ];

    /// Returns the name in bench reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Counter => "counter",
            Self::JitterCounter => "jitter_counter",
            Self::Cents => "cents",
            Self::Random => "random",
        }
    }

    /// Returns the shape of a series in the `mix-chunks` data: 60 % constant, 25 % counters with jitter,
    /// 10 % gauges with two decimals, 5 % random.
    pub fn of_mix(random: &mut TestRandom) -> Self {
        match random.below(100) {
            0..60 => Self::Constant,
            60..85 => Self::JitterCounter,
            85..95 => Self::Cents,
            _ => Self::Random,
        }
    }

    /// Returns `count` samples in time order.
    pub fn samples(self, count: usize, random: &mut TestRandom) -> Vec<(Timestamp, f64)> {
        let mut value = random.below(1 << 20) as f64;
        let mut samples = Vec::with_capacity(count);
        let mut scrape_ms = START_MS;
        for _ in 0..count {
            let early_or_late = match self {
                Self::JitterCounter => random.below(21).cast_signed() - 10,
                Self::Constant | Self::Counter | Self::Cents | Self::Random => 0,
            };
            value = self.next_value(value, random);
            samples.push((Timestamp::from_millis(scrape_ms + early_or_late), value));
            scrape_ms += STEP_MS;
        }
        samples
    }

    fn next_value(self, last: f64, random: &mut TestRandom) -> f64 {
        match self {
            Self::Constant => last,
            Self::Counter | Self::JitterCounter => last + random.below(100) as f64,
            Self::Cents => random.below(1_000_000) as f64 / 100.0,
            Self::Random => random.unit() * 1e3,
        }
    }
}

/// Returns the chunk of some samples.
pub fn xor_chunk(samples: &[(Timestamp, f64)]) -> Chunk {
    let mut encoder = XorEncoder::new();
    for &(time, value) in samples {
        encoder.append(time, value);
    }
    encoder.finish()
}

/// Returns chunks of [`CHUNK_SAMPLES`] samples of one shape.
pub fn xor_chunks(shape: Shape, count: usize, seed: u64) -> Vec<Chunk> {
    let mut random = TestRandom::new(seed);
    (0..count)
        .map(|_| xor_chunk(&shape.samples(CHUNK_SAMPLES, &mut random)))
        .collect()
}

/// Returns the `mix-chunks` data: chunks of [`CHUNK_SAMPLES`] samples of shapes as a fleet has them.
pub fn mix_chunks(count: usize, seed: u64) -> Vec<Chunk> {
    let mut random = TestRandom::new(seed);
    (0..count)
        .map(|_| {
            let shape = Shape::of_mix(&mut random);
            xor_chunk(&shape.samples(CHUNK_SAMPLES, &mut random))
        })
        .collect()
}

/// A series of native histograms.
#[derive(Debug, Clone)]
pub struct HistogramSpec {
    /// The number of samples.
    pub samples: usize,
    /// The number of buckets, in one span.
    pub buckets: u32,
    /// The most observations between two samples.
    pub observations_max: u64,
    /// The chance, one in so many samples, of a counter reset; 0 for none.
    pub reset_in: u64,
    /// What the observations are made from.
    pub seed: u64,
}

impl Default for HistogramSpec {
    fn default() -> Self {
        Self {
            samples: 720,
            buckets: 40,
            observations_max: 30,
            reset_in: 400,
            seed: 1,
        }
    }
}

impl HistogramSpec {
    /// Returns the samples in time order. Observations fall more often into the middle buckets.
    pub fn samples(&self) -> Vec<(Timestamp, Histogram)> {
        let mut random = TestRandom::new(self.seed);
        let layout = Arc::new(BucketLayout {
            schema: 3,
            zero_threshold: 2.0_f64.powi(-128),
            positive_spans: vec![Span {
                offset: -20,
                length: self.buckets,
            }],
            ..BucketLayout::default()
        });
        let mut counts = vec![0_i64; self.buckets as usize];
        let mut zero_count = 0;
        let mut samples = Vec::with_capacity(self.samples);
        let mut time = Timestamp::from_millis(START_MS);
        for _ in 0..self.samples {
            if self.reset_in > 0 && random.below(self.reset_in) == 0 {
                counts.fill(0);
                zero_count = 0;
            }
            for _ in 0..random.below(self.observations_max + 1) {
                let bucket = random
                    .below(u64::from(self.buckets))
                    .midpoint(random.below(u64::from(self.buckets)));
                if let Some(count) = counts.get_mut(usize::try_from(bucket).unwrap_or_default()) {
                    *count += 1;
                }
            }
            zero_count += random.below(2);
            samples.push((time, histogram(&layout, &counts, zero_count, &mut random)));
            time = time + STEP_MS;
        }
        samples
    }

    /// Returns the chunks of the samples, cut where Prometheus cuts them: at about a kilobyte.
    pub fn chunks(&self) -> Vec<Chunk> {
        const CHUNK_BYTES: usize = 1024;
        const CHUNK_SAMPLES_MIN: usize = 10;
        let mut chunks = Vec::new();
        let mut encoder = HistogramEncoder::new();
        for (time, histogram) in self.samples() {
            if encoder.len_bytes() >= CHUNK_BYTES && encoder.num_samples() >= CHUNK_SAMPLES_MIN {
                chunks.push(encoder.cut());
            }
            chunks.extend(encoder.append(time, &histogram));
        }
        if encoder.num_samples() > 0 {
            chunks.push(encoder.finish());
        }
        chunks
    }
}

fn histogram(
    layout: &Arc<BucketLayout>,
    counts: &[i64],
    zero_count: u64,
    random: &mut TestRandom,
) -> Histogram {
    let before = std::iter::once(&0).chain(counts);
    let deltas: Vec<i64> = counts
        .iter()
        .zip(before)
        .map(|(count, last)| count - last)
        .collect();
    let mut histogram =
        Histogram::new(Arc::clone(layout), &deltas, &[]).expect("one count for each bucket");
    histogram.zero_count = zero_count;
    histogram.count = counts.iter().sum::<i64>().unsigned_abs() + zero_count;
    histogram.sum = histogram.count as f64 * (0.1 + random.unit() / 100.0);
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk;

    #[test]
    fn generated_chunks_are_readable_and_the_same_for_a_seed() {
        for shape in Shape::ALL {
            for chunk in xor_chunks(shape, 3, 7) {
                assert_eq!(chunk::samples(&chunk).unwrap().len(), CHUNK_SAMPLES);
            }
        }
        assert_eq!(mix_chunks(20, 3), mix_chunks(20, 3));
        assert_ne!(mix_chunks(20, 3), mix_chunks(20, 4));
    }

    #[test]
    fn generated_histograms_are_valid_and_survive_their_chunks() {
        let spec = HistogramSpec {
            reset_in: 100,
            ..HistogramSpec::default()
        };
        let samples = spec.samples();
        samples
            .iter()
            .for_each(|(_, histogram)| histogram.validate().unwrap());
        let mut read = chunk::Samples::new();
        for chunk in spec.chunks() {
            chunk::decode(&chunk, &mut read).unwrap();
        }
        assert_eq!(read.len(), samples.len());
        for (index, (time, histogram)) in samples.iter().enumerate() {
            let again = read.histogram(index).unwrap().to_integer().unwrap();
            assert!(again.same_data(histogram));
            assert_eq!(read.times()[index], time.as_millis());
        }
    }
}
