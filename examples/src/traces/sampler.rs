//! Which traces are kept.

use std::sync::Arc;

use opentelemetry::trace::{Link, SpanContext, SpanKind, TraceContextExt, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

use super::config::Sampling;

/// The attribute of a span that is kept whatever the sampler says. Source: Go pkg/tracing/migration/sampler.go.
pub(super) const FORCE_ATTRIBUTE: &str = "thanos.force_tracing";

/// A sampler that keeps what is forced.
#[derive(Debug, Clone)]
pub(super) struct ForcedOr(Arc<dyn ShouldSample>);

/// Whether the own sampler decides again about what a parent in this process, or in another one, has kept. What a parent
/// has not kept is never kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AskAgain {
    pub(super) local: bool,
    pub(super) remote: bool,
}

impl ForcedOr {
    pub(super) fn new(sampling: Sampling) -> Self {
        let own = Sampler::TraceIdRatioBased(sampling.ratio);
        Self(match sampling.asks_parent {
            true => Arc::new(Sampler::ParentBased(Box::new(own))),
            false => Arc::new(own),
        })
    }

    /// Returns a sampler that does as parents have done, and asks `own` about what has none.
    pub(super) fn after_parents(own: Arc<dyn ShouldSample>, again: AskAgain) -> Self {
        Self(Arc::new(AfterParents { own, again }))
    }
}

impl ShouldSample for ForcedOr {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let is_forced = |attribute: &KeyValue| attribute.key.as_str() == FORCE_ATTRIBUTE;
        if !attributes.iter().any(is_forced) {
            return self
                .0
                .should_sample(parent, trace_id, name, kind, attributes, links);
        }
        let state = parent.map(|parent| parent.span().span_context().trace_state().clone());
        SamplingResult {
            decision: SamplingDecision::RecordAndSample,
            attributes: Vec::new(),
            trace_state: state.unwrap_or_default(),
        }
    }
}

#[derive(Debug, Clone)]
struct AfterParents {
    own: Arc<dyn ShouldSample>,
    again: AskAgain,
}

impl ShouldSample for AfterParents {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let context = parent.map(|parent| parent.span().span_context().clone());
        let context = context.filter(SpanContext::is_valid);
        let decision = match &context {
            Some(parent) if !parent.is_sampled() => SamplingDecision::Drop,
            Some(parent) if parent.is_remote() && !self.again.remote => {
                SamplingDecision::RecordAndSample
            }
            Some(parent) if !parent.is_remote() && !self.again.local => {
                SamplingDecision::RecordAndSample
            }
            _ => {
                let own = &self.own;
                let decided = own.should_sample(parent, trace_id, name, kind, attributes, links);
                decided.decision
            }
        };
        SamplingResult {
            decision,
            attributes: Vec::new(),
            trace_state: context
                .map(|parent| parent.trace_state().clone())
                .unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(ratio: f64, attributes: &[KeyValue]) -> SamplingDecision {
        let sampling = Sampling {
            asks_parent: true,
            ratio,
        };
        let id = TraceId::from_bytes([1; 16]);
        let sampler = ForcedOr::new(sampling);
        let result = sampler.should_sample(None, id, "x", &SpanKind::Server, attributes, &[]);
        result.decision
    }

    /// a parent's decision stands, unless what it has kept is to be decided again.
    #[test]
    fn parents_decide_first() {
        use opentelemetry::trace::{SpanId, TraceFlags, TraceState};
        let id = TraceId::from_bytes([1; 16]);
        let decide = |parent: Option<(bool, bool)>, ratio: f64, again: AskAgain| {
            let parent = parent.map(|(is_sampled, is_remote)| {
                let flags = TraceFlags::default().with_sampled(is_sampled);
                let span = SpanId::from_bytes([1; 8]);
                let context = SpanContext::new(id, span, flags, is_remote, TraceState::default());
                Context::new().with_remote_span_context(context)
            });
            let own = Arc::new(Sampler::TraceIdRatioBased(ratio));
            let sampler = ForcedOr::after_parents(own, again);
            let kind = SpanKind::Server;
            let result = sampler.should_sample(parent.as_ref(), id, "x", &kind, &[], &[]);
            result.decision == SamplingDecision::RecordAndSample
        };
        let again = |local, remote| AskAgain { local, remote };
        for (parent, ratio, asked, expected) in [
            (None, 1.0, again(false, false), true),
            (None, 0.0, again(false, false), false),
            (Some((true, true)), 0.0, again(true, false), true),
            (Some((true, true)), 0.0, again(false, true), false),
            (Some((true, false)), 0.0, again(false, true), true),
            (Some((true, false)), 0.0, again(true, false), false),
            (Some((false, true)), 1.0, again(true, true), false),
            (Some((false, false)), 1.0, again(true, true), false),
        ] {
            assert_eq!(
                decide(parent, ratio, asked),
                expected,
                "{parent:?} {ratio} {asked:?}"
            );
        }
    }

    ///
    #[test]
    fn what_is_forced_is_kept() {
        let forced = [KeyValue::new(FORCE_ATTRIBUTE, "true")];
        assert_eq!(decision(0.0, &[]), SamplingDecision::Drop);
        assert_eq!(decision(0.0, &forced), SamplingDecision::RecordAndSample);
        assert_eq!(decision(1.0, &[]), SamplingDecision::RecordAndSample);
    }
}
