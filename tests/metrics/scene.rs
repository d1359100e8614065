//! A daemon whose loop can be blocked: its observer, which the loop waits for, stops at a certain task's note.

use std::{
    net::SocketAddr,
    sync::{Arc, mpsc},
};

use dlite::{
    core::effect::Note,
    daemon::{self, Daemon},
};
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

pub struct Scene {
    pub stub: Arc<Stub>,
    pub daemon: Daemon,
    _place: Place,
    /// One message lets the loop go on.
    release: mpsc::Sender<()>,
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
        let daemon = daemon::start(&place.config, stub.as_upstreams(), Box::new(observer)).await.expect("it starts");
        Self { stub, daemon, _place: place, release }
    }

    pub fn http(&self) -> SocketAddr {
        self.daemon.http.expect("it is configured")
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
        let socket = self.daemon.runners_socket.clone();
        unix_channel(socket).await
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

    /// Until gRPC's health service says the same on both sockets: of the whole, of the runners' service, of the operator's.
    pub async fn grpc(&self, wanted: [bool; 3]) {
        let services = ["", "dlite.runner.v1.RunnerService", "dlite.admin.v1.AdminService"];
        for socket in [&self.daemon.runners_socket, &self.daemon.admin_socket] {
            let mut client = HealthClient::new(unix_channel(socket.clone()).await);
            patiently(async {
                loop {
                    let mut said = Vec::new();
                    for service in services {
                        said.push(check(&mut client, service).await == ServingStatus::Serving);
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

pub async fn check(client: &mut HealthClient<Channel>, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    client.check(request).await.expect("an answer").into_inner().status()
}

/// Between two looks at something that is not announced.
pub async fn pause() {
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
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
