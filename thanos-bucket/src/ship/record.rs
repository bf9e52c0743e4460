//! The file that says what was uploaded.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use thanos_core::block::{BlockId, write_file_atomic};
use thanos_core::{Error, Result};

use super::in_directory;

/// The file in a database directory that says what was uploaded, unless another name is wanted.
pub const SHIPPER_FILE: &str = "thanos.shipper.json";
/// The only version there is.
const VERSION: u32 = 1;
/// Half a million blocks; more than any disk has.
const BYTES_MAX: u64 = 16 << 20;

/// What a shipper has uploaded: the content of `thanos.shipper.json` (row SC-20 of the specification).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShipperRecord {
    version: u32,
    /// The blocks, oldest data first.
    #[serde(
        serialize_with = "null_if_empty",
        deserialize_with = "null_as_empty",
        default
    )]
    pub uploaded: Vec<BlockId>,
}

impl Default for ShipperRecord {
    fn default() -> Self {
        Self {
            version: VERSION,
            uploaded: Vec::new(),
        }
    }
}

impl ShipperRecord {
    /// Reads the file at `path`; one that does not exist has nothing.
    ///
    /// # Errors
    ///
    /// `Corrupt` for a file that is no record, or one of another version; otherwise what the file system reports.
    pub fn read(path: &Path) -> Result<Self> {
        let in_file = |error: Error| in_directory(error, path);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(in_file(Error::from(error))),
        };
        let mut text = Vec::new();
        let read = file.take(BYTES_MAX + 1).read_to_end(&mut text);
        read.map_err(|error| in_file(Error::from(error)))?;
        Self::parse(&text).map_err(in_file)
    }

    /// Reads the content of such a file.
    ///
    /// # Errors
    ///
    /// `Corrupt` for what is no record, is too long, or has another version.
    pub fn parse(text: &[u8]) -> Result<Self> {
        if u64::try_from(text.len()).unwrap_or(u64::MAX) > BYTES_MAX {
            let message = format!("longer than {BYTES_MAX} bytes");
            return Err(Error::corrupt(message));
        }
        let record: Self = serde_json::from_slice(text)
            .map_err(|error| Error::corrupt(format!("no record of uploads: {error}")))?;
        if record.version != VERSION {
            let message = format!("unexpected meta file version {}", record.version);
            return Err(Error::corrupt(message));
        }
        Ok(record)
    }

    /// Writes the file at `path`: readers see the old one or the new one, whole.
    ///
    /// # Errors
    ///
    /// What the file system reports.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_file_atomic(path, &self.to_json())
    }

    /// Returns the content of the file, as Go writes it.
    pub fn to_json(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
        self.serialize(&mut serializer)
            .expect("a list of names is valid JSON");
        text.push(b'\n');
        text
    }
}

/// COMPAT: Go writes a list that nothing was added to as `null`.
fn null_if_empty<S: serde::Serializer>(
    list: &Vec<BlockId>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    match list.is_empty() {
        true => serializer.serialize_none(),
        false => list.serialize(serializer),
    }
}

fn null_as_empty<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Vec<BlockId>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
