//! The manager's quirks by their numbers in the wire reference, 17.2, against the double, which has them all.
//!
//! 15 and 16 are the log service's: until logs are built nothing here calls it, which is what their test says.

use std::{sync::Arc, time::Duration};

use dlite::{
    core::{
        input::{AcquireError, CallError, Denial, Standing},
        task::{Finish, Identity, Outcome},
    },
    doubles::manager::{Acquired, Calls, Fault, LOG_TOKEN, NewTask, RegisterAnswer, Route},
};

use crate::{
    lab::{Lab, SOON},
    support::{Pair, TYPE, adapter, failed, register, start, succeeded, task},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quirk_01_a_delegate_that_hears_deleted_registers_again() {
    let pair = Pair::new().await;
    pair.manager.forget_delegates();
    assert_eq!(pair.heartbeat(&[]).await, Ok(Standing::Forgotten));
    // A poll does not tell.
    assert!(pair.poll().await.unwrap().tasks.is_empty());

    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 1);
    lab.status_when("the runner is attached", |status| status.runners.len() == 1).await;
    lab.manager_when("a registration", |record| record.registers.total() >= 1, SOON).await;
    let before = lab.manager.read(|record| record.registers.total());
    lab.manager.forget_delegates();
    lab.manager_when("a new registration", |record| record.registers.total() > before, SOON).await;
    let task = lab.submit("DEV_WORK", 1);
    lab.manager_when("the result", |record| record.effective(&task).is_some(), SOON).await;
}

#[tokio::test]
async fn quirk_02_a_refused_registration_is_told_by_its_kind() {
    let manager = start().await;
    let harness = adapter(&manager.endpoint(), |_| ());
    let refused = async |answer| {
        manager.refuse_registers(answer, Calls::Next(1));
        register(&harness, None).await.unwrap_err()
    };
    let error = refused(RegisterAnswer::SelfDestruct).await;
    assert!(matches!(&error, CallError::SelfDestruct(text) if text.contains("SELF_DESTRUCT")), "{error:?}");
    let error = refused(RegisterAnswer::NullId).await;
    assert!(matches!(&error, CallError::Deleted(text) if text.contains("no delegate id")), "{error:?}");
    let error = refused(RegisterAnswer::NoContent).await;
    assert!(matches!(&error, CallError::Denied(Denial::Address, text) if text.contains("allow list")), "{error:?}");
    assert!(register(&harness, None).await.is_ok());
}

#[tokio::test]
async fn quirk_03_a_lost_race_is_a_500_and_no_alarm() {
    let pair = Pair::new().await;
    let (id, _) = pair.acquired(task()).await;
    let other = Identity { instance_id: "instance-2".into(), ..(*pair.identity).clone() };
    let Err(AcquireError::Refused(text)) = pair.acquire_as(&id, Arc::new(other)).await else { panic!("not refused") };
    assert!(text.starts_with("PUT /api/agent/v2/delegates/{delegate}/tasks/{task}/acquire: 500: "), "{text}");
    assert!(matches!(pair.acquire("task-nobody-knows").await, Err(AcquireError::Refused(_))));
    // The next one is had all the same.
    pair.acquired(task()).await;
}

#[tokio::test]
async fn quirk_04_a_task_handed_out_without_being_assigned_is_not_taken() {
    let pair = Pair::new().await;
    let id = pair.manager.submit(task()).unwrap();
    pair.manager.hand_out_unassigned(&id);
    assert_eq!(pair.acquire(&id).await.unwrap_err(), AcquireError::Unassigned);
    assert!(pair.acquire(&id).await.is_ok());
}

#[tokio::test]
async fn quirk_05_an_acquire_whose_answer_was_lost_is_asked_again_under_the_same_ids() {
    let pair = Pair::new().await;
    let id = pair.manager.submit(task()).unwrap();
    pair.manager.fault(Route::Acquire, Fault::CutBeforeAnswer, Calls::Next(1));
    assert!(matches!(pair.acquire(&id).await, Err(AcquireError::Unanswered(_))));
    let spec = pair.acquire(&id).await.unwrap();
    assert_eq!(pair.acquire(&id).await.unwrap(), spec);
    assert_eq!(pair.manager.task(&id).unwrap().acquired(Acquired::Again), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quirk_06_an_event_that_repeats_with_every_poll_is_acquired_once() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 1);
    // The one slot is in use, so that this one is listed again and again.
    let first = lab.submit("DEV_WORK", 1_000);
    lab.manager_when("the first is taken", |record| record.task(&first).unwrap().acquires.total() == 1, SOON).await;
    let second = lab.submit("DEV_WORK", 1);
    lab.manager_when("both results", |record| record.effective(&first).and(record.effective(&second)).is_some(), SOON)
        .await;
    let task = lab.manager.task(&second).unwrap();
    assert!(task.listed > 1, "{}", task.listed);
    assert_eq!(task.acquires.total(), 1);
}

#[tokio::test]
async fn quirk_07_an_abort_comes_with_one_poll_only() {
    let pair = Pair::new().await;
    let (id, _) = pair.acquired(task()).await;
    assert!(pair.manager.abort(&id));
    let listing = pair.poll().await.unwrap();
    assert_eq!(listing.aborts.iter().map(|id| id.as_str()).collect::<Vec<_>>(), [&*id]);
    assert!(pair.poll().await.unwrap().aborts.is_empty());
}

#[tokio::test]
async fn quirk_08_the_first_result_wins_whoever_sent_it() {
    let pair = Pair::new().await;
    let (id, spec) = pair.acquired(task()).await;
    let mut foreign = pair.answerable(&id, &spec, succeeded("{}"));
    foreign.identity = Arc::new(Identity { delegate_id: "dlgEXAMPLE99".into(), instance_id: "i-9".into() });
    pair.send(foreign).await.unwrap();
    // A later one is taken and dropped, so what a task says after it went elsewhere must never leave: that is the core's rule.
    pair.report(&id, &spec, failed(Outcome::Failed, None)).await.unwrap();
    let task = pair.manager.task(&id).unwrap();
    assert_eq!((&*task.effective.unwrap().code, task.repeats.total()), ("OK", 1));
}

#[tokio::test]
async fn quirk_09_dialect_a_is_always_an_object_of_a_known_type_and_code() {
    let pair = Pair::new().await;
    for (payload, data) in [("[1, 2]", r#"{"value":[1, 2]}"#), ("plain", r#"{"value_base64":"cGxhaW4="}"#)] {
        let (id, spec) = pair.acquired(task()).await;
        assert_eq!(pair.report(&id, &spec, succeeded(payload)).await, Ok(()));
        assert_eq!(&pair.manager.effective(&id).unwrap().data[..], data.as_bytes());
    }
    for outcome in [Outcome::Failed, Outcome::Errored, Outcome::Cancelled, Outcome::TimedOut, Outcome::Skipped] {
        for hand_back in [false, true] {
            let (id, spec) = pair.acquired(task()).await;
            let mut report = pair.answerable(&id, &spec, Finish::of(outcome, None));
            report.hand_back = hand_back;
            assert_eq!(pair.send(report).await, Ok(()), "{outcome:?}");
        }
    }
}

#[tokio::test]
async fn quirk_10_the_same_tags_are_said_every_time() {
    let pair = Pair::with(|options| options.tags = vec!["linux".into(), "".into(), "arm64".into()]).await;
    register(&pair.harness, Some(pair.host.clone())).await.unwrap();
    let tags: Vec<_> = pair.manager.read(|record| record.registers.iter().map(|r| r.body.tags.clone()).collect());
    assert_eq!(tags, vec![Some(vec!["linux".to_owned(), "arm64".to_owned()]); 2]);
}

#[tokio::test]
async fn quirk_11_two_delegates_of_one_host_are_two() {
    let pair = Pair::new().await;
    let other = adapter(&pair.manager.endpoint(), |options| options.delegate_name = "pool b".into());
    assert_ne!(register(&other, None).await.unwrap().delegate_id, pair.identity.delegate_id);
    let named = adapter(&pair.manager.endpoint(), |options| options.host_name = Some("mac 07".into()));
    assert_eq!(&*register(&named, None).await.unwrap().host.name, "mac-07");
}

#[tokio::test]
async fn quirk_12_registering_again_fails_no_running_task() {
    let pair = Pair::new().await;
    let (id, spec) = pair.acquired(task()).await;
    register(&pair.harness, Some(pair.host.clone())).await.unwrap();
    pair.report(&id, &spec, succeeded("{}")).await.unwrap();
    assert!(pair.manager.effective(&id).is_some());
    assert!(pair.manager.read(|record| record.registers.iter().all(|register| register.body.immutable.is_none())));
}

#[tokio::test]
async fn quirk_13_a_header_lost_on_the_way_is_hinted_at() {
    // A proxy that takes the header away makes the manager answer 500, like any accident.
    let manager = start().await;
    let harness = adapter(&manager.endpoint(), |_| ());
    manager.fault(Route::Register, Fault::Status(500, String::new()), Calls::Next(1));
    let error = register(&harness, None).await.unwrap_err();
    assert!(matches!(&error, CallError::Failed(text) if text.contains("Authorization")), "{error:?}");
}

#[tokio::test]
async fn quirk_14_heartbeats_list_what_runs_for_a_manager_that_reads_it() {
    let pair = Pair::new().await;
    let brief = NewTask { timeout: Duration::from_secs(60), ..NewTask::new(TYPE, "{}") };
    let (id, spec) = pair.acquired(brief).await;
    // Its own limit is the manager's, so that nothing goes on after it.
    assert_eq!(spec.timeout, Some(Duration::from_secs(60)));
    pair.heartbeat(&[&id]).await.unwrap();
    let beat = pair.manager.read(|record| record.heartbeats.last().unwrap().body.clone());
    assert_eq!(beat.currently_executing_delegate_tasks, Some(vec![id]));
}

#[tokio::test]
async fn quirks_15_and_16_the_log_service_is_not_called_and_its_token_goes_to_nobody() {
    // Write before open, close twice, a link without a store: none of it can go wrong for who never calls. The client that will
    // call brings its own tests of these two.
    let pair = Pair::new().await;
    let (id, spec) = pair.acquired(task()).await;
    let told = [spec.extensions.iter().flat_map(|extension| extension.value.to_vec()).collect(), spec.reply.to_vec()];
    for bytes in told {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!text.contains(LOG_TOKEN), "the log token leaves the adapter: {text}");
    }
    pair.report(&id, &spec, succeeded("{}")).await.unwrap();
    pair.heartbeat(&[]).await.unwrap();
    let totals = pair.manager.read(|record| record.totals());
    assert_eq!((totals.effective, totals.no_route), (1, 0));
}
