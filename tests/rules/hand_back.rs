//! A task goes back to its upstream once, or not at all.

use std::time::Duration;

use dlite::core::{
    effect::Note,
    input::{Frame, ReportError},
    record::Record,
    task::Outcome,
};

use crate::support::{Rig, elsewhere, other_delegate, returnable, spec};

fn counts(rig: &Rig, wanted: fn(&Record) -> bool) -> usize {
    rig.records.iter().filter(|record| wanted(record)).count()
}

/// A task whose handler said that another delegate should try, and the request that says so.
fn handing_back() -> (Rig, dlite::core::id::TaskId) {
    let mut rig = Rig::ready(true);
    let task = rig.take("e-1", returnable());
    let lease = rig.accept();
    rig.result(lease, elsewhere(None));
    let reports = rig.reports();
    let [(reported, report)] = &reports[..] else { panic!("one request, not {reports:?}") };
    assert_eq!((*reported, report.hand_back), (task, true));
    assert_eq!(counts(&rig, |record| *record == Record::HandBackSent), 1, "durable before it leaves");
    (rig, task)
}

#[test]
fn a_task_taken_back_is_over_and_is_taken_again_when_it_is_listed_again() {
    let (mut rig, task) = handing_back();
    rig.report_answered(task, Ok(()));
    assert!(!rig.knows(task));
    assert!(matches!(rig.notes.last(), Some(Note::HandedBack { answered: true, .. })), "{:?}", rig.notes.last());
    // The poll that was under way meanwhile knew nothing of it.
    rig.list(&["e-1"]);
    assert!(rig.acquires().is_empty());
    let again = rig.take("e-1", returnable());
    assert_ne!(again, task);
    // Once round is enough: now the failure is the answer.
    let lease = rig.accept();
    rig.result(lease, elsewhere(None));
    let reports = rig.reports();
    assert_eq!((reports.len(), reports[0].1.hand_back), (1, false));
    assert_eq!(reports[0].1.finish.outcome, Outcome::Errored);
}

#[test]
fn an_unclear_answer_counts_as_sent() {
    for unclear in [ReportError::Unanswered("cut".into()), ReportError::Fault("500".into())] {
        let (mut rig, task) = handing_back();
        rig.report_answered(task, Err(unclear));
        assert!(!rig.knows(task));
        rig.pass(Duration::from_secs(3_600));
        assert!(rig.reports().is_empty());
        let unanswered = |note: &Note| matches!(note, Note::HandedBack { answered: false, .. });
        assert_eq!(rig.notes.iter().filter(|note| unanswered(note)).count(), 1);
    }
}

#[test]
fn a_crash_after_the_intent_counts_as_sent() {
    let (rig, task) = handing_back();
    let mut rig = rig.restarted();
    assert!(!rig.knows(task));
    rig.pass(Duration::from_secs(3_600));
    assert!(rig.reports().is_empty());
}

#[test]
fn a_clear_no_makes_it_a_failure_that_is_reported() {
    let (mut rig, task) = handing_back();
    rig.report_answered(task, Err(ReportError::Refused("400".into())));
    let reports = rig.reports();
    assert_eq!((reports.len(), reports[0].1.hand_back, &reports[0].1.refusal), (1, false, &None));
    // And so it stays, whoever reports it.
    let mut rig = rig.restarted();
    let reports = rig.reports();
    assert_eq!((reports.len(), reports[0].1.hand_back), (1, false));
    rig.report_answered(task, Ok(()));
    assert!(!rig.knows(task));
}

#[test]
fn what_certainly_did_not_arrive_is_sent_again_under_the_same_intent() {
    for error in [ReportError::Unsent("refused".into()), ReportError::Unauthorized("401".into())] {
        let (mut rig, task) = handing_back();
        rig.report_answered(task, Err(error));
        assert!(rig.knows(task));
        rig.pass(Duration::from_secs(2));
        let reports = rig.reports();
        assert_eq!((reports.len(), reports[0].1.hand_back), (1, true));
        assert_eq!(counts(&rig, |record| *record == Record::HandBackSent), 1);
        rig.report_answered(task, Ok(()));
        assert!(!rig.knows(task));
    }
}

#[test]
fn only_an_error_that_counts_hands_back() {
    for (idempotent, side_effects_possible, hands_back) in
        [(true, None, true), (true, Some(true), true), (false, Some(false), true), (false, None, false)]
    {
        let mut rig = Rig::ready(idempotent);
        rig.take("e-1", returnable());
        let lease = rig.accept();
        rig.result(lease, elsewhere(side_effects_possible));
        let reports = rig.reports();
        assert_eq!(reports[0].1.hand_back, hands_back, "idempotent {idempotent}, effects {side_effects_possible:?}");
    }
}

#[test]
fn a_rejection_hands_back_where_the_upstream_takes_it() {
    for (spec, hands_back) in [(returnable(), true), (spec(), false)] {
        let mut rig = Rig::ready(false);
        rig.take("e-1", spec);
        let lease = rig.orders.iter().find_map(|order| match order {
            dlite::core::effect::Order::Assign(assignment) => Some(assignment.lease),
            _ => None,
        });
        rig.frame(Frame::Rejected { lease: lease.unwrap(), error: other_delegate(None) });
        let reports = rig.reports();
        // Where it does not, the task waits for a runner that wants it.
        assert_eq!(
            reports.iter().map(|(_, report)| report.hand_back).collect::<Vec<_>>(),
            vec![true; usize::from(hands_back)]
        );
    }
}

#[test]
fn a_task_that_no_runner_is_left_for_is_handed_back_or_fails() {
    for (spec, hands_back) in [(returnable(), true), (spec(), false)] {
        let mut rig = Rig::ready(false);
        rig.list(&["e-1"]);
        let (task, _) = rig.acquires()[0];
        // Its runner goes while the acquire is under way.
        rig.detach();
        rig.answer(dlite::core::input::Answer::Acquire { task, result: Ok(Box::new(spec)) });
        rig.pass(Duration::from_secs(59));
        assert!(rig.reports().is_empty());
        rig.pass(Duration::from_secs(2));
        let reports = rig.reports();
        let report = &reports[0].1;
        assert_eq!((&*report.finish.error.as_ref().unwrap().reason, report.hand_back), ("NO_RUNNER", hands_back));
    }
}
