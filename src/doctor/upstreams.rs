//! Upstreams: the way to each, its clock, and the certificates on both ends.

use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;

use super::finding::{Check, Findings, Verdict, words};
use crate::{
    config::{self, Config},
    upstreams::{
        certificate,
        check::{self, CLOCK_SKEW_MAX, CLOCK_SKEW_TOLD, Report, Skew},
        transport::chain,
    },
};

/// A certificate that ends sooner is told: time enough for a person to have it renewed.
const CERTIFICATE_SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// All of them at once; findings are in the order of the configuration.
pub(super) async fn examine(config: &Config, findings: &mut Findings) {
    let mut checks = JoinSet::new();
    for (number, upstream) in config.upstreams.iter().cloned().enumerate() {
        checks.spawn(async move {
            let report = check::check(&upstream).await.map_err(|error| chain(&*error));
            (number, upstream, report)
        });
    }
    let mut done = checks.join_all().await;
    done.sort_by_key(|(number, ..)| *number);
    for (_, upstream, report) in done {
        match report {
            Ok(report) => tell(&upstream, &report, findings),
            Err(reason) => {
                let what = format!("it can't be set up: {reason}");
                let verdict = Verdict::failed(what, "the delegate does not start with it", "correct what is named");
                findings.add(Check::Upstream, &upstream.name, verdict);
            }
        }
        let now = SystemTime::now();
        if let Some(client) = &upstream.tls.client {
            let place = format!("upstream {}, {}", upstream.name, client.cert.display());
            findings.add(Check::Certificate, place, judge_end(certificate::end_of_file(&client.cert), now, "client"));
        }
        for authority in &upstream.tls.ca_files {
            let place = format!("upstream {}, {}", upstream.name, authority.display());
            findings.add(Check::Certificate, place, judge_end(certificate::end_of_file(authority), now, "authority's"));
        }
    }
}

fn tell(upstream: &config::Upstream, report: &Report, findings: &mut Findings) {
    let place = |stage: &str| format!("upstream {} ({}), {stage}", upstream.name, report.endpoint);
    match report.failed() {
        None => {
            let took: Duration = report.steps.iter().map(|step| step.took).sum();
            let passed = report.steps.iter().filter(|step| matches!(step.verdict, check::Verdict::Passed { .. }));
            let stages: Vec<_> = passed.map(|step| step.stage.name()).collect();
            let found = format!("the way is clear: {} in {} ms", stages.join(", "), took.as_millis());
            let place = format!("upstream {} ({})", upstream.name, report.endpoint);
            findings.add(Check::Upstream, place, Verdict::fine(found));
        }
        Some(step) => {
            let check::Verdict::Failed(trouble) = &step.verdict else { return };
            let why = match step.stage {
                check::Stage::Dns | check::Stage::Tcp | check::Stage::Proxy => {
                    "it can't be reached: nothing is taken from it, and results wait in the journal"
                }
                check::Stage::Tls => "it is not trusted, or does not trust us: nothing is sent to it",
                check::Stage::Http => "it gives no sensible answer: nothing is taken from it",
                check::Stage::Auth => "it refuses this delegate: nothing is taken from it, and no result is reported",
                check::Stage::Poll => "it lists no tasks",
            };
            let verdict = Verdict::failed(trouble.reason.clone(), why, trouble.fix.clone());
            findings.add(Check::Upstream, place(&format!("stage {}", step.stage)), verdict);
        }
    }
    if let Some(skew) = report.clock {
        findings.add(Check::Clock, place("Date"), judge_clock(skew));
    }
    if let Some(end) = report.certificate_end {
        findings.add(
            Check::Certificate,
            place("server certificate"),
            judge_end(Some(end), SystemTime::now(), "server's"),
        );
    }
}

fn judge_clock(skew: Skew) -> Verdict {
    let next = "set the clock, by NTP: timedatectl set-ntp true";
    if skew.by > CLOCK_SKEW_MAX {
        let why = "tokens are good for minutes by its clock, and deadlines and logs have the wrong time";
        Verdict::failed(skew.to_string(), why, next)
    } else if skew.by > CLOCK_SKEW_TOLD {
        Verdict::warned(skew.to_string(), "it is tolerated, and may grow", next)
    } else {
        Verdict::fine("the clocks agree")
    }
}

/// `whose`: "client", "server's" …
fn judge_end(end: Option<SystemTime>, now: SystemTime, whose: &str) -> Verdict {
    let Some(end) = end else { return Verdict::skipped("no end of a certificate can be read there") };
    let next = "have a new one issued, and put it in the same place: files are read again without a restart";
    match end.duration_since(now) {
        Err(past) => {
            let what = format!("the {whose} certificate ended {} ago", words(past.duration()));
            Verdict::failed(what, "TLS refuses it", next)
        }
        Ok(left) if left < CERTIFICATE_SOON => {
            Verdict::warned(format!("the {whose} certificate ends in {}", words(left)), "TLS refuses it then", next)
        }
        Ok(left) => Verdict::fine(format!("the {whose} certificate is good for {}", words(left))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_warns_before_its_end_and_fails_after_it() {
        let now = SystemTime::now();
        let day = Duration::from_secs(24 * 60 * 60);
        let word = |end| judge_end(Some(end), now, "client").word();
        assert_eq!((word(now + 30 * day), word(now + 3 * day), word(now - day)), ("ok", "warning", "failed"));
        assert!(judge_end(Some(now + 3 * day), now, "client").found().contains("ends in 3 days"));
        assert_eq!(judge_end(None, now, "client").word(), "skipped");
    }

    #[test]
    fn a_clock_ten_minutes_off_fails_and_one_a_minute_off_is_told() {
        let verdict = |seconds| judge_clock(Skew { by: Duration::from_secs(seconds), is_behind: true });
        assert_eq!((verdict(600).word(), verdict(60).word(), verdict(1).word()), ("failed", "warning", "ok"));
        assert!(verdict(600).found().contains("600 s behind"));
    }
}
