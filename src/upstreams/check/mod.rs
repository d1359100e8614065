//! `dlite upstreams check`: the way to an upstream, stage by stage, until one fails.
//!
//! ```text
//!  DNS ─► TCP ─► proxy ─► TLS ─► HTTP ─► auth ─► poll
//!  └─ a connection of its own ─┘  └─ the client that the delegate uses ─┘
//! ```
//!
//! The first four stages open one connection by hand, so that each has its own time and its own failure; the rest goes through the
//! very client that calls go through. It changes nothing at the upstream: it registers nobody, acquires nothing, and polls under an
//! id that nobody has (see [`harness::CHECK_DELEGATE`]).

mod connection;
mod stage;

use std::time::{Duration, Instant, SystemTime};

use reqwest::Url;

use self::connection::Way;
pub use self::stage::{Report, STAGES, Stage, Step, Trouble, Verdict};
use super::{
    drone::{self, Drone},
    harness::{self, Harness},
    transport::{Failure, Http, Probe, parse_endpoint},
};
use crate::config::{self, UpstreamKind};

/// Longest time for one stage, if it is below the upstream's `request_timeout`.
pub const STAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Clocks that differ more than this fail the check. A token has ten minutes to spare in all, and the Go client's has no more; half
/// of them leaves room for a clock that drifts on.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5 * 60);
/// Clocks that differ more than this are told. The `Date` of an answer is whole seconds, and old by the time of its way.
pub const CLOCK_SKEW_TOLD: Duration = Duration::from_secs(5);

const HALF_A_SECOND: Duration = Duration::from_millis(500);

/// Why nothing can be checked.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What speaks to the upstream once the way is clear.
enum Adapter {
    Harness(Box<Harness>),
    Drone(Box<Drone>),
}

/// Walks all stages.
///
/// # Errors
/// If no client can be made from what is configured.
pub async fn check(upstream: &config::Upstream) -> Result<Report, Error> {
    let (adapter, network) = match upstream.kind {
        UpstreamKind::Harness => {
            let options = harness::Options::from_config(upstream)?;
            let network = options.network.clone();
            (Adapter::Harness(Box::new(Harness::new(options)?)), network)
        }
        UpstreamKind::Drone => {
            let options = drone::Options::from_config(upstream)?;
            let network = options.network.clone();
            (Adapter::Drone(Box::new(Drone::new(options)?)), network)
        }
    };
    let endpoint = parse_endpoint(&upstream.endpoint)?;
    let timeout = STAGE_TIMEOUT.min(upstream.request_timeout);
    let http = Http::new(&endpoint, &network)?;
    let tls = network.tls.client_config(network.uses_tls(&endpoint))?;
    let way = Way { endpoint: endpoint.clone(), proxy: upstream.way().cloned(), tls };
    let mut report = Report {
        upstream: upstream.name.clone(),
        endpoint: upstream.endpoint.clone(),
        proxy: upstream.way().map(ToString::to_string),
        steps: Vec::new(),
        clock: None,
        certificate_end: None,
    };
    // Who stops on the way has told why.
    let _ = walk(&mut report, &way, upstream, &http, &adapter, timeout).await;
    report.close();
    Ok(report)
}

/// Stops at the first stage that fails.
async fn walk(
    report: &mut Report,
    way: &Way,
    upstream: &config::Upstream,
    http: &Http,
    adapter: &Adapter,
    timeout: Duration,
) -> Option<()> {
    let addresses = report.step(Stage::Dns, timeout, way.resolve()).await?;
    let stream = report.step(Stage::Tcp, timeout, way.connect(&addresses)).await?;
    let stream = match &way.proxy {
        Some(_) => report.step(Stage::Proxy, timeout, way.pass_proxy(stream)).await?,
        None => {
            report.skip(Stage::Proxy, if upstream.proxy.is_some() { "no_proxy leaves this host out" } else { "none" });
            stream
        }
    };
    if way.endpoint.scheme() == "https" {
        report.certificate_end = report.step(Stage::Tls, timeout, way.shake_hands(stream)).await?;
    } else {
        report.skip(Stage::Tls, "the endpoint is http");
    }
    let began = (Instant::now(), SystemTime::now());
    let outcome = http.probe(way.endpoint.as_str(), timeout).await;
    if let Err(failure) = &outcome
        && let Some(trouble) = connection::refused_certificate(&failure.to_string())
    {
        // TLS 1.3 tells who we are after its handshake, so that a refusal of it arrives with the first answer.
        report.fail_last(trouble);
        return None;
    }
    let probe = report.record(Stage::Http, began.0.elapsed(), judge_http(outcome, way))?;
    // A Date leaves out half a second on average, and was written half-way through.
    let ours = began.1 + began.0.elapsed() / 2;
    let skew = probe.date.map(|date| Skew::between(date + HALF_A_SECOND, ours));
    report.clock = skew;

    let began = Instant::now();
    let harness = match adapter {
        Adapter::Harness(harness) => harness,
        Adapter::Drone(drone) => {
            report.record(Stage::Auth, began.elapsed(), drone.check_secret().await)?;
            report.skip(Stage::Poll, "a poll is held until there is a stage");
            return Some(());
        }
    };
    let asked = harness.ask_for_nothing(timeout).await;
    let auth = harness.judge_auth(&asked).and_then(|()| judge_clock(skew));
    report.record(Stage::Auth, began.elapsed(), auth)?;
    // The same answer: a second request would tell nothing more.
    report.record(Stage::Poll, began.elapsed(), harness.judge_poll(&asked))
}

fn judge_http(outcome: Result<Probe, Failure>, way: &Way) -> Result<(Probe, String), Trouble> {
    let probe = outcome.map_err(|failure| {
        Trouble::new(failure.to_string(), "does an HTTP server listen there? check scheme, host and port of endpoint")
    })?;
    match probe.status {
        407 => Err(Trouble::new("the proxy wants other credentials (407)", connection::PROXY_CREDENTIALS_FIX)),
        502..=504 => {
            let host = way.endpoint.host_str().unwrap_or_default();
            let reason = format!("a gateway answers {}: it does not reach the manager behind it", probe.status);
            Err(Trouble::new(reason, format!("check that {host} is the manager's address, and up")))
        }
        status => Ok((probe, format!("{:?}, status {status}", probe.version))),
    }
}

// === clocks ===

/// How far this machine's clock is from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    pub by: Duration,
    /// This machine's clock is the one that is behind.
    pub is_behind: bool,
}

impl Skew {
    fn between(theirs: SystemTime, ours: SystemTime) -> Self {
        match theirs.duration_since(ours) {
            Ok(by) => Self { by, is_behind: true },
            Err(error) => Self { by: error.duration(), is_behind: false },
        }
    }
}

impl std::fmt::Display for Skew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let way = if self.is_behind { "behind" } else { "ahead of" };
        write!(f, "this machine's clock is {} s {way} the manager's", (self.by + HALF_A_SECOND).as_secs())
    }
}

/// A token is good for 20 minutes from its making and used for ten of them, both by our clock.
fn judge_clock(skew: Option<Skew>) -> Result<((), String), Trouble> {
    match skew {
        None => Ok(((), "the token is accepted; the manager does not tell its time".to_owned())),
        Some(skew) if skew.by > CLOCK_SKEW_MAX => {
            let effect =
                if skew.is_behind { "tokens reach it expired or nearly so" } else { "tokens come from its future" };
            Err(Trouble::new(format!("{skew}: {effect}"), "set the clock, by NTP: timedatectl set-ntp true"))
        }
        Some(skew) if skew.by > CLOCK_SKEW_TOLD => Ok(((), format!("the token is accepted; {skew}"))),
        Some(_) => Ok(((), "the token is accepted, and the clocks agree".to_owned())),
    }
}

/// Host and port, as a request line and a `Host` header have them.
fn authority(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(80))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_ten_minutes_apart_fail_in_either_direction_and_small_gaps_are_told() {
        let now = SystemTime::now();
        let judged = |theirs| judge_clock(Some(Skew::between(theirs, now)));
        let minutes = |n: u64| Duration::from_secs(60 * n);
        assert!(judged(now + minutes(10)).unwrap_err().reason.contains("600 s behind the manager's"));
        assert!(judged(now - minutes(10)).unwrap_err().reason.contains("600 s ahead of the manager's"));
        assert!(judged(now + minutes(1)).unwrap().1.contains("60 s behind"));
        assert!(judged(now).unwrap().1.contains("clocks agree"));
    }
}
