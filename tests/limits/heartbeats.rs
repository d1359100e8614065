//! Limit 1, "uses register call for heartbeat": the whole registration went out every ten seconds, secret and all, without the
//! tasks that run, and nothing was learned from the answer.

use dlite::doubles::manager::{Calls, Heartbeat, RegisterAnswer};

use super::lab::{Lab, SOON};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delegate_registers_once_and_its_heartbeats_name_what_runs_and_hold_no_secret() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 4);
    let id = lab.submit("DEV_ONCE", 600_000);
    let names = |beat: &&Heartbeat| {
        beat.body.currently_executing_delegate_tasks.as_ref().is_some_and(|tasks| tasks.contains(&id))
    };
    let enough = |record: &dlite::doubles::manager::Record| record.heartbeats.iter().filter(names).count() >= 5;
    lab.manager_when("heartbeats that name it", enough, SOON).await;
    lab.manager.read(|record| {
        assert_eq!(record.registers.total(), 1);
        assert!(record.heartbeats.iter().all(|beat| beat.body.delegate_random_token.is_none()));
        assert!(record.heartbeats.iter().all(|beat| beat.body.supported_task_types.is_none()));
        assert_eq!(record.secret_seen.total(), 0);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delegate_that_is_told_deleted_registers_once_more() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 4);
    lab.status_when("it is registered", |status| status.upstreams[0].state == "registered").await;
    lab.manager.forget_delegates();
    lab.manager_when("a second registration", |record| record.registers.total() == 2, SOON).await;
    let beats = lab.manager.read(|record| record.heartbeats.total());
    lab.manager_when("more heartbeats", |record| record.heartbeats.total() >= beats + 5, SOON).await;
    assert_eq!(lab.manager.read(|record| record.registers.total()), 2);
    let id = lab.submit("DEV_WORK", 1);
    lab.manager_when("a result", |record| record.effective(&id).is_some(), SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delegate_that_is_not_wanted_finishes_reports_and_exits_with_a_reason() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 4);
    let id = lab.submit("DEV_ONCE", 500);
    lab.manager_when("it is taken", |record| record.task(&id).unwrap().acquires.total() == 1, SOON).await;
    lab.manager.refuse_registers(RegisterAnswer::NullId, Calls::All);
    lab.manager.forget_delegates();
    assert_eq!(lab.delegate_ended().await, Some(1), "{}", lab.tail());
    assert_eq!(lab.manager.effective(&id).expect("its result came first").code, "OK");
    assert!(lab.delegate_log().contains("DELEGATE_DELETED"), "{}", lab.tail());
}
