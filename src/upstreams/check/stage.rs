//! Stages, their verdicts, and the report they make.

use std::{
    fmt,
    future::Future,
    time::{Duration, SystemTime},
};

use super::Skew;

/// One stage of the way, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The name of the first hop: the proxy's, if there is one.
    Dns,
    Tcp,
    Proxy,
    Tls,
    Http,
    /// The token, and the clocks that its life is counted by.
    Auth,
    Poll,
}

/// All stages, in order.
pub const STAGES: [Stage; 7] =
    [Stage::Dns, Stage::Tcp, Stage::Proxy, Stage::Tls, Stage::Http, Stage::Auth, Stage::Poll];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed {
        detail: String,
    },
    /// There is no such stage on this way.
    Skipped {
        reason: String,
    },
    Failed(Trouble),
    /// An earlier one failed.
    Unreached,
}

/// Why a stage failed, and what to do about it. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub reason: String,
    pub fix: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub stage: Stage,
    pub verdict: Verdict,
    pub took: Duration,
}

/// What was found; one step for each of [`STAGES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub upstream: String,
    pub endpoint: String,
    /// Without its password.
    pub proxy: Option<String>,
    pub steps: Vec<Step>,
    /// By the `Date` of its answer; absent: there was none.
    pub clock: Option<Skew>,
    /// When the server's certificate ends; absent: none was shown, or it can't be read.
    pub certificate_end: Option<SystemTime>,
}

// === impl Stage ===

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Auth => "auth",
            Self::Poll => "poll",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

// === impl Verdict ===

impl Verdict {
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed { .. } => "ok",
            Self::Skipped { .. } => "skipped",
            Self::Failed(_) => "failed",
            Self::Unreached => "unreached",
        }
    }
}

// === impl Trouble ===

impl Trouble {
    pub fn new(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { reason: reason.into(), fix: fix.into() }
    }
}

// === impl Report ===

impl Report {
    /// The stage that failed.
    pub fn failed(&self) -> Option<&Step> {
        self.steps.iter().find(|step| matches!(step.verdict, Verdict::Failed(_)))
    }

    /// Goes through a stage within `timeout`; nothing if it failed.
    pub(super) async fn step<T>(
        &mut self,
        stage: Stage,
        timeout: Duration,
        work: impl Future<Output = Result<(T, String), Trouble>>,
    ) -> Option<T> {
        let began = std::time::Instant::now();
        let outcome = tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
            let fix = "does a firewall drop packets on the way? a network that needs a proxy wants it in proxy";
            Err(Trouble::new(format!("nothing within {timeout:?}"), fix))
        });
        self.record(stage, began.elapsed(), outcome)
    }

    pub(super) fn record<T>(
        &mut self,
        stage: Stage,
        took: Duration,
        outcome: Result<(T, String), Trouble>,
    ) -> Option<T> {
        let (verdict, value) = match outcome {
            Ok((value, detail)) => (Verdict::Passed { detail }, Some(value)),
            Err(trouble) => (Verdict::Failed(trouble), None),
        };
        self.steps.push(Step { stage, verdict, took });
        value
    }

    pub(super) fn skip(&mut self, stage: Stage, reason: &str) {
        self.steps.push(Step { stage, verdict: Verdict::Skipped { reason: reason.to_owned() }, took: Duration::ZERO });
    }

    /// The last stage turns out to have failed.
    pub(super) fn fail_last(&mut self, trouble: Trouble) {
        if let Some(last) = self.steps.last_mut() {
            last.verdict = Verdict::Failed(trouble);
        }
    }

    /// Names the stages that were not come to.
    pub(super) fn close(&mut self) {
        for stage in STAGES.into_iter().skip(self.steps.len()) {
            self.steps.push(Step { stage, verdict: Verdict::Unreached, took: Duration::ZERO });
        }
    }
}
