//! A runner that says whatever a test wants it to, down to bytes that are no frame.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes};
use dlite::proto::runner::v1::{
    Accepted, Ack, AssignmentDecision, AttachRequest, AttachResponse, Capacity, FrameRejection, Handler, Heartbeat,
    HeartbeatAck, HeldTask, HeldTaskDisposition, Hello, Payload, Started, TaskAssignment, TaskCancellation,
    TaskOutcome, TaskResult, TaskUpdate, Welcome, assignment_decision::Decision, attach_request,
    attach_response::Frame, task_update::Update,
};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Request, Status, Streaming,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};
use tonic_types::StatusExt;

use super::patiently;

/// One stream from the runner's side.
pub struct Peer {
    frames: Option<mpsc::Sender<Bytes>>,
    answers: Streaming<AttachResponse>,
    /// Arrived while something else was waited for.
    passed: VecDeque<AttachResponse>,
    /// Last counted frame that was said.
    pub sequence: u64,
    /// Highest acknowledgement that came.
    pub acknowledged: u64,
    heartbeats: u64,
    /// Once it came.
    pub welcome: Option<Welcome>,
}

/// Frames out as bytes, in as the contract has them.
#[derive(Clone, Copy, Default)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = AttachResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = AttachResponse;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<AttachResponse>, Status> {
        let bytes = source.copy_to_bytes(source.remaining());
        AttachResponse::decode(bytes).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

// === impl Peer ===

impl Peer {
    /// Opens a stream and says nothing.
    pub async fn open(channel: Channel, authorization: Option<&str>) -> Result<Self, Status> {
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        let (frames, outbound) = mpsc::channel(64);
        let mut request = Request::new(ReceiverStream::new(outbound));
        if let Some(authorization) = authorization {
            request.metadata_mut().insert("authorization", authorization.parse().expect("plain text"));
        }
        let path = tonic::codegen::http::uri::PathAndQuery::from_static("/dlite.runner.v1.RunnerService/Attach");
        let answers = patiently(client.streaming(request, path, RawCodec)).await?.into_inner();
        Ok(Self {
            frames: Some(frames),
            answers,
            passed: VecDeque::new(),
            sequence: 0,
            acknowledged: 0,
            heartbeats: 0,
            welcome: None,
        })
    }

    // === saying ===

    pub async fn say_bytes(&self, bytes: Bytes) {
        let frames = self.frames.as_ref().expect("the half is open");
        // A stream that is over is seen by whoever waits for its answers.
        let _ = patiently(frames.send(bytes)).await;
    }

    pub async fn say_as(&self, sequence: u64, frame: attach_request::Frame) {
        let request = AttachRequest { sequence, ack_sequence: 0, frame: Some(frame) };
        self.say_bytes(request.encode_to_vec().into()).await;
    }

    /// A frame that is not counted.
    pub async fn say(&self, frame: attach_request::Frame) {
        self.say_as(0, frame).await;
    }

    /// A counted frame; its sequence.
    pub async fn say_counted(&mut self, frame: attach_request::Frame) -> u64 {
        self.sequence += 1;
        self.say_as(self.sequence, frame).await;
        self.sequence
    }

    /// Says hello and is welcomed.
    pub async fn introduce(&mut self, hello: Hello) {
        self.say(attach_request::Frame::Hello(hello)).await;
        match self.next().await {
            Frame::Welcome(welcome) => self.welcome = Some(welcome),
            other => panic!("wanted a welcome, got {other:?}"),
        }
    }

    pub async fn accept(&mut self, lease: &str) -> u64 {
        self.say_counted(accept(lease)).await
    }

    pub async fn started(&mut self, lease: &str, number: u64) -> u64 {
        self.say_counted(started(lease, number)).await
    }

    pub async fn succeed(&mut self, lease: &str) -> u64 {
        self.say_counted(result(lease, TaskOutcome::Succeeded)).await
    }

    pub async fn heartbeat(&mut self, leases: &[&str]) -> u64 {
        self.heartbeats += 1;
        let lease_ids = leases.iter().map(|lease| (*lease).to_owned()).collect();
        let heartbeat = Heartbeat { heartbeat_id: self.heartbeats, lease_ids, ..Heartbeat::default() };
        self.say(attach_request::Frame::Heartbeat(heartbeat)).await;
        self.heartbeats
    }

    /// Closes the runner's half.
    pub fn close_half(&mut self) {
        self.frames = None;
    }

    // === hearing ===

    /// The next frame that is more than an acknowledgement.
    #[track_caller]
    pub fn next(&mut self) -> impl Future<Output = Frame> {
        patiently(async move {
            loop {
                let response = match self.passed.pop_front() {
                    Some(response) => response,
                    None => self.receive().await.unwrap_or_else(|status| panic!("the stream ended: {status:?}")),
                };
                match response.frame.expect("a frame") {
                    Frame::Ack(Ack {}) => {}
                    frame => return frame,
                }
            }
        })
    }

    #[track_caller]
    pub fn assignment(&mut self) -> impl Future<Output = TaskAssignment> {
        let next = self.next();
        async move {
            match next.await {
                Frame::Assignment(assignment) => assignment,
                other => panic!("wanted an assignment, got {other:?}"),
            }
        }
    }

    pub async fn cancellation(&mut self) -> TaskCancellation {
        match self.next().await {
            Frame::Cancellation(cancellation) => cancellation,
            other => panic!("wanted a cancellation, got {other:?}"),
        }
    }

    pub async fn heartbeat_ack(&mut self) -> HeartbeatAck {
        match self.next().await {
            Frame::HeartbeatAck(ack) => ack,
            other => panic!("wanted a heartbeat's answer, got {other:?}"),
        }
    }

    #[track_caller]
    pub fn rejection(&mut self) -> impl Future<Output = FrameRejection> {
        let next = self.next();
        async move {
            match next.await {
                Frame::Rejection(rejection) => rejection,
                other => panic!("wanted a rejection, got {other:?}"),
            }
        }
    }

    /// The next frame refuses the one of `sequence`, as that field, for this reason.
    pub async fn refused(&mut self, sequence: u64, frame: &str, code: Code, reason: &str) -> FrameRejection {
        let rejection = self.rejection().await;
        let (found, why) = reason_of_rejection(&rejection);
        let found = (rejection.sequence, rejection.frame.as_str(), found, why.as_str());
        assert_eq!(found, (sequence, frame, code, reason), "{rejection:?}");
        rejection
    }

    /// Waits until the frame of `sequence` is acknowledged; other frames are kept for later.
    #[track_caller]
    pub fn acknowledged(&mut self, sequence: u64) -> impl Future<Output = ()> {
        patiently(async move {
            while self.acknowledged < sequence {
                let response = self.receive().await.unwrap_or_else(|status| panic!("the stream ended: {status:?}"));
                self.passed.push_back(response);
            }
        })
    }

    /// How the stream ends, whatever comes before.
    #[track_caller]
    pub fn ended(&mut self) -> impl Future<Output = Status> {
        patiently(async move {
            loop {
                if let Err(status) = self.receive().await {
                    return status;
                }
            }
        })
    }

    /// Takes an assignment up to its started handler; its lease.
    pub async fn start(&mut self) -> String {
        let lease = self.assignment().await.lease_id;
        let accepted = self.accept(&lease).await;
        self.acknowledged(accepted).await;
        lease
    }

    async fn receive(&mut self) -> Result<AttachResponse, Status> {
        let response = self.answers.message().await?.ok_or(Status::new(Code::Ok, "the end"))?;
        self.acknowledged = self.acknowledged.max(response.ack_sequence);
        Ok(response)
    }
}

// === frames ===

pub fn hello(runner_id: &str, instance_id: &str, task_type: &str, slots: u32) -> Hello {
    Hello {
        runner_id: runner_id.to_owned(),
        instance_id: instance_id.to_owned(),
        handlers: vec![Handler { task_type: task_type.to_owned(), ..Handler::default() }],
        capacity: Some(Capacity { slots: [("default".to_owned(), slots)].into(), refuse_new_sessions: false }),
        ..Hello::default()
    }
}

/// A hello of the same instance that still holds a task.
pub fn hello_holding(runner_id: &str, task_type: &str, held: HeldTask) -> Hello {
    Hello { held_tasks: vec![held], ..hello(runner_id, "instance-1", task_type, 1) }
}

/// A task in hand whose accept was acknowledged.
pub fn held(lease: &str) -> HeldTask {
    HeldTask {
        task_id: "as-the-runner-remembers".to_owned(),
        lease_id: lease.to_owned(),
        accept_acknowledged: true,
        ..HeldTask::default()
    }
}

pub fn accept(lease: &str) -> attach_request::Frame {
    let decision = Some(Decision::Accepted(Accepted {}));
    attach_request::Frame::Decision(AssignmentDecision { lease_id: lease.to_owned(), decision })
}

pub fn started(lease: &str, number: u64) -> attach_request::Frame {
    update(lease, number, Update::Started(Started::default()))
}

pub fn update(lease: &str, number: u64, update: Update) -> attach_request::Frame {
    let update = TaskUpdate { lease_id: lease.to_owned(), number, event_time: None, update: Some(update) };
    attach_request::Frame::Update(update)
}

pub fn result(lease: &str, outcome: TaskOutcome) -> attach_request::Frame {
    result_with(lease, outcome, b"done".to_vec())
}

pub fn result_with(lease: &str, outcome: TaskOutcome, content: Vec<u8>) -> attach_request::Frame {
    let payload = Some(Payload { content_type: "text/plain".to_owned(), inline: content.into() });
    let outcome = outcome as i32;
    attach_request::Frame::Result(TaskResult { lease_id: lease.to_owned(), outcome, payload, ..TaskResult::default() })
}

// === reasons ===

/// Code and google.rpc.ErrorInfo reason of a stream's end; empty: it has none.
pub fn reason(status: &Status) -> (Code, String) {
    let info = status.get_details_error_info();
    if let Some(info) = &info {
        assert_eq!(info.domain, "dlite");
    }
    (status.code(), info.map(|info| info.reason).unwrap_or_default())
}

pub fn reason_of_rejection(rejection: &FrameRejection) -> (Code, String) {
    let status = rejection.status.clone().expect("a status");
    let code = Code::from(status.code);
    reason(&Status::with_details(code, status.message.clone(), status.encode_to_vec().into()))
}

/// What a welcome decides on its one held task.
pub fn decision(peer: &Peer) -> (String, HeldTaskDisposition) {
    let decisions = &peer.welcome.as_ref().expect("a welcome").decisions;
    assert_eq!(decisions.len(), 1, "{decisions:?}");
    (decisions[0].lease_id.clone(), decisions[0].disposition())
}
