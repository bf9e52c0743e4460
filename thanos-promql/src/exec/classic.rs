//! `histogram_quantile`, `histogram_quantiles` and `histogram_fraction` over classic histograms.

use std::sync::Arc;

use async_trait::async_trait;
use thanos_core::labels::{LabelsBuilder, METRIC_NAME};

use super::bits;
use super::collect::{Block, HeldTiles, TileCutter};
use super::context::Context;
use super::grid::Grid;
use super::labels::{LabelIndex, keep};
use super::names::drop_name;
use super::operator::{BoxOperator, Operator};
use super::scalar::{Scalar, Scalars};
use super::tile::{Row, SeriesId, Tile};
use crate::annotations::{Annotation, Monotonicity};
use crate::error::Result;
use crate::functions::bucket::{Bucket, bucket_fraction, bucket_quantile};
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

/// A function over the buckets of classic histograms.
#[derive(Debug)]
pub(crate) struct ClassicHistogram {
    pub(crate) cx: Arc<Context>,
    pub(crate) input: BoxOperator,
    pub(crate) question: Question,
    /// The place of the argument with the buckets, for annotations.
    pub(crate) span: Span,
    pub(crate) results: Option<HeldTiles>,
}

/// A question with its parameters known.
enum Ask {
    Quantile {
        q: Scalars,
        label: Option<(String, String)>,
    },
    Fraction(Scalars, Scalars),
}

/// One histogram: its series with their bounds.
struct Histogram {
    id: SeriesId,
    metric: String,
    buckets: Vec<(f64, usize)>,
}

impl ClassicHistogram {
    async fn asks(&mut self) -> Result<Vec<Ask>> {
        let (cx, grid) = (&self.cx, self.input.grid());
        let check = |q: &Scalars, span| {
            for q in q.as_slice().iter().filter(|q| !is_quantile(**q)) {
                cx.annotate(Annotation::invalid_quantile(*q, span));
            }
        };
        Ok(match &mut self.question {
            Question::Quantile { q, span } => {
                let q = q.eval(cx, grid).await?;
                check(&q, *span);
                vec![Ask::Quantile { q, label: None }]
            }
            Question::Quantiles { label, qs } => {
                let mut asks = Vec::new();
                for (q, span) in qs {
                    let q = q.eval(cx, grid).await?;
                    check(&q, *span);
                    let text = open_metrics_float(q.get(0));
                    asks.push(Ask::Quantile {
                        q,
                        label: Some((label.clone(), text)),
                    });
                }
                asks
            }
            Question::Fraction(limits) => {
                let lower = limits[0].eval(cx, grid).await?;
                let upper = limits[1].eval(cx, grid).await?;
                vec![Ask::Fraction(lower, upper)]
            }
        })
    }

    /// Sorts the series into histograms, in the order in which they are first seen.
    fn histograms(&self, block: &Block) -> Vec<Histogram> {
        let mut index = LabelIndex::default();
        let mut histograms: Vec<Histogram> = Vec::new();
        for series in 0..block.len() {
            let id = block.id(series);
            let metric = self.metric_for_messages(id);
            let le = id.labels.get(BUCKET_LABEL).unwrap_or_default();
            let Some(upper) = parse_bound(&le) else {
                self.cx
                    .annotate(Annotation::bad_bucket_label(&metric, &le, self.span));
                continue;
            };
            let labels = keep(id.labels.as_ref(), |name| name != BUCKET_LABEL.as_bytes());
            let (number, is_new) = index.insert(&labels);
            if is_new {
                let mut id = SeriesId {
                    labels,
                    drop_name: id.drop_name,
                };
                drop_name(&self.cx, &mut id);
                histograms.push(Histogram {
                    id,
                    metric,
                    buckets: Vec::new(),
                });
            }
            histograms[number].buckets.push((upper, series));
        }
        histograms
    }

    /// With delayed name removal messages can name the metric, otherwise the name may be gone already.
    fn metric_for_messages(&self, id: &SeriesId) -> String {
        if !self.cx.delayed_name_removal {
            return String::new();
        }
        id.labels.get(METRIC_NAME).unwrap_or_default().into_owned()
    }

    async fn run(&mut self) -> Result<HeldTiles> {
        let grid = self.input.grid();
        let block = Block::collect(&self.cx, &mut self.input).await?;
        if block.is_empty() {
            return Ok(HeldTiles::new(Vec::new(), None));
        }
        let asks = self.asks().await?;
        let mut cutter = TileCutter::new(grid);
        let histograms = self.histograms(&block);
        for ask in &asks {
            for histogram in &histograms {
                self.answer(&block, histogram, ask, grid, &mut cutter);
            }
        }
        Ok(HeldTiles::new(cutter.finish(), Some(block.into_lease())))
    }

    fn answer(
        &self,
        block: &Block,
        histogram: &Histogram,
        ask: &Ask,
        grid: Grid,
        cutter: &mut TileCutter,
    ) {
        let mut values = vec![0.0; grid.len()];
        let mut valid = vec![0; bits::words(grid.len())];
        let mut buckets = Vec::with_capacity(histogram.buckets.len());
        let rows: Vec<(f64, Row<'_>)> = histogram
            .buckets
            .iter()
            .map(|(upper, series)| (*upper, block.row(*series)))
            .collect();
        for (step, value) in values.iter_mut().enumerate() {
            buckets.clear();
            buckets.extend(rows.iter().filter_map(|(upper, row)| {
                let count = row.float(step)?;
                Some(Bucket {
                    upper: *upper,
                    count,
                })
            }));
            if buckets.is_empty() {
                continue;
            }
            *value = self.value(&mut buckets, histogram, ask, step, grid);
            bits::set(&mut valid, step);
        }
        let mut id = histogram.id.clone();
        if let Ask::Quantile {
            label: Some((name, text)),
            ..
        } = ask
        {
            let mut builder = LabelsBuilder::from_labels(id.labels.as_ref());
            id.labels = builder.set(name, text).build();
        }
        let row = Row::floats(&values, &valid);
        cutter.push(id, row);
    }

    fn value(
        &self,
        buckets: &mut Vec<Bucket>,
        histogram: &Histogram,
        ask: &Ask,
        step: usize,
        grid: Grid,
    ) -> f64 {
        match ask {
            Ask::Fraction(lower, upper) => {
                bucket_fraction(lower.get(step), upper.get(step), buckets)
            }
            Ask::Quantile { q, .. } => {
                let (value, forced) = bucket_quantile(q.get(step), buckets);
                if let Some(forced) = forced {
                    let time_ms = grid.time_ms(step);
                    let details = Monotonicity {
                        times_ms: (time_ms, time_ms),
                        buckets: (forced.min_bucket, forced.max_bucket),
                        max_diff: forced.max_diff,
                        count: 1,
                    };
                    self.cx.annotate(Annotation::forced_monotonicity(
                        &histogram.metric,
                        details,
                        self.span,
                    ));
                }
                value
            }
        }
    }
}

#[async_trait]
impl Operator for ClassicHistogram {
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

/// Parses a bound as Go's `strconv.ParseFloat` does, but for hexadecimal numbers, which no exporter writes.
fn parse_bound(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_word = digits.eq_ignore_ascii_case("inf")
        || digits.eq_ignore_ascii_case("infinity")
        || text.eq_ignore_ascii_case("nan");
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if !is_word && !is_number {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    // Go reports a number that does not fit; Rust makes it infinite.
    (is_word || value.is_finite()).then_some(value)
}

/// Formats as OpenMetrics wants floats: with a point or an exponent.
fn open_metrics_float(value: f64) -> String {
    use thanos_core::text::{FloatFormat, GoFloat};
    let text = GoFloat(value, FloatFormat::General).to_string();
    if value.is_finite() && !text.contains(['.', 'e']) {
        return text + ".0";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_as_go_reads_them() {
        for (text, bound) in [
            ("0.5", Some(0.5)),
            ("+Inf", Some(f64::INFINITY)),
            ("-inf", Some(f64::NEG_INFINITY)),
            (".5", Some(0.5)),
            ("1e3", Some(1000.0)),
            ("", None),
            ("x", None),
            ("1e999", None),
            (" 1", None),
            ("infinity", Some(f64::INFINITY)),
        ] {
            assert_eq!(parse_bound(text), bound, "{text:?}");
        }
        assert_eq!(open_metrics_float(1.0), "1.0");
        assert_eq!(open_metrics_float(0.5), "0.5");
    }
}
