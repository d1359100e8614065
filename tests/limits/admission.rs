//! Limit 4: a host at its end goes on acquiring work.

use std::path::Path;

use dlite::doubles::manager::{Acquired, Record};

use crate::{
    lab::{Lab, SOON, output},
    stages::{CLEANUP, SETUP, STEP, Stages, submit},
};

const ADMISSION: &str = r#"
[admission]
interval = "20ms"
proc_dir = "proc"
cgroup_dir = "group"
memory_high = 85
memory_low = 75
starts_per_second = 10000
starts_burst = 10000
"#;

/// A lab whose host is a directory of written files.
async fn lab() -> Lab {
    let lab = Lab::new().await;
    lab.configure(ADMISSION);
    std::fs::create_dir(lab.path("group")).unwrap();
    write(&lab.path("group/memory.max"), "1000\n");
    memory(&lab, 50);
    lab
}

/// As the kernel would: no reader sees half of it.
fn write(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(fresh, path).unwrap();
}

fn memory(lab: &Lab, percent: u32) {
    write(&lab.path("group/memory.current"), &format!("{}\n", percent * 10));
}

/// Waits until the delegate has read so much.
async fn read(lab: &Lab, percent: u32) {
    let seen = |status: &dlite::proto::admin::v1::GetDelegateResponse| {
        status.admission.as_ref().and_then(|admission| admission.usage_percent.get("memory")) == Some(&percent)
    };
    lab.status_when(&format!("memory at {percent} %"), seen).await;
}

async fn full(lab: &Lab, percent: u32) {
    memory(lab, percent);
    read(lab, percent).await;
}

/// So many more listings of the task, all of them after this call.
async fn listed_again(lab: &Lab, id: &str) {
    let before = lab.manager.read(|record| record.task(id).unwrap().listed);
    lab.manager_when("five more listings", |record| record.task(id).unwrap().listed >= before + 5, SOON).await;
}

fn acquires(record: &Record, id: &str) -> usize {
    record.task(id).unwrap().acquired(Acquired::Assigned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_short_of_memory_takes_no_setups_and_runs_cleanups_until_it_has_room_again() {
    let mut lab = lab().await;
    lab.start_delegate();
    let mut stages = Stages::attach(&lab.socket(), 4);
    lab.status_when("a runner", |status| status.runners.len() == 1).await;
    full(&lab, 93).await;

    let setup = submit(&lab, SETUP);
    let step = submit(&lab, STEP);
    listed_again(&lab, &setup).await;
    for _ in 0..3 {
        let cleanup = submit(&lab, CLEANUP);
        assert_eq!(stages.next().await.0, CLEANUP);
        lab.manager_when("its result", |record| record.effective(&cleanup).is_some(), SOON).await;
    }
    assert_eq!(lab.manager.read(|record| (acquires(record, &setup), acquires(record, &step))), (0, 0));
    let wait = lab.tasks().await.into_iter().find(|task| task.external_id == setup).unwrap().waiting_for;
    assert_eq!(wait, "ADMISSION_MEMORY: admission: memory 93 % > 85 %");
    let status = String::from_utf8(output(&["status"], &lab.path("dlite.toml")).stdout).unwrap();
    assert!(status.contains("admission: memory 93 % > 90 %: only cleanups are taken ("), "{status}");

    // Steps of stages under way pass sooner.
    full(&lab, 79).await;
    assert_eq!(stages.next().await.0, STEP);
    // Between the marks nothing flaps.
    for percent in [84, 86, 77, 85, 76] {
        full(&lab, percent).await;
        listed_again(&lab, &setup).await;
    }
    assert_eq!(lab.manager.read(|record| acquires(record, &setup)), 0);
    assert_eq!(stages.so_far(), [""; 0]);
    let log = std::fs::read_to_string(lab.path("delegate.log")).unwrap();
    assert_eq!(log.matches("the host is too full: no new work").count(), 1, "{log}");

    full(&lab, 75).await;
    assert_eq!(stages.next().await.0, SETUP);
    lab.manager_when("its result", |record| record.effective(&setup).is_some(), SOON).await;
    let log = std::fs::read_to_string(lab.path("delegate.log")).unwrap();
    assert_eq!(log.matches("the host has room again for new work").count(), 1, "{log}");
    stages.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_full_at_the_start_takes_nothing_before_it_was_looked_at() {
    let mut lab = lab().await;
    memory(&lab, 99);
    let setup = submit(&lab, SETUP);
    lab.start_delegate();
    let mut stages = Stages::attach(&lab.socket(), 4);
    lab.manager_when("five listings", |record| record.task(&setup).unwrap().listed >= 5, SOON).await;
    assert_eq!(lab.manager.read(|record| acquires(record, &setup)), 0);
    memory(&lab, 10);
    assert_eq!(stages.next().await.0, SETUP);
    stages.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_can_t_be_read_is_said_once_and_holds_nothing_up() {
    let mut lab = lab().await;
    write(&lab.path("group/memory.max"), "no number\n");
    lab.start_delegate();
    let mut stages = Stages::attach(&lab.socket(), 4);
    let setup = submit(&lab, SETUP);
    assert_eq!(stages.next().await.0, SETUP);
    lab.manager_when("its result", |record| record.effective(&setup).is_some(), SOON).await;
    lab.manager_when("many polls", |record| record.polls.total() >= 20, SOON).await;
    let log = std::fs::read_to_string(lab.path("delegate.log")).unwrap();
    let path = |name: &str| lab.path(name).display().to_string();
    for (source, reason) in [
        ("the control group's memory", format!("{} has no number that can be read", path("group/memory.max"))),
        ("the host's memory", format!("{} is not there", path("proc/meminfo"))),
    ] {
        let said: Vec<&str> = log.lines().filter(|line| line.contains(source)).collect();
        assert!(said.len() == 1 && said[0].contains(&reason), "{source}: {said:?}\n{log}");
    }
    // What can be read again counts again.
    write(&lab.path("group/memory.max"), "1000\n");
    full(&lab, 97).await;
    let second = submit(&lab, SETUP);
    listed_again(&lab, &second).await;
    assert_eq!(lab.manager.read(|record| acquires(record, &second)), 0);
    stages.stop().await;
}
