//! Blocks split by the hash of their series.

use super::*;
use crate::labels::LabelHasher;

fn ids(count: u8) -> Vec<BlockId> {
    let id = |number: u8| options(number).id;
    (1..=count).map(id).collect()
}

fn sources() -> Blocks {
    Blocks::open_dir(&testdata("horizontal-in")).unwrap()
}

fn with_thanos(mut options: BlockWriterOptions) -> BlockWriterOptions {
    options.thanos = Some(ThanosMeta {
        extensions: Some(serde_json::json!({"other": 1})),
        ..ThanosMeta::default()
    });
    options
}

fn file(dir: &Path, id: BlockId, file: &str) -> Vec<u8> {
    std::fs::read(dir.join(id.to_string()).join(file)).unwrap()
}

/// merge(split(x)) = x, and every series is in the part of its hash.
#[test]
fn parts_have_all_series_and_merge_to_the_whole() {
    let (sources, chain) = (sources(), MergeOverlaps::Chain);
    let dir = TempDir::new("merge-parts");
    let whole_dir = TempDir::new("merge-parts-whole");
    let whole = merge_blocks(sources.blocks(), whole_dir.path(), options(9), chain);
    let whole = whole.unwrap().unwrap();
    for count in [1, 2, 5] {
        let dir = dir.path().join(count.to_string());
        std::fs::create_dir(&dir).unwrap();
        let metas = merge_blocks_into_parts(sources.blocks(), &dir, &ids(count), options(9), chain);
        let metas = metas.unwrap();
        let parts = Blocks::open_dir(&dir).unwrap();
        assert_eq!(parts.blocks().len(), usize::from(count));
        let mut hasher = LabelHasher::new();
        for (number, block) in (0..).zip(parts.blocks()) {
            let mut symbols = 0;
            for (labels, _) in series_of(block) {
                assert_eq!(hasher.separated(labels.as_ref()) % u64::from(count), number);
                symbols += 1;
            }
            assert!(symbols > 10, "{symbols}");
            assert!(count == 1 || block.index().symbols().len() < 300);
        }
        let sum = |of: fn(&Meta) -> u64| metas.iter().map(of).sum::<u64>();
        assert_eq!(sum(|meta| meta.stats.num_series), whole.stats.num_series);
        assert_eq!(sum(|meta| meta.stats.num_samples), whole.stats.num_samples);
        let again_dir = dir.join("again");
        merge_blocks(parts.blocks(), &again_dir, options(9), chain).unwrap();
        let name = "chunks/000001";
        assert!(file(&again_dir, whole.ulid, name) == file(whole_dir.path(), whole.ulid, name));
        let [again, whole] = [&again_dir, whole_dir.path()]
            .map(|dir| Block::open(&dir.join(whole.ulid.to_string())).unwrap());
        assert_eq!(series_of(&again), series_of(&whole));
        // Prometheus names the empty text, which no series has.
        assert_eq!(
            again.index().symbols().len() + usize::from(count > 1),
            whole.index().symbols().len()
        );
    }
}

/// C-15: neither Thanos' filter of duplicates nor the deletion of what is replaced takes a part for another one, or
/// hides what was merged before all parts are there.
#[test]
fn the_last_part_alone_replaces_what_was_merged() {
    let sources = sources();
    let dir = TempDir::new("merge-seal");
    let options = with_thanos(options(9));
    let ids = ids(3);
    let chain = MergeOverlaps::Chain;
    let metas = merge_blocks_into_parts(sources.blocks(), dir.path(), &ids, options, chain);
    let metas = metas.unwrap();
    let covers = |by: &Meta, of: &Meta| {
        let sources = &of.compaction.sources;
        sources.iter().all(|id| by.compaction.sources.contains(id))
    };
    for (number, part) in metas.iter().enumerate() {
        assert_eq!(
            Meta::read_dir(&dir.path().join(part.ulid.to_string())).unwrap(),
            *part
        );
        for other in metas.iter().filter(|other| other.ulid != part.ulid) {
            assert!(!covers(other, part));
        }
        for source in sources.blocks() {
            assert_eq!(covers(part, source.meta()), number == 2);
        }
        assert_eq!(part.compaction.parents.len(), sources.blocks().len());
        let expected = PartOfSeries {
            part: number,
            blocks: ids.clone(),
        };
        assert_eq!(part_of(part), Some(expected));
        let thanos = part.thanos.as_ref().unwrap();
        assert_eq!(thanos.extensions.as_ref().unwrap()["other"], 1);
        assert!(thanos.index_stats.series_max_size.is_multiple_of(16));
        assert!(thanos.index_stats.chunk_max_size > 20);
        assert_eq!(thanos.segment_files, ["000001"]);
    }
    assert_eq!(part_of(sources.blocks()[0].meta()), None);
}

#[test]
fn one_part_after_the_other_makes_the_same_blocks() {
    let sources = sources();
    let (together, alone) = (TempDir::new("merge-together"), TempDir::new("merge-alone"));
    let ids = ids(3);
    let chain = MergeOverlaps::Chain;
    let write = |dir: &TempDir, merge: MergeOptions| {
        merge_blocks_into_parts(sources.blocks(), dir.path(), &ids, options(9), merge).unwrap()
    };
    let expected = write(&together, chain.into());
    let mut metas = Vec::new();
    for part in 0..3 {
        let mut merge = MergeOptions::from(chain);
        merge.only_part = Some(part);
        metas.extend(write(&alone, merge));
        assert_eq!(metas[part].compaction.sources, [ids[part]]);
    }
    let compaction = compaction_of(sources.blocks().iter().map(Block::meta));
    seal_parts(alone.path(), &mut metas, &compaction).unwrap();
    assert_eq!(metas, expected);
    for id in &ids {
        for name in ["index", "chunks/000001", "meta.json"] {
            assert!(file(together.path(), *id, name) == file(alone.path(), *id, name));
        }
    }
    let mut merge = MergeOptions::from(chain);
    merge.only_part = Some(3);
    let out = alone.path();
    assert!(merge_blocks_into_parts(sources.blocks(), out, &ids, options(9), merge).is_err());
    assert!(merge_blocks_into_parts(sources.blocks(), out, &[], options(9), chain).is_err());
    let twice = [ids[0], ids[0]];
    assert!(merge_blocks_into_parts(sources.blocks(), out, &twice, options(9), chain).is_err());
}

#[test]
fn parts_without_series_are_not_there() {
    let dir = TempDir::new("merge-few");
    let source = block(&dir, 1, &[&[(1, 1.0)]]);
    let out = TempDir::new("merge-few-out");
    let (ids, chain) = (ids(4), MergeOverlaps::Chain);
    let metas = merge_blocks_into_parts(
        std::slice::from_ref(&source),
        out.path(),
        &ids,
        options(9),
        chain,
    );
    let metas = metas.unwrap();
    assert_eq!(metas.len(), 1);
    assert!(metas[0].compaction.sources.contains(&source.id()));
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 1);
}
