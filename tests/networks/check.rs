//! `dlite upstreams check` names the stage that fails, with reason and fix, and touches nothing at the manager.

use std::{process::Stdio, time::Duration};

use dlite::doubles::manager::Route;
use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use crate::{
    front::{Front, certs, server_config},
    lab::{ACCOUNT, Desk, OTHER_SECRET, SECRET, manager, upstream},
    proxy::{Mood, Proxy},
};

struct Checked {
    code: Option<i32>,
    /// The JSON document.
    report: Value,
    /// The table, for a person.
    table: String,
}

async fn run(desk: &Desk, output: &str) -> (Option<i32>, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_dlite"));
    for (name, _) in std::env::vars() {
        if name.starts_with("DLITE_") || name.to_ascii_uppercase().ends_with("_PROXY") {
            command.env_remove(name);
        }
    }
    command.args(["upstreams", "check", "m", "-o", output, "--config"]).arg(desk.path("dlite.toml"));
    let output = command.stdin(Stdio::null()).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

async fn check(endpoint: &str, more: &str) -> Checked {
    let desk = Desk::new();
    check_at(&desk, endpoint, more).await
}

async fn check_at(desk: &Desk, endpoint: &str, more: &str) -> Checked {
    let mut text = upstream("m", endpoint, more);
    if more.contains("request_timeout") {
        text = text.replace("request_timeout = \"20s\"\n", "");
    }
    desk.configure(&text);
    let (code, json, errors) = run(desk, "json").await;
    let report = serde_json::from_str(&json).unwrap_or_else(|_| panic!("{json}{errors}"));
    let (_, table, _) = run(desk, "table").await;
    for text in [&json, &table, &errors] {
        assert!(!text.contains(SECRET) && !text.contains(OTHER_SECRET) && !text.contains("hunter2"), "{text}");
    }
    Checked { code, report, table }
}

impl Checked {
    /// The verdicts of all stages as one line.
    fn verdicts(&self) -> String {
        let stages = self.report["stages"].as_array().unwrap();
        let words = stages.iter().map(|stage| format!("{}={}", stage["stage"], stage["verdict"]).replace('"', ""));
        words.collect::<Vec<_>>().join(" ")
    }

    /// Asserts that this stage failed, with these words in reason or fix.
    fn fails_at(&self, stage: &str, words: &[&str]) {
        println!("{}", self.table);
        assert_eq!((self.code, self.report["failed"].as_str()), (Some(4), Some(stage)), "{:#}", self.report);
        let step = self.report["stages"].as_array().unwrap().iter().find(|step| step["stage"] == stage).unwrap();
        let text = format!("{} {}", step["detail"].as_str().unwrap(), step["fix"].as_str().unwrap());
        for word in words {
            assert!(text.contains(word), "{word:?} in {text:?}");
            assert!(self.table.contains(word), "{word:?} in {}", self.table);
        }
        assert!(self.table.contains(&format!("{stage} failed: ")) && self.table.contains("fix: "), "{}", self.table);
    }
}

fn trusting(authority: &str) -> String {
    format!("tls.ca_files = [{:?}]", certs(&format!("authority-{authority}.pem")))
}

#[tokio::test]
async fn a_clear_way_has_a_time_for_each_stage_and_leaves_no_trace() {
    let manager = manager(ACCOUNT).await;
    let front = Front::start(&manager, SECRET, Some(server_config("a", None))).await;
    let proxy = Proxy::start(front.port(), Mood::Wants("joe:hunter2")).await;
    let more = format!("{}\nproxy = {:?}", trusting("a"), proxy.url_with("joe:hunter2"));
    let checked = check("https://manager.example.test", &more).await;
    println!("{}", checked.table);
    assert_eq!(checked.code, Some(0), "{:#}", checked.report);
    assert_eq!(checked.verdicts(), "dns=ok tcp=ok proxy=ok tls=ok http=ok auth=ok poll=ok");
    assert!(checked.report["stages"].as_array().unwrap().iter().all(|stage| stage["milliseconds"].is_u64()));
    let record = manager.record();
    let others: Vec<_> = record.arrivals.iter().filter(|arrival| arrival.route != Route::Events).collect();
    assert!(others.is_empty(), "only polls reach the manager: {others:?}");
    assert_eq!(record.registers.total(), 0);
}

#[tokio::test]
async fn without_a_proxy_and_tls_these_stages_are_skipped() {
    let manager = manager(ACCOUNT).await;
    let checked = check(&manager.endpoint(), "").await;
    assert_eq!(checked.code, Some(0), "{:#}", checked.report);
    assert_eq!(checked.verdicts(), "dns=ok tcp=ok proxy=skipped tls=skipped http=ok auth=ok poll=ok");
}

#[tokio::test]
async fn a_name_that_nobody_knows_fails_at_dns() {
    check("https://nobody.invalid", "").await.fails_at("dns", &["nobody.invalid", "endpoint"]);
}

#[tokio::test]
async fn a_port_where_nobody_listens_fails_at_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let checked = check(&format!("https://{address}"), "").await;
    checked.fails_at("tcp", &["refused", "check the port"]);
    assert!(checked.verdicts().ends_with("tls=unreached http=unreached auth=unreached poll=unreached"));
}

#[tokio::test]
async fn a_port_of_another_service_fails_at_tls_or_http() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let greets = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await;
        }
    });
    check(&format!("https://{address}"), "tls.verify = false").await.fails_at("tls", &["does TLS listen at that port"]);
    check(&format!("http://{address}"), "").await.fails_at("http", &["does an HTTP server listen there"]);
    greets.abort();
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_fails_at_tls() {
    let manager = manager(ACCOUNT).await;
    let front = Front::start(&manager, SECRET, Some(server_config("a", None))).await;
    let checked = check(&front.endpoint(), &trusting("b")).await;
    checked.fails_at("tls", &["UnknownIssuer", "tls.ca_files"]);
}

#[tokio::test]
async fn a_missing_client_certificate_fails_at_tls() {
    let manager = manager(ACCOUNT).await;
    let front = Front::start(&manager, SECRET, Some(server_config("a", Some("a")))).await;
    check(&front.endpoint(), &trusting("a")).await.fails_at("tls", &["client certificate", "tls.client_cert"]);
    let shown = format!(
        "{}\ntls.client_cert = {:?}\ntls.client_key = {:?}",
        trusting("a"),
        certs("client-a.pem"),
        certs("client-a.key")
    );
    let checked = check(&front.endpoint(), &shown).await;
    assert_eq!(checked.code, Some(0), "{:#}", checked.report);
    assert!(front.was_shown("client-a.pem"));
}

#[tokio::test]
async fn a_proxy_that_refuses_fails_at_the_proxy() {
    let manager = manager(ACCOUNT).await;
    let front = Front::start(&manager, SECRET, Some(server_config("a", None))).await;
    let cases = [
        (Mood::Wants("joe:hunter2"), "https", "407", "write them into proxy"),
        (Mood::Wants("joe:hunter2"), "http", "407", "write them into proxy"),
        (Mood::Answers(403), "https", "403", "allow manager.example.test:443"),
        (Mood::Answers(403), "http", "403", "allow manager.example.test:80"),
        (Mood::Answers(502), "https", "502", "check host and port in endpoint"),
        (Mood::HangsUp, "https", "hung up", "is it a proxy for HTTP"),
        (Mood::HangsUp, "http", "hung up", "is it a proxy for HTTP"),
    ];
    for (mood, scheme, reason, fix) in cases {
        let proxy = Proxy::start(front.port(), mood).await;
        let more = format!("{}\nproxy = {:?}", trusting("a"), proxy.url_with("joe:wrong"));
        check(&format!("{scheme}://manager.example.test"), &more).await.fails_at("proxy", &[reason, fix]);
    }
}

#[tokio::test]
async fn a_wrong_secret_fails_at_auth() {
    let manager = manager(ACCOUNT).await;
    let desk = Desk::new();
    desk.write("secret", OTHER_SECRET.as_bytes());
    let checked = check_at(&desk, &manager.endpoint(), "").await;
    checked.fails_at("auth", &["INVALID_TOKEN", ACCOUNT, "account_secret_file"]);
    manager.refuse_tokens(Some("REVOKED_TOKEN"));
    check(&manager.endpoint(), "").await.fails_at("auth", &["REVOKED_TOKEN", "make a new one"]);
}

#[tokio::test]
async fn clocks_ten_minutes_apart_fail_at_auth() {
    let manager = manager(ACCOUNT).await;
    let front = Front::start(&manager, SECRET, None).await;
    for (ahead, says) in [(600, "s behind the manager's"), (-600, "s ahead of the manager's")] {
        front.set_clock_ahead(ahead);
        check(&front.endpoint(), "").await.fails_at("auth", &["this machine's clock is", says, "NTP"]);
    }
    front.set_clock_ahead(60);
    assert_eq!(check(&front.endpoint(), "").await.code, Some(0), "a minute is told and tolerated");
}

#[tokio::test]
async fn a_server_that_is_no_manager_fails_at_poll() {
    let manager = manager(ACCOUNT).await;
    let page = dlite::doubles::manager::Fault::Html;
    manager.fault(Route::Events, page, dlite::doubles::manager::Calls::All);
    check(&manager.endpoint(), "").await.fails_at("poll", &["html", "base URL"]);
}

#[tokio::test]
async fn an_unknown_upstream_is_named_with_those_that_exist() {
    let desk = Desk::new();
    desk.configure(&upstream("other", "http://127.0.0.1:9", ""));
    let (code, _, errors) = run(&desk, "json").await;
    assert!(code == Some(1) && errors.contains("\"m\"") && errors.contains("other"), "{code:?} {errors}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_after_the_request_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let began = std::time::Instant::now();
    let checked = check(&format!("https://{address}"), "request_timeout = \"300ms\"").await;
    checked.fails_at("tls", &["nothing within"]);
    assert!(began.elapsed() < Duration::from_secs(20));
    drop(listener);
}
