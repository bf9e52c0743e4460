//! Blocks as rows of a table, in Thanos' columns.
//!
//! Source: Thanos `cmd/thanos/tools_bucket.go`, `printBlockData`, and `pkg/compact` for the time until downsampling.

use std::cmp::Ordering;

use serde::Serialize;
use thanos_core::block::Meta;
use thanos_core::time::{SignedDuration, Timestamp, UtcTime};

/// How long a raw block must be to be downsampled, in milliseconds.
const DOWNSAMPLED_FROM_RAW_MS: i64 = 40 * 3600 * 1000;
/// How long a block of five minutes must be to be downsampled, in milliseconds.
const DOWNSAMPLED_FROM_5M_MS: i64 = 10 * 24 * 3600 * 1000;

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// The block's id.
    Ulid,
    /// Its first time.
    From,
    /// The first time after it.
    Until,
    /// How long it is.
    Range,
    /// How much it lacks to be downsampled.
    UntilDown,
    /// Its series.
    Series,
    /// Its samples.
    Samples,
    /// Its chunks.
    Chunks,
    /// Its compaction level.
    CompLevel,
    /// Whether its compaction failed.
    CompFailed,
    /// Its external labels.
    Labels,
    /// How long its windows are.
    Resolution,
    /// Who made it.
    Source,
}

impl Column {
    /// All columns, in the order of the table.
    pub const ALL: [Self; 13] = [
        Self::Ulid,
        Self::From,
        Self::Until,
        Self::Range,
        Self::UntilDown,
        Self::Series,
        Self::Samples,
        Self::Chunks,
        Self::CompLevel,
        Self::CompFailed,
        Self::Labels,
        Self::Resolution,
        Self::Source,
    ];

    /// Returns what stands above the column.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ulid => "ULID",
            Self::From => "FROM",
            Self::Until => "UNTIL",
            Self::Range => "RANGE",
            Self::UntilDown => "UNTIL-DOWN",
            Self::Series => "#SERIES",
            Self::Samples => "#SAMPLES",
            Self::Chunks => "#CHUNKS",
            Self::CompLevel => "COMP-LEVEL",
            Self::CompFailed => "COMP-FAILED",
            Self::Labels => "LABELS",
            Self::Resolution => "RESOLUTION",
            Self::Source => "SOURCE",
        }
    }

    /// Returns the column of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.as_str() == name)
    }
}

/// A block in the words of the table, and as numbers for programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BlockRow {
    /// The text of each column.
    #[serde(skip)]
    cells: Vec<String>,
    /// What the block says of itself.
    #[serde(flatten)]
    meta: Meta,
    /// The milliseconds that the block lacks to be downsampled, negative when it is long enough.
    #[serde(rename = "untilDownsamplingMs")]
    until_down_ms: Option<i64>,
}

impl BlockRow {
    /// Returns the row of the block of `meta`.
    pub fn new(meta: &Meta) -> Self {
        let range_ms = meta.max_time - meta.min_time;
        let until_down_ms = match meta.resolution_ms() {
            0 => Some(DOWNSAMPLED_FROM_RAW_MS - range_ms),
            300_000 => Some(DOWNSAMPLED_FROM_5M_MS - range_ms),
            _ => None,
        };
        let go = |ms| SignedDuration::from_millis(ms).go().to_string();
        let labels = meta.thanos.iter().flat_map(|thanos| &thanos.labels);
        let labels: Vec<String> = labels
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let cell = |column| match column {
            Column::Ulid => meta.ulid.to_string(),
            Column::From => whole_seconds(meta.min_time),
            Column::Until => whole_seconds(meta.max_time),
            Column::Range => go(range_ms),
            Column::UntilDown => until_down_ms.map_or_else(|| "-".to_owned(), go),
            Column::Series => grouped(meta.stats.num_series),
            Column::Samples => grouped(meta.stats.num_samples),
            Column::Chunks => grouped(meta.stats.num_chunks),
            Column::CompLevel => grouped(u64::from(meta.compaction.level)),
            Column::CompFailed => meta.compaction.failed.to_string(),
            Column::Labels => labels.join(","),
            Column::Resolution => go(meta.resolution_ms()),
            Column::Source => meta
                .thanos
                .as_ref()
                .map_or("", |thanos| &thanos.source)
                .to_owned(),
        };
        Self {
            cells: Column::ALL.into_iter().map(cell).collect(),
            meta: meta.clone(),
            until_down_ms,
        }
    }

    /// Returns the texts of all columns, in their order.
    pub fn cells(&self) -> &[String] {
        &self.cells
    }

    fn cell(&self, column: Column) -> &str {
        &self.cells[column as usize]
    }
}

/// Returns the rows of the blocks that have all labels of `selector` with exactly these values, in the order of
/// `sort_by`.
pub fn inspect_blocks<'a>(
    metas: impl IntoIterator<Item = &'a Meta>,
    selector: &[(String, String)],
    sort_by: &[Column],
) -> Vec<BlockRow> {
    let is_selected = |meta: &&Meta| {
        selector.iter().all(|(name, value)| {
            let labels = meta.thanos.as_ref().map(|thanos| &thanos.labels);
            labels.and_then(|labels| labels.get(name)) == Some(value)
        })
    };
    let selected = metas.into_iter().filter(is_selected);
    let mut rows: Vec<BlockRow> = selected.map(BlockRow::new).collect();
    sort_rows(&mut rows, sort_by);
    rows
}

/// Puts `rows` into the order of the columns `sort_by`, equal ones by their ids.
///
/// Texts that both are times compare as such, else durations, else whole numbers, else as texts.
pub fn sort_rows(rows: &mut [BlockRow], sort_by: &[Column]) {
    rows.sort_by(|a, b| {
        let by_columns = sort_by
            .iter()
            .map(|column| (a.cell(*column), b.cell(*column)));
        let mut by_columns = by_columns.filter(|(a, b)| a != b);
        let first = by_columns
            .next()
            .map_or(Ordering::Equal, |(a, b)| compare(a, b));
        first.then_with(|| a.meta.ulid.cmp(&b.meta.ulid))
    });
}

fn compare(a: &str, b: &str) -> Ordering {
    let time = |text: &str| UtcTime::parse_rfc3339(text).ok().map(UtcTime::timestamp);
    let duration = |text: &str| {
        SignedDuration::parse_go(text)
            .ok()
            .map(SignedDuration::as_nanos)
    };
    let number = |text: &str| text.replace(',', "").parse::<u64>().ok();
    let ordered = both(a, b, time)
        .or_else(|| both(a, b, duration))
        .or_else(|| both(a, b, number));
    ordered.unwrap_or_else(|| a.cmp(b))
}

fn both<T: Ord>(a: &str, b: &str, read: impl Fn(&str) -> Option<T>) -> Option<Ordering> {
    Some(read(a)?.cmp(&read(b)?))
}

/// COMPAT: a time before the epoch loses its milliseconds towards the epoch, as in Go.
fn whole_seconds(time: Timestamp) -> String {
    UtcTime::from_unix_secs(time.as_millis() / 1000).to_string()
}

/// Returns the number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use thanos_core::block::{Downsample, Stats, ThanosMeta};

    use super::*;

    fn meta(number: u32, from_ms: i64, until_ms: i64, resolution_ms: i64) -> Meta {
        Meta {
            ulid: crate::testkit::block_id(number),
            min_time: Timestamp::from_millis(from_ms),
            max_time: Timestamp::from_millis(until_ms),
            stats: Stats {
                num_series: 12,
                num_samples: 1_234_567,
                num_chunks: 999,
                ..Stats::default()
            },
            thanos: Some(ThanosMeta {
                labels: [("b", "2"), ("a", "1")]
                    .map(|(n, v)| (n.to_owned(), v.to_owned()))
                    .into(),
                downsample: Downsample { resolution_ms },
                source: "sidecar".to_owned(),
                ..ThanosMeta::default()
            }),
            ..Meta::default()
        }
    }

    /// T-04: the columns as Thanos prints them; the time until downsampling may be negative, and blocks of an hour have
    /// none.
    #[test]
    fn rows_have_the_texts_of_thanos() {
        let row = BlockRow::new(&meta(1, 1_795_349_700_124, 1_795_350_000_000, 0));
        let expected = [
            "2026-11-22T12:15:00Z",
            "2026-11-22T12:20:00Z",
            "4m59.876s",
            "39h55m0.124s",
            "12",
            "1,234,567",
            "999",
            "0",
            "false",
            "a=1,b=2",
            "0s",
            "sidecar",
        ];
        assert_eq!(row.cells()[1..], expected);
        let hours = |from: i64, until: i64, resolution: i64| {
            BlockRow::new(&meta(1, from * 3_600_000, until * 3_600_000, resolution))
        };
        assert_eq!(hours(0, 100, 0).cell(Column::UntilDown), "-60h0m0s");
        assert_eq!(hours(0, 100, 300_000).cell(Column::UntilDown), "140h0m0s");
        assert_eq!(hours(0, 100, 3_600_000).cell(Column::UntilDown), "-");
        assert_eq!(hours(0, 100, 3_600_000).cell(Column::Resolution), "1h0m0s");
    }

    /// T-05: all pairs of the selector must match exactly; times, durations and numbers sort as such.
    #[test]
    fn rows_are_selected_and_sorted() {
        let metas = [
            meta(1, 2_000, 9_000, 0),
            meta(2, 1_000, 9_000, 300_000),
            meta(3, 1_000, 5_000, 0),
        ];
        let ids = |selector: &[(&str, &str)], sort_by: &[Column]| {
            let selector: Vec<_> = selector
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect();
            let rows = inspect_blocks(&metas, &selector, sort_by);
            rows.iter().map(|row| row.meta.ulid).collect::<Vec<_>>()
        };
        let id = crate::testkit::block_id;
        assert_eq!(
            ids(&[], &[Column::From, Column::Until]),
            [id(3), id(2), id(1)]
        );
        assert_eq!(
            ids(&[("a", "1"), ("b", "2")], &[Column::Range]),
            [id(3), id(1), id(2)]
        );
        assert!(ids(&[("a", "1"), ("b", "3")], &[]).is_empty());
        assert!(ids(&[("c", "")], &[]).is_empty());
        assert_eq!(compare("9", "10"), Ordering::Less);
        assert_eq!(compare("1h0m0s", "90m0s"), Ordering::Less);
        assert_eq!(compare("1,000", "999"), Ordering::Greater);
        assert_eq!(compare("b", "a"), Ordering::Greater);
    }
}
