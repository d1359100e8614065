//! The bodies we send, byte for byte, against files with invented values.
//!
//! Each was checked field by field against the wire reference (3.3, 3.6, 3.7, 3.9 to 3.11, 4.1, 4.2). `DLITE_BLESS=1` writes them anew.

use std::{
    future::Future,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use dlite::{
    core::{
        effect::{Answerable, Call, Tellable},
        id::TaskId,
        input::{Answer, Told},
        step::{Card, Step, StepState},
        task::{Finish, Identity, Outcome, Spec},
        time::Wall,
    },
    logs::{
        record::{Record, Time},
        spool::{Limits, LineHead, Log, LogKey, Meta, Spool},
    },
    upstreams::{
        Upstream,
        drone::{Drone, Options, Token},
        transport::{Failure, Request, Response, Transport},
    },
};

use crate::{
    steps::step,
    support::{TYPE, ended, wanted},
};

/// As in the wire reference, 3.4, with a field that no reference names.
const STAGE: &str = r#"{"id":9104,"repo_id":87,"build_id":5521,"number":1,"name":"unit","kind":"pipeline","type":"docker",
"status":"pending","errignore":false,"exit_code":0,"machine":"m1-0a1b2c3d","os":"linux","arch":"amd64","started":0,"stopped":0,
"created":1738660000,"updated":1738660004,"version":2,"on_success":true,"on_failure":false,"depends_on":["lint"],
"labels":{"zone":"north"},"field_of_a_later_server":{"a":[1]}}"#;
const DETAILS: &str = r#"{"build":{"id":5521,"number":41,"status":"pending"},"stage":null,"config":{"Data":"eA==","Hash":null},
"repository":{"id":87,"slug":"acme/kettle","timeout":60},"system":{},"secrets":null,"netrc":null}"#;

/// As in the wire reference, 3.6.
const REGISTERED: &str = r#"{"id":9104,"build_id":5521,"status":"running","updated":1738660005,"version":3,"steps":[
{"id":30711,"step_id":9104,"number":1,"version":1},{"id":30712,"step_id":9104,"number":2,"version":1}]}"#;

/// Plays the server and keeps what it was sent.
#[derive(Clone, Default)]
struct Script {
    sent: Arc<Mutex<Vec<(String, Bytes)>>>,
}

impl Transport for Script {
    fn send(&self, request: Request) -> Pin<Box<dyn Future<Output = Result<Response, Failure>> + Send + '_>> {
        let path = request.url.trim_start_matches("http://ci.example.test").to_owned();
        assert!(request.authorization.is_empty());
        let (header, value) = request.header.unwrap();
        assert_eq!((header.as_str(), &*value), ("x-drone-token", "tok-example-1"));
        let body = match (request.method.as_str(), path.as_str()) {
            ("PUT", "/rpc/v2/stage/9104") if request.body.windows(9).any(|text| text == br#""running""#) => REGISTERED,
            (
                "POST",
                "/rpc/v2/step/30712/logs/upload" | "/rpc/v2/step/30712/logs/batch" | "/rpc/v2/step/30712/card",
            ) => STAGE,
            ("POST", "/rpc/v2/stage/9104?machine=m1-0a1b2c3d") | ("PUT", _) => STAGE,
            ("GET", _) => DETAILS,
            _ => "",
        };
        self.sent.lock().unwrap().push((format!("{} {path}", request.method), request.body));
        let status = if body.is_empty() { 204 } else { 200 };
        Box::pin(std::future::ready(Ok(Response { status, body: body.into() })))
    }
}

fn adapter() -> (Drone, Script) {
    let script = Script::default();
    let options = Options::new("http://ci.example.test", Token::new("tok-example-1").unwrap());
    (Drone::with_transport(options, Arc::new(script.clone())).unwrap(), script)
}

fn check(name: &str, body: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drone/golden").join(name);
    if std::env::var_os("DLITE_BLESS").is_some() {
        std::fs::write(&path, [body, b"\n"].concat()).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(golden.trim_end(), String::from_utf8_lossy(body), "{name}");
}

#[tokio::test]
async fn a_poll_asks_for_platform_and_labels() {
    let (adapter, script) = adapter();
    let labels = [("os", "linux"), ("arch", "arm64"), ("variant", "v8"), ("node.zone", "north")];
    for (name, wanted) in [("poll.json", wanted(TYPE, &labels)), ("poll.any.json", wanted("drone.stage.exec", &[]))] {
        adapter.perform(Call::Poll { delegate_id: "m1-0a1b2c3d".into(), wanted: vec![wanted] }).await;
        let (call, body) = script.sent.lock().unwrap().pop().unwrap();
        assert_eq!(call, "POST /rpc/v2/stage");
        check(name, &body);
    }
}

#[tokio::test]
async fn a_final_put_repeats_the_whole_stage() {
    let (adapter, script) = adapter();
    let identity = Arc::new(Identity { delegate_id: "m1-0a1b2c3d".into(), instance_id: "i".into() });
    let acquire = Call::Acquire { task: TaskId(1), external_id: "5521/9104".into(), identity: identity.clone() };
    let Answer::Acquire { result: Ok(spec), .. } = adapter.perform(acquire).await else { panic!("not ours") };
    let spec: Arc<Spec> = Arc::new(*spec);
    let outcomes = [
        ("success", Finish::of(Outcome::Succeeded, None)),
        ("failure", ended(Outcome::Failed, "", "two tests failed")),
        ("error", ended(Outcome::Errored, "LEASE_LOST", "the runner is gone")),
        ("killed", ended(Outcome::Cancelled, "CANCELLED", "aborted by the upstream")),
        ("timeout", ended(Outcome::TimedOut, "DEADLINE", "the task's time is over")),
        ("skipped", Finish::of(Outcome::Skipped, None)),
    ];
    for (name, finish) in outcomes {
        let report = Answerable {
            external_id: "5521/9104".into(),
            identity: identity.clone(),
            spec: spec.clone(),
            finish: Arc::new(finish),
            steps: Arc::default(),
            told: None,
            started: Some(Wall(1_738_660_005_000_000)),
            finished: Wall(1_738_660_031_000_000),
            refusal: None,
            hand_back: false,
        };
        let answer = adapter.perform(Call::Report { task: TaskId(1), report: Arc::new(report) }).await;
        assert!(matches!(answer, Answer::Report { result: Ok(()), .. }), "{answer:?}");
        let sent = script.sent.lock().unwrap();
        let (_, body) = sent.iter().rfind(|(call, _)| call == "PUT /rpc/v2/stage/9104").unwrap();
        check(&format!("{name}.json"), body);
    }
}

#[tokio::test]
async fn steps_are_sent_as_the_server_stores_them() {
    let (adapter, script) = adapter();
    let identity = Arc::new(Identity { delegate_id: "m1-0a1b2c3d".into(), instance_id: "i".into() });
    let acquire = Call::Acquire { task: TaskId(1), external_id: "5521/9104".into(), identity: identity.clone() };
    let Answer::Acquire { result: Ok(spec), .. } = adapter.perform(acquire).await else { panic!("not ours") };
    let spec: Arc<Spec> = Arc::new(*spec);
    let card = Card {
        schema_uri: "https://cards.example.test/tests.json".into(),
        data: Bytes::from_static(br#"{"passed":17,"failed":1}"#),
    };
    let second = |state: StepState, exit_code| Step {
        exit_code,
        card: state.is_final().then(|| card.clone()),
        has_log: true,
        ignore_error: true,
        error: if exit_code.is_some() { "exit code 2".into() } else { "".into() },
        ..step(2, state)
    };
    let (log, _directory) = log().await;
    let sink = adapter.log_sink().unwrap();
    let destination = sink.destination(&spec, "s2").unwrap();
    sink.begun(&destination, &log);
    let mut delivery = sink.deliver(&destination).unwrap();
    let mut told = None;
    for (name, call, steps) in [
        ("running.json", "PUT /rpc/v2/stage/9104", [step(1, StepState::Pending), second(StepState::Pending, None)]),
        (
            "step.skipped.json",
            "PUT /rpc/v2/step/30711",
            [step(1, StepState::Skipped), second(StepState::Pending, None)],
        ),
        (
            "step.running.json",
            "PUT /rpc/v2/step/30712",
            [step(1, StepState::Skipped), second(StepState::Running, None)],
        ),
        (
            "step.failure.json",
            "PUT /rpc/v2/step/30712",
            [step(1, StepState::Skipped), second(StepState::Failed, Some(2))],
        ),
    ] {
        let news = Tellable {
            external_id: "5521/9104".into(),
            identity: identity.clone(),
            reply: spec.reply.clone(),
            told: told.clone(),
            steps: Arc::new(steps.to_vec()),
            started: Wall(1_738_660_005_000_000),
        };
        let answer = adapter.perform(Call::Tell { task: TaskId(1), news: Arc::new(news) }).await;
        let Answer::Tell { result: Ok(Told { note, behind: false }), .. } = answer else { panic!("{answer:?}") };
        told = note;
        if name == "step.running.json" {
            let records: Vec<Record> = log.read_from(0).map(Result::unwrap).collect();
            delivery.live(&records).await.unwrap();
            let sent = script.sent.lock().unwrap().pop().unwrap();
            assert_eq!(sent.0, "POST /rpc/v2/step/30712/logs/batch");
            check("batch.json", &sent.1);
        }
        let sent = script.sent.lock().unwrap();
        let (last, body) = sent.last().unwrap();
        assert_eq!(last, call);
        check(name, body);
    }
    let report = Answerable {
        external_id: "5521/9104".into(),
        identity,
        spec,
        finish: Arc::new(ended(Outcome::Failed, "", "two tests failed")),
        steps: Arc::new(vec![step(1, StepState::Skipped), second(StepState::Failed, Some(2))]),
        told,
        started: Some(Wall(1_738_660_005_000_000)),
        finished: Wall(1_738_660_031_000_000),
        refusal: None,
        hand_back: false,
    };
    adapter.perform(Call::Report { task: TaskId(1), report: Arc::new(report) }).await;
    let sent = script.sent.lock().unwrap();
    check("failure.steps.json", &sent.last().unwrap().1);
    let calls: Vec<&str> = sent.iter().map(|(call, _)| call.as_str()).collect();
    let end = calls.len() - 4;
    let due = [
        "POST /rpc/v2/step/30712/logs/upload",
        "POST /rpc/v2/step/30712/card",
        "PUT /rpc/v2/step/30712",
        "PUT /rpc/v2/stage/9104",
    ];
    assert_eq!(calls[end..], due, "in this order");
    check("upload.json", &sent[end].1);
    check("card.json", &sent[end + 1].1);
}

/// A log as its runner left it, with a line that never came.
async fn log() -> (Log, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(directory.path().join("spool"), Limits::default()).unwrap();
    let key = LogKey { lease_id: "l".into(), log_id: "step-s2".into() };
    let meta = Meta { key, task_id: "t".into(), step_id: "s2".into(), destination: Vec::new() };
    let mut appender = spool.open_log(meta).unwrap();
    for (number, millis, text) in [(0, 0, "+ echo \"<hello>\""), (1, 1_900, "<hello>"), (3, 2_000, "tab\there")] {
        let time = Time((1_738_660_006_000 + millis) * 1_000_000);
        appender.line(&LineHead { number, time, ..LineHead::default() }, text.as_bytes());
    }
    appender.submit().await;
    let log = appender.log();
    appender.close(Some(4), false).await;
    log.watch().wait_for(|progress| progress.receipt.is_some()).await.unwrap();
    (log, directory)
}
