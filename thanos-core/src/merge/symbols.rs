//! The symbols of several blocks, each once and in order, and what each block calls them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::block::Block;
use crate::budget::Lease;
use crate::encoding::varint::put_uvarint;
use crate::error::{Error, Result};
use crate::index::{IndexVersion, SymbolIter, SymbolRef, Symbols};
use crate::spool::{Spool, SpoolPlace, Spooled};

/// A symbol of an index of version 1 while its symbols are sorted: text, reference and place in the heap.
const V1_SYMBOL_BYTES: u64 = 40;

/// The symbols of all blocks, also of series of which nothing may be left, as Prometheus writes them.
#[derive(Debug)]
pub(super) struct Union {
    pub(super) symbols: Symbols,
    /// For each block what its symbols are called in `symbols`.
    pub(super) names: Vec<NewNames>,
    _entries: Spooled,
}

/// What the symbols of a block are called among those of all blocks.
#[derive(Debug)]
pub(super) enum NewNames {
    /// By position: 4 bytes each, little-endian.
    ByPosition(Spooled),
    /// Pairs of both names, sorted by those of the block: in an index of version 1 they are offsets.
    ByOffset {
        names: Vec<(SymbolRef, SymbolRef)>,
        _lease: Lease,
    },
}

impl NewNames {
    /// Returns the new name of `symbol`.
    #[inline]
    pub(super) fn of(&self, symbol: SymbolRef) -> Option<SymbolRef> {
        match self {
            Self::ByPosition(names) => {
                let (names, _) = names.bytes().as_chunks::<4>();
                let name = names.get(symbol.0 as usize)?;
                Some(SymbolRef(u32::from_le_bytes(*name)))
            }
            Self::ByOffset { names, .. } => {
                let found = names.binary_search_by_key(&symbol, |(old, _)| *old).ok()?;
                Some(names[found].1)
            }
        }
    }
}

/// The symbols of a block in order.
enum Sorted<'a> {
    V2(SymbolIter<'a>),
    V1(std::vec::IntoIter<(&'a str, SymbolRef)>),
}

impl<'a> Sorted<'a> {
    fn of(block: &'a Block) -> Result<Self> {
        let symbols = block.index().symbols();
        match block.index().version() {
            IndexVersion::V2 => Ok(Self::V2(symbols.iter())),
            IndexVersion::V1 => {
                let mut all = Vec::new();
                for item in symbols.iter() {
                    let (symbol, text) = item?;
                    all.push((text, symbol));
                }
                all.sort_unstable();
                Ok(Self::V1(all.into_iter()))
            }
        }
    }

    fn next(&mut self) -> Result<Option<(&'a str, SymbolRef)>> {
        match self {
            Self::V2(symbols) => {
                let item = symbols.next().transpose()?;
                Ok(item.map(|(symbol, text)| (text, symbol)))
            }
            Self::V1(symbols) => Ok(symbols.next()),
        }
    }
}

/// The new names of a block's symbols in the making.
enum Naming {
    ByPosition(Spool),
    ByOffset(Vec<(SymbolRef, SymbolRef)>, Lease),
}

impl Naming {
    fn new(block: &Block, place: SpoolPlace, number: usize) -> Result<Self> {
        match block.index().version() {
            IndexVersion::V2 => {
                let names = Spool::new(place, format!("names-{number}.spool"))?;
                Ok(Self::ByPosition(names))
            }
            IndexVersion::V1 => {
                let count = block.index().symbols().len() as u64;
                let lease = place.budget.lease(count * V1_SYMBOL_BYTES)?;
                Ok(Self::ByOffset(Vec::new(), lease))
            }
        }
    }

    fn push(&mut self, old: SymbolRef, new: SymbolRef) -> Result<()> {
        match self {
            Self::ByPosition(names) => names.append(&new.0.to_le_bytes()),
            Self::ByOffset(names, _) => {
                names.push((old, new));
                Ok(())
            }
        }
    }

    fn finish(self) -> Result<NewNames> {
        match self {
            Self::ByPosition(names) => Ok(NewNames::ByPosition(names.finish()?)),
            Self::ByOffset(mut names, lease) => {
                names.sort_unstable();
                Ok(NewNames::ByOffset {
                    names,
                    _lease: lease,
                })
            }
        }
    }
}

/// Merges the sorted symbol tables of `blocks`, which are read once.
///
/// # Errors
///
/// `Corrupt` when a table is damaged, `LimitExceeded` when the symbols do not fit an index or memory its budget, and what
/// the file system reports.
pub(super) fn unite(blocks: &[Block], place: &SpoolPlace) -> Result<Union> {
    let (mut sorted, mut naming) = (Vec::new(), Vec::new());
    let mut waiting = BinaryHeap::new();
    for (number, block) in blocks.iter().enumerate() {
        let own = place.shared_by(blocks.len());
        naming.push(Naming::new(block, own, number)?);
        let mut symbols = Sorted::of(block)?;
        waiting.extend(
            symbols
                .next()?
                .map(|(text, old)| Reverse((text, number, old))),
        );
        sorted.push(symbols);
    }
    let mut table = Table::new(place)?;
    while let Some(Reverse((text, number, old))) = waiting.pop() {
        naming[number].push(old, table.name(text)?)?;
        let next = sorted[number].next()?;
        waiting.extend(next.map(|(text, old)| Reverse((text, number, old))));
    }
    let names = naming.into_iter().map(Naming::finish);
    let names = names.collect::<Result<Vec<_>>>()?;
    let (symbols, entries) = table.finish()?;
    Ok(Union {
        symbols,
        names,
        _entries: entries,
    })
}

/// The table of all symbols in the making.
struct Table {
    entries: Spool,
    len: u64,
    count: u32,
    last: String,
    entry: Vec<u8>,
}

impl Table {
    fn new(place: &SpoolPlace) -> Result<Self> {
        Ok(Self {
            entries: Spool::new(place.clone(), "table.spool")?,
            len: 0,
            count: 0,
            last: String::new(),
            entry: Vec::new(),
        })
    }

    /// Returns the name of `text`, which is no less than the one before.
    fn name(&mut self, text: &str) -> Result<SymbolRef> {
        if self.count > 0 && self.last == text {
            return Ok(SymbolRef(self.count - 1));
        }
        self.entry.clear();
        put_uvarint(&mut self.entry, text.len() as u64);
        self.entry.extend_from_slice(text.as_bytes());
        self.len += self.entry.len() as u64;
        if self.len > u64::from(u32::MAX) {
            return Err(Error::limit_exceeded("symbols take more than 4 GiB"));
        }
        self.entries.append(&self.entry)?;
        self.last.clear();
        self.last.push_str(text);
        self.count += 1;
        Ok(SymbolRef(self.count - 1))
    }

    fn finish(self) -> Result<(Symbols, Spooled)> {
        let entries = self.entries.finish()?;
        let symbols = Symbols::of_entries(entries.bytes().clone(), self.count)?;
        Ok((symbols, entries))
    }
}
