//! Data sets as blocks on disk, for stores that read blocks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use thanos_core::block::{BlockId, BlockWriter, BlockWriterOptions, ThanosMeta};
use thanos_core::error::Result;
use thanos_core::time::Timestamp;

use super::Dataset;

/// Writes `data` as a block into the directory `parent` and returns the block's directory.
///
/// The block covers its samples, and meta.json names the external labels in its Thanos section. `number` makes the id:
/// blocks of one directory need different ones.
///
/// # Errors
///
/// What the file system reports; `Invalid` for series that are not sorted.
pub fn write_block(parent: &Path, data: &Dataset, number: u32) -> Result<PathBuf> {
    let id = BlockId::from_parts(Timestamp::from_millis(0), u128::from(number));
    let labels = data.external_labels.iter();
    let labels = labels.map(|(name, value)| (name.into_owned(), value.into_owned()));
    let options = BlockWriterOptions {
        thanos: Some(ThanosMeta {
            version: 1,
            labels: labels.collect(),
            source: "test".into(),
            ..ThanosMeta::default()
        }),
        ..BlockWriterOptions::new(id)
    };
    let mut writer = BlockWriter::create(parent, options, symbols(data))?;
    for series in &data.series {
        writer.add_series(series.labels.as_ref(), &series.to_chunks())?;
    }
    writer.finish()?;
    Ok(parent.join(id.to_string()))
}

fn symbols(data: &Dataset) -> BTreeSet<String> {
    let labels = data.series.iter().flat_map(|series| series.labels.iter());
    labels
        .flat_map(|(name, value)| [name.into_owned(), value.into_owned()])
        .collect()
}
