//! An upstream that refuses this delegate: nothing is taken, what runs is finished and reported, and the state says why.

use std::time::Duration;

use dlite::core::{
    effect::{Call, Note},
    input::{Answer, CallError, Denial, Listing, Registered},
    record::Host,
    task::{Finish, Outcome},
};

use crate::support::{Rig, spec};

fn state(rig: &Rig) -> &'static str {
    rig.core.status().upstreams[0].state
}

/// The poll that is under way is answered so.
fn poll_denied(rig: &mut Rig, denial: Denial) {
    rig.pass(Duration::from_secs(4));
    rig.answer(Answer::Poll(Err(CallError::Denied(denial, "401".into()))));
}

#[test]
fn a_refused_token_stops_the_taking_and_not_the_work() {
    for (denial, named) in [
        (Denial::TokenRevoked, "token_revoked"),
        (Denial::TokenExpired, "token_expired"),
        (Denial::Credentials, "unauthorized"),
    ] {
        let mut rig = Rig::ready(false);
        let task = rig.take("e-1", spec());
        let lease = rig.accept();
        poll_denied(&mut rig, denial);
        assert_eq!(state(&rig), named);
        assert!(
            rig.notes.iter().any(|note| matches!(note, Note::UpstreamDenies { denial: said, .. } if *said == denial))
        );
        // Finished, and reported as soon as it is let.
        rig.result(lease, Finish::of(Outcome::Succeeded, None));
        assert_eq!(rig.reports().len(), 1);
        rig.report_answered(task, Err(dlite::core::input::ReportError::Unauthorized("401".into())));
        assert_eq!(state(&rig), named, "a report knows less than a poll");
        rig.pass(Duration::from_secs(10));
        assert_eq!(rig.reports().len(), 1);
        rig.report_answered(task, Ok(()));
        assert_eq!(state(&rig), "registered");
        assert!(!rig.knows(task));
    }
}

#[test]
fn what_was_listed_before_a_refusal_is_not_taken_after_it() {
    let mut rig = Rig::new();
    rig.register();
    // Nobody can do it yet.
    rig.list(&["e-1"]);
    poll_denied(&mut rig, Denial::TokenRevoked);
    rig.attach(false);
    assert!(rig.acquires().is_empty());
    rig.list(&["e-1"]);
    assert_eq!(rig.acquires().len(), 1);
}

#[test]
fn a_refused_address_is_tried_again_and_only_a_registration_mends_it() {
    let mut rig = Rig::new();
    rig.pass(Duration::ZERO);
    rig.answer(Answer::Register(Err(CallError::Denied(Denial::Address, "204".into()))));
    assert_eq!(state(&rig), "address_refused");
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.calls.iter().filter(|call| matches!(call, Call::Register { .. })).count(), 2);
    rig.answer(Answer::Poll(Ok(Listing::default())));
    assert_eq!(state(&rig), "address_refused");
    let host = Host { name: "h".into(), ip: "192.0.2.1".into() };
    rig.answer(Answer::Register(Ok(Registered { delegate_id: "d".into(), host, moved_to: None })));
    assert_eq!(state(&rig), "registered");
}

#[test]
fn self_destruct_is_final_once_all_is_reported() {
    let mut rig = Rig::ready(false);
    let task = rig.take("e-1", spec());
    let lease = rig.accept();
    rig.answer(Answer::Register(Err(CallError::SelfDestruct("gone".into()))));
    assert_eq!((state(&rig), rig.core.is_deleted()), ("deleted", false));
    rig.calls.clear();
    rig.pass(Duration::from_secs(600));
    assert!(rig.calls.is_empty(), "{:?}", rig.calls);
    rig.result(lease, Finish::of(Outcome::Succeeded, None));
    assert_eq!(rig.reports().len(), 1);
    rig.report_answered(task, Ok(()));
    assert!(rig.core.is_deleted());
}

#[test]
fn a_move_is_shown_until_the_endpoint_is_set() {
    let mut rig = Rig::new();
    rig.pass(Duration::ZERO);
    let host = Host { name: "h".into(), ip: "192.0.2.1".into() };
    let moved_to = Some("https://new.example.test".into());
    rig.answer(Answer::Register(Ok(Registered { delegate_id: "d".into(), host, moved_to })));
    assert_eq!(state(&rig), "moved");
    let error = rig.core.status().upstreams[0].last_error.clone().unwrap();
    assert!(error.contains("https://new.example.test"), "{error}");
    assert_eq!(rig.notes.iter().filter(|note| matches!(note, Note::Moved { .. })).count(), 1);
}
