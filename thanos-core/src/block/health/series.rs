//! What is wrong with one series: the order of its labels and of its chunks.

use crate::error::Result;
use crate::index::{ChunkMeta, LabelDecoder, SymbolRef, Symbols};
use crate::labels::{LabelsRef, append_key_label};
use crate::time::Timestamp;

/// The labels of a series and of the one before, in the order in which the index has them.
#[derive(Debug, Default)]
pub(super) struct LabelsInOrder {
    decoder: LabelDecoder,
    current: Vec<u8>,
    previous: Vec<u8>,
}

impl LabelsInOrder {
    /// Reads the labels of the next series, and returns how many names do not come after the one before them.
    ///
    /// Keys compare pair by pair, as label sets in Prometheus do, and so even where names are out of order.
    pub(super) fn read(
        &mut self,
        symbols: &Symbols,
        labels: &[(SymbolRef, SymbolRef)],
    ) -> Result<u64> {
        std::mem::swap(&mut self.current, &mut self.previous);
        self.current.clear();
        let decoded = self.decoder.append_key(symbols, labels, &mut self.current);
        match decoded {
            Ok(()) => Ok(0),
            // It is the order, or something that the second try meets as well.
            Err(_) => self.read_unordered(symbols, labels),
        }
    }

    fn read_unordered(
        &mut self,
        symbols: &Symbols,
        labels: &[(SymbolRef, SymbolRef)],
    ) -> Result<u64> {
        self.current.clear();
        let mut disorder = 0;
        let mut previous: Option<&str> = None;
        for (name, value) in labels {
            let (name, value) = (symbols.lookup(*name)?, symbols.lookup(*value)?);
            disorder += u64::from(previous.is_some_and(|previous| name <= previous));
            append_key_label(&mut self.current, name, value);
            previous = Some(name);
        }
        Ok(disorder)
    }

    pub(super) fn current(&self) -> LabelsRef<'_> {
        LabelsRef::from_trusted_key(&self.current)
    }

    /// Returns the labels of the series before, unless this is the first.
    pub(super) fn previous(&self) -> Option<LabelsRef<'_>> {
        (!self.previous.is_empty()).then(|| LabelsRef::from_trusted_key(&self.previous))
    }
}

/// How many chunks of a series have which fault.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ChunkFaults {
    pub(super) out_of_order: u64,
    pub(super) duplicated: u64,
    pub(super) outside: u64,
    pub(super) complete_outside: u64,
    pub(super) issue_347: u64,
}

impl ChunkFaults {
    /// Counts the faults of `chunks` in a block from `min` to before `max`.
    pub(super) fn of(chunks: &[ChunkMeta], min: Timestamp, max: Timestamp) -> Self {
        let mut faults = Self::default();
        for chunk in chunks {
            faults.add_place(chunk, min, max);
        }
        for pair in chunks.windows(2) {
            faults.add_order(&pair[0], &pair[1]);
        }
        faults
    }

    fn add_place(&mut self, chunk: &ChunkMeta, min: Timestamp, max: Timestamp) {
        if chunk.min_time >= min && chunk.max_time <= max {
            return;
        }
        self.outside += 1;
        if chunk.min_time > max || chunk.max_time < min {
            self.complete_outside += 1;
        } else if chunk.min_time == max {
            self.issue_347 += 1;
        }
    }

    fn add_order(&mut self, before: &ChunkMeta, chunk: &ChunkMeta) {
        if chunk.min_time > before.max_time {
            return;
        }
        if chunk.time_range() == before.time_range() {
            self.duplicated += 1;
        } else {
            self.out_of_order += 1;
        }
    }
}
