//! Probes in each state of the delegate.

use dlite::{
    health::{self, Vitals, grpc::Health},
    telemetry::metrics::Metrics,
};
use serde_json::Value;
use tonic_health::pb::{health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    ask::get,
    scene::{Scene, check},
    support::{patiently, place::Place},
};

#[track_caller]
fn reason(body: &Value, condition: &str) -> (bool, String) {
    let conditions = body["conditions"].as_array().expect("conditions");
    let found = conditions.iter().find(|found| found["name"] == condition).expect("this condition");
    (found["holds"].as_bool().expect("a verdict"), found["reason"].as_str().expect("a reason").to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn probes_tell_each_state_from_no_runner_to_a_loop_that_is_stuck() {
    let scene = Scene::start().await;

    // No runner.
    let (status, body) = scene.readyz(|_, body| reason(body, "registered").0).await;
    assert_eq!((status, &body["ready"]), (503, &Value::Bool(false)));
    assert_eq!(reason(&body, "runner"), (false, "no runner is attached".to_owned()));
    assert_eq!(reason(&body, "registered"), (true, "registered with stub".to_owned()));
    assert_eq!(scene.healthz(200).await, "the loop turns");
    scene.grpc([true, true, true]).await;

    // Serving.
    let _peer = scene.attach().await;
    let (_, body) = scene.readyz(|status, _| status == 200).await;
    assert_eq!((&body["ready"], &body["degraded"]), (&Value::Bool(true), &Value::Bool(false)));
    assert_eq!(reason(&body, "runner"), (true, "1 runner is attached".to_owned()));
    scene.grpc([true, true, true]).await;

    // The upstream is down: what is here goes on, so that nothing restarts or detours it.
    scene.stub.take_down(true);
    let (status, body) = scene.readyz(|_, body| body["degraded"] == true).await;
    assert_eq!((status, &body["ready"]), (200, &Value::Bool(true)));
    assert_eq!(body["degradations"][0], "upstream stub is unreachable");
    assert_eq!(scene.healthz(200).await, "the loop turns");
    scene.grpc([true, true, true]).await;
    scene.stub.take_down(false);
    scene.readyz(|status, body| status == 200 && body["degraded"] == false).await;

    // The loop is stuck.
    scene.block();
    let stuck = scene.healthz(503).await;
    assert!(stuck.starts_with("the loop has not turned for "), "{stuck}");
    let (_, body) = scene.readyz(|status, _| status == 503).await;
    assert!(!reason(&body, "loop").0);
    let (status, text) = get(scene.http(), "/metrics").await;
    assert_eq!(status, 200, "metrics are there when they are needed most: {text}");
    scene.grpc([false, false, false]).await;
    scene.release();
    scene.healthz(200).await;
    scene.readyz(|status, _| status == 200).await;
    scene.grpc([true, true, true]).await;

    // It is told to stop.
    scene.vitals.stop();
    let (_, body) = scene.readyz(|status, _| status == 503).await;
    assert_eq!(reason(&body, "not_draining"), (false, "the delegate stops: nothing new is taken".to_owned()));
    scene.grpc([false, false, true]).await;
    scene.stop().await;
}

#[tokio::test]
async fn a_delegate_that_starts_is_alive_and_not_ready() {
    let vitals = Vitals::new();
    let metrics = Metrics::start(&Place::new().config, &vitals).expect("metrics");
    let (listener, address) = health::http::bind(([127, 0, 0, 1], 0).into()).expect("a listener");
    std::thread::spawn(health::http::serve(
        listener,
        vitals.clone(),
        metrics,
        axum::Router::new(),
        std::future::pending(),
    ));
    let (status, body) = get(address, "/healthz").await;
    assert!(status == 200 && body.contains("the delegate starts"), "{status} {body}");
    let (status, body) = get(address, "/readyz").await;
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, reason(&body, "loop").0, reason(&body, "registered").0), (503, false, false));

    let health = Health::of(&vitals).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let target = format!("http://{}", listener.local_addr().expect("an address"));
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(health.service()).serve_with_incoming(incoming));
    let mut client = HealthClient::new(
        tonic::transport::Endpoint::from_shared(target).expect("an address").connect().await.expect("a connection"),
    );
    for service in ["", "dlite.runner.v1.RunnerService", "dlite.admin.v1.AdminService"] {
        assert_eq!(check(&mut client, service).await, ServingStatus::NotServing);
    }
}

#[tokio::test]
async fn a_spool_of_logs_that_is_nearly_full_degrades() {
    for (percent, said) in [(79, &[][..]), (80, &["logs take 80 % of logs.all_max_mib: beyond that lines go missing"])]
    {
        let vitals = Vitals::new();
        vitals.watch_spool(move || percent);
        let metrics = Metrics::start(&Place::new().config, &vitals).expect("metrics");
        let (listener, address) = health::http::bind(([127, 0, 0, 1], 0).into()).expect("a listener");
        let page = axum::Router::new();
        std::thread::spawn(health::http::serve(listener, vitals, metrics, page, std::future::pending()));
        let (_, body) = get(address, "/readyz").await;
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(body["degradations"], serde_json::json!(said));
    }
}

#[tokio::test]
async fn nobody_holds_the_door_by_saying_nothing() {
    use tokio::io::AsyncReadExt;
    let vitals = Vitals::new();
    let metrics = Metrics::start(&Place::new().config, &vitals).expect("metrics");
    let (listener, address) = health::http::bind(([127, 0, 0, 1], 0).into()).expect("a listener");
    std::thread::spawn(health::http::serve(listener, vitals, metrics, axum::Router::new(), std::future::pending()));
    let mut silent = Vec::new();
    for _ in 0..health::http::CONNECTIONS_MAX {
        silent.push(tokio::net::TcpStream::connect(address).await.expect("a connection"));
    }
    // It is answered once their time is up.
    assert_eq!(get(address, "/healthz").await.0, 200);
    for mut stream in silent {
        let mut said = Vec::new();
        patiently(stream.read_to_end(&mut said)).await.expect("closed");
    }
}
