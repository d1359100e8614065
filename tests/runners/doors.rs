//! Who gets in, what is at the door, and who only makes noise there.

use std::time::Duration;

use dlite::{daemon, proto::runner::v1::attach_request::Frame, state_dir};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::support::{
    neighbour::Neighbour,
    patiently,
    peer::{Peer, hello, reason},
    place::{Place, Running},
    stub::Stub,
};

const SERVICE: &str = "dlite.runner.v1.RunnerService";

fn on_loopback() -> Place {
    Place::with(|config| config.runners.listen = Some("127.0.0.1:0".parse().expect("an address")))
}

async fn over_tcp(daemon: &Running) -> tonic::transport::Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", daemon.listen())).expect("an address");
    endpoint.connect().await.expect("a connection")
}

#[tokio::test]
async fn over_tcp_only_the_token_lets_a_runner_in() {
    let daemon = on_loopback().start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let token = std::fs::read_to_string(&daemon.config.runners.token_file).expect("it was made at the start");
    assert_eq!(token.len(), 64);
    let (almost, right) = (format!("Bearer {}0", &token[..63]), format!("Bearer {token}"));
    let almost = if almost == right { format!("Bearer {}1", &token[..63]) } else { almost };
    let wrong = [None, Some(""), Some("Bearer "), Some("Bearer wrong"), Some(almost.as_str()), Some(token.as_str())];
    for authorization in wrong {
        let refused = Peer::open(over_tcp(&daemon).await, authorization).await;
        let status = refused.err().expect("refused");
        assert_eq!(reason(&status), (Code::Unauthenticated, "TOKEN_INVALID".to_owned()), "{status:?}");
        assert!(!status.message().contains(&token));
    }
    let mut peer = Peer::open(over_tcp(&daemon).await, Some(&right)).await.expect("a stream");
    peer.introduce(hello("far", "instance-1", "FAR", 1)).await;
    daemon.stub.offer("a", "FAR");
    let lease = peer.start().await;
    peer.succeed(&lease).await;
    daemon.stub.report("a").await;
    neighbour.ends_unhurt().await;
}

#[tokio::test]
async fn a_peer_that_opens_a_stream_and_says_nothing_is_sent_away() {
    let place = Place::with(|config| config.runners.heartbeat_interval = Duration::from_millis(100));
    let daemon = place.start().await;
    let mut silent = daemon.open().await;
    assert_eq!(reason(&silent.ended().await), (Code::Unavailable, "SILENT".to_owned()));
    let mut gone = daemon.open().await;
    gone.close_half();
    assert_eq!(reason(&gone.ended().await), (Code::InvalidArgument, "HELLO_INVALID".to_owned()));
}

#[tokio::test]
async fn noise_on_the_socket_ends_its_own_connection() {
    let daemon = Place::new().start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let noises: [&[u8]; 4] = [
        &[0xff; 4_096],
        b"GET / HTTP/1.1\r\nhost: dlite\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"",
    ];
    for noise in noises {
        let mut stream = UnixStream::connect(daemon.socket()).await.expect("a connection");
        // It may hang up before all of it is written.
        let _ = stream.write_all(noise).await;
        let _ = stream.shutdown().await;
        let _ = patiently(stream.read_to_end(&mut Vec::new())).await;
    }
    // One that stays and says nothing keeps nobody waiting.
    let _mute = UnixStream::connect(daemon.socket()).await.expect("a connection");
    neighbour.ends_unhurt().await;
}

#[tokio::test]
async fn a_stream_of_no_method_is_refused_by_grpc_itself() {
    let daemon = Place::new().start().await;
    let mut admin = dlite::admin::client::connect(&daemon.socket()).await.expect("a connection");
    let status = admin.list_tasks(dlite::proto::admin::v1::ListTasksRequest {}).await.expect_err("no operator's door");
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn health_says_serving_on_both_doors() {
    let daemon = on_loopback().start().await;
    for channel in [daemon.channel().await, over_tcp(&daemon).await] {
        let mut health = HealthClient::new(channel);
        for service in ["", SERVICE] {
            let request = HealthCheckRequest { service: service.to_owned() };
            let answer = patiently(health.check(request)).await.expect("an answer").into_inner();
            assert_eq!(answer.status(), ServingStatus::Serving);
        }
    }
}

#[tokio::test]
async fn reflection_lists_the_service_on_the_unix_socket_only() {
    let daemon = on_loopback().start().await;
    let request = || {
        let list = Some(MessageRequest::ListServices(String::new()));
        tokio_stream::once(ServerReflectionRequest { host: String::new(), message_request: list })
    };
    let mut reflection = ServerReflectionClient::new(daemon.channel().await);
    let mut answers = patiently(reflection.server_reflection_info(request())).await.expect("answers").into_inner();
    let answer = patiently(answers.message()).await.expect("an answer").expect("one");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("wanted a list, got {answer:?}");
    };
    assert!(list.service.iter().any(|service| service.name == SERVICE), "{list:?}");

    let mut reflection = ServerReflectionClient::new(over_tcp(&daemon).await);
    let refused = patiently(reflection.server_reflection_info(request())).await.expect_err("not over TCP");
    assert_eq!(refused.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_second_daemon_on_the_state_directory_is_refused_and_told_who_has_it() {
    let place = Place::new();
    let daemon = place.start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let error = place.try_start(&Stub::new()).await.err().expect("refused");
    let pid = std::process::id();
    assert!(
        matches!(&error, daemon::Error::StateDir(state_dir::Error::Locked { pid: Some(found), .. }) if *found == pid)
    );
    assert!(error.to_string().contains(&pid.to_string()), "{error}");
    neighbour.ends_unhurt().await;
}

#[tokio::test]
async fn a_socket_that_a_dead_daemon_left_is_taken_over() {
    let place = Place::new();
    drop(std::os::unix::net::UnixListener::bind(&place.config.runners.socket).expect("a socket"));
    let daemon = place.start().await;
    let mut peer = daemon.open().await;
    peer.say(Frame::Hello(hello("one", "instance-1", "WORK", 1))).await;
    peer.next().await;
}
