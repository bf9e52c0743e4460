//! Planning of function calls.

use std::sync::Arc;

use thanos_core::labels::{Labels, LabelsBuilder, METRIC_NAME, MatchOp};

use super::histogram::histogram_fn;
use super::{Built, Names, Place, Planner};
use crate::annotations::Annotation;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::absent::Absent;
use crate::exec::labels::is_metadata;
use crate::exec::map::Map;
use crate::exec::names::Overlap;
use crate::exec::operator::{BoxOperator, Drain};
use crate::exec::range::{RangeCall, RangeOverSelect, RangeOverSubquery};
use crate::exec::relabel::{EditLabels, LabelEdit};
use crate::exec::samples::Detail;
use crate::exec::scalar::{Scalar, ScalarSeries};
use crate::exec::select::Wanted;
use crate::exec::sort::{OnlyFloats, Sort, SortKey};
use crate::exec::tile::SeriesId;
use crate::functions::math::MapFn;
use crate::functions::window::WindowFn;
use crate::parser::{FunctionId, Span, ValueType};
use crate::plan::{Call, Kind, Plan, Selector};

impl Planner {
    pub(super) fn call(&mut self, call: &Call, span: Span, place: &Place) -> Result<Built> {
        let place = &place.in_function(call.func.name);
        match call.func.id {
            FunctionId::AbsentOverTime => {
                let input = self.window_call(call, WindowFn::PresentOverTime, place)?;
                // COMPAT: in contrast to `absent` it drops a type or unit, but at the end of the query only.
                Ok(absent(input.operator, call, true))
            }
            FunctionId::Absent => {
                let input = self.vector(arg(call, 0)?, place)?;
                Ok(absent(input.operator, call, false))
            }
            FunctionId::Vector => self.scalar_series(arg(call, 0)?, place),
            FunctionId::LabelReplace => self.label_replace(call, place),
            FunctionId::LabelJoin => self.label_join(call, place),
            FunctionId::Sort => self.sort(call, span, place, SortKey::Value, false),
            FunctionId::SortDesc => self.sort(call, span, place, SortKey::Value, true),
            FunctionId::SortByLabel => {
                let key = SortKey::Labels(texts(call, 1)?);
                self.sort(call, span, place, key, false)
            }
            FunctionId::SortByLabelDesc => {
                let key = SortKey::Labels(texts(call, 1)?);
                self.sort(call, span, place, key, true)
            }
            FunctionId::HistogramQuantile
            | FunctionId::HistogramQuantiles
            | FunctionId::HistogramFraction => self.over_buckets(call, place),
            FunctionId::Info => self.info(call, place),
            FunctionId::Timestamp => self.timestamp(call, place),
            FunctionId::StartTimestamp => self.start_timestamp(call, place),
            _ => {
                if let Some(function) = histogram_fn(call.func.id) {
                    return self.map_histograms(call, function, place);
                }
                if let Some(function) = WindowFn::from_name(call.func.name) {
                    return self.range_call(call, function, place);
                }
                if let Some(function) = MapFn::from_name(call.func.name) {
                    return self.map(call, function, place);
                }
                let what = format!("function {}", call.func.name);
                Err(Error::unimplemented(what))
            }
        }
    }

    fn range_call(&mut self, call: &Call, function: WindowFn, place: &Place) -> Result<Built> {
        let Built { operator, names } = self.window_call(call, function, place)?;
        if function.keeps_name() {
            return Ok(Built { operator, names });
        }
        Ok(self.without_names(operator, names, Overlap::Anywhere))
    }

    /// Builds a function over ranges whose results may be series with the same labels.
    fn window_call(&mut self, call: &Call, function: WindowFn, place: &Place) -> Result<Built> {
        let is_matrix = |arg: &&Plan| arg.value_type() == ValueType::Matrix;
        let window = call
            .args
            .iter()
            .find(is_matrix)
            .ok_or_else(|| wrong_arguments(call))?;
        let mut params = Vec::new();
        for arg in call.args.iter().filter(|arg| !is_matrix(arg)) {
            params.push(self.scalar(arg, place)?);
        }
        let first = arg(call, 0)?;
        let span = match &first.kind {
            // COMPAT: Prometheus evaluates a subquery to a selector without a place (`promql/engine.go`,
            // `evalSubquery`), which remarks show as the start of the query.
            Kind::Subquery(_) => Span { start: 0, end: 0 },
            _ => first.span,
        };
        let range_call = |range_ms, shift, (extension, detail), tally, cx| RangeCall {
            cx,
            grid: place.grid,
            function,
            range_ms,
            shift,
            extension,
            detail,
            tally,
            span,
        };
        let cx = Arc::clone(&self.cx);
        let (operator, names): (BoxOperator, Names) = match &window.kind {
            Kind::Window(selector, range_ms) => {
                check_extension(selector, call)?;
                let reach_ms = function.reach(selector.extension, cx.lookback_ms);
                let (source, names) = self.source(selector, place, *range_ms, reach_ms);
                let kind = (selector.extension, selector.detail);
                let range_call = range_call(*range_ms, selector.shift, kind, place.tally, cx);
                (
                    Box::new(RangeOverSelect::new(range_call, params, source)),
                    names,
                )
            }
            Kind::Subquery(_) if function.is_extra() => {
                let what = format!("{} over a subquery", call.func.name);
                return Err(Error::unimplemented(what));
            }
            Kind::Subquery(subquery) => {
                let input = self.subquery(subquery, place)?;
                let (range_ms, shift) = (subquery.range_ms, subquery.shift);
                let tally = place.tally.over_computed();
                let range_call = range_call(range_ms, shift, (None, Detail::Buckets), tally, cx);
                let operator = RangeOverSubquery::new(range_call, params, input.operator);
                (Box::new(operator), input.names)
            }
            _ => return Err(wrong_arguments(call)),
        };
        Ok(Built { operator, names })
    }

    /// Returns an instant selector whose values are interpolated.
    pub(super) fn smoothed(&mut self, selector: &Selector, span: Span, place: &Place) -> Built {
        let reach_ms = WindowFn::Smoothed.reach(selector.extension, self.cx.lookback_ms);
        let (source, names) = self.source(selector, place, 0, reach_ms);
        let call = RangeCall {
            cx: Arc::clone(&self.cx),
            grid: place.grid,
            function: WindowFn::Smoothed,
            range_ms: 0,
            shift: selector.shift,
            extension: selector.extension,
            detail: selector.detail,
            tally: place.tally,
            span,
        };
        Built {
            operator: Box::new(RangeOverSelect::new(call, Vec::new(), source)),
            names,
        }
    }

    fn map(&mut self, call: &Call, function: MapFn, place: &Place) -> Result<Built> {
        let Some(input) = call.args.first() else {
            // A date function without argument is about the time of the step.
            let cx = Arc::clone(&self.cx);
            let time = Box::new(ScalarSeries::new(cx, place.grid, Scalar::Time));
            return Ok(Built {
                operator: self.mapped(time, function, Vec::new()),
                names: Names::Gone,
            });
        };
        let input = self.vector(input, place)?;
        let mut params = Vec::new();
        for arg in &call.args[1..] {
            params.push(self.scalar(arg, place)?);
        }
        let operator = self.mapped(input.operator, function, params);
        Ok(self.without_names(operator, input.names, Overlap::AtStep))
    }

    fn mapped(&self, input: BoxOperator, function: MapFn, params: Vec<Scalar>) -> BoxOperator {
        Box::new(Map::new(Arc::clone(&self.cx), input, function, params))
    }

    /// Only right over a selector is it the time of the sample, otherwise that of the step.
    fn timestamp(&mut self, call: &Call, place: &Place) -> Result<Built> {
        if let Kind::Select(selector) = &arg(call, 0)?.kind {
            let input = self.select(selector, place, Wanted::SampleTime);
            return Ok(self.without_names(input.operator, input.names, Overlap::AtStep));
        }
        self.map(call, MapFn::StepTime, place)
    }

    /// Samples have a start only as they are stored, and only if the engine is to look at it.
    fn start_timestamp(&mut self, call: &Call, place: &Place) -> Result<Built> {
        let input = arg(call, 0)?;
        let input = match &input.kind {
            // Of the samples as they are stored, whatever the selector says of what lies between them.
            Kind::Select(selector) => {
                let input = self.select(selector, place, Wanted::StartTime);
                if self.cx.start_timestamps {
                    return Ok(self.without_names(input.operator, input.names, Overlap::AtStep));
                }
                input
            }
            _ => self.vector(input, place)?,
        };
        Ok(Built {
            operator: Box::new(Drain(input.operator)),
            names: Names::Gone,
        })
    }

    fn label_replace(&mut self, call: &Call, place: &Place) -> Result<Built> {
        let texts = texts(call, 1)?;
        let [destination, template, source, pattern] = &texts[..] else {
            return Err(wrong_arguments(call));
        };
        let edit = LabelEdit::replace([destination, template, source, pattern])?;
        self.edit_labels(call, place, edit, destination)
    }

    fn label_join(&mut self, call: &Call, place: &Place) -> Result<Built> {
        let texts = texts(call, 1)?;
        let [destination, separator, sources @ ..] = &texts[..] else {
            return Err(wrong_arguments(call));
        };
        let edit = LabelEdit::join(destination, separator, sources.to_vec())?;
        self.edit_labels(call, place, edit, destination)
    }

    fn edit_labels(
        &mut self,
        call: &Call,
        place: &Place,
        edit: LabelEdit,
        destination: &str,
    ) -> Result<Built> {
        let input = self.vector(arg(call, 0)?, place)?;
        let operator = Box::new(EditLabels {
            cx: Arc::clone(&self.cx),
            input: input.operator,
            edit,
        });
        let names = match input.names {
            Names::Gone if !is_metadata(destination.as_bytes()) => Names::Gone,
            Names::Gone | Names::Same(_) | Names::Mixed => Names::Mixed,
        };
        Ok(Built {
            operator: self.merged(operator, Overlap::AtStep),
            names,
        })
    }

    fn sort(
        &mut self,
        call: &Call,
        span: Span,
        place: &Place,
        key: SortKey,
        descending: bool,
    ) -> Result<Built> {
        let input = self.vector(arg(call, 0)?, place)?;
        if place.grid.spans_time() {
            self.cx.annotate(Annotation::sort_in_range_query(span));
            let operator = match key {
                SortKey::Value => Box::new(OnlyFloats(input.operator)),
                SortKey::Labels(_) => input.operator,
            };
            return Ok(Built { operator, ..input });
        }
        let cx = Arc::clone(&self.cx);
        Ok(Built {
            operator: Box::new(Sort::new(cx, input.operator, key, descending)),
            names: input.names,
        })
    }
}

/// Checks that a function can be used with the samples around its windows.
fn check_extension(selector: &Selector, call: &Call) -> Result<()> {
    let Some(extension) = selector.extension else {
        return Ok(());
    };
    let names = WindowFn::names_with(extension);
    if names.contains(&call.func.name) {
        return Ok(());
    }
    let (modifier, names, name) = (extension.as_str(), names.join(", "), call.func.name);
    let text = format!("{modifier} modifier can only be used with: {names} - not with {name}");
    Err(Error::execution(text))
}

fn absent(input: BoxOperator, call: &Call, drop_name: bool) -> Built {
    let labels = call.args.first().map(labels_of_absent).unwrap_or_default();
    let id = SeriesId { labels, drop_name };
    Built {
        operator: Box::new(Absent::new(input, id)),
        // There may be a type or unit among the labels.
        names: Names::Mixed,
    }
}

/// Returns the labels that a selector fixes: those with exactly one condition, an equality.
///
/// Source: Prometheus `promql/functions.go`, `createLabelsForAbsentFunction`.
fn labels_of_absent(plan: &Plan) -> Labels {
    let selector = match &plan.kind {
        Kind::Select(selector) | Kind::Window(selector, _) => selector,
        Kind::Invariant(inner) => return labels_of_absent(inner),
        _ => return Labels::empty(),
    };
    let mut builder = LabelsBuilder::new();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in selector.matchers.iter() {
        if matcher.name() == METRIC_NAME {
            continue;
        }
        if matcher.op() == MatchOp::Equal && !seen.contains(&matcher.name()) {
            builder.set(matcher.name(), matcher.value());
            seen.push(matcher.name());
        } else {
            builder.remove(matcher.name());
        }
    }
    builder.build()
}

pub(super) fn arg(call: &Call, index: usize) -> Result<&Plan> {
    call.args.get(index).ok_or_else(|| wrong_arguments(call))
}

/// Returns the text arguments from `from` on.
fn texts(call: &Call, from: usize) -> Result<Vec<String>> {
    let args = call.args.get(from..).unwrap_or_default();
    args.iter()
        .map(|arg| match &arg.kind {
            Kind::Text(text) => Ok(text.to_string()),
            _ => Err(wrong_arguments(call)),
        })
        .collect()
}

pub(super) fn wrong_arguments(call: &Call) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!(
            "{} was planned with arguments that it does not take",
            call.func.name
        ),
    )
}
