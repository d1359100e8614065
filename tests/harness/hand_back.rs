//! A task goes back to the manager in the one dialect that has a word for it. When, and how often, are rules of the core.

use dlite::{
    core::task::{Finish, Outcome},
    doubles::manager::{HandBack, Manager, NewTask, Options, TaskState},
    upstreams::harness::{Family, LegacyStatusCode},
};

use crate::support::{ACCOUNT, Pair, SECRET, TYPE, adapter, register, succeeded, task, task_b};

#[tokio::test]
async fn a_task_of_dialect_a_goes_back_and_can_be_had_again() {
    let options = Options { hand_back: HandBack::ToAnyone, ..Options::new(ACCOUNT, SECRET.parse().unwrap()) };
    let mut pair = Pair::new().await;
    pair.manager = Manager::start(options).await.unwrap();
    pair.harness = adapter(&pair.manager.endpoint(), |_| ());
    let registered = register(&pair.harness, None).await.unwrap();
    pair.identity =
        dlite::core::task::Identity { delegate_id: registered.delegate_id, instance_id: "instance-1".into() }.into();

    let (id, spec) = pair.acquired(task()).await;
    let mut report = pair.answerable(&id, &spec, Finish::of(Outcome::Errored, None));
    report.hand_back = true;
    assert_eq!(pair.send(report).await, Ok(()));
    let seen = pair.manager.task(&id).unwrap();
    assert!(matches!(seen.state, TaskState::Queued { .. }) && seen.effective.is_none(), "{:?}", seen.state);
    assert_eq!(seen.hand_backs.last().unwrap().code, "RETRY_ON_OTHER_DELEGATE");
    assert_eq!(pair.poll().await.unwrap().tasks.len(), 1);
    let spec = pair.acquire(&id).await.unwrap();
    assert_eq!(pair.report(&id, &spec, succeeded("{}")).await, Ok(()));
    assert_eq!(pair.manager.effective(&id).unwrap().code, "OK");
}

#[tokio::test]
async fn only_a_truthful_dialect_a_has_a_word_for_it() {
    let pair = Pair::new().await;
    assert!(pair.acquired(task()).await.1.hand_back);
    assert!(!pair.acquired(task_b()).await.1.hand_back);
    let quiet = Pair::with(|options| options.legacy_status_code = LegacyStatusCode::Ok).await;
    assert!(!quiet.acquired(task()).await.1.hand_back);
    let runner = Pair::with(|options| options.family = Family::Runner).await;
    assert!(!runner.acquired(NewTask::for_runners(TYPE, "{}")).await.1.hand_back);
}
