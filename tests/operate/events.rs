//! `dlite events -f`: what happens, as it happens.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::mpsc,
    time::Duration,
};

use crate::{
    lab::{Lab, SOON, binary},
    say::{json, text},
};

/// A watcher that is watching already.
struct Watcher {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Watcher {
    async fn start(lab: &Lab, words: &[&str]) -> Self {
        let mut command = binary();
        command.args(["events", "-f"]).args(words).arg("--config").arg(lab.path("dlite.toml"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let first = tokio::task::spawn_blocking(move || BufReader::new(err).lines().next()).await.unwrap();
        assert_eq!(first.unwrap().unwrap(), "watching");
        Self { child, lines }
    }

    /// Lines until one has this in it.
    async fn until(self, word: &'static str) -> (Self, Vec<String>) {
        tokio::task::spawn_blocking(move || {
            let mut seen = Vec::new();
            loop {
                let line = self.lines.recv_timeout(SOON).unwrap_or_else(|_| panic!("no {word:?} after {seen:#?}"));
                let found = line.contains(word);
                seen.push(line);
                if found {
                    return (self, seen);
                }
            }
        })
        .await
        .unwrap()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_tell_a_task_from_its_acquire_to_its_report_and_what_operators_do() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.status().await;
    let watcher = Watcher::start(&lab, &[]).await;
    lab.start_runner("r-1", 1);
    let (watcher, seen) = watcher.until("runner_attached").await;
    assert!(seen.last().unwrap().contains("r-1"));
    let id = lab.submit("DEV_WORK", 1);
    let (watcher, seen) = watcher.until("task_reported").await;
    let mut at = 0;
    for kind in ["task_acquired", "task_assigned", "task_running", "task_finished", "task_reported"] {
        let found = seen[at..].iter().position(|line| line.contains(kind));
        at += found.unwrap_or_else(|| panic!("{kind} after {at} in {seen:#?}"));
    }
    assert!(seen[at].contains(&id), "{}", seen[at]);
    text(&lab, &["drain", "--grace", "1m"]).await;
    let (watcher, seen) = watcher.until("deed").await;
    assert!(seen.iter().any(|line| line.contains("draining")), "{seen:#?}");
    text(&lab, &["resume"]).await;
    drop(watcher.until("resume").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_as_json_are_an_object_a_line_of_the_categories_wanted_and_end_at_the_limit() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.status().await;
    let mut watcher = Watcher::start(&lab, &["-o", "json", "--category", "runner", "--limit", "1"]).await;
    lab.start_runner("r-1", 1);
    let line = watcher.lines.recv_timeout(SOON).unwrap();
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&event["category"], &event["kind"], &event["runner_id"]),
        (&"runner".into(), &"runner_attached".into(), &"r-1".into())
    );
    let ended = tokio::task::spawn_blocking(move || watcher.child.wait().unwrap().code()).await.unwrap();
    assert_eq!(ended, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_secret_is_on_record_once_it_is_in_force() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 1);
    lab.status_when("registered", |status| status.upstreams[0].state == "registered").await;
    let watcher = Watcher::start(&lab, &["--category", "admin"]).await;
    // The same secret once more, as a file of another time: a rotation to it and back would look the same.
    tokio::time::sleep(Duration::from_millis(10)).await;
    lab.write_secret(crate::lab::SECRET);
    let (_watcher, seen) = watcher.until("secret changed").await;
    assert!(seen.last().unwrap().contains("upstream m"), "{seen:#?}");
    let audits = json(&lab, &["audit", "list"]).await;
    assert_eq!((&audits[0]["action"], &audits[0]["via"]), (&"secret changed".into(), &"file".into()));
}
