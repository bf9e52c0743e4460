//! The functions of the language: names, argument and result types. Mostly a table.
//!
//! What the functions compute is the business of the engine.

use super::ops::ValueType;

/// How many arguments beyond its types a function takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// Exactly one per type.
    Exact,
    /// The last type may be absent or repeat, up to this many arguments in its place.
    UpTo(usize),
    /// The last type may be absent or repeat without limit.
    Unbounded,
}

/// What must be switched on for a function to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// Nothing.
    Stable,
    /// [`Options::experimental_functions`](super::Options::experimental_functions).
    Experimental,
    /// [`Options::x_functions`](super::Options::x_functions).
    Thanos,
}

/// The signature of a function.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Which function it is.
    pub id: FunctionId,
    /// The name as written.
    pub name: &'static str,
    /// The types of the arguments.
    pub arg_types: &'static [ValueType],
    /// How the number of arguments may differ from the number of types.
    pub arity: Arity,
    /// The type of the result.
    pub return_type: ValueType,
    /// What must be switched on.
    pub availability: Availability,
}

impl Function {
    /// Returns the function called `name`; names are case-sensitive.
    pub fn find(name: &str) -> Option<&'static Self> {
        let place = FUNCTIONS.binary_search_by(|function| function.name.cmp(name));
        place.ok().map(|place| &FUNCTIONS[place])
    }

    /// Returns all functions in the order of their names.
    pub fn all() -> &'static [Self] {
        &FUNCTIONS
    }

    /// Returns the fewest arguments a call may have.
    pub fn args_min(&self) -> usize {
        match self.arity {
            Arity::Exact => self.arg_types.len(),
            Arity::UpTo(_) | Arity::Unbounded => self.arg_types.len() - 1,
        }
    }

    /// Returns the most arguments a call may have, if there is a limit.
    pub fn args_max(&self) -> Option<usize> {
        match self.arity {
            Arity::Exact => Some(self.arg_types.len()),
            Arity::UpTo(more) => Some(self.arg_types.len() - 1 + more),
            Arity::Unbounded => None,
        }
    }

    /// Returns the type that the argument at `place` must have.
    pub fn arg_type(&self, place: usize) -> Option<ValueType> {
        match self.arity {
            Arity::Exact => self.arg_types.get(place).copied(),
            Arity::UpTo(_) | Arity::Unbounded => {
                self.arg_types.get(place).or(self.arg_types.last()).copied()
            }
        }
    }
}

/// A function by identity, for exhaustive matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each variant is the function of the same name")]
pub enum FunctionId {
    Abs,
    Absent,
    AbsentOverTime,
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    AvgOverTime,
    Ceil,
    Changes,
    Clamp,
    ClampMax,
    ClampMin,
    Cos,
    Cosh,
    CountOverTime,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    DaysInMonth,
    Deg,
    Delta,
    Deriv,
    DoubleExponentialSmoothing,
    End,
    Exp,
    FirstOverTime,
    Floor,
    HistogramAvg,
    HistogramCount,
    HistogramFraction,
    HistogramQuantile,
    HistogramQuantiles,
    HistogramStddev,
    HistogramStdvar,
    HistogramSum,
    Hour,
    Idelta,
    Increase,
    Info,
    Irate,
    LabelJoin,
    LabelReplace,
    LastOverTime,
    Ln,
    Log10,
    Log2,
    MadOverTime,
    MaxOf,
    MaxOverTime,
    MinOf,
    MinOverTime,
    Minute,
    Month,
    Pi,
    PredictLinear,
    PresentOverTime,
    QuantileOverTime,
    Rad,
    Range,
    Rate,
    Resets,
    Round,
    Scalar,
    Sgn,
    Sin,
    Sinh,
    Sort,
    SortByLabel,
    SortByLabelDesc,
    SortDesc,
    Sqrt,
    Start,
    StartTimestamp,
    StddevOverTime,
    StdvarOverTime,
    Step,
    SumOverTime,
    Tan,
    Tanh,
    Time,
    Timestamp,
    TsOfFirstOverTime,
    TsOfLastOverTime,
    TsOfMaxOverTime,
    TsOfMinOverTime,
    Vector,
    Xdelta,
    Xincrease,
    Xrate,
    Year,
}

const S: ValueType = ValueType::Scalar;
const V: ValueType = ValueType::Vector;
const M: ValueType = ValueType::Matrix;
const T: ValueType = ValueType::String;

const fn function(
    id: FunctionId,
    name: &'static str,
    arg_types: &'static [ValueType],
    return_type: ValueType,
) -> Function {
    Function {
        id,
        name,
        arg_types,
        arity: Arity::Exact,
        return_type,
        availability: Availability::Stable,
    }
}

impl Function {
    const fn optional(self) -> Self {
        self.up_to(1)
    }

    const fn up_to(mut self, more: usize) -> Self {
        self.arity = Arity::UpTo(more);
        self
    }

    const fn unbounded(mut self) -> Self {
        self.arity = Arity::Unbounded;
        self
    }

    const fn experimental(mut self) -> Self {
        self.availability = Availability::Experimental;
        self
    }

    const fn thanos(mut self) -> Self {
        self.availability = Availability::Thanos;
        self
    }
}

/// Sorted by name. Source: Prometheus 3.14 promql/parser/functions.go, and Thanos' promql-engine for the x functions.
#[rustfmt::skip]
static FUNCTIONS: [Function; 93] = {
    use FunctionId as Id;
    [
        function(Id::Abs, "abs", &[V], V),
        function(Id::Absent, "absent", &[V], V),
        function(Id::AbsentOverTime, "absent_over_time", &[M], V),
        function(Id::Acos, "acos", &[V], V),
        function(Id::Acosh, "acosh", &[V], V),
        function(Id::Asin, "asin", &[V], V),
        function(Id::Asinh, "asinh", &[V], V),
        function(Id::Atan, "atan", &[V], V),
        function(Id::Atanh, "atanh", &[V], V),
        function(Id::AvgOverTime, "avg_over_time", &[M], V),
        function(Id::Ceil, "ceil", &[V], V),
        function(Id::Changes, "changes", &[M], V),
        function(Id::Clamp, "clamp", &[V, S, S], V),
        function(Id::ClampMax, "clamp_max", &[V, S], V),
        function(Id::ClampMin, "clamp_min", &[V, S], V),
        function(Id::Cos, "cos", &[V], V),
        function(Id::Cosh, "cosh", &[V], V),
        function(Id::CountOverTime, "count_over_time", &[M], V),
        function(Id::DayOfMonth, "day_of_month", &[V], V).optional(),
        function(Id::DayOfWeek, "day_of_week", &[V], V).optional(),
        function(Id::DayOfYear, "day_of_year", &[V], V).optional(),
        function(Id::DaysInMonth, "days_in_month", &[V], V).optional(),
        function(Id::Deg, "deg", &[V], V),
        function(Id::Delta, "delta", &[M], V),
        function(Id::Deriv, "deriv", &[M], V),
        function(Id::DoubleExponentialSmoothing, "double_exponential_smoothing", &[M, S, S], V).experimental(),
        function(Id::End, "end", &[], S).experimental(),
        function(Id::Exp, "exp", &[V], V),
        function(Id::FirstOverTime, "first_over_time", &[M], V),
        function(Id::Floor, "floor", &[V], V),
        function(Id::HistogramAvg, "histogram_avg", &[V], V),
        function(Id::HistogramCount, "histogram_count", &[V], V),
        function(Id::HistogramFraction, "histogram_fraction", &[S, S, V], V),
        function(Id::HistogramQuantile, "histogram_quantile", &[S, V], V),
        function(Id::HistogramQuantiles, "histogram_quantiles", &[V, T, S, S], V).up_to(9).experimental(),
        function(Id::HistogramStddev, "histogram_stddev", &[V], V),
        function(Id::HistogramStdvar, "histogram_stdvar", &[V], V),
        function(Id::HistogramSum, "histogram_sum", &[V], V),
        function(Id::Hour, "hour", &[V], V).optional(),
        function(Id::Idelta, "idelta", &[M], V),
        function(Id::Increase, "increase", &[M], V),
        function(Id::Info, "info", &[V, V], V).optional().experimental(),
        function(Id::Irate, "irate", &[M], V),
        function(Id::LabelJoin, "label_join", &[V, T, T, T], V).unbounded(),
        function(Id::LabelReplace, "label_replace", &[V, T, T, T, T], V),
        function(Id::LastOverTime, "last_over_time", &[M], V),
        function(Id::Ln, "ln", &[V], V),
        function(Id::Log10, "log10", &[V], V),
        function(Id::Log2, "log2", &[V], V),
        function(Id::MadOverTime, "mad_over_time", &[M], V).experimental(),
        function(Id::MaxOf, "max_of", &[S, S], S).experimental(),
        function(Id::MaxOverTime, "max_over_time", &[M], V),
        function(Id::MinOf, "min_of", &[S, S], S).experimental(),
        function(Id::MinOverTime, "min_over_time", &[M], V),
        function(Id::Minute, "minute", &[V], V).optional(),
        function(Id::Month, "month", &[V], V).optional(),
        function(Id::Pi, "pi", &[], S),
        function(Id::PredictLinear, "predict_linear", &[M, S], V),
        function(Id::PresentOverTime, "present_over_time", &[M], V),
        function(Id::QuantileOverTime, "quantile_over_time", &[S, M], V),
        function(Id::Rad, "rad", &[V], V),
        function(Id::Range, "range", &[], S).experimental(),
        function(Id::Rate, "rate", &[M], V),
        function(Id::Resets, "resets", &[M], V),
        function(Id::Round, "round", &[V, S], V).optional(),
        function(Id::Scalar, "scalar", &[V], S),
        function(Id::Sgn, "sgn", &[V], V),
        function(Id::Sin, "sin", &[V], V),
        function(Id::Sinh, "sinh", &[V], V),
        function(Id::Sort, "sort", &[V], V),
        function(Id::SortByLabel, "sort_by_label", &[V, T], V).unbounded().experimental(),
        function(Id::SortByLabelDesc, "sort_by_label_desc", &[V, T], V).unbounded().experimental(),
        function(Id::SortDesc, "sort_desc", &[V], V),
        function(Id::Sqrt, "sqrt", &[V], V),
        function(Id::Start, "start", &[], S).experimental(),
        function(Id::StartTimestamp, "start_timestamp", &[V], V).experimental(),
        function(Id::StddevOverTime, "stddev_over_time", &[M], V),
        function(Id::StdvarOverTime, "stdvar_over_time", &[M], V),
        function(Id::Step, "step", &[], S).experimental(),
        function(Id::SumOverTime, "sum_over_time", &[M], V),
        function(Id::Tan, "tan", &[V], V),
        function(Id::Tanh, "tanh", &[V], V),
        function(Id::Time, "time", &[], S),
        function(Id::Timestamp, "timestamp", &[V], V),
        function(Id::TsOfFirstOverTime, "ts_of_first_over_time", &[M], V).experimental(),
        function(Id::TsOfLastOverTime, "ts_of_last_over_time", &[M], V).experimental(),
        function(Id::TsOfMaxOverTime, "ts_of_max_over_time", &[M], V).experimental(),
        function(Id::TsOfMinOverTime, "ts_of_min_over_time", &[M], V).experimental(),
        function(Id::Vector, "vector", &[S], V),
        function(Id::Xdelta, "xdelta", &[M], V).thanos(),
        function(Id::Xincrease, "xincrease", &[M], V).thanos(),
        function(Id::Xrate, "xrate", &[M], V).thanos(),
        function(Id::Year, "year", &[V], V).optional(),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted_and_complete() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name && a.id < b.id));
        let upstream = |f: &&Function| f.availability != Availability::Thanos;
        assert_eq!(FUNCTIONS.iter().filter(upstream).count(), 90);
    }

    #[test]
    fn names_are_found_exactly() {
        for function in Function::all() {
            assert_eq!(Function::find(function.name), Some(function));
        }
        assert_eq!(Function::find("RATE"), None);
        assert_eq!(Function::find("sum"), None);
    }

    #[test]
    fn variadic_functions_bound_their_arguments() {
        let bounds = |name: &str| {
            let function = Function::find(name).expect("in the table");
            (function.args_min(), function.args_max())
        };
        assert_eq!(bounds("rate"), (1, Some(1)));
        assert_eq!(bounds("round"), (1, Some(2)));
        assert_eq!(bounds("hour"), (0, Some(1)));
        assert_eq!(bounds("label_join"), (3, None));
        assert_eq!(bounds("histogram_quantiles"), (3, Some(12)));
        let join = Function::find("label_join").expect("in the table");
        assert_eq!(join.arg_type(9), Some(ValueType::String));
        assert_eq!(Function::find("abs").and_then(|f| f.arg_type(1)), None);
    }
}
