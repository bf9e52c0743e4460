//! Keys at the border of the process: built from bytes that nobody has checked, and read back as bytes.
//!
//! Wire and file formats hold names and values as length-prefixed bytes. [`KeyReader`] takes them in one pass
//! (one UTF-8 check for the whole key instead of one for each string) and [`LabelBytes`] hands them out without
//! checking again what the key guarantees.

use std::borrow::Cow;

use super::LabelsRef;
use super::key::{append_escaped, check, unescape};
use crate::error::{Error, Result};

const NUL: u8 = 0x00;
const ESCAPED: u8 = 0xFF;

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
    /// The key, but for NULs in names and values: [`KeyReader::finish`] escapes them if there are any.
    key: Vec<u8>,
    /// Where names and values end in `key`, in turn.
    ends: Vec<usize>,
    finished: bool,
}

impl KeyReader {
    /// Forgets the labels and keeps the memory.
    pub fn clear(&mut self) {
        self.key.clear();
        self.ends.clear();
        self.finished = false;
    }

    /// Appends a label. One with an empty value is left out, as in Prometheus.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the name is empty or does not come after the last one.
    ///
    /// # Panics
    ///
    /// After [`KeyReader::finish`], unless it was cleared.
    #[inline]
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<()> {
        assert!(!self.finished, "a finished key takes no labels");
        if name.is_empty() || name <= self.last_name() {
            return Err(bad_name(name));
        }
        if value.is_empty() {
            return Ok(());
        }
        for text in [name, value] {
            self.key.extend_from_slice(text);
            self.ends.push(self.key.len());
            self.key.push(NUL);
        }
        Ok(())
    }

    fn last_name(&self) -> &[u8] {
        match *self.ends.as_slice() {
            [.., before, end, _] => &self.key[before + 1..end],
            [end, _] => &self.key[..end],
            [] | [_] => &[],
        }
    }

    /// Returns the label set.
    ///
    /// # Errors
    ///
    /// `Corrupt` when a name or a value is not UTF-8.
    pub fn finish(&mut self) -> Result<LabelsRef<'_>> {
        if !self.finished {
            let nuls = memchr::memchr_iter(NUL, &self.key).count();
            if nuls == self.ends.len() {
                // A string that ends inside a character is found too: a NUL never continues one.
                std::str::from_utf8(&self.key).map_err(|_| bad_text(&self.key))?;
            } else {
                self.key = self.escaped();
                check(&self.key)?;
            }
            self.finished = true;
        }
        Ok(self.key())
    }

    /// Returns the label set of the last [`KeyReader::finish`], or the empty one.
    pub fn key(&self) -> LabelsRef<'_> {
        LabelsRef::from_trusted_key(if self.finished { &self.key } else { &[] })
    }

    fn escaped(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.key.len() + 16);
        let mut start = 0;
        for end in &self.ends {
            append_escaped(&mut key, &self.key[start..*end]);
            start = end + 1;
        }
        key
    }
}

#[cold]
fn bad_name(name: &[u8]) -> Error {
    if name.is_empty() {
        return Error::corrupt("label with an empty name");
    }
    let name = String::from_utf8_lossy(name);
    Error::corrupt(format!("label {name:?} is not in order or comes twice"))
}

#[cold]
fn bad_text(key: &[u8]) -> Error {
    let shown = String::from_utf8_lossy(key).replace('\0', " ");
    Error::corrupt(format!("labels are not UTF-8: {shown:?}"))
}

/// The labels of a key as bytes, in name order.
#[derive(Debug, Clone)]
pub struct LabelBytes<'a> {
    key: &'a [u8],
    /// Where the next string starts.
    start: usize,
    nuls: memchr::Memchr<'a>,
}

impl<'a> LabelBytes<'a> {
    pub(super) fn new(key: &'a [u8]) -> Self {
        Self {
            key,
            start: 0,
            nuls: memchr::memchr_iter(NUL, key),
        }
    }

    #[inline]
    fn next_text(&mut self) -> Option<Cow<'a, [u8]>> {
        let mut escapes = false;
        let mut end = self.nuls.next()?;
        while self.key.get(end + 1) == Some(&ESCAPED) {
            escapes = true;
            end = self.nuls.next()?;
        }
        let text = &self.key[self.start..end];
        self.start = end + 1;
        Some(unescape(text, escapes))
    }
}

impl<'a> Iterator for LabelBytes<'a> {
    type Item = (Cow<'a, [u8]>, Cow<'a, [u8]>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        Some((self.next_text()?, self.next_text()?))
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
