//! Which traces are kept, and what context a runner is given with its work.

use crate::{
    config,
    core::{effect::Assignment, id::TraceId, life::Phase, trace::TraceParent},
    runners::ids::Ids,
};

use super::ids::span_id;

/// Decides by trace id, so that every party with the same ratio decides alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// Whether this delegate's spans go anywhere.
    exporting: bool,
    /// Of 2^63; a trace is kept if the last 63 bits but one of its id are below.
    kept_below: u64,
}

// === impl Propagation ===

impl Propagation {
    pub fn of(traces: &config::Traces) -> Self {
        let millionths = u128::from(traces.sample_ratio.millionths());
        let kept_below = u64::try_from((millionths << 63) / 1_000_000).unwrap_or(1 << 63);
        Self { exporting: traces.endpoint.is_some(), kept_below }
    }

    /// As OpenTelemetry's `ParentBased(TraceIdRatioBased)` does: whoever began a trace has decided, else the trace id does.
    pub fn keeps(&self, trace_id: TraceId, parent: Option<&TraceParent>) -> bool {
        match parent {
            Some(parent) => parent.sampled,
            None => {
                let low = u64::try_from(trace_id.0 & u128::from(u64::MAX)).unwrap_or(0);
                low >> 1 < self.kept_below
            }
        }
    }

    /// `traceparent` and `tracestate` for a runner: the span of the run it is about to begin. Without an exporter that span would be
    /// nowhere, so a task that came with a span goes on directly below it.
    pub fn context(&self, ids: &Ids, work: &Assignment) -> (String, String) {
        let parent = work.spec.trace_parent.as_ref();
        let state = parent.map(|parent| parent.state.to_string()).unwrap_or_default();
        if let (false, Some(parent)) = (self.exporting, parent) {
            return (parent.to_string(), state);
        }
        let span_id = span_id(&ids.task(work.task), &ids.lease(work.lease), Phase::Run.name());
        let sampled = self.keeps(work.trace_id, parent);
        let state = state.as_str().into();
        let run = TraceParent { trace_id: work.trace_id, span_id, sampled, state };
        (run.to_string(), run.state.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::id::SpanId;

    fn propagation(ratio: &str) -> Propagation {
        Propagation::of(&config::Traces {
            endpoint: Some("http://127.0.0.1:4317".to_owned()),
            protocol: config::TracesProtocol::Grpc,
            sample_ratio: ratio.parse().unwrap(),
            headers: config::Headers::default(),
            timeout: std::time::Duration::from_secs(10),
        })
    }

    #[test]
    fn the_ratio_is_that_of_the_traces_kept_and_the_decision_follows_the_id() {
        let ids: Vec<TraceId> = (0_u128..10_000)
            .map(|n| {
                let scope = crate::core::trace::TraceScope { kind: "harness".into(), account: "a".into() };
                scope.trace_id(&n.to_string().into())
            })
            .collect();
        for (ratio, between) in [("0", 0..=0), ("0.25", 2_300..=2_700), ("1", 10_000..=10_000)] {
            let kept = ids.iter().filter(|id| propagation(ratio).keeps(**id, None)).count();
            assert!(between.contains(&kept), "{ratio}: {kept}");
        }
        let narrow: Vec<_> = ids.iter().filter(|id| propagation("0.1").keeps(**id, None)).collect();
        assert!(
            narrow.iter().all(|id| propagation("0.2").keeps(**id, None)),
            "a higher ratio keeps what a lower one does"
        );
    }

    #[test]
    fn the_decision_is_the_one_of_opentelemetry() {
        use opentelemetry_sdk::trace::{Sampler, ShouldSample};
        for n in 0_u128..1_000 {
            let id = TraceId(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
            let theirs = Sampler::TraceIdRatioBased(0.25).should_sample(
                None,
                opentelemetry::TraceId::from(id.0),
                "",
                &opentelemetry::trace::SpanKind::Internal,
                &[],
                &[],
            );
            let theirs = theirs.decision == opentelemetry_sdk::trace::SamplingDecision::RecordAndSample;
            assert_eq!(propagation("0.25").keeps(id, None), theirs, "{id}");
        }
    }

    #[test]
    fn whoever_began_the_trace_has_decided() {
        let parent = |sampled| TraceParent { trace_id: TraceId(1), span_id: SpanId(1), sampled, state: "".into() };
        assert!(propagation("0").keeps(TraceId(1), Some(&parent(true))));
        assert!(!propagation("1").keeps(TraceId(1), Some(&parent(false))));
    }
}
