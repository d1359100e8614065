//! What a supervisor hears on its socket.

use std::time::Duration;

use dlite::health::{Vitals, systemd::Supervisor};
use tokio::net::UnixDatagram;

use crate::{scene::Scene, support::patiently};

const WATCHDOG: Duration = Duration::from_millis(400);

/// The supervisor's end.
pub struct Ear {
    socket: UnixDatagram,
    directory: tempfile::TempDir,
}

impl Ear {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("a socket");
        Self { socket, directory }
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("notify")
    }

    /// All that is said up to the message that has `word` in it, that one included.
    pub async fn until(&self, word: &str) -> Vec<String> {
        let mut heard = Vec::new();
        patiently(async {
            loop {
                let mut bytes = [0; 4096];
                let len = self.socket.recv(&mut bytes).await.expect("a message");
                let message = String::from_utf8(bytes[..len].to_vec()).expect("text");
                let is_it = message.contains(word);
                heard.push(message);
                if is_it {
                    return;
                }
            }
        })
        .await;
        heard
    }
}

fn supervisor(ear: &Ear) -> Supervisor {
    Supervisor::connect(ear.path().as_os_str().as_encoded_bytes(), Some(WATCHDOG)).expect("it listens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_watchdog_is_fed_only_while_the_loop_turns() {
    let (scene, ear) = (Scene::start().await, Ear::new());
    let (told, vitals) = (supervisor(&ear), scene.vitals.clone());
    let following = tokio::spawn(async move { told.follow(&vitals).await });

    ear.until("STATUS=not ready: no runner is attached").await;
    for _ in 0..3 {
        ear.until("WATCHDOG=1").await;
    }
    let _peer = scene.attach().await;
    ear.until("STATUS=serving: registered with stub; 1 runner is attached").await;
    scene.stub.take_down(true);
    ear.until("STATUS=serving, degraded: upstream stub is unreachable").await;
    ear.until("WATCHDOG=1").await;
    scene.stub.take_down(false);
    ear.until("STATUS=serving: ").await;

    scene.block();
    ear.until("the loop has not turned for ").await;
    let while_stuck = ear.until("the loop has not turned for 7 s").await;
    assert!(while_stuck.iter().all(|message| message.starts_with("STATUS=")), "fed while stuck: {while_stuck:?}");
    scene.release();
    ear.until("STATUS=serving: ").await;
    ear.until("WATCHDOG=1").await;
    following.abort();
    scene.stop().await;
}

#[tokio::test]
async fn a_delegate_that_starts_feeds_no_watchdog() {
    let (ear, vitals) = (Ear::new(), Vitals::new());
    let (told, watched) = (supervisor(&ear), vitals.clone());
    tokio::spawn(async move { told.follow(&watched).await });
    assert_eq!(ear.until("STATUS=").await.len(), 1);
    vitals.beat();
    let heard = ear.until("WATCHDOG=1").await;
    assert!(!heard[0].contains("starts"), "only after the first turn: {heard:?}");
}
