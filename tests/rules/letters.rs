//! Results in the operator's hands: sent again, given up, and never two for one task. And who did it.

use std::time::Duration;

use dlite::core::{
    audit::{AUDITS_MAX, Actor, Deed},
    command::{Command, Refusal},
    effect::Note,
    id::{RequestId, TaskId},
    input::{Input, ReportError},
    record::Record,
    status::TaskName,
    task::{Finish, Outcome},
};

use crate::support::{Rig, elsewhere, returnable, spec};

/// A task whose result has left for its upstream.
fn reporting() -> (Rig, TaskId) {
    let mut rig = Rig::ready(true);
    let task = rig.take("e-1", spec());
    let lease = rig.accept();
    rig.result(lease, Finish::of(Outcome::Failed, None));
    assert_eq!(rig.reports().len(), 1);
    (rig, task)
}

/// The same, and the upstream does not know the task any more.
fn dead() -> (Rig, TaskId) {
    let (mut rig, task) = reporting();
    rig.report_answered(task, Err(ReportError::Gone("404".into())));
    (rig, task)
}

fn order(rig: &mut Rig, command: Command) -> Result<(), Refusal> {
    rig.tell(Input::Commanded { request: RequestId(1), command });
    rig.answers.pop().expect("an answer")
}

fn replay(rig: &mut Rig, task: TaskId) -> Result<(), Refusal> {
    order(rig, Command::ReplayReport { task })
}

fn give_up(rig: &mut Rig, task: TaskId) -> Result<(), Refusal> {
    order(rig, Command::DropReport { task, reason: "nobody wants it".into() })
}

#[test]
fn a_dead_letter_is_replayed_as_it_was_and_leaves_the_list_once_it_is_taken() {
    let (mut rig, task) = dead();
    let listed = rig.core.report_list(rig.now());
    assert_eq!((listed.len(), listed[0].state, listed[0].replayable), (1, "dead", true));
    assert_eq!(replay(&mut rig, task), Ok(()));
    let reports = rig.reports();
    let [(sent, report)] = &reports[..] else { panic!("one report, not {}", reports.len()) };
    assert_eq!((*sent, report.finish.outcome), (task, Outcome::Failed));
    assert_eq!(rig.core.report_list(rig.now())[0].state, "owed");
    rig.report_answered(task, Ok(()));
    assert!(!rig.knows(task) && rig.core.report_list(rig.now()).is_empty());
}

#[test]
fn a_replay_is_durable_and_has_all_the_time_for_reports_again() {
    let (mut rig, task) = dead();
    // Long after the time for reports is over, as it counts from the task's end.
    rig.pass(Duration::from_secs(3 * 86_400));
    assert_eq!(replay(&mut rig, task), Ok(()));
    rig.reports();
    let mut rig = rig.restarted();
    rig.register();
    assert_eq!(rig.reports().len(), 1, "the next process sends it");
    rig.report_answered(task, Err(ReportError::Unanswered("no answer".into())));
    assert_eq!(rig.core.report_list(rig.now())[0].state, "owed", "it is not too old");
    rig.pass(Duration::from_secs(60));
    assert_eq!(rig.reports().len(), 1);
}

#[test]
fn a_result_that_waits_for_its_next_try_is_sent_at_once() {
    let (mut rig, task) = reporting();
    for _ in 0..5 {
        rig.report_answered(task, Err(ReportError::Unanswered("no answer".into())));
        rig.pass(Duration::from_secs(60));
        rig.reports();
    }
    rig.report_answered(task, Err(ReportError::Unanswered("no answer".into())));
    assert!(rig.core.report_list(rig.now())[0].next.is_some());
    assert_eq!(replay(&mut rig, task), Ok(()));
    assert_eq!(rig.reports().len(), 1);
    // Under way already: nothing more leaves.
    assert_eq!(replay(&mut rig, task), Ok(()));
    assert!(rig.reports().is_empty());
}

#[test]
fn nothing_is_replayed_once_the_upstream_has_an_answer() {
    let (mut rig, task) = reporting();
    rig.report_answered(task, Err(ReportError::Refused("400".into())));
    rig.reports();
    // The minimal failure is taken, and the original stays as a dead letter.
    rig.report_answered(task, Ok(()));
    assert_eq!(replay(&mut rig, task), Err(Refusal::AlreadyReported));
    let mut rig = rig.restarted();
    rig.register();
    assert_eq!(replay(&mut rig, task), Err(Refusal::AlreadyReported), "a restart does not forget it");
    assert!(rig.reports().is_empty());
    assert_eq!(give_up(&mut rig, task), Ok(()));
    assert!(!rig.knows(task));

    let (mut rig, task) = reporting();
    rig.report_answered(task, Ok(()));
    assert_eq!(replay(&mut rig, task), Err(Refusal::TaskUnknown));
}

#[test]
fn a_dead_letter_gives_way_to_a_new_try_at_its_task() {
    let (mut rig, old) = dead();
    // The upstream may list it for a while after it said that it does not know it.
    rig.list(&[]);
    let new = rig.take("e-1", spec());
    assert_ne!(old, new);
    assert_eq!(replay(&mut rig, old), Err(Refusal::ReportSuperseded));
    let name = TaskName::Theirs("e-1".into());
    assert_eq!(rig.core.find_report(rig.now(), &name).unwrap().status.task, old);
}

#[test]
fn a_replayed_task_is_not_acquired_again_meanwhile() {
    let (mut rig, task) = dead();
    rig.list(&[]);
    assert_eq!(replay(&mut rig, task), Ok(()));
    rig.list(&["e-1"]);
    assert!(rig.acquires().is_empty());
}

#[test]
fn a_result_given_up_is_gone_even_if_its_answer_comes_late() {
    let (mut rig, task) = reporting();
    assert_eq!(give_up(&mut rig, task), Ok(()));
    assert!(!rig.knows(task));
    assert!(
        rig.notes
            .iter()
            .any(|note| matches!(note, Note::ReportDropped { reason, .. } if &**reason == "nobody wants it"))
    );
    rig.report_answered(task, Ok(()));
    rig.pass(Duration::from_secs(120));
    assert!(rig.reports().is_empty());
    assert_eq!(give_up(&mut rig, task), Err(Refusal::TaskUnknown));
    let rig = rig.restarted();
    assert!(!rig.knows(task));
}

#[test]
fn a_task_without_a_result_and_one_on_its_way_back_are_left_alone() {
    let mut rig = Rig::ready(true);
    let task = rig.take("e-1", spec());
    assert_eq!(replay(&mut rig, task), Err(Refusal::NoResult));
    assert_eq!(give_up(&mut rig, task), Err(Refusal::NoResult));

    let task = rig.take("e-2", returnable());
    let lease = rig.accept();
    rig.result(lease, elsewhere(Some(false)));
    assert_eq!(rig.core.report_list(rig.now())[0].state, "hand_back");
    assert_eq!(replay(&mut rig, task), Err(Refusal::HandedBack));
}

// === deeds ===

fn deed(n: usize) -> Deed {
    Deed::new(Actor { via: "admin socket".into(), uid: Some(1000), pid: Some(7) }, "reports drop", format!("{n}"))
}

#[test]
fn a_deed_is_on_record_with_what_came_of_it_and_survives_a_restart() {
    let (mut rig, task) = dead();
    let command = |task| {
        let command = Box::new(Command::DropReport { task, reason: "r".into() });
        Command::Audited { deed: deed(1), command }
    };
    rig.records.clear();
    assert_eq!(order(&mut rig, command(task)), Ok(()));
    assert!(
        matches!(rig.records[..], [Record::ScopeEnded, Record::DeedDone { .. }]),
        "in the same turn: {:?}",
        rig.records
    );
    assert_eq!(order(&mut rig, command(task)), Err(Refusal::TaskUnknown));
    let rig = rig.restarted();
    let audits = rig.core.audit_list(10);
    let outcomes: Vec<_> = audits.iter().map(|audit| &*audit.outcome).collect();
    assert_eq!(outcomes, ["ok", "TASK_UNKNOWN"]);
    assert_eq!(audits[0].deed, deed(1));
}

#[test]
fn the_oldest_deeds_make_room_and_long_ones_are_cut() {
    let mut rig = Rig::new();
    for n in 0..AUDITS_MAX + 3 {
        rig.tell(Input::Commanded {
            request: RequestId(1),
            command: Command::PutOnRecord { deed: deed(n), outcome: "ok".into() },
        });
    }
    let audits = rig.core.audit_list(usize::MAX);
    assert_eq!((audits.len(), &*audits[0].deed.arguments), (AUDITS_MAX, "3"));
    let newest = rig.core.audit_list(2);
    assert_eq!(&*newest[1].deed.arguments, format!("{}", AUDITS_MAX + 2));
    let long = Deed::new(Actor::of("file"), "token", "é".repeat(2_000));
    order(&mut rig, Command::PutOnRecord { deed: long, outcome: "ok".into() }).unwrap();
    let text = rig.core.audit_list(1)[0].deed.arguments.clone();
    assert!(text.len() <= 1_024 && text.len() > 1_000, "{}", text.len());
    let rig = rig.restarted();
    assert_eq!(rig.core.audit_list(usize::MAX).len(), AUDITS_MAX);
}
