//! The chunk encodings. What is readable is written again and must read the same.

use bytes::Bytes;

use crate::chunk::{
    self, Chunk, Encoding, FloatHistogramEncoder, HistogramEncoder, SampleRef, Samples,
    Xor2Encoder, XorEncoder, decode_aggregates, encode_aggregates,
};
use crate::time::Timestamp;

/// Samples take at most this many bytes for each byte of their chunk: a bit may be a bucket of eight bytes.
const GROWTH_MAX: usize = 8 * 8;
/// What a sample takes beside its buckets.
const SAMPLE_BYTES: usize = 256;

fn read(encoding: Encoding, data: &[u8]) -> Option<Samples> {
    let chunk = Chunk {
        encoding,
        data: Bytes::copy_from_slice(data),
    };
    let mut samples = Samples::new();
    samples.push_float(Timestamp::from_millis(1), 1.0);
    if chunk::decode(&chunk, &mut samples).is_err() {
        assert_eq!(samples.len(), 1, "a failed decode leaves no samples");
        return None;
    }
    assert_eq!(Some(samples.len() - 1), chunk::num_samples(&chunk).ok());
    assert!(samples.memory_bytes() <= data.len() * GROWTH_MAX + samples.len() * SAMPLE_BYTES);
    chunk::samples(&chunk).ok()
}

/// Reports whether two runs of samples are the same, bit by bit.
fn same(a: &Samples, b: &Samples) -> bool {
    let bits = |samples: &Samples| -> Vec<u64> {
        samples
            .values()
            .iter()
            .map(|value| value.to_bits())
            .collect()
    };
    a.times() == b.times()
        && same_starts(a, b)
        && bits(a) == bits(b)
        && (0..a.len()).all(|index| match (a.histogram(index), b.histogram(index)) {
            (Some(a), Some(b)) => a.to_float().same_data(&b.to_float()),
            (a, b) => a.is_none() && b.is_none(),
        })
}

fn same_starts(a: &Samples, b: &Samples) -> bool {
    (0..a.len()).all(|index| a.start(index) == b.start(index))
}

/// Reads `data` as a chunk of floats.
///
/// # Panics
///
/// When the samples differ after they were written.
pub fn xor_chunk(data: &[u8]) {
    let Some(samples) = read(Encoding::XOR, data) else {
        return;
    };
    let mut encoder = XorEncoder::new();
    encoder.extend(samples.times(), samples.values());
    let again = chunk::samples(&encoder.finish()).expect("a written chunk is readable");
    assert!(same(&samples, &again));
}

/// Reads `data` as a chunk of floats with start timestamps.
///
/// # Panics
///
/// When the samples differ after they were written.
pub fn xor2_chunk(data: &[u8]) {
    let Some(samples) = read(Encoding::XOR2, data) else {
        return;
    };
    let mut encoder = Xor2Encoder::new();
    for (index, (&time, &value)) in samples.times().iter().zip(samples.values()).enumerate() {
        encoder.append(samples.start(index), Timestamp::from_millis(time), value);
    }
    let again = chunk::samples(&encoder.finish()).expect("a written chunk is readable");
    assert!(same(&samples, &again));
}

/// Reads `data` as a chunk of integer histograms.
///
/// # Panics
///
/// When the samples cannot be read after they were written.
pub fn histogram_chunk(data: &[u8]) {
    integer_histograms(Encoding::HISTOGRAM, HistogramEncoder::new(), data);
}

/// Reads `data` as a chunk of integer histograms with start timestamps.
///
/// # Panics
///
/// When the samples cannot be read after they were written.
pub fn histogram_st_chunk(data: &[u8]) {
    integer_histograms(
        Encoding::HISTOGRAM_ST,
        HistogramEncoder::with_starts(),
        data,
    );
}

fn integer_histograms(encoding: Encoding, mut encoder: HistogramEncoder, data: &[u8]) {
    let Some(samples) = read(encoding, data) else {
        return;
    };
    let mut chunks = Vec::new();
    for (index, (time, sample)) in samples.iter().enumerate() {
        if let SampleRef::Histogram(view) = sample
            && let Some(histogram) = view.to_integer()
        {
            let _ = (histogram.to_string(), histogram.validate());
            chunks.extend(encoder.append_with_start(samples.start(index), time, &histogram));
        }
    }
    chunks.push(encoder.finish());
    check_written(&samples, &chunks);
}

/// Reads `data` as a chunk of float histograms.
///
/// # Panics
///
/// When the samples cannot be read after they were written.
pub fn float_histogram_chunk(data: &[u8]) {
    let encoder = FloatHistogramEncoder::new();
    float_histograms(Encoding::FLOAT_HISTOGRAM, encoder, data);
}

/// Reads `data` as a chunk of float histograms with start timestamps.
///
/// # Panics
///
/// When the samples cannot be read after they were written.
pub fn float_histogram_st_chunk(data: &[u8]) {
    let encoder = FloatHistogramEncoder::with_starts();
    float_histograms(Encoding::FLOAT_HISTOGRAM_ST, encoder, data);
}

fn float_histograms(encoding: Encoding, mut encoder: FloatHistogramEncoder, data: &[u8]) {
    let Some(samples) = read(encoding, data) else {
        return;
    };
    let mut chunks = Vec::new();
    for (index, (time, sample)) in samples.iter().enumerate() {
        if let SampleRef::Histogram(view) = sample {
            let mut histogram = view.to_float();
            chunks.extend(encoder.append_with_start(samples.start(index), time, &histogram));
            let _ = (histogram.to_string(), histogram.validate());
            assert_eq!(
                histogram.all_buckets().count(),
                histogram.all_buckets().rev().count()
            );
            histogram.compact(2);
        }
    }
    chunks.push(encoder.finish());
    check_written(&samples, &chunks);
}

/// Checks that all samples are in the chunks, at their times.
///
/// Buckets are not compared: the encoder adds empty ones when it widens a chunk.
fn check_written(samples: &Samples, chunks: &[Chunk]) {
    let mut again = Samples::new();
    for chunk in chunks {
        chunk::decode(chunk, &mut again).expect("a written chunk is readable");
    }
    assert_eq!(samples.times(), again.times());
    assert!(same_starts(samples, &again));
    let bits = |samples: &Samples| -> Vec<u64> {
        samples
            .values()
            .iter()
            .map(|value| value.to_bits())
            .collect()
    };
    assert_eq!(bits(samples), bits(&again));
    if chunks.len() == 1 {
        assert!(same(samples, &again));
    }
}

/// Reads `data` as a container of aggregates, and each aggregate.
///
/// # Panics
///
/// When the aggregates differ after they were written.
pub fn aggregates(data: &[u8]) {
    let Ok(set) = decode_aggregates(&Bytes::copy_from_slice(data)) else {
        return;
    };
    for part in set.iter().flatten() {
        let _ = chunk::decode(part, &mut Samples::new());
    }
    let container = encode_aggregates(&set).expect("aggregates of a container fit one");
    let again = decode_aggregates(&container.data).expect("a written container is readable");
    assert_eq!(set, again);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::Aggregate;
    use crate::testkit::shapes::{HistogramSpec, Shape, xor_chunks};

    fn all(data: &[u8]) {
        xor_chunk(data);
        xor2_chunk(data);
        histogram_chunk(data);
        histogram_st_chunk(data);
        float_histogram_chunk(data);
        float_histogram_st_chunk(data);
        aggregates(data);
    }

    fn good_chunks() -> Vec<Bytes> {
        let mut chunks: Vec<Chunk> = Shape::ALL
            .iter()
            .flat_map(|&shape| xor_chunks(shape, 1, 5))
            .collect();
        let spec = HistogramSpec {
            samples: 30,
            buckets: 12,
            reset_in: 0,
            ..HistogramSpec::default()
        };
        chunks.extend(spec.chunks());
        let mut floats = FloatHistogramEncoder::new();
        let mut with_starts = Samples::new();
        for (time, histogram) in spec.samples() {
            assert!(floats.append(time, &histogram.to_float()).is_none());
            for sample in [
                SampleRef::Float(histogram.sum),
                SampleRef::Histogram((&histogram).into()),
                SampleRef::Histogram((&histogram.to_float()).into()),
            ] {
                with_starts.push_with_start(Timestamp::from_millis(5), time, sample);
            }
        }
        chunks.push(floats.finish());
        // By kind, so that chunks have more than one sample.
        for kind in 0..3 {
            let mut samples = Samples::new();
            for index in (kind..with_starts.len()).step_by(3) {
                let time = Timestamp::from_millis(with_starts.times()[index]);
                let start = Timestamp::from_millis(5 + time.as_millis() % 7);
                samples.push_with_start(start, time, with_starts.get(index));
            }
            let parts = chunk::encode(&samples);
            chunks.extend(
                parts
                    .iter()
                    .filter_map(|part| part.get(Aggregate::Raw).cloned()),
            );
        }
        chunks.into_iter().map(|chunk| chunk.data).collect()
    }

    proptest! {
        #[test]
        fn random_bytes_do_no_harm(
            count in 0_u8..30,
            body in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            all(&body);
            all(&[&[0, count], &body[..]].concat());
        }

        #[test]
        fn damaged_chunks_do_no_harm(
            which in any::<prop::sample::Index>(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in 0_usize..20,
        ) {
            let chunks = good_chunks();
            let mut data = which.get(&chunks).to_vec();
            for (at, value) in changes {
                let at = at.index(data.len());
                data[at] = value;
            }
            data.truncate(data.len().saturating_sub(cut / 2));
            all(&data);
        }
    }
}
