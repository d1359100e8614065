use std::time::Duration;

use dlite::doubles::manager::{Acquired, Dialect, HandBack, NewTask, Options, SubmitError, TaskState};
use serde_json::{Value, json};

use crate::support::{Caller, SOON, TYPE, body_a, options, task};

#[tokio::test]
async fn an_event_repeats_with_every_poll_until_someone_acquires() {
    let caller = Caller::new().await;
    let delegate = caller.delegate("a").await;
    let task = caller.submit();
    for _ in 0..3 {
        assert_eq!(caller.listed(&delegate).await, [&*task]);
    }
    assert_eq!(caller.acquire(&delegate, &task, "i").await.status, 200);
    assert_eq!(caller.poll(&delegate).await, []);
    assert_eq!(caller.manager.task(&task).unwrap().listed, 3);
}

#[tokio::test]
async fn sync_tasks_are_listed_first_and_a_poll_can_be_bounded() {
    let caller = Caller::with(Options { events_per_poll_max: Some(2), ..options() }).await;
    let delegate = caller.delegate("a").await;
    let (first, _second) = (caller.submit(), caller.submit());
    let urgent = caller.manager.submit(NewTask { sync: true, ..task() }).unwrap();
    assert_eq!(caller.listed(&delegate).await, [urgent, first]);
}

#[tokio::test]
async fn an_acquire_hands_out_the_data_byte_for_byte() {
    let caller = Caller::new().await;
    let delegate = caller.delegate("a").await;
    let data = "{\"n\" : 1.0e2,\n \"n\":\"\\u0041\" }";
    let task = caller.manager.submit(NewTask { runner_response: true, ..NewTask::new(TYPE, data) }).unwrap();
    let answered = caller.acquire(&delegate, &task, "i").await;
    assert!(answered.text.contains(data), "{}", answered.text);
    let body = answered.json();
    assert_eq!(body["id"], *task);
    assert_eq!(body["type"], TYPE);
    assert_eq!(
        (&body["async"], &body["runnerResponse"], &body["timeout"]),
        (&json!(true), &json!(true), &json!(600_000))
    );
    assert_eq!((&body["delegate"]["id"], &body["delegate"]["instance_id"]), (&json!(delegate), &json!("i")));
}

#[tokio::test]
async fn an_acquire_is_idempotent_per_delegate_and_instance_and_a_lost_race_is_500() {
    let caller = Caller::new().await;
    let (a, b) = (caller.delegate("a").await, caller.delegate("b").await);
    let task = caller.submit();
    let first = caller.acquire(&a, &task, "i").await;
    let again = caller.acquire(&a, &task, "i").await;
    assert_eq!((again.status, again.text), (200, first.text));
    for (delegate, instance) in [(&a, "j"), (&b, "i")] {
        let answered = caller.acquire(delegate, &task, instance).await;
        assert_eq!((answered.status, &*answered.code()), (500, "DEFAULT_ERROR_CODE"));
    }
    assert_eq!(caller.acquire(&a, "unknown", "i").await.status, 500);
    let record = caller.manager.task(&task).unwrap();
    let counts = [Acquired::Assigned, Acquired::Again, Acquired::Refused].map(|outcome| record.acquired(outcome));
    assert_eq!(counts, [1, 1, 2]);
}

#[tokio::test]
async fn a_finished_task_cannot_be_acquired() {
    let caller = Caller::new().await;
    let delegate = caller.delegate("a").await;
    let task = caller.submit();
    caller.acquire(&delegate, &task, "i").await;
    assert_eq!(caller.result_a(&delegate, &task, body_a("OK", "{}")).await.status, 204);
    assert_eq!(caller.acquire(&delegate, &task, "i").await.status, 500);
}

#[tokio::test]
async fn a_task_can_be_handed_out_without_being_assigned() {
    let caller = Caller::new().await;
    let delegate = caller.delegate("a").await;
    let task = caller.submit();
    caller.manager.hand_out_unassigned(&task);
    let answered = caller.acquire(&delegate, &task, "i").await;
    assert_eq!(answered.status, 200);
    let body = answered.json();
    assert_eq!((&body["delegate"]["id"], &body["delegate"]["instance_id"]), (&Value::Null, &Value::Null));
    assert_eq!(caller.listed(&delegate).await, [&*task]);
    assert_eq!(caller.acquire(&delegate, &task, "i").await.json()["delegate"]["id"], delegate);
}

#[tokio::test]
async fn the_first_answer_counts_and_later_ones_are_repeats_or_conflicts() {
    let caller = Caller::new().await;
    let delegate = caller.delegate("a").await;
    let task = caller.submit();
    caller.acquire(&delegate, &task, "i").await;
    let data = "{ \"v\": 1.50 }";
    let body = body_a("FAILED", data);
    assert_eq!(caller.result_a(&delegate, &task, body.clone()).await.status, 204);
    assert_eq!(caller.result_a(&delegate, &task, body.clone()).await.status, 204);
    assert_eq!(caller.manager.record().conflicts(), 0);
    assert_eq!(caller.result_a("someone-else", &task, body_a("OK", "{}")).await.status, 204);

    let effective = caller.manager.wait_for(&task, SOON).await.unwrap();
    assert_eq!((effective.dialect, &*effective.code), (Dialect::A, "FAILED"));
    assert_eq!((&effective.data[..], &effective.body[..]), (data.as_bytes(), body.as_bytes()));
    let totals = caller.manager.record().totals();
    assert_eq!((totals.effective, totals.repeats, totals.conflicts), (1, 2, 1));
    assert_eq!(caller.manager.task(&task).unwrap().conflicts, 1);
}

#[tokio::test]
async fn anyone_may_answer_a_task() {
    let caller = Caller::new().await;
    let delegate = caller.delegate("a").await;
    let task = caller.submit();
    caller.acquire(&delegate, &task, "i").await;
    caller.result_a("never-registered", &task, body_a("OK", "{}")).await;
    assert_eq!(&*caller.manager.effective(&task).unwrap().delegate, "never-registered");
}

#[tokio::test]
async fn dialect_a_is_204_for_unknown_ids_and_500_for_what_it_cannot_parse() {
    let caller = Caller::new().await;
    let delegate = caller.delegate("a").await;
    let task = caller.submit();
    caller.acquire(&delegate, &task, "i").await;
    assert_eq!(caller.result_a(&delegate, "unknown", body_a("OK", "{}")).await.status, 204);
    assert_eq!(caller.manager.record().strays.total(), 1);
    for body in [
        "".into(),
        body_a("OK", "null"),
        body_a("OK", "[1]"),
        body_a("TIMEOUT", "{}"),
        body_a("OK", "{}").replace(TYPE, "NO_SUCH_TYPE"),
        body_a("OK", "{}").replace("\"id\":\"\",", ""),
    ] {
        let answered = caller.result_a(&delegate, &task, body.clone()).await;
        assert_eq!((answered.status, &*answered.code()), (500, "DEFAULT_ERROR_CODE"), "{body}");
    }
    assert!(caller.manager.effective(&task).is_none());
}

#[tokio::test]
async fn dialect_b_carries_base64_and_a_truthful_code() {
    let caller = Caller::new().await;
    let delegate = caller.delegate("a").await;
    let task = caller.manager.submit(NewTask { runner_response: true, ..task() }).unwrap();
    caller.acquire(&delegate, &task, "i").await;
    let body =
        format!(r#"{{"id":"{task}","type":"{TYPE}","code":"TIMEOUT","error":"too slow","data":"eyJhIjoxfQ=="}}"#);
    assert_eq!(caller.result_b(&delegate, &task, body.replace("==", "!")).await.status, 400);
    assert_eq!(caller.result_b(&delegate, &task, body.clone()).await.status, 204);
    let effective = caller.manager.effective(&task).unwrap();
    assert_eq!((effective.dialect, &*effective.code, &*effective.error), (Dialect::B, "TIMEOUT", "too slow"));
    assert_eq!((&effective.data[..], &effective.body[..]), (&br#"{"a":1}"#[..], body.as_bytes()));
    assert_eq!(caller.manager.task(&task).unwrap().dialect(), Dialect::B);
}

#[tokio::test]
async fn an_abort_is_told_once_to_the_delegate_that_has_the_task() {
    let caller = Caller::new().await;
    let (a, b) = (caller.delegate("a").await, caller.delegate("b").await);
    let task = caller.submit();
    caller.acquire(&a, &task, "i").await;
    assert!(caller.manager.abort(&task));
    assert_eq!(caller.poll(&b).await, []);
    assert_eq!(caller.poll(&a).await, [("DelegateTaskAbortEvent".to_owned(), task.clone())]);
    assert_eq!(caller.poll(&a).await, []);
    assert_eq!(caller.acquire(&a, &task, "i").await.status, 500);
    // Its answer is still waited for.
    caller.result_a(&a, &task, body_a("FAILED", "{}")).await;
    assert!(caller.manager.effective(&task).is_some());
    assert!(!caller.manager.abort(&task));
}

#[tokio::test]
async fn sync_and_queued_tasks_are_aborted_without_an_event() {
    let caller = Caller::new().await;
    let delegate = caller.delegate("a").await;
    let sync = caller.manager.submit(NewTask { sync: true, ..task() }).unwrap();
    let queued = caller.submit();
    caller.acquire(&delegate, &sync, "i").await;
    assert!(!caller.manager.abort(&sync) && !caller.manager.abort(&queued));
    assert_eq!(caller.poll(&delegate).await, []);
    assert_eq!(caller.acquire(&delegate, &queued, "i").await.status, 500);
}

#[tokio::test]
async fn a_task_fails_at_acquire_plus_timeout_and_late_answers_do_not_count() {
    let caller = Caller::new().await;
    let delegate = caller.delegate("a").await;
    let task = caller.manager.submit(NewTask { timeout: Duration::from_millis(20), ..task() }).unwrap();
    caller.acquire(&delegate, &task, "i").await;
    let is_over = |task: &TaskState| task.name() == "timed_out";
    caller.manager.wait_until(|record| is_over(&record.task(&task).unwrap().state), SOON).await.unwrap();
    assert_eq!(caller.result_a(&delegate, &task, body_a("OK", "{}")).await.status, 204);
    let totals = caller.manager.record().totals();
    assert_eq!((totals.effective, totals.late, totals.failed), (0, 1, 1));
    assert_eq!(caller.manager.record().open(), 0);
}

#[tokio::test]
async fn a_task_that_nobody_takes_fails_as_not_assigned() {
    let caller = Caller::new().await;
    let queue_timeout = Some(Duration::from_millis(20));
    let task = caller.manager.submit(NewTask { queue_timeout, ..task() }).unwrap();
    let is_over = |task: &TaskState| task.name() == "not_assigned";
    caller.manager.wait_until(|record| is_over(&record.task(&task).unwrap().state), SOON).await.unwrap();
}

#[tokio::test]
async fn heartbeats_extend_a_task_only_where_the_manager_reads_them() {
    for heartbeats_extend in [false, true] {
        let caller = Caller::with(Options { heartbeats_extend, ..options() }).await;
        let delegate = caller.delegate("a").await;
        let task = caller.submit();
        caller.acquire(&delegate, &task, "i").await;
        let expires = || match caller.manager.task(&task).unwrap().state {
            TaskState::Assigned { expires, .. } => expires,
            state => panic!("{state:?}"),
        };
        let before = expires();
        caller.heartbeat(&delegate, &[&task]).await;
        assert_eq!(expires() > before, heartbeats_extend);
    }
}

#[tokio::test]
async fn a_task_that_is_handed_back_goes_to_another_delegate_or_counts_as_answered() {
    let caller = Caller::new().await;
    let a = caller.delegate("a").await;
    let (alone, shared) = (caller.submit(), caller.submit());
    caller.acquire(&a, &alone, "i").await;
    caller.result_a(&a, &alone, body_a("RETRY_ON_OTHER_DELEGATE", "{}")).await;
    assert_eq!(caller.manager.effective(&alone).unwrap().code, "RETRY_ON_OTHER_DELEGATE");

    let b = caller.delegate("b").await;
    caller.acquire(&a, &shared, "i").await;
    caller.result_a(&a, &shared, body_a("RETRY_ON_OTHER_DELEGATE", "{}")).await;
    assert_eq!(caller.poll(&a).await, []);
    assert_eq!(caller.listed(&b).await, [&*shared]);
    assert_eq!(caller.manager.record().totals().hand_backs, 1);
}

#[tokio::test]
async fn a_task_that_is_handed_back_can_return_to_the_same_delegate() {
    let caller = Caller::with(Options { hand_back: HandBack::ToAnyone, ..options() }).await;
    let delegate = caller.delegate("a").await;
    let task = caller.submit();
    caller.acquire(&delegate, &task, "i").await;
    caller.result_a(&delegate, &task, body_a("RETRY_ON_OTHER_DELEGATE", "{}")).await;
    assert_eq!(caller.listed(&delegate).await, [&*task]);
}

#[tokio::test]
async fn the_oldest_finished_tasks_are_forgotten_but_counted() {
    let caller = Caller::with(Options { finished_tasks_max: 2, ..options() }).await;
    let delegate = caller.delegate("a").await;
    let tasks: Vec<_> = (0..3).map(|_| caller.submit()).collect();
    for task in &tasks {
        caller.acquire(&delegate, task, "i").await;
        caller.result_a(&delegate, task, body_a("OK", "{}")).await;
    }
    let record = caller.manager.record();
    assert!(record.task(&tasks[0]).is_none() && record.task(&tasks[1]).is_some());
    assert_eq!((record.totals().effective, record.open()), (3, 0));
}

#[tokio::test]
async fn a_task_that_cannot_be_is_refused_by_name() {
    let caller = Caller::new().await;
    let submit = |task| caller.manager.submit(task).unwrap_err();
    assert!(matches!(submit(NewTask::new(TYPE, "{")), SubmitError::NotJson { line: 1, .. }));
    assert!(matches!(submit(NewTask { id: Some("a/b".into()), ..task() }), SubmitError::BadId { .. }));
    assert!(matches!(submit(NewTask { timeout: Duration::MAX, ..task() }), SubmitError::TimeoutTooLong { .. }));
    caller.manager.submit(NewTask { id: Some("t".into()), ..task() }).unwrap();
    assert!(matches!(submit(NewTask { id: Some("t".into()), ..task() }), SubmitError::Exists { .. }));
}

#[tokio::test]
async fn a_task_of_an_unsupported_type_can_be_listed_all_the_same() {
    let caller = Caller::new().await;
    let delegate = caller.delegate("a").await;
    let mut other = NewTask::new("OTHER_TASK", "{}");
    caller.manager.submit(other.clone()).unwrap();
    other.listed_to_all = true;
    let listed = caller.manager.submit(other).unwrap();
    assert_eq!(caller.listed(&delegate).await, [listed]);
}
