//! The text at `/metrics`: its rules, its names, and that what happens is counted.

use std::collections::BTreeSet;

use dlite::{core::task::CancelReason, telemetry::metrics::definitions::DEFINITIONS};

use crate::{
    ask::{Page, metrics},
    scene::pause,
    support::{neighbour::Neighbour, patiently, peer::accept, place::Place},
};

/// Names in the first column of the page's table.
fn documented() -> BTreeSet<String> {
    let page = std::fs::read_to_string(format!("{}/docs/metrics.md", env!("CARGO_MANIFEST_DIR"))).expect("the page");
    page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(str::to_owned).collect()
}

async fn metrics_when(address: std::net::SocketAddr, wanted: impl Fn(&Page) -> bool) -> Page {
    patiently(async {
        loop {
            let page = metrics(address).await;
            if wanted(&page) {
                return page;
            }
            pause().await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_on_the_page_and_in_the_text_from_the_first_scrape_on() {
    let daemon = Place::new().start().await;
    let page = metrics(daemon.http()).await;
    let documented = documented();
    assert_eq!(page.names(), documented.iter().map(String::as_str).collect());
    for metric in DEFINITIONS {
        let family = &page.families[metric.name];
        assert_eq!((family.kind.as_str(), family.help.as_str()), (metric.kind.word(), metric.meaning));
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted_under_the_labels_of_the_table() {
    let place = Place::with(|config| config.runners.accept_timeout = std::time::Duration::from_millis(50));
    let daemon = place.start().await;
    let neighbour = Neighbour::of(&daemon).await;
    // Refused, left with the upstream, not accepted in time, and an upstream that fails.
    let mut peer = daemon.attach("r", "SLOW", 1).await;
    let sequence = peer.say_counted(accept("no-such-lease")).await;
    peer.rejection().await;
    assert!(sequence > 0);
    daemon.stub.offer("nobody", "NOBODY_DOES_THIS");
    daemon.stub.offer("slow", "SLOW");
    peer.assignment().await;
    daemon.stub.take_down(true);
    let upstream = ("upstream", "stub");
    let failed = [upstream, ("call", "poll"), ("class", "failed")];
    let page = metrics_when(daemon.http(), |page| {
        page.find("dlite_upstream_errors_total", &failed).is_some_and(|count| count >= 1.0)
            && page.value("dlite_assignments_ended_total", &[]) >= 1.0
            && page.value("dlite_runner_heartbeats_total", &[]) >= 0.0
            && page.value("dlite_runners_attached", &[]) == 2.0
            && page.value("dlite_upstream_state", &[upstream, ("state", "unreachable")]) == 1.0
    })
    .await;

    assert_eq!(page.value("dlite_tasks_acquired_total", &[upstream]), 2.0);
    assert_eq!(page.value("dlite_tasks_finished_total", &[("outcome", "succeeded")]), 1.0);
    let reported = [("task_type", "NEIGHBOUR"), ("outcome", "succeeded")];
    assert_eq!(page.value("dlite_tasks_reported_total", &reported), 1.0);
    for histogram in ["dlite_task_queue_seconds_count", "dlite_task_run_seconds_count"] {
        assert_eq!(page.value(histogram, &[("task_type", "NEIGHBOUR")]), 1.0);
    }
    assert_eq!(page.value("dlite_report_seconds_count", &[upstream]), 1.0);
    for call in ["register", "poll", "acquire", "report", "heartbeat"] {
        assert!(page.value("dlite_upstream_call_seconds_count", &[upstream, ("call", call)]) >= 1.0, "{call}");
    }
    assert!(page.value("dlite_journal_commit_seconds_count", &[]) >= 1.0);
    assert_eq!(page.value("dlite_runner_attachments_total", &[]), 2.0);
    assert_eq!(page.value("dlite_slots", &[]), 5.0);
    let credits = ["free", "held", "reserved"].map(|state| page.value("dlite_credits", &[("state", state)]));
    assert_eq!(credits.iter().sum::<f64>(), 5.0, "{credits:?}");
    assert_eq!(page.value("dlite_credits_mismatch", &[]), 0.0);
    assert!(page.families["dlite_tasks_not_acquired_total"].samples.iter().any(|sample| sample.value >= 1.0));
    assert!(page.families["dlite_runner_frames_refused_total"].samples.iter().any(|sample| sample.value >= 1.0));

    for metric in DEFINITIONS {
        let family = &page.families[metric.name];
        // Read from the exporter of spans, which the binary starts.
        let is_elsewhere = metric.name == "dlite_spans_dropped";
        assert!(is_elsewhere || !family.samples.is_empty(), "{} has no instrument", metric.name);
        let labels: BTreeSet<&str> = metric.labels.iter().copied().collect();
        for sample in &family.samples {
            let found: BTreeSet<&str> = sample.labels.keys().map(String::as_str).filter(|key| *key != "le").collect();
            assert_eq!(found, labels, "{}", metric.name);
        }
    }
    // Every word of a label that has few is there from the start, so that its first increase is seen.
    for reason in [
        CancelReason::User,
        CancelReason::Deadline,
        CancelReason::Drain,
        CancelReason::UpstreamGone,
        CancelReason::SessionClosed,
    ] {
        let word = match reason {
            CancelReason::User => "user",
            CancelReason::Deadline => "deadline",
            CancelReason::Drain => "drain",
            CancelReason::UpstreamGone => "upstream_gone",
            CancelReason::SessionClosed => "session_closed",
        };
        assert_eq!(page.value("dlite_tasks_cancelled_total", &[("reason", word)]), 0.0);
    }
    daemon.stub.take_down(false);
    neighbour.ends_unhurt().await;
    drop(peer);
    daemon.stop().await;
}
