//! Label keys.

use std::cmp::Ordering;

use bytes::Bytes;

use crate::labels::{KeyReader, LabelHasher, Labels, LabelsRef, append_key_label};

/// Reads `data` as a label key, and as labels to make two keys of.
///
/// # Panics
///
/// When a key that is accepted does not read back, or two keys compare otherwise than their labels do.
pub fn label_key(data: &[u8]) {
    let unchecked = LabelsRef::from_trusted_key(data);
    let _ = (unchecked.to_string(), unchecked.iter_bytes().count());
    let mut hasher = LabelHasher::new();
    let _ = (hasher.sized(unchecked), hasher.separated(unchecked));
    if let Ok(labels) = Labels::from_key(Bytes::copy_from_slice(data)) {
        let mut again = Vec::new();
        for (name, value) in labels.iter() {
            append_key_label(&mut again, &name, &value);
        }
        assert_eq!(again, data, "an accepted key reads back");
    }
    let (first, second) = data.split_at(data.len() / 2);
    if let (Some(first), Some(second)) = (read_pairs(first), read_pairs(second)) {
        let order = first.cmp(&second);
        assert_eq!(
            order,
            compare_pairwise(&first, &second),
            "{first} and {second}"
        );
    }
}

/// Takes `data` for labels, each a name and a value behind a byte with both lengths.
fn read_pairs(mut data: &[u8]) -> Option<Labels> {
    let mut reader = KeyReader::default();
    while let Some((lens, rest)) = data.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(lens >> 4))?;
        let (value, rest) = rest.split_at_checked(usize::from(lens & 15))?;
        reader.push(name, value).ok()?;
        data = rest;
    }
    reader.finish().ok().map(LabelsRef::to_labels)
}

/// Compares as Prometheus does: pair by pair, name before value, a prefix first.
fn compare_pairwise(a: &Labels, b: &Labels) -> Ordering {
    a.as_ref().iter_bytes().cmp(b.as_ref().iter_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn random_keys_do_no_harm(data in prop::collection::vec(any::<u8>(), 0..80)) {
            label_key(&data);
        }

        #[test]
        fn keys_of_few_bytes_do_no_harm(
            data in prop::collection::vec(prop::sample::select(&b"\0\xff\x11\x12ab\xc3\xa9"[..]), 0..24)
        ) {
            label_key(&data);
        }
    }
}
