//! The blocks that a job works with: downloaded and checked.

use std::path::Path;

use futures::{StreamExt, TryStreamExt, stream};
use thanos_core::block::{Block, BlockId, DeletionMark, META_FILE, Marker};
use thanos_core::chunk::{self, ChunkPayload, SeriesChunk};
use thanos_core::query::Select;
use thanos_core::{Error, ErrorKind, Result};

use super::streamed::Chunks;
use super::{JobRunner, OutOfOrderLabels, work_dir};
use crate::transfer::{BlockWithoutChunks, download_block};

/// The longest deletion mark that is read.
const MARK_BYTES_MAX: u64 = 1 << 20;
/// What deletion marks say when another block has the data.
const REPLACED: [&str; 4] = [
    "block rewritten",
    "source of compacted block",
    "outdated block",
    "source of repaired block",
];

/// What keeps a job from being done.
#[derive(Debug)]
pub(super) enum Trouble {
    /// What came is damaged.
    Damaged(BlockId, Error),
    /// The block is whole and cannot be worked with.
    Unfit(BlockId, Error),
    /// The block has chunks out of order.
    OutOfOrderChunks(BlockId, Error),
    /// The block has chunks of the next one, and can be repaired.
    Issue347(BlockId, Error),
    /// The block is not there any more.
    Gone(BlockId),
    /// It is no fault of a block.
    Other(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl Trouble {
    /// Returns what it says.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Damaged(_, error)
            | Self::Unfit(_, error)
            | Self::OutOfOrderChunks(_, error)
            | Self::Issue347(_, error)
            | Self::Other(error) => error,
            Self::Gone(id) => Error::not_found(format!("block {id} is not there any more")),
        }
    }
}

/// Tells a damaged block from trouble on the way.
pub(super) fn trouble_of(id: BlockId, error: Error) -> Trouble {
    match error.kind() {
        ErrorKind::Corrupt | ErrorKind::Invalid | ErrorKind::NotFound => {
            Trouble::Damaged(id, error)
        }
        _ => Trouble::Other(error.context(format_args!("block {id}"))),
    }
}

/// Tells why a block did not come.
pub(super) fn trouble_of_download(id: BlockId, error: Error) -> Trouble {
    let is_gone = error.kind() == ErrorKind::NotFound
        && error.file().is_some_and(|file| file.ends_with(META_FILE));
    match error.kind() {
        _ if is_gone => Trouble::Gone(id),
        ErrorKind::Corrupt => Trouble::Damaged(id, error),
        _ => Trouble::Other(error.context(format_args!("download block {id}"))),
    }
}

/// What came of a block.
enum Fetched {
    Block(Block),
    Index(Box<BlockWithoutChunks>),
}

impl JobRunner {
    /// Returns a source that another block has replaced already, or that has gone: then the job is out of date.
    pub(super) async fn replaced_source(&self, ids: &[BlockId]) -> Result<Option<BlockId>> {
        let reader = &self.bucket.clone().expecting_missing().past_caches();
        let look = |id: BlockId| async move {
            let object = format!("{id}/{}", DeletionMark::FILE);
            let text = match reader.read(&object, MARK_BYTES_MAX).await {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                text => text?,
            };
            let mark = DeletionMark::parse(&text).ok();
            let is_replaced = mark.is_some_and(|mark| REPLACED.contains(&&mark.details[..]));
            Ok::<_, Error>(is_replaced.then_some(id))
        };
        let found: Vec<Option<BlockId>> = stream::iter(ids.to_vec())
            .map(look)
            .buffer_unordered(8)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().next())
    }

    /// Reports whether all the blocks of `ids` are visible.
    pub(super) async fn are_visible(&self, ids: impl Iterator<Item = BlockId>) -> Result<bool> {
        for id in ids {
            if !self.bucket.exists(&format!("{id}/{META_FILE}")).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Downloads the blocks into `dir`, as much of them as `chunks` says, and checks them.
    pub(super) async fn fetch_all(
        &self,
        ids: &[BlockId],
        dir: &Path,
        chunks: &mut Chunks,
    ) -> std::result::Result<Vec<Block>, Trouble> {
        let (concurrency, is_streamed) = (
            self.options.blocks_fetch_concurrency.max(1),
            matches!(chunks, Chunks::Streamed(_)),
        );
        let fetched: Vec<Fetched> = stream::iter(ids.to_vec())
            .map(|id| async move {
                match is_streamed {
                    true => {
                        let index = self.download_index_of(id, dir).await?;
                        Ok(Fetched::Index(Box::new(index)))
                    }
                    false => self.download(id, dir).await.map(Fetched::Block),
                }
            })
            .buffered(concurrency)
            .try_collect()
            .await?;
        let mut blocks = Vec::with_capacity(fetched.len());
        for fetched in fetched {
            let block = match fetched {
                Fetched::Block(block) => block,
                Fetched::Index(index) => self.open_streamed(*index, dir, chunks).await?,
            };
            blocks.push(block);
        }
        stream::iter(blocks)
            .map(|block| self.checked(block))
            .buffered(concurrency)
            .try_collect()
            .await
    }

    /// Downloads block `id` into `dir` and opens it.
    pub(super) async fn download(
        &self,
        id: BlockId,
        dir: &Path,
    ) -> std::result::Result<Block, Trouble> {
        let block_dir = dir.join(id.to_string());
        let options = self.options.download();
        let downloaded = download_block(&self.bucket, id, &block_dir, &options).await;
        downloaded.map_err(|error| trouble_of_download(id, error))?;
        let opened = self
            .options
            .compute
            .run(move || Block::open(&block_dir))
            .await?;
        opened.map_err(|error| trouble_of(id, error))
    }

    /// Returns `block` when it can be worked with.
    async fn checked(&self, block: Block) -> std::result::Result<Block, Trouble> {
        let id = block.id();
        let accepts_labels = self.options.out_of_order_labels == OutOfOrderLabels::Accept;
        let checked = move || check(id, block, accepts_labels);
        self.options.compute.run(checked).await?
    }

    /// Removes what came of block `id`.
    pub(super) async fn forget_download(&self, id: BlockId, dir: &Path) -> Result<()> {
        let path = dir.join(id.to_string());
        self.options
            .compute
            .run(move || work_dir::remove(&path))
            .await?
    }

    /// Returns which of `blocks` the error of a kernel is about.
    pub(super) async fn blame(
        &self,
        error: Error,
        blocks: Vec<Block>,
        chunks: &mut Chunks,
    ) -> Trouble {
        if error.kind() != ErrorKind::Corrupt {
            return Trouble::Other(error);
        }
        let named = |block: &&Block| {
            let id = block.id().to_string();
            error.file().is_some_and(|file| file.contains(&id))
        };
        if let [block] = &blocks[..] {
            return Trouble::Damaged(block.id(), error);
        }
        if let Some(block) = blocks.iter().find(named) {
            return Trouble::Damaged(block.id(), error);
        }
        let find = move || {
            blocks
                .iter()
                .find_map(|block| Some((block.id(), read_all(block).err()?)))
        };
        match self.run(chunks, find).await {
            Ok(Some((id, error))) => trouble_of(id, error),
            Ok(None) => Trouble::Other(error),
            Err(error) => Trouble::Other(error),
        }
    }
}

/// C-07: checks what the index promises.
fn check(id: BlockId, block: Block, accepts_labels: bool) -> std::result::Result<Block, Trouble> {
    use thanos_core::block::HealthStats;

    let health = HealthStats::of_block(&block).map_err(|error| trouble_of(id, error))?;
    let unfit = |error: Error| {
        let level = block.meta().compaction.level;
        let labels = block.meta().external_labels();
        error.context(format_args!(
            "block with not healthy index found {id}; Compaction level {level}; Labels: {labels}"
        ))
    };
    if let Err(error) = health.check_critical() {
        return Err(Trouble::Unfit(id, unfit(error)));
    }
    if let Err(error) = health.check_chunk_order() {
        let error = error.context(format_args!(
            "blocks with out-of-order chunks are dropped from compaction: {id}"
        ));
        return Err(Trouble::OutOfOrderChunks(id, error));
    }
    if let Err(error) = health.check_issue_347() {
        let error = error.context(format_args!("invalid, but reparable block {id}"));
        return Err(Trouble::Issue347(id, error));
    }
    if let Err(error) = health.check_label_order()
        && !accepts_labels
    {
        let error = error.context(format_args!(
            "block id {id}, try running with --debug.accept-malformed-index"
        ));
        return Err(Trouble::Other(error));
    }
    Ok(block)
}

/// Reads every chunk.
fn read_all(block: &Block) -> Result<()> {
    for batch in block.select(&Select::default())? {
        let batch = batch?;
        for series in batch.iter() {
            for chunk in series.chunks {
                read_chunk(chunk)?;
            }
        }
    }
    Ok(())
}

fn read_chunk(chunk: &SeriesChunk) -> Result<()> {
    match &chunk.payload {
        ChunkPayload::Raw(chunk) => chunk::samples(chunk).map(drop),
        ChunkPayload::Aggregates(aggregates) => {
            let mut all = aggregates.iter().flatten();
            all.try_for_each(|chunk| chunk::samples(chunk).map(drop))
        }
    }
}
