//! A daemon whose loop can be blocked: its observer, which the loop waits for, stops at a certain task's note.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};

use dlite::{
    core::effect::Note,
    daemon::{self, Daemon},
    health::Vitals,
};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    ask,
    support::{
        patiently,
        peer::{Peer, hello},
        place::Place,
        stub::Stub,
    },
};

/// A type that no runner does: the note that it is not acquired is where the loop stops.
const BLOCKS: &str = "BLOCKS_THE_LOOP";
/// Longest wait for one answer of a probe.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

pub struct Scene {
    pub stub: Arc<Stub>,
    pub vitals: Vitals,
    daemon: Option<Daemon>,
    http: SocketAddr,
    sockets: [PathBuf; 2],
    _place: Place,
    /// One message lets the loop go on.
    release: mpsc::Sender<()>,
    /// The daemon's own, which a stuck loop may stop; whoever looks at it lives elsewhere.
    runtime: Option<Runtime>,
}

// === impl Scene ===

impl Scene {
    pub async fn start() -> Self {
        let (place, stub) = (Place::new(), Stub::new());
        let (release, blocked) = mpsc::channel();
        let observer = move |_: &_, note: &Note| {
            if matches!(note, Note::NotAcquired { task_type, .. } if &*task_type.0 == BLOCKS) {
                // A test that ended lets it go on, too.
                let _ = blocked.recv();
            }
        };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("it runs");
        let (config, upstreams) = (place.config.clone(), stub.as_upstreams());
        let started = runtime.spawn(async move { daemon::start(&config, upstreams, Box::new(observer)).await });
        let daemon = patiently(started).await.expect("no panic").expect("it starts");
        let http = daemon.http.expect("it is configured");
        let sockets = [daemon.runners_socket.clone(), daemon.admin_socket.clone()];
        let vitals = daemon.vitals.clone();
        Self { stub, vitals, daemon: Some(daemon), http, sockets, _place: place, release, runtime: Some(runtime) }
    }

    pub async fn stop(mut self) {
        let (Some(daemon), Some(runtime)) = (self.daemon.take(), &self.runtime) else { panic!("it is stopped once") };
        patiently(runtime.spawn(daemon.stop())).await.expect("no panic").expect("a clean stop");
    }

    pub fn http(&self) -> SocketAddr {
        self.http
    }

    pub async fn attach(&self) -> Peer {
        let mut peer = Peer::open(self.channel().await, None).await.expect("a stream");
        peer.introduce(hello("r", "instance-1", "NEIGHBOUR", 1)).await;
        peer
    }

    pub fn block(&self) {
        self.stub.offer("blocks", BLOCKS);
    }

    pub fn release(&self) {
        self.release.send(()).expect("the loop waits");
    }

    async fn channel(&self) -> Channel {
        unix_channel(self.sockets[0].clone()).await
    }

    /// Asks `/readyz` until it is as wanted.
    pub async fn readyz(&self, wanted: impl Fn(u16, &serde_json::Value) -> bool) -> (u16, serde_json::Value) {
        patiently(async {
            loop {
                let (status, body) = ask::get(self.http(), "/readyz").await;
                let body = serde_json::from_str(&body).expect("JSON");
                if wanted(status, &body) {
                    return (status, body);
                }
                pause().await;
            }
        })
        .await
    }

    /// Asks `/healthz` until it answers with this status; the reason.
    pub async fn healthz(&self, wanted: u16) -> String {
        patiently(async {
            loop {
                let (status, body) = ask::get(self.http(), "/healthz").await;
                if status == wanted {
                    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
                    return body["reason"].as_str().expect("a reason").to_owned();
                }
                pause().await;
            }
        })
        .await
    }

    /// Until gRPC's health service says the same on both sockets: of the whole, of the runners' service, of the operator's. No answer
    /// is as good as a bad one.
    pub async fn grpc(&self, wanted: [bool; 3]) {
        let services = ["", "dlite.runner.v1.RunnerService", "dlite.admin.v1.AdminService"];
        for socket in &self.sockets {
            let mut client = HealthClient::new(unix_channel(socket.clone()).await);
            patiently(async {
                loop {
                    let mut said = Vec::new();
                    for service in services {
                        let answer = tokio::time::timeout(ANSWER_TIMEOUT, check(&mut client, service)).await;
                        said.push(matches!(answer, Ok(ServingStatus::Serving)));
                    }
                    if said == wanted {
                        return;
                    }
                    pause().await;
                }
            })
            .await;
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub async fn check(client: &mut HealthClient<Channel>, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    client.check(request).await.expect("an answer").into_inner().status()
}

/// Between two looks at something that is not announced.
pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

async fn unix_channel(socket: std::path::PathBuf) -> Channel {
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move {
            let stream = tokio::net::UnixStream::connect(socket).await?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
        }
    });
    Endpoint::from_static("http://dlite").connect_with_connector(connector).await.expect("a connection")
}
