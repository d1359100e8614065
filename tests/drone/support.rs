//! One adapter and one server, and a short word for each call.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use dlite::{
    core::{
        effect::{Answerable, Call, Wanted},
        id::{ExternalId, TaskId},
        input::{AcquireError, Answer, CallError, Listing, Registered, ReportError, Standing},
        record::Host,
        task::{Blame, Error, Finish, Identity, Outcome, Retry, Spec},
        time::Wall,
    },
    doubles::drone::{self, Drone, NewBuild, NewStage, Submitted},
    upstreams::{
        Upstream,
        drone::{Options, Pace, Token},
    },
};

pub const TOKEN: &str = "tok-example-1";
pub const TYPE: &str = "drone.stage.docker";

/// Long enough for any machine; no test that passes waits for it.
pub const SOON: Duration = Duration::from_secs(10);
/// How long the double holds polls and watches, unless a test says otherwise.
pub const HOLD: Duration = Duration::from_millis(400);

/// The adapter, registered, beside its server.
pub struct Pair {
    pub server: Drone,
    pub adapter: dlite::upstreams::drone::Drone,
    pub host: Host,
    pub identity: Arc<Identity>,
}

impl Pair {
    pub async fn new() -> Self {
        Self::with(|_| (), |_| ()).await
    }

    pub async fn with(change_server: impl FnOnce(&mut drone::Options), change: impl FnOnce(&mut Options)) -> Self {
        let mut options = drone::Options { hold: HOLD, ..drone::Options::new(TOKEN) };
        change_server(&mut options);
        let server = Drone::start(options).await.unwrap();
        let adapter = adapter(&server, change);
        let registered = register(&adapter, None).await.unwrap();
        let identity = Identity { delegate_id: registered.delegate_id, instance_id: "instance-1".into() };
        Self { server, adapter, host: registered.host, identity: Arc::new(identity) }
    }

    /// The same delegate after a restart: nothing in memory, the journal's part given.
    pub fn restart(&mut self) {
        self.adapter = adapter(&self.server, |_| ());
    }

    /// A build of one docker stage.
    pub fn submit(&self) -> Submitted {
        self.server.submit(NewBuild::new(vec![NewStage::new("unit", "docker")])).unwrap()
    }

    /// A stage that is ours.
    pub async fn taken(&self) -> (Submitted, Box<Spec>) {
        let submitted = self.submit();
        let spec = self.acquire(&external(&submitted)).await.unwrap();
        (submitted, spec)
    }

    pub async fn heartbeat(&self, running: &[&str]) -> Result<Standing, CallError> {
        let call = Call::Heartbeat {
            delegate_id: self.identity.delegate_id.clone(),
            host: self.host.clone(),
            running: running.iter().map(|id| ExternalId::from(*id)).collect(),
        };
        match self.adapter.perform(call).await {
            Answer::Heartbeat(result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub async fn poll(&self, wanted: &[Wanted]) -> Result<Listing, CallError> {
        let call = Call::Poll { delegate_id: self.identity.delegate_id.clone(), wanted: wanted.to_vec() };
        match self.adapter.perform(call).await {
            Answer::Poll(result) => result,
            other => panic!("{other:?}"),
        }
    }

    /// Polls until a listing is as wanted.
    pub async fn poll_until(&self, wanted: &[Wanted], mut seen: impl FnMut(&Listing) -> bool) -> Listing {
        let polls = async {
            loop {
                let listing = self.poll(wanted).await;
                if let Ok(listing) = listing
                    && seen(&listing)
                {
                    return listing;
                }
            }
        };
        tokio::time::timeout(SOON, polls).await.expect("no such listing in time")
    }

    pub async fn acquire(&self, task: &str) -> Result<Box<Spec>, AcquireError> {
        let (external_id, identity) = (task.into(), self.identity.clone());
        match self.adapter.perform(Call::Acquire { task: TaskId(7), external_id, identity }).await {
            Answer::Acquire { task: TaskId(7), result } => result,
            other => panic!("{other:?}"),
        }
    }

    pub fn answerable(&self, task: &str, spec: &Spec, finish: Finish) -> Answerable {
        Answerable {
            external_id: task.into(),
            identity: self.identity.clone(),
            spec: Arc::new(spec.without_content()),
            finish: Arc::new(finish),
            steps: Arc::default(),
            told: None,
            started: Some(Wall(1_738_660_005_900_000)),
            finished: Wall(1_738_660_031_100_000),
            refusal: None,
            hand_back: false,
        }
    }

    pub async fn report(&self, task: &str, spec: &Spec, finish: Finish) -> Result<(), ReportError> {
        self.send(self.answerable(task, spec, finish)).await
    }

    pub async fn send(&self, report: Answerable) -> Result<(), ReportError> {
        match self.adapter.perform(Call::Report { task: TaskId(8), report: Arc::new(report) }).await {
            Answer::Report { task: TaskId(8), result } => result,
            other => panic!("{other:?}"),
        }
    }
}

pub fn adapter(server: &Drone, change: impl FnOnce(&mut Options)) -> dlite::upstreams::drone::Drone {
    let mut options = Options::new(server.endpoint(), Token::new(TOKEN).unwrap());
    options.machine = Some("m1".to_owned());
    options.pace = Pace {
        watch_overlap: HOLD / 2,
        turn: Duration::from_millis(100),
        retry_min: Duration::from_millis(50),
        retry_max: Duration::from_millis(400),
        ..Pace::default()
    };
    change(&mut options);
    dlite::upstreams::drone::Drone::new(options).unwrap()
}

pub async fn register(adapter: &impl Upstream, host: Option<Host>) -> Result<Registered, CallError> {
    match adapter.perform(Call::Register { task_types: vec![TYPE.into()], host }).await {
        Answer::Register(result) => result,
        other => panic!("{other:?}"),
    }
}

pub fn external(submitted: &Submitted) -> String {
    format!("{}/{}", submitted.build, submitted.stages[0])
}

pub fn wanted(task_type: &str, labels: &[(&str, &str)]) -> Wanted {
    let labels: BTreeMap<_, _> = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Wanted { task_type: task_type.into(), labels }
}

pub fn succeeded() -> Finish {
    Finish::of(Outcome::Succeeded, None)
}

pub fn ended(outcome: Outcome, reason: &str, message: &str) -> Finish {
    let error = Error {
        code: 2,
        reason: reason.into(),
        message: message.into(),
        blame: Blame::UserCode,
        retry: Retry::Never,
        retry_delay: None,
        side_effects_possible: None,
    };
    Finish::of(outcome, Some(error))
}
