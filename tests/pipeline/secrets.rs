//! Secrets from each of their sources, and where they must not be.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use ring::{aead, digest, hmac};

use crate::lab::{Lab, rows};

/// The double's key of each repository.
const KEY: &[u8] = b"0123456789abcdefghijklmnopqrstuv";
const TOKEN: &str = "plugin-shared-key-of-32-or-more-bytes";

/// A plugin that has one secret, and the questions it was asked.
#[derive(Clone)]
struct Plugin {
    questions: Arc<Mutex<Vec<serde_json::Value>>>,
    endpoint: String,
}

// === impl Plugin ===

impl Plugin {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/", listener.local_addr().unwrap());
        let plugin = Self { questions: Arc::default(), endpoint };
        let routes = Router::new().route("/", post(answer)).with_state(plugin.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        plugin
    }

    fn configuration(&self, lab: &str) -> String {
        format!("[secret_plugin]\nendpoint = {:?}\ntoken_file = \"{lab}\"\n", self.endpoint)
    }
}

async fn answer(State(plugin): State<Plugin>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    if !is_signed(&headers, &body) {
        return (StatusCode::BAD_REQUEST, "bad signature".to_owned());
    }
    let question: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let is_known = question["path"] == "team/db" && question["name"] == "password";
    plugin.questions.lock().unwrap().push(question);
    match is_known {
        true => (StatusCode::OK, r#"{"name":"password","data":"from-the-plugin","pull_request":false}"#.to_owned()),
        false => (StatusCode::NO_CONTENT, String::new()),
    }
}

fn is_signed(headers: &HeaderMap, body: &[u8]) -> bool {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let names = ["accept", "accept-encoding", "content-type", "date", "digest"];
    let text = names.map(|name| format!("{name}: {}", header(name))).join("\n");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, TOKEN.as_bytes()), text.as_bytes());
    let digest = BASE64_STANDARD.encode(digest::digest(&digest::SHA256, body));
    header("signature").contains(&format!("signature=\"{}\"", BASE64_STANDARD.encode(tag)))
        && header("digest") == format!("SHA-256={digest}")
}

fn seal(text: &str) -> String {
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, KEY).unwrap());
    let nonce = [7; aead::NONCE_LEN];
    let mut sealed = text.as_bytes().to_vec();
    let unique = aead::Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(unique, aead::Aad::empty(), &mut sealed).unwrap();
    BASE64_STANDARD.encode([&nonce[..], &sealed].concat())
}

/// A step that tells whether it has each of the secrets, and shows them.
fn pipeline(directory: &str) -> String {
    format!(
        "clone:\n  disable: true\nsteps:\n- name: show\n  environment:\n    SERVER: {{from_secret: of_server}}\n    \
         SEALED: {{from_secret: of_document}}\n    RUNNER: {{from_secret: of_runner}}\n    PLUGIN: {{from_secret: of_plugin}}\n    \
         NOBODY: {{from_secret: of_nobody}}\n  commands:\n  \
         - echo $${{#SERVER}} $${{#SEALED}} $${{#RUNNER}} $${{#PLUGIN}} $${{#NOBODY}}\n  \
         - echo \"$SERVER, $SEALED, $RUNNER, $PLUGIN\"\n  - touch {directory}/shown\n  - while [ ! -e {directory}/go ]; do sleep 0.01; done\n\
         ---\nkind: secret\nname: of_document\ndata: {}\n---\nkind: secret\nname: of_plugin\nget:\n  path: team/db\n  name: password\n\
         ---\nkind: secret\nname: of_nobody\nget:\n  path: team/db\n  name: unknown\n",
        seal("from-the-document")
    )
}

const VALUES: [&str; 4] = ["from-the-server", "from-the-document", "from-the-runner", "from-the-plugin"];

/// A lab with a plugin and a file of secrets.
async fn lab() -> (Lab, Plugin, tempfile::TempDir) {
    let files = tempfile::tempdir().unwrap();
    let private = |name: &str, text: &str| {
        let path = files.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let (token, secrets) = (private("token", TOKEN), private("secrets.toml", "OF_RUNNER = \"from-the-runner\"\n"));
    let plugin = Plugin::start().await;
    let lab = Lab::with(&format!("secrets_file = {secrets:?}\n{}", plugin.configuration(&token))).await;
    (lab, plugin, files)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_source_gives_its_secret_and_none_is_seen_in_log_arguments_or_files() {
    let (lab, plugin, _files) = lab().await;
    let directory = lab.directory.path().display().to_string();
    let submitted = lab.submit_with(&pipeline(&directory), |repo, build| {
        repo.secrets.insert("OF_SERVER".to_owned(), "from-the-server".to_owned());
        build
    });
    crate::lab::until(|| lab.path("shown").exists()).await;
    for value in VALUES {
        assert_eq!(with_argument(value), [] as [u32; 0], "{value} is in arguments");
        assert!(!is_below(&lab.path("state"), value), "{value} is in a file");
    }
    fs::write(lab.path("go"), "").unwrap();
    let (status, steps) = lab.ended(&submitted).await;
    assert_eq!((status.as_str(), rows(&steps)), ("success", vec![("show", "success", 0)]), "{}", lab.error(&submitted));
    assert!(steps[0].log.contains(&"15 17 15 15 0".to_owned()), "{:?}", steps[0].log);
    assert!(steps[0].log.contains(&"***, ***, ***, ***".to_owned()), "{:?}", steps[0].log);
    let questions = plugin.questions.lock().unwrap().clone();
    let mut names: Vec<_> = questions.iter().map(|question| question["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["password", "unknown"]);
    assert_eq!(questions[0]["repo"]["slug"], "acme/kettle");
    assert_eq!(questions[0]["build"]["event"], "push");
    assert!(questions.iter().all(|question| question["repo"].get("secret").is_none()), "the key is nobody's business");
    assert!(!VALUES.iter().any(|value| lab.log().contains(value)), "the runner's log tells a secret");
    lab.nothing_is_left().await;
    lab.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_from_a_fork_of_a_public_repository_gets_no_secret() {
    let (lab, _plugin, _files) = lab().await;
    fs::write(lab.path("go"), "").unwrap();
    let directory = lab.directory.path().display().to_string();
    let submitted = lab.submit_with(&pipeline(&directory), |repo, mut build| {
        repo.secrets.insert("OF_SERVER".to_owned(), "from-the-server".to_owned());
        repo.private = false;
        (build.event, build.source_repo) = ("pull_request".to_owned(), "stranger/kettle".to_owned());
        build
    });
    let (status, steps) = lab.ended(&submitted).await;
    assert_eq!(status, "success", "{}", lab.error(&submitted));
    assert!(steps[0].log.contains(&"0 0 0 0 0".to_owned()), "{:?}", steps[0].log);
}

/// Processes that have `text` among their arguments.
fn with_argument(text: &str) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let holds = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.windows(text.len()).any(|part| part == text.as_bytes()))
    };
    pids.filter(holds).collect()
}

/// A file below `directory` holds `text`.
fn is_below(directory: &std::path::Path, text: &str) -> bool {
    fs::read_dir(directory).unwrap().flatten().any(|entry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => is_below(&entry.path(), text),
        kind if kind.is_file() => {
            let content = fs::read(entry.path()).unwrap_or_default();
            content.windows(text.len()).any(|part| part == text.as_bytes())
        }
        _ => false,
    })
}
