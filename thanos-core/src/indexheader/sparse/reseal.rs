//! Makes the checksums of a changed sparse header right, because no fuzzer guesses a checksum.

use super::format::TAIL_LEN;
use crate::encoding::crc;
use crate::index::pages::PAGE_LEN;
use crate::indexheader::format::INDEX_TAIL_LEN;

/// Rewrites all checksums of `file`, as far as its tail says where they lie.
pub(crate) fn reseal(file: &mut [u8]) {
    let Some(tail) = file.len().checked_sub(TAIL_LEN) else {
        return;
    };
    let place = |file: &[u8], at: usize| {
        let bytes = file.get(tail + at..).and_then(|rest| rest.first_chunk());
        bytes.and_then(|bytes| usize::try_from(u64::from_le_bytes(*bytes)).ok())
    };
    let (Some(directory), Some(checksums)) = (place(file, 8), place(file, 16)) else {
        return;
    };
    let Some(pages) = file.get(..directory) else {
        return;
    };
    let sums: Vec<u32> = pages.chunks(PAGE_LEN).map(crc::checksum).collect();
    let sums = sums.into_iter().flat_map(u32::to_le_bytes);
    let stored = file.get_mut(checksums..tail).unwrap_or_default();
    stored
        .iter_mut()
        .zip(sums)
        .for_each(|(byte, sum)| *byte = sum);

    let end = file.len() - crc::CRC_LEN;
    let toc = end - INDEX_TAIL_LEN + crc::CRC_LEN..end - crc::CRC_LEN;
    let sum = crc::checksum(&file[toc.clone()]).to_be_bytes();
    file[toc.end..end].copy_from_slice(&sum);
    let sum = crc::checksum(file.get(directory..end).unwrap_or_default());
    file[end..].copy_from_slice(&sum.to_le_bytes());
}
