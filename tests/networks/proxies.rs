//! Calls go through the proxy that is configured, and past it where a rule says so.

use std::sync::Arc;

use dlite::{
    core::{
        effect::Call,
        input::{Answer, CallError, Listing},
    },
    upstreams::{Upstream, from_config},
};

use crate::{
    front::{Front, certs, server_config},
    lab::{ACCOUNT, Desk, SECRET, manager, upstream},
    proxy::{Mood, Proxy},
};

async fn poll(adapter: &Arc<dyn Upstream>) -> Result<Listing, CallError> {
    match adapter.perform(Call::Poll { delegate_id: "d".into(), wanted: Vec::new() }).await {
        Answer::Poll(result) => result,
        other => panic!("{other:?}"),
    }
}

async fn poll_once(endpoint: &str, more: &str) -> Result<Listing, CallError> {
    let desk = Desk::new();
    desk.configure(&upstream("m", endpoint, more));
    let adapters = from_config(&desk.load()).unwrap();
    poll(adapters.values().next().unwrap()).await
}

fn trusting_a() -> String {
    format!("tls.ca_files = [{:?}]", certs("authority-a.pem"))
}

#[tokio::test]
async fn an_https_manager_is_reached_through_a_tunnel_and_its_name_resolved_by_the_proxy() {
    let manager = manager(ACCOUNT).await;
    let front = Front::start(&manager, SECRET, Some(server_config("a", None))).await;
    let proxy = Proxy::start(front.port(), Mood::Wants("joe:p@ss")).await;
    let more = format!("{}\nproxy = {:?}", trusting_a(), proxy.url_with("joe:p%40ss"));
    poll_once("https://manager.example.test", &more).await.unwrap();
    assert_eq!(proxy.served(), 1);
    assert!(
        proxy.lines().iter().all(|line| line.starts_with("CONNECT manager.example.test:443 ")),
        "{:?}",
        proxy.lines()
    );
}

#[tokio::test]
async fn an_http_manager_is_asked_for_by_its_whole_url() {
    let manager = manager(ACCOUNT).await;
    let front = Front::start(&manager, SECRET, None).await;
    let proxy = Proxy::start(front.port(), Mood::Wants("joe:p@ss")).await;
    let more = format!("proxy = {:?}", proxy.url_with("joe:p%40ss"));
    poll_once("http://manager.example.test", &more).await.unwrap();
    assert!(proxy.lines()[0].starts_with("GET http://manager.example.test/api/agent/"), "{:?}", proxy.lines());
}

#[tokio::test]
async fn a_host_that_a_rule_leaves_out_is_reached_directly() {
    let manager = manager(ACCOUNT).await;
    let proxy = Proxy::start(1, Mood::Serve).await;
    for rule in ["*", "127.0.0.1", "127.0.0.0/8", "::1/128\", \"127.0.0.1"] {
        let more = format!("proxy = {:?}\nno_proxy = [\"{rule}\"]", proxy.url());
        poll_once(&manager.endpoint(), &more).await.unwrap_or_else(|error| panic!("{rule}: {error:?}"));
    }
    assert_eq!(proxy.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn a_proxys_refusal_is_told_without_its_password() {
    let manager = manager(ACCOUNT).await;
    let front = Front::start(&manager, SECRET, Some(server_config("a", None))).await;
    let proxy = Proxy::start(front.port(), Mood::Wants("joe:right")).await;
    let more = format!("{}\nproxy = {:?}", trusting_a(), proxy.url_with("joe:hunter2"));
    let Err(CallError::Failed(text)) = poll_once("https://manager.example.test", &more).await else {
        panic!("the proxy let it through")
    };
    assert!(text.contains("can't connect") && text.contains("proxy"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("joe"), "{text}");
}
