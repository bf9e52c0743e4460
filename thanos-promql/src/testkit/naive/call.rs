//! Functions of scalars and vectors, step by step.

use super::calendar;
use super::evaluate::{Evaluator, constant, number};
use super::labels::{absent_labels, text};
use super::series::{Cell, Dot, Line, Member, Steps};
use super::sums::{go_max, go_min};
use crate::error::{Error, Result};
use crate::parser::ast::{Call, VectorSelector};
use crate::parser::{Expr, FunctionId as Id, ValueType};
use thanos_core::labels::{Labels, METRIC_NAME};

impl Evaluator<'_> {
    /// Evaluates a function call at each of `steps`.
    pub(super) fn call(&mut self, call: &Call, steps: Steps) -> Result<Vec<Line>> {
        let is_matrix = |arg: &Expr| arg.value_type() == ValueType::Matrix;
        if call.args.iter().any(is_matrix) {
            return self.range_call(call, steps);
        }
        match call.func.id {
            Id::LabelReplace => return self.label_replace(call, steps),
            Id::LabelJoin => return self.label_join(call, steps),
            Id::Timestamp | Id::StartTimestamp => {
                if let Expr::Vector(selector) = call.args[0].without_parens() {
                    return self.sample_times(call.func.id, selector, steps);
                }
            }
            Id::Sort | Id::SortDesc | Id::SortByLabel | Id::SortByLabelDesc => {
                return self.unsorted(call, steps);
            }
            Id::Pi => return Ok(constant(std::f64::consts::PI, steps)),
            Id::Start => return Ok(constant(self.times.start.as_millis() as f64 / 1e3, steps)),
            Id::End => return Ok(constant(self.times.end.as_millis() as f64 / 1e3, steps)),
            Id::Range => {
                let range = self.times.end - self.times.start;
                return Ok(constant(range as f64 / 1e3, steps));
            }
            Id::Step => return Ok(constant(self.query_step_secs(), steps)),
            Id::Info => return Err(Error::unimplemented("info in the naive evaluator")),
            _ => {}
        }
        let inputs = self.arguments(call, steps)?;
        self.by_step(&inputs, steps, |evaluator, time, vectors| {
            evaluator.called(call, time, vectors)
        })
    }

    fn query_step_secs(&self) -> f64 {
        if self.times.start == self.times.end {
            return 0.0;
        }
        self.times.step.map_or(0.0, |step| step.as_secs_f64())
    }

    /// Evaluates all arguments; a text is nothing.
    fn arguments(&mut self, call: &Call, steps: Steps) -> Result<Vec<Vec<Line>>> {
        let mut inputs = Vec::new();
        for arg in &call.args {
            inputs.push(match arg.value_type() {
                ValueType::String => Vec::new(),
                _ => self.eval(arg, steps)?,
            });
        }
        Ok(inputs)
    }

    /// The order of a result does not matter here, so only the floats are left by sorting by value.
    fn unsorted(&mut self, call: &Call, steps: Steps) -> Result<Vec<Line>> {
        if steps.start != steps.end {
            self.warn("sorting the series of a range");
        }
        let mut lines = self.eval(&call.args[0], steps)?;
        if matches!(call.func.id, Id::Sort | Id::SortDesc) {
            for line in &mut lines {
                line.dots.retain(|dot| dot.cell.float().is_some());
            }
            lines.retain(|line| !line.dots.is_empty());
        }
        Ok(lines)
    }

    /// Returns when the samples were taken that a selector finds, or when their counters began.
    ///
    /// Upstream an `@` beside an offset hides the offset, but not when series are loaded, so that the answer depends
    /// on the other selectors of the query; that is left out here.
    fn sample_times(
        &mut self,
        id: Id,
        selector: &VectorSelector,
        steps: Steps,
    ) -> Result<Vec<Line>> {
        if id == Id::StartTimestamp && !self.options.start_timestamps {
            return Ok(Vec::new());
        }
        let mut lines = self.selected(selector, steps, |time, dot| {
            let shown = if id == Id::Timestamp {
                dot.time
            } else {
                dot.start
            };
            Dot {
                time,
                start: 0,
                cell: Cell::Float(shown as f64 / 1000.0),
            }
        })?;
        for line in &mut lines {
            line.labels = self.drop_name(line.labels.clone());
            line.drop_name = true;
        }
        self.by_step(&[lines], steps, |_, _, vectors| Ok(vectors[0].clone()))
    }

    /// Computes one step of a call.
    fn called(&mut self, call: &Call, time: i64, args: &[Vec<Member>]) -> Result<Vec<Member>> {
        let param = |place: usize| args.get(place).map_or(f64::NAN, |vector| number(vector));
        let scalar = |value| Ok(vec![Member::of_float(Labels::empty(), value)]);
        let id = call.func.id;
        match id {
            Id::Time => scalar(time as f64 / 1000.0),
            Id::Vector => scalar(param(0)),
            Id::MaxOf => scalar(go_max(param(0), param(1))),
            Id::MinOf => scalar(go_min(param(0), param(1))),
            Id::Scalar => {
                let floats: Vec<f64> = args[0].iter().filter_map(|m| m.cell.float()).collect();
                scalar(if let [only] = floats[..] {
                    only
                } else {
                    f64::NAN
                })
            }
            Id::Absent if args[0].is_empty() => {
                let labels = match call.args[0].without_parens() {
                    Expr::Vector(selector) => absent_labels(selector),
                    _ => Labels::empty(),
                };
                Ok(vec![Member::of_float(labels, 1.0)])
            }
            Id::Absent => Ok(Vec::new()),
            Id::Timestamp => Ok(self.mapped(&args[0], |_| Some(time as f64 / 1000.0))),
            // Only samples of a selector know when they started.
            Id::StartTimestamp => Ok(Vec::new()),
            Id::Minute
            | Id::Hour
            | Id::DayOfWeek
            | Id::DayOfMonth
            | Id::DayOfYear
            | Id::DaysInMonth
            | Id::Month
            | Id::Year => Ok(match args.first() {
                None => {
                    let secs = time.div_euclid(1000) as f64;
                    vec![Member::of_float(Labels::empty(), calendar::part(id, secs))]
                }
                Some(vector) => self.mapped(vector, |cell| Some(calendar::part(id, cell.float()?))),
            }),
            Id::Clamp => Ok(self.clamped(&args[0], param(1), param(2))),
            Id::ClampMin => Ok(self.clamped(&args[0], param(1), f64::INFINITY)),
            Id::ClampMax => Ok(self.clamped(&args[0], f64::NEG_INFINITY, param(1))),
            Id::Round => {
                let nearest = if args.len() > 1 { param(1) } else { 1.0 };
                let inverse = 1.0 / nearest;
                Ok(self.mapped(&args[0], |cell| {
                    Some((cell.float()? * inverse + 0.5).floor() / inverse)
                }))
            }
            Id::HistogramQuantile => Ok(self.quantile_of_histograms(&args[1], param(0), None)),
            Id::HistogramQuantiles => {
                let label = text(&call.args[1]);
                let mut all = Vec::new();
                for place in 2..args.len() {
                    let quantile = param(place);
                    all.extend(self.quantile_of_histograms(&args[0], quantile, Some(label)));
                }
                Ok(all)
            }
            Id::HistogramFraction => {
                Ok(self.fraction_of_histograms(&args[2], (param(0), param(1))))
            }
            Id::HistogramCount
            | Id::HistogramSum
            | Id::HistogramAvg
            | Id::HistogramStddev
            | Id::HistogramStdvar => Ok(self.statistic(id, &args[0])),
            _ => Ok(self.mapped(&args[0], |cell| Some(computed(id, cell.float()?)))),
        }
    }

    /// Returns the members that `compute` has a number for, without their names.
    pub(super) fn mapped(
        &self,
        vector: &[Member],
        compute: impl Fn(&Cell) -> Option<f64>,
    ) -> Vec<Member> {
        let member = |member: &Member| {
            Some(Member {
                labels: self.drop_name(member.labels.clone()),
                drop_name: true,
                cell: Cell::Float(compute(&member.cell)?),
            })
        };
        vector.iter().filter_map(member).collect()
    }

    fn clamped(&self, vector: &[Member], min: f64, max: f64) -> Vec<Member> {
        if max < min {
            return Vec::new();
        }
        self.mapped(vector, |cell| Some(go_max(min, go_min(max, cell.float()?))))
    }

    /// COMPAT: only the name goes, type and unit stay (Prometheus `promql/functions.go`, `simpleHistogramFunc`).
    fn statistic(&self, id: Id, vector: &[Member]) -> Vec<Member> {
        let member = |member: &Member| {
            let histogram = member.cell.histogram()?;
            let labels = if self.options.delayed_name_removal {
                member.labels.clone()
            } else {
                super::series::labels_where(&member.labels, |name| name != METRIC_NAME)
            };
            Some(Member {
                labels,
                drop_name: true,
                cell: Cell::Float(super::observations::statistic(id, histogram)),
            })
        };
        vector.iter().filter_map(member).collect()
    }
}

/// Returns a function of one number.
fn computed(id: Id, x: f64) -> f64 {
    match id {
        Id::Abs => x.abs(),
        Id::Ceil => x.ceil(),
        Id::Floor => x.floor(),
        Id::Exp => x.exp(),
        Id::Sqrt => x.sqrt(),
        Id::Ln => x.ln(),
        Id::Log2 => x.log2(),
        Id::Log10 => x.log10(),
        Id::Sin => x.sin(),
        Id::Cos => x.cos(),
        Id::Tan => x.tan(),
        Id::Asin => x.asin(),
        Id::Acos => x.acos(),
        Id::Atan => x.atan(),
        Id::Sinh => x.sinh(),
        Id::Cosh => x.cosh(),
        Id::Tanh => x.tanh(),
        Id::Asinh => x.asinh(),
        Id::Acosh => x.acosh(),
        Id::Atanh => x.atanh(),
        Id::Deg => x * 180.0 / std::f64::consts::PI,
        Id::Rad => x * std::f64::consts::PI / 180.0,
        Id::Sgn if x < 0.0 => -1.0,
        Id::Sgn if x > 0.0 => 1.0,
        Id::Sgn => x,
        other => unreachable!("{other:?} is no function of one number"),
    }
}
