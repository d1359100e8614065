//! What nobody here can do is answered at once, and no runner sees it.

use dlite::core::{
    effect::Order,
    id::ExternalId,
    input::{Answer, Listed, Listing},
    task::{Kind, Outcome, Spec},
};

use crate::support::{Rig, TYPE, spec};

fn asks_too_much() -> Spec {
    Spec { unsupported: Some("task.forward".into()), ..spec() }
}

#[test]
fn a_task_with_an_unsupported_field_fails_by_its_name_without_a_runner() {
    let mut rig = Rig::ready(false);
    let task = rig.take("e-1", asks_too_much());
    assert!(!rig.orders.iter().any(|order| matches!(order, Order::Assign(_))), "{:?}", rig.orders);
    let reports = rig.reports();
    let finish = &reports[0].1.finish;
    let error = finish.error.as_ref().unwrap();
    assert_eq!((finish.outcome, &*error.reason), (Outcome::Errored, "UNSUPPORTED_REQUEST"));
    assert!(error.message.contains("task.forward"), "{}", error.message);
    rig.report_answered(task, Ok(()));
    assert!(!rig.knows(task));
    // Its slot is free for others.
    assert_eq!(rig.core.status().open, 0);
    rig.take("e-2", spec());
}

#[test]
fn a_crash_between_taking_and_refusing_does_not_make_it_a_runners() {
    // The journal ends after the task was taken: its end was not written.
    let mut rig = Rig::ready(false);
    rig.take("e-1", asks_too_much());
    let mut rig = rig.restarted_without_ends();
    assert_eq!(rig.reports().len(), 1);
    rig.attach(false);
    assert!(!rig.orders.iter().any(|order| matches!(order, Order::Assign(_))));
}

#[test]
fn a_type_that_is_only_to_be_refused_is_taken_without_a_runner() {
    let mut rig = Rig::new();
    rig.register();
    rig.pass(std::time::Duration::from_secs(4));
    let listed = |id: &str, unsupported| Listed {
        external_id: ExternalId::from(id),
        task_type: TYPE.into(),
        kind: Kind::Standalone,
        labels: None,
        unsupported,
    };
    let tasks = vec![listed("e-1", true), listed("e-2", false)];
    rig.answer(Answer::Poll(Ok(Listing { tasks, ..Listing::default() })));
    let acquires = rig.acquires();
    assert_eq!(acquires.iter().map(|(_, id)| id.as_str()).collect::<Vec<_>>(), ["e-1"]);
    rig.answer(Answer::Acquire { task: acquires[0].0, result: Ok(Box::new(asks_too_much())) });
    assert_eq!(rig.reports().len(), 1);
}
