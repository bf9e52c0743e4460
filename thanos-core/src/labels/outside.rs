//! Keys at the border of the process: built from bytes that nobody has checked, and read back as bytes.
//!
//! Wire and file formats hold names and values as length-prefixed bytes. [`KeyReader`] takes them in one pass
//! (one UTF-8 check for the whole key instead of one for each string) and [`LabelBytes`] hands them out without
//! checking again what the key guarantees.

use std::borrow::Cow;
use std::ops::Range;

use super::LabelsRef;
use super::key::{append_escaped, check, split_part, unescape};
use crate::error::{Error, Result};

/// Builds one key after another from labels that come from outside.
///
/// # Example
///
/// ```
/// use thanos_core::labels::KeyReader;
///
/// let mut reader = KeyReader::default();
/// reader.push(b"__name__", b"up")?;
/// reader.push(b"job", b"api")?;
/// assert_eq!(reader.finish()?.to_string(), r#"{__name__="up", job="api"}"#);
/// # Ok::<(), thanos_core::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct KeyReader {
    key: Vec<u8>,
    /// Where the last name lies in `key`.
    last_name: Range<usize>,
    escapes: bool,
}

impl KeyReader {
    /// Forgets the labels and keeps the memory.
    pub fn clear(&mut self) {
        self.key.clear();
        self.last_name = 0..0;
        self.escapes = false;
    }

    /// Appends a label. One with an empty value is left out, as in Prometheus.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the name is empty or does not come after the last one.
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<()> {
        if name.is_empty() {
            return Err(Error::corrupt("label with an empty name"));
        }
        let start = self.key.len();
        append_escaped(&mut self.key, name);
        let name_range = start..self.key.len() - 1;
        // Escaping keeps the order, so the escaped names can be compared.
        if self.key[self.last_name.clone()] >= self.key[name_range.clone()] {
            return Err(Error::corrupt(format!(
                "label {:?} is not in order or comes twice",
                String::from_utf8_lossy(name)
            )));
        }
        if value.is_empty() {
            self.key.truncate(start);
            return Ok(());
        }
        append_escaped(&mut self.key, value);
        self.escapes |= self.key.len() - start != name.len() + value.len() + 2;
        self.last_name = name_range;
        Ok(())
    }

    /// Returns the label set.
    ///
    /// # Errors
    ///
    /// `Corrupt` when a name or a value is not UTF-8.
    pub fn finish(&self) -> Result<LabelsRef<'_>> {
        // A string that ends inside a character is found too: the NUL after it does not continue the character.
        if self.escapes {
            check(&self.key)?;
        } else if std::str::from_utf8(&self.key).is_err() {
            let shown = String::from_utf8_lossy(&self.key).replace('\0', " ");
            return Err(Error::corrupt(format!("labels are not UTF-8: {shown:?}")));
        }
        Ok(LabelsRef::from_trusted_key(&self.key))
    }
}

/// The labels of a key as bytes, in name order.
#[derive(Debug, Clone)]
pub struct LabelBytes<'a> {
    rest: &'a [u8],
}

impl<'a> LabelBytes<'a> {
    pub(super) const fn new(key: &'a [u8]) -> Self {
        Self { rest: key }
    }
}

impl<'a> Iterator for LabelBytes<'a> {
    type Item = (Cow<'a, [u8]>, Cow<'a, [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, after_name, name_escapes) = split_part(self.rest)?;
        let (value, rest, value_escapes) = split_part(after_name)?;
        self.rest = rest;
        Some((unescape(name, name_escapes), unescape(value, value_escapes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;
    use proptest::prelude::*;

    type Raw<'a> = &'a [(&'a [u8], &'a [u8])];

    fn read(labels: Raw<'_>) -> Result<Labels> {
        let mut reader = KeyReader::default();
        for (name, value) in labels {
            reader.push(name, value)?;
        }
        reader.finish().map(LabelsRef::to_labels)
    }

    #[test]
    fn bad_labels_are_corrupt() {
        let cases: [(Raw<'_>, &str); 6] = [
            (&[(b"", b"x")], "empty name"),
            (&[(b"b", b"x"), (b"a", b"x")], "\"a\" is not in order"),
            (&[(b"a", b"x"), (b"a", b"y")], "\"a\" is not in order"),
            (&[(b"a", b"\xC3"), (b"b", b"x")], "not UTF-8"),
            (&[(b"a\xFF", b"x")], "not UTF-8"),
            (&[(b"a", b"\0\xC3")], "not UTF-8"),
        ];
        for (labels, expected) in cases {
            let error = read(labels).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.kind(), crate::ErrorKind::Corrupt);
        }
    }

    #[test]
    fn a_character_is_not_joined_across_strings() {
        assert!(read(&[(b"a\xC3", b"\xA9")]).is_err());
    }

    #[test]
    fn a_label_with_an_empty_value_is_left_out() {
        let labels = read(&[(b"a", b"x"), (b"b", b""), (b"c", b"y")]).unwrap();
        assert_eq!(labels, Labels::from_pairs([("a", "x"), ("c", "y")]));
    }

    #[test]
    fn a_cleared_reader_starts_anew() {
        let mut reader = KeyReader::default();
        reader.push(b"z", b"\0").unwrap();
        reader.clear();
        reader.push(b"a", b"x").unwrap();
        let expected = Labels::from_pairs([("a", "x")]);
        assert_eq!(reader.finish().unwrap(), expected.as_ref());
    }

    proptest! {
        #[test]
        fn keys_equal_those_of_the_builder_and_read_back(
            pairs in prop::collection::btree_map("[a-c\0\u{e9}\u{10348}]{1,4}", "[a-c\0\u{e9}]{1,4}", 0..6)
        ) {
            let bytes: Vec<(&[u8], &[u8])> =
                pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
            let labels = read(&bytes).unwrap();
            prop_assert_eq!(&labels, &Labels::from_pairs(pairs.iter()));
            let back: Vec<_> = labels.as_ref().iter_bytes().collect();
            let back: Vec<(&[u8], &[u8])> = back.iter().map(|(name, value)| (&**name, &**value)).collect();
            prop_assert_eq!(back, bytes);
        }
    }
}
