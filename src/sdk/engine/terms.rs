//! The delegate's terms, and the spans they are told in.

use std::time::Duration;

use crate::proto::runner::v1::Welcome;

/// The delegate's terms, from the newest Welcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    pub heartbeat_interval: Duration,
    pub lease_ttl: Duration,
    pub frame_bytes_max: u64,
    pub payload_bytes_max: u64,
}

// === impl Terms ===

impl Terms {
    /// With the protocol's defaults for what the delegate leaves out.
    pub fn of(welcome: &Welcome) -> Self {
        let positive = |duration: Option<&prost_types::Duration>| span(duration).filter(|span| !span.is_zero());
        let or = |value: u64, default: u64| if value == 0 { default } else { value };
        Self {
            heartbeat_interval: positive(welcome.heartbeat_interval.as_ref()).unwrap_or(Duration::from_secs(10)),
            lease_ttl: positive(welcome.lease_ttl.as_ref()).unwrap_or(Duration::from_secs(60)),
            frame_bytes_max: or(welcome.frame_bytes_max, 4 * 1024 * 1024),
            payload_bytes_max: or(welcome.payload_bytes_max, 3_670_016),
        }
    }
}

/// A bound on spans from the wire, so that adding one to an instant can't overflow; a century is as good as never.
const SPAN_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A span from the wire; absent and negative ones are `None`.
pub(crate) fn span(duration: Option<&prost_types::Duration>) -> Option<Duration> {
    duration.and_then(|duration| Duration::try_from(*duration).ok()).map(|span| span.min(SPAN_MAX))
}
