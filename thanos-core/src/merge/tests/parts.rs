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

type LabelledFloats = std::collections::BTreeMap<Labels, Floats>;

/// Writes what of `series` lies in the times from `from` to `to`, without `to`.
fn write_between(dir: &Path, number: u8, series: &LabelledFloats, from: i64, to: i64) -> Block {
    let texts = series.keys().flat_map(Labels::iter);
    let texts = texts.flat_map(|(name, value)| [name.into_owned(), value.into_owned()]);
    let symbols: BTreeSet<String> = texts.collect();
    let mut writer = BlockWriter::create(dir, options(number), symbols).unwrap();
    for (labels, samples) in series {
        let own: Floats = samples
            .iter()
            .copied()
            .filter(|(time, _)| (from..to).contains(time))
            .collect();
        if !own.is_empty() {
            writer.add_series(labels.as_ref(), &chunks(&own)).unwrap();
        }
    }
    let meta = writer.finish().unwrap();
    Block::open(&dir.join(meta.ulid.to_string())).unwrap()
}

fn floats_of(block: &Block) -> LabelledFloats {
    let series = series_of(block).into_iter();
    series
        .map(|(labels, chunks)| (labels, samples(&chunks)))
        .collect()
}

fn any_series() -> impl Strategy<Value = LabelledFloats> {
    let labels = ("[a-c\0]{1,2}", "[a-c]{0,2}", "[a-z]{1,3}");
    let labels = labels.prop_map(|(name, other, value)| {
        let mut pairs = vec![("__name__", name.as_str()), ("z", value.as_str())];
        pairs.extend((!other.is_empty()).then_some(("b", other.as_str())));
        Labels::from_pairs(pairs)
    });
    let times = proptest::collection::btree_set(0_i64..2_000, 1..60);
    let floats =
        times.prop_map(|times| times.into_iter().map(|time| (time, time as f64)).collect());
    proptest::collection::btree_map(labels, floats, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// merge(split(x)) = x, by time and then by hash.
    #[test]
    fn what_is_split_by_time_and_hash_is_made_whole(
        series in any_series(), cuts in (1_i64..1_000, 1_000_i64..2_000), count in 1_u8..5,
    ) {
        let dir = TempDir::new("merge-split");
        let stretches = [(0, cuts.0), (cuts.0, cuts.1), (cuts.1, 2_000)];
        let blocks: Vec<Block> = (11..).zip(stretches)
            .map(|(number, (from, to))| write_between(dir.path(), number, &series, from, to))
            .collect();
        let (ids, out) = (ids(count), dir.path().join("parts"));
        let chain = MergeOverlaps::Chain;
        let metas = merge_blocks_into_parts(&blocks, &out, &ids, options(9), chain).unwrap();
        let parts: Vec<Block> = metas.iter()
            .map(|meta| Block::open(&out.join(meta.ulid.to_string())).unwrap())
            .collect();
        let of_parts: LabelledFloats = parts.iter().flat_map(floats_of).collect();
        prop_assert_eq!(&of_parts, &series);
        let meta = merge_blocks(&parts, dir.path(), options(9), chain).unwrap().unwrap();
        let whole = Block::open(&dir.path().join(meta.ulid.to_string())).unwrap();
        prop_assert_eq!(floats_of(&whole), series);
    }
}
