//! A rig with runners that do stages, and the parts of one stage.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use dlite::core::{
    admission::Amount,
    command::{Command, Refusal},
    effect::{Assignment, Call, Note, Order},
    id::{ExternalId, InstanceId, LeaseId, LinkId, RequestId, RunnerId, SessionId, SlotClass, TaskId, TaskType},
    input::{Answer, Frame, Handler, Hello, Input, Listed, Listing},
    session::{Phase, StateUpdate},
    task::{Finish, Kind, Outcome, Payload, Spec},
};

use super::support::{Rig, spec};

pub const SETUP: &str = "CI_SETUP";
pub const EXECUTE: &str = "CI_EXECUTE";
pub const CLEANUP: &str = "CI_CLEANUP";
pub const STAGE: &str = "stage-1";
/// A rig with runners that do stages, each on the link of its number.
pub struct Stages {
    pub rig: Rig,
    /// Last counted frame of each link.
    pub sequences: BTreeMap<u64, u64>,
    nth: u64,
}

pub fn stage(task_type: &str, kind: Kind) -> Spec {
    let payload =
        Payload { content_type: "text/plain".into(), content: Bytes::from(format!("payload of {task_type}")) };
    Spec {
        task_type: task_type.into(),
        kind,
        payload: Some(payload),
        session: Some(STAGE.into()),
        cleanup: (kind == Kind::SessionSetup).then(|| TaskType::from(CLEANUP)),
        ..spec()
    }
}

pub fn setup() -> Spec {
    stage(SETUP, Kind::SessionSetup)
}

pub fn execute() -> Spec {
    stage(EXECUTE, Kind::SessionExecute)
}

pub fn cleanup() -> Spec {
    stage(CLEANUP, Kind::SessionCleanup)
}

pub fn text(content: &str) -> Payload {
    Payload { content_type: "text/plain".into(), content: Bytes::from(content.to_owned()) }
}

pub fn update(expected: &str, state: &str) -> Box<StateUpdate> {
    Box::new(StateUpdate {
        expected: expected.into(),
        state: Some(text(state)),
        sensitive_state: None,
        extend_ttl: None,
    })
}

pub fn succeeded() -> Finish {
    Finish::of(Outcome::Succeeded, None)
}

impl Stages {
    pub fn new() -> Self {
        let mut rig = Rig::new();
        rig.register();
        let mut stages = Self { rig, sequences: Default::default(), nth: 0 };
        stages.attach(1, false);
        stages
    }

    /// Runner `r-N` attaches on link N.
    pub fn attach(&mut self, link: u64, any_runner: bool) {
        self.attach_as(link, link, any_runner);
    }

    pub fn attach_as(&mut self, link: u64, runner: u64, any_runner: bool) {
        let handler = |task_type: &str| Handler {
            task_type: task_type.into(),
            kind: Kind::Standalone,
            class: SlotClass::from("default"),
            amount: Amount::default(),
            idempotent: false,
            default_timeout: None,
            extensions: Vec::new(),
            match_labels: Default::default(),
            any_runner,
        };
        let hello = Hello {
            runner: RunnerId::from(format!("r-{runner}")),
            instance: InstanceId(format!("i-{link}").into()),
            sdk: "test".into(),
            handlers: [SETUP, EXECUTE, CLEANUP].map(handler).to_vec(),
            slots: [(SlotClass::from("default"), 10)].into(),
            refuses_sessions: false,
            held: Vec::new(),
        };
        self.rig.tell(Input::Attached { link: LinkId(link), hello, peer: "test".into() });
    }

    pub fn detach(&mut self, link: u64) {
        self.rig.tell(Input::Detached { link: LinkId(link) });
    }

    pub fn frame(&mut self, link: u64, frame: Frame) -> u64 {
        let sequence = self.sequences.entry(link).or_default();
        *sequence += u64::from(frame.is_counted());
        let sequence = *sequence;
        self.rig.tell(Input::Received {
            link: LinkId(link),
            sequence: if frame.is_counted() { sequence } else { 0 },
            frame,
        });
        sequence
    }

    /// Lists and acquires one task.
    pub fn take(&mut self, spec: Spec) -> TaskId {
        self.nth += 1;
        self.rig.pass(Duration::from_secs(4));
        let (kind, task_type) = (spec.kind, spec.task_type.clone());
        let external_id = ExternalId::from(format!("e-{}", self.nth));
        let listed = Listed { external_id, task_type, kind, labels: None, unsupported: false };
        self.rig.answer(Answer::Poll(Ok(Listing { tasks: vec![listed], aborts: Vec::new(), quiet: false })));
        let acquires = self.rig.acquires();
        let [(task, _)] = acquires[..] else { panic!("one acquire, not {acquires:?}") };
        self.rig.answer(Answer::Acquire { task, result: Ok(Box::new(spec)) });
        task
    }

    /// The newest assignment of the task.
    pub fn assignment(&self, task: TaskId) -> Option<&Assignment> {
        self.rig.orders.iter().rev().find_map(|order| match order {
            Order::Assign(assignment) if assignment.task == task => Some(&**assignment),
            _ => None,
        })
    }

    pub fn accept(&mut self, link: u64, task: TaskId) -> LeaseId {
        let lease = self.assignment(task).unwrap_or_else(|| panic!("{task} is not assigned")).lease;
        self.frame(link, Frame::Accepted { lease });
        lease
    }

    pub fn finish(&mut self, link: u64, lease: LeaseId, finish: Finish, state: Option<Box<StateUpdate>>) {
        self.frame(link, Frame::Result { lease, finish: Box::new(finish), state });
    }

    /// A setup on link 1 that succeeded and left `state`.
    pub fn set_up(&mut self, state: &str) {
        let task = self.take(setup());
        let lease = self.accept(1, task);
        self.finish(1, lease, succeeded(), Some(update("1", state)));
    }

    pub fn state_seen(&self, task: TaskId) -> Option<String> {
        let session = self.assignment(task).expect("it is assigned").session.as_ref().expect("it has a session");
        Some(String::from_utf8(session.state.as_ref()?.content.to_vec()).unwrap())
    }

    pub fn phase(&self) -> Option<Phase> {
        self.rig.core.ledger().sessions().next().map(|session| session.phase)
    }

    pub fn session(&self) -> SessionId {
        self.rig.core.ledger().sessions().next().expect("one session").id
    }

    /// Why the task failed, as it is reported.
    pub fn reason(&mut self, task: TaskId) -> Option<String> {
        let found = self.rig.calls.iter().find_map(|call| match call {
            Call::Report { task: of, report } if *of == task => Some(report.finish.clone()),
            _ => None,
        });
        Some(found?.error.as_ref()?.reason.to_string())
    }

    pub fn order(&mut self, command: Command) -> Result<(), Refusal> {
        self.rig.tell(Input::Commanded { request: RequestId(1), command });
        self.rig.answers.pop().expect("an order is answered")
    }

    pub fn own_cleanup(&self) -> Option<TaskId> {
        self.rig.core.ledger().tasks().find(|task| task.own).map(|task| task.id)
    }

    pub fn left_behind(&self) -> Option<Option<String>> {
        self.rig.notes.iter().rev().find_map(|note| match note {
            Note::SessionClosed { left_behind, .. } => Some(left_behind.as_ref().map(ToString::to_string)),
            _ => None,
        })
    }
}
