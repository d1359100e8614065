//! A disk that fills up: intake stops under a name, nothing acknowledged is lost, and all goes on once there is room.

use dlite::proto::runner::v1::TaskOutcome;

use crate::support::{
    patiently,
    peer::result_with,
    place::{Place, Running},
};

/// More than any page that is still free can take.
const RESULT_BYTES: usize = 512 << 10;

async fn state_is(daemon: &Running, wanted: &str) -> String {
    patiently(async {
        loop {
            let status = daemon.status().await;
            if status.state == wanted {
                return status.state_reason;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_full_disk_stops_intake_by_name_and_loses_no_result() {
    let daemon = Place::new().start().await;
    let mut peer = daemon.attach("runner", "WORK", 2).await;
    daemon.stub.offer("a", "WORK");
    let lease = peer.start().await;

    daemon.disk.set(Some(1));
    let content = vec![b'7'; RESULT_BYTES];
    let sent = peer.say_counted(result_with(&lease, TaskOutcome::Succeeded, content.clone())).await;
    let reason = state_is(&daemon, "store_failing").await;
    assert!(reason.contains("full"), "{reason}");
    assert_eq!(daemon.stub.read(|book| book.reports_of("a").count()), 0, "reported before it was durable");

    daemon.stub.offer("b", "WORK");
    let listed = daemon.task_in("b", "listed").await;
    assert!(listed.waiting_for.contains("STORE_FAILING"), "{}", listed.waiting_for);
    // Liveness needs no disk: the link and its lease go on.
    let heartbeat = peer.heartbeat(&[]).await;
    assert_eq!(peer.heartbeat_ack().await.heartbeat_id, heartbeat);

    daemon.disk.set(None);
    state_is(&daemon, "serving").await;
    peer.acknowledged(sent).await;
    let report = daemon.stub.report("a").await;
    assert_eq!(report.finish.payload.as_ref().expect("its payload").content, content);
    daemon.stub.acquired("b").await;
}
