//! PromQL over a directory of blocks, without an async runtime.
//!
//! ```sh
//! cargo run --release --example query_blocks -- thanos-core/testdata/block-1k-2h 'count({__name__=~".+"})' 2026-11-01T01:30:00Z
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use std::path::Path;
use std::sync::Arc;

use futures::executor::block_on;
use thanos_core::block::Blocks;
use thanos_core::query::Queryable;
use thanos_core::time::UtcTime;
use thanos_promql::Engine;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, directory, query, time] = &arguments[..] else {
        return Err("usage: query_blocks DIRECTORY QUERY RFC3339-TIME".into());
    };
    let blocks: Arc<dyn Queryable> = Arc::new(Blocks::open_dir(Path::new(directory))?);
    let time = UtcTime::parse_rfc3339(time)?.timestamp();
    let result = block_on(Engine::default().instant(&blocks, query, time))?;
    println!("{:#?}", result.value);
    Ok(())
}
