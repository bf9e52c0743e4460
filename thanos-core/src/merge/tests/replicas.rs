//! The penalty over whole series beside that of Thanos' compactor, which runs it over one chunk after the other.

use super::*;
use crate::testkit::TestRandom;

type Float = (i64, f64);

/// Thanos' `pkg/dedup` as it is written: iterators that do not go back.
enum Iterator {
    Chunk { samples: Vec<Float>, read: usize },
    Dedup(Box<Dedup>),
}

struct Dedup {
    a: Iterator,
    b: Iterator,
    has: [bool; 2],
    last_time: i64,
    penalties: [i64; 2],
    is_a: bool,
}

impl Iterator {
    fn next(&mut self) -> bool {
        match self {
            Self::Chunk { samples, read } => {
                *read += 1;
                *read <= samples.len()
            }
            Self::Dedup(dedup) => dedup.next(),
        }
    }

    fn at(&self) -> Float {
        match self {
            Self::Chunk { samples, read } => samples[read - 1],
            Self::Dedup(dedup) if dedup.is_a => dedup.a.at(),
            Self::Dedup(dedup) => dedup.b.at(),
        }
    }

    fn seek(&mut self, time: i64) -> bool {
        if let Self::Chunk { read: 0, .. } = self
            && !self.next()
        {
            return false;
        }
        while self.at().0 < time {
            if !self.next() {
                return false;
            }
        }
        true
    }
}

impl Dedup {
    fn new(mut a: Iterator, mut b: Iterator) -> Self {
        let has = [a.next(), b.next()];
        Self {
            a,
            b,
            has,
            last_time: i64::MIN,
            penalties: [0; 2],
            is_a: true,
        }
    }

    fn next(&mut self) -> bool {
        let after = self.last_time + 1;
        self.has[0] = self.has[0] && self.a.seek(after + self.penalties[0]);
        self.has[1] = self.has[1] && self.b.seek(after + self.penalties[1]);
        self.is_a = match self.has {
            [false, false] => return false,
            [has_a, true] if !has_a => false,
            [_, false] => true,
            [..] => self.a.at().0 <= self.b.at().0,
        };
        let time = match self.is_a {
            true => self.a.at().0,
            false => self.b.at().0,
        };
        let penalty = match self.last_time {
            i64::MIN => 5_000,
            last => 2 * (time - last),
        };
        let [own, other] = if self.is_a { [0, 1] } else { [1, 0] };
        if self.has[other] {
            self.penalties[other] = penalty;
        }
        self.penalties[own] = 0;
        self.last_time = time;
        true
    }
}

/// What Thanos' compactor makes of the chunks of replicas.
fn of_thanos(replicas: &[Vec<Vec<Float>>]) -> Vec<Float> {
    let mut chunks: Vec<Vec<Float>> = replicas.concat();
    chunks.sort_by_key(|chunk| (chunk[0].0, chunk[chunk.len() - 1].0));
    let mut merged = Vec::new();
    let mut chunks = chunks.into_iter().peekable();
    while let Some(first) = chunks.next() {
        let mut end = first[first.len() - 1].0;
        let mut last = first.clone();
        let of = |samples| Iterator::Chunk { samples, read: 0 };
        let mut all = of(first);
        while let Some(next) = chunks.next_if(|next| next[0].0 <= end) {
            end = end.max(next[next.len() - 1].0);
            if next != last {
                last.clone_from(&next);
                all = Iterator::Dedup(Box::new(Dedup::new(all, of(next))));
            }
        }
        while all.next() {
            merged.push(all.at());
        }
    }
    merged
}

fn encoded(replica: &[Vec<Float>]) -> Vec<SeriesChunk> {
    replica.iter().flat_map(|chunk| chunks(chunk)).collect()
}

fn ours(replicas: &[Vec<Vec<Float>>]) -> Vec<Float> {
    let sources = replicas.iter().map(|replica| encoded(replica)).collect();
    samples(&merge_chunks(sources, MergeOverlaps::Penalty).unwrap())
}

const HOUR_MS: i64 = 3_600_000;

/// The 120 samples that Thanos' end-to-end test puts into a block of some hours.
fn block_of_thanos(from: i64, to: i64) -> Vec<Float> {
    let step = (to - from) * HOUR_MS / 121;
    let sample = |number: i64| (from * HOUR_MS + number * step, number as f64);
    (0..120).map(sample).collect()
}

/// E-02: three replicas of which each has a part of four hours, and two of which one is there twice.
///
/// Thanos' test says 200 and 195 samples. That is what its compactor makes of the blocks of that test, which have two
/// chunks, of 117 and 3 samples; of blocks with one chunk it makes 199, as ours does. With two, its answer has a gap of
/// six minutes where the first chunk of a replica ends, in which both replicas have samples. Ours has none: it is all of
/// the first replica and the second one from two scrapes after that on, and what no other chunk overlaps in the end.
#[test]
fn replicas_that_overlap_in_part_become_what_thanos_makes_of_whole_ones() {
    let in_one = |samples: Vec<Float>| vec![samples];
    let in_two = |samples: Vec<Float>| vec![samples[..117].to_vec(), samples[117..].to_vec()];
    let three = [(0, 2), (1, 4), (3, 4)].map(|(from, to)| block_of_thanos(from, to));
    let twice = [(0, 2), (1, 4), (1, 4)].map(|(from, to)| block_of_thanos(from, to));
    let whole = [&three[0][..], &three[1][41..]].concat();
    assert_eq!(whole.len(), 199);
    let end = three[2][117..].to_vec();
    for (blocks, theirs_of_two, end) in [(three, 200, end), (twice, 195, Vec::new())] {
        let one = blocks.clone().map(in_one);
        assert_eq!(of_thanos(&one), whole);
        assert_eq!(ours(&one), whole);
        let two = blocks.map(in_two);
        assert_eq!(ours(&two), [&whole[..], &end].concat());
        let theirs = of_thanos(&two);
        assert_eq!(theirs.len(), theirs_of_two);
        let gap = theirs
            .windows(2)
            .find(|gap| gap[1].0 - gap[0].0 > 5 * 60_000);
        let [from, to] = [gap.unwrap()[0].0, gap.unwrap()[1].0];
        let lost = two.iter().flatten().flatten();
        let lost = lost.filter(|sample| (from + 1..to).contains(&sample.0));
        assert!(lost.count() >= 3);
        let step = |two: &[Float]| two[1].0 - two[0].0;
        assert!(whole.windows(2).all(|two| step(two) < 3 * 60_000));
    }
    let chain = three_replicas(&[(0, 2), (1, 4), (3, 4)]);
    assert_eq!(chain, 360);
}

fn three_replicas(hours: &[(i64, i64)]) -> usize {
    let source = |(from, to): &(i64, i64)| chunks(&block_of_thanos(*from, *to));
    let sources = hours.iter().map(source).collect();
    samples(&merge_chunks(sources, MergeOverlaps::Chain).unwrap()).len()
}

/// The smallest example: a replica whose chunk ends while the one of the other goes on. Thanos takes that for the end of
/// the replica, goes over to the other one, and by the gap that this makes it passes over all that follows.
#[test]
fn where_chunks_end_no_sample_is_lost() {
    let replica = |phase: i64| -> Vec<Float> {
        (0..12)
            .map(|scrape| (scrape * 15_000 + phase, scrape as f64))
            .collect()
    };
    let (a, b) = (replica(0), replica(4_000));
    let parts = |samples: &[Float], at: usize| [&samples[..at], &samples[at..]].map(<[_]>::to_vec);
    let replicas = [parts(&a, 6), parts(&b, 9)].map(Vec::from);
    assert_eq!(ours(&replicas), a);
    let theirs: Vec<i64> = of_thanos(&replicas).iter().map(|(time, _)| *time).collect();
    assert_eq!(theirs[..6], [0, 15_000, 30_000, 45_000, 60_000, 75_000]);
    assert_eq!(theirs[6..], [109_000, 124_000]);
}

/// The blocks of which Prometheus made `vertical-out`: one of a scrape each minute, and one of two, in two chunks.
///
/// Thanos' compactor leaves the second one where its first chunk ends, and writes 23,886 samples. All of the second
/// replica, which began, are 31,711: that is what Thanos' querier makes of the same blocks, and what ours is.
#[test]
fn a_replica_is_not_left_because_its_chunk_ends() {
    let blocks = Blocks::open_dir(&testdata("vertical-in")).unwrap();
    let replicas: Vec<SeriesList> = blocks.blocks().iter().map(series_of).collect();
    let (mut theirs, mut ours_of_all) = (0, 0);
    for ((labels, a), (_, b)) in replicas[0].iter().zip(&replicas[1]) {
        let decoded = |chunks: &[SeriesChunk]| -> Vec<Vec<Float>> {
            let one = |chunk: &SeriesChunk| samples(std::slice::from_ref(chunk));
            chunks.iter().map(one).collect()
        };
        let both = [decoded(a), decoded(b)];
        theirs += of_thanos(&both).len();
        let ours = ours(&both);
        let times =
            |samples: &[Float]| -> Vec<i64> { samples.iter().map(|sample| sample.0).collect() };
        assert_eq!(times(&ours), times(&both[1].concat()), "{labels}");
        ours_of_all += ours.len();
    }
    assert_eq!((theirs, ours_of_all), (23_886, 31_711));
}

/// What was not cut into chunks becomes what Thanos makes of it, but for samples that its iterators can not go back to:
/// where the two part, ours goes on earlier. Whichever replica is stayed with from then on, it may be one that lost more;
/// so of more than two replicas only the numbers can be told.
#[test]
fn replicas_of_one_chunk_are_merged_as_by_thanos() {
    let count = match std::env::var_os("THANOS_TEST_LONG") {
        Some(_) => 1_000_000,
        None => 1_000,
    };
    let (mut equal, mut fewer) = (0, 0);
    for seed in 0..count {
        let mut random = TestRandom::new(seed);
        let replicas = 2 + random.below(3);
        let replica = |_| -> Vec<Vec<Float>> {
            let phase = random.below(15_000).cast_signed();
            let lost = random.below(8);
            let samples = (0..100).filter(|_| random.below(100) >= lost);
            let samples = samples.map(|scrape: i64| (scrape * 15_000 + phase, scrape as f64));
            vec![samples.collect()]
        };
        let mut replicas: Vec<_> = (0..replicas).map(replica).collect();
        replicas.sort_by_key(|replica| replica[0][0].0);
        let (theirs, ours) = (of_thanos(&replicas), ours(&replicas));
        let parting = (0..theirs.len()).find(|at| ours.get(*at) != theirs.get(*at));
        let is_later = |at: usize| ours.get(at).is_none_or(|own| own.0 > theirs[at].0);
        assert!(
            replicas.len() > 2 || !parting.is_some_and(is_later),
            "seed {seed}"
        );
        assert!(ours.len() + 10 >= theirs.len(), "seed {seed}");
        equal += u64::from(theirs == ours);
        fewer += u64::from(ours.len() < theirs.len());
    }
    assert!(equal * 100 >= count * 99, "{equal} of {count}");
    assert!(fewer * 1000 <= count, "{fewer} of {count}");
}
