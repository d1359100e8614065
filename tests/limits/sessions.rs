//! Limit 8: steps and cleanup depend on the process that did the setup.

use std::path::{Path, PathBuf};

use dlite::{
    doubles::manager::NewTask,
    proto::{
        admin::v1::{CloseSessionRequest, ListSessionsRequest, SessionView},
        runner::v1::{
            Handler, Hello, Payload, SessionStateUpdate, TaskAssignment, TaskOutcome, TaskResult, attach_request::Frame,
        },
    },
};
use tonic::transport::{Channel, Endpoint};

use super::{
    lab::{Lab, SOON, output},
    support::peer::{Peer, hello},
};

const SETUP: &str = "CI_DOCKER_INITIALIZE_TASK";
const EXECUTE: &str = "CI_DOCKER_EXECUTE_TASK";
const CLEANUP: &str = "CI_DOCKER_CLEANUP_TASK";
const RUNNER: &str = "host-1";
/// Words that stand in payloads and states, and nowhere on the disk.
const SECRETS: [&str; 4] = ["payload-hunter2", "state-hunter3", "sensitive-hunter4", "variable-hunter5"];

/// A runner that keeps nothing in its memory: what it does follows from the task and the session alone. It makes a directory in
/// the setup, appends to a file there in an execute, and removes the directory, named by the state, in the cleanup.
struct Runner {
    peer: Peer,
}

impl Runner {
    /// A new process under the old name.
    async fn start(lab: &Lab, instance: &str) -> Self {
        let socket = lab.path("r.sock");
        let mut peer = Peer::open(channel(&socket).await, None).await.expect("a stream");
        let handlers = [SETUP, EXECUTE, CLEANUP]
            .map(|task_type| Handler { task_type: task_type.to_owned(), ..Handler::default() })
            .to_vec();
        peer.introduce(Hello { handlers, ..hello(RUNNER, instance, SETUP, 4) }).await;
        Self { peer }
    }

    /// Does one task from its assignment to its result.
    async fn work(&mut self, root: &Path) -> TaskAssignment {
        let assignment = self.peer.assignment().await;
        let lease = assignment.lease_id.clone();
        let accepted = self.peer.accept(&lease).await;
        self.peer.acknowledged(accepted).await;
        let session = assignment.session.clone().expect("a task of a stage has a session");
        let place = session.state.as_ref().map(|state| root.join(std::str::from_utf8(&state.inline).unwrap()));
        let task = assignment.task.as_ref().expect("a task");
        let state = match task.task_type.as_str() {
            SETUP => {
                std::fs::create_dir(root.join(SECRETS[1])).unwrap();
                Some(SessionStateUpdate {
                    expected_etag: session.etag,
                    state: Some(payload(SECRETS[1])),
                    sensitive_state: Some(payload(SECRETS[2])),
                    extend_ttl: None,
                })
            }
            EXECUTE => {
                std::fs::write(place.expect("the setup left a state").join("step"), "done").unwrap();
                assert_eq!(session.sensitive_state, Some(payload(SECRETS[2])));
                None
            }
            _ => {
                if let Some(place) = place {
                    std::fs::remove_dir_all(place).unwrap();
                }
                None
            }
        };
        let result = TaskResult {
            lease_id: lease,
            outcome: TaskOutcome::Succeeded as i32,
            session_state: state,
            ..TaskResult::default()
        };
        let finished = self.peer.say_counted(Frame::Result(result)).await;
        self.peer.acknowledged(finished).await;
        assignment
    }
}

fn payload(text: &str) -> Payload {
    Payload { content_type: "text/plain".to_owned(), inline: text.as_bytes().to_vec().into() }
}

async fn channel(socket: &Path) -> Channel {
    let socket: PathBuf = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move {
            let stream = tokio::net::UnixStream::connect(socket).await?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
        }
    });
    Endpoint::from_static("http://runners").connect_with_connector(connector).await.expect("a connection")
}

fn submit(lab: &Lab, task_type: &str) -> String {
    let (id, key) = ("stage-77", SECRETS[0]);
    let data = match task_type {
        EXECUTE => format!(r#"{{"id":"step-1","stage_runtime_id":"{id}","key":"{key}"}}"#),
        _ => format!(r#"{{"id":"{id}","key":"{key}"}}"#),
    };
    lab.manager.submit(NewTask::new(task_type, data)).unwrap()
}

async fn succeeded(lab: &Lab, id: &str) {
    let answer = lab.manager.wait_for(id, SOON).await.unwrap_or_else(|_| panic!("no answer to {id}\n{}", lab.tail()));
    assert_eq!(answer.code, "OK", "{}", String::from_utf8_lossy(&answer.body));
}

async fn sessions(lab: &Lab) -> Vec<SessionView> {
    let mut client = dlite::admin::client::connect(&lab.path("a.sock")).await.unwrap();
    client.list_sessions(ListSessionsRequest {}).await.unwrap().into_inner().sessions
}

/// What a command of the real binary says, and its exit code.
fn command(lab: &Lab, arguments: &[&str]) -> (Option<i32>, String) {
    let done = output(arguments, &lab.path("dlite.toml"));
    (done.status.code(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
}

/// Every file below, as bytes.
fn files(below: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            all.push((path, bytes));
        }
    }
    all
}

fn assert_no_secret_on_disk(lab: &Lab) {
    let all = files(&lab.path("state"));
    assert!(!all.is_empty(), "the journal is somewhere");
    for (path, bytes) in all {
        for secret in SECRETS {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{} holds {secret}", path.display());
        }
    }
    let log = std::fs::read_to_string(lab.path("delegate.log")).unwrap();
    for secret in SECRETS {
        assert!(!log.contains(secret), "the log holds {secret}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_killed_between_setup_execute_and_cleanup_finishes_the_pipeline_and_leaves_nothing() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.status().await;
    let root = lab.path("host");
    std::fs::create_dir(&root).unwrap();

    for (task_type, instance) in [(SETUP, "first"), (EXECUTE, "second"), (CLEANUP, "third")] {
        let mut runner = Runner::start(&lab, instance).await;
        let id = submit(&lab, task_type);
        runner.work(&root).await;
        succeeded(&lab, &id).await;
        assert_no_secret_on_disk(&lab);
        // The process is gone, with all it knew.
        drop(runner);
    }
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0, "nothing is left on the host");
    lab.status_when("the session is over", |status| status.open_session_count == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delegate_killed_between_setup_and_execute_still_knows_the_stage() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.status().await;
    let root = lab.path("host");
    std::fs::create_dir(&root).unwrap();
    let mut runner = Runner::start(&lab, "first").await;
    let id = submit(&lab, SETUP);
    runner.work(&root).await;
    succeeded(&lab, &id).await;
    drop(runner);
    lab.kill_delegate();
    lab.start_delegate();
    lab.status_when("the session is there", |status| status.open_session_count == 1).await;
    let mut runner = Runner::start(&lab, "second").await;
    for task_type in [EXECUTE, CLEANUP] {
        let id = submit(&lab, task_type);
        runner.work(&root).await;
        succeeded(&lab, &id).await;
    }
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0, "nothing is left on the host");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_the_operator_closes_is_cleaned_up_although_no_upstream_asks() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.status().await;
    let root = lab.path("host");
    std::fs::create_dir(&root).unwrap();
    let mut runner = Runner::start(&lab, "first").await;
    let id = submit(&lab, SETUP);
    runner.work(&root).await;
    succeeded(&lab, &id).await;

    let open = sessions(&lab).await;
    let [session] = &open[..] else { panic!("one session, not {open:?}") };
    assert_eq!((session.external_id.as_str(), session.phase.as_str()), ("stage-77", "ready"));
    assert_eq!(session.runner_id, RUNNER);
    assert_eq!(session.state_bytes, (SECRETS[1].len() + SECRETS[2].len() + 2 * "text/plain".len()) as u64);
    let mut client = dlite::admin::client::connect(&lab.path("a.sock")).await.unwrap();
    let close = |id: &str| CloseSessionRequest { session_id: id.to_owned(), reason: String::new(), force: false };
    let unknown = client.close_session(close("stage-78")).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    client.close_session(close("stage-77")).await.unwrap();

    let cleanup = runner.work(&root).await;
    let session = cleanup.session.expect("a session");
    assert!(session.synthesized_cleanup);
    assert_eq!(cleanup.task.unwrap().task_type, CLEANUP);
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0, "nothing is left on the host");
    lab.status_when("the session is over", |status| status.open_session_count == 0 && status.open_task_count == 0)
        .await;
    assert_eq!(lab.manager.read(|record| record.totals()).effective, 1, "the manager hears of the setup alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_lists_and_closes_sessions_by_command() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.status().await;
    assert_eq!(command(&lab, &["sessions", "list"]), (Some(0), "no open session\n".to_owned()));
    let root = lab.path("host");
    std::fs::create_dir(&root).unwrap();
    let mut runner = Runner::start(&lab, "first").await;
    let id = submit(&lab, SETUP);
    runner.work(&root).await;
    succeeded(&lab, &id).await;

    let (code, table) = command(&lab, &["sessions", "list"]);
    assert!(code == Some(0) && table.contains("PHASE") && table.contains("stage-77"), "{table}");
    let (_, text) = command(&lab, &["sessions", "list", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let held = (&json[0]["external_id"], &json[0]["phase"], &json[0]["runner_id"]);
    assert_eq!(held, (&"stage-77".into(), &"ready".into(), &RUNNER.into()), "{text}");
    for shown in [table, text] {
        assert!(SECRETS.iter().all(|secret| !shown.contains(secret)), "{shown}");
    }

    let (code, said) = command(&lab, &["sessions", "close", "stage-78", "--yes"]);
    assert!(code != Some(0) && said.contains("no open session stage-78"), "{code:?} {said}");
    let session = json[0]["session_id"].as_str().expect("an id");
    let (code, said) = command(&lab, &["sessions", "close", session, "--yes"]);
    assert!(code == Some(0) && said.contains("is closing"), "{code:?} {said}");
    let (code, said) = command(&lab, &["sessions", "close", session, "--yes"]);
    assert!(code != Some(0) && said.contains("cleanup waits or runs already"), "{code:?} {said}");
    let cleanup = runner.work(&root).await;
    assert!(cleanup.session.expect("a session").synthesized_cleanup);
    lab.status_when("the session is over", |status| status.open_session_count == 0).await;
    assert_eq!(command(&lab, &["sessions", "list"]), (Some(0), "no open session\n".to_owned()));
}
