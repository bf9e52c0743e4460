//! Recorded chunks must be written to the same bytes, a bit by bit reader must agree, and damage must do no harm.

use proptest::prelude::*;

use super::*;
use crate::chunk::{self, recorded};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    start: i64,
    time: i64,
    bits: u64,
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn encode(samples: &[Sample]) -> Chunk {
    let mut encoder = Xor2Encoder::new();
    for sample in samples {
        let value = f64::from_bits(sample.bits);
        encoder.append(at(sample.start), at(sample.time), value);
    }
    encoder.finish()
}

fn decode(data: &[u8]) -> Result<Vec<Sample>> {
    let mut out = Samples::new();
    decode_into(data, &mut out)?;
    Ok((0..out.len())
        .map(|index| Sample {
            start: out.start(index).as_millis(),
            time: out.times()[index],
            bits: out.values()[index].to_bits(),
        })
        .collect())
}

/// The scenarios of single floats: their samples, and the chunk in hexadecimal digits.
fn recordings() -> Vec<(Vec<Sample>, String)> {
    let mut scenarios = Vec::new();
    let (mut samples, mut start, mut is_here) = (Vec::new(), 0, false);
    for (_, word, rest) in recorded::lines("start-timestamps.txt") {
        match word.as_str() {
            "scenario" => is_here = rest == "value-st",
            "start" => start = rest.parse().unwrap(),
            "value" if is_here => {
                let (time, value) = recorded::value(&rest);
                samples.push(Sample {
                    start,
                    time: time.as_millis(),
                    bits: value.to_bits(),
                });
            }
            "end" if is_here => scenarios.push((std::mem::take(&mut samples), rest)),
            _ => {}
        }
    }
    scenarios
}

#[test]
fn appends_make_the_same_bytes_as_upstream() {
    let recordings = recordings();
    assert!(recordings.len() > 15);
    for (samples, expected) in &recordings {
        let chunk = encode(samples);
        assert_eq!(recorded::hex(&chunk.data), *expected);
        assert_eq!(decode(&chunk.data).unwrap(), *samples);
        assert_eq!(chunk::num_samples(&chunk).unwrap(), samples.len());
    }
}

/// Reads a chunk a bit at a time, as the layout in the module's head says.
struct Naive<'a> {
    data: &'a [u8],
    position: usize,
}

impl Naive<'_> {
    fn bit(&mut self) -> Option<u64> {
        let byte = self.data.get(self.position / 8)?;
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        Some(u64::from(bit))
    }

    fn bits(&mut self, count: u32) -> Option<u64> {
        (0..count).try_fold(0, |value, _| Some(value << 1 | self.bit()?))
    }

    fn ones(&mut self, max: u32) -> Option<u32> {
        let mut ones = 0;
        while ones < max && self.bit()? == 1 {
            ones += 1;
        }
        Some(ones)
    }

    fn signed(&mut self, bits: u32) -> Option<i64> {
        let raw = self.bits(bits)?;
        Some((raw << (64 - bits)).cast_signed() >> (64 - bits))
    }

    fn uvarint(&mut self) -> Option<u64> {
        let mut value = 0;
        for at in 0..10 {
            let byte = self.bits(8)?;
            if at == 9 && byte > 1 {
                return None;
            }
            value |= (byte & 0x7F) << (7 * at);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn varint(&mut self) -> Option<i64> {
        let raw = self.uvarint()?;
        Some((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    fn varbit(&mut self) -> Option<i64> {
        let bits = [0, 3, 6, 9, 12, 18, 25, 56, 64][self.ones(8)? as usize];
        let raw = self.bits(bits)?;
        Some(match bits {
            0 => 0,
            64 => raw.cast_signed(),
            _ if raw > 1 << (bits - 1) => raw.wrapping_sub(1 << bits).cast_signed(),
            _ => raw.cast_signed(),
        })
    }

    /// A value whose prefix says: 0 = same, 1 = the last window, 2 = another window, 3 = stale.
    fn value(&mut self, form: u32, last: &mut (u64, u32, u32)) -> Option<u64> {
        if form == 3 {
            return Some(STALE_NAN.to_bits());
        }
        if form == 2 {
            let leading = u32::try_from(self.bits(5)?).unwrap();
            let bits = u32::try_from(self.bits(6)?).unwrap();
            let bits = if bits == 0 { 64 } else { bits };
            (last.1, last.2) = ((64 - leading).checked_sub(bits)?, bits);
        }
        if form > 0 {
            last.0 ^= self.bits(last.2)? << last.1;
        }
        Some(last.0)
    }
}

fn naive_decode(data: &[u8]) -> Option<Vec<Sample>> {
    let mut naive = Naive { data, position: 0 };
    let count = naive.bits(16)?;
    let first_known = naive.bit()? == 1;
    let from = naive.bits(7)?;
    let (mut time, mut delta, mut start, mut distance) = (0_i64, 0_i64, 0_i64, 0_i64);
    let mut last = (0, 0, 64);
    let mut samples = Vec::new();
    for index in 0..count {
        let before = time;
        let bits = match index {
            0 => {
                time = naive.varint()?;
                let bits = naive.bits(64)?;
                if bits != STALE_NAN.to_bits() {
                    last.0 = bits;
                }
                bits
            }
            1 => {
                delta = naive.uvarint()?.cast_signed();
                time = time.wrapping_add(delta);
                let form = naive.ones(3)?;
                naive.value(form, &mut last)?
            }
            _ => {
                let control = naive.ones(5)?;
                let change = match control {
                    2 => naive.signed(13)?,
                    3 => naive.signed(20)?,
                    4 => naive.signed(64)?,
                    _ => 0,
                };
                delta = delta.wrapping_add(change);
                time = time.wrapping_add(delta);
                let form = match control {
                    0 => 0,
                    1 => 1 + naive.ones(1)?,
                    5 => 3,
                    _ => naive.ones(3)?,
                };
                naive.value(form, &mut last)?
            }
        };
        if index == 0 && first_known {
            start = time.wrapping_sub(naive.varint()?);
        } else if index > 0 && from > 0 && index >= from {
            distance = distance.wrapping_add(naive.varbit()?);
            start = before.wrapping_sub(distance);
        }
        samples.push(Sample { start, time, bits });
    }
    Some(samples)
}

/// Times, values and starts that change seldom, little or without bounds.
fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let step = prop_oneof![
        6 => Just(0_i64),
        3 => -4_100_i64..4_100,
        2 => -524_300_i64..=524_300,
        1 => any::<i64>(),
    ];
    let change = prop_oneof![
        8 => Just(0_u64),
        2 => (0_u64..1000).prop_map(|cents| cents << 40),
        1 => any::<u64>(),
        1 => (0_u64..64, any::<u64>()).prop_map(|(shift, bits)| bits << shift),
    ];
    let start = prop_oneof![
        8 => Just(None),
        1 => Just(Some(0_i64)),
        2 => (-300_i64..300).prop_map(Some),
        1 => any::<i64>().prop_map(Some),
    ];
    let is_stale = prop::bool::weighted(0.05);
    let has_starts = any::<bool>();
    let steps = prop::collection::vec((step, change, start, is_stale), 0..200);
    (steps, has_starts).prop_map(|(steps, has_starts)| {
        let (mut time, mut delta, mut bits, mut start) = (1_700_000_000_000, 15_000, 0_u64, 0);
        let mut samples = Vec::new();
        for (dod, change, at, is_stale) in steps {
            delta = i64::wrapping_add(delta, dod);
            start = at
                .filter(|_| has_starts)
                .map_or(start, |at| i64::wrapping_sub(time, at));
            time = i64::wrapping_add(time, delta);
            bits ^= change;
            let bits = if is_stale { STALE_NAN.to_bits() } else { bits };
            samples.push(Sample { start, time, bits });
        }
        samples
    })
}

proptest! {
    #[test]
    fn samples_come_back_and_a_bitwise_reader_agrees(samples in samples()) {
        let chunk = encode(&samples);
        prop_assert_eq!(&decode(&chunk.data).unwrap(), &samples);
        prop_assert_eq!(&naive_decode(&chunk.data).unwrap(), &samples);
    }

    #[test]
    fn an_open_chunk_reads_like_a_finished_one(samples in samples()) {
        let mut encoder = Xor2Encoder::new();
        for (index, sample) in samples.iter().enumerate() {
            encoder.append(at(sample.start), at(sample.time), f64::from_bits(sample.bits));
            prop_assert_eq!(encoder.to_chunk(), encode(&samples[..=index]));
            prop_assert_eq!(encoder.len_bytes(), encoder.to_chunk().data.len());
        }
    }

    #[test]
    fn any_bytes_give_what_the_bitwise_reader_gives(
        count in 0_u16..60,
        body in prop::collection::vec(any::<u8>(), 1..120),
        zeros in 0_usize..40,
    ) {
        let mut data = count.to_be_bytes().to_vec();
        data.extend(&body);
        data.resize(data.len() + zeros, 0);
        match (naive_decode(&data), decode(&data)) {
            (Some(expected), decoded) => prop_assert_eq!(decoded.unwrap(), expected),
            (None, decoded) => prop_assert!(decoded.is_err()),
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
        if let Ok(decoded) = decode(&data) {
            prop_assert_eq!(decoded.len(), sample_count(&data).unwrap());
        }
    }
}

#[test]
fn every_truncation_is_an_error_and_leaves_the_columns_as_they_were() {
    for (_, hex) in recordings() {
        let data = recorded::bytes(&hex);
        for len in 0..data.len() {
            let mut out = Samples::new();
            out.push_float(at(7), 8.0);
            decode_into(&data[..len], &mut out).unwrap_err();
            assert_eq!((out.times(), out.values()), (&[7][..], &[8.0][..]));
            assert_eq!(out.start(0), at(0));
        }
    }
}

#[test]
fn a_declared_count_that_cannot_fit_is_refused_before_memory_is_taken() {
    let mut data = vec![0xFF, 0xFF, 0];
    data.resize(60, 0);
    let error = decode(&data).unwrap_err();
    assert!(error.message().contains("65535"), "{error}");
    assert_eq!(decode(&[0, 0, 0]).unwrap(), []);
    assert_eq!(encode(&[]).data.as_ref(), [0, 0, 0]);
}
