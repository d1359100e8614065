//! A session's state: changed by compare-and-set, over lost links and lost races.

use super::*;
use crate::{
    proto::runner::v1::{Session, SessionStateUpdate, TaskResult, TaskUpdate, task_update::Update},
    sdk::{outcome::End, state::StateChange},
};

fn session(etag: &str, state: &str) -> Session {
    Session {
        session_id: "s".to_owned(),
        etag: etag.to_owned(),
        state: Some(Payload::text(state)),
        ..Session::default()
    }
}

fn update(etag: &str, state: &str) -> SessionStateUpdate {
    let state = Some(Payload::text(state));
    SessionStateUpdate { expected_etag: etag.to_owned(), state, ..SessionStateUpdate::default() }
}

impl Play {
    /// A running task of a session whose state is "zero" under the etag "e0"; frames 1 and 2 are its accept and its start.
    fn in_session() -> Self {
        let mut play = Self::new();
        play.frames();
        play.assign_in_session("a", "task-1");
        play.acknowledge(1);
        assert_eq!(play.effects(), ["start a"]);
        play.frames();
        play.acknowledge(2);
        play
    }

    fn assign_in_session(&mut self, lease_id: &str, task_id: &str) {
        let task = Task { task_id: task_id.to_owned(), task_type: "STEP".to_owned(), ..Task::default() };
        let (lease_id, session) = (lease_id.to_owned(), Some(session("e0", "zero")));
        self.receive(
            0,
            Frame::Assignment(TaskAssignment { task: Some(task), lease_id, session, ..Default::default() }),
        );
        self.frames();
    }

    fn write(&mut self, lease_id: &str, ticket: u64, base: u64, state: &str) {
        let mut change = StateChange::of(base, &session("e0", "zero"));
        change.update = update("e0", state);
        self.engine.set_state(&lease_id.into(), ticket, change);
    }

    fn tell(&mut self, etag: &str, state: &str) {
        self.receive(0, Frame::Session(session(etag, state)));
    }

    /// Etag and number of each change that goes out, with its sequence.
    fn changes(&mut self) -> Vec<String> {
        let change = |request: AttachRequest| match request.frame? {
            attach_request::Frame::Update(TaskUpdate {
                number, update: Some(Update::SessionState(update)), ..
            }) => Some(format!("{}: {number} from {}", request.sequence, update.expected_etag)),
            attach_request::Frame::Result(TaskResult { session_state: Some(update), .. }) => {
                Some(format!("{}: result from {}", request.sequence, update.expected_etag))
            }
            attach_request::Frame::Result(result) => Some(format!("{}: {:?}", request.sequence, result.outcome())),
            _ => None,
        };
        self.requests().into_iter().filter_map(change).collect()
    }

    fn version(&self) -> u64 {
        self.engine.sessions.values().next().expect("a session").borrow().version
    }

    fn finish_with(&mut self, lease_id: &str, base: u64, state: &str) {
        let result =
            TaskResult { session_state: Some(update("e0", state)), ..outcome::Success::new().into_end().result };
        self.engine.finished(self.now, &lease_id.into(), End { result, base });
    }
}

#[test]
fn a_change_is_answered_once_it_is_acknowledged() {
    let mut play = Play::in_session();
    play.write("a", 7, 1, "one");
    assert_eq!(play.changes(), ["3: 2 from e0"]);
    assert_eq!(play.effects(), NOTHING);
    play.acknowledge(3);
    assert_eq!(play.effects(), ["taken 7 true"]);
    assert_eq!(play.version(), 2);
}

#[test]
fn a_change_that_lost_the_race_is_the_handlers_to_make_anew_once_the_state_in_force_is_told() {
    let mut play = Play::in_session();
    play.write("a", 7, 1, "one");
    play.frames();
    play.refuse(3, "SESSION_ETAG_STALE");
    assert_eq!((play.effects(), play.changes()), (vec![], vec![]));
    play.tell("e1", "other");
    assert_eq!(play.effects(), ["refused 7 Stale"]);
    play.write("a", 8, 2, "one after other");
    assert_eq!(play.changes(), ["4: 3 from e1"]);
    play.acknowledge(4);
    assert_eq!(play.effects(), ["taken 8 true"]);
}

#[test]
fn a_state_that_was_told_before_the_refusal_decides_at_once() {
    let mut play = Play::in_session();
    play.write("a", 7, 1, "one");
    play.frames();
    play.tell("e1", "other");
    play.refuse(3, "SESSION_ETAG_STALE");
    assert_eq!(play.effects(), ["refused 7 Stale"]);
}

#[test]
fn a_second_change_in_a_row_counts_whether_or_not_the_first_ones_etag_was_told() {
    let mut play = Play::in_session();
    play.write("a", 7, 1, "one");
    play.frames();
    play.acknowledge(3);
    play.effects();
    play.write("a", 8, 2, "two");
    assert_eq!(play.changes(), ["4: 3 from e0"]);
    play.refuse(4, "SESSION_ETAG_STALE");
    assert_eq!(play.effects(), NOTHING);
    play.tell("e1", "one");
    assert_eq!(play.changes(), ["5: 4 from e1"], "the state is the one it was made from");
    play.acknowledge(5);
    assert_eq!(play.effects(), ["taken 8 true"]);
    play.tell("e2", "two");
    play.write("a", 9, play.version(), "three");
    assert_eq!(play.changes(), ["6: 5 from e2"]);
}

#[test]
fn another_task_of_this_runner_that_saw_the_older_state_does_not_overwrite_the_newer_one() {
    let mut play = Play::in_session();
    play.assign_in_session("b", "task-2");
    play.acknowledge(3);
    play.frames();
    play.effects();
    play.write("a", 7, 1, "one");
    play.frames();
    play.acknowledge(5);
    assert_eq!(play.effects(), ["taken 7 true"]);
    play.write("b", 8, 1, "made from zero");
    assert_eq!(play.changes(), ["6: 2 from e0"]);
    play.refuse(6, "SESSION_ETAG_STALE");
    assert_eq!(play.effects(), ["refused 8 Stale"]);
    play.tell("e1", "one");
    assert_eq!(play.changes(), [""; 0]);
}

#[test]
fn a_change_whose_acknowledgement_was_lost_goes_out_under_the_same_number_and_etag() {
    let mut play = Play::in_session();
    play.write("a", 7, 1, "one");
    play.frames();
    // The delegate has it and told so; the acknowledgement fell with the link.
    play.tell("e1", "one");
    play.attach([("a", HeldTaskDisposition::Keep)]);
    assert_eq!(play.changes(), ["1: 2 from e0"], "by its number the delegate knows it has it");
    play.acknowledge(1);
    assert_eq!(play.effects(), ["taken 7 true"]);
    assert_eq!(play.version(), 2, "told once is counted once");
}

#[test]
fn a_refused_change_that_waits_when_the_link_is_cut_is_tried_again_on_the_next_one() {
    let mut play = Play::in_session();
    play.write("a", 7, 1, "one");
    play.frames();
    play.refuse(3, "SESSION_ETAG_STALE");
    play.attach([("a", HeldTaskDisposition::Keep)]);
    assert_eq!(play.effects(), NOTHING);
    assert_eq!(play.changes(), ["1: 3 from e0"]);
    play.refuse(1, "SESSION_ETAG_STALE");
    play.tell("e5", "other");
    assert_eq!(play.effects(), ["refused 7 Stale"]);
}

#[test]
fn a_change_that_is_refused_for_another_reason_is_told_so_and_its_task_goes_on() {
    let mut play = Play::in_session();
    play.write("a", 7, 1, "one");
    play.frames();
    play.refuse(3, "SESSION_CLOSED");
    assert_eq!(play.effects(), [r#"refused 7 Refused { reason: "SESSION_CLOSED", message: "no" }"#]);
    play.attach([("a", HeldTaskDisposition::Keep)]);
    assert_eq!(play.changes(), [""; 0]);
}

#[test]
fn nobody_waits_for_a_change_of_a_task_that_has_ended() {
    let mut play = Play::in_session();
    play.write("a", 7, 1, "one");
    play.write("a", 8, 1, "two");
    play.frames();
    play.refuse(3, "SESSION_ETAG_STALE");
    play.finish("a");
    let mut answers = play.effects();
    answers.sort();
    assert_eq!(answers, ["taken 7 false", "taken 8 false"]);
    play.tell("e1", "other");
    assert_eq!(play.effects(), NOTHING);
    play.write("a", 9, 1, "late");
    assert_eq!(play.effects(), ["taken 9 false"]);
}

#[test]
fn a_result_takes_its_change_along_and_goes_again_if_only_the_etag_was_old() {
    let mut play = Play::in_session();
    play.write("a", 7, 1, "one");
    play.frames();
    play.acknowledge(3);
    play.finish_with("a", 2, "two");
    assert_eq!(play.changes(), ["4: result from e0"]);
    play.refuse(4, "SESSION_ETAG_STALE");
    play.pass(Duration::from_secs(10));
    assert_eq!(play.said(), ["heartbeat a"], "its lease is open");
    play.tell("e1", "one");
    assert_eq!(play.changes(), ["5: result from e1"]);
    play.acknowledge(5);
    assert_eq!((play.engine.held_count(), play.engine.sessions.len()), (0, 0));
}

#[test]
fn a_result_that_lost_the_race_for_the_state_is_no_success() {
    for told_first in [true, false] {
        let mut play = Play::in_session();
        play.finish_with("a", 1, "mine");
        play.frames();
        if told_first {
            play.tell("e1", "other");
        }
        play.refuse(3, "SESSION_ETAG_STALE");
        if !told_first {
            assert_eq!(play.changes(), [""; 0]);
            play.tell("e1", "other");
        }
        assert_eq!(play.changes(), ["4: Errored"], "{told_first}");
    }
}

#[test]
fn a_closed_session_takes_the_result_without_its_change() {
    let mut play = Play::in_session();
    play.finish_with("a", 1, "mine");
    play.frames();
    play.refuse(3, "SESSION_CLOSED");
    assert_eq!(play.changes(), ["4: Succeeded"]);
    play.refuse(4, "SESSION_CLOSED");
    assert_eq!(play.engine.held_count(), 0, "there is nothing less to say");
}

#[test]
fn a_session_is_known_for_as_long_as_a_task_of_it_is_held() {
    let mut play = Play::in_session();
    play.assign_in_session("b", "task-2");
    play.acknowledge(3);
    play.frames();
    play.effects();
    play.receive(0, Frame::Session(Session { session_id: "unknown".to_owned(), ..Session::default() }));
    assert_eq!(play.engine.sessions.len(), 1);
    for (lease_id, left) in [("a", 1), ("b", 0)] {
        play.finish(lease_id);
        let sent = play.requests().iter().map(|request| request.sequence).max().expect("a result");
        play.acknowledge(sent);
        assert_eq!(play.engine.sessions.len(), left);
    }
}
