//! What a task's logs came to, on record with the task.

use std::sync::atomic::Ordering;

use ring::digest::{SHA256, digest};

use crate::lab::{Lab, Work, expected};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_log_came_to_is_known_with_its_task_after_the_sink_has_it() {
    let mut lab = Lab::started("", "").await;
    let go = lab.path("go");
    let task = lab.submit("k", Work { lines: 5, until: Some(go.clone()), ..Work::default() });
    let written = lab.written.clone();
    lab.eventually("all is written", || written.load(Ordering::Relaxed) == 5).await;
    lab.manager.down();
    std::fs::write(&go, "").unwrap();
    lab.blob("k").await;
    lab.eventually("the log is deleted", || lab.spooled().is_empty()).await;
    let digest = digest(&SHA256, expected(5).iter().map(|line| format!("{line}\n")).collect::<String>().as_bytes());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let get = |lab: &Lab| String::from_utf8(lab.command(&["tasks", "get", &task]).stdout).unwrap();
    let bytes: usize = expected(5).iter().map(String::len).sum();
    let shown = get(&lab);
    let known = format!("task: 5 lines, {bytes} bytes, closed, not on this machine any more");
    assert!(shown.contains(&known) && shown.contains(&format!("sha256 {digest}")), "{shown}");
    // It is on record.
    lab.kill_delegate();
    lab.start_delegate();
    lab.eventually("the next process knows it", || get(&lab).contains(&known)).await;
    lab.manager.up();
    lab.finished(&task).await;
    lab.eventually("the report says it", || lab.delegate_log().contains("log_lines=5 log_lines_missing=0")).await;
}
