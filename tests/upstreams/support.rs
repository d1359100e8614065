//! One adapter and one manager, and a short word for each call.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use dlite::{
    core::{
        effect::{Answerable, Call},
        id::{ExternalId, TaskId},
        input::{AcquireError, Answer, CallError, Listing, Registered, ReportError, Standing},
        record::Host,
        task::{Blame, Error, Finish, Identity, Outcome, Payload, Retry, Spec},
        time::Wall,
    },
    doubles::manager::{self, Manager, NewTask},
    upstreams::{
        Upstream,
        harness::{Harness, Options},
    },
};

pub const ACCOUNT: &str = "acctEXAMPLE0000000001";
pub const SECRET: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
pub const TYPE: &str = "DLITE_CI_VM_EXECUTE_TASK";

/// Long enough for any machine; no test that passes waits for it.
pub const SOON: Duration = Duration::from_secs(10);

/// The adapter, registered or not, beside its manager.
pub struct Pair {
    pub manager: Manager,
    pub harness: Harness,
    pub host: Host,
    pub identity: Arc<Identity>,
}

impl Pair {
    /// A registered adapter.
    pub async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let manager = start().await;
        let harness = adapter(&manager.endpoint(), change);
        let registered = register(&harness, None).await.unwrap();
        let identity = Identity { delegate_id: registered.delegate_id, instance_id: "instance-1".into() };
        Self { manager, harness, host: registered.host, identity: Arc::new(identity) }
    }

    pub async fn heartbeat(&self, running: &[&str]) -> Result<Standing, CallError> {
        let call = Call::Heartbeat {
            delegate_id: self.identity.delegate_id.clone(),
            host: self.host.clone(),
            running: running.iter().map(|id| ExternalId::from(*id)).collect(),
        };
        match self.harness.perform(call).await {
            Answer::Heartbeat(result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub async fn poll(&self) -> Result<Listing, CallError> {
        match self
            .harness
            .perform(Call::Poll { delegate_id: self.identity.delegate_id.clone(), wanted: Vec::new() })
            .await
        {
            Answer::Poll(result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub async fn acquire(&self, task: &str) -> Result<Box<Spec>, AcquireError> {
        self.acquire_as(task, self.identity.clone()).await
    }

    pub async fn acquire_as(&self, task: &str, identity: Arc<Identity>) -> Result<Box<Spec>, AcquireError> {
        match self.harness.perform(Call::Acquire { task: TaskId(7), external_id: task.into(), identity }).await {
            Answer::Acquire { task: TaskId(7), result } => result,
            other => panic!("{other:?}"),
        }
    }

    pub async fn report(&self, task: &str, spec: &Spec, finish: Finish) -> Result<(), ReportError> {
        self.send(self.answerable(task, spec, finish)).await
    }

    pub fn answerable(&self, task: &str, spec: &Spec, finish: Finish) -> Answerable {
        Answerable {
            steps: Arc::default(),
            told: None,
            started: None,
            finished: Wall(0),
            external_id: task.into(),
            identity: self.identity.clone(),
            spec: Arc::new(spec.without_content()),
            finish: Arc::new(finish),
            refusal: None,
            hand_back: false,
        }
    }

    pub async fn send(&self, report: Answerable) -> Result<(), ReportError> {
        match self.harness.perform(Call::Report { task: TaskId(8), report: Arc::new(report) }).await {
            Answer::Report { task: TaskId(8), result } => result,
            other => panic!("{other:?}"),
        }
    }

    /// A task that was submitted and acquired.
    pub async fn acquired(&self, task: NewTask) -> (String, Box<Spec>) {
        let id = self.manager.submit(task).unwrap();
        let spec = self.acquire(&id).await.unwrap();
        (id, spec)
    }
}

pub async fn start() -> Manager {
    Manager::start(manager::Options::new(ACCOUNT, SECRET.parse().unwrap())).await.unwrap()
}

pub fn adapter(endpoint: &str, change: impl FnOnce(&mut Options)) -> Harness {
    let mut options = Options::new(endpoint, ACCOUNT, SECRET.parse().unwrap(), "pool a");
    options.request_timeout = SOON;
    change(&mut options);
    Harness::new(options).unwrap()
}

pub async fn register(harness: &Harness, host: Option<Host>) -> Result<Registered, CallError> {
    match harness.perform(Call::Register { task_types: vec![TYPE.into(), "OTHER".into()], host }).await {
        Answer::Register(result) => result,
        other => panic!("{other:?}"),
    }
}

pub fn task() -> NewTask {
    NewTask::new(TYPE, r#"{"n": 1.0}"#)
}

pub fn task_b() -> NewTask {
    NewTask { runner_response: true, ..task() }
}

pub fn succeeded(payload: &str) -> Finish {
    Finish { payload: Some(json(payload)), ..Finish::of(Outcome::Succeeded, None) }
}

/// A handler's own failure, with a payload if there is one.
pub fn failed(outcome: Outcome, payload: Option<&str>) -> Finish {
    let error = Error {
        code: 2,
        reason: "STEP_FAILED".into(),
        message: "exit code 3".into(),
        blame: Blame::UserCode,
        retry: Retry::Never,
        retry_delay: None,
        side_effects_possible: None,
    };
    Finish { payload: payload.map(json), ..Finish::of(outcome, Some(error)) }
}

fn json(text: &str) -> Payload {
    Payload { content_type: "application/json".into(), content: Bytes::copy_from_slice(text.as_bytes()) }
}
