//! What a poll says of free slots, and what a poll that is held says back.

use std::{collections::BTreeMap, time::Duration};

use dlite::core::{
    admission::Amount,
    effect::{Call, Wanted},
    id::{InstanceId, LinkId, RunnerId, SlotClass},
    input::{Answer, Handler, Hello, Input, Listed, Listing},
    task::{Kind, Spec},
};

use crate::support::{Rig, TYPE, spec};

const POLL: Duration = Duration::from_secs(4);

fn labels(zone: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("zone".to_owned(), zone.to_owned())])
}

/// A runner for one zone, with one slot.
fn attach(rig: &mut Rig, link: u64, zone: &str) {
    let handler = Handler {
        task_type: TYPE.into(),
        class: SlotClass::from("default"),
        idempotent: false,
        default_timeout: None,
        extensions: Vec::new(),
        match_labels: labels(zone),
        amount: Amount::default(),
        kind: Kind::Standalone,
        any_runner: false,
    };
    let hello = Hello {
        runner: RunnerId::from(zone),
        instance: InstanceId(zone.into()),
        sdk: "test".into(),
        handlers: vec![handler],
        slots: BTreeMap::from([(SlotClass::from("default"), 1)]),
        held: Vec::new(),
        refuses_sessions: false,
    };
    rig.tell(Input::Attached { link: LinkId(link), hello, peer: "test".into() });
}

/// The zones that the next poll asks for.
fn wanted(rig: &mut Rig) -> Vec<Wanted> {
    rig.calls.clear();
    rig.pass(POLL);
    let poll = rig.calls.iter().find_map(|call| match call {
        Call::Poll { wanted, .. } => Some(wanted.clone()),
        _ => None,
    });
    poll.expect("a poll an interval")
}

fn listed(id: &str, zone: &str) -> Listed {
    Listed {
        external_id: id.into(),
        task_type: TYPE.into(),
        kind: Kind::Standalone,
        labels: Some(labels(zone)),
        unsupported: false,
    }
}

fn answer(rig: &mut Rig, tasks: Vec<Listed>, quiet: bool) {
    rig.answer(Answer::Poll(Ok(Listing { tasks, aborts: Vec::new(), quiet })));
}

#[test]
fn a_poll_names_what_a_free_slot_waits_for_and_nothing_else() {
    let mut rig = Rig::new();
    rig.register();
    assert_eq!(wanted(&mut rig), []);
    attach(&mut rig, 1, "north");
    attach(&mut rig, 2, "south");
    answer(&mut rig, Vec::new(), false);
    let want = |zone: &str| Wanted { task_type: TYPE.into(), labels: labels(zone) };
    assert_eq!(wanted(&mut rig), [want("north"), want("south")]);
    answer(&mut rig, vec![listed("e-1", "south")], false);
    let (task, _) = rig.acquires().pop().expect("an acquire");
    let spec = Spec { labels: labels("south"), ..spec() };
    rig.answer(Answer::Acquire { task, result: Ok(Box::new(spec)) });
    let again = rig.calls.iter().find_map(|call| match call {
        Call::Poll { wanted, .. } => Some(wanted.clone()),
        _ => None,
    });
    assert_eq!(again, Some(vec![want("north")]), "the slot in the south is in use");
}

#[test]
fn a_task_whose_labels_are_listed_is_taken_only_for_a_runner_that_can_have_it() {
    let mut rig = Rig::new();
    rig.register();
    attach(&mut rig, 1, "north");
    wanted(&mut rig);
    answer(&mut rig, vec![listed("e-1", "south"), listed("e-2", "north")], false);
    let acquired: Vec<_> = rig.acquires().into_iter().map(|(_, id)| id.as_str().to_owned()).collect();
    assert_eq!(acquired, ["e-2"]);
}

#[test]
fn a_quiet_listing_leaves_what_is_on_offer_and_says_nothing_of_the_upstream() {
    let mut rig = Rig::new();
    rig.register();
    wanted(&mut rig);
    answer(&mut rig, vec![listed("e-1", "north")], false);
    wanted(&mut rig);
    let before = rig.core.status().upstreams[0].last_success;
    answer(&mut rig, Vec::new(), true);
    assert_eq!(rig.core.status().upstreams[0].last_success, before);
    rig.calls.clear();
    attach(&mut rig, 1, "north");
    rig.pass(Duration::ZERO);
    assert_eq!(rig.acquires().len(), 1, "it is still on offer");
}
