//! Which traces are kept.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

use super::config::Sampling;

/// The attribute of a span that is kept whatever the sampler says. Source: Go pkg/tracing/migration/sampler.go.
pub(super) const FORCE_ATTRIBUTE: &str = "thanos.force_tracing";

/// A sampler that keeps what is forced.
#[derive(Debug, Clone)]
pub(super) struct ForcedOr(Sampler);

impl ForcedOr {
    pub(super) fn new(sampling: Sampling) -> Self {
        let own = Sampler::TraceIdRatioBased(sampling.ratio);
        Self(match sampling.asks_parent {
            true => Sampler::ParentBased(Box::new(own)),
            false => own,
        })
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

    ///
    #[test]
    fn what_is_forced_is_kept() {
        let forced = [KeyValue::new(FORCE_ATTRIBUTE, "true")];
        assert_eq!(decision(0.0, &[]), SamplingDecision::Drop);
        assert_eq!(decision(0.0, &forced), SamplingDecision::RecordAndSample);
        assert_eq!(decision(1.0, &[]), SamplingDecision::RecordAndSample);
    }
}
