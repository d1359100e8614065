//! `dlite doctor` finds everything in one go, and says what to do about each.

use dlite::doubles::{
    drone::{Drone, Options as DroneOptions},
    manager::{Manager, Options},
};
use serde_json::Value;

use crate::{
    front::{Front, certs, server_config},
    lab::{Lab, SECRET, output},
};

const OTHER_SECRET: &str = "00112233445566778899aabbccddeeff";
const ACCOUNT: &str = "acctLAB0000000000001";

struct Examined {
    code: Option<i32>,
    report: Value,
    table: String,
}

/// Runs it twice, for scripts and for people; a lab's way may be long, so it does not block the doubles.
async fn examine(lab: &Lab, more: &[&str]) -> Examined {
    let run = |form: &'static str| {
        let config = lab.path("dlite.toml");
        let arguments: Vec<String> = ["doctor", "-o", form].iter().chain(more).map(|word| (*word).to_owned()).collect();
        tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            output(&arguments, &config)
        })
    };
    let (json, table) = (run("json").await.unwrap(), run("table").await.unwrap());
    for text in [&json.stdout, &json.stderr, &table.stdout, &table.stderr] {
        let text = String::from_utf8_lossy(text);
        assert!(!text.contains(SECRET) && !text.contains(OTHER_SECRET) && !text.contains("hunter2"), "{text}");
    }
    let said = String::from_utf8_lossy(&json.stderr).into_owned();
    let report = serde_json::from_slice(&json.stdout).unwrap_or_else(|_| panic!("{said}"));
    Examined { code: table.status.code(), report, table: String::from_utf8(table.stdout).unwrap() }
}

impl Examined {
    /// Asserts that this check failed at this place, with these words in what, why or next.
    fn failed(&self, check: &str, place: &str, words: &[&str]) {
        let findings = self.report["findings"].as_array().unwrap();
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        let found = findings.iter().filter(|finding| finding["check"] == check && finding["verdict"] == "failed");
        let found = found.filter(|finding| text(finding, "where").contains(place));
        let found = found
            .map(|finding| format!("{} {} {}", text(finding, "what"), text(finding, "why"), text(finding, "next")));
        let found: Vec<_> = found.collect();
        assert!(
            found.iter().any(|text| words.iter().all(|word| text.contains(word))),
            "{words:?} of {check} at {place}: {found:#?}\n{}",
            self.table
        );
        for finding in findings.iter().filter(|finding| finding["verdict"] == "failed") {
            assert!(["what", "why", "next"].iter().all(|key| !text(finding, key).is_empty()), "{finding:#}");
            assert!(self.table.contains(&text(finding, "next")), "{}", self.table);
        }
    }

    fn failures(&self) -> Vec<&Value> {
        self.report["findings"].as_array().unwrap().iter().filter(|finding| finding["verdict"] == "failed").collect()
    }
}

fn upstream(name: &str, endpoint: &str, secret: &str, more: &str) -> String {
    format!(
        "[[upstreams]]\nname = \"{name}\"\nendpoint = \"{endpoint}\"\naccount_id = \"{ACCOUNT}\"\naccount_secret_file = \"{secret}\"\n{more}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_finds_in_one_go_everything_that_is_wrong_with_what_to_do_about_each() {
    let mut lab = Lab::new().await;
    let strange = Front::start(&lab.manager, SECRET, Some(server_config("b", None))).await;
    let late = Front::start(&lab.manager, SECRET, None).await;
    late.set_clock_ahead(600);
    let expired = Manager::start(Options::new(ACCOUNT, SECRET.parse().unwrap())).await.unwrap();
    expired.refuse_tokens(Some("EXPIRED_TOKEN"));
    let drone = Drone::start(DroneOptions::new("the-drone-secret")).await.unwrap();
    let private = |name: &str, text: &str| {
        std::fs::write(lab.path(name), text).unwrap();
        std::fs::set_permissions(lab.path(name), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    private("wrong", OTHER_SECRET);
    private("drone-wrong", "hunter2-hunter2");
    let more = [
        "task_types = [\"DEV_WORKS\"]\n".to_owned(),
        upstream("strange", &strange.endpoint(), "secret", &format!("tls.ca_files = [{:?}]", certs("authority-a.pem"))),
        upstream("wrong", &lab.manager.endpoint(), "wrong", "delegate_name = \"other\""),
        upstream("expired", &expired.endpoint(), "secret", ""),
        upstream("late", &late.endpoint(), "secret", ""),
        // Port 1 is nobody's on a host that runs tests.
        upstream("away", "http://127.0.0.1:1", "secret", ""),
        format!(
            "[[upstreams]]\nname = \"drone\"\nkind = \"drone\"\nendpoint = \"{}\"\nsecret_file = \"drone-wrong\"\n",
            drone.endpoint()
        ),
        "[admission]\ndisk_high = 1\ndisk_low = 0\n".to_owned(),
    ];
    lab.configure(&more.concat());
    lab.start_delegate();
    lab.start_runner("r-1", 1);
    lab.status_when("a runner is attached", |status| status.runners.len() == 1).await;
    // Links that are open stay so; nobody new finds it.
    std::fs::remove_file(lab.path("r.sock")).unwrap();

    let examined = examine(&lab, &[]).await;
    println!("{}", examined.table);
    assert_eq!(examined.code, Some(4));
    examined.failed("upstream", "strange", &["UnknownIssuer", "tls.ca_files"]);
    examined.failed("upstream", "wrong", &["INVALID_TOKEN", "account_secret_file"]);
    examined.failed("upstream", "expired", &["EXPIRED_TOKEN", "clock"]);
    examined.failed("clock", "late", &["600 s behind", "NTP"]);
    examined.failed("upstream", "away", &["refused", "firewalls"]);
    examined.failed("upstream", "drone", &["DRONE_RPC_SECRET"]);
    examined.failed("runner_socket", "r.sock", &["no socket", "restart the delegate"]);
    examined.failed("disk", "", &["nearly full", "admission.disk_high", "free space"]);
    examined.failed("runners", "upstreams[m].task_types", &["DEV_WORKS", "nearest", "DEV_WORK:"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_is_wrong_it_says_so_with_and_without_a_running_delegate() {
    let mut lab = Lab::new().await;
    let marks = ["--set", "admission.disk_high=100"];
    let before = examine(&lab, &marks).await;
    assert_eq!((before.code, before.failures().len()), (Some(0), 0), "{}", before.table);
    assert!(before.table.contains("no delegate runs"), "{}", before.table);
    lab.start_delegate();
    lab.start_runner("r-1", 1);
    lab.status_when("a runner is attached", |status| status.runners.len() == 1).await;
    let examined = examine(&lab, &marks).await;
    assert_eq!((examined.code, examined.failures().len()), (Some(0), 0), "{}", examined.table);
    for word in
        ["delegate lab answers", "held by the running delegate", "r-1 attached", "the way is clear", "durable write"]
    {
        assert!(examined.table.contains(word), "{word:?} in {}", examined.table);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_of_the_configuration_do_not_hide_the_host() {
    let lab = Lab::new().await;
    lab.configure("poll_intervall = \"1s\"\nweight = 0\n");
    let examined = examine(&lab, &[]).await;
    assert_eq!(examined.code, Some(4));
    examined.failed("config", "dlite.toml", &["poll_intervall", "poll_interval"]);
    examined.failed("config", "dlite.toml", &["weight"]);
    assert!(examined.table.contains("open_files"), "{}", examined.table);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_the_way_of_a_start_is_found_before_it() {
    let lab = Lab::new().await;
    std::fs::write(lab.path("r.sock"), "a file").unwrap();
    std::fs::create_dir(lab.path("state")).unwrap();
    std::fs::set_permissions(lab.path("state"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("http.listen={}", taken.local_addr().unwrap());
    let other = std::os::unix::net::UnixListener::bind(lab.path("a.sock")).unwrap();
    let examined = examine(&lab, &["--set", &listen]).await;
    assert_eq!(examined.code, Some(4));
    examined.failed("runner_socket", "r.sock", &["no socket", "move"]);
    examined.failed("state_dir", "state", &["mode 0777", "chmod 700"]);
    examined.failed("http_address", "127.0.0.1", &["can't be had", "http.listen"]);
    examined.failed("admin_socket", "a.sock", &["no answer"]);
    drop(other);
}
