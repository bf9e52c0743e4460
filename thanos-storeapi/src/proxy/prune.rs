//! Which stores a request has to ask, and why the others need not be asked.

use std::fmt;
use std::sync::Arc;

use thanos_core::labels::{Labels, Matcher};
use thanos_core::query::Missing;
use thanos_core::time::TimeRange;

use super::endpoint::{Endpoint, EndpointInfo};
use super::selector::Part;
use crate::store::{StoreInfo, TsdbInfo};

/// Whether a request asks a store.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The store.
    pub endpoint: Arc<Endpoint>,
    /// What is known about it.
    pub info: EndpointInfo,
    /// Why it is not asked; `None` when it is.
    pub skipped: Option<SkipReason>,
    /// What an answer lacks because it is not asked.
    pub missing: Option<Missing>,
    /// The databases that are asked for, when the store has others too.
    pub(super) parts: Option<Arc<[Part]>>,
}

impl Decision {
    /// Reports whether the store has databases that the proxy must not read ([`TsdbSelector`](super::TsdbSelector)).
    pub fn has_unselected(&self) -> bool {
        self.parts.is_some()
    }

    /// Returns what the requests to the store have to say beside `matchers`, one after the other.
    pub(super) fn requests(&self, range: TimeRange, matchers: &[Matcher]) -> Vec<Vec<Matcher>> {
        let Some(parts) = &self.parts else {
            return vec![matchers.to_vec()];
        };
        let may_match = |part: &&Part| {
            let fits = |tsdb: &TsdbInfo| {
                tsdb.range.overlaps(range) && labels_may_match(&tsdb.external_labels, matchers)
            };
            part.tsdbs.iter().any(fits)
        };
        let asked = parts.iter().filter(may_match);
        asked
            .map(|part| [matchers, &part.matchers].concat())
            .collect()
    }
}

/// Why a request need not ask a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SkipReason {
    /// It has no data in the time range.
    TimeRange,
    /// All its series carry external labels that do not match.
    ExternalLabels,
    /// None of its databases has both a matching time range and matching labels.
    TimeRangeAndExternalLabels,
    /// The request names the addresses to ask, and this is none of them.
    Address,
    /// It is no store: its info says so.
    NoStore,
    /// The proxy must not read any of its databases.
    NotSelected,
    /// It should be asked and cannot be: it did not tell its info, or says that it is not ready. The answer names it as
    /// missing.
    Unhealthy,
}

/// Formats as Thanos explains it.
impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimeRange => "does not have data within this time period",
            Self::ExternalLabels => "external labels does not match request label matchers",
            Self::TimeRangeAndExternalLabels => {
                "has no TSDB with data within this time period whose external labels match"
            }
            Self::Address => "__address__ does not match debug store metadata matchers",
            Self::Unhealthy => "is not healthy",
            Self::NoStore => "does not offer the StoreAPI",
            Self::NotSelected => "has no TSDB whose external labels are selected",
        })
    }
}

/// Returns why a request need not ask a store, or `None` when the store may hold something for it.
///
/// A store of which nothing certain is known may hold anything.
pub(super) fn skip_reason(
    info: &EndpointInfo,
    range: TimeRange,
    matchers: &[Matcher],
) -> Option<SkipReason> {
    let info = info.known()?;
    if !info.offers.store {
        return Some(SkipReason::NoStore);
    }
    let tsdbs = &info.tsdbs;
    let in_range = |tsdb: &TsdbInfo| tsdb.range.overlaps(range);
    let fits = |tsdb: &TsdbInfo| labels_may_match(&tsdb.external_labels, matchers);
    // A store without any description of its data, like an old one, is asked.
    if tsdbs.is_empty() || tsdbs.iter().any(|tsdb| in_range(tsdb) && fits(tsdb)) {
        return None;
    }
    Some(if !tsdbs.iter().any(in_range) {
        SkipReason::TimeRange
    } else if !tsdbs.iter().any(fits) {
        SkipReason::ExternalLabels
    } else {
        SkipReason::TimeRangeAndExternalLabels
    })
}

/// Reports whether series that all carry `external` can match: labels that are not external may still be inside.
fn labels_may_match(external: &Labels, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| {
        external
            .get(matcher.name())
            .is_none_or(|value| matcher.matches(&value))
    })
}

/// Reports whether a store at `address` (`None`: in this process) is among those that `sets` name.
///
/// Only matchers on `__address__` count; one set is enough. Source: Thanos pkg/store/proxy.go,
/// `storeMatchDebugMetadata`.
pub(super) fn address_matches(sets: &[Vec<Matcher>], address: Option<&str>) -> bool {
    let matches = |set: &Vec<Matcher>, address: &str| {
        set.iter()
            .all(|matcher| matcher.name() != "__address__" || matcher.matches(address))
    };
    sets.is_empty() || address.is_some_and(|address| sets.iter().any(|set| matches(set, address)))
}

/// Returns the databases that a proxy announces for a store.
pub(super) fn announced(info: &EndpointInfo, selector: &Labels) -> Vec<TsdbInfo> {
    let Some(info) = info.known() else {
        // It may hold anything, and so may the proxy over it.
        return vec![TsdbInfo {
            external_labels: selector.clone(),
            range: TimeRange::ALL,
        }];
    };
    let StoreInfo { tsdbs, offers, .. } = &**info;
    if !offers.store {
        return Vec::new();
    }
    let extend = |tsdb: &TsdbInfo| {
        let pairs = tsdb.external_labels.iter().chain(selector.iter());
        TsdbInfo {
            external_labels: Labels::from_pairs(pairs),
            range: tsdb.range,
        }
    };
    tsdbs.iter().map(extend).collect()
}
