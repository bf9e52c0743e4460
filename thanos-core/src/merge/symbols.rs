//! The symbols of several blocks, each once and in order.

use std::collections::BTreeSet;

use crate::block::Block;
use crate::error::Result;

/// Returns all symbols of `blocks`, also of series of which nothing may be left.
pub(super) fn merged_symbols(blocks: &[Block]) -> Result<BTreeSet<&str>> {
    let mut symbols = BTreeSet::new();
    for block in blocks {
        for symbol in block.index().symbols().iter() {
            symbols.insert(symbol?.1);
        }
    }
    Ok(symbols)
}
