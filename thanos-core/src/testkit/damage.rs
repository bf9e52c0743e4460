//! Damaged copies of a file, for tests that show that damage is seen.

use crate::error::{ErrorKind, Result};

/// The bits that are flipped: the lowest, one in the middle, the highest, and all.
const MASKS: [u8; 4] = [0x01, 0x10, 0x80, 0xFF];

/// Reads damaged copies of `file` with `read` and checks that each reading fails as `Corrupt` with file and
/// offset, or yields what the undamaged file yields.
///
/// Every `step`th byte is changed, and the file is cut before every `step`th byte; a prime `step` meets all parts
/// of a repeating layout. Returns how many copies were refused and how many read the same.
///
/// # Panics
///
/// When damage goes unseen, or is reported without file, offset or the kind `Corrupt`.
pub fn assert_damage_is_seen<T: PartialEq>(
    file: &[u8],
    step: usize,
    read: impl Fn(Vec<u8>) -> Result<T>,
) -> (usize, usize) {
    let Ok(expected) = read(file.to_vec()) else {
        panic!("the undamaged file can not be read");
    };
    let (mut refused, mut same) = (0, 0);
    let mut judge = |what: String, copy: Vec<u8>| match read(copy) {
        Ok(found) => {
            assert!(found == expected, "{what} goes unseen and changes the data");
            same += 1;
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
            let placed = error.file().is_some() && error.offset().is_some();
            assert!(placed, "{what} is reported without place: {error:?}");
            refused += 1;
        }
    };
    for at in (0..file.len()).step_by(step) {
        for mask in MASKS {
            let mut copy = file.to_vec();
            copy[at] ^= mask;
            judge(format!("byte {at} xor {mask:02x}"), copy);
        }
        judge(format!("cut at byte {at}"), file[..at].to_vec());
    }
    (refused, same)
}
