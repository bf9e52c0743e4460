//! `histogram_quantile`, `histogram_quantiles` and `histogram_fraction` over native and classic histograms.
//!
//! A classic histogram is several series that differ in the label `le`. A native one is a series by itself, whose
//! answers are computed as it comes, so that only the buckets of classic histograms are held.

use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::budget::Lease;
use thanos_core::histogram::NanObservations;
use thanos_core::labels::{Labels, LabelsBuilder, METRIC_NAME};

use super::bits;
use super::collect::{HeldTiles, TileCutter};
use super::context::Context;
use super::grid::Grid;
use super::labels::{LabelIndex, keep};
use super::names::drop_name;
use super::native::Memo;
use super::operator::{BoxOperator, Operator};
use super::scalar::{Scalar, Scalars};
use super::tile::{Row, SeriesId, Tile};
use crate::annotations::{Annotation, Monotonicity};
use crate::error::Result;
use crate::functions::bucket::{Bucket, bucket_fraction, bucket_quantile, parse_bound};
use crate::functions::quantile::is_quantile;
use crate::parser::Span;

const BUCKET_LABEL: &str = "le";

/// What is asked of each histogram.
#[derive(Debug)]
pub(crate) enum Question {
    /// `histogram_quantile(q, v)`
    Quantile { q: Scalar, span: Span },
    /// `histogram_quantiles(v, label, q...)`
    Quantiles {
        label: String,
        qs: Vec<(Scalar, Span)>,
    },
    /// `histogram_fraction(lower, upper, v)`
    Fraction(Box<[Scalar; 2]>),
}

/// A function over the buckets of histograms.
#[derive(Debug)]
pub(crate) struct OverBuckets {
    pub(crate) cx: Arc<Context>,
    pub(crate) input: BoxOperator,
    pub(crate) question: Question,
    /// The place of the argument with the histograms, for annotations.
    pub(crate) span: Span,
    pub(crate) results: Option<HeldTiles>,
}

/// A question with its parameters known.
enum Ask {
    Quantile(Scalars),
    Fraction(Scalars, Scalars),
}

/// The answers to one question, and the labels that they get.
struct Asked {
    ask: Ask,
    /// The texts of the quantiles with the steps at which they are asked for; none when no label is wanted.
    texts: Vec<(String, Vec<u64>)>,
}

impl Asked {
    /// Reports whether the answer at `step` needs a look at the buckets.
    fn looks_at_buckets(&self, step: usize) -> bool {
        match &self.ask {
            Ask::Quantile(q) => is_quantile(q.get(step)),
            Ask::Fraction(..) => true,
        }
    }
}

/// The answers of a native histogram at all steps.
struct Answers {
    values: Vec<f64>,
    valid: Vec<u64>,
    /// The steps at which observations that are not a number matter.
    notes: Vec<(usize, NanObservations)>,
}

/// A histogram, classic or native; both when a conflict of the two is to be told.
struct Histogram {
    id: SeriesId,
    metric: String,
    /// The upper bounds with the place of the counts in the held tiles.
    buckets: Vec<(f64, (usize, usize))>,
    /// One for each question, or none at all.
    native: Vec<Answers>,
}

/// All histograms of the input, in the order in which they are first seen.
struct Histograms {
    index: LabelIndex,
    all: Vec<Histogram>,
    /// The buckets of classic histograms.
    tiles: Vec<Tile>,
    lease: Lease,
}

impl Histograms {
    fn get(&mut self, cx: &Context, labels: Labels, metric: String) -> Result<&mut Histogram> {
        let (number, is_new) = self.index.insert(&labels);
        if is_new {
            let bytes = size_of::<Histogram>() + 2 * labels.key().len() + metric.len();
            self.lease.grow(bytes as u64)?;
            let mut id = SeriesId::new(labels);
            drop_name(cx, &mut id);
            self.all.push(Histogram {
                id,
                metric,
                buckets: Vec::new(),
                native: Vec::new(),
            });
        }
        Ok(&mut self.all[number])
    }
}

impl OverBuckets {
    async fn questions(&mut self) -> Result<Vec<Asked>> {
        let (cx, grid) = (&self.cx, self.input.grid());
        let check = |q: &Scalars, span| {
            let mut wrong = q.as_slice().iter().filter(|q| !is_quantile(**q));
            wrong.try_for_each(|q| {
                cx.annotate(Annotation::invalid_quantile(*q, span));
                cx.check()
            })
        };
        let mut asked = Vec::new();
        match &mut self.question {
            Question::Quantile { q, span } => {
                let q = q.eval(cx, grid).await?;
                check(&q, *span)?;
                asked.push(Asked {
                    ask: Ask::Quantile(q),
                    texts: Vec::new(),
                });
            }
            Question::Quantiles { qs, .. } => {
                for (q, span) in qs {
                    let q = q.eval(cx, grid).await?;
                    check(&q, *span)?;
                    asked.push(Asked {
                        texts: quantile_texts(cx, &q, grid)?,
                        ask: Ask::Quantile(q),
                    });
                }
            }
            Question::Fraction(limits) => {
                let lower = limits[0].eval(cx, grid).await?;
                let upper = limits[1].eval(cx, grid).await?;
                asked.push(Asked {
                    ask: Ask::Fraction(lower, upper),
                    texts: Vec::new(),
                });
            }
        }
        Ok(asked)
    }

    async fn run(&mut self) -> Result<HeldTiles> {
        let asked = self.questions().await?;
        let mut histograms = Histograms {
            index: LabelIndex::default(),
            all: Vec::new(),
            tiles: Vec::new(),
            lease: self.cx.lease(0)?,
        };
        while let Some(tile) = self.input.next().await? {
            self.add(tile, &asked, &mut histograms)?;
        }
        let mut cutter = TileCutter::new(self.input.grid());
        let mut lease = self.cx.lease(0)?;
        for number in 0..asked.len() {
            for histogram in &mut histograms.all {
                self.cx.turn().await?;
                let answers = self.answer(&histograms.tiles, histogram, &asked[..=number]);
                self.hand_on(histogram, &asked[number], &answers, &mut cutter, &mut lease)?;
            }
        }
        Ok(HeldTiles::new(cutter.finish(), Some(lease)))
    }

    /// Answers what is native in `tile` and keeps the rest.
    fn add(&self, mut tile: Tile, asked: &[Asked], histograms: &mut Histograms) -> Result<()> {
        for index in 0..tile.len() {
            if tile.row(index).is_float_only() {
                continue;
            }
            let labels = tile.id(index).labels.clone();
            let metric = self.metric_for_messages(&labels);
            let row = tile.row(index);
            let native: Vec<Answers> = asked
                .iter()
                .map(|one| native_answers(row, &one.ask))
                .collect();
            let bytes: usize = native.iter().map(Answers::size_bytes).sum();
            histograms.lease.grow(bytes as u64)?;
            histograms.get(&self.cx, labels, metric)?.native = native;
            tile.row_mut(index).drop_histograms();
        }
        tile.drop_empty();
        if tile.is_empty() {
            return Ok(());
        }
        histograms.lease.grow(tile.memory_bytes())?;
        for index in 0..tile.len() {
            let place = (histograms.tiles.len(), index);
            self.add_bucket(&tile.id(index).labels, place, histograms)?;
        }
        histograms.tiles.push(tile);
        Ok(())
    }

    fn add_bucket(
        &self,
        labels: &Labels,
        place: (usize, usize),
        histograms: &mut Histograms,
    ) -> Result<()> {
        let metric = self.metric_for_messages(labels);
        let le = labels.get(BUCKET_LABEL).unwrap_or_default();
        let Some(upper) = parse_bound(&le) else {
            let annotation = Annotation::bad_bucket_label(&metric, &le, self.span);
            self.cx.annotate(annotation);
            return Ok(());
        };
        let labels = keep(labels.as_ref(), |name| name != BUCKET_LABEL.as_bytes());
        let histogram = histograms.get(&self.cx, labels, metric)?;
        histogram.buckets.push((upper, place));
        Ok(())
    }

    /// With delayed name removal messages can name the metric, otherwise the name may be gone already.
    fn metric_for_messages(&self, labels: &Labels) -> String {
        if !self.cx.delayed_name_removal {
            return String::new();
        }
        labels.get(METRIC_NAME).unwrap_or_default().into_owned()
    }

    /// Returns the answers of a histogram to the last question: native ones, classic ones, none where both exist.
    fn answer(&self, tiles: &[Tile], histogram: &mut Histogram, asked: &[Asked]) -> Answers {
        let grid = self.input.grid();
        let mut answers = match histogram.native.get_mut(asked.len() - 1) {
            Some(native) => std::mem::replace(native, Answers::new(Grid::none_at(0))),
            None => Answers::new(grid),
        };
        let mut rows: Vec<(f64, Row<'_>)> = histogram
            .buckets
            .iter()
            .map(|(upper, (tile, row))| (*upper, tiles[*tile].row(*row)))
            .collect();
        rows.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let mut buckets = Vec::with_capacity(rows.len());
        for step in 0..grid.len() {
            if rows.is_empty() {
                break;
            }
            buckets.clear();
            buckets.extend(rows.iter().filter_map(|(upper, row)| {
                let is_there = bits::get(row.valid, step);
                is_there.then(|| Bucket {
                    upper: *upper,
                    count: row.values[step],
                })
            }));
            if buckets.is_empty() {
                continue;
            }
            if bits::get(&answers.valid, step) {
                bits::clear(&mut answers.valid, step);
                let mixed = Annotation::mixed_classic_native(&histogram.metric, self.span);
                self.cx.annotate(mixed);
                continue;
            }
            bits::set(&mut answers.valid, step);
            answers.values[step] = self.classic_answer(&mut buckets, histogram, asked, step);
        }
        answers
    }

    fn classic_answer(
        &self,
        buckets: &mut Vec<Bucket>,
        histogram: &Histogram,
        asked: &[Asked],
        step: usize,
    ) -> f64 {
        let (last, before) = asked.split_last().expect("something is asked");
        let q = match &last.ask {
            Ask::Fraction(lower, upper) => {
                return bucket_fraction(lower.get(step), upper.get(step), buckets);
            }
            Ask::Quantile(q) => q.get(step),
        };
        let (value, forced) = bucket_quantile(q, buckets);
        // Buckets are told about once, however many quantiles are asked of them.
        if let Some(forced) = forced
            && !before.iter().any(|earlier| earlier.looks_at_buckets(step))
        {
            let time_ms = self.input.grid().time_ms(step);
            let details = Monotonicity {
                times_ms: (time_ms, time_ms),
                buckets: (forced.min_bucket, forced.max_bucket),
                max_diff: forced.max_diff,
                count: 1,
            };
            let forced = Annotation::forced_monotonicity(&histogram.metric, details, self.span);
            self.cx.annotate(forced);
        }
        value
    }

    /// Appends the answers as series, with the label of the quantile when one is wanted.
    fn hand_on(
        &self,
        histogram: &Histogram,
        asked: &Asked,
        answers: &Answers,
        cutter: &mut TileCutter,
        lease: &mut Lease,
    ) -> Result<()> {
        self.annotate_native(histogram, asked, answers);
        let mut push = |id: SeriesId, valid: &[u64]| {
            let bytes = answers.size_bytes() + id.labels.key().len();
            lease.grow(bytes as u64)?;
            cutter.push(id, Row::floats(&answers.values, valid));
            Ok(())
        };
        let Question::Quantiles { label, .. } = &self.question else {
            return push(histogram.id.clone(), &answers.valid);
        };
        for (text, steps) in &asked.texts {
            let mut valid = answers.valid.clone();
            bits::and(&mut valid, steps);
            if bits::is_empty(&valid) {
                continue;
            }
            let mut builder = LabelsBuilder::from_labels(histogram.id.labels.as_ref());
            let labels = builder.set(label, text).build();
            let id = SeriesId {
                labels,
                ..histogram.id
            };
            push(id, &valid)?;
        }
        Ok(())
    }

    fn annotate_native(&self, histogram: &Histogram, asked: &Asked, answers: &Answers) {
        for (step, nan) in &answers.notes {
            if !bits::get(&answers.valid, *step) {
                continue;
            }
            let metric = &histogram.metric;
            let annotation = match (&asked.ask, nan) {
                (_, NanObservations::None) => continue,
                (Ask::Fraction(..), _) => Annotation::fraction_nan(metric, self.span),
                (Ask::Quantile(_), NanObservations::Skew) => {
                    Annotation::quantile_nan_skew(metric, self.span)
                }
                (Ask::Quantile(_), NanObservations::Result) => {
                    Annotation::quantile_nan_result(metric, self.span)
                }
            };
            self.cx.annotate(annotation);
        }
    }
}

impl Answers {
    fn new(grid: Grid) -> Self {
        Self {
            values: vec![0.0; grid.len()],
            valid: vec![0; bits::words(grid.len())],
            notes: Vec::new(),
        }
    }

    fn size_bytes(&self) -> usize {
        size_of_val(&*self.values) + size_of_val(&*self.valid) + size_of_val(&*self.notes)
    }
}

fn native_answers(row: Row<'_>, ask: &Ask) -> Answers {
    let mut answers = Answers {
        values: vec![0.0; row.values.len()],
        valid: vec![0; row.valid.len()],
        notes: Vec::new(),
    };
    let is_constant = match ask {
        Ask::Quantile(q) => q.as_slice().len() == 1,
        Ask::Fraction(lower, upper) => lower.as_slice().len() + upper.as_slice().len() == 2,
    };
    let mut memo = Memo::default();
    for (step, histogram) in row.iter_histograms() {
        if !is_constant {
            memo = Memo::default();
        }
        let estimate = memo.get(histogram, |histogram| match ask {
            Ask::Quantile(q) => histogram.quantile(q.get(step)),
            Ask::Fraction(lower, upper) => histogram.fraction(lower.get(step), upper.get(step)),
        });
        answers.values[step] = estimate.value;
        bits::set(&mut answers.valid, step);
        if estimate.nan_observations != NanObservations::None {
            answers.notes.push((step, estimate.nan_observations));
        }
    }
    answers
}

/// Returns the texts of the quantiles, each with the steps at which it is asked for.
fn quantile_texts(cx: &Context, q: &Scalars, grid: Grid) -> Result<Vec<(String, Vec<u64>)>> {
    let words = bits::words(grid.len());
    if let [q] = q.as_slice() {
        let mut all = vec![0; words];
        bits::set_all(&mut all, grid.len());
        return Ok(vec![(open_metrics_float(*q), all)]);
    }
    let mut numbers = hashbrown::HashMap::new();
    let mut texts: Vec<(String, Vec<u64>)> = Vec::new();
    for (step, q) in q.as_slice().iter().enumerate() {
        let text = open_metrics_float(*q);
        let number = *numbers.entry(text.clone()).or_insert(texts.len());
        if number == texts.len() {
            cx.hold((words * 8 + 2 * size_of::<String>() + 2 * text.len()) as u64)?;
            texts.push((text, vec![0; words]));
        }
        bits::set(&mut texts[number].1, step);
    }
    Ok(texts)
}

#[async_trait]
impl Operator for OverBuckets {
    fn grid(&self) -> Grid {
        self.input.grid()
    }

    async fn next(&mut self) -> Result<Option<Tile>> {
        if self.results.is_none() {
            self.results = Some(self.run().await?);
        }
        Ok(self.results.as_mut().and_then(HeldTiles::next))
    }
}

/// Formats as OpenMetrics wants floats: with a point or an exponent. Source: Prometheus
/// `labels.FormatOpenMetricsFloat`.
fn open_metrics_float(value: f64) -> String {
    use thanos_core::text::{FloatFormat, GoFloat};
    if value == 0.0 {
        return "0.0".to_owned();
    }
    let text = GoFloat(value, FloatFormat::General).to_string();
    if value.is_finite() && !text.contains(['.', 'e']) {
        return text + ".0";
    }
    text
}

#[cfg(test)]
mod tests;
