//! The functions of PromQL as kernels on slices; which function takes what is known to the parser's table.
//!
//! [`window`] has the functions over ranges, [`math`] those of single values, [`date`] the calendar,
//! [`bucket`] the quantiles of classic histograms. Nothing here knows about operators or series.

pub(crate) mod bucket;
pub(crate) mod date;
pub(crate) mod math;
pub(crate) mod order;
pub(crate) mod quantile;
pub(crate) mod sum;
pub(crate) mod window;
