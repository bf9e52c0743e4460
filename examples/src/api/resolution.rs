//! How coarse the data of a query may be, and how far back it looks for that reason.

use std::time::Duration;

use clap::{ArgAction, Args};
use thanos_core::downsample::{FIVE_MINUTES_MS, ONE_HOUR_MS};
use thanos_promql::http::{MaxSourceResolution, SourceParams};

use crate::flags::duration;

/// How coarse the data may be.
#[derive(Debug, Clone, Args)]
pub struct ResolutionFlags {
    /// Enable automatic adjustment (step / 5) to what source of data should be used in store gateways if no
    /// max_source_resolution param is specified.
    #[arg(id = "query.auto-downsampling", long = "query.auto-downsampling", action = ArgAction::SetTrue)]
    auto_downsampling: bool,
    /// Default value for max_source_resolution for instant queries.
    #[arg(
        id = "query.instant.default.max_source_resolution",
        long = "query.instant.default.max_source_resolution",
        value_name = "DURATION",
        default_value = "0s",
        value_parser = duration,
        hide = true
    )]
    instant: Duration,
    /// Do not look further back for the latest sample where queries may read downsampled data.
    #[arg(id = "no-query.dynamic-lookback-delta", long = "no-query.dynamic-lookback-delta", action = ArgAction::SetTrue, hide = true)]
    no_dynamic_lookback: bool,
}

impl ResolutionFlags {
    /// Returns the coarsest resolution that will do, in milliseconds (row Q-21 of the specification).
    pub(super) fn max_ms(&self, params: &SourceParams) -> i64 {
        let automatic = || match params.step_ms {
            Some(step_ms) => step_ms / 5,
            None => millis(self.instant),
        };
        match params.max_source_resolution {
            Some(MaxSourceResolution::Millis(ms)) => ms,
            Some(MaxSourceResolution::Auto) => automatic(),
            None if self.auto_downsampling || params.step_ms.is_none() => automatic(),
            None => 0,
        }
    }

    /// Returns how far back the latest sample may lie: as far as the windows are wide that may stand for samples
    /// (row Q-22 of the specification).
    ///
    /// Source: Thanos `pkg/api/query/v1.go`, `LookbackDeltaFactory`.
    pub(super) fn lookback(&self, least: Duration, params: &SourceParams) -> Duration {
        let window_ms = match self.max_ms(params) {
            _ if self.no_dynamic_lookback => 0,
            ..=0 => 0,
            1..=FIVE_MINUTES_MS => FIVE_MINUTES_MS,
            _ => ONE_HOUR_MS,
        };
        least.max(Duration::from_millis(window_ms.unsigned_abs()))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn flags(auto_downsampling: bool, instant: Duration) -> ResolutionFlags {
        ResolutionFlags {
            auto_downsampling,
            instant,
            no_dynamic_lookback: false,
        }
    }

    fn params(resolution: Option<MaxSourceResolution>, step_ms: Option<i64>) -> SourceParams {
        SourceParams {
            max_source_resolution: resolution,
            step_ms,
            ..SourceParams::default()
        }
    }

    /// what the request says, else a fifth of the step if that is wanted, else raw data.
    #[test]
    fn automatic_resolution_is_a_fifth_of_the_step() {
        let auto = Some(MaxSourceResolution::Auto);
        let five_minutes = Some(MaxSourceResolution::Millis(300_000));
        for (is_automatic, resolution, step_ms, expected) in [
            (false, None, Some(HOUR), 0),
            (true, None, Some(HOUR), 720_000),
            (false, auto, Some(HOUR), 720_000),
            (false, auto, None, 0),
            (true, None, None, 0),
            (false, five_minutes, None, 300_000),
            (true, five_minutes, Some(HOUR), 300_000),
        ] {
            let flags = flags(is_automatic, Duration::ZERO);
            let params = params(resolution, step_ms);
            assert_eq!(flags.max_ms(&params), expected, "{params:?}");
        }
        // Instant queries have a default of their own.
        let flags = flags(false, Duration::from_secs(3600));
        assert_eq!(flags.max_ms(&params(None, None)), HOUR);
        assert_eq!(flags.max_ms(&params(None, Some(1))), 0);
    }

    ///
    #[test]
    fn lookback_grows_with_the_windows() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let lookback = |least, no_dynamic_lookback, resolution_ms| {
            let flags = ResolutionFlags {
                no_dynamic_lookback,
                ..flags(false, Duration::ZERO)
            };
            let resolution = Some(MaxSourceResolution::Millis(resolution_ms));
            flags.lookback(least, &params(resolution, None))
        };
        for (least, resolution_ms, expected) in [
            (minutes(2), 0, minutes(2)),
            (minutes(2), 1, minutes(5)),
            (minutes(2), 300_000, minutes(5)),
            (minutes(7), 300_000, minutes(7)),
            (minutes(5), 300_001, minutes(60)),
            (minutes(5), HOUR, minutes(60)),
            (minutes(90), HOUR, minutes(90)),
        ] {
            assert_eq!(lookback(least, false, resolution_ms), expected);
            assert_eq!(lookback(least, true, resolution_ms), least);
        }
    }
}
