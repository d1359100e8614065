//! Whether work comes through here, and if not, why not: the one judgement behind `/readyz`, gRPC health and systemd's status line.

use serde::Serialize;

use super::vitals::{Pulse, Vitals};
use crate::core::{
    drain::Phase,
    gauges::{Gauges, UpstreamGauges},
};

/// The judgement, as `/readyz` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// All conditions hold.
    pub ready: bool,
    /// Something is wrong that may pass by itself, such as an upstream that can't be reached: work that is here goes on.
    pub degraded: bool,
    pub conditions: Vec<Condition>,
    /// One sentence for each thing that degrades.
    pub degradations: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    pub name: &'static str,
    pub holds: bool,
    /// One sentence.
    pub reason: String,
}

/// A spool of logs that is fuller degrades; the alert of packaging/alerts.yml has the same mark.
pub const SPOOL_PERCENT_MAX: u64 = 80;
/// The state of an upstream with which all is well.
const REGISTERED: &str = "registered";

// === impl Readiness ===

impl Readiness {
    pub fn of(vitals: &Vitals) -> Self {
        let gauges = vitals.gauges().unwrap_or_default();
        let conditions =
            vec![turns(vitals.pulse()), serves(vitals, &gauges), is_registered(&gauges), has_runner(&gauges)];
        let degradations = degradations(&gauges, vitals.spool_percent());
        Self {
            ready: conditions.iter().all(|condition| condition.holds),
            degraded: !degradations.is_empty(),
            conditions,
            degradations,
        }
    }

    /// What to say in one line.
    pub fn sentence(&self) -> String {
        let failing: Vec<&str> = self
            .conditions
            .iter()
            .filter(|condition| !condition.holds)
            .map(|condition| condition.reason.as_str())
            .collect();
        let degrading = self.degradations.join("; ");
        match (self.ready, self.degraded) {
            (true, false) => {
                let said: Vec<&str> = self.conditions[2..].iter().map(|condition| condition.reason.as_str()).collect();
                format!("serving: {}", said.join("; "))
            }
            (true, true) => format!("serving, degraded: {degrading}"),
            (false, _) => format!("not ready: {}", failing.join("; ")),
        }
    }
}

fn turns(pulse: Pulse) -> Condition {
    let (holds, reason) = match pulse {
        Pulse::Starting => (false, "the delegate starts: its journal is being read".to_owned()),
        Pulse::Turns => (true, "the loop turns".to_owned()),
        Pulse::Stuck(age) => (false, format!("the loop has not turned for {} s", age.as_secs())),
    };
    Condition { name: "loop", holds, reason }
}

fn serves(vitals: &Vitals, gauges: &Gauges) -> Condition {
    let (holds, reason) = match gauges.phase {
        _ if vitals.is_stopping() => (false, "the delegate stops: nothing new is taken"),
        Phase::Draining => (false, "the delegate drains: nothing new is taken, what is here is finished"),
        Phase::Drained => (false, "the delegate is drained: nothing new is taken"),
        Phase::Serving => (true, "new tasks are taken"),
    };
    Condition { name: "not_draining", holds, reason: reason.to_owned() }
}

fn is_registered(gauges: &Gauges) -> Condition {
    let at: Vec<&str> = gauges.upstreams.iter().filter(|up| up.registered).map(|up| &*up.name.0).collect();
    let reason = match &at[..] {
        [] => "registered with no upstream".to_owned(),
        at => format!("registered with {}", at.join(", ")),
    };
    Condition { name: "registered", holds: !at.is_empty(), reason }
}

fn has_runner(gauges: &Gauges) -> Condition {
    let reason = match gauges.runners {
        0 => "no runner is attached".to_owned(),
        1 => "1 runner is attached".to_owned(),
        count => format!("{count} runners are attached"),
    };
    Condition { name: "runner", holds: gauges.runners > 0, reason }
}

fn degradations(gauges: &Gauges, spool_percent: u64) -> Vec<String> {
    let wrong = |up: &&UpstreamGauges| up.state != REGISTERED;
    let mut said: Vec<String> =
        gauges.upstreams.iter().filter(wrong).map(|up| format!("upstream {} is {}", up.name, up.state)).collect();
    if gauges.store_failing {
        said.push("the journal can't write: nothing new is taken".to_owned());
    }
    if spool_percent >= SPOOL_PERCENT_MAX {
        said.push(format!("logs take {spool_percent} % of logs.all_max_mib: beyond that lines go missing"));
    }
    said
}
