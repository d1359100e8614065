//! Frames in, frames and effects out; no socket, no clock.

mod sessions;

use tonic::Code;

use super::*;
use crate::{
    proto::runner::v1::{
        AttachRequest, AttachResponse, FrameRejection, HeartbeatAck, HeldTaskDecision, HeldTaskDisposition, LostLease,
        OutputSet, Payload, Task, TaskCancellation, attach_request, attach_response::Frame,
    },
    sdk::{outcome, reason::status},
};

/// The engine, with a delegate that the test plays.
struct Play {
    engine: Engine,
    now: Instant,
    delegate_sequence: u64,
}

impl Play {
    /// Attached and welcomed; "STEP" is an ordinary handler, "AGAIN" an idempotent one, two slots.
    fn new() -> Self {
        let handler =
            |task_type: &str, idempotent| Handler { task_type: task_type.to_owned(), idempotent, ..Handler::default() };
        let profile = Profile {
            runner_id: "runner-1".to_owned(),
            instance_id: "instance-1".to_owned(),
            info: RunnerInfo::default(),
            handlers: vec![handler("STEP", false), handler("AGAIN", true)],
            capacity: Capacity { slots: BTreeMap::from([("default".to_owned(), 2)]), refuse_new_sessions: false },
        };
        let mut play = Self { engine: Engine::new(profile), now: Instant::now(), delegate_sequence: 0 };
        play.attach([]);
        play
    }

    /// Opens a stream and decides what Hello lists.
    fn attach<const N: usize>(&mut self, decisions: [(&str, HeldTaskDisposition); N]) {
        self.engine.connected(self.now);
        self.delegate_sequence = 0;
        assert!(matches!(self.frames()[..], [attach_request::Frame::Hello(_)]));
        let decision = |(lease_id, disposition): (&str, HeldTaskDisposition)| HeldTaskDecision {
            lease_id: lease_id.to_owned(),
            disposition: disposition as i32,
            reason: None,
        };
        let decisions = decisions.into_iter().map(decision).collect();
        self.receive(0, Frame::Welcome(Welcome { decisions, ..Welcome::default() }));
    }

    fn receive(&mut self, ack_sequence: u64, frame: Frame) {
        let counted = matches!(frame, Frame::Assignment(_) | Frame::Cancellation(_));
        self.delegate_sequence += u64::from(counted);
        let sequence = if counted { self.delegate_sequence } else { 0 };
        self.engine.receive(self.now, AttachResponse { sequence, ack_sequence, frame: Some(frame) });
    }

    fn acknowledge(&mut self, up_to: u64) {
        self.receive(up_to, Frame::Ack(Default::default()));
    }

    fn assign(&mut self, lease_id: &str, task_type: &str) {
        self.assign_task(lease_id, "task-1", task_type);
    }

    fn assign_task(&mut self, lease_id: &str, task_id: &str, task_type: &str) {
        let task = Task { task_id: task_id.to_owned(), task_type: task_type.to_owned(), ..Task::default() };
        let lease_id = lease_id.to_owned();
        self.receive(0, Frame::Assignment(TaskAssignment { task: Some(task), lease_id, ..Default::default() }));
    }

    /// Assigns, accepts, acknowledges as `sequence`: the handler starts.
    fn start(&mut self, lease_id: &str, task_type: &str, sequence: u64) {
        self.assign(lease_id, task_type);
        self.frames();
        self.acknowledge(sequence);
        assert_eq!(self.effects(), [format!("start {lease_id}")]);
        self.frames();
    }

    fn refuse(&mut self, sequence: u64, reason: &str) {
        let status = Some(status(Code::FailedPrecondition, reason, "no"));
        self.receive(sequence, Frame::Rejection(FrameRejection { sequence, status, ..Default::default() }));
    }

    fn requests(&mut self) -> Vec<AttachRequest> {
        std::iter::from_fn(|| self.engine.poll_frame(self.now)).collect()
    }

    fn frames(&mut self) -> Vec<attach_request::Frame> {
        self.requests().into_iter().filter_map(|request| request.frame).collect()
    }

    /// What goes out, a word a frame; with its sequence if it is counted.
    fn said(&mut self) -> Vec<String> {
        let word = |request: AttachRequest| {
            let name = match request.frame {
                Some(attach_request::Frame::Hello(_)) => "hello".to_owned(),
                Some(attach_request::Frame::Heartbeat(heartbeat)) => {
                    format!("heartbeat {}", heartbeat.lease_ids.join(" "))
                }
                Some(attach_request::Frame::Decision(decision)) => format!("decision {}", decision.lease_id),
                Some(attach_request::Frame::Update(update)) => format!("update {} {}", update.lease_id, update.number),
                Some(attach_request::Frame::Result(result)) => {
                    format!("result {} {:?}", result.lease_id, result.outcome())
                }
                Some(attach_request::Frame::Drain(_)) => "drain".to_owned(),
                Some(attach_request::Frame::Ack(_)) => format!("ack {}", request.ack_sequence),
                Some(attach_request::Frame::Capacity(capacity)) => format!("capacity {:?}", capacity.slots),
                None => "unexpected".to_owned(),
            };
            if request.sequence > 0 { format!("{}: {name}", request.sequence) } else { name.trim_end().to_owned() }
        };
        self.requests().into_iter().map(word).collect()
    }

    fn effects(&mut self) -> Vec<String> {
        let effects = std::iter::from_fn(|| self.engine.poll_effect());
        effects
            .map(|effect| match effect {
                Effect::Start { lease_id, .. } => format!("start {lease_id}"),
                Effect::Ask { lease_id, .. } => format!("ask {lease_id}"),
                Effect::Kill { lease_id } => format!("kill {lease_id}"),
                Effect::Taken {
                    ticket,
                    outcome: Err(refusal @ Refusal::Stale | refusal @ Refusal::Refused { .. }),
                } => {
                    format!("refused {ticket} {refusal:?}")
                }
                Effect::Taken { ticket, outcome } => format!("taken {ticket} {}", outcome.is_ok()),
                Effect::EndLink(end) => format!("end {end:?}"),
            })
            .collect()
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.engine.handle_timeout(self.now);
    }

    fn finish(&mut self, lease_id: &str) {
        self.engine.finished(self.now, &lease_id.into(), outcome::Success::new().into_end());
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn an_accept_starts_its_handler_once_it_is_acknowledged_and_a_result_is_forgotten_once_it_is() {
    let mut play = Play::new();
    assert_eq!(play.said(), ["heartbeat"]);
    play.assign("a", "STEP");
    assert_eq!(play.said(), ["1: decision a"]);
    assert_eq!(play.effects(), NOTHING);
    play.acknowledge(1);
    assert_eq!(play.effects(), ["start a"]);
    assert_eq!(play.said(), ["2: update a 1"]);
    play.finish("a");
    assert_eq!(play.said(), ["3: result a Succeeded"]);
    assert_eq!(play.engine.held_count(), 1);
    play.acknowledge(3);
    assert_eq!(play.engine.held_count(), 0);
}

#[test]
fn a_refusal_counts_before_the_acknowledgement_it_rides_with() {
    for reason in ["ASSIGNMENT_WITHDRAWN", "LEASE_LOST", "LEASE_UNKNOWN", "FRAME_INVALID", "NEW_REASON"] {
        let mut play = Play::new();
        play.assign("a", "STEP");
        play.frames();
        play.refuse(1, reason);
        assert_eq!(play.effects(), NOTHING, "{reason}");
        assert_eq!(play.engine.held_count(), 0, "{reason}");
    }
}

#[test]
fn heartbeats_name_a_lease_from_its_accept_until_its_result_is_sent() {
    let mut play = Play::new();
    play.frames();
    play.assign("a", "STEP");
    play.frames();
    play.pass(Duration::from_secs(10));
    assert_eq!(play.said(), ["heartbeat a"]);
    play.acknowledge(1);
    play.finish("a");
    play.frames();
    play.pass(Duration::from_secs(10));
    assert_eq!(play.said(), ["heartbeat"]);
}

#[test]
fn a_finished_task_is_named_by_heartbeats_on_a_new_stream_until_its_result_is_sent_there() {
    let mut play = Play::new();
    play.start("a", "STEP", 1);
    play.finish("a");
    play.frames();
    play.attach([("a", HeldTaskDisposition::ResendResult)]);
    assert_eq!(play.said(), ["1: update a 1", "2: result a Succeeded", "heartbeat"]);
}

#[test]
fn each_decision_on_a_held_task_sends_what_it_asks_for() {
    for (disposition, said, effects) in [
        (HeldTaskDisposition::Unspecified, vec!["1: decision a", "2: update a 1", "heartbeat a"], vec![]),
        (HeldTaskDisposition::ResendDecision, vec!["1: decision a", "2: update a 1", "heartbeat a"], vec![]),
        (HeldTaskDisposition::Keep, vec!["1: update a 1", "heartbeat a"], vec![]),
        (HeldTaskDisposition::ResendResult, vec!["1: update a 1", "heartbeat a"], vec![]),
        (HeldTaskDisposition::Abandon, vec!["heartbeat a"], vec!["kill a"]),
        (HeldTaskDisposition::Acknowledged, vec!["heartbeat a"], vec!["kill a"]),
    ] {
        let mut play = Play::new();
        play.start("a", "STEP", 1);
        play.attach([("a", disposition)]);
        assert_eq!(play.said(), said, "{disposition:?}");
        assert_eq!(play.effects(), effects, "{disposition:?}");
    }
}

#[test]
fn a_rejection_is_repeated_until_it_is_acknowledged() {
    let mut play = Play::new();
    play.assign("a", "UNKNOWN");
    assert_eq!(play.said(), ["heartbeat", "1: decision a"]);
    play.attach([("a", HeldTaskDisposition::ResendDecision)]);
    assert_eq!(play.said(), ["1: decision a", "heartbeat"]);
    play.acknowledge(1);
    assert_eq!(play.engine.held_count(), 0);
}

#[test]
fn cancellations_are_acknowledged_by_a_frame_of_their_own_when_nothing_else_is_due() {
    let mut play = Play::new();
    play.start("a", "STEP", 1);
    let cancellation = TaskCancellation { lease_id: "a".to_owned(), ..Default::default() };
    play.receive(1, Frame::Cancellation(cancellation.clone()));
    play.receive(1, Frame::Cancellation(TaskCancellation { lease_id: "b".to_owned(), ..cancellation }));
    assert_eq!(play.effects(), ["ask a"]);
    assert_eq!(play.said(), ["ack 3"]);
    assert_eq!(play.said(), NOTHING);
}

#[test]
fn a_handler_that_finishes_between_its_kill_and_its_end_keeps_its_result() {
    let mut play = Play::new();
    play.start("a", "STEP", 1);
    let grace_period = Some(prost_types::Duration { seconds: 5, nanos: 0 });
    play.receive(
        1,
        Frame::Cancellation(TaskCancellation { lease_id: "a".to_owned(), grace_period, ..Default::default() }),
    );
    assert_eq!(play.effects(), ["ask a"]);
    play.pass(Duration::from_secs(5));
    assert_eq!(play.effects(), ["kill a"]);
    play.finish("a");
    assert_eq!(play.said(), ["3: result a Succeeded"]);
}

#[test]
fn a_cancellation_because_the_lease_is_lost_grants_its_grace_and_wants_no_result() {
    let mut play = Play::new();
    play.start("a", "STEP", 1);
    let reason = CancelReason::LeaseLost as i32;
    play.receive(1, Frame::Cancellation(TaskCancellation { lease_id: "a".to_owned(), reason, ..Default::default() }));
    assert_eq!(play.effects(), ["ask a"]);
    play.pass(Duration::from_secs(29));
    assert_eq!(play.effects(), NOTHING);
    play.finish("a");
    assert_eq!((play.said(), play.engine.held_count()), (vec!["heartbeat".to_owned()], 0));
}

#[test]
fn a_repeated_frame_is_ignored_and_a_gap_ends_the_link() {
    let mut play = Play::new();
    play.assign("a", "STEP");
    play.frames();
    play.delegate_sequence = 0;
    play.assign("b", "STEP");
    assert_eq!(play.said(), NOTHING);
    play.delegate_sequence = 5;
    play.assign("c", "STEP");
    assert!(play.effects()[0].starts_with("end Violation"));
    assert_eq!(play.engine.held_count(), 1);
}

#[test]
fn a_delegate_that_misses_frames_gets_a_new_stream_and_all_of_it_again() {
    let mut play = Play::new();
    play.start("a", "STEP", 1);
    play.finish("a");
    play.frames();
    play.refuse(3, "SEQUENCE_INVALID");
    assert!(play.effects()[0].starts_with("end Violation"));
    play.attach([("a", HeldTaskDisposition::Keep)]);
    assert_eq!(play.said(), ["1: update a 1", "2: result a Succeeded", "heartbeat"]);
}

#[test]
fn a_link_is_given_up_after_three_silent_intervals_and_no_sooner() {
    let mut play = Play::new();
    play.pass(Duration::from_secs(29));
    assert_eq!(play.effects(), NOTHING);
    play.pass(Duration::from_secs(1));
    assert_eq!(play.effects(), ["end Silence"]);
    assert_eq!(play.engine.poll_timeout(), None);
}

#[test]
fn an_idempotent_handler_stops_a_ttl_after_the_last_acknowledged_heartbeat_was_sent() {
    let mut play = Play::new();
    play.start("a", "AGAIN", 1);
    play.pass(Duration::from_secs(10));
    assert_eq!(play.said(), ["heartbeat a"]);
    play.now += Duration::from_secs(5);
    play.receive(1, Frame::HeartbeatAck(HeartbeatAck { heartbeat_id: 2, lost: Vec::new() }));
    play.engine.disconnected();
    play.pass(Duration::from_secs(54));
    assert_eq!(play.effects(), NOTHING);
    play.pass(Duration::from_secs(1));
    assert_eq!(play.effects(), ["kill a"], "60 s after it was sent, 55 s after it was answered");
    play.engine.stopped(play.now, &"a".into());
    assert_eq!(play.engine.held_count(), 0, "no result");
}

#[test]
fn any_other_handler_works_on_whatever_the_link_does() {
    let mut play = Play::new();
    play.start("a", "STEP", 1);
    play.engine.disconnected();
    assert_eq!(play.engine.poll_timeout(), None);
    play.pass(Duration::from_secs(3600));
    assert_eq!(play.effects(), NOTHING);
}

#[test]
fn an_idempotent_handler_whose_lease_may_have_run_out_waits_for_a_renewal() {
    let mut play = Play::new();
    play.assign("a", "AGAIN");
    play.frames();
    play.engine.disconnected();
    play.now += Duration::from_secs(61);
    play.attach([("a", HeldTaskDisposition::Keep)]);
    assert_eq!(play.said(), ["heartbeat a"]);
    assert_eq!(play.effects(), NOTHING);
    play.receive(0, Frame::HeartbeatAck(HeartbeatAck { heartbeat_id: 1, lost: Vec::new() }));
    assert_eq!(play.effects(), ["start a"]);
}

#[test]
fn a_lost_lease_is_named_until_its_work_has_stopped_and_then_no_more() {
    let mut play = Play::new();
    play.start("a", "STEP", 1);
    play.pass(Duration::from_secs(10));
    play.frames();
    let lost = vec![LostLease { lease_id: "a".to_owned(), reason: None }];
    play.receive(1, Frame::HeartbeatAck(HeartbeatAck { heartbeat_id: 2, lost }));
    assert_eq!(play.effects(), ["kill a"]);
    play.pass(Duration::from_secs(10));
    assert_eq!(play.said(), ["heartbeat a"]);
    play.finish("a");
    assert_eq!(play.said(), NOTHING, "it finished first, but under a lost lease");
    play.pass(Duration::from_secs(10));
    assert_eq!(play.said(), ["heartbeat"]);
}

#[test]
fn a_new_attempt_waits_until_the_lost_one_of_the_same_task_has_stopped() {
    let mut play = Play::new();
    play.start("a", "AGAIN", 1);
    play.engine.disconnected();
    play.attach([("a", HeldTaskDisposition::Abandon)]);
    assert_eq!(play.effects(), ["kill a"]);
    play.frames();
    play.assign("b", "AGAIN");
    assert_eq!(play.said(), ["1: decision b"]);
    play.acknowledge(1);
    assert_eq!(play.effects(), NOTHING);
    play.engine.stopped(play.now, &"a".into());
    assert_eq!(play.effects(), ["start b"]);
}

#[test]
fn outputs_beyond_the_bound_wait_in_order_and_fall_with_their_task() {
    let mut play = Play::new();
    play.start("a", "STEP", 1);
    for ticket in 1..=1025 {
        play.engine.output(&"a".into(), ticket, OutputSet::default());
    }
    let taken = play.effects();
    assert_eq!(taken.len(), 1023, "started is the one that makes it 1,024");
    play.frames();
    play.acknowledge(2);
    assert_eq!(play.effects(), ["taken 1024 true"]);
    play.finish("a");
    assert_eq!(play.effects(), ["taken 1025 false"]);
}

#[test]
fn a_refused_update_is_not_sent_again_and_its_task_goes_on() {
    let mut play = Play::new();
    play.start("a", "STEP", 1);
    play.refuse(2, "FRAME_INVALID");
    play.attach([("a", HeldTaskDisposition::Keep)]);
    assert_eq!(play.said(), ["heartbeat a"]);
    assert_eq!(play.effects(), NOTHING);
}

#[test]
fn a_result_that_is_refused_twice_is_given_up() {
    let mut play = Play::new();
    play.start("a", "STEP", 1);
    play.finish("a");
    play.frames();
    play.refuse(3, "RESULT_TOO_LARGE");
    assert_eq!(play.said(), ["4: result a Errored"]);
    play.refuse(4, "FRAME_INVALID");
    assert_eq!(play.engine.held_count(), 0);
}

#[test]
fn a_result_above_the_limit_never_leaves() {
    let mut play = Play::new();
    play.start("a", "STEP", 1);
    let payload = Payload::new("", vec![0; 3_670_017]);
    play.engine.finished(play.now, &"a".into(), outcome::Success::from(payload).into_end());
    assert_eq!(play.said(), ["3: result a Errored"]);
}

#[test]
fn no_time_remaining_is_rejected_for_good() {
    let mut play = Play::new();
    play.frames();
    let task = Some(Task { task_type: "STEP".to_owned(), ..Task::default() });
    let time_remaining = Some(prost_types::Duration::default());
    let assignment = TaskAssignment { task, lease_id: "a".to_owned(), time_remaining, ..TaskAssignment::default() };
    play.receive(0, Frame::Assignment(assignment));
    let frames = play.frames();
    let [attach_request::Frame::Decision(decision)] = &frames[..] else { panic!("{frames:?}") };
    let Some(crate::proto::runner::v1::assignment_decision::Decision::Rejected(rejected)) = &decision.decision else {
        panic!("{decision:?}")
    };
    assert_eq!(rejected.retry(), crate::proto::runner::v1::RetryDisposition::Never);
}

#[test]
fn a_leaving_runner_says_so_on_every_stream_and_is_done_when_nothing_is_held() {
    let mut play = Play::new();
    play.start("a", "STEP", 1);
    play.engine.leave();
    play.engine.leave();
    assert_eq!(play.said(), ["drain"]);
    play.finish("a");
    play.attach([("a", HeldTaskDisposition::ResendResult)]);
    assert_eq!(play.said(), ["drain", "1: update a 1", "2: result a Succeeded", "heartbeat"]);
    assert!(!play.engine.is_done());
    play.acknowledge(2);
    assert!(play.engine.is_done());
}

#[test]
fn an_engine_prints_its_state_and_nothing_a_task_brought() {
    let mut play = Play::new();
    let payload = Some(Payload::text("hush"));
    let task = Task { task_id: "task-1".to_owned(), task_type: "STEP".to_owned(), payload, ..Task::default() };
    let lease_id = "a".to_owned();
    play.receive(0, Frame::Assignment(TaskAssignment { task: Some(task), lease_id, ..Default::default() }));
    let printed = format!("{:?}", play.engine);
    assert!(printed.contains("task-1") && printed.contains("Accepted") && !printed.contains("hush"), "{printed}");
}

#[test]
fn a_changed_capacity_is_told_once_also_when_hello_told_the_old_one() {
    let mut play = Play::new();
    play.frames();
    let capacity =
        |count| Capacity { slots: BTreeMap::from([("default".to_owned(), count)]), refuse_new_sessions: false };
    play.engine.set(capacity(1), RunnerHealth::Ok);
    play.engine.set(capacity(1), RunnerHealth::Ok);
    assert_eq!(play.said(), [r#"capacity {"default": 1}"#]);
    play.assign_task("a", "task-1", "STEP");
    play.assign_task("b", "task-2", "STEP");
    let frames = play.frames();
    assert!(format!("{:?}", frames[1]).contains("all 1 slots of class default are taken"), "{frames:?}");
    play.engine.connected(play.now);
    play.frames();
    play.engine.set(capacity(3), RunnerHealth::Degraded);
    assert_eq!(play.said(), NOTHING, "not before Welcome");
    play.receive(0, Frame::Welcome(Welcome::default()));
    assert!(play.said().contains(&r#"capacity {"default": 3}"#.to_owned()));
}

#[test]
fn a_changed_health_is_told_at_once_with_what_is_known_of_the_host() {
    let mut play = Play::new();
    play.frames();
    let slots = BTreeMap::from([("default".to_owned(), 2)]);
    play.engine.set(Capacity { slots, refuse_new_sessions: false }, RunnerHealth::Unhealthy);
    assert!(play.engine.wants_usage());
    play.engine.set_usage(Some(HostUsage { memory_fraction: Some(0.5), ..HostUsage::default() }));
    let frames = play.frames();
    let [attach_request::Frame::Heartbeat(heartbeat)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(heartbeat.health(), RunnerHealth::Unhealthy);
    assert_eq!(heartbeat.usage.expect("usage").memory_fraction, Some(0.5));
    play.pass(Duration::from_secs(10));
    let frames = play.frames();
    let [attach_request::Frame::Heartbeat(heartbeat)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(heartbeat.usage, None, "an old reading is not told as a new one");
}
