//! A scripted delegate: each test says itself what the delegate answers, frame by frame.

use std::{path::PathBuf, time::Duration};

use dlite::{
    proto::runner::v1::{
        Ack, AssignmentDecision, AttachRequest, AttachResponse, DrainNotice, FrameRejection, Heartbeat, HeartbeatAck,
        HeldTaskDecision, HeldTaskDisposition, Hello, Payload, Session, SessionStateUpdate, Task, TaskAssignment,
        TaskCancellation, TaskResult, TaskUpdate, Welcome,
        assignment_decision::Decision,
        attach_request,
        attach_response::Frame,
        runner_service_server::{RunnerService, RunnerServiceServer},
        task_update::Update,
    },
    sdk::{Connection, RunError, Runner},
};
use tempfile::TempDir;
use tokio::{
    net::UnixListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Code, Request, Response, Status, Streaming, transport::Server};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Nothing in these tests takes longer than an instant; whatever waits for this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Short, so that tests see heartbeats soon; long enough that a busy machine does not count as silence.
pub const HEARTBEAT: Duration = Duration::from_millis(500);

pub struct Delegate {
    links: mpsc::Receiver<Link>,
    directory: TempDir,
}

/// One attached stream, seen from the delegate.
pub struct Link {
    inbound: Streaming<AttachRequest>,
    outbound: mpsc::Sender<Result<AttachResponse, Status>>,
    sequence: u64,
    /// Told with every frame; a test raises it to acknowledge.
    pub acknowledged: u64,
    /// Leases of the newest heartbeat.
    pub heartbeat: Option<Heartbeat>,
}

/// A runner that runs until told to stop.
pub struct Running {
    pub task: JoinHandle<Result<(), RunError>>,
    stop: Option<oneshot::Sender<()>>,
}

struct Service {
    links: mpsc::Sender<Link>,
}

#[tonic::async_trait]
impl RunnerService for Service {
    type AttachStream = ReceiverStream<Result<AttachResponse, Status>>;

    async fn attach(&self, request: Request<Streaming<AttachRequest>>) -> Result<Response<Self::AttachStream>, Status> {
        let (outbound, answers) = mpsc::channel(64);
        let inbound = request.into_inner();
        let link = Link { inbound, outbound, sequence: 0, acknowledged: 0, heartbeat: None };
        self.links.send(link).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

// === impl Delegate ===

impl Delegate {
    /// Listens on a Unix socket of its own.
    pub async fn listen() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join("runner.sock")).expect("a socket");
        let (sender, links) = mpsc::channel(8);
        let service = RunnerServiceServer::new(Service { links: sender }).max_decoding_message_size(16 * 1024 * 1024);
        tokio::spawn(Server::builder().serve_with_incoming(service, UnixListenerStream::new(listener)));
        Self { links, directory }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("runner.sock")
    }

    pub fn target(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// The next stream a runner opens.
    pub async fn link(&mut self) -> Link {
        patiently(self.links.recv()).await.expect("the service lives")
    }

    /// Runs `runner` against this delegate, with short waits between attaches.
    pub fn run(&self, runner: Runner) -> Running {
        self.run_with(runner, |connection| connection)
    }

    pub fn run_with(&self, runner: Runner, adjust: impl FnOnce(Connection) -> Connection) -> Running {
        let connection = runner.connect(self.target()).backoff(Duration::from_millis(1), Duration::from_millis(20));
        let (stop, stopped) = oneshot::channel();
        let run = adjust(connection).run(async move {
            // A dropped sender is a test that ends, not a wish to stop.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        });
        Running { task: tokio::spawn(run), stop: Some(stop) }
    }

    /// Attaches `runner` and welcomes it, with nothing held.
    pub async fn welcome(&mut self, runner: Runner) -> (Running, Link) {
        let running = self.run(runner);
        let mut link = self.link().await;
        assert_eq!(link.hello().await.held_tasks, []);
        link.welcome([]).await;
        (running, link)
    }
}

// === impl Link ===

impl Link {
    /// The first frame.
    pub async fn hello(&mut self) -> Hello {
        match self.next().await.frame {
            Some(attach_request::Frame::Hello(hello)) => hello,
            other => panic!("wanted hello, got {other:?}"),
        }
    }

    pub async fn welcome(&mut self, decisions: impl IntoIterator<Item = (&str, HeldTaskDisposition)>) {
        let decision = |(lease_id, disposition): (&str, HeldTaskDisposition)| HeldTaskDecision {
            lease_id: lease_id.to_owned(),
            disposition: disposition as i32,
            reason: None,
        };
        let decisions = decisions.into_iter().map(decision).collect();
        self.welcome_with(Welcome { decisions, ..terms() }).await;
    }

    pub async fn welcome_with(&mut self, welcome: Welcome) {
        self.say(Frame::Welcome(welcome)).await;
    }

    /// An assignment of `task_type`; its payload names the lease.
    pub async fn assign(&mut self, lease_id: &str, task_type: &str) {
        self.assign_task(lease_id, task(lease_id, task_type)).await;
    }

    pub async fn assign_task(&mut self, lease_id: &str, task: Task) {
        self.assign_in(None, lease_id, task).await;
    }

    pub async fn assign_in(&mut self, session: Option<Session>, lease_id: &str, task: Task) {
        let lease_id = lease_id.to_owned();
        let assignment = TaskAssignment { task: Some(task), lease_id, session, ..TaskAssignment::default() };
        self.say_counted(Frame::Assignment(assignment)).await;
    }

    /// The newest form of a session.
    pub async fn tell(&mut self, session: Session) {
        self.say(Frame::Session(session)).await;
    }

    /// The next change of a session's state, other updates passed over; its sequence.
    pub async fn state_update(&mut self) -> (u64, SessionStateUpdate) {
        loop {
            let (sequence, update) = self.update().await;
            if let Some(Update::SessionState(state)) = update.update {
                return (sequence, state);
            }
        }
    }

    pub async fn cancel(&mut self, cancellation: TaskCancellation) {
        self.say_counted(Frame::Cancellation(cancellation)).await;
    }

    /// Acknowledges all runner frames up to `sequence`.
    pub async fn acknowledge(&mut self, sequence: u64) {
        self.acknowledged = sequence;
        self.say(Frame::Ack(Ack {})).await;
    }

    /// Refuses a frame, and covers it by the acknowledgement in the same envelope, as delegates do.
    pub async fn refuse(&mut self, sequence: u64, lease_id: &str, reason: &str) {
        self.acknowledged = sequence;
        let refusal = status(Code::FailedPrecondition, reason);
        let status = dlite_status(&refusal);
        let lease_id = lease_id.to_owned();
        self.say(Frame::Rejection(FrameRejection { sequence, lease_id, frame: String::new(), status: Some(status) }))
            .await;
    }

    pub async fn say_counted(&mut self, frame: Frame) {
        self.sequence += 1;
        let response = AttachResponse { sequence: self.sequence, ack_sequence: self.acknowledged, frame: Some(frame) };
        self.outbound.send(Ok(response)).await.expect("the stream is open");
    }

    pub async fn say(&mut self, frame: Frame) {
        let response = AttachResponse { sequence: 0, ack_sequence: self.acknowledged, frame: Some(frame) };
        self.outbound.send(Ok(response)).await.expect("the stream is open");
    }

    /// Ends the stream with `status`.
    pub async fn end(self, status: Status) {
        self.outbound.send(Err(status)).await.expect("the stream is open");
    }

    /// Any frame but heartbeats, which are answered, and bare acknowledgements.
    pub async fn next(&mut self) -> AttachRequest {
        let (request, _) = self.skip_until(|frame| !matches!(frame, attach_request::Frame::Heartbeat(_)), true).await;
        request
    }

    /// The next heartbeat, answered; any other frame but bare acknowledgements fails the test.
    pub async fn heartbeat(&mut self) -> Heartbeat {
        let heartbeat = self.heartbeat_unanswered().await;
        self.answer(heartbeat.clone()).await;
        heartbeat
    }

    /// As [`Link::heartbeat`], for the test to answer.
    pub async fn heartbeat_unanswered(&mut self) -> Heartbeat {
        match self.skip_until(|_| true, false).await.1 {
            attach_request::Frame::Heartbeat(heartbeat) => heartbeat,
            other => panic!("wanted a heartbeat, got {other:?}"),
        }
    }

    /// The next heartbeat, answered; updates are passed over.
    pub async fn heartbeat_skipping_updates(&mut self) -> Heartbeat {
        match self.skip_until(|frame| !matches!(frame, attach_request::Frame::Update(_)), false).await.1 {
            attach_request::Frame::Heartbeat(heartbeat) => {
                self.answer(heartbeat.clone()).await;
                heartbeat
            }
            other => panic!("wanted a heartbeat, got {other:?}"),
        }
    }

    /// The first frame that is `wanted` and no bare acknowledgement; all in all within the tests' patience.
    async fn skip_until(
        &mut self,
        wanted: impl Fn(&attach_request::Frame) -> bool,
        answer_heartbeats: bool,
    ) -> (AttachRequest, attach_request::Frame) {
        let search = async {
            loop {
                let request = self.inbound.message().await.expect("no error").expect("no end");
                let frame = request.frame.clone().expect("a frame");
                match &frame {
                    attach_request::Frame::Ack(_) => {}
                    frame if wanted(frame) => return (request, frame.clone()),
                    attach_request::Frame::Heartbeat(heartbeat) if answer_heartbeats => {
                        self.answer(heartbeat.clone()).await;
                    }
                    _ => {}
                }
            }
        };
        patiently(search).await
    }

    async fn answer(&mut self, heartbeat: Heartbeat) {
        let heartbeat_id = heartbeat.heartbeat_id;
        self.heartbeat = Some(heartbeat);
        self.say(Frame::HeartbeatAck(HeartbeatAck { heartbeat_id, lost: Vec::new() })).await;
    }

    /// The next frame is an accept; its sequence.
    pub async fn accept(&mut self, lease_id: &str) -> u64 {
        let (sequence, decision) = self.decision(lease_id).await;
        assert!(matches!(decision, Decision::Accepted(_)), "{decision:?}");
        sequence
    }

    pub async fn decision(&mut self, lease: &str) -> (u64, Decision) {
        let request = self.next().await;
        match request.frame {
            Some(attach_request::Frame::Decision(AssignmentDecision { lease_id, decision: Some(decision) })) => {
                assert_eq!(lease_id, lease);
                (request.sequence, decision)
            }
            other => panic!("wanted a decision, got {other:?}"),
        }
    }

    /// The next frame is an update; its sequence.
    pub async fn update(&mut self) -> (u64, TaskUpdate) {
        let request = self.next().await;
        match request.frame {
            Some(attach_request::Frame::Update(update)) => (request.sequence, update),
            other => panic!("wanted an update, got {other:?}"),
        }
    }

    /// The next result, updates passed over; its sequence.
    pub async fn result(&mut self) -> (u64, TaskResult) {
        loop {
            let request = self.next().await;
            match request.frame {
                Some(attach_request::Frame::Result(result)) => return (request.sequence, result),
                Some(attach_request::Frame::Update(_)) => {}
                other => panic!("wanted a result, got {other:?}"),
            }
        }
    }

    pub async fn drain_notice(&mut self) -> DrainNotice {
        match self.next().await.frame {
            Some(attach_request::Frame::Drain(notice)) => notice,
            other => panic!("wanted a drain notice, got {other:?}"),
        }
    }

    /// Assigns, sees the accept and acknowledges it: the handler starts.
    pub async fn start(&mut self, lease_id: &str, task_type: &str) {
        self.assign(lease_id, task_type).await;
        self.let_start(lease_id).await;
    }

    /// As [`Link::start`], of a task that belongs to a session.
    pub async fn start_in(&mut self, session: Session, lease_id: &str, task: Task) {
        self.assign_in(Some(session), lease_id, task).await;
        self.let_start(lease_id).await;
    }

    /// Sees the accept of an assignment and acknowledges it.
    pub async fn let_start(&mut self, lease_id: &str) {
        let sequence = self.accept(lease_id).await;
        self.acknowledge(sequence).await;
    }

    /// The runner cut the stream, whatever it said before.
    pub async fn gone(&mut self) {
        let end = async { while let Ok(Some(_)) = self.inbound.message().await {} };
        patiently(end).await;
    }

    /// The runner closed its half; any frame before that but heartbeats and bare acknowledgements fails the test.
    pub async fn closed(&mut self) {
        loop {
            match patiently(self.inbound.message()).await {
                Ok(Some(AttachRequest { frame: Some(attach_request::Frame::Heartbeat(heartbeat)), .. })) => {
                    self.answer(heartbeat).await;
                }
                Ok(Some(AttachRequest { frame: Some(attach_request::Frame::Ack(_)), .. })) => {}
                Ok(Some(other)) => panic!("wanted the end, got {other:?}"),
                Ok(None) | Err(_) => return,
            }
        }
    }
}

// === impl Running ===

impl Running {
    /// Tells the runner to stop.
    pub fn stop(&mut self) {
        self.stop.take().expect("told once").send(()).expect("the runner runs");
    }

    /// What the runner ended with.
    pub async fn ended(self) -> Result<(), RunError> {
        patiently(self.task).await.expect("no panic")
    }
}

pub async fn patiently<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("it happens in time")
}

/// Short heartbeats and leases that outlive every test.
pub fn terms() -> Welcome {
    Welcome {
        heartbeat_interval: prost_types::Duration::try_from(HEARTBEAT).ok(),
        lease_ttl: prost_types::Duration::try_from(PATIENCE).ok(),
        ..Welcome::default()
    }
}

pub fn task(lease_id: &str, task_type: &str) -> Task {
    Task {
        task_id: format!("task-of-{lease_id}"),
        task_type: task_type.to_owned(),
        payload: Some(Payload::text(lease_id)),
        attempt: 1,
        ..Task::default()
    }
}

/// A session as a delegate tells it.
pub fn session(etag: &str, state: Option<serde_json::Value>) -> Session {
    Session {
        session_id: "session-1".to_owned(),
        external_id: "stg-77-ci-Ab3".to_owned(),
        etag: etag.to_owned(),
        state: state.map(|state| Payload::json(&state).expect("it serializes")),
        ..Session::default()
    }
}

/// The end of a stream, with a reason as delegates give it.
pub fn status(code: Code, reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "dlite", std::collections::HashMap::new());
    Status::with_error_details(code, "because", details)
}

/// The same inside a frame.
fn dlite_status(status: &Status) -> tonic_types::Status {
    prost::Message::decode(status.details()).expect("a google.rpc.Status")
}
