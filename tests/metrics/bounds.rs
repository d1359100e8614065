//! The number of series has a bound that nobody outside can move.

use dlite::{
    proto::runner::v1::{Handler, TaskOutcome},
    telemetry::metrics::labels::{OTHER, TASK_TYPES_MAX},
};

use crate::{
    ask::{Page, metrics},
    scene::pause,
    support::{
        patiently,
        peer::{hello, result},
        place::Place,
    },
};

/// More types than are told apart.
const INVENTED: usize = TASK_TYPES_MAX + 30;
/// What an upstream lists that no runner does.
const LISTED: usize = 10_000;

async fn reported(address: std::net::SocketAddr, count: usize) -> Page {
    patiently(async {
        loop {
            let page = metrics(address).await;
            let samples = &page.families["dlite_tasks_reported_total"].samples;
            if samples.iter().map(|sample| sample.value).sum::<f64>() as usize == count {
                return page;
            }
            pause().await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_invents_task_types_and_labels_cannot_grow_the_series_without_bound() {
    let daemon = Place::new().start().await;
    let mut hello = hello("inventor", "instance-1", "INVENTED_0", 1);
    let handler = hello.handlers[0].clone();
    hello.handlers = (0..INVENTED).map(|n| Handler { task_type: format!("INVENTED_{n}"), ..handler.clone() }).collect();
    hello.info.get_or_insert_default().labels =
        (0..60).map(|n| (format!("label_{n}"), format!("value \"{n}\"\n"))).collect();
    let mut peer = daemon.attach_as(hello).await;
    for n in 0..INVENTED {
        daemon.stub.offer(&format!("task-{n}"), &format!("INVENTED_{n}"));
    }
    for _ in 0..INVENTED {
        let lease = peer.start().await;
        peer.say_counted(result(&lease, TaskOutcome::Succeeded)).await;
    }
    let page = reported(daemon.http(), INVENTED).await;
    let types = page.label_values("task_type");
    assert_eq!(types.len(), TASK_TYPES_MAX + 1);
    assert!(types.contains(OTHER));
    let others = page.value("dlite_tasks_reported_total", &[("task_type", OTHER), ("outcome", "succeeded")]);
    assert_eq!(others as usize, INVENTED - TASK_TYPES_MAX);
    assert!(
        page.families
            .values()
            .flat_map(|family| &family.samples)
            .all(|sample| { sample.labels.keys().all(|key| !key.starts_with("label_")) })
    );

    // Frames that make no sense have the delegate's words, not the runner's.
    let before = page.series();
    for n in 0..50 {
        let sequence = peer.say_counted(result(&format!("invented-{n}"), TaskOutcome::Succeeded)).await;
        assert!(sequence > 0);
        peer.rejection().await;
    }
    let after = metrics(daemon.http()).await;
    assert!(after.series() <= before + 1, "{} series, then {}", before, after.series());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_lists_ten_thousand_types_adds_no_series_for_them() {
    let daemon = Place::new().start().await;
    let _peer = daemon.attach("r", "KNOWN", 1).await;
    for n in 0..LISTED {
        daemon.stub.offer(&format!("task-{n}"), &format!("INVENTED_{n}"));
    }
    let page = patiently(async {
        loop {
            let page = metrics(daemon.http()).await;
            let left = &page.families["dlite_tasks_not_acquired_total"].samples;
            if left.iter().map(|sample| sample.value).sum::<f64>() as usize >= LISTED {
                return page;
            }
            pause().await;
        }
    })
    .await;
    assert_eq!(page.families["dlite_tasks_not_acquired_total"].samples.len(), 1);
    assert!(page.series() < 400, "{}", page.series());
    daemon.stop().await;
}
