//! Functions over the samples of a window.
//!
//! A kernel sees one window at a time; windows of one series come in time order. What a kernel can know about the
//! whole series beforehand (such as: it has no counter reset) it learns in [`Kernel::prepare`], so that the
//! common case costs the same however wide the window is.
//!
//! Nearly all series are floats only: [`WindowFn::sweep`] asks that once for each series, and the kernels for
//! floats know nothing of histograms.

mod columns;
mod combine;
mod extended;
mod extended_histogram;
mod extreme;
mod fold;
mod histogram_rate;
mod mixed;
mod order;
mod pairs;
mod rate;
mod remarks;
mod starts;
mod total;
mod trend;
mod xrate;

use crate::error::{Error, Result};
use crate::parser::ast::RangeExtension;
use crate::value::SampleValue;

pub(crate) use columns::Columns;
pub(crate) use extended::{extend, reach};
pub(crate) use remarks::{Remark, Remarks};

use columns::{HistogramCounts, Kinds, Window};
use extended::ExtendedRate;
use extended_histogram::{MixedExtendedRate, Smoothed};
use extreme::{Extreme, Wanted};
use histogram_rate::MixedRate;
use mixed::{FloatsOnly, Total};
use order::{MedianDeviation, Quantile};
use pairs::{InstantKind, LastTwo, PairCount, is_change, is_reset};
use rate::{Rate, RateKind};
use total::{FloatTotal, TotalKind};
use trend::Smoothing;
use xrate::ExtraRate;

/// The samples and steps between two looks at the deadline: some milliseconds of work.
const CHECK_WORK: usize = 1 << 20;
/// How much more work a histogram is than a float.
const HISTOGRAM_WORK: usize = 1 << 6;

/// A function over windows.
trait Kernel: Sized {
    /// What it gives.
    type Out: Into<SampleValue>;

    /// Looks at a whole series before its windows come.
    fn prepare(&mut self, _series: Columns<'_>) {}

    /// Returns the result for one window, or nothing.
    fn eval(&mut self, window: &Window<'_>) -> Option<Self::Out>;

    /// Tells what there is to say after the last window.
    ///
    /// # Errors
    ///
    /// In Prometheus' words when a window had parameters that the function cannot take.
    fn finish(self, _remarks: &mut Remarks) -> Result<()> {
        Ok(())
    }
}

/// The functions over ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowFn {
    AvgOverTime,
    Changes,
    CountOverTime,
    Delta,
    Deriv,
    DoubleExponentialSmoothing,
    FirstOverTime,
    Idelta,
    Increase,
    Irate,
    LastOverTime,
    MadOverTime,
    MaxOverTime,
    MinOverTime,
    PredictLinear,
    PresentOverTime,
    QuantileOverTime,
    Rate,
    Resets,
    /// The value at the end of the window: an instant selector with `smoothed`.
    Smoothed,
    StddevOverTime,
    StdvarOverTime,
    SumOverTime,
    TsOfFirstOverTime,
    TsOfLastOverTime,
    TsOfMaxOverTime,
    TsOfMinOverTime,
    Xdelta,
    Xincrease,
    Xrate,
}

impl WindowFn {
    /// Returns the function `name`; `absent_over_time` only asks whether there is a sample.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "avg_over_time" => Self::AvgOverTime,
            "changes" => Self::Changes,
            "count_over_time" => Self::CountOverTime,
            "delta" => Self::Delta,
            "deriv" => Self::Deriv,
            "double_exponential_smoothing" => Self::DoubleExponentialSmoothing,
            "first_over_time" => Self::FirstOverTime,
            "idelta" => Self::Idelta,
            "increase" => Self::Increase,
            "irate" => Self::Irate,
            "last_over_time" => Self::LastOverTime,
            "mad_over_time" => Self::MadOverTime,
            "max_over_time" => Self::MaxOverTime,
            "min_over_time" => Self::MinOverTime,
            "predict_linear" => Self::PredictLinear,
            "absent_over_time" | "present_over_time" => Self::PresentOverTime,
            "quantile_over_time" => Self::QuantileOverTime,
            "rate" => Self::Rate,
            "resets" => Self::Resets,
            "stddev_over_time" => Self::StddevOverTime,
            "stdvar_over_time" => Self::StdvarOverTime,
            "sum_over_time" => Self::SumOverTime,
            "ts_of_first_over_time" => Self::TsOfFirstOverTime,
            "ts_of_last_over_time" => Self::TsOfLastOverTime,
            "ts_of_max_over_time" => Self::TsOfMaxOverTime,
            "ts_of_min_over_time" => Self::TsOfMinOverTime,
            "xdelta" => Self::Xdelta,
            "xincrease" => Self::Xincrease,
            "xrate" => Self::Xrate,
            _ => return None,
        })
    }

    /// Returns the function of raw samples that does what this one is to do with what stands for downsampled windows
    /// of `window_ms`; 0 means that the samples are raw.
    ///
    /// Counting asks for the number of samples in each window, which have to be added up. (Thanos counts the windows.)
    pub(crate) fn over_windows(self, window_ms: i64) -> Self {
        match self {
            Self::CountOverTime if window_ms > 0 => Self::SumOverTime,
            other => other,
        }
    }

    /// Reports whether the result is still the metric, so that it keeps its name.
    pub(crate) fn keeps_name(self) -> bool {
        matches!(
            self,
            Self::LastOverTime | Self::FirstOverTime | Self::Smoothed
        )
    }

    /// Reports whether only a counter makes sense here.
    pub(crate) fn wants_counter_name(self) -> bool {
        matches!(self, Self::Rate | Self::Increase)
    }

    /// Reports whether this is one of Thanos' functions that look far back before their windows.
    pub(crate) fn is_extra(self) -> bool {
        matches!(self, Self::Xdelta | Self::Xincrease | Self::Xrate)
    }

    /// Returns how far before and after its borders a window reaches.
    pub(crate) fn reach(self, extension: Option<RangeExtension>, lookback_ms: i64) -> (i64, i64) {
        if self.is_extra() {
            return (xrate::LOOKBACK_MS, 0);
        }
        reach(extension, lookback_ms)
    }

    /// Returns the names of the functions that take windows with `extension`.
    ///
    /// Source: Prometheus `promql/functions.go`, `AnchoredSafeFunctions` and `SmoothedSafeFunctions`.
    pub(crate) fn names_with(extension: RangeExtension) -> &'static [&'static str] {
        match extension {
            RangeExtension::Anchored => &["changes", "delta", "increase", "rate", "resets"],
            RangeExtension::Smoothed => &["delta", "increase", "rate"],
        }
    }
}

/// The windows of one series over some steps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sweep<'a> {
    /// The steps: (time of the step, inclusive end of its window), both ascending.
    pub(crate) steps: &'a [(i64, i64)],
    /// The width of the windows, in milliseconds.
    pub(crate) range_ms: i64,
    /// What the function does with the samples around a window.
    pub(crate) extension: Option<RangeExtension>,
    /// How far before and after a window samples are of use, in milliseconds: see [`WindowFn::reach`].
    pub(crate) reach_ms: (i64, i64),
    /// For each scalar parameter one value for each step, or one for all.
    pub(crate) params: [&'a [f64]; 2],
}

impl WindowFn {
    /// Calls `out(step, result)` for every step that has one and returns the samples seen in all windows.
    ///
    /// # Errors
    ///
    /// Those of `check`, which is called now and then to see whether the results are still wanted; in Prometheus'
    /// words when a window had parameters that the function cannot take.
    pub(crate) fn sweep(
        self,
        series: Columns<'_>,
        sweep: Sweep<'_>,
        out: impl FnMut(usize, SampleValue),
        check: impl Fn() -> Result<()>,
        remarks: &mut Remarks,
    ) -> Result<usize> {
        let runner = Runner {
            series,
            sweep,
            out,
            check,
            remarks,
        };
        if series.is_float_only() {
            self.sweep_floats(runner)
        } else {
            self.sweep_mixed(runner)
        }
    }

    fn sweep_floats<O, C>(self, runner: Runner<'_, O, C>) -> Result<usize>
    where
        O: FnMut(usize, SampleValue),
        C: Fn() -> Result<()>,
    {
        let extension = runner.sweep.extension;
        // One call for each kernel, so that the loop is compiled for each.
        match self {
            Self::AvgOverTime => runner.run(FloatTotal::new(TotalKind::Mean)),
            Self::Changes => runner.run(PairCount::new(is_change, extension.is_some())),
            Self::CountOverTime => runner.run(Each(fold::count)),
            Self::Delta => runner.run_rate(RateKind::Delta),
            Self::Deriv => runner.run(Each(trend::deriv)),
            Self::DoubleExponentialSmoothing => runner.run(Smoothing::default()),
            Self::FirstOverTime => runner.run(Each(fold::first)),
            Self::Idelta => runner.run(LastTwo::new(InstantKind::Idelta)),
            Self::Increase => runner.run_rate(RateKind::Increase),
            Self::Irate => runner.run(LastTwo::new(InstantKind::Irate)),
            Self::LastOverTime => runner.run(Each(fold::last)),
            Self::MadOverTime => runner.run(MedianDeviation::default()),
            Self::MaxOverTime => runner.run(Extreme::new(|new, old| new > old, Wanted::Value)),
            Self::MinOverTime => runner.run(Extreme::new(|new, old| new < old, Wanted::Value)),
            Self::PredictLinear => runner.run(Each(trend::predict_linear)),
            Self::PresentOverTime => runner.run(Each(fold::present)),
            Self::QuantileOverTime => runner.run(Quantile::default()),
            Self::Rate => runner.run_rate(RateKind::Rate),
            Self::Resets => runner.run(PairCount::new(is_reset, extension.is_some())),
            Self::Smoothed => runner.run(Smoothed::default()),
            Self::StddevOverTime => runner.run(Each(fold::stddev)),
            Self::StdvarOverTime => runner.run(Each(fold::stdvar)),
            Self::SumOverTime => runner.run(FloatTotal::new(TotalKind::Sum)),
            Self::TsOfFirstOverTime => runner.run(Each(fold::ts_of_first)),
            Self::TsOfLastOverTime => runner.run(Each(fold::ts_of_last)),
            Self::TsOfMaxOverTime => runner.run(Extreme::new(|new, old| new >= old, Wanted::Time)),
            Self::TsOfMinOverTime => runner.run(Extreme::new(|new, old| new <= old, Wanted::Time)),
            Self::Xdelta => runner.run_extra_rate(RateKind::Delta),
            Self::Xincrease => runner.run_extra_rate(RateKind::Increase),
            Self::Xrate => runner.run_extra_rate(RateKind::Rate),
        }
    }

    fn sweep_mixed<O, C>(self, runner: Runner<'_, O, C>) -> Result<usize>
    where
        O: FnMut(usize, SampleValue),
        C: Fn() -> Result<()>,
    {
        match self {
            Self::AvgOverTime => runner.run(Total::new(TotalKind::Mean)),
            Self::SumOverTime => runner.run(Total::new(TotalKind::Sum)),
            Self::FirstOverTime => runner.run(Each(mixed::first)),
            Self::LastOverTime => runner.run(Each(mixed::last)),
            Self::Delta => runner.run_mixed_rate(RateKind::Delta),
            Self::Increase => runner.run_mixed_rate(RateKind::Increase),
            Self::Rate => runner.run_mixed_rate(RateKind::Rate),
            // These look at times, or at cells.
            Self::Changes
            | Self::CountOverTime
            | Self::Idelta
            | Self::Irate
            | Self::PresentOverTime
            | Self::Resets
            | Self::Smoothed
            | Self::TsOfFirstOverTime
            | Self::TsOfLastOverTime => self.sweep_floats(runner),
            Self::Deriv
            | Self::DoubleExponentialSmoothing
            | Self::MadOverTime
            | Self::MaxOverTime
            | Self::MinOverTime
            | Self::PredictLinear
            | Self::QuantileOverTime
            | Self::StddevOverTime
            | Self::StdvarOverTime
            | Self::TsOfMaxOverTime
            | Self::TsOfMinOverTime => self.sweep_without_histograms(runner),
            Self::Xdelta | Self::Xincrease | Self::Xrate => Err(Error::execution(
                "native histograms are not supported in extended range functions",
            )),
        }
    }

    /// Lets the function see the floats alone.
    fn sweep_without_histograms<O, C>(self, mut runner: Runner<'_, O, C>) -> Result<usize>
    where
        O: FnMut(usize, SampleValue),
        C: Fn() -> Result<()>,
    {
        let counts = HistogramCounts::of(runner.series);
        let (mut are_ignored, mut checked) = (false, Ok(()));
        let touched = runner.each_window(|_, window| {
            are_ignored |= counts.kinds(window) == Kinds::Both;
            if self == Self::DoubleExponentialSmoothing && checked.is_ok() {
                // The factors matter whatever the samples are.
                checked = trend::check_factors(window.params);
            }
        })?;
        checked?;
        runner
            .remarks
            .add_if(are_ignored, Remark::HistogramsIgnored);
        let floats = FloatsOnly::of(runner.series);
        self.sweep_floats(Runner {
            series: floats.columns(),
            ..runner
        })?;
        Ok(touched)
    }
}

/// Takes a kernel over the windows of a series.
struct Runner<'a, O, C> {
    series: Columns<'a>,
    sweep: Sweep<'a>,
    out: O,
    check: C,
    remarks: &'a mut Remarks,
}

impl<O, C> Runner<'_, O, C>
where
    O: FnMut(usize, SampleValue),
    C: Fn() -> Result<()>,
{
    fn run<K: Kernel>(self, mut kernel: K) -> Result<usize> {
        let Self {
            series,
            sweep,
            mut out,
            check,
            remarks,
        } = self;
        kernel.prepare(series);
        let seen = for_each_window(series, sweep, &check, |step, window| {
            if let Some(value) = kernel.eval(window) {
                out(step, value.into());
            }
        })?;
        kernel.finish(remarks)?;
        Ok(seen)
    }

    fn each_window(&mut self, each: impl FnMut(usize, &Window<'_>)) -> Result<usize> {
        for_each_window(self.series, self.sweep, &self.check, each)
    }

    fn run_rate(self, kind: RateKind) -> Result<usize> {
        match self.sweep.extension {
            None => self.run(Rate::new(kind)),
            Some(extension) => self.run(ExtendedRate::new(kind, extension)),
        }
    }

    fn run_extra_rate(self, kind: RateKind) -> Result<usize> {
        let kernel = ExtraRate::new(kind, &self.sweep);
        self.run(kernel)
    }

    fn run_mixed_rate(self, kind: RateKind) -> Result<usize> {
        match self.sweep.extension {
            None => self.run(MixedRate::new(kind)),
            Some(extension) => self.run(MixedExtendedRate::new(kind, extension)),
        }
    }
}

/// Calls `each(step, window)` for every window with samples and returns how many samples all of them have.
#[inline]
fn for_each_window(
    series: Columns<'_>,
    sweep: Sweep<'_>,
    check: &impl Fn() -> Result<()>,
    mut each: impl FnMut(usize, &Window<'_>),
) -> Result<usize> {
    let (before_ms, after_ms) = sweep.reach_ms;
    let (mut from, mut to, mut seen, mut work) = (0, 0, 0, 0);
    let sample_work = if series.is_float_only() {
        1
    } else {
        HISTOGRAM_WORK
    };
    for (step, &(step_ms, end_ms)) in sweep.steps.iter().enumerate() {
        let start_ms = end_ms.saturating_sub(sweep.range_ms);
        let open_ms = start_ms.saturating_sub(before_ms);
        let close_ms = end_ms.saturating_add(after_ms);
        while series.times.get(to).is_some_and(|time| *time <= close_ms) {
            to += 1;
        }
        while from < to && series.times[from] <= open_ms {
            from += 1;
        }
        work += 1 + (to - from) * sample_work;
        if work >= CHECK_WORK {
            check()?;
            work = 0;
        }
        if from == to {
            continue;
        }
        seen += to - from;
        let window = Window {
            series,
            from,
            to,
            start_ms,
            end_ms,
            step_ms,
            params: sweep
                .params
                .map(|values| values.get(step).or(values.first()).copied().unwrap_or(0.0)),
        };
        each(step, &window);
    }
    Ok(seen)
}

/// A kernel that folds every window anew.
struct Each<F>(F);

impl<T: Into<SampleValue>, F: Fn(&Window<'_>) -> Option<T>> Kernel for Each<F> {
    type Out = T;

    fn eval(&mut self, window: &Window<'_>) -> Option<T> {
        (self.0)(window)
    }
}

#[cfg(test)]
mod tests;
