//! Validity bits of a row: which steps have a value.

/// Returns the number of words that hold `len` bits.
pub(crate) const fn words(len: usize) -> usize {
    len.div_ceil(64)
}

/// Sets bit `index`.
pub(crate) fn set(bits: &mut [u64], index: usize) {
    bits[index / 64] |= 1 << (index % 64);
}

/// Clears bit `index`.
pub(crate) fn clear(bits: &mut [u64], index: usize) {
    bits[index / 64] &= !(1 << (index % 64));
}

/// Reports whether bit `index` is set.
pub(crate) fn get(bits: &[u64], index: usize) -> bool {
    bits[index / 64] >> (index % 64) & 1 == 1
}

/// Sets the first `len` bits.
pub(crate) fn set_all(bits: &mut [u64], len: usize) {
    for (i, word) in bits.iter_mut().enumerate() {
        let left = len.saturating_sub(i * 64);
        *word = if left >= 64 {
            u64::MAX
        } else {
            (1 << left) - 1
        };
    }
}

/// Reports whether no bit is set.
pub(crate) fn is_empty(bits: &[u64]) -> bool {
    bits.iter().all(|word| *word == 0)
}

/// Returns the number of bits set.
pub(crate) fn count(bits: &[u64]) -> usize {
    bits.iter().map(|word| word.count_ones() as usize).sum()
}

/// Returns one past the index of the last bit that is set.
pub(crate) fn end(bits: &[u64]) -> usize {
    let last = bits.iter().rposition(|word| *word != 0);
    last.map_or(0, |at| (at + 1) * 64 - bits[at].leading_zeros() as usize)
}

/// Returns the index of the first bit that both have.
pub(crate) fn first_common(a: &[u64], b: &[u64]) -> Option<usize> {
    let words = a.iter().zip(b).map(|(a, b)| a & b);
    let (index, word) = words.enumerate().find(|(_, word)| *word != 0)?;
    Some(index * 64 + word.trailing_zeros() as usize)
}

/// Sets the bits that are set in `other`.
pub(crate) fn or(bits: &mut [u64], other: &[u64]) {
    for (word, other) in bits.iter_mut().zip(other) {
        *word |= other;
    }
}

/// Keeps the bits that are set in `other`.
pub(crate) fn and(bits: &mut [u64], other: &[u64]) {
    for (word, other) in bits.iter_mut().zip(other) {
        *word &= other;
    }
}

/// Clears the bits that are set in `other`.
pub(crate) fn and_not(bits: &mut [u64], other: &[u64]) {
    for (word, other) in bits.iter_mut().zip(other) {
        *word &= !other;
    }
}

/// Returns the indices of the bits set, ascending.
pub(crate) fn ones(bits: &[u64]) -> impl Iterator<Item = usize> {
    bits.iter()
        .enumerate()
        .flat_map(|(i, word)| Ones(*word).map(move |bit| i * 64 + bit))
}

struct Ones(u64);

impl Iterator for Ones {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_returns_what_was_set() {
        let mut bits = vec![0; words(130)];
        for index in [0, 63, 64, 129] {
            set(&mut bits, index);
        }
        assert_eq!(ones(&bits).collect::<Vec<_>>(), [0, 63, 64, 129]);
        assert_eq!(count(&bits), 4);
        clear(&mut bits, 64);
        assert!(get(&bits, 63) && !get(&bits, 64));
        assert_eq!(first_common(&bits, &[1 << 5, 3 | 2, u64::MAX]), Some(129));
        assert_eq!((end(&bits), end(&bits[..2]), end(&[0])), (130, 64, 0));
    }

    #[test]
    fn set_all_stops_at_the_length() {
        for len in [0, 1, 63, 64, 65, 128, 130] {
            let mut bits = vec![0; words(len)];
            set_all(&mut bits, len);
            assert_eq!(
                ones(&bits).collect::<Vec<_>>(),
                (0..len).collect::<Vec<_>>()
            );
        }
    }
}
