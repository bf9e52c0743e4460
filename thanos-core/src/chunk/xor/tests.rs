//! The decoder against a reader that takes one bit at a time, and the encoder against recorded bytes.

use proptest::prelude::*;

use super::*;
use crate::chunk;

/// Reads one bit at a time and shares no code with the decoder.
struct Naive<'a> {
    data: &'a [u8],
    position: usize,
}

impl Naive<'_> {
    fn bit(&mut self) -> Option<u64> {
        let byte = *self.data.get(self.position / 8)?;
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        Some(u64::from(bit))
    }

    fn bits(&mut self, count: u32) -> Option<u64> {
        (0..count).try_fold(0, |sum, _| Some(sum << 1 | self.bit()?))
    }

    fn uvarint(&mut self) -> Option<u64> {
        let mut value = 0;
        for at in 0..10 {
            let byte = self.bits(8)?;
            value |= (byte & 0x7F) << (7 * at);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn delta_of_delta(&mut self) -> Option<i64> {
        let mut ones = 0;
        while ones < 4 && self.bit()? == 1 {
            ones += 1;
        }
        let size = [0, 14, 17, 20, 64][ones];
        let raw = i128::from(self.bits(size)?);
        let limit = 1_i128 << (size.max(1) - 1);
        let signed = if size == 64 && raw >= limit || raw > limit {
            raw - (1 << size)
        } else {
            raw
        };
        Some(i64::try_from(signed).unwrap())
    }

    fn value(&mut self, state: &mut (u64, u32, u32)) -> Option<u64> {
        if self.bit()? == 1 {
            if self.bit()? == 1 {
                let leading = u32::try_from(self.bits(5)?).unwrap();
                let width = u32::try_from(self.bits(6)?).unwrap();
                state.1 = leading;
                state.2 = if width == 0 { 64 } else { width };
                if state.1 + state.2 > 64 {
                    return None;
                }
            }
            state.0 ^= self.bits(state.2)? << (64 - state.1 - state.2);
        }
        Some(state.0)
    }
}

fn naive_decode(data: &[u8]) -> Option<Vec<(i64, u64)>> {
    let mut naive = Naive { data, position: 0 };
    let count = naive.bits(16)?;
    let mut samples = Vec::new();
    let (mut time, mut delta) = (0_i64, 0_i64);
    let mut state = (0, 0, 64);
    for at in 0..count {
        match at {
            0 => {
                let raw = naive.uvarint()?;
                time = (raw >> 1).cast_signed() ^ -(raw & 1).cast_signed();
                state.0 = naive.bits(64)?;
            }
            1 => {
                delta = naive.uvarint()?.cast_signed();
                time = time.wrapping_add(delta);
                naive.value(&mut state)?;
            }
            _ => {
                delta = delta.wrapping_add(naive.delta_of_delta()?);
                time = time.wrapping_add(delta);
                naive.value(&mut state)?;
            }
        }
        samples.push((time, state.0));
    }
    Some(samples)
}

fn decode_bits(data: &[u8]) -> Result<Vec<(i64, u64)>> {
    let (mut times, mut values) = (Vec::new(), Vec::new());
    decode_into(data, &mut times, &mut values)?;
    Ok(times
        .into_iter()
        .zip(values.iter().map(|v| v.to_bits()))
        .collect())
}

fn encode(samples: &[(i64, f64)]) -> Chunk {
    let mut encoder = XorEncoder::new();
    for &(time, value) in samples {
        encoder.append(Timestamp::from_millis(time), value);
    }
    encoder.finish()
}

/// Times with runs of equal steps, jitter of every size class, and values of every kind.
fn samples() -> impl Strategy<Value = Vec<(i64, f64)>> {
    let step = prop_oneof![
        6 => Just(0_i64),
        3 => -8_000_i64..8_400,
        2 => -65_535_i64..=65_536,
        2 => -524_287_i64..=524_288,
        1 => any::<i64>(),
    ];
    let value = prop_oneof![
        5 => Just(0_u64),
        2 => (0_u64..1000).prop_map(|cents| (f64::from(u32::try_from(cents).unwrap()) / 100.0).to_bits()),
        1 => any::<u64>(),
        1 => (0_u64..64, any::<u64>()).prop_map(|(shift, bits)| bits << shift),
    ];
    prop::collection::vec((step, value), 0..200).prop_map(|steps| {
        let (mut time, mut delta, mut bits) =
            (1_700_000_000_000_i64, 15_000_i64, 1.5_f64.to_bits());
        steps
            .into_iter()
            .map(|(dod, change)| {
                delta = delta.wrapping_add(dod);
                time = time.wrapping_add(delta);
                bits ^= change;
                (time, f64::from_bits(bits))
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn samples_come_back_and_a_bitwise_reader_agrees(samples in samples()) {
        let chunk = encode(&samples);
        let expected: Vec<_> = samples.iter().map(|&(t, v)| (t, v.to_bits())).collect();
        prop_assert_eq!(decode_bits(&chunk.data).unwrap(), expected.clone());
        prop_assert_eq!(naive_decode(&chunk.data).unwrap(), expected);
        prop_assert_eq!(chunk::num_samples(&chunk).unwrap(), samples.len());
    }

    #[test]
    fn columns_are_written_like_single_samples(samples in samples(), cut in any::<prop::sample::Index>()) {
        let (times, values): (Vec<i64>, Vec<f64>) = samples.iter().copied().unzip();
        let cut = cut.index(samples.len() + 1);
        let mut encoder = XorEncoder::new();
        encoder.extend(&times[..cut], &values[..cut]);
        encoder.extend(&times[cut..], &values[cut..]);
        prop_assert_eq!(encoder.num_samples(), samples.len());
        prop_assert_eq!(encoder.finish(), encode(&samples));
    }

    #[test]
    fn an_open_chunk_reads_like_a_finished_one(samples in samples()) {
        let mut encoder = XorEncoder::new();
        for (at, &(time, value)) in samples.iter().enumerate() {
            encoder.append(Timestamp::from_millis(time), value);
            prop_assert_eq!(encoder.to_chunk(), encode(&samples[..=at]));
            prop_assert_eq!(encoder.len_bytes(), encoder.to_chunk().data.len());
        }
    }

    #[test]
    fn any_bytes_give_what_the_bitwise_reader_gives(
        count in 0_u16..60,
        body in prop::collection::vec(any::<u8>(), 0..120),
        zeros in 0_usize..40,
    ) {
        let mut data = count.to_be_bytes().to_vec();
        data.extend(&body);
        data.resize(data.len() + zeros, 0);
        match naive_decode(&data) {
            Some(expected) => match decode_bits(&data) {
                Ok(decoded) => prop_assert_eq!(decoded, expected),
                // The bitwise reader takes a varint of more than 64 bits, which the decoder refuses.
                Err(error) => prop_assert!(error.message().contains("varint"), "{}", error),
            },
            None => prop_assert!(decode_bits(&data).is_err()),
        }
    }

    #[test]
    fn a_flipped_byte_is_an_error_or_the_declared_number_of_samples(
        samples in samples(),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let mut data = encode(&samples).data.to_vec();
        let at = at.index(data.len());
        data[at] ^= flip;
        if let Ok(decoded) = decode_bits(&data) {
            prop_assert_eq!(decoded.len(), sample_count(&data).unwrap());
        }
    }
}

#[test]
fn every_truncation_is_an_error() {
    let samples: Vec<_> = (0..50).map(|i| (i * 15_000, (i * i) as f64)).collect();
    let data = encode(&samples).data;
    for len in 0..data.len() {
        assert!(decode_bits(&data[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn a_failed_decode_leaves_the_columns_as_they_were() {
    let samples: Vec<_> = (0..50).map(|i| (i * 15_000, i as f64)).collect();
    let data = encode(&samples).data;
    let (mut times, mut values) = (vec![7], vec![8.0]);
    decode_into(&data[..data.len() - 1], &mut times, &mut values).unwrap_err();
    assert_eq!((times, values), (vec![7], vec![8.0]));
}

#[test]
fn a_declared_count_that_cannot_fit_is_refused_before_memory_is_taken() {
    let mut data = vec![0xFF, 0xFF];
    data.resize(60, 0);
    let error = decode_bits(&data).unwrap_err();
    assert!(error.message().contains("65535"), "{error}");
}

#[test]
fn an_empty_chunk_has_no_samples() {
    assert_eq!(decode_bits(&[0, 0]).unwrap(), []);
    assert_eq!(encode(&[]).data.as_ref(), [0, 0]);
}

#[test]
fn scraped_chunks_encode_to_the_same_bytes() {
    let path = format!("{}/testdata/chunks/floats", env!("CARGO_MANIFEST_DIR"));
    let chunks = chunk::segment_chunks(&std::fs::read(path).unwrap());
    assert_eq!(chunks.len(), 799);
    let mut same = 0;
    for chunk in &chunks {
        let decoded = decode_bits(&chunk.data).unwrap();
        assert_eq!(naive_decode(&chunk.data).unwrap(), decoded);
        let samples: Vec<_> = decoded
            .into_iter()
            .map(|(time, bits)| (time, f64::from_bits(bits)))
            .collect();
        let again = encode(&samples).data;
        // Prometheus before 3.0 began a byte too early when a whole byte ended on a byte border.
        let padded = [again.as_ref(), &[0]].concat();
        assert!(chunk.data == again || chunk.data == padded);
        same += usize::from(chunk.data == again);
    }
    assert!(same > 790, "{same} chunks are the same to the last byte");
}
