//! The runner family from registration to result.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use dlite::{
    core::{
        input::AcquireError,
        task::{Identity, Secret},
    },
    doubles::manager::{CapacityConfig, Dialect, NewTask, Route, RunnerTask},
    upstreams::harness::{Family, Options},
};

use crate::{
    lab::{Lab, SOON},
    support::{Pair, succeeded},
};

const INIT: &str = "vm_init";

async fn pair(change: impl FnOnce(&mut Options)) -> Pair {
    Pair::with(|options| {
        options.family = Family::Runner;
        change(options);
    })
    .await
}

#[tokio::test]
async fn a_runner_registers_and_beats_as_one() {
    let pair = pair(|options| {
        options.send_secret_in_body = true;
        options.capacity = Some(4);
    })
    .await;
    pair.heartbeat(&[]).await.unwrap();
    let record = pair.manager.record();
    let bodies = [&record.registers.last().unwrap().body, &record.heartbeats.last().unwrap().body];
    for body in bodies {
        assert_eq!((body.runner, body.version.as_deref()), (Some(true), Some("v0.1")));
        assert_eq!(body.capacity_config, Some(CapacityConfig { max_stages: Some(4) }));
        assert_eq!(body.tags, Some(Vec::new()), "always said, and never an empty tag");
        assert!(body.host_name.as_ref().unwrap().starts_with("runner-"), "{:?}", body.host_name);
        assert!(body.supported_task_types.is_none() && body.sequence_num.is_none());
        assert!(body.delegate_random_token.is_none());
        assert_eq!((body.delegate_type.as_deref(), body.ng, body.immutable), (Some("DOCKER"), Some(true), None));
    }
    assert_eq!((record.secret_seen.total(), record.totals().capacities), (0, 0));
}

#[tokio::test]
async fn every_call_of_a_runner_carries_the_hash_of_its_secret_and_no_legacy_call_does() {
    let runner = pair(|_| ()).await;
    let (id, spec) = runner.acquired(NewTask::for_runners(INIT, "{}")).await;
    runner.heartbeat(&[&id]).await.unwrap();
    runner.poll().await.unwrap();
    runner.report(&id, &spec, succeeded("{}")).await.unwrap();
    let totals = runner.manager.record().totals();
    assert_eq!((totals.token_hashes, totals.token_hashes_wrong), (5, 0));
    let legacy = Pair::new().await;
    legacy.poll().await.unwrap();
    assert_eq!(legacy.manager.record().totals().token_hashes, 0);
}

#[tokio::test]
async fn a_request_is_polled_for_acquired_and_answered_in_dialect_c() {
    let pair = pair(|_| ()).await;
    let data = "{ \"n\":1.0 ,\"s\":\"\\u00e9\"}";
    let id = pair.manager.submit(NewTask::for_runners(INIT, data)).unwrap();
    let listing = pair.poll().await.unwrap();
    let listed: Vec<_> =
        listing.tasks.iter().map(|task| (task.external_id.as_str(), task.task_type.as_str())).collect();
    assert_eq!(listed, [(&*id, INIT)]);
    let spec = pair.acquire(&id).await.unwrap();
    assert_eq!(&spec.payload.as_ref().unwrap().content[..], data.as_bytes());
    // The same again for the same instance, and a clear no for another.
    assert_eq!(pair.acquire(&id).await.unwrap(), spec);
    let other = Identity { instance_id: "instance-2".into(), ..(*pair.identity).clone() };
    let Err(AcquireError::Refused(text)) = pair.acquire_as(&id, Arc::new(other)).await else { panic!("not refused") };
    assert!(text.starts_with("GET /api/executions/{task}/request: 404"), "{text}");
    pair.report(&id, &spec, succeeded("{}")).await.unwrap();
    assert_eq!(pair.manager.effective(&id).unwrap().dialect, Dialect::C);
    assert!(pair.poll().await.unwrap().tasks.is_empty());
    // Each family is offered its own.
    assert_eq!(pair.manager.record().calls(Route::Acquire), 0);
}

#[tokio::test]
async fn static_secrets_come_with_the_task_by_name() {
    let pair = pair(|_| ()).await;
    let held = STANDARD.encode(r#"{"secrets":[{"id":"any","value":"hunter2"}]}"#);
    let runner = RunnerTask {
        secrets: format!(r#"[{{"id":"db-password","type":"secret/static","data":"{held}"}}]"#),
        logger: r#"{"key":"k","masks":["hunter3"]}"#.to_owned(),
        ..RunnerTask::default()
    };
    let (_, spec) = pair.acquired(NewTask { runner: Some(runner), ..NewTask::for_runners(INIT, "{}") }).await;
    let secret =
        |name: &str, value: &'static str, mask_only| Secret { name: name.into(), value: value.into(), mask_only };
    assert!(spec.secrets == [secret("db-password", "hunter2", false), secret("", "hunter3", true)]);
    assert!(!format!("{spec:?}").contains("hunter"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_runner_can_not_be_given_is_answered_as_failed_by_its_name() {
    let mut lab = Lab::new().await;
    lab.configure("family = \"runner\"");
    lab.start_delegate();
    lab.start_runner("r-1", 2);
    let submit = |task_type: &str, change: fn(&mut RunnerTask)| {
        let mut runner = RunnerTask::default();
        change(&mut runner);
        let new = NewTask { runner: Some(runner), ..NewTask::for_runners(task_type, r#"{"millis":1}"#) };
        lab.manager.submit(new).unwrap()
    };
    let good = submit("DEV_ONCE", |_| ());
    let refused = [
        (submit("DEV_ONCE", |task| task.forward = r#"{"string":"192.0.2.1:1"}"#.into()), "task.forward"),
        (submit("DEV_ONCE", |task| task.config = r#""e30=""#.into()), "task.config"),
        (
            submit("DEV_ONCE", |task| task.secrets = r#"[{"id":"s","type":"secret/vault/fetch"}]"#.into()),
            "secrets[0].type secret/vault/fetch",
        ),
        (submit("daemonset/upsert", |_| ()), "task.type daemonset/upsert"),
    ];
    let all = |record: &dlite::doubles::manager::Record| {
        record.effective(&good).is_some() && refused.iter().all(|(id, _)| record.effective(id).is_some())
    };
    lab.manager_when("every answer", all, SOON).await;
    assert_eq!(lab.manager.effective(&good).unwrap().code, "OK");
    for (id, field) in &refused {
        let answer = lab.manager.effective(id).unwrap();
        assert_eq!((answer.dialect, &*answer.code), (Dialect::C, "FAILED"));
        let says = format!("UNSUPPORTED_REQUEST: this delegate does not support {field}");
        assert!(answer.error.starts_with(&says), "{}", answer.error);
    }
    assert_eq!(lab.starts().len(), 1, "only the good one reached a handler");
}
